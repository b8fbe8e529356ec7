//! Where a worker begins: at the newest valid checkpoint, or where the log begins.
//!
//! From there it renders what it missed, faster than real time, by the very rule by which it
//! renders all blocks: the decisions stand in the shared words, the commands in the log.

use anyhow::{Context, Result, bail};
use common::{
    checkpoint::{Checkpoint, Mark, rank},
    command::Command,
    command_log::Record,
    message::Numbered,
    units::{BlockIndex, Seq, Slot},
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

/// Restores the newest valid checkpoint, or begins where the log begins.
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

/// Restores the valid checkpoint that ranks highest, or begins where the log begins.
///
/// # Errors
/// When the log does not hold what it must.
pub fn start_from<Rank: Ord>(
    shared: &Shared,
    log: &mut LogTail,
    samples: &Samples,
    rank: impl Fn(&Mark) -> Option<Rank>,
) -> Result<Start> {
    let config = shared.stage.shape().into();
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
            .inspect_err(|why| {
                say::line("worker", &format!("a checkpoint is passed over: {why:#}"))
            })
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
    let mark = checkpoint.mark().context("it is being written")?;
    log.seek(mark.patch_offset);
    let Some((
        _,
        Record::Command {
            command: Command::Patch(json) | Command::Edited(json),
            ..
        },
    )) = log.next()?
    else {
        bail!(
            "the log holds no patch at {}, where the checkpoint says",
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

fn from_log(log: &mut LogTail, samples: &Samples, config: Config) -> Result<(Engine, Mark)> {
    log.seek(0);
    let mut first = None;
    while let Some((offset, record)) = log.next()? {
        match record {
            Record::Command {
                seq: Seq(1),
                command: Command::Patch(json),
                ..
            } => {
                let engine = build(&json, config, samples)?;
                first = Some((engine, offset, log.offset()));
            }
            Record::State {
                block: BlockIndex(0),
                arena,
                ..
            } => {
                if let Some((engine, ..)) = first.as_mut() {
                    engine
                        .restore(&arena)
                        .context("the resumed state does not fit its patch")?;
                }
            }
            Record::Head { .. } => {}
            _ => break,
        }
    }
    let (engine, patch_offset, next_offset) =
        first.context("the log does not begin with a patch")?;
    let mark = Mark {
        block: BlockIndex(0),
        seq: Seq(1),
        patch_offset,
        next_offset,
    };
    Ok((engine, mark))
}
