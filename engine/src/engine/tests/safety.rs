//! The safety stage in an engine: it delays and does nothing else to valid sound, it is off if the patch
//! says so, and it continues through copies and edits.

use common::limits::safety_delay_frames;

use super::*;

const DELAY: usize = safety_delay_frames(48_000) as usize;

/// An engine with the safety stage.
fn guarded(patch: &Patch) -> Engine {
    GUARDED.set(true);
    let guarded = engine(patch);
    GUARDED.set(false);
    guarded
}

/// A tone multiplied by `times`.
fn loud(safety: f32, times: f32) -> Patch {
    let json = format!(
        r#"{{"version":1,"modules":[{{"id":"s","type":"sine","params":{{"freq":200,"gain":1}}}},
        {{"id":"m","type":"math","params":{{"op":2,"offset_b":{times}}}}},
        {{"id":"o","type":"out","params":{{"safety":{safety}}}}}],
        "cables":[{{"from":"s","to":"m.a"}},{{"from":"m","to":"o"}}]}}"#
    );
    Patch::from_json(&json).unwrap()
}

fn param(patch: &Patch, module: &str, param: &str, value: f32) -> Event {
    let number = patch.module_index(module).unwrap();
    let kind = &patch.modules[usize::from(number)].kind;
    let param = crate::catalog::find(kind)
        .unwrap()
        .param_index(param)
        .unwrap();
    Event::Param {
        module: number,
        param,
        value,
    }
}

fn peak(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |peak, x| peak.max(x.abs()))
}

#[test]
fn what_is_not_too_loud_comes_out_to_the_bit_and_late_by_the_delay() {
    let patch = loud(1.0, 0.96);
    let (mut bare, mut safe) = (engine(&patch), guarded(&patch));
    let (bare, safe) = (heard(&mut bare, 1_000), heard(&mut safe, 1_000));
    assert!(peak(&bare) > 0.95);
    assert_eq!(bits(&safe[DELAY..]), bits(&bare[..64_000 - DELAY]));
}

#[test]
fn a_patch_turns_it_off_and_on_while_it_plays() {
    let patch = loud(0.0, 8.0);
    let mut engine = guarded(&patch);
    assert!(peak(&heard(&mut engine, 100)) > 7.9);
    engine.apply(&param(&patch, "o", "safety", 1.0));
    heard(&mut engine, 3);
    assert!(peak(&heard(&mut engine, 100)) < 0.9773);
    let removed = engine.removed();
    assert!(
        (removed.limited - (1.0 - 0.977 / 8.0)).abs() < 0.01 && removed.limited_samples > 10_000
    );
    engine.apply(&param(&patch, "o", "safety", 0.0));
    heard(&mut engine, 750);
    assert!(peak(&heard(&mut engine, 100)) > 7.9);
}

#[test]
fn an_edit_and_another_patch_go_on_in_the_middle_of_it() {
    let patch = loud(1.0, 8.0);
    for with_values in [false, true] {
        let mut old = guarded(&patch);
        heard(&mut old, 100);
        let mut new = guarded(&patch);
        match with_values {
            true => new.adopt(&old),
            false => new.adopt_edited(&old),
        }
        assert_eq!(bits(&heard(&mut new, 100)), bits(&heard(&mut old, 100)));
        assert_eq!(new.removed(), old.removed());
    }
}

#[test]
fn after_a_mute_the_sound_comes_back_slowly_and_never_beyond_the_ceiling() {
    let patch = loud(1.0, 100.0);
    let mut engine = guarded(&patch);
    assert!(heard(&mut engine, 100).iter().all(|sample| *sample == 0.0));
    assert!(engine.muted().is_some());
    // Still twenty times too loud.
    engine.apply(&param(&patch, "m", "offset_b", 20.0));
    let out = heard(&mut engine, 2_000);
    let begin = out.iter().position(|sample| *sample != 0.0).unwrap();
    assert!(begin < 1_000, "{begin}");
    // Half a second from silence to the ceiling.
    for (ms, level) in [(50, 0.1), (100, 0.2), (250, 0.5), (500, 1.0)] {
        let peak = peak(&out[begin..begin + 48 * ms]);
        let most = crate::safety::CEILING * level;
        assert!(
            (0.9 * most..=1.01 * most).contains(&peak),
            "{ms} ms: {peak}"
        );
    }
    assert!(peak(&out) <= crate::safety::CEILING);
}
