//! A patch of 1,000 modules in real time, block by block, and the time that an edit of it takes.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use engine::{Engine, patch::Patch};

use crate::{
    BLOCK_FRAMES, RATE_HZ, clock,
    ours::{CONFIG, Draft, playing},
    peers::check,
};

/// Blocks that are timed one after the other, and in time.
const BLOCKS: usize = 20_000;
const BLOCKS_IN_TIME: usize = 6_000;
/// The priority that is asked for in time: a worker's.
const PRIORITY: i32 = 5;
/// Edits that are timed.
const EDITS: usize = 40;

/// 249 chains of four modules, and four more.
pub fn patch() -> Patch {
    let mut draft = Draft::new(0.004);
    for number in 0..249_u8 {
        let source = ["sine", "saw"][usize::from(number % 2)];
        let names = ["s", "e", "f", "v"].map(|name| format!("{name}{number}"));
        let [source_id, envelope, filter, vca] = names.each_ref().map(String::as_str);
        let freq = 110.0 + 3.0 * f32::from(number);
        draft.module(source_id, source, &[("freq", freq)], 1);
        draft.module(envelope, "adsr", &[], 1);
        draft.module(filter, "filter", &[("cutoff", 1_000.0), ("q", 3.0)], 1);
        draft.module(vca, "vca", &[("level", 0.8)], 1);
        draft.chain(&[source_id, envelope, filter, vca, "out"]);
    }
    draft.module("wind", "noise", &[("gain", 0.2)], 1);
    draft.module("echo", "delay", &[], 1);
    draft.module("mix", "mixer", &[], 1);
    draft.chain(&["wind", "echo", "mix", "out"]);
    draft.done()
}

/// The patch after an edit: one module plugged in anew, one gone, one parameter moved.
fn edited(patch: &Patch, number: usize) -> Patch {
    let mut patch = patch.clone();
    let gone = format!("v{}", number % 249);
    let filter = format!("f{}", number % 249);
    patch.modules.retain(|module| module.id != gone);
    patch
        .cables
        .retain(|cable| cable.to != gone && cable.from != gone);
    let mut new = patch.modules[1].clone();
    new.id = "new".into();
    patch.modules.push(new);
    for (from, to) in [(filter.as_str(), "mix.in2"), ("new", "mix.in3")] {
        patch.cables.push(engine::patch::Cable::between(from, to));
    }
    patch.set_param_named(&format!("f{}", (number + 1) % 249), "cutoff", 2_000.0);
    patch
}

/// The least, the middle, the 99th of a hundred, and the greatest.
fn spread(mut values: Vec<f64>) -> [f64; 4] {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share) as usize];
    [at(0.0), at(0.5), at(0.99), at(1.0)]
}

/// The length of a block.
fn block_time() -> Duration {
    Duration::from_secs(1) * BLOCK_FRAMES as u32 / RATE_HZ
}

/// The processor time of each block, one rendered after the other, as shares of a block.
fn in_a_row(engine: &mut Engine) -> Result<Vec<f64>> {
    let mut out = vec![0.0; CONFIG.block_samples()];
    let mut shares = Vec::with_capacity(BLOCKS);
    for _ in 0..BLOCKS {
        let ((), seconds) = clock::of(|| engine.render(&mut out, &mut |_| {}));
        shares.push(seconds / block_time().as_secs_f64());
    }
    check(&out)?;
    Ok(shares)
}

/// The time by the wall of each block, each rendered when it is due, as shares of a block; and
/// whether that was with real-time priority.
fn in_time(engine: &mut Engine) -> Result<(Vec<f64>, bool)> {
    let mut out = vec![0.0; CONFIG.block_samples()];
    let mut shares = Vec::with_capacity(BLOCKS_IN_TIME);
    let work = || {
        let granted = platform::realtime::ask_priority(PRIORITY);
        platform::realtime::flush_denormals();
        let begun = Instant::now();
        for number in 0..BLOCKS_IN_TIME {
            let due = begun + block_time() * number as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let begun = Instant::now();
            engine.render(&mut out, &mut |_| {});
            shares.push(begun.elapsed().as_secs_f64() / block_time().as_secs_f64());
        }
        granted
    };
    let granted = std::thread::scope(|scope| scope.spawn(work).join());
    let granted = granted.map_err(|_| anyhow!("the thread that renders has panicked"))?;
    check(&out)?;
    Ok((shares, granted))
}

/// Prints it.
///
/// # Errors
/// When the patch is wrong or plays no sound.
pub fn measure() -> Result<()> {
    let patch = patch();
    let count = patch.modules.len();
    let mut engine = playing(&patch)?;
    let shares = in_a_row(&mut engine)?;
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    let [least, p50, p99, max] = spread(shares);
    let ns = p50 * block_time().as_secs_f64() * 1e9 / count as f64;
    println!(
        "FIGURE {count} modules, processor time of {BLOCKS} blocks in a row: mean {:.1}, least {:.1}, \
         p50 {:.1}, p99 {:.1}, max {:.1} % of the block; p50 {ns:.0} ns a module and block",
        100.0 * mean,
        100.0 * least,
        100.0 * p50,
        100.0 * p99,
        100.0 * max
    );
    let (shares, granted) = in_time(&mut engine)?;
    let [_, p50, p99, max] = spread(shares);
    println!(
        "FIGURE {count} modules, {BLOCKS_IN_TIME} blocks in time, {} real-time priority, by the wall: \
         p50 {:.1}, p99 {:.1}, max {:.1} % of the block",
        if granted { "with" } else { "without" },
        100.0 * p50,
        100.0 * p99,
        100.0 * max
    );
    edits(&patch, engine)
}

/// How long it takes until an edit is heard.
fn edits(patch: &Patch, mut engine: Engine) -> Result<()> {
    let mut out = vec![0.0; CONFIG.block_samples()];
    let (mut making, mut adopting) = (Vec::new(), Vec::new());
    for number in 0..EDITS {
        let patch = edited(patch, number);
        let (new, seconds) = clock::of(|| Engine::new(&patch, CONFIG));
        let mut new = new?;
        making.push(1e3 * seconds);
        let ((), seconds) = clock::of(|| new.adopt(&engine));
        adopting.push(1e3 * seconds);
        engine = new;
        engine.render(&mut out, &mut |_| {});
        check(&out)?;
    }
    for (what, times) in [
        ("to make the new engine (control thread)", making),
        ("to take over the state (render thread)", adopting),
    ] {
        let [least, p50, _, max] = spread(times);
        println!("FIGURE an edit, {what}: least {least:.3}, p50 {p50:.3}, max {max:.3} ms");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patch_has_a_thousand_modules_before_and_after_edits() {
        let patch = patch();
        assert_eq!(patch.modules.len(), 1_000);
        for number in 0..EDITS {
            let edited = edited(&patch, number);
            assert_eq!(edited.modules.len(), 1_000);
            assert!(Engine::new(&edited, CONFIG).is_ok());
        }
    }

    #[test]
    fn a_spread_is_in_order() {
        let values = (0..=100).rev().map(f64::from).collect();
        assert_eq!(spread(values), [0.0, 50.0, 99.0, 100.0]);
    }
}
