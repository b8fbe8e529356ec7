//! Rendering a command log again: the same patch, the same commands, in before the same blocks.

use std::{collections::VecDeque, ops::Range};

use common::{
    command::{Command, Event},
    command_log::{self, Catalogue, LogError, Record},
    limits::AHEAD_BLOCKS_MAX,
    sample::Find,
    stage::Shape,
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
    /// It cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A patch in it is not one.
    #[error("the log holds a patch that this program does not play: {0}")]
    Patch(#[from] PatchError),
    /// The state that it begins with does not fit.
    #[error("the log begins with a state that does not fit its patch: {0}")]
    State(#[from] RestoreError),
    /// Its states, or a parameter that it sets, are of a build with other modules.
    #[error("{what}: use understudy {writer}, which wrote the log; this one is {own}", own = catalog::catalogue())]
    OtherBuild {
        /// What this program cannot take over.
        what: String,
        /// Which program can.
        writer: Box<Catalogue>,
    },
    /// A command that was decided on is not in it.
    #[error("the log is damaged: command {0}, which block {1} needs, is not in it")]
    Missing(Seq, BlockIndex),
    /// It holds no patch.
    #[error("the log holds no patch to begin with")]
    NoPatch,
}

/// A segment that is read once it is needed.
pub struct Later {
    /// Its number in the run.
    pub number: u64,
    /// The block that its state stands before.
    pub block: BlockIndex,
    /// Its bytes.
    pub read: Box<dyn FnOnce() -> std::io::Result<Vec<u8>>>,
}

/// A segment that is torn off or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The block that its state stands before.
    pub block: BlockIndex,
    /// How many of its bytes could be read.
    pub read: u64,
    /// How many there are.
    pub all: u64,
}

/// A log on its way through the engine.
pub struct Replay {
    find: Box<Find<'static>>,
    engine: Engine,
    shape: Shape,
    part: Part,
    held: Option<(Seq, Command)>,
    /// The segments that follow, the first one read already if it is near.
    later: VecDeque<Later>,
    coming: Option<Part>,
    unequal: Vec<BlockIndex>,
    unread: Vec<Unread>,
    lost: Vec<Range<u64>>,
    /// See [`Self::to_last_decision`].
    to_last_decision: bool,
    patch: Patch,
    /// The only module that is heard, if there is one.
    alone: Option<String>,
    /// The commands that are in before `block`, as decided and as applied.
    seq: Seq,
    applied: Seq,
    block: BlockIndex,
}

/// Who reads a segment knows how far the run went on so many blocks before the segment begins: workers are no
/// further ahead of what is played.
const SOON: u64 = AHEAD_BLOCKS_MAX + 1;

impl Replay {
    /// Reads a log, or one segment of it, whose recordings are found there; rendering begins with its first
    /// block.
    ///
    /// # Errors
    /// When it is no log, or does not begin with a patch that can be played.
    pub fn new(bytes: &[u8], find: Box<Find<'static>>) -> Result<Self, ReplayError> {
        Self::hearing(&[bytes], find, None)
    }

    /// As [`Self::new`], where how it begins and what follows lie apart.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_pieces(pieces: &[&[u8]], find: Box<Find<'static>>) -> Result<Self, ReplayError> {
        Self::hearing(pieces, find, None)
    }

    /// As [`Self::new`], where that module alone is heard, as it comes into `out`: a stem.
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
        let mut engine = engine_of(&patch, alone.as_deref(), part.shape)?;
        let arena = std::mem::take(&mut part.arena);
        if !arena.is_empty() {
            restore(&mut engine, &arena, &patch, alone.is_some(), part.shape)?;
        }
        let mut replay = Self {
            patch: part.with_values(patch)?,
            find,
            engine,
            shape: part.shape,
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

    /// Goes on to the last decision where the run was cut off: what was written down of how far it was played is up
    /// to a second old.
    #[must_use]
    pub const fn to_last_decision(mut self) -> Self {
        self.to_last_decision = true;
        self
    }

    /// Whether the log says where its run ended, once it has been rendered; one of an older version need not.
    #[must_use]
    pub const fn has_end(&self) -> bool {
        self.part.has_end
    }

    /// The segments read so far that are torn off or damaged.
    #[must_use]
    pub fn unread(&self) -> &[Unread] {
        &self.unread
    }

    /// The blocks that the log has lost, since a segment is damaged or missing: silence stands in for them.
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

    /// Goes on with those segments, oldest first, where this one ends.
    #[must_use]
    pub fn then(mut self, later: Vec<Later>) -> Self {
        self.later = later.into();
        self
    }

    /// The blocks where a segment begins with a state that is not the one that the segment before leads to.
    #[must_use]
    pub fn unequal(&self) -> &[BlockIndex] {
        &self.unequal
    }

    /// Whether it begins beyond all that was played: no block of it was heard.
    #[must_use]
    pub fn is_past_its_end(&self) -> bool {
        self.block > self.end_of(&self.part)
    }

    fn end_of(&self, part: &Part) -> BlockIndex {
        match self.to_last_decision && !part.has_end {
            true => part.known(),
            false => part.end,
        }
    }

    /// The next block.
    #[must_use]
    pub const fn block(&self) -> BlockIndex {
        self.block
    }

    /// The shape of the sound.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Renders the next block into `out`, of one block's samples; false after the last block that
    /// was played.
    ///
    /// # Errors
    /// When a patch in the log cannot be played.
    pub fn next(&mut self, out: &mut [f32]) -> Result<bool, ReplayError> {
        self.look_ahead()?;
        let last = self.coming.as_ref().unwrap_or(&self.part);
        if self.later.is_empty() && self.block >= self.end_of(last) {
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

    /// Whether the next block is one of which nothing is known: behind what a damaged segment tells, or one that
    /// another should follow, and before the next.
    fn is_lost(&self) -> bool {
        let next = (self.coming.as_ref().map(|next| next.number))
            .or_else(|| self.later.front().map(|next| next.number));
        let follows = self.part.is_whole() && next == Some(self.part.number + 1);
        next.is_some() && !follows && self.block >= self.part.known()
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

    /// Reads the next segment before it begins, and goes over to it where it does.
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
        // What is held is in the segment, too.
        self.held = None;
        let arena = std::mem::take(&mut self.part.arena);
        let was_lost = (self.lost.last()).is_some_and(|lost| lost.end == self.block.0);
        let is_unequal = self.alone.is_none() && self.engine.arena() != arena;
        if was_lost || is_unequal {
            if !was_lost {
                self.unequal.push(self.block);
            }
            let patch = Patch::from_log(&self.part.patch)?.fetched(&self.find);
            self.engine = engine_of(&patch, self.alone.as_deref(), self.shape)?;
            let is_alone = self.alone.is_some();
            restore(&mut self.engine, &arena, &patch, is_alone, self.shape)?;
            self.patch = self.part.with_values(patch)?;
            (self.seq, self.applied) = (self.part.seq, self.part.seq);
        }
        Ok(())
    }

    /// Applies all that was accepted but had not come into a block any more.
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
                continue; // the segment before has it, too
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
                    let mut engine = engine_of(&self.patch, self.alone.as_deref(), self.shape)?;
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
                Command::Keep(kept) => self.patch.keep(&kept.module, &kept.name, kept.values),
            }
        }
        Ok(())
    }

    /// An event as this program numbers parameters.
    fn renumbered(&self, mut event: Event) -> Result<Event, ReplayError> {
        if let Event::Param { module, param, .. } | Event::Ramp { module, param, .. } = &mut event
            && let Some(module) = self.patch.modules.get(usize::from(*module))
            && let Some(kind) = catalog::find(&module.kind)
        {
            let number = self.part.renumbered(kind, *param);
            *param = number.ok_or_else(|| ReplayError::OtherBuild {
                what: format!(
                    "the log sets parameter {param} of a \"{}\", which this program does not have",
                    kind.name
                ),
                writer: self.part.other.clone().unwrap_or_default(),
            })?;
        }
        Ok(event)
    }

    /// Blocks rendered so far, and before.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.block.0
    }

    /// Commands applied so far, the first patch included.
    #[must_use]
    pub const fn commands(&self) -> u64 {
        self.applied.0
    }

    /// The patch as it stands, with the parameters last set.
    #[must_use]
    pub const fn patch(&self) -> &Patch {
        &self.patch
    }

    /// The patch as it stands and the state of the sound, for an instance that goes on from here: what
    /// waits for its frame is as far ahead as it was, while frames are counted anew.
    #[must_use]
    pub fn into_state(mut self) -> (Patch, Vec<u8>) {
        self.engine.rebase();
        (self.patch, self.engine.arena().to_vec())
    }
}

