//! What a checkpoint of much state costs, beside the block that is rendered in the same time.

use anyhow::Result;
use common::{
    checkpoint::{CHECKPOINT_WORDS, Checkpoint, Mark},
    limits::CHECKPOINT_BLOCKS,
    sync,
    units::{BlockIndex, Seq},
};
use engine::patch::Patch;

use crate::{
    BLOCK_FRAMES, RATE_HZ, ROUNDS, clock,
    ours::{CONFIG, Draft, playing},
    players::check,
};

/// Blocks in a round.
const BLOCKS: usize = 500;
/// Copies in a round.
const COPIES: usize = 20;

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
    let words = sync::heap(CHECKPOINT_WORDS);
    let checkpoint = Checkpoint::create(&words)?;
    let mark = Mark {
        block: BlockIndex(1),
        seq: Seq(1),
        patch_offset: 0,
        next_offset: 0,
    };
    let mut copy = vec![0; engine.arena_len_bytes()];
    let [mut rendering, mut copying, mut writing] = [f64::INFINITY; 3];
    for _ in 0..ROUNDS {
        let ((), seconds) = clock::of(|| {
            for _ in 0..BLOCKS {
                engine.render(&mut out, &mut |_| {});
            }
        });
        rendering = rendering.min(seconds / BLOCKS as f64);
        let ((), seconds) = clock::of(|| {
            for _ in 0..COPIES {
                copy.copy_from_slice(std::hint::black_box(engine.arena()));
            }
        });
        copying = copying.min(seconds / COPIES as f64);
        let ((), seconds) = clock::of(|| {
            for _ in 0..COPIES {
                checkpoint.write(mark, engine.arena());
            }
        });
        writing = writing.min(seconds / COPIES as f64);
    }
    check(&out)?;
    let block = BLOCK_FRAMES as f64 / f64::from(RATE_HZ);
    println!(
        "200 delays: {:.1} MiB of state",
        engine.arena_len_bytes() as f64 / f64::from(1 << 20)
    );
    for (what, seconds) in [
        ("rendering a block", rendering),
        ("copying the state plainly", copying),
        ("writing a checkpoint (copy and checksum)", writing),
    ] {
        println!(
            "FIGURE {what}: {:.3} ms, {:.0} % of the block, {:.2} times a rendered block",
            1e3 * seconds,
            100.0 * seconds / block,
            seconds / rendering
        );
    }
    println!(
        "FIGURE a follower that writes one every {CHECKPOINT_BLOCKS} blocks spends {:.0} % more in all",
        100.0 * writing / (rendering * CHECKPOINT_BLOCKS as f64)
    );
    Ok(())
}
