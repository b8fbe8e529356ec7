//! All segments of an instance and their names. The supervisor creates them; the other processes open
//! them.

use std::path::PathBuf;

use common::{
    checkpoint::{CHECKPOINT_WORDS, Checkpoint, checkpoint_words},
    inbox::{INBOX_WORDS, Inbox},
    layout::LayoutError,
    ring::{Ring, ring_words},
    stage::{AudioFormat, Listener, STAGE_WORDS, Stage},
    tape::{Tape, tape_cells, tape_words},
    units::{First, Slot},
};

use crate::{
    futex,
    shm::{self, ShmError},
};

/// The environment variable with the process id of the launcher that began the instance. That id is part
/// of every segment's name; a launcher that takes over keeps it.
pub const LAUNCHER_PID: &str = "UNDERSTUDY_LAUNCHER_PID";

/// The shared memory of an instance, mapped until the process ends.
#[derive(Clone, Copy)]
pub struct Shared {
    /// The stage.
    pub stage: Stage<'static>,
    /// The rings of both slots.
    pub rings: [Ring<'static>; 2],
    /// Two checkpoints of each slot.
    pub checkpoints: [[Checkpoint<'static>; 2]; 2],
}

/// Reserves room in all checkpoints of an instance for an arena of `arena_bytes` bytes.
///
/// # Errors
/// When there is no room.
pub fn reserve_checkpoints(instance: &str, arena_bytes: usize) -> Result<(), SharedError> {
    let names = Names::of(instance)?;
    for slot in Slot::ALL {
        for which in 0..2 {
            shm::reserve(
                &names.checkpoint(slot, which),
                checkpoint_words(arena_bytes),
            )?;
        }
    }
    Ok(())
}

/// Opens the inbox of an instance, which only gateway and supervisor map.
///
/// # Errors
/// When it is missing, unfinished or of another build.
pub fn inbox(instance: &str) -> Result<Inbox<'static>, SharedError> {
    let name = Names::of(instance)?.name("inbox");
    Inbox::open(shm::open(&name)?).map_err(|e| SharedError::Layout(name, e))
}

/// Opens the stage of an instance, for a program that needs no other segment.
///
/// # Errors
/// When it is missing, unfinished or of another build.
pub fn stage(instance: &str) -> Result<Stage<'static>, SharedError> {
    let name = Names::of(instance)?.name("stage");
    Stage::open(shm::open(&name)?).map_err(|e| SharedError::Layout(name, e))
}

/// Opens the tape of an instance, which only audio-out, recorder and supervisor map.
///
/// # Errors
/// When it is missing, unfinished or of another build.
pub fn tape(instance: &str, format: &AudioFormat) -> Result<Tape<'static>, SharedError> {
    let name = Names::of(instance)?.name("tape");
    Tape::open(shm::open(&name)?, format.block_samples()).map_err(|e| SharedError::Layout(name, e))
}

/// The name of the file in which the supervisor leaves its state for the next supervisor.
pub const LEDGER: &str = "ledger";

/// The path of a file of an instance that is kept in memory and removed with the segments.
///
/// # Errors
/// When [`LAUNCHER_PID`] is not set.
pub fn file(instance: &str, what: &str) -> Result<PathBuf, SharedError> {
    Ok(shm::path(&Names::of(instance)?.name(what)))
}

/// Why the shared memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// The operating system refused.
    #[error(transparent)]
    Shm(#[from] ShmError),
    /// The content does not have the expected layout.
    #[error("shared memory {0}: {1}")]
    Layout(String, LayoutError),
    /// [`LAUNCHER_PID`] is not set.
    #[error("{LAUNCHER_PID} is not set; start this program with `understudy up`")]
    NoLauncher,
}

impl SharedError {
    /// Whether the segment was never created, as far as can be seen, or not completely. All other errors
    /// concern segments that exist.
    #[must_use]
    pub const fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Shm(ShmError::Missing(_)) | Self::Layout(_, LayoutError::Unfinished)
        )
    }
}

struct Names {
    instance: String,
    launcher: u32,
}

impl Names {
    fn of(instance: &str) -> Result<Self, SharedError> {
        let launcher = std::env::var(LAUNCHER_PID)
            .ok()
            .and_then(|pid| pid.parse().ok());
        Ok(Self {
            instance: instance.into(),
            launcher: launcher.ok_or(SharedError::NoLauncher)?,
        })
    }

    fn name(&self, what: &str) -> String {
        shm::name(&self.instance, self.launcher, what)
    }

    fn ring(&self, slot: Slot) -> String {
        self.name(&format!("ring-{slot}"))
    }