/// Takes over the state of that patch, of which the engine may play one module alone.
fn restore(
    engine: &mut Engine,
    arena: &[u8],
    patch: &Patch,
    is_alone: bool,
    shape: Shape,
) -> Result<(), ReplayError> {
    let Err(why) = engine.restore(arena) else {
        return Ok(());
    };
    if !is_alone {
        return Err(why.into());
    }
    // Where cables into `out` have a state themselves, that of the modules is all that is alike.
    let mut whole = Engine::new(patch, shape.into())?;
    whole.restore(arena)?;
    engine.adopt_edited(&whole);
    Ok(())
}

/// What plays that patch, or one module of it alone.
fn engine_of(patch: &Patch, alone: Option<&str>, shape: Shape) -> Result<Engine, PatchError> {
    match alone {
        // A stem bypasses the safety stage: its reduction belongs to no single module.
        Some(module) => Ok(Engine::new(&patch.alone(module), shape.into())?.without_safety()),
        None => Engine::new(patch, shape.into()),
    }
}

/// Every module that has had a cable into `out` in a log, in the order in which they came.
///
/// # Errors
/// When a patch in it cannot be played.
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
mod tests {
    use super::*;

    /// Renders a whole log; returns the blocks and the commands.
    fn replay(bytes: &[u8], mut each: impl FnMut(&[f32])) -> Result<(u64, u64), ReplayError> {
        let mut replay = Replay::new(bytes, Box::new(|_| None))?;
        let mut block = vec![0.0; replay.shape().block_samples()];
        while replay.next(&mut block)? {
            each(&block);
        }
        Ok((replay.blocks(), replay.commands()))
    }

