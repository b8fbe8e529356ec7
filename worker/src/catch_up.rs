//! Where a worker begins: at the newest valid checkpoint, or where the log begins.
//!
//! From there it renders what it missed, faster than real time, by the very rule by which it
//! renders all blocks: the decisions stand in the shared words, the commands in the log.

use anyhow::{Context, Result, bail};
use common::{
    checkpoint::{Checkpoint, Mark},
    command::Command,
    command_log::Record,
    limits::PROOF_BLOCKS,
    message::Numbered,
    units::{BlockIndex, Seq, Slot},
};
use engine::{Config, Engine, patch::Patch};
use platform::shared::Shared;

use crate::log_tail::LogTail;

/// A worker's first state.
pub struct Start {
    /// The engine as it stands before `mark.block`.
    pub engine: Box<Engine>,
    /// Where that is.
    pub mark: Mark,
    /// The commands after `mark.seq` that are in the log already.
    pub commands: Vec<Numbered>,
}

/// Restores the newest valid checkpoint, or begins where the log begins.
///
/// # Errors
/// When the log does not hold what it must.
pub fn start(shared: &Shared, log: &mut LogTail) -> Result<Start> {
    // Far enough back that the blocks to prove itself by have been played already; a block is
    // rendered again in microseconds, but the next one is to be waited for.
    let frontier = Slot::ALL
        .map(|slot| shared.stage.slot(slot).frontier())
        .into_iter()
        .max();
    let provable = |mark: &Mark| mark.block.0 + PROOF_BLOCKS <= frontier.unwrap_or_default().0;
    start_from(shared, log, |mark| Some((provable(mark), mark.block)))
}

/// Restores the valid checkpoint that ranks highest, or begins where the log begins.
///
/// # Errors
/// When the log does not hold what it must.
pub fn start_from<Rank: Ord>(
    shared: &Shared,
    log: &mut LogTail,
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
    let best = ranked
        .iter()
        .filter_map(|(_, checkpoint)| checkpoint.read())
        .find(|(mark, _)| rank(mark).is_some());
    let (engine, mark) = match best {
        Some((mark, arena)) => (from_checkpoint(log, config, mark, &arena)?, mark),
        None => from_log(log, config)?,
    };
    log.seek(mark.next_offset);
    let commands = log.commands()?;
    Ok(Start {
        engine: Box::new(engine),
        mark,
        commands,
    })
}

fn from_checkpoint(log: &mut LogTail, config: Config, mark: Mark, arena: &[u8]) -> Result<Engine> {
    log.seek(mark.patch_offset);
    let Some((
        _,
        Record::Command {
            command: Command::Patch(json),
            ..
        },
    )) = log.next()?
    else {
        bail!(
            "the log holds no patch at {}, where the checkpoint says",
            mark.patch_offset
        );
    };
    let mut engine = Engine::new(&Patch::from_json(&json)?, config)?;
    engine
        .restore(arena)
        .context("the checkpoint does not fit its patch")?;
    Ok(engine)
}

fn from_log(log: &mut LogTail, config: Config) -> Result<(Engine, Mark)> {
    log.seek(0);
    let mut first = None;
    while let Some((offset, record)) = log.next()? {
        match record {
            Record::Command {
                seq: Seq(1),
                command: Command::Patch(json),
                ..
            } => {
                let engine = Engine::new(&Patch::from_json(&json)?, config)?;
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
