//! The first state of a worker: restored from a checkpoint, or from the beginning of the log's newest
//! segment.
//!
//! From there the worker renders the missed blocks, faster than real time and by the same rule as all
//! blocks: the decisions are in shared memory, the commands in the log.

use anyhow::{Context, Result, bail};
use common::{
    checkpoint::{Checkpoint, Mark, rank},
    message::Numbered,
    units::{BlockIndex, Slot},
};
use engine::{Config, Engine, patch::Patch};
use platform::{heap, samples::Samples, say, shared::Shared, shm};

use crate::log_tail::LogTail;

/// A worker's first state.
pub struct Start {
    /// The engine in its state before `mark.block`.
    pub engine: Box<Engine>,
    /// The block, sequence number and places in the log of that state.
    pub mark: Mark,
    /// The first block that neither slot had rendered at that time.
    pub frontier: BlockIndex,
    /// The commands after `mark.seq` that the log holds already.
    pub commands: Vec<Numbered>,
}

/// Restores the best valid checkpoint, by [`rank`], or begins where the newest segment of the log begins.
///
/// # Errors
/// When the log lacks a patch, a state or a command that is needed.
pub fn start(shared: &Shared, log: &mut LogTail, samples: &Samples) -> Result<Start> {
    let frontier = frontier(shared);
    start_from(shared, log, samples, |mark| {
        Some(rank(mark.block, frontier))
    })
}

fn frontier(shared: &Shared) -> BlockIndex {
    let frontiers = Slot::ALL.map(|slot| shared.stage.slot(slot).frontier());
    frontiers.into_iter().max().unwrap_or_default()
}

/// As [`start`], with another ranking. Checkpoints for which `rank` is `None` are not used.
///
/// # Errors
/// As [`start`].
pub fn start_from<Rank: Ord>(
    shared: &Shared,
    log: &mut LogTail,
    samples: &Samples,
    rank: impl Fn(&Mark) -> Option<Rank>,
) -> Result<Start> {
    let config = shared.stage.format().into();
    // Ranked by their marks alone, since reading an arena takes long.
    let mut ranked: Vec<(Rank, &Checkpoint<'_>)> = shared
        .checkpoints
        .iter()
        .flatten()
        .filter_map(|checkpoint| Some((rank(&checkpoint.mark()?)?, checkpoint)))
        .collect();
    ranked.sort_by(|(a, _), (b, _)| b.cmp(a));
    let restored = ranked.iter().find_map(|(_, checkpoint)| {
        let restored = from_checkpoint(log, samples, config, checkpoint);
        let (engine, mark) = restored
            .inspect_err(|why| say::line("worker", &format!("a checkpoint is skipped: {why:#}")))
            .ok()?;
        // The checkpoint may have been overwritten since it was ranked.
        rank(&mark).is_some().then_some((engine, mark))
    });
    let (engine, mark) = match restored {
        Some(restored) => restored,
        None => from_log(log, samples, config)?,
    };
    log.seek(mark.next_offset);
    let commands = log.commands()?;
    Ok(Start {
        engine: Box::new(engine),
        mark,
        frontier: frontier(shared),
        commands,
    })
}

/// Builds the engine of a patch with its recordings; the arena lies in large pages.
///
/// # Errors
/// When the patch cannot be played.
pub fn build(json: &str, config: Config, samples: &Samples) -> Result<Engine> {
    let patch = Patch::from_log_unchecked(json)?.fetched(&|id| samples.find(id));
    Ok(Engine::new_in(&patch, config, heap::zeroed)?)
}

fn from_checkpoint(
    log: &mut LogTail,
    samples: &Samples,
    config: Config,
    checkpoint: &Checkpoint<'_>,
) -> Result<(Engine, Mark)> {
    let mark = checkpoint
        .mark()
        .context("the checkpoint is being written")?;
    // The segment lacks commands that follow an older checkpoint.
    if !log.reaches(mark.next_offset) {
        bail!("the log begins after the checkpoint");
    }
    let Some(json) = log.patch(mark.patch_offset)? else {
        bail!(
            "the log has no patch at {}, the place in the checkpoint",
            mark.patch_offset
        );
    };
    let engine = build(&json, config, samples)?;
    shm::touch(checkpoint.filled(engine.arena_len_bytes()), false);
    let mut found = None;
    let engine = engine.restored(|arena| {
        found = checkpoint.read(arena);
        found.is_some_and(|found| found.patch_offset == mark.patch_offset)
    })?;
    Ok((engine, found.unwrap_or(mark)))
}

fn from_log(log: &LogTail, samples: &Samples, config: Config) -> Result<(Engine, Mark)> {
    let beginning = log.beginning()?;
    let mut engine = build(&beginning.patch.0, config, samples)?;
    if beginning.arena.is_empty() && beginning.segment.block > BlockIndex(0) {
        bail!("there is no initial state: no checkpoint and no log");
    }
    if !beginning.arena.is_empty() {
        engine
            .restore(&beginning.arena)
            .context("the state in the log does not fit its patch")?;
    }
    let known = beginning.segment;
    let mark = Mark {
        block: known.block,
        seq: known.seq,
        // Before the first record: the patch is the one in force where the segment begins.
        patch_offset: 0,
        next_offset: known.from,
    };
    Ok((engine, mark))
}