    const SHAPE: Shape = Shape {
        rate_hz: 48_000,
        block_frames: 64,
        channels: 2,
        lead_blocks: 4,
        freewheel: false,
    };
    const GATE: Event = Event::Gate {
        module: 1,
        level: 1.0,
    };

    fn log(records: &[Record]) -> Vec<u8> {
        log_of_version(4, records)
    }

    fn log_of_version(version: u32, records: &[Record]) -> Vec<u8> {
        let head = Record::Head {
            version,
            shape: SHAPE,
        };
        let all = std::iter::once(&head).chain(records);
        all.flat_map(command_log::encode).collect()
    }

    fn command(seq: u64, command: Command) -> Record {
        Record::Command {
            token: 0,
            seq: Seq(seq),
            command,
        }
    }

    fn decision(block: u64, seq: u64) -> Record {
        Record::Decision {
            block: BlockIndex(block),
            seq: Seq(seq),
        }
    }

    fn fresh() -> Engine {
        Engine::new(&Patch::default_patch(), SHAPE.into()).unwrap()
    }

    /// In version 3 `out` had one parameter, and `gain_amount` was number 1, which is `safety` now.
    #[test]
    fn parameters_of_an_older_log_keep_their_names() {
        let out = Event::Param {
            module: 3,
            param: 1,
            value: 1.0,
        };
        for (version, name) in [(3, "gain_amount"), (4, "safety")] {
            let bytes = log_of_version(
                version,
                &[
                    command(1, Command::Patch(Patch::default_patch().to_json())),
                    command(2, Command::Event(out)),
                ],
            );
            let mut replay = Replay::new(&bytes, Box::new(|_| None)).unwrap();
            replay.apply_rest().unwrap();
            let set = &replay.patch().modules[3].params;
            assert_eq!(set.keys().collect::<Vec<_>>(), [name], "{version}");
        }
    }

    #[test]
    fn commands_come_in_before_the_block_that_was_decided() {
        let text = Patch::default_patch().to_json();
        let bytes = log(&[
            command(1, Command::Patch(text.clone())),
            command(2, Command::Event(GATE)),
            command(3, Command::Patch(text)),
            decision(2, 2),
            decision(5, 3),
            Record::Progress {
                block: BlockIndex(9),
            },
        ]);
        let mut heard = Vec::new();
        let done = replay(&bytes, |block| heard.extend_from_slice(block)).unwrap();
        assert_eq!(done, (9, 3));

        let mut engine = fresh();
        let mut expected = Vec::new();
        let mut block = vec![0.0; SHAPE.block_samples()];
        for number in 0..9 {
            if number == 2 {
                engine.apply(&GATE);
            }
            if number == 5 {
                let mut new = fresh();
                new.adopt(&engine);
                engine = new;
            }
            engine.render(&mut block, &mut |_| {});
            expected.extend_from_slice(&block);
        }
        assert_eq!(heard, expected);
        assert!(heard.iter().any(|sample| *sample != 0.0));
    }