    fn checkpoint(&self, slot: Slot, which: usize) -> String {
        self.name(&format!("checkpoint-{slot}-{which}"))
    }
}

impl Shared {
    /// Creates all segments, with room in the checkpoints for an arena of `arena_bytes` bytes, for a run
    /// whose counters begin at `first`. The stage is created last, so a process that finds the stage
    /// finds all segments.
    ///
    /// # Errors
    /// When there is no room or the names are taken.
    pub fn create(
        instance: &str,
        format: &AudioFormat,
        arena_bytes: usize,
        first: First,
    ) -> Result<Self, SharedError> {
        let names = Names::of(instance)?;
        let samples = format.block_samples();
        let (rings, checkpoints) = parts(
            |slot| {
                let name = names.ring(slot);
                let words = fresh(&name, ring_words(samples))?;
                Ring::create(words, samples).map_err(|e| SharedError::Layout(name, e))
            },
            |slot, which| {
                let name = names.checkpoint(slot, which);
                shm::unlink(&name);
                // Room for a larger arena is reserved when its patch is accepted.
                let words =
                    shm::create_partly(&name, CHECKPOINT_WORDS, checkpoint_words(arena_bytes))?;
                Checkpoint::create(words).map_err(|e| SharedError::Layout(name, e))
            },
        )?;
        let name = names.name("inbox");
        let words = fresh(&name, INBOX_WORDS)?;
        Inbox::create_from(words, first.number).map_err(|e| SharedError::Layout(name, e))?;
        let name = names.name("tape");
        let cells = tape_cells(format);
        let words = fresh(&name, tape_words(samples, cells))?;
        Tape::create_from(words, samples, cells, first)
            .map_err(|e| SharedError::Layout(name, e))?;
        let name = names.name("stage");
        let words = fresh(&name, STAGE_WORDS)?;
        let stage =
            Stage::create_from(words, format, first).map_err(|e| SharedError::Layout(name, e))?;
        Ok(Self {
            stage,
            rings,
            checkpoints,
        })
    }

    /// Opens all segments.
    ///
    /// # Errors
    /// When one is missing, unfinished or of another build.
    pub fn open(instance: &str) -> Result<Self, SharedError> {
        Self::open_named(&Names::of(instance)?)
    }

    /// Opens all segments of the instance that a given launcher began, for tests that observe it.
    ///
    /// # Errors
    /// When one is missing, unfinished or of another build.
    pub fn open_of(instance: &str, launcher: u32) -> Result<Self, SharedError> {
        let instance = instance.into();
        Self::open_named(&Names { instance, launcher })
    }

    fn open_named(names: &Names) -> Result<Self, SharedError> {
        let name = names.name("stage");
        let stage = Stage::open(shm::open(&name)?).map_err(|e| SharedError::Layout(name, e))?;
        let samples = stage.format().block_samples();
        let (rings, checkpoints) = parts(
            |slot| {
                let name = names.ring(slot);
                Ring::open(shm::open(&name)?, samples).map_err(|e| SharedError::Layout(name, e))
            },
            |slot, which| {
                let name = names.checkpoint(slot, which);
                Checkpoint::open(shm::open(&name)?).map_err(|e| SharedError::Layout(name, e))
            },
        )?;
        Ok(Self {
            stage,
            rings,
            checkpoints,
        })
    }

    /// Wakes both workers.
    ///
    /// # Real-time
    /// Yes.
    pub fn wake_workers(&self) {
        for slot in Slot::ALL {
            futex::wake(self.stage.futex(Listener::Worker(slot)));
        }
    }

    /// Locks stage and rings into memory; returns whether that was allowed.
    #[must_use]
    pub fn lock(&self) -> bool {
        shm::lock(self.stage.all_words())
            && self.rings.iter().all(|ring| shm::lock(ring.all_words()))
    }
}

type Parts = ([Ring<'static>; 2], [[Checkpoint<'static>; 2]; 2]);

/// Both rings and all checkpoints, each made or opened.
fn parts(
    ring: impl Fn(Slot) -> Result<Ring<'static>, SharedError>,
    checkpoint: impl Fn(Slot, usize) -> Result<Checkpoint<'static>, SharedError>,
) -> Result<Parts, SharedError> {
    let [zero, one] = Slot::ALL;
    let pair = |slot| Ok::<_, SharedError>([checkpoint(slot, 0)?, checkpoint(slot, 1)?]);
    Ok(([ring(zero)?, ring(one)?], [pair(zero)?, pair(one)?]))
}

/// A segment of that name; what a creator that died half-way has left is replaced.
fn fresh(name: &str, words: usize) -> Result<&'static [common::sync::AtomicU64], ShmError> {
    shm::unlink(name);
    shm::create(name, words)
}
