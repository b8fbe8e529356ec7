//! A command log of every version of the format can be read, and means what it meant when it was written.
//!
//! The files never change: a change of the format adds a file. Each log plays the default chain, sets
//! parameters by their numbers of that time, and has a command in quarantine (the filter's cutoff).

use std::{collections::BTreeMap, fs, path::Path};

use engine::replay::Replay;

/// The final result of a log: blocks, commands, and the values set by module.
struct Meant {
    version: u32,
    commands: u64,
    values: &'static [(&'static str, &'static str, f32)],
}

const MEANT: [Meant; 5] = [
    Meant {
        version: 2,
        commands: 5,
        values: &[("sine", "freq", 220.0), ("out", "gain_amount", 0.25)],
    },
    Meant {
        version: 3,
        commands: 12,
        values: &[("sine", "freq", 550.0)],
    },
    Meant {
        version: 4,
        commands: 15,
        values: &[("sine", "freq", 550.0)],
    },
    Meant {
        version: 5,
        commands: 15,
        values: &[("sine", "freq", 550.0)],
    },
    Meant {
        version: 6,
        commands: 15,
        values: &[("sine", "freq", 550.0)],
    },
];

#[test]
fn a_log_of_every_version_means_what_it_meant() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs");
    let written = (2..=common::command_log::VERSION).collect::<Vec<_>>();
    let kept: Vec<u32> = MEANT.iter().map(|meant| meant.version).collect();
    assert_eq!(kept, written, "a file of each version");
    for meant in MEANT {
        let name = format!("version-{}.log", meant.version);
        let bytes = fs::read(folder.join(&name)).expect(&name);
        let mut replay = Replay::new(&bytes, Box::new(|_| None)).expect(&name);
        let mut block = vec![0.0; replay.format().block_samples()];
        let mut heard = 0.0_f32;
        while replay.next(&mut block).expect(&name) {
            heard = block
                .iter()
                .fold(heard, |peak, sample| peak.max(sample.abs()));
        }
        assert_eq!(
            (replay.blocks(), replay.commands()),
            (40, meant.commands),
            "{name}"
        );
        assert!(heard > 0.01, "{name} is silent");
        let patch = replay.patch();
        for (module, param, value) in meant.values {
            let module = patch.modules.iter().find(|spec| spec.id == *module);
            let set: &BTreeMap<String, f32> = &module.expect(&name).params;
            assert_eq!(set.get(*param), Some(value), "{name}: {param}");
        }
        let cutoff = patch.modules[2].params.get("cutoff");
        assert_ne!(cutoff, Some(&900.0), "{name}: it is in quarantine");
    }
}