    /// As a writer would have put it whose sine has its parameters in the opposite order, and one more.
    #[test]
    fn a_log_of_another_build_is_read_by_names_or_refused_with_the_one_to_use() {
        let mut other = catalog::catalogue();
        let sine = other.types.iter_mut().find(|t| t.name == "sine").unwrap();
        sine.params.insert(0, "warmth".into());
        sine.params.reverse();
        let names = sine.params.clone();
        let place = |name: &str| names.iter().position(|n| n == name).unwrap() as u16;
        let json = Patch::default_patch().to_json();
        let log = |param: u16, state: Vec<u8>| {
            log_of_version(
                6,
                &[
                    Record::Catalogue(Box::new(other.clone())),
                    Record::Command {
                        seq: Seq(1),
                        token: 0,
                        command: Command::Patch(json.clone()),
                    },
                    Record::State {
                        block: BlockIndex(0),
                        seq: Seq(1),
                        arena: state,
                    },
                    Record::Command {
                        seq: Seq(2),
                        token: 0,
                        command: Command::Event(Event::Param {
                            module: 0,
                            param,
                            value: 0.5,
                        }),
                    },
                    Record::Decision {
                        block: BlockIndex(1),
                        seq: Seq(2),
                    },
                    Record::Progress {
                        block: BlockIndex(3),
                    },
                ],
            )
        };
        let values = |bytes: &[u8]| -> Result<_, ReplayError> {
            let mut replay = Replay::new(bytes, Box::new(|_| None))?;
            let mut block = vec![0.0; replay.shape().block_samples()];
            while replay.next(&mut block)? {}
            Ok(replay.patch().modules[0].params.clone())
        };
        assert_eq!(
            values(&log(place("gain"), Vec::new())).unwrap()["gain"],
            0.5
        );
        let amount = place("gain") + names.len() as u16;
        assert_eq!(
            values(&log(amount, Vec::new())).unwrap()["gain_amount"],
            0.5
        );
        let writer = other.to_string();
        for refused in [
            log(place("warmth"), Vec::new()),
            log(place("gain"), vec![0; 64]),
        ] {
            let why = values(&refused).unwrap_err().to_string();
            assert!(why.contains(&writer), "{why}");
        }
    }

    /// Three segments of one run, whose states are those of the run. In the first, a gate opens before block 2; in
    /// the second, something before 12 and 15.
    fn segments() -> ([Vec<u8>; 3], Vec<f32>) {
        let json = Patch::default_patch().to_json();
        let freq = |value| {
            Command::Event(Event::Param {
                module: 0,
                param: 0,
                value,
            })
        };
        let commands = [
            (2, Command::Event(GATE)),
            (12, freq(300.0)),
            (15, freq(500.0)),
        ];
        let mut engine = fresh();
        let (mut states, mut heard) = (Vec::new(), Vec::new());
        let mut block = vec![0.0; SHAPE.block_samples()];
        for number in 0..30 {
            if number % 10 == 0 {
                states.push(engine.arena().to_vec());
            }
            for (at, command) in &commands {
                if let (true, Command::Event(event)) = (*at == number, command) {
                    engine.apply(event);
                }
            }
            engine.render(&mut block, &mut |_| {});
            heard.extend_from_slice(&block);
        }
        let segment = |number: u64| {
            let begin = 10 * number;
            let before = commands.iter().filter(|(at, _)| *at < begin).count() as u64;
            let known = common::command_log::Segment {
                number,
                block: BlockIndex(begin),
                seq: Seq(1 + before),
                ..Default::default()
            };
            let patch = command(1, Command::Patch(json.clone()));
            let state = states[number as usize].clone();
            let mut bytes =
                command_log::preamble(SHAPE, &catalog::catalogue(), &known, &patch, state);
            for (seq, (at, what)) in (2..).zip(&commands) {
                if (begin..begin + 10).contains(at) {
                    bytes.extend(command_log::encode(&command(seq, what.clone())));
                    bytes.extend(command_log::encode(&decision(*at, seq)));
                }
            }
            let played = BlockIndex(begin + 8);
            bytes.extend(command_log::encode(&Record::Progress { block: played }));
            bytes
        };
        ([segment(0), segment(1), segment(2)], heard)
    }

    fn then(number: u64, bytes: &[u8]) -> Later {
        let bytes = bytes.to_vec();
        Later {
            number,
            block: BlockIndex(10 * number),
            read: Box::new(|| Ok(bytes)),
        }
    }

