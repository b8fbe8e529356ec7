//! Renders a command log again: the same patch, and the same commands before the same blocks.

use std::{collections::VecDeque, ops::Range};

use common::{
    command::{Command, Event},
    command_log::{self, Catalogue, LogError, Record},
    limits::AHEAD_BLOCKS_MAX,
    sample::Find,
    stage::AudioFormat,
    units::{BlockIndex, Seq},
};

use crate::{
    Engine, RestoreError, catalog,
    patch::{Patch, PatchError},
};

mod part;

use part::Part;

/// Why a log cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A patch in the log is not valid.
    #[error("the log contains a patch that this program cannot play: {0}")]
    Patch(#[from] PatchError),
    /// The initial state does not fit its patch.
    #[error("the log begins with a state that does not fit its patch: {0}")]
    State(#[from] RestoreError),
    /// The states, or a parameter that the log sets, belong to a build with other modules.
    #[error("{what}: use understudy {writer}, which wrote the log; this one is {own}", own = catalog::catalogue())]
    OtherBuild {
        /// What this program cannot use.
        what: String,
        /// The program that can.
        writer: Box<Catalogue>,
    },
    /// A command that a decision includes is missing.
    #[error("the log is damaged: it lacks the command {0}, which block {1} needs")]
    Missing(Seq, BlockIndex),
    /// The log has no patch.
    #[error("the log contains no patch")]
    NoPatch,
}

/// A segment that is read when it is needed.
pub struct Later {
    /// The segment's number in the run.
    pub number: u64,
    /// The block before which its state stands.
    pub block: BlockIndex,
    /// Reads its bytes.
    pub read: Box<dyn FnOnce() -> std::io::Result<Vec<u8>>>,
}

/// A segment that is torn or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The block before which its state stands.
    pub block: BlockIndex,
    /// How many of its bytes could be read.
    pub read: u64,
    /// How many bytes it has.
    pub all: u64,
}

/// A log that is being rendered.
pub struct Replay {
    find: Box<Find<'static>>,
    engine: Engine,
    format: AudioFormat,
    part: Part,
    held: Option<(Seq, Command)>,
    /// The segments that follow; the first of them is already read if it begins soon.
    later: VecDeque<Later>,
    coming: Option<Part>,
    unequal: Vec<BlockIndex>,
    unread: Vec<Unread>,
    lost: Vec<Range<u64>>,
    /// See [`Self::to_last_decision`].
    to_last_decision: bool,
    patch: Patch,
    /// The module that is heard alone, if this renders a stem.
    alone: Option<String>,
    /// The last commands before `block`: as decided, and as applied.
    seq: Seq,
    applied: Seq,
    block: BlockIndex,
}

/// How many blocks before its beginning a segment is read. A reader of a segment must know by then how far the run
/// went on, and workers are never further ahead of the play cursor.
const SOON: u64 = AHEAD_BLOCKS_MAX + 1;

impl Replay {
    /// Reads a log or one segment of it; `find` finds its recordings. Rendering begins with its first block.
    ///
    /// # Errors
    /// When the bytes are not a log, or do not begin with a patch that can be played.
    pub fn new(bytes: &[u8], find: Box<Find<'static>>) -> Result<Self, ReplayError> {
        Self::hearing(&[bytes], find, None)
    }

