//! What runs on the render thread allocates nothing: if it does, this test aborts.

use assert_no_alloc::{AllocDisabler, assert_no_alloc};
use common::command::Event;
use engine::{Config, Engine, patch::Patch};

#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

#[test]
fn nothing_on_the_render_thread_allocates() {
    let patch = Patch::from_json(include_str!("../../patches/palette.json")).unwrap();
    let config = Config {
        rate_hz: 48_000,
        block_frames: 128,
        channels: 2,
    };
    let mut old = Engine::new(&patch, config).unwrap();
    let mut new = Engine::new(&patch, config).unwrap();
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