    fn rendered(replay: &mut Replay) -> Vec<f32> {
        let mut heard = Vec::new();
        let mut block = vec![0.0; SHAPE.block_samples()];
        while replay.next(&mut block).unwrap() {
            heard.extend_from_slice(&block);
        }
        heard
    }

    #[test]
    fn what_a_damaged_or_missing_segment_does_not_tell_is_silence_and_the_next_one_goes_on() {
        let ([first, second, third], heard) = segments();
        let samples = SHAPE.block_samples();
        let expected = |lost: &Range<u64>| -> Vec<f32> {
            let mut expected = heard[..28 * samples].to_vec();
            expected[lost.start as usize * samples..lost.end as usize * samples].fill(0.0);
            expected
        };
        let replay = |later| Replay::new(&first, Box::new(|_| None)).unwrap().then(later);
        let mut whole = replay(vec![then(1, &second), then(2, &third)]);
        assert!(rendered(&mut whole) == expected(&(0..0)));
        assert!(whole.lost().is_empty() && whole.unread().is_empty() && !whole.has_end());

        // The second command of the second segment is damaged: known is what the first one leads to.
        let last = command_log::encode(&decision(15, 4)).len()
            + command_log::encode(&Record::Progress {
                block: BlockIndex(18),
            })
            .len();
        let mut bad = second.clone();
        let at = bad.len() - last - 1;
        bad[at] ^= 1;
        let mut damaged = replay(vec![then(1, &bad), then(2, &third)]);
        assert!(rendered(&mut damaged) == expected(&(13..20)));
        assert_eq!(damaged.lost().first(), Some(&(13..20)));
        assert_eq!(damaged.lost().len(), 1);
        assert!(damaged.unequal().is_empty());
        let unread = damaged.unread()[0];
        assert_eq!(
            (unread.block, unread.all),
            (BlockIndex(10), bad.len() as u64)
        );
        assert!(unread.read < at as u64 && unread.read > 0);

        let mut missing = replay(vec![then(2, &third)]);
        assert!(rendered(&mut missing) == expected(&(8..20)));
        assert_eq!(missing.lost().first(), Some(&(8..20)));
    }

    #[test]
    fn a_run_that_was_cut_off_is_rendered_to_its_last_decision() {
        let ([_, second, _], heard) = segments();
        let progress = command_log::encode(&Record::Progress {
            block: BlockIndex(18),
        });
        let cut = &second[..second.len() - progress.len()];
        let samples = SHAPE.block_samples();
        let blocks = |bytes: &[u8]| {
            let replay = Replay::new(bytes, Box::new(|_| None)).unwrap();
            let mut replay = replay.to_last_decision();
            let rendered = rendered(&mut replay);
            assert!(rendered == heard[10 * samples..][..rendered.len()]);
            (rendered.len() / samples, replay.has_end())
        };
        assert_eq!(blocks(cut), (6, false));
        let ended = [
            cut,
            &command_log::encode(&Record::Progress {
                block: BlockIndex(14),
            }),
            &command_log::encode(&Record::Ended),
        ];
        assert_eq!(blocks(&ended.concat()), (4, true));
    }

    #[test]
    fn a_resumed_instance_begins_where_it_was() {
        let mut engine = fresh();
        engine.apply(&GATE);
        let mut block = vec![0.0; SHAPE.block_samples()];
        engine.render(&mut block, &mut |_| {});
        let bytes = log(&[
            command(1, Command::Patch(Patch::default_patch().to_json())),
            Record::State {
                block: BlockIndex(0),
                seq: Seq(1),
                arena: engine.arena().to_vec(),
            },
            Record::Progress {
                block: BlockIndex(1),
            },
        ]);
        engine.render(&mut block, &mut |_| {});
        replay(&bytes, |heard| assert_eq!(heard, block)).unwrap();
    }

