//! The render thread's code allocates nothing; if it does, this test aborts. Allocations are
//! detected in debug builds only.

#![cfg(debug_assertions)]
use assert_no_alloc::{AllocDisabler, assert_no_alloc};
use common::command::{Event, SequenceControl};
use engine::{
    Config, Engine, catalog,
    patch::{Cable, Patch},
};

#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

#[test]
fn nothing_on_the_render_thread_allocates() {
    let mut patch = Patch::from_json(include_str!("../../patches/palette.json")).unwrap();
    plays_without_an_allocation(&patch);
    // Each module a loop by itself.
    for spec in &patch.modules {
        let kind = catalog::find(&spec.kind).unwrap();
        if let (Some(to), Some(from)) = (kind.inputs.last(), kind.outputs.first()) {
            patch.cables.push(Cable {
                frame: true,
                ..Cable::between(&format!("{}.{from}", spec.id), &format!("{}.{to}", spec.id))
            });
        }
    }
    plays_without_an_allocation(&patch);
}

fn plays_without_an_allocation(patch: &Patch) {
    let config = Config {
        rate_hz: 48_000,
        block_frames: 128,
        channels: 2,
    };
    let mut old = Engine::new(patch, config).unwrap();
    let mut new = Engine::new(patch, config).unwrap();
    let mut out = vec![0.0; config.block_samples()];
    assert_no_alloc(|| {
        for module in 0..patch.modules.len() as u16 {
            old.apply(&Event::Gate { module, level: 1.0 });
            for param in 0..4 {
                old.apply(&Event::Param {
                    module,
                    param,
                    value: 0.3,
                });
            }
            old.render(&mut out, &mut |_| {});
        }
        new.adopt(&old);
        new.render(&mut out, &mut |_| {});
        new.restore(old.arena()).unwrap();
        new.render(&mut out, &mut |_| {});
    });
}

#[test]
fn many_sequences_play_without_an_allocation() {
    let sequence = |n: u32| {
        format!(
            r#"{{"id":"s{n}","running":true,"bpm":{},"swing":0.25,"targets":[{{"module":"kick","role":"gate"}},{{"module":"sine","role":"note"}}],
            "pattern":{{"text":"x.x-X","ratchet":[1,2],"lanes":{{"freq":[100,200,300]}}}},"chain":[{{"pattern":"p","bars":1}}]}}"#,
            100 + n
        )
    };
    let sequences: Vec<String> = (0..64).map(sequence).collect();
    let patch = Patch::from_json(&format!(
        r#"{{"version":1,"modules":[{{"id":"o","type":"out"}},{{"id":"kick","type":"kick"}},{{"id":"sine","type":"sine"}}],
        "sequences":[{}],"patterns":{{"p":"x"}}}}"#,
        sequences.join(",")
    ))
    .unwrap();
    let config = Config {
        rate_hz: 48_000,
        block_frames: 128,
        channels: 2,
    };
    let mut old = Engine::new(&patch, config).unwrap();
    let mut other = patch.clone();
    other.sequences.remove(3);
    other.sequences[4].chain.clear();
    let mut new = Engine::new(&other, config).unwrap();
    let mut out = vec![0.0; config.block_samples()];
    assert_no_alloc(|| {
        for _ in 0..1_000 {
            old.render(&mut out, &mut |_| {});
        }
        new.adopt_edited(&old);
        new.render(&mut out, &mut |_| {});
        new.apply(&Event::ResetSequences);
        for sequence in 0..64 {
            for control in [SequenceControl::Stop, SequenceControl::Join] {
                new.apply(&Event::Sequence { sequence, control });
            }
        }
        new.adopt(&old);
        new.render(&mut out, &mut |_| {});
        new.rebase();
    });
}
