//! From one patch to another while it plays.

use super::*;

#[test]
fn the_same_patch_again_goes_on_to_the_bit() {
    let (mut old, mut new) = (tone(), engine(&Patch::default_patch()));
    new.adopt(&old);
    assert_eq!(bits(&heard(&mut new, 100)), bits(&heard(&mut old, 100)));
}

#[test]
fn another_patch_takes_over_without_a_step() {
    let silent = r#"{"version":1,"modules":[{"id":"out","type":"out"}]}"#;
    let drone = r#"{"version":1,"modules":[{"id":"o","type":"out"},{"id":"sine","type":"sine"}],
        "cables":[{"from":"sine","to":"o"}]}"#;
    let mut changed = Patch::default_patch();
    changed.set_param_named("sine", "gain", 0.1);
    changed.set_param_named("filter", "cutoff", 100.0);
    changed.modules.reverse();
    let json = changed.to_json();
    for text in [silent, drone, &json] {
        for wait in 0..20 {
            let mut old = tone();
            let mut out = heard(&mut old, 1 + wait);
            let mut new = engine(&Patch::from_json(text).unwrap());
            new.adopt(&old);
            out.extend(heard(&mut new, 50));
            assert!(step_max(&out) < 0.045, "{text}: {}", step_max(&out));
        }
    }
}

#[test]
fn a_patch_swap_keeps_state_and_takes_the_new_values() {
    let mut old = tone();
    old.apply(&Event::Param {
        module: 0,
        param: 0,
        value: 880.0,
    });
    heard(&mut old, 20);
    let mut new = engine(&Patch::default_patch());
    new.adopt(&old);
    // The gate is still open, and the tone is back at the patch's 440 Hz.
    let out = &heard(&mut new, 770)[20 * 64..];
    let rising = out.windows(2).filter(|w| w[0] < 0.0 && w[1] >= 0.0).count();
    assert!((439..=441).contains(&rising), "{rising}");
    // The stopped state is kept too.
    old.apply(&Event::Run(false));
    heard(&mut old, 20);
    new.adopt(&old);
    assert!(heard(&mut new, 20).iter().all(|sample| *sample == 0.0));
    // A module with the same id but another type starts from its initial state.
    let mut patch = Patch::default_patch();
    patch.modules[0].kind = "saw".into();
    engine(&patch).adopt(&old);
}