    #[test]
    fn stems_add_up_to_the_mix() {
        crate::engine::GUARDED.set(true);
        let with = |level: &str| {
            format!(
                r#"{{"version": 1, "modules": [
                {{"id": "a", "type": "sine", "params": {{"freq": 300, "gain": 0.4}}}},
                {{"id": "b", "type": "saw", "params": {{"freq": 110, "gain": 0.2}}}},
                {{"id": "d", "type": "delay"}},
                {{"id": "o", "type": "out", "params": {{"gain": {level}}}}}],
                "cables": [{{"from": "a", "to": "o"}}, {{"from": "b.out", "to": "d"}},
                {{"from": "d", "to": "o.left"}}, {{"from": "d", "to": "o.right"}},
                {{"from": "b", "to": "o.right"}}]}}"#
            )
        };
        let stop = Command::Event(Event::Run(false));
        let bytes = log(&[
            command(1, Command::Patch(with("0.9"))),
            command(2, Command::Edited(with("0.5"))),
            command(3, stop),
            decision(100, 2),
            decision(300, 3),
            Record::Progress {
                block: BlockIndex(400),
            },
        ]);
        assert_eq!(heard(&bytes).unwrap(), ["a", "d", "b"]);
        let (mut mix, mut sum) = (Vec::new(), vec![0.0; 400 * SHAPE.block_samples()]);
        replay(&bytes, |block| mix.extend_from_slice(block)).unwrap();
        for id in heard(&bytes).unwrap() {
            let mut stem = Replay::alone(&bytes, Box::new(|_| None), &id).unwrap();
            let mut block = vec![0.0; SHAPE.block_samples()];
            let mut peak = 0.0_f32;
            let mut places = sum.chunks_mut(SHAPE.block_samples());
            while stem.next(&mut block).unwrap() {
                for (sum, sample) in places.next().unwrap().iter_mut().zip(&block) {
                    *sum += sample;
                    peak = peak.max(sample.abs());
                }
            }
            assert!(peak > 0.05, "{id} is heard");
        }
        for (sum, sample) in sum.iter().zip(&mix) {
            assert!((sum - sample).abs() < 1e-6, "{sum} {sample}");
        }
        assert!(mix.iter().any(|sample| sample.abs() > 0.3));
    }

    /// An edit has left a mark on a cable into `out`; with it, the state that a resumed log begins with is
    /// of a patch that has more than one module's alone.
    #[test]
    fn stems_of_a_resumed_instance_go_on_where_it_was() {
        crate::engine::GUARDED.set(true);
        let json = r#"{"version": 1, "modules": [
            {"id": "a", "type": "sine", "params": {"freq": 300, "gain": 0.4}},
            {"id": "b", "type": "saw", "params": {"freq": 110, "gain": 0.2}},
            {"id": "out", "type": "out"}],
            "cables": [{"from": "a", "to": "out"}, {"from": "b", "to": "out", "fade": "in"}]}"#;
        let patch = Patch::from_log(json).unwrap();
        let mut engine = Engine::new(&patch, SHAPE.into()).unwrap();
        let mut block = vec![0.0; SHAPE.block_samples()];
        for _ in 0..100 {
            engine.render(&mut block, &mut |_| {});
        }
        engine.rebase();
        let bytes = log(&[
            command(1, Command::Patch(json.into())),
            Record::State {
                block: BlockIndex(0),
                seq: Seq(1),
                arena: engine.arena().to_vec(),
            },
            Record::Progress {
                block: BlockIndex(50),
            },
        ]);
        let mut rest = Vec::new();
        replay(&bytes, |block| rest.extend_from_slice(block)).unwrap();
        assert!(rest.iter().any(|sample| sample.abs() > 0.3));
        for id in ["a", "b"] {
            let mut stem = Replay::alone(&bytes, Box::new(|_| None), id).unwrap();
            for places in rest.chunks_mut(SHAPE.block_samples()) {
                stem.next(&mut block).unwrap();
                places
                    .iter_mut()
                    .zip(&block)
                    .for_each(|(rest, sample)| *rest -= sample);
            }
        }
        // A cable with a mark may fade in once more, for 10 ms at the most.
        let faded = &rest[960..];
        assert!(faded.iter().all(|rest| rest.abs() < 1e-6));
    }

    #[test]
    fn what_is_no_whole_log_is_refused() {
        let end = Record::Progress {
            block: BlockIndex(3),
        };
        assert!(matches!(
            replay(b"nonsense", |_| {}),
            Err(ReplayError::Log(LogError::NoHead))
        ));
        assert!(matches!(
            replay(&log(std::slice::from_ref(&end)), |_| {}),
            Err(ReplayError::NoPatch)
        ));
        let patch = command(1, Command::Patch(Patch::default_patch().to_json()));
        assert!(matches!(
            replay(&log(&[patch, decision(1, 4), end]), |_| {}),
            Err(ReplayError::Missing(Seq(2), BlockIndex(1)))
        ));
    }
}
