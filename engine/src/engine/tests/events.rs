//! Events take effect at exactly their frame, even if the arena is copied or the patch changes
//! meanwhile.

use super::*;

#[test]
fn events_come_in_at_their_very_frame() {
    let mut engine = engine(&keyboard());
    for (at, velocity, frames) in [
        (300, 0.5, 17),
        (100, 0.25, 64),
        (301, 0.75, 0),
        (300, 1.0, 1),
    ] {
        engine.apply_at(FrameIndex(at), &note(1, at as f32 / 10.0, velocity, frames));
    }
    let out = heard(&mut engine, 6);
    let gate = |frame: usize| match frame {
        100..164 => 0.25,
        // Three strikes in two frames; before each, the gate is closed for a frame.
        300 => 0.5,
        302 => 1.0,
        304.. => 0.75,
        _ => 0.0,
    };
    for (frame, sample) in out.iter().enumerate() {
        assert_eq!(*sample, gate(frame), "frame {frame}");
    }
    // A late event takes effect at the next frame.
    engine.apply_at(FrameIndex(7), &note(1, 30.1, 0.0, 0));
    assert_eq!(heard(&mut engine, 1)[0], 0.0);
}

#[test]
fn a_note_tunes_and_gates_what_has_no_voices() {
    let text = r#"{"version":1,"modules":[{"id":"string","type":"karplus"},{"id":"out","type":"out"}],
        "cables":[{"from":"string","to":"out"}]}"#;
    let mut engine = engine(&Patch::from_json(text).unwrap());
    engine.apply_at(FrameIndex(100), &note(0, 69.0, 1.0, 3_000));
    let out = heard(&mut engine, 40);
    assert!(out[..100].iter().all(|sample| *sample == 0.0));
    assert!(out[100..140].iter().any(|sample| *sample != 0.0));
    let period = |lag: usize| {
        let pairs = out[400..2_000].iter().zip(&out[400 + lag..]);
        pairs.map(|(a, b)| a * b).sum::<f32>()
    };
    // 440 Hz: 109.1 frames.
    let best = (60..160).max_by(|a, b| period(*a).total_cmp(&period(*b)));
    assert_eq!(best, Some(109));
}

#[test]
fn what_waits_survives_a_copy_and_another_patch() {
    let mut first = engine(&keyboard());
    for at in 0..50 {
        first.apply_at(
            FrameIndex(10 + 13 * at),
            &note(1, 60.0, 0.1 + at as f32 / 100.0, 5),
        );
    }
    heard(&mut first, 3);
    let mut copy = engine(&keyboard());
    copy.restore(first.arena()).unwrap();
    // The same modules under other numbers.
    let mut other = keyboard();
    other.modules.remove(0);
    let mut edited = engine(&other);
    edited.adopt_edited(&first);
    let future = bits(&heard(&mut first, 12));
    assert_eq!(bits(&heard(&mut copy, 12)), future);
    // The last stage bridges the step at an edit in the first milliseconds.
    assert_eq!(bits(&heard(&mut edited, 12))[400..], future[400..]);
    let notes = |from: usize| {
        future[from..]
            .windows(2)
            .filter(|w| w[0] == 0 && w[1] != 0)
            .count()
    };
    assert!(notes(0) > 30 && notes(400) > 2);
}

#[test]
fn a_count_of_frames_that_begins_anew_keeps_the_distance() {
    let mut engine = engine(&keyboard());
    heard(&mut engine, 2);
    engine.apply_at(FrameIndex(200), &note(1, 60.0, 1.0, 0));
    engine.rebase();
    let out = heard(&mut engine, 2);
    assert_eq!(out.iter().position(|sample| *sample > 0.0), Some(200 - 128));
    engine.apply_at(FrameIndex(130), &note(1, 60.0, 0.0, 0));
    assert_eq!(heard(&mut engine, 1)[1..3], [1.0, 0.0]);
}

#[test]
fn a_block_is_cut_so_often_and_no_more() {
    let mut engine = engine(&keyboard());
    for at in 0..CONFIG.block_frames {
        engine.apply_at(FrameIndex(at.into()), &note(1, 60.0, 1.0, 1));
    }
    let mut calls = 0;
    let mut block = [0.0; CONFIG.block_samples()];
    engine.render(&mut block, &mut |_| calls += 1);
    assert_eq!(calls, 3 * (CUTS_MAX + 1));
}

