//! Gates that open and close within one frame: every opening is a strike, for each type that takes a gate, by
//! events, cables, notes and sequences. The types come from the catalogue, so that none is forgotten. The
//! expected output is that of the same events one frame apart.

use std::{collections::BTreeMap, sync::Arc};

use common::sample::{self, Sample};

use super::*;
use crate::{
    catalog::{self, ModuleType},
    patch::Cable,
};

const BLOCK: u64 = CONFIG.block_frames as u64;

/// The module types that take a gate.
fn takers() -> Vec<&'static ModuleType> {
    let types = catalog::all().iter();
    types.filter(|kind| kind.takes_gate).collect()
}

/// The input for a gate.
fn gate_input(kind: &ModuleType) -> Option<&'static str> {
    let mut inputs = kind.inputs.iter().copied();
    inputs.find(|input| ["gate", "clock"].contains(input))
}

/// How a gate reaches the module `m` of a patch.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Event,
    /// By the gate of `keys`.
    Cable,
    /// By events, in a loop that is rendered frame by frame.
    Loop,
}

/// A patch with an audible module `m` of a type with that many channels.
fn playing(kind: &ModuleType, channels: usize, by: By) -> Patch {
    let bytes: Vec<f32> = crate::bench::noise(5, 9_000);
    let id = sample::id(bytemuck::cast_slice(&bytes));
    let name = kind.name;
    let mut more = String::new();
    if kind.takes_sample {
        more += &format!(r#","sample":"noise@{id}""#);
    }
    // A decaying sound has decayed within some blocks.
    if let Some(param) = kind.params.iter().find(|param| param.name == "decay") {
        more += &format!(r#","params":{{"decay":{}}}"#, param.min.max(20.0));
    }
    let modules = format!(
        r#"{{"id":"noise","type":"noise"}},{{"id":"keys","type":"midi_in","channels":{channels}}},
        {{"id":"m","type":"{name}","channels":{channels}{more}}}"#
    );
    let mut patch = patch(&modules, &[]);
    let mut connect = |cable| patch.cables.push(cable);
    connect(Cable::between(&format!("m.{}", kind.outputs[0]), "o.left"));
    if kind.inputs.contains(&"in") {
        connect(Cable::between("noise", "m.in"));
    }
    if by == By::Cable {
        let input = gate_input(kind).unwrap();
        connect(Cable::between("keys.gate", &format!("m.{input}")));
    }
    if by == By::Loop {
        let stepped = |input: &str| {
            let param = kind.params.iter().find(|param| param.name == input);
            param.is_some_and(|param| param.scale == Scale::Stepped)
        };
        let input = kind.inputs.iter().rfind(|input| !stepped(input)).unwrap();
        connect(Cable {
            frame: true,
            ..Cable::between(&format!("m.{}", kind.outputs[0]), &format!("m.{input}"))
        });
    }
    patch
        .samples
        .insert(id, Arc::new(Sample::new(48_000, 1, bytes).unwrap()));
    patch
}

/// The samples of each output and channel of a module.
type Heard = BTreeMap<(usize, usize), Vec<u32>>;

/// Renders a number of blocks, in which events take effect at their frames.
fn run(engine: &mut Engine, id: &str, blocks: u64) -> Heard {
    let module = engine.patch().module_index(id).unwrap();
    let mut heard = Heard::new();
    let mut block = vec![0.0; engine.config().block_samples()];
    for _ in 0..blocks {
        OVERHEARD.set(Some(Vec::new()));
        engine.render(&mut block, &mut |_| {});
        for (of, output, channel, samples) in OVERHEARD.take().unwrap_or_default() {
            if of == module {
                heard.entry((output, channel)).or_default().extend(samples);
            }
        }
    }
    heard
}

/// Levels of a gate by frame; levels of the same frame in order.
type Gates<'a> = Vec<(u64, &'a [f32])>;

/// Plays gates on a module.
fn played(patch: &Patch, target: &str, gates: &[(u64, &[f32])], blocks: u64) -> Heard {
    let mut engine = engine(patch);
    for (frame, levels) in gates {
        for level in *levels {
            engine.apply_at(FrameIndex(*frame), &gate(patch, target, *level));
        }
    }
    run(&mut engine, "m", blocks)
}

/// Frames at which a channel of a cable opens.
fn rises(heard: &Heard, output: usize) -> Vec<u64> {
    let of_it = heard.iter().filter(|((number, _), _)| *number == output);
    let mut rises: Vec<u64> = of_it
        .flat_map(|(_, bits)| {
            let before = std::iter::once(&0).chain(bits);
            let pairs = before.zip(bits).zip(0..);
            let opens = pairs.filter(|((was, is), _)| **was == 0 && **is != 0);
            opens.map(|(_, frame)| frame)
        })
        .collect();
    rises.sort_unstable();
    rises
}

#[test]
fn every_type_hears_both_edges_of_a_frame() {
    let (mut strikes, mut missing) = (0, 0);
    for kind in takers() {
        for (channels, by) in [
            (1, By::Event),
            (3, By::Event),
            (20, By::Event),
            (1, By::Loop),
        ] {
            let patch = playing(kind, channels, by);
            let name = kind.name;
            // At the beginning of a block, in its middle, in its last frame.
            for at in [3 * BLOCK, 3 * BLOCK + 17, 4 * BLOCK - 1] {
                let (next, third) = (at + 1, at + 2);
                let before: (u64, &[f32]) = (70, &[0.6]);
                let cases: [(Gates, Gates, Gates); 5] = [
                    // In one frame; one frame apart; without the gate.
                    (
                        vec![(at, &[0.7, 0.0])],
                        vec![(at, &[0.7]), (next, &[0.0])],
                        vec![],
                    ),
                    (
                        vec![before, (at, &[0.0, 0.7])],
                        vec![before, (at, &[0.7])],
                        vec![before],
                    ),
                    (
                        vec![before, (at, &[0.7, 0.0])],
                        vec![before, (at, &[0.7]), (next, &[0.0])],
                        vec![before, (next, &[0.0])],
                    ),
                    (
                        vec![(at, &[0.3, 0.0, 0.9, 0.0])],
                        vec![(at, &[0.3]), (next, &[0.9]), (third, &[0.0])],
                        vec![(at, &[0.3]), (third, &[0.0])],
                    ),
                    (
                        vec![(at, &[0.3, 0.0, 0.9])],
                        vec![(at, &[0.3]), (next, &[0.9])],
                        vec![(at, &[0.3])],
                    ),
                ];
                for (number, (at_once, apart, without)) in cases.iter().enumerate() {
                    let [at_once, apart, without] =
                        [at_once, apart, without].map(|gates| played(&patch, "m", gates, 24));
                    strikes += 1;
                    missing += usize::from(at_once == without);
                    assert!(
                        at_once == apart,
                        "{name}, {channels} channels, {by:?}, case {number} at {at}"
                    );
                    assert!(
                        at_once != without,
                        "{name}: case {number} at {at} is not struck"
                    );
                }
            }
        }
    }
    println!(
        "FIGURE (on, off), (off, on) and more in one frame, by events: {} types, {strikes} cases, strikes missing {missing}",
        takers().len()
    );
}

#[test]
fn every_type_hears_by_a_cable_what_it_hears_by_events() {
    let (mut strikes, mut missing) = (0, 0);
    for kind in takers().into_iter().filter(|kind| kind.name != "midi_in") {
        for channels in [1, 3, 20] {
            let cable = playing(kind, channels, By::Cable);
            let direct = playing(kind, channels, By::Event);
            let name = kind.name;
            // Closed and opened at the beginning of a block, so that each block is still, long after the
            // sound has decayed; within a block; within a frame.
            let (begin, end, again) = (2 * BLOCK, 190 * BLOCK, 195 * BLOCK);
            let cases: [(Gates, Gates); 5] = [
                (
                    vec![(begin, &[0.7]), (end, &[0.0]), (again, &[0.7])],
                    vec![(begin, &[0.7]), (end, &[0.0]), (again, &[0.7])],
                ),
                (
                    vec![(begin, &[0.7]), (end, &[0.0]), (again + 9, &[0.7])],
                    vec![(begin, &[0.7]), (end, &[0.0]), (again + 9, &[0.7])],
                ),
                (
                    vec![(begin, &[0.7]), (again, &[0.0, 0.6])],
                    vec![(begin, &[0.7]), (again, &[0.0]), (again + 1, &[0.6])],
                ),
                (
                    vec![(again, &[0.7, 0.0])],
                    vec![(again, &[0.7]), (again + 1, &[0.0])],
                ),
                (
                    vec![(again, &[0.3, 0.0, 0.9, 0.0])],
                    vec![
                        (again, &[0.3]),
                        (again + 1, &[0.0]),
                        (again + 2, &[0.9]),
                        (again + 3, &[0.0]),
                    ],
                ),
            ];
            for (number, (by_cable, by_events)) in cases.iter().enumerate() {
                let without = by_events.len() - 1 - usize::from(number > 2);
                let without = played(&direct, "m", &by_events[..without], 210);
                let [by_cable, by_events] = [(&cable, "keys", by_cable), (&direct, "m", by_events)]
                    .map(|(patch, target, gates)| played(patch, target, gates, 210));
                strikes += 1;
                missing += usize::from(by_cable == without);
                assert!(by_cable != without, "{name}: case {number} is not struck");
                assert!(
                    by_cable == by_events,
                    "{name}, {channels} channels, case {number}"
                );
            }
        }
    }
    println!("FIGURE the same by a cable: {strikes} cases, strikes missing {missing}");
}

/// A keyboard of that many voices, whose gate strikes a kick.
fn keys(voices: usize, mode: usize) -> Patch {
    let modules = format!(
        r#"{{"id":"m","type":"midi_in","channels":{voices},"params":{{"voices":{mode}}}}},
        {{"id":"kick","type":"kick","channels":{voices}}}"#
    );
    patch(&modules, &[("m.gate", "kick.gate"), ("kick", "o")])
}

#[test]
fn back_to_back_notes_are_struck_each() {
    const NOTES: u64 = 20;
    let (mut played, mut missing, mut late) = (0, 0, 0);
    for voices in 1..=8 {
        for mode in 0..3 {
            for how in 0..4 {
                let patch = keys(voices, mode);
                let m = patch.module_index("m").unwrap();
                let mut engine = engine(&patch);
                let mut wanted = Vec::new();
                for number in 0..NOTES {
                    let frame = 50 + number * 77;
                    // One voice after the other, or all at once.
                    let keys = if how == 3 { voices as u64 } else { 1 };
                    let pitch = |number: u64, key: u64| (40 + number % 12 + 13 * key) as f32;
                    for key in 0..keys {
                        let last = number.checked_sub(1).filter(|_| how != 1);
                        if let Some(last) = last {
                            let off = note(m, pitch(last, key), 0.0, 0);
                            engine.apply_at(FrameIndex(frame), &off);
                        }
                    }
                    for key in 0..keys {
                        // By messages, by their lengths, the same key repeated, chords.
                        let (frames, pitch) = match how {
                            1 => (77, pitch(number, key)),
                            2 => (0, 40.0),
                            _ => (0, pitch(number, key)),
                        };
                        engine.apply_at(FrameIndex(frame), &note(m, pitch, 0.8, frames));
                        wanted.push(frame);
                    }
                }
                let heard = run(&mut engine, "m", 28);
                let rises = rises(&heard, 1);
                played += wanted.len();
                missing += wanted.len().saturating_sub(rises.len());
                assert_eq!(
                    rises.len(),
                    wanted.len(),
                    "{voices} voices, mode {mode}, way {how}: {rises:?}"
                );
                for (rise, wanted) in rises.iter().zip(&wanted) {
                    let off = rise - wanted;
                    late = late.max(off);
                    // Late by one frame for each earlier strike of the same voice, and one for each closed
                    // frame in between.
                    let most = if how == 3 && mode == 2 {
                        2 * voices as u64
                    } else {
                        1
                    };
                    assert!(off <= most, "{voices} voices, way {how}: {rises:?}");
                }
            }
        }
    }
    println!(
        "FIGURE back-to-back notes, 1 to 8 voices, oldest, quietest and mono: {played} notes, strikes missing {missing}; at most {late} frames later"
    );
}

#[test]
fn a_note_that_ends_in_its_frame_is_struck() {
    for kind in takers() {
        let patch = playing(kind, 2, By::Event);
        let m = patch.module_index("m").unwrap();
        let notes = |notes: &[(u64, f32)]| {
            let mut engine = engine(&patch);
            for (frame, velocity) in notes {
                engine.apply_at(FrameIndex(*frame), &note(m, 57.0, *velocity, 0));
            }
            run(&mut engine, "m", 20)
        };
        let at_once = notes(&[(200, 0.7), (200, 0.0)]);
        assert!(at_once == notes(&[(200, 0.7), (201, 0.0)]), "{}", kind.name);
        assert!(at_once != notes(&[]), "{}", kind.name);
    }
}

#[test]
fn legato_goes_back_to_a_held_key_without_a_strike() {
    let patch = keys(1, 2);
    let m = patch.module_index("m").unwrap();
    let mut engine = engine(&patch);
    for (frame, pitch, velocity) in [
        (100, 60.0, 0.5),
        (200, 64.0, 0.5),
        (300, 64.0, 0.0),
        (400, 60.0, 0.0),
    ] {
        engine.apply_at(FrameIndex(frame), &note(m, pitch, velocity, 0));
    }
    let heard = run(&mut engine, "m", 8);
    assert_eq!(rises(&heard, 1), [100, 201]);
}

#[test]
fn sequences_whose_gates_last_a_whole_step_strike_each_step() {
    // At 48 kHz and 120 beats a minute, a sixteenth step has 6,000 frames; with three ratchets, 2,000. A gate
    // that closes in the frame in which it opens is opened again.
    let (mut strikes, mut missing) = (0, 0);
    let thirds: Vec<u64> = (0..12).map(|n| n * 2_000).collect();
    for (text, ratchet, steps, closes) in [
        ("X", 1, &[0, 6_000, 12_000, 18_000][..], None),
        ("X-X-", 1, &[0, 12_000], None),
        ("X.X", 1, &[0, 12_000, 18_000], Some(6_000)),
        ("X", 3, &thirds, None),
    ] {
        let blocks = 24_000 / BLOCK;
        for kind in takers() {
            for role in ["gate", "note"] {
                let mut patch = playing(kind, 2, By::Event);
                let by_hand = patch.clone();
                let sequence = format!(
                    r#"[{{"id":"s","bpm":120,"running":true,"gate_len":1,
                    "targets":[{{"module":"m","role":"{role}"}}],
                    "pattern":{{"text":"{text}","ratchet":[{ratchet}],"notes":["A3"]}}}}]"#
                );
                patch.sequences = serde_json::from_str(&sequence).unwrap();
                let patch = patch.checked().unwrap().into_patch();
                let heard = run(&mut engine(&patch), "m", blocks);
                let m = by_hand.module_index("m").unwrap();
                let mut engine = engine(&by_hand);
                let opens = steps.iter().map(|frame| (*frame, 1.0));
                for (frame, level) in opens.chain(closes.map(|frame| (frame, 0.0))) {
                    let event = match role {
                        "note" => note(m, 57.0, level, 0),
                        _ => gate(&by_hand, "m", level),
                    };
                    engine.apply_at(FrameIndex(frame), &event);
                }
                let expected = run(&mut engine, "m", blocks);
                strikes += steps.len();
                if kind.name == "midi_in" {
                    // The gate may be closed for a frame before a strike.
                    let channels = if role == "gate" { 2 } else { 1 };
                    let rises = rises(&heard, 1);
                    missing += (channels * steps.len()).saturating_sub(rises.len());
                    assert_eq!(
                        rises.len(),
                        channels * steps.len(),
                        "{text} {role}: {rises:?}"
                    );
                    let mut rises = rises.iter().step_by(channels).zip(steps);
                    assert!(rises.all(|(rise, step)| rise - step <= 1), "{text} {role}");
                } else {
                    missing += usize::from(heard != expected);
                    assert!(heard == expected, "{} {role}: {text}", kind.name);
                }
            }
        }
    }
    println!("FIGURE sequences with gates of a whole step: {strikes} strikes, missing {missing}");
}

