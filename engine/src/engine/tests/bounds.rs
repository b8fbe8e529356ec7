//! Patches and configurations beyond the limits are refused.

use super::*;

#[test]
fn a_patch_with_more_state_than_a_checkpoint_holds_is_refused() {
    let echoes = |count: usize| {
        let spec = |n: usize| crate::patch::ModuleSpec {
            id: format!("m{n}"),
            kind: if n == 0 { "out".into() } else { "delay".into() },
            params: std::collections::BTreeMap::new(),
            sample: None,
            channels: 1,
        };
        let patch = Patch {
            presets: std::collections::BTreeMap::new(),
            version: 1,
            modules: (0..=count).map(spec).collect(),
            cables: vec![],
            sequences: vec![],
            patterns: Default::default(),
            samples: Default::default(),
        };
        Engine::new(&patch, CONFIG).map(|engine| engine.arena_len_bytes() as u64)
    };
    assert!(echoes(200).unwrap() <= ARENA_BYTES_MAX);
    let known = Engine::arena_bytes_of(&all().checked().unwrap(), CONFIG).unwrap();
    assert_eq!(known, engine(&all()).arena_len_bytes());
    let error = echoes(999).err().unwrap().to_string();
    assert!(error.contains("(expected at most"), "{error}");
}

#[test]
fn a_configuration_out_of_bounds_is_refused() {
    let error = |config| Engine::new(&all(), config).err().unwrap().to_string();
    assert_eq!(
        error(Config {
            rate_hz: 1,
            ..CONFIG
        }),
        "rate 1 is out of range (expected 8000 to 192000)"
    );
    assert_eq!(
        error(Config {
            block_frames: 4096,
            ..CONFIG
        }),
        "block 4096 is out of range (expected 16 to 2048)"
    );
    assert_eq!(
        error(Config {
            channels: 0,
            ..CONFIG
        }),
        "channels 0 is out of range (expected 1 to 32)"
    );
}