#[test]
fn a_ramp_takes_its_time() {
    let mut engine = tone();
    let sine = Patch::default_patch().module_index("sine").unwrap();
    let ramp = |value, ms| Event::Ramp {
        module: sine,
        param: 1,
        value,
        ms,
    };
    engine.apply(&ramp(0.0, 100.0));
    let out = heard(&mut engine, 100);
    let level = |from: usize| {
        out[from..from + 400]
            .iter()
            .fold(0.0, |most: f32, x| most.max(x.abs()))
    };
    // From 0.35 to 0 in 4,800 frames; the filter adds a short delay.
    for (from, most) in [(0, 0.35), (1_200, 0.262), (2_400, 0.175), (3_600, 0.088)] {
        assert!((level(from) - most).abs() < 0.02, "{from}: {}", level(from));
    }
    assert!(level(5_200) < 1e-4);
}

#[test]
fn a_ramp_changes_what_goes_by_steps_at_its_half() {
    let modules = r#"{"id":"s","type":"math","params":{"offset_a":2,"offset_b":3}}"#;
    let patch = patch(modules, &[("s", "o")]);
    let kind = crate::catalog::find("math").unwrap();
    let ramp = |ms: f32, op: f32| Event::Ramp {
        module: 1,
        param: kind.param_index("op").unwrap(),
        value: op,
        ms,
    };
    let mut engine = engine(&patch);
    let before = heard(&mut engine, 1)[0];
    engine.apply(&ramp(8.0, 2.0));
    let out = heard(&mut engine, 12);
    let after = out[767];
    assert_eq!([before, after], [5.0, 6.0]);
    let left = out.iter().position(|sample| *sample != before);
    assert!(matches!(left, Some(192..195)), "{left:?}");
    // A value that is set meanwhile stays.
    engine.apply(&ramp(8.0, 0.0));
    engine.apply(&Event::Param {
        module: 1,
        param: kind.param_index("op").unwrap(),
        value: 2.0,
    });
    assert!(heard(&mut engine, 6).iter().all(|sample| *sample == after));
}

#[test]
fn silence_is_at_once_and_for_good_whatever_rang() {
    // A held gate and note, a long release, an echo that never ends, a feedback cable.
    let text = r#"{"version":1,"modules":[{"id":"keys","type":"midi_in"},{"id":"sine","type":"sine"},
        {"id":"adsr","type":"adsr","params":{"release":20000}},{"id":"delay","type":"delay","params":{"feedback":0.95}},
        {"id":"reverb","type":"reverb"},{"id":"string","type":"karplus"},{"id":"mix","type":"mixer"},{"id":"out","type":"out"}],
        "cables":[{"from":"sine","to":"adsr"},{"from":"keys.gate","to":"adsr.gate"},{"from":"adsr","to":"delay"},
        {"from":"delay","to":"reverb"},{"from":"reverb","to":"mix"},{"from":"string","to":"mix"},{"from":"mix","to":"out"},
        {"from":"mix","to":"delay","feedback":true}]}"#;
    let patch = Patch::from_json(text).unwrap();
    let mut played = engine(&patch);
    let sound = |engine: &mut Engine| {
        engine.apply(&note(0, 60.0, 1.0, 0));
        engine.apply(&Event::Gate {
            module: 5,
            level: 1.0,
        });
        engine.apply(&Event::Param {
            module: 1,
            param: 0,
            value: 330.0,
        });
        heard(engine, 600)
    };
    let first = sound(&mut played);
    assert!(first.iter().any(|sample| sample.abs() > 0.05));
    let clock = played.event_queue().clock();
    played.apply_at(FrameIndex(clock.0 + 100), &note(0, 62.0, 1.0, 0));
    played.apply(&note(0, 60.0, 0.0, 0));
    heard(&mut played, 1);
    played.apply(&Event::Silence);
    let after = heard(&mut played, 300);
    let faded = 48 * 6;
    assert!(
        after[faded..].iter().all(|sample| *sample == 0.0),
        "it rings on: {:?}",
        after[faded..].iter().position(|sample| *sample != 0.0)
    );
    // No step.
    let steepest = first.windows(2).map(|w| (w[1] - w[0]).abs());
    let steepest = steepest.fold(0.0, f32::max);
    let jump = after[..faded].windows(2).map(|w| (w[1] - w[0]).abs());
    assert!(jump.fold(0.0, f32::max) <= 2.0 * steepest);
    // Notes that are played afterwards sound, with the parameters that were set.
    let again = sound(&mut played);
    assert!(again.iter().any(|sample| sample.abs() > 0.05));
}
