//! Edits from patch to patch: what comes and goes fades, and everything else stays
//! sample-identical.

use super::*;

#[test]
fn no_edit_changes_a_sample_of_what_it_does_not_touch() {
    let mut dice = Dice(3);
    let mut alone = engine(&beside_a_tone(r#"{"id":"m0","type":"sine"}"#, &[]));
    let mut engine = engine(&some_beside_a_tone(&mut dice));
    let (mut right, mut loops) = (Vec::new(), 0);
    for edit in 0..400 {
        engine = edited(&engine, &some_beside_a_tone(&mut dice), edit);
        loops += loops_of(&engine);
        // Some edits come before the one before has faded.
        let blocks = 1 + dice.roll(8) as usize;
        let [left, other] = both(&mut engine, blocks);
        assert_eq!(
            bits(&left),
            bits(&both(&mut alone, blocks)[0]),
            "edit {edit}"
        );
        right.extend(other);
    }
    assert!(right.iter().any(|sample| *sample != 0.0));
    assert!(loops > 100, "{loops}");
}

#[test]
fn an_edit_that_changes_nothing_changes_no_sample_of_any_module() {
    let palette = include_str!("../../../../patches/palette.json");
    let palette = Patch::from_json(palette).unwrap();
    let (mut one, mut two) = (engine(&palette), engine(&palette));
    let mut dice = Dice(5);
    for edit in 0..60 {
        let event = dice.event(&palette);
        if !matches!(event, Event::Run(_)) {
            one.apply(&event);
            two.apply(&event);
        }
        two = edited(&two, &palette, edit);
        assert_eq!(
            bits(&heard(&mut one, 3)),
            bits(&heard(&mut two, 3)),
            "edit {edit}"
        );
    }
}

#[test]
fn what_comes_and_goes_takes_five_milliseconds() {
    let one = constant("one", 1.0);
    let mut parts = format!(r#"{one},{{"id":"v","type":"vca","params":{{"level":1}}}}"#);
    let (with, without) = ([("one", "v"), ("v", "o.right")], [("one", "v")]);
    let right = |engine: &mut Engine| both(engine, 10)[1].clone();
    let ramp = |from: f32, to: f32| -> Vec<f32> {
        let glide = |n: f32| from + (to - from) * n.min(240.0) / 240.0;
        (1..=640_u16).map(|n| glide(f32::from(n))).collect()
    };
    let alike = |heard: &[f32], wanted: &[f32]| {
        let far = heard.iter().zip(wanted).map(|(a, b)| (a - b).abs());
        assert!(far.fold(0.0, f32::max) < 1e-5, "{heard:?}");
    };
    let mut engine = engine(&beside_a_tone(&parts, &without));
    assert_eq!(right(&mut engine), [0.0; 640]);
    // Connected; removed; created again; connected, disconnected and connected again during the fades.
    engine = edited(&engine, &beside_a_tone(&parts, &with), 1);
    alike(&right(&mut engine), &ramp(0.0, 1.0));
    engine = edited(&engine, &beside_a_tone(&one, &[]), 2);
    alike(&right(&mut engine), &ramp(1.0, 0.0));
    engine = edited(&engine, &beside_a_tone(&parts, &without), 3);
    assert_eq!(right(&mut engine), [0.0; 640]);
    engine = edited(&engine, &beside_a_tone(&parts, &with), 4);
    alike(&both(&mut engine, 2)[1], &ramp(0.0, 1.0)[..128]);
    engine = edited(&engine, &beside_a_tone(&parts, &without), 5);
    let mut wanted = ramp(128.0 / 240.0, 0.0);
    alike(&both(&mut engine, 2)[1], &wanted[..128]);
    engine = edited(&engine, &beside_a_tone(&parts, &with), 6);
    wanted = ramp(wanted[127], 1.0);
    alike(&right(&mut engine), &wanted);
    // Another type under the same id: one module fades out, the other fades in.
    parts = parts.replace(r#""vca","params":{"level":1}"#, r#""filter""#);
    engine = edited(&engine, &beside_a_tone(&parts, &with), 7);
    let heard = right(&mut engine);
    assert!(step_max(&heard) < 0.01 && heard[0] > 0.99 && heard[639] > 0.9);
}

#[test]
fn no_edit_makes_a_step() {
    // Slow sounds through a chain that is reversed, widened and dismantled.
    let sounds = r#"{"id":"s","type":"sine","params":{"freq":50}},{"id":"t","type":"sine","params":{"freq":30}}"#;
    let modules = format!(
        r#"{sounds},{{"id":"a","type":"vca","params":{{"level":1}}}},{{"id":"b","type":"filter","params":{{"cutoff":2000}}}},{{"id":"u","type":"merge"}},{{"id":"d","type":"delay"}}"#
    );
    let chains: [&[(&str, &str)]; 7] = [
        &[("s", "a"), ("a", "b"), ("b", "o.right")],
        &[("s", "b"), ("b", "a"), ("a", "o.right")],
        &[("s", "a"), ("a", "b"), ("t", "b"), ("b", "o.right")],
        &[
            ("s", "u.in1"),
            ("t", "u.in2"),
            ("u", "a"),
            ("a", "b"),
            ("b", "o.right"),
        ],
        &[
            ("s", "u.in1"),
            ("t", "u.in3"),
            ("u", "b"),
            ("s", "a"),
            ("a", "o.right"),
        ],
        &[
            ("s", "a"),
            ("a", "b"),
            ("b", "d"),
            ("d", "a"),
            ("a", "o.right"),
        ],
        &[("t", "d"), ("d", "o.right")],
    ];
    let mut dice = Dice(11);
    let chain = |dice: &mut Dice| beside_a_tone(&modules, chains[dice.roll(7) as usize]);
    let mut engine = engine(&chain(&mut dice));
    let mut right = Vec::new();
    for edit in 0..200 {
        engine = edited(&engine, &chain(&mut dice), edit);
        let blocks = 1 + dice.roll(12) as usize;
        right.extend(both(&mut engine, blocks).into_iter().nth(1).unwrap());
    }
    let (most, peak) = (
        step_max(&right),
        right.iter().fold(0.0_f32, |a, b| a.max(b.abs())),
    );
    // The fade of all sounds, and the sounds themselves.
    assert!(most < 2.0 * peak / 240.0 + 0.02, "{most} of {peak}");
    assert!(peak > 0.3);
}

#[test]
fn in_the_middle_of_a_fade_a_copy_goes_on_to_the_bit() {
    let mut dice = Dice(17);
    let mut one = engine(&some_beside_a_tone(&mut dice));
    for edit in 0..60 {
        one = edited(&one, &some_beside_a_tone(&mut dice), edit);
        let blocks = dice.roll(5) as usize;
        both(&mut one, blocks);
        let mut two = engine(one.patch());
        two.restore(one.arena()).unwrap();
        assert_eq!(
            both(&mut one, 7).map(|c| bits(&c)),
            both(&mut two, 7).map(|c| bits(&c))
        );
    }
}

#[test]
fn what_has_faded_out_is_no_cable_any_more() {
    let modules = format!(
        r#"{},{{"id":"env","type":"adsr","params":{{"attack":1,"decay":1}}}}"#,
        constant("one", 1.0)
    );
    let with = beside_a_tone(&modules, &[("env.env", "o.right"), ("one", "env.gate")]);
    let without = beside_a_tone(&modules, &[("env.env", "o.right")]);
    let mut engine = engine(&with);
    assert!(both(&mut engine, 40)[1][2_000] > 0.3);
    engine = edited(&engine, &without, 1);
    assert!(
        both(&mut engine, 600)[1][38_000] < 0.01,
        "its gate has closed"
    );
    engine.apply(&gate(&without, "env", 1.0));
    assert!(
        both(&mut engine, 40)[1][2_000] > 0.3,
        "events open it again"
    );
}

#[test]
fn what_is_bypassed_stays_so_at_an_edit_and_as_a_ghost() {
    let with = beside_a_tone(
        r#"{"id":"v","type":"vca"}"#,
        &[("tone", "v"), ("v", "o.right")],
    );
    let mut one = engine(&with);
    let place = with.module_index("v").unwrap();
    one.apply(&Event::Bypass(place));
    both(&mut one, 1);
    let mut traced = Vec::new();
    let mut block = [0.0; CONFIG.block_samples()];
    for (number, patch) in [&with, &beside_a_tone(r#"{"id":"w","type":"vca"}"#, &[])]
        .into_iter()
        .enumerate()
    {
        one = edited(&one, patch, number as u64);
        one.render(&mut block, &mut |module| traced.push(one_id(patch, module)));
    }
    assert!(
        traced.iter().all(|id| id != "v" && id != "ghost"),
        "{traced:?}"
    );
    assert!(one.patch().module_index("v~1").is_some());
}
