//! What a loop of one frame of delay costs: a patch of 1,000 modules with four of them in such a loop,
//! beside the same patch without the cable that closes it.

use anyhow::Result;
use engine::{
    Engine,
    patch::{Cable, Patch},
};

use crate::{
    BLOCK_FRAMES, RATE_HZ, ROUNDS, clock, graph,
    ours::{CONFIG, playing},
    peers::check,
};

/// Blocks in a round: with all modules rendered frame by frame, some seconds of work.
const BLOCKS: usize = 1_000;

/// The patch of [`graph`], whose first chain leads back into the oscillator that it begins with.
fn patch() -> Patch {
    let mut patch = graph::patch();
    patch.cables.push(Cable {
        frame: true,
        ..Cable::between("v0", "s0.fm")
    });
    patch
}

/// Seconds that a block takes of the processor.
fn block_seconds(engine: &mut Engine) -> Result<f64> {
    let mut out = vec![0.0; CONFIG.block_samples()];
    let ((), seconds) = clock::of(|| {
        for _ in 0..BLOCKS {
            engine.render(&mut out, &mut |_| {});
        }
    });
    check(&out)?;
    Ok(seconds / BLOCKS as f64)
}

/// Prints it.
///
/// # Errors
/// When the patch is wrong or plays no sound.
pub fn measure() -> Result<()> {
    let (with, without) = (patch(), graph::patch());
    let count = with.modules.len();
    let mut engines = [playing(&without)?, playing(&with)?];
    let mut best = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        for (engine, best) in engines.iter_mut().zip(&mut best) {
            *best = best.min(block_seconds(engine)?);
        }
    }
    let share = best.map(|seconds| 100.0 * seconds * f64::from(RATE_HZ) / BLOCK_FRAMES as f64);
    println!(
        "FIGURE {count} modules, four of them in a loop of one frame: {:.1} % of the block; without the loop {:.1} %; \
         the loop {:.1} µs, {:.0} ns a module and frame",
        share[1],
        share[0],
        1e6 * (best[1] - best[0]),
        1e9 * (best[1] - best[0]) / (4 * BLOCK_FRAMES) as f64
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patch_has_a_thousand_modules_and_a_loop() {
        assert_eq!(patch().modules.len(), 1_000);
        assert!(Engine::new(&patch(), CONFIG).is_ok());
    }
}
