//! The engine as a library: renders two seconds of a patch to samples, in this process, and prints their peak.
//!
//! cargo run --release -p understudy-engine --example render [PATCH.json]   (default: patches/drone.json)

use engine::{Config, Engine, patch::Patch};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let drone = concat!(env!("CARGO_MANIFEST_DIR"), "/../patches/drone.json");
    let file = std::env::args().nth(1).unwrap_or_else(|| drone.into());
    let patch = Patch::from_json(&std::fs::read_to_string(file)?)?;
    let config = Config {
        rate_hz: 48_000,
        block_frames: 128,
        channels: 2,
    };
    let mut engine = Engine::new(&patch, config)?;
    let mut block = vec![0.0; config.block_samples()];
    let mut peak = 0.0_f32;
    for _ in 0..2 * config.rate_hz / config.block_frames {
        // The closure is called before each module: a worker leaves its breadcrumb there.
        engine.render(&mut block, &mut |_module| {});
        peak = block.iter().fold(peak, |peak, x| peak.max(x.abs()));
    }
    println!("peak {peak:.3}");
    Ok(())
}
