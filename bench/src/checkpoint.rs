//! What a checkpoint of much state costs, beside the block that is rendered in the same time.

use anyhow::{Context, Result};
use common::{
    checkpoint::{CHECKPOINT_WORDS, Checkpoint, Mark, Writer},
    sync,
    units::{BlockIndex, Seq},
};
use engine::patch::Patch;

use crate::{
    BLOCK_FRAMES, RATE_HZ, ROUNDS, clock,
    ours::{CONFIG, Draft, playing},
    peers::check,
};

/// Blocks in a round.
const BLOCKS: usize = 500;
/// Times that a checkpoint is read.
const READS: usize = 20;

/// 200 delays in a row of parallel lines: 16 MiB of state.
fn patch() -> Patch {
    let mut draft = Draft::new(0.01);
    draft.module("source", "sine", &[], 1);
    for number in 0..200_u8 {
        let id = format!("d{number}");
        draft.module(&id, "delay", &[("time", 1.0 + f32::from(number))], 1);
        draft.chain(&["source", &id, "out"]);
    }
    draft.done()
}

/// Prints it.
///
/// # Errors
/// When the patch is wrong or plays no sound.
pub fn measure() -> Result<()> {
    let mut engine = playing(&patch())?;
    let mut out = vec![0.0; CONFIG.block_samples()];
    let words = [sync::heap(CHECKPOINT_WORDS), sync::heap(CHECKPOINT_WORDS)];
    let both = [
        Checkpoint::create(&words[0])?,
        Checkpoint::create(&words[1])?,
    ];
    let mut block = 0;
    let mut rendering = Vec::new();
    for _ in 0..ROUNDS * BLOCKS {
        let ((), seconds) = clock::of(|| {
            engine.render(&mut out, &mut |_| {});
        });
        rendering.push(seconds);
    }
    check(&out)?;
    println!(
        "200 delays: {:.1} MiB of state",
        engine.arena_len_bytes() as f64 / f64::from(1 << 20)
    );
    let alone = mean(&rendering);
    say("a block without checkpoints", &mut rendering, alone);
    let mut writer = Writer::new();
    writer.begin(engine.words().len());
    let (mut first, mut steady) = (Vec::new(), Vec::new());
    let mut finished = 0;
    for _ in 0..ROUNDS * BLOCKS {
        block += 1;
        let mark = Mark {
            block: BlockIndex(block),
            seq: Seq(1),
            patch_offset: 0,
            next_offset: 0,
        };
        let (done, seconds) = clock::of(|| {
            engine.render(&mut out, &mut |_| {});
            writer.note(engine.written());
            writer.go_on(&both, mark, engine.words(), engine.active(), false)
        });
        match finished {
            0 | 1 => first.push(seconds),
            _ => steady.push(seconds),
        }
        finished += u64::from(done);
    }
    let needed = first.len();
    say(
        "a block while both are filled for the first time",
        &mut first,
        alone,
    );
    say(
        "a block while checkpoints are kept up to date",
        &mut steady,
        alone,
    );
    println!(
        "FIGURE both are filled after {needed} blocks, then one is finished every {:.1}",
        steady.len() as f64 / (finished - 2) as f64
    );
    let mut copy = vec![0; engine.words().len()];
    let newest = both.iter().max_by_key(|checkpoint| checkpoint.block());
    let mut reading = Vec::new();
    for _ in 0..READS {
        let (whole, seconds) = clock::of(|| newest.and_then(|newest| newest.read(&mut copy)));
        whole.context("the checkpoint cannot be read")?;
        reading.push(seconds);
    }
    say("reading one, checksum included", &mut reading, alone);
    Ok(())
}

fn mean(seconds: &[f64]) -> f64 {
    seconds.iter().sum::<f64>() / seconds.len() as f64
}

fn say(what: &str, seconds: &mut [f64], alone: f64) {
    let block = BLOCK_FRAMES as f64 / f64::from(RATE_HZ);
    let mean = mean(seconds);
    seconds.sort_by(f64::total_cmp);
    let at = |part: f64| 1e3 * seconds[((seconds.len() - 1) as f64 * part) as usize];
    println!(
        "FIGURE {what}: mean {:.3} ms, {:+.0} % of a block alone, {:.0} % of its time; p50 {:.3}, p99 {:.3} ms",
        1e3 * mean,
        100.0 * (mean / alone - 1.0),
        100.0 * mean / block,
        at(0.5),
        at(0.99)
    );
}