    /// As [`Self::new`], for a log whose beginning and records are in separate pieces.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_pieces(pieces: &[&[u8]], find: Box<Find<'static>>) -> Result<Self, ReplayError> {
        Self::hearing(pieces, find, None)
    }

    /// As [`Self::new`], for a stem: only that module is heard, as it comes into `out`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn alone(
        bytes: &[u8],
        find: Box<Find<'static>>,
        module: &str,
    ) -> Result<Self, ReplayError> {
        Self::hearing(&[bytes], find, Some(module.into()))
    }

    fn hearing(
        pieces: &[&[u8]],
        find: Box<Find<'static>>,
        alone: Option<String>,
    ) -> Result<Self, ReplayError> {
        let mut part = Part::read(pieces)?;
        let patch = Patch::from_log(&part.patch)?.fetched(&find);
        part.fits(&patch)?;
        let mut engine = engine_of(&patch, alone.as_deref(), part.format)?;
        let arena = std::mem::take(&mut part.arena);
        if !arena.is_empty() {
            restore(&mut engine, &arena, &patch, alone.is_some(), part.format)?;
        }
        let mut replay = Self {
            patch: part.with_values(patch)?,
            find,
            engine,
            format: part.format,
            held: None,
            later: VecDeque::new(),
            coming: None,
            unequal: Vec::new(),
            unread: Vec::new(),
            lost: Vec::new(),
            to_last_decision: false,
            alone,
            seq: part.seq,
            applied: part.seq,
            block: part.block,
            part,
        };
        replay.note_unread();
        Ok(replay)
    }

    /// Renders up to the last decision if the run was cut off. The progress in the log may be up to a second old.
    #[must_use]
    pub const fn to_last_decision(mut self) -> Self {
        self.to_last_decision = true;
        self
    }

    /// Whether the log records the end of its run, once it has been rendered. Logs of older versions may not.
    #[must_use]
    pub const fn has_end(&self) -> bool {
        self.part.reach.has_end
    }

    /// The torn or damaged segments read so far.
    #[must_use]
    pub fn unread(&self) -> &[Unread] {
        &self.unread
    }

    /// The blocks that are lost, since a segment is damaged or missing. They are rendered as silence.
    #[must_use]
    pub fn lost(&self) -> &[Range<u64>] {
        &self.lost
    }

    fn note_unread(&mut self) {
        if !self.part.is_whole() {
            let (read, all) = self.part.read;
            let block = self.part.block;
            self.unread.push(Unread { block, read, all });
        }
    }

    /// Continues with those segments, oldest first, after this one.
    #[must_use]
    pub fn then(mut self, later: Vec<Later>) -> Self {
        self.later = later.into();
        self
    }

    /// The blocks at which a segment's state differs from the state that the segment before leads to.
    #[must_use]
    pub fn unequal(&self) -> &[BlockIndex] {
        &self.unequal
    }

    /// Whether the log begins after everything that was played, so that none of its blocks was heard.
    #[must_use]
    pub fn is_past_its_end(&self) -> bool {
        self.block > self.part.reach.end(self.to_last_decision)
    }

    /// The next block.
    #[must_use]
    pub const fn block(&self) -> BlockIndex {
        self.block
    }

    /// The format of the sound.
    #[must_use]
    pub const fn format(&self) -> AudioFormat {
        self.format
    }

    /// Renders the next block into `out`, which has the length of a block; returns false after the last block that
    /// was played.
    ///
    /// # Errors
    /// When a patch in the log cannot be played.
    pub fn next(&mut self, out: &mut [f32]) -> Result<bool, ReplayError> {
        self.look_ahead()?;
        let last = self.coming.as_ref().unwrap_or(&self.part);
        if self.later.is_empty() && self.block >= last.reach.end(self.to_last_decision) {
            return Ok(false);
        }
        if self.is_lost() {
            self.lose(out);
            return Ok(true);
        }
        let decisions = &mut self.part.decisions;
        while let Some((_, seq)) = decisions.next_if(|(block, _)| *block <= self.block) {
            self.seq = self.seq.max(seq);
        }
        self.apply(self.seq)?;
        if self.applied < self.seq {
            return Err(ReplayError::Missing(self.applied.next(), self.block));
        }
        self.engine.render(out, &mut |_| {});
        self.block = self.block.next();
        Ok(true)
    }

    /// Whether the next block is unknown: it lies after the readable part of a damaged segment, or after a segment
    /// whose successor is missing, and before the next segment.
    fn is_lost(&self) -> bool {
        let next = (self.coming.as_ref().map(|next| next.number))
            .or_else(|| self.later.front().map(|next| next.number));
        let follows = self.part.is_whole() && next == Some(self.part.number + 1);
        next.is_some() && !follows && self.block >= self.part.reach.known()
    }

    fn lose(&mut self, out: &mut [f32]) {
        out.fill(0.0);
        let block = self.block.0;
        match self.lost.last_mut().filter(|lost| lost.end == block) {
            Some(lost) => lost.end += 1,
            None => self.lost.push(block..block + 1),
        }
        self.block = self.block.next();
    }

    /// Reads the next segment before it is needed, and switches to it at its first block.
    fn look_ahead(&mut self) -> Result<(), ReplayError> {
        let soon = BlockIndex(self.block.0 + SOON);
        if let Some(next) =
            (self.later).pop_front_if(|next| self.coming.is_none() && next.block <= soon)
        {
            let bytes = (next.read)().map_err(LogError::Io)?;
            self.coming = Some(Part::read(&[&bytes])?);
        }
        let Some(next) = self.coming.take_if(|next| next.block <= self.block) else {
            return Ok(());
        };
        self.part = next;
        self.note_unread();
        // The held command is in the new segment too.
        self.held = None;
        let arena = std::mem::take(&mut self.part.arena);
        let was_lost = (self.lost.last()).is_some_and(|lost| lost.end == self.block.0);
        let is_unequal = self.alone.is_none() && self.engine.arena() != arena;
        if was_lost || is_unequal {
            if !was_lost {
                self.unequal.push(self.block);
            }
            let patch = Patch::from_log(&self.part.patch)?.fetched(&self.find);
            self.engine = engine_of(&patch, self.alone.as_deref(), self.format)?;
            let is_alone = self.alone.is_some();
            restore(&mut self.engine, &arena, &patch, is_alone, self.format)?;
            self.patch = self.part.with_values(patch)?;
            (self.seq, self.applied) = (self.part.seq, self.part.seq);
        }
        Ok(())
    }

    /// Applies the accepted commands that no block contained any more.
    ///
    /// # Errors
    /// When a patch in the log cannot be played.
    pub fn apply_rest(&mut self) -> Result<(), ReplayError> {
        self.apply(Seq(u64::MAX))
    }

    fn apply(&mut self, up_to: Seq) -> Result<(), ReplayError> {
        while let Some((seq, command)) = self.held.take().or_else(|| self.part.commands.next()) {
            if seq > up_to {
                self.held = Some((seq, command));
                break;
            }
            if seq <= self.applied {
                continue; // the segment before holds it too
            }
            self.applied = seq;
            if self.part.quarantined.contains(&seq) {
                continue;
            }
            match command {
                Command::Event(event) => {
                    let event = self.renumbered(event)?;
                    self.engine.apply(&event);
                    self.patch.apply(&event);
                }
                Command::Patch(ref json) | Command::Edited(ref json) => {
                    self.patch = Patch::from_log(json)?.fetched(&self.find);
                    let mut engine = engine_of(&self.patch, self.alone.as_deref(), self.format)?;
                    match command {
                        Command::Edited(_) => engine.adopt_edited(&self.engine),
                        _ => engine.adopt(&self.engine),
                    }
                    self.engine = engine;
                }
                Command::At { frame, event } => {
                    let event = self.renumbered(event)?;
                    self.engine.apply_at(frame, &event);
                    self.patch.apply(&event);
                }
                Command::Draft(_) => {}
                Command::SavePreset(kept) => self.patch.keep(&kept.module, &kept.name, kept.values),
            }
        }
        Ok(())
    }

    /// An event with this program's numbers of parameters.
    fn renumbered(&self, mut event: Event) -> Result<Event, ReplayError> {
        if let Event::Param { module, param, .. } | Event::Ramp { module, param, .. } = &mut event
            && let Some(module) = self.patch.modules.get(usize::from(*module))
            && let Some(kind) = catalog::find(&module.kind)
        {
            let number = self.part.renumbered(kind, *param);
            *param = number.ok_or_else(|| ReplayError::OtherBuild {
                what: format!(
                    "the log sets parameter {param} of a \"{}\", which this program lacks",
                    kind.name
                ),
                writer: self.part.other.clone().unwrap_or_default(),
            })?;
        }
        Ok(event)
    }

    /// The number of the next block.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.block.0
    }

    /// Commands applied so far, the first patch included.
    #[must_use]
    pub const fn commands(&self) -> u64 {
        self.applied.0
    }

    /// The present patch, with the parameters last set.
    #[must_use]
    pub const fn patch(&self) -> &Patch {
        &self.patch
    }

    /// The present patch and the state of the sound, for an instance that continues from here. Waiting events keep
    /// their distance; frames are counted from 0 again.
    #[must_use]
    pub fn into_state(mut self) -> (Patch, Vec<u8>) {
        self.engine.rebase();
        (self.patch, self.engine.arena().to_vec())
    }
}