#[test]
fn strikes_that_are_to_come_are_in_a_copy_of_the_arena() {
    for kind in takers() {
        for channels in [1, 3] {
            let patch = playing(kind, channels, By::Event);
            let mut first = engine(&patch);
            for level in [0.2, 0.0, 0.4, 0.0, 0.6, 0.0, 0.8] {
                first.apply_at(FrameIndex(4 * BLOCK - 1), &gate(&patch, "m", level));
            }
            run(&mut first, "m", 4);
            let mut copy = engine(&patch);
            copy.apply(&gate(&patch, "m", 1.0));
            copy.restore(first.arena()).unwrap();
            let [first, copy] = [first, copy].map(|mut engine| run(&mut engine, "m", 20));
            assert!(first == copy, "{}", kind.name);
        }
    }
}

/// A step sequencer of sixteen steps as a counter: its output is the number of strikes, from 1 to 16.
fn counter() -> Patch {
    let steps: Vec<String> = (1..=16)
        .map(|n| format!(r#""step{n}":{}"#, f64::from(n) / 100.0))
        .collect();
    let text = format!(
        r#"{{"id":"m","type":"seq","params":{{"length":16,{}}}}}"#,
        steps.join(",")
    );
    patch(&text, &[("m", "o")])
}

fn counted(engine: &mut Engine, blocks: u64) -> usize {
    let heard = run(engine, "m", blocks);
    let last = f32::from_bits(*heard[&(0, 0)].last().unwrap());
    (last * 100.0).round() as usize
}

#[test]
fn what_finds_no_cut_in_its_block_is_struck_all_the_same() {
    let patch = counter();
    let mut engine = engine(&patch);
    run(&mut engine, "m", 1);
    // In each of the 64 frames of a block, of which at most 32 become cuts.
    for frame in BLOCK..2 * BLOCK {
        for level in [1.0, 0.0] {
            engine.apply_at(FrameIndex(frame), &gate(&patch, "m", level));
        }
    }
    assert_eq!(counted(&mut engine, 1), 33 % 16);
    assert_eq!(counted(&mut engine, 1), 16, "64 strikes are four rounds");
    engine.apply(&gate(&patch, "m", 1.0));
    assert_eq!(counted(&mut engine, 1), 1);
}

#[test]
fn a_note_whose_end_finds_no_room_is_struck_and_ends_at_once() {
    let modules = r#"{"id":"other","type":"adsr"},{"id":"m","type":"adsr","params":{"release":1}},
        {"id":"one","type":"math","params":{"offset_a":1}}"#;
    let patch = patch(modules, &[("one", "m"), ("m", "o")]);
    let m = patch.module_index("m").unwrap();
    let later = |waiting: usize| {
        let mut engine = engine(&patch);
        for _ in 0..waiting {
            engine.apply_at(FrameIndex(1_000_000), &gate(&patch, "other", 1.0));
        }
        engine.apply(&note(m, 60.0, 1.0, 1_000_000));
        let first = heard(&mut engine, 1);
        assert!(first[0] > 0.0, "it is struck");
        heard(&mut engine, 20)[19 * 64..].to_vec()
    };
    let most = crate::event_queue::WAITING_MAX;
    assert!(later(most).iter().all(|sample| *sample == 0.0));
    assert!(later(most - 1).iter().all(|sample| *sample > 0.5));
}

#[test]
fn a_note_forgets_the_end_of_the_one_before_and_nothing_else() {
    let modules = r#"{"id":"m","type":"adsr","params":{"release":0,"attack":0}},
        {"id":"one","type":"math","params":{"offset_a":1}}"#;
    let patch = patch(modules, &[("one", "m"), ("m", "o")]);
    let m = patch.module_index("m").unwrap();
    let closes = |events: &[(u64, Event)]| {
        let mut engine = engine(&patch);
        for (frame, event) in events {
            engine.apply_at(FrameIndex(*frame), event);
        }
        let heard = heard(&mut engine, 30);
        heard.iter().rposition(|sample| *sample > 0.0)
    };
    let off = gate(&patch, "m", 0.0);
    // The end of the first note would lie within the second.
    let two = [
        (10, note(m, 60.0, 1.0, 500)),
        (300, note(m, 62.0, 1.0, 700)),
    ];
    assert_eq!(closes(&two), Some(999));
    // A gate event that was sent stays in the queue.
    assert_eq!(
        closes(&[(900, off), (10, note(m, 60.0, 1.0, 0))]),
        Some(899)
    );
}

#[test]
fn what_is_struck_while_it_is_bypassed_is_not_struck_later() {
    for kind in takers() {
        let patch = playing(kind, 1, By::Event);
        let m = patch.module_index("m").unwrap();
        let later = |levels: &[f32]| {
            let mut first = engine(&patch);
            first.apply(&Event::Bypass(m));
            heard(&mut first, 2);
            for level in levels {
                first.apply(&gate(&patch, "m", *level));
            }
            heard(&mut first, 2);
            let mut again = engine(&patch);
            again.adopt(&first);
            run(&mut again, "m", 20)
        };
        let none = later(&[]);
        assert!(later(&[0.7, 0.0]) == none, "{}", kind.name);
        assert!(later(&[0.7]) != none, "{}", kind.name);
    }
}

#[test]
fn an_edit_between_two_edges_of_a_frame_costs_no_strike() {
    for kind in takers() {
        let patch = playing(kind, 2, By::Event);
        let mut more = patch.clone();
        more.modules.push(more.modules[1].clone());
        more.modules[1].id = "before_it".into();
        let play = |levels: [f32; 2], edits: bool| {
            let mut first = engine(&patch);
            heard(&mut first, 3);
            first.apply(&gate(&patch, "m", levels[0]));
            let (patch, mut then) = match edits {
                true => (&more, engine(&more)),
                false => (&patch, engine(&patch)),
            };
            then.adopt_edited(&first);
            then.apply(&gate(patch, "m", levels[1]));
            run(&mut then, "m", 20)
        };
        let whole = play([0.7, 0.0], false);
        assert!(play([0.7, 0.0], true) == whole, "{}", kind.name);
        assert!(play([0.0, 0.0], true) != whole, "{}", kind.name);
    }
}
