//! Feedback cables: a block or a frame late, in loops among modules that are processed for whole blocks.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::patch::Cable;

/// Module, output and channel of the samples.
type Place = (String, usize, usize);

/// The output of each module in the next block.
fn each(engine: &mut Engine) -> BTreeMap<Place, Vec<u32>> {
    OVERHEARD.set(Some(Vec::new()));
    let mut block = vec![0.0; engine.config().block_samples()];
    engine.render(&mut block, &mut |_| {});
    let mut each = BTreeMap::<Place, Vec<u32>>::new();
    for (module, output, channel, samples) in OVERHEARD.take().unwrap_or_default() {
        let id = engine.patch().modules[usize::from(module)].id.clone();
        let place = each.entry((id, output, channel)).or_default();
        place.extend(samples);
    }
    each
}

/// The first output of a module.
fn of(each: &BTreeMap<Place, Vec<u32>>, id: &str) -> Vec<f32> {
    let samples = each[&(id.to_owned(), 0, 0)].iter();
    samples.map(|bits| f32::from_bits(*bits)).collect()
}

/// A frame-late cable.
fn late(from: &str, to: &str) -> Cable {
    Cable {
        frame: true,
        ..Cable::between(from, to)
    }
}

fn vca(id: &str, level: f32) -> String {
    format!(r#"{{"id":"{id}","type":"vca","params":{{"level":{level}}}}}"#)
}

#[test]
fn two_that_lead_back_make_a_filter_of_second_order() {
    // y(n) = x(n) + 0.7 x(n-1) + 0.5 y(n-1) + 0.3 y(n-2); `b` gets its late input without a loop.
    let saw = r#"{"id":"x","type":"saw","params":{"freq":1234,"gain":0.3}}"#;
    let others = [("y", 1.0), ("b", 0.7), ("d", 1.0), ("p", 0.5), ("q", 0.3)];
    let others = others.map(|(id, level)| vca(id, level)).join(",");
    let cables = [
        ("x", "y"),
        ("b", "y"),
        ("d", "p"),
        ("p", "y"),
        ("q", "y"),
        ("y", "o"),
    ];
    let mut patch = patch(&format!("{saw},{others}"), &cables);
    (patch.cables).extend([late("x", "b"), late("y", "d"), late("d", "q")]);
    let mut engine = engine(&patch);
    let mut last = [0.0_f32; 3];
    for _ in 0..20 {
        let block = each(&mut engine);
        assert_eq!(of(&block, "x").len(), 64);
        for (x, y) in of(&block, "x").into_iter().zip(of(&block, "y")) {
            let wanted = x + 0.7 * last[0] + 0.5 * last[1] + 0.3 * last[2];
            assert!((y - wanted).abs() < 1e-5, "{y} {wanted}");
            last = [x, y, last[1]];
        }
    }
    assert!(last[1].abs() > 0.01, "there was something to compare");
    // o, x, y, b, d, p, q
    assert_eq!(calls(&mut engine), [1, 1, 64, 1, 64, 64, 64]);
}

/// Types whose sound does not depend on where a block is cut.
const SEAMLESS: [&str; 13] = [
    "sum",
    "pingpong",
    "sine",
    "saw",
    "vca",
    "mixer",
    "math",
    "merge",
    "split",
    "spread",
    "pan",
    "delay",
    "crossfade",
];

/// Some of these types in random order, with forward cables and with feedback cables by a block or a
/// frame.
fn tangle(dice: &mut Dice) -> Patch {
    let count = 28;
    let kinds: Vec<_> = (0..count)
        .map(|_| crate::catalog::find(SEAMLESS[dice.roll(13) as usize]).unwrap())
        .collect();
    let mut modules: Vec<String> = Vec::new();
    for (number, kind) in kinds.iter().enumerate() {
        let channels = [1, 1, 2, 3, 8, 9, 16, 17, 32][dice.roll(9) as usize];
        let place = dice.roll(number as u64 + 1) as usize;
        let name = kind.name;
        modules.insert(
            place,
            format!(r#"{{"id":"m{number}","type":"{name}","channels":{channels}}}"#),
        );
    }
    let mut patch = patch(&modules.join(","), &[]);
    let mut seen = BTreeSet::new();
    let mut connect = |dice: &mut Dice, from: usize, to: usize, kind: u64| {
        let stepped = |input: &&&str| {
            let param = kinds[to].params.iter().find(|param| param.name == **input);
            param.is_some_and(|param| param.scale == Scale::Stepped)
        };
        let inputs: Vec<_> = kinds[to].inputs.iter().filter(|i| !stepped(i)).collect();
        let own = kinds[to].inputs.len().min(4);
        let input = inputs[dice.roll(own.min(inputs.len()) as u64) as usize];
        let outputs = kinds[from].outputs;
        let output = outputs[dice.roll(outputs.len() as u64) as usize];
        let cable = Cable {
            feedback: kind == 1,
            frame: kind == 2,
            ..Cable::between(&format!("m{from}.{output}"), &format!("m{to}.{input}"))
        };
        if seen.insert((cable.from.clone(), cable.to.clone())) {
            patch.cables.push(cable);
        }
    };
    for to in 1..count {
        for _ in 0..1 + dice.roll(3) {
            let from = dice.roll(to as u64) as usize;
            connect(dice, from, to, 0);
        }
    }
    for _ in 0..1 + dice.roll(8) {
        let ends = [dice.roll(count as u64), dice.roll(count as u64)].map(|end| end as usize);
        let kind = 1 + dice.roll(2);
        connect(dice, ends[0].max(ends[1]), ends[0].min(ends[1]), kind);
    }
    // Feedback cables where they are not needed.
    for _ in 0..dice.roll(3) {
        let to = 1 + dice.roll(count as u64 - 1) as usize;
        let from = dice.roll(to as u64) as usize;
        let kind = 1 + dice.roll(2);
        connect(dice, from, to, kind);
    }
    for number in 0..count {
        let from = format!("m{number}.{}", kinds[number].outputs[0]);
        let to = ["o.in", "o.left", "o.right"][number % 3];
        patch.cables.push(Cable::between(&from, to));
    }
    patch
}

/// A random event, or a bypassed module.
fn any_event(dice: &mut Dice, patch: &Patch) -> Event {
    match dice.roll(8) {
        0 => Event::Bypass(1 + dice.roll(patch.modules.len() as u64 - 1) as u16),
        _ => dice.event(patch),
    }
}

#[test]
fn a_loop_sounds_as_if_all_were_rendered_frame_by_frame() {
    let config = Config {
        block_frames: 32,
        ..CONFIG
    };
    let (mut loops, mut moving) = (0, 0);
    for seed in 0..90 {
        let mut dice = Dice(seed);
        let patch = tangle(&mut dice);
        // Half of the runs compute channels one after the other.
        let level = [Level::new(), Level::baseline()][usize::from(seed % 2 == 1)];
        let new = || Engine::with_level(&patch, config, level).unwrap();
        let (mut whole, mut cut) = (new(), new());
        loops += loops_of(&whole);
        for block in 0..25 {
            if dice.roll(3) == 0 {
                let event = any_event(&mut dice, &patch);
                whole.apply(&event);
                cut.apply(&event);
            }
            // The whole patch frame by frame: an inaudible event is due at each frame.
            let now = cut.event_queue().clock().0;
            for frame in 1..32 {
                cut.apply_at(FrameIndex(now + frame), &gate(&patch, "o", 0.0));
            }
            let (one, two) = (each(&mut whole), each(&mut cut));
            let differing = one.iter().filter(|(place, heard)| two[*place] != **heard);
            let differing: BTreeSet<&str> = differing.map(|(place, _)| &*place.0).collect();
            let order = whole.plan.order.iter();
            let mut order = order.map(|module| &patch.modules[usize::from(*module)]);
            let first = order.find(|spec| differing.contains(&*spec.id));
            assert!(first.is_none(), "seed {seed}, block {block}: {first:?}");
            let moves = |heard: &&Vec<u32>| heard.iter().any(|bits| *bits != heard[0]);
            moving += one.values().filter(moves).count();
        }
    }
    assert!(loops > 50 && moving > 400_000, "{loops} {moving}");
}

#[test]
fn what_is_beside_a_loop_sounds_as_without_it() {
    for seed in 0..4 {
        let mut dice = Dice(seed);
        let without = everything(&mut dice);
        // A loop with inputs from other modules and a listener; no other module depends on it.
        let mut with = without.clone();
        let modules = [
            vca("a", 0.6),
            vca("b", 0.7),
            vca("c", 0.8),
            vca("behind", 0.9),
        ];
        let texts = patch(&modules.join(","), &[]);
        with.modules.extend(texts.modules.into_iter().skip(1));
        let count = without.modules.len() as u64;
        for to in ["a", "b", "b", "c.level", "behind"] {
            let from = &without.modules[1 + dice.roll(count - 1) as usize];
            let output = crate::catalog::find(&from.kind).unwrap().outputs[0];
            with.cables
                .push(Cable::between(&format!("{}.{output}", from.id), to));
        }
        let ends = [
            ("a", "b"),
            ("b", "c"),
            ("c", "behind"),
            ("a", "behind.level"),
        ];
        (with.cables).extend(ends.map(|(from, to)| Cable::between(from, to)));
        with.cables.push(late("c", "a"));
        // In the middle of the other modules.
        let at = with.modules.len() / 2;
        let loop_of = with.modules.split_off(without.modules.len());
        with.modules.splice(at..at, loop_of);
        let (mut one, mut two) = (engine(&with), engine(&without));
        for block in 0..100 {
            for _ in 0..dice.roll(3) {
                let event = dice.event(&without);
                two.apply(&event);
                let there = |module: u16| module + 4 * u16::from(usize::from(module) >= at);
                one.apply(&match event.module() {
                    Some(module) => event.of_module(there(module)),
                    None => event,
                });
            }
            let (one, two) = (each(&mut one), each(&mut two));
            let same = two.iter().find(|(place, heard)| one[*place] != **heard);
            assert!(
                same.is_none(),
                "seed {seed}, block {block}: {:?}",
                same.map(|s| s.0)
            );
        }
        assert_eq!(calls(&mut one)[at..at + 4], [64, 64, 64, 1]);
    }
}

#[test]
fn what_a_loop_holds_for_a_frame_does_not_stand_still() {
    // A pitch that depends on that of the frame before, and a module that reads its input less often
    // while nothing moves.
    let modules = r#"{"id":"q","type":"quantizer","params":{"scale":18,"root":7,"root_amount":11}},
        {"id":"s","type":"spread","params":{"step":0}}"#;
    let mut closed = patch(modules, &[("q", "s"), ("s", "o")]);
    closed.cables.push(late("q", "q.root"));
    let mut opened = closed.clone();
    opened.cables.remove(0);
    let mut one = engine(&closed);
    let block = each(&mut one);
    assert!(step_max(&of(&block, "q")) > 0.1);
    assert_eq!(of(&block, "s"), of(&block, "q"));
    // Nor at the end of a fade-out in the middle of a block.
    one = edited(&one, &opened, 1);
    heard(&mut one, 3);
    let faded = of(&each(&mut one), "s");
    assert!(faded[0] != 0.0 && faded[48..] == [0.0; 16], "{faded:?}");
}

#[test]
fn a_loop_that_gets_out_of_hand_is_muted_and_named() {
    let modules = format!("{},{}", constant("one", 1.0), vca("v", 1.0));
    let mut patch = patch(&modules, &[("one", "v"), ("v", "o")]);
    patch.cables.push(late("v", "v"));
    let mut engine = engine(&patch);
    let grown = heard(&mut engine, 40);
    assert_eq!((grown[40], grown[64 * 39]), (41.0, 0.0));
    assert_eq!(engine.muted(), Some(2));
    comes_to_its_senses(&mut engine);
}

#[test]
fn what_leads_back_is_a_block_late_however_blocks_are_cut() {
    let modules = format!(
        r#"{},{{"id":"v","type":"vca","params":{{"level":0.5}}}},{{"id":"w","type":"vca","params":{{"level":1}}}}"#,
        constant("one", 1.0)
    );
    let cables = [("one", "v"), ("v", "w"), ("w", "v"), ("w", "o")];
    let patch = patch(&modules, &cables);
    assert!(patch.cables[2].feedback);
    let mut whole = engine(&patch);
    let out = heard(&mut whole, 4);
    let block = |n: usize| &out[64 * n..64 * (n + 1)];
    assert_eq!(block(0), [0.5; 64]);
    assert_eq!(block(1), [0.75; 64]);
    assert_eq!(block(2), [0.875; 64]);
    // Cut at random frames, and copied, the sound is the same.
    let mut dice = Dice(2);
    let moved = Event::Ramp {
        module: 2,
        param: 0,
        value: 0.4,
        ms: 20.0,
    };
    let mut cut = engine(&patch);
    heard(&mut cut, 4);
    whole.apply(&moved);
    cut.apply(&moved);
    for _ in 0..30 {
        for _ in 0..dice.roll(4) {
            let frame = FrameIndex(cut.event_queue().clock().0 + dice.roll(64));
            cut.apply_at(frame, &gate(&patch, "v", 1.0));
        }
        let mut copy = engine(&patch);
        copy.restore(cut.arena()).unwrap();
        cut = copy;
        assert_eq!(bits(&heard(&mut cut, 1)), bits(&heard(&mut whole, 1)));
    }
}

#[test]
fn what_leads_back_and_gets_out_of_hand_is_muted_and_comes_to_its_senses() {
    let vca = r#"{"id":"v","type":"vca","params":{"level":1}}"#;
    let modules = format!("{},{vca}", constant("one", 1.0));
    let patch = patch(&modules, &[("one", "v"), ("v", "v"), ("v", "o")]);
    let mut engine = engine(&patch);
    let grown = heard(&mut engine, 100);
    assert_eq!(grown[64 * 40], 41.0);
    assert!(engine.muted().is_some() && grown[64 * 99] == 0.0);
    comes_to_its_senses(&mut engine);
}

/// A loop with the gain of the third module that has diverged settles at 1 once the level is halved.
fn comes_to_its_senses(engine: &mut Engine) {
    engine.apply(&Event::Param {
        module: 2,
        param: 0,
        value: 0.5,
    });
    heard(engine, 100);
    assert!(engine.muted().is_none() && (heard(engine, 1)[0] - 1.0).abs() < 1e-3);
}

#[test]
fn what_leads_back_a_frame_late_makes_a_filter() {
    // y(n) = x(n) + y(n-1) / 2: a one-pole low-pass, whose step is 2 - 2^-n.
    let modules = format!(
        r#"{},{{"id":"y","type":"mixer"}},{{"id":"half","type":"vca","params":{{"level":0.5}}}}"#,
        constant("one", 1.0)
    );
    let cables = [
        ("one", "y.in1"),
        ("y", "half"),
        ("half", "y.in2"),
        ("y", "o"),
    ];
    let mut patch = patch(&modules, &cables);
    patch.cables[2].frame = true;
    patch.cables[2].feedback = false;
    let mut whole = engine(&patch);
    let level = heard(&mut whole, 1)[0];
    let mut whole = engine(&patch);
    for (n, sample) in heard(&mut whole, 1).into_iter().take(20).enumerate() {
        let wanted = level
            * (0..=n)
                .map(|k| libm::powf(0.5 * level, k as f32))
                .sum::<f32>();
        assert!((sample - wanted).abs() < 1e-5, "{n}: {sample} {wanted}");
    }
    assert_eq!(Patch::from_json(&patch.to_json()).unwrap(), patch);
    // A copy continues with the same bits; after the cable has faded out, whole blocks are rendered
    // again.
    let mut copy = engine(&patch);
    copy.restore(whole.arena()).unwrap();
    assert_eq!(bits(&heard(&mut copy, 3)), bits(&heard(&mut whole, 3)));
    assert_eq!(calls(&mut whole), [1, 1, 64, 64], "o, one, y, half");
    let mut opened = patch.clone();
    opened.cables.remove(2);
    let mut after = edited(&whole, &opened, 1);
    assert_eq!(calls(&mut after), [1, 1, 64, 64]);
    let steps = step_max(&heard(&mut after, 6));
    assert!(steps < 0.02, "{steps}");
    assert_eq!(calls(&mut after), [1; 4]);
}