/// Restores the state of that patch, of which the engine may play only one module.
fn restore(
    engine: &mut Engine,
    arena: &[u8],
    patch: &Patch,
    is_alone: bool,
    format: AudioFormat,
) -> Result<(), ReplayError> {
    let Err(why) = engine.restore(arena) else {
        return Ok(());
    };
    if !is_alone {
        return Err(why.into());
    }
    // If cables into `out` have state of their own, only the modules' state can be taken over.
    let mut whole = Engine::new(patch, format.into())?;
    whole.restore(arena)?;
    engine.adopt_edited(&whole);
    Ok(())
}

/// The engine for that patch, or for one module of it alone.
fn engine_of(
    patch: &Patch,
    alone: Option<&str>,
    format: AudioFormat,
) -> Result<Engine, PatchError> {
    match alone {
        // A stem bypasses the safety stage, since its reduction belongs to no single module.
        Some(module) => Ok(Engine::new(&patch.alone(module), format.into())?.without_safety()),
        None => Engine::new(patch, format.into()),
    }
}

/// Every module that has had a cable into `out` in a log, in the order in which these cables appeared.
///
/// # Errors
/// When a patch in the log cannot be played.
pub fn heard(bytes: &[u8]) -> Result<Vec<String>, ReplayError> {
    let mut heard: Vec<String> = Vec::new();
    for (_, record) in command_log::records(bytes) {
        if let Record::Command { command, .. } = record
            && let Some(json) = command.patch()
        {
            let patch = Patch::from_log(json)?;
            let known = |id: &&str| !heard.iter().any(|known| known == id);
            let new: Vec<String> = patch
                .heard()
                .into_iter()
                .filter(known)
                .map(Into::into)
                .collect();
            heard.extend(new);
        }
    }
    Ok(heard)
}

#[cfg(test)]
mod tests;
