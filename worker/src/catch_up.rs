//! Where a worker begins: at the newest valid checkpoint, or where the newest segment of the log begins.
//!
//! From there it renders what it missed, faster than real time, by the very rule by which it
//! renders all blocks: the decisions stand in the shared words, the commands in the log.

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
    /// The engine as it stands before `mark.block`.
    pub engine: Box<Engine>,
    /// Where that is.
    pub mark: Mark,
    /// Up to where blocks had been rendered by then, by whomever.
    pub frontier: BlockIndex,
    /// The commands after `mark.seq` that are in the log already.
    pub commands: Vec<Numbered>,
}

/// Restores the newest valid checkpoint, or begins where the newest segment of the log begins.
///
/// # Errors
/// When the log does not hold what it must.
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

/// Restores the valid checkpoint that ranks highest, or begins where the newest segment of the log begins.
///
/// # Errors
/// When the log does not hold what it must.
pub fn start_from<Rank: Ord>(
    shared: &Shared,
    log: &mut LogTail,
    samples: &Samples,
    rank: impl Fn(&Mark) -> Option<Rank>,
) -> Result<Start> {
    let config = shared.stage.format().into();
    // By their marks alone: to read an arena takes long.
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
        // It may have been written anew meanwhile.
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

/// The engine of a patch, with its recordings, its arena in large pages.
///
/// # Errors
/// When it is no patch that can be played.
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
    // Before that, the segment does not have the commands that follow.
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
        // Before the first record: the patch is the one that was in force there.
        patch_offset: 0,
        next_offset: known.from,
    };
    Ok((engine, mark))
}
