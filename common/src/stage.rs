//! The stage: the one segment in which all processes see where the music is.
//!
//! It holds the shape of the sound, the play cursor, the preference word, one decision word per
//! block, the doorbells and what each slot tells of itself. Every word has one writer, or is
//! changed by compare-and-swap only. Nobody ever waits inside it.

use crate::{
    layout::{self, HEADER_WORDS, Kind, LayoutError},
    limits::{DECISIONS, place},
    sync::{AtomicU64, Ordering},
    units::{BlockIndex, Epoch, Incarnation, Seq, Slot},
};

// The shape of the sound; written once by the creator, before the header is sealed.
const RATE: usize = HEADER_WORDS;
const BLOCK: usize = RATE + 1;
const CHANNELS: usize = RATE + 2;
const LEAD: usize = RATE + 3;
const FREEWHEEL: usize = RATE + 4;

// One cache line (8 words) per writer from here on.
/// Written by audio-out: the next block to be played; first value 0.
const CURSOR: usize = 16;
/// Written by audio-out: blocks that the device takes at once, beyond one.
const BURST: usize = 17;
/// Written by audio-out: the last epoch seen at a block boundary.
const ACKNOWLEDGED: usize = 18;
/// Written by audio-out: times a due block was not there, and blocks played in place of one.
const UNDERRUNS: usize = 19;
const CONCEALED: usize = 20;
/// Written by audio-out: blocks of which the two rings held different ones.
const DIFFERING: usize = 21;
/// Written by audio-out: blocks taken from the ring that was not preferred.
const TAKEN_ACROSS: usize = 22;
/// Written by audio-out: 1 once the first block has been played.
const PLAYING: usize = 23;
/// CAS by supervisor and audio-out: epoch << 1 | slot; first value 0: slot 0, epoch 0.
const PREFERENCE: usize = 24;
/// Written by the supervisor: blocks below this have their decision in the log.
const LOGGED: usize = 32;
/// Written by the supervisor: 1 while two workers are ready.
const PROTECTED: usize = 33;
/// CAS by a follower that withdraws a block's commands and by the supervisor: no block is decided
/// with commands above this number; 0: nothing is held. First value 0.
const HELD: usize = 34;
/// Written by the supervisor: how many commands have been quarantined; the newest of them stand in
/// the table.
const QUARANTINES: usize = 35;
/// Written by the supervisor: 1 while a trial is under way, for which the checkpoints are kept.
const KEEP_CHECKPOINTS: usize = 36;
/// Bells: one futex word (the low half) per listener; worker 0, worker 1, audio-out.
const BELLS: usize = 40;
const BELL_STRIDE: usize = 8;
/// What each slot tells; written by the worker in it.
const SLOTS: usize = 64;
const SLOT_WORDS: usize = 64;
/// What the worker tells that plays for nobody: two slots' words are followed by a third's.
const TRIAL: usize = SLOTS + 2 * SLOT_WORDS;
/// Written by the supervisor: the numbers of quarantined commands, a ring.
const QUARANTINE: usize = TRIAL + SLOT_WORDS;
const QUARANTINE_WORDS: usize = 64;
/// Written by audio-out: what its file holds, twice, and which of the two is right; then what it
/// does.
const FILE: usize = QUARANTINE + QUARANTINE_WORDS;
const FILE_TURN: usize = FILE;
const AUDIO_STATE: usize = FILE + 5;
/// Written by the supervisor, for each slot: the last lives that were wrong, and from which block on.
const DISTRUSTED: usize = FILE + 8;
const DISTRUSTED_EACH: usize = 4;
const DECISION: usize = DISTRUSTED + 4 * DISTRUSTED_EACH;

// Inside a slot's words.
const INCARNATION: usize = 0;
const FRONTIER: usize = 1;
const APPLIED: usize = 2;
const CRUMB: usize = 3;
const CRUMB_MODULE: usize = 4;
const NOTES: usize = 5;
const CRUMB_COMMAND: usize = 6;
const MUTED: usize = 7;
const VERDICT: usize = 8;
const VERDICT_SUM: usize = 9;
const BEGAN: usize = 10;
const EPITAPH: usize = 16;
/// Bytes that a dying worker can leave.
pub const EPITAPH_BYTES: usize = (SLOT_WORDS - EPITAPH - 1) * 8;

/// Words of a stage.
pub const STAGE_WORDS: usize = DECISION + DECISIONS as usize;

/// The shape of the sound: the same for every process and for the life of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    /// Frames a second.
    pub rate_hz: u32,
    /// Frames in a block.
    pub block_frames: u32,
    /// Channels of sound in a frame.
    pub channels: u32,
    /// Blocks that workers render ahead of the play cursor.
    pub lead_blocks: u32,
    /// No clock: blocks are taken as soon as they are there.
    pub freewheel: bool,
}

impl Shape {
    /// Samples in a block, over all channels.
    #[must_use]
    pub const fn block_samples(&self) -> usize {
        (self.block_frames * self.channels) as usize
    }
}

/// Who listens at a bell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// The render thread of the worker in that slot.
    Worker(Slot),
    /// The thread that plays.
    AudioOut,
}

/// Which slot audio-out should take, and since which switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Preference {
    /// The number of the switch.
    pub epoch: Epoch,
    /// The slot.
    pub slot: Slot,
}

impl Preference {
    const fn to_word(self) -> u64 {
        self.epoch.0 << 1 | self.slot as u64
    }

    const fn from_word(word: u64) -> Self {
        let slot = if word & 1 == 0 { Slot::Zero } else { Slot::One };
        Self {
            epoch: Epoch(word >> 1),
            slot,
        }
    }
}

/// What audio-out is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioState {
    /// It opens its sink.
    Opening = 0,
    /// It plays: the cursor moves while there are blocks.
    Playing = 1,
    /// Its device is gone; it waits for it.
    Waiting = 2,
}

/// How far the file has come that audio-out writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// All blocks below this one are in the file.
    pub block: BlockIndex,
    /// Frames in the file, those played in place of a block that was not there included.
    pub frames: u64,
}

/// Where a worker is inside a block, for the one who has to find out what it died of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Between blocks.
    Idle = 0,
    /// Applying the commands that are new in this block.
    Applying = 1,
    /// Rendering a module.
    Rendering = 2,
    /// Writing the block into its ring.
    Publishing = 3,
    /// Copying the arena.
    Checkpointing = 4,
    /// Doing itself the harm that it was told to: nobody else is to blame.
    Harming = 5,
}

/// What a worker wrote down before it touched something that could kill it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crumb {
    /// The block it was in.
    pub block: BlockIndex,
    /// What it was doing.
    pub phase: Phase,
    /// The module it was in, while rendering.
    pub module: u16,
    /// The command it was at, while applying; else the last one it applied.
    pub command: Seq,
}

/// How far a decision word has come for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nobody has decided yet.
    Open,
    /// The commands up to this number are in before the block; once it is sealed, for good.
    Made {
        /// The number.
        seq: Seq,
        /// Somebody has rendered the block so and was about to publish it.
        sealed: bool,
    },
    /// The word serves a later block by now.
    Gone,
}

const SEQ_BITS: u32 = 24;
const SEQ_MASK: u64 = (1 << SEQ_BITS) - 1;
const SEALED: u64 = 1 << SEQ_BITS;
const TAG_SHIFT: u32 = SEQ_BITS + 1;

const fn decision_word(block: BlockIndex, seq: Seq) -> u64 {
    (block.0 + 1) << TAG_SHIFT | (seq.0 & SEQ_MASK)
}

/// The stage, over mapped or heap words.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Stage<'a> {
    /// Writes a new stage into zeroed words.
    ///
    /// # Errors
    /// When there are too few words.
    pub fn create(words: &'a [AtomicU64], shape: &Shape) -> Result<Self, LayoutError> {
        if words.len() < STAGE_WORDS {
            return Err(LayoutError::Short {
                found: words.len(),
                needed: STAGE_WORDS,
            });
        }
        words[RATE].store(shape.rate_hz.into(), Ordering::Relaxed);
        words[BLOCK].store(shape.block_frames.into(), Ordering::Relaxed);
        words[CHANNELS].store(shape.channels.into(), Ordering::Relaxed);
        words[LEAD].store(shape.lead_blocks.into(), Ordering::Relaxed);
        words[FREEWHEEL].store(shape.freewheel.into(), Ordering::Relaxed);
        layout::seal_header(words, Kind::Stage);
        Ok(Self { words })
    }

    /// A stage that another process has made.
    ///
    /// # Errors
    /// When it is unfinished or does not fit this build.
    pub fn open(words: &'a [AtomicU64]) -> Result<Self, LayoutError> {
        layout::check_header(words, Kind::Stage, STAGE_WORDS)?;
        Ok(Self { words })
    }

    /// All its words, to lock them into memory.
    #[must_use]
    pub const fn all_words(&self) -> &'a [AtomicU64] {
        self.words
    }

    fn get(&self, word: usize) -> u64 {
        self.words[word].load(Ordering::Relaxed)
    }

    /// The shape of the sound.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape {
            rate_hz: self.get(RATE) as u32,
            block_frames: self.get(BLOCK) as u32,
            channels: self.get(CHANNELS) as u32,
            lead_blocks: self.get(LEAD) as u32,
            freewheel: self.get(FREEWHEEL) != 0,
        }
    }

    /// The next block to be played.
    #[must_use]
    pub fn cursor(&self) -> BlockIndex {
        // SYNC: play cursor (reader): what lies behind it may be overwritten
        BlockIndex(self.words[CURSOR].load(Ordering::Acquire))
    }

    /// Moves the play cursor. Written by audio-out.
    pub fn set_cursor(&self, block: BlockIndex) {
        // SYNC: play cursor (writer)
        self.words[CURSOR].store(block.0, Ordering::Release);
    }

    /// Workers render block n only while n is below this.
    #[must_use]
    pub fn horizon(&self) -> BlockIndex {
        let ahead =
            (self.get(LEAD).saturating_add(self.get(BURST))).min(crate::limits::AHEAD_BLOCKS_MAX);
        BlockIndex(self.cursor().0.saturating_add(ahead))
    }

    /// Blocks that the device takes at once beyond the first. Written by audio-out; only grows.
    pub fn raise_burst(&self, blocks: u64) {
        if blocks > self.get(BURST) {
            self.words[BURST].store(blocks, Ordering::Relaxed);
        }
    }

    /// See [`Self::raise_burst`].
    #[must_use]
    pub fn burst(&self) -> u64 {
        self.get(BURST)
    }

    /// The preferred slot and its epoch.
    #[must_use]
    pub fn preference(&self) -> Preference {
        // SYNC: preference (reader)
        Preference::from_word(self.words[PREFERENCE].load(Ordering::Acquire))
    }

    /// Phase 1 of a switch, and all of it: `from` becomes the next epoch with `slot` preferred.
    /// CAS by supervisor and audio-out; `None` when somebody else has switched meanwhile.
    #[must_use]
    pub fn switch(&self, from: Preference, slot: Slot) -> Option<Preference> {
        let to = Preference {
            epoch: from.epoch.next(),
            slot,
        };
        // SYNC: preference (writer)
        self.words[PREFERENCE]
            .compare_exchange(
                from.to_word(),
                to.to_word(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
            .then_some(to)
    }

    /// The last epoch that audio-out has acted on. Written by audio-out.
    pub fn acknowledge(&self, epoch: Epoch) {
        // SYNC: acknowledged epoch (writer): the old ring is not read for this epoch's blocks
        self.words[ACKNOWLEDGED].store(epoch.0, Ordering::Release);
    }

    /// See [`Self::acknowledge`].
    #[must_use]
    pub fn acknowledged(&self) -> Epoch {
        // SYNC: acknowledged epoch (reader)
        Epoch(self.words[ACKNOWLEDGED].load(Ordering::Acquire))
    }

    /// What is in before `block`, as far as decided.
    #[must_use]
    pub fn decision(&self, block: BlockIndex, last: Seq) -> Decision {
        // SYNC: decision (reader)
        let word = self.words[DECISION + place(block, DECISIONS)].load(Ordering::Acquire);
        read_decision(word, block, last)
    }

    /// Decides `block` if nobody has: the commands up to `seq` are in before it. CAS by workers.
    /// Returns what holds, whoever decided it: the loser of the race obeys the word.
    ///
    /// `last` is the sequence number in force in the block before; it is needed to tell the whole
    /// number from the 24 bits that the word has room for.
    #[must_use]
    pub fn decide(&self, block: BlockIndex, seq: Seq, last: Seq) -> Decision {
        let word = &self.words[DECISION + place(block, DECISIONS)];
        let wanted = decision_word(block, seq);
        loop {
            let found = word.load(Ordering::Acquire);
            match read_decision(found, block, last) {
                Decision::Open => {}
                decided => return decided,
            }
            // SYNC: decision (writer)
            if word
                .compare_exchange(found, wanted, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                return Decision::Made { seq, sealed: false };
            }
        }
    }

    /// Decides again, as long as nobody has published the block: `from` becomes `to`. CAS by a
    /// follower that has waited for the leader in vain, and by the supervisor when the leader died
    /// of the block. False when the block is sealed, or was decided otherwise.
    #[must_use]
    pub fn revise(&self, block: BlockIndex, from: Seq, to: Seq) -> bool {
        let (from, to) = (decision_word(block, from), decision_word(block, to));
        // SYNC: decision (writer)
        self.words[DECISION + place(block, DECISIONS)]
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// The last word on `block`, said by everybody who has rendered it with the commands up to
    /// `seq` and is about to publish it. CAS by workers. False when it was revised meanwhile, or is
    /// long past: then the block must not be published, and the caller's state is no longer good.
    #[must_use]
    pub fn seal(&self, block: BlockIndex, seq: Seq) -> bool {
        let open = decision_word(block, seq);
        // SYNC: decision (writer)
        match self.words[DECISION + place(block, DECISIONS)].compare_exchange(
            open,
            open | SEALED,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => true,
            Err(found) => found == open | SEALED,
        }
    }

    /// No block is decided with commands above this number.
    #[must_use]
    pub fn held(&self) -> Option<Seq> {
        // SYNC: hold (reader)
        Some(Seq(self.words[HELD].load(Ordering::Acquire))).filter(|seq| *seq > Seq(0))
    }

    /// Holds back the commands above `seq`, unless some are held already. CAS by a follower, before
    /// it withdraws a block's commands, and by the supervisor. True when it did.
    pub fn hold(&self, seq: Seq) -> bool {
        // SYNC: hold (writer)
        self.words[HELD]
            .compare_exchange(0, seq.0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Lets go of what is held above `seq`.
    pub fn lift(&self, seq: Seq) -> bool {
        // SYNC: hold (writer): who sees it lifted sees the quarantine
        self.words[HELD]
            .compare_exchange(seq.0, 0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Puts a command into quarantine: whoever comes to it leaves it out. Written by the supervisor,
    /// before it lifts the hold on it.
    pub fn quarantine(&self, seq: Seq) {
        let count = self.get(QUARANTINES);
        let place = QUARANTINE + count as usize % QUARANTINE_WORDS;
        self.words[place].store(seq.0, Ordering::Relaxed);
        self.words[QUARANTINES].store(count + 1, Ordering::Release);
    }

    /// Whether a command is in quarantine; only the newest ones are known, more than a worker can
    /// have before it.
    #[must_use]
    pub fn quarantined(&self, seq: Seq) -> bool {
        let count =
            (self.words[QUARANTINES].load(Ordering::Acquire) as usize).min(QUARANTINE_WORDS);
        self.words[QUARANTINE..QUARANTINE + count]
            .iter()
            .any(|word| word.load(Ordering::Relaxed) == seq.0)
    }

    /// Counts for `status`. Written by audio-out.
    pub fn add_underrun(&self) {
        self.bump(UNDERRUNS);
    }

    /// Blocks played in place of one that was not there. Written by audio-out.
    pub fn add_concealed(&self) {
        self.bump(CONCEALED);
    }

    /// Blocks taken from the ring that was not preferred. Written by audio-out.
    pub fn add_taken_across(&self) {
        self.bump(TAKEN_ACROSS);
    }

    /// Blocks of which the two rings held different ones. Written by audio-out.
    pub fn add_differing(&self) {
        self.bump(DIFFERING);
    }

    /// Says how far the file has come, after it has. Written by audio-out.
    pub fn set_written(&self, written: Written) {
        let turn = self.get(FILE_TURN) + 1;
        let place = FILE + 1 + 2 * (turn as usize % 2);
        self.words[place].store(written.block.0, Ordering::Relaxed);
        self.words[place + 1].store(written.frames, Ordering::Relaxed);
        // SYNC: file (writer): the pair that it names is whole
        self.words[FILE_TURN].store(turn, Ordering::Release);
    }

    /// See [`Self::set_written`]; `None` while there is no file. Read by the next audio-out.
    #[must_use]
    pub fn written(&self) -> Option<Written> {
        // SYNC: file (reader)
        let turn = self.words[FILE_TURN].load(Ordering::Acquire);
        let place = FILE + 1 + 2 * (turn as usize % 2);
        (turn > 0).then(|| Written {
            block: BlockIndex(self.get(place)),
            frames: self.get(place + 1),
        })
    }

    /// Says what audio-out is doing. Written by audio-out.
    pub fn set_audio_state(&self, state: AudioState) {
        self.words[AUDIO_STATE].store(state as u64, Ordering::Relaxed);
    }

    /// See [`Self::set_audio_state`].
    #[must_use]
    pub fn audio_state(&self) -> AudioState {
        match self.get(AUDIO_STATE) {
            1 => AudioState::Playing,
            2 => AudioState::Waiting,
            _ => AudioState::Opening,
        }
    }

    /// Says that the first block has been played. Written by audio-out.
    pub fn set_playing(&self) {
        self.words[PLAYING].store(1, Ordering::Relaxed);
    }

    /// True once the first block has been played.
    #[must_use]
    pub fn playing(&self) -> bool {
        self.get(PLAYING) != 0
    }

    fn bump(&self, word: usize) {
        // One writer: load and store are enough.
        self.words[word].store(self.get(word) + 1, Ordering::Relaxed);
    }

    /// Underruns, concealed blocks, blocks taken across.
    #[must_use]
    pub fn audio_counters(&self) -> AudioCounters {
        AudioCounters {
            underruns: self.get(UNDERRUNS),
            concealed_blocks: self.get(CONCEALED),
            taken_across: self.get(TAKEN_ACROSS),
            differing: self.get(DIFFERING),
        }
    }

    /// Blocks below this have their decision in the log. Written by the supervisor.
    pub fn set_logged(&self, block: BlockIndex) {
        self.words[LOGGED].store(block.0, Ordering::Release);
    }

    /// See [`Self::set_logged`].
    #[must_use]
    pub fn logged(&self) -> BlockIndex {
        BlockIndex(self.words[LOGGED].load(Ordering::Acquire))
    }

    /// Whether two workers are ready. Written by the supervisor.
    pub fn set_protected(&self, protected: bool) {
        self.words[PROTECTED].store(protected.into(), Ordering::Relaxed);
    }

    /// See [`Self::set_protected`].
    #[must_use]
    pub fn protected(&self) -> bool {
        self.get(PROTECTED) != 0
    }

    /// Says that this worker was wrong in that block: what it has published from there on is played
    /// only where nobody else has it. Written by the supervisor, read by audio-out.
    pub fn distrust(&self, slot: Slot, incarnation: Incarnation, from: BlockIndex) {
        // The place of the oldest life.
        let places = Self::distrusted(slot);
        let place = places
            .min_by_key(|place| self.get(*place))
            .unwrap_or(DISTRUSTED);
        self.words[place + 1].store(from.0, Ordering::Relaxed);
        // SYNC: distrust (writer)
        self.words[place].store(incarnation.0, Ordering::Release);
    }

    /// Whether what that worker published as that block may be wrong; see [`Self::distrust`].
    #[must_use]
    pub fn distrusts(&self, slot: Slot, incarnation: Incarnation, block: BlockIndex) -> bool {
        Self::distrusted(slot).any(|place| {
            // SYNC: distrust (reader)
            let wrong = self.words[place].load(Ordering::Acquire) == incarnation.0;
            wrong && block.0 >= self.get(place + 1)
        })
    }

    fn distrusted(slot: Slot) -> impl Iterator<Item = usize> {
        (0..DISTRUSTED_EACH).map(move |n| DISTRUSTED + 2 * (slot.index() * DISTRUSTED_EACH + n))
    }

    /// Time in blocks, as audio-out keeps it: it goes on while something else is played in place of
    /// a block that is not there.
    #[must_use]
    pub fn elapsed_blocks(&self) -> u64 {
        self.cursor().0.saturating_add(self.get(CONCEALED))
    }

    /// Whether the checkpoints have to stay as they are, since a trial starts from one. Written by
    /// the supervisor.
    pub fn keep_checkpoints(&self, keep: bool) {
        self.words[KEEP_CHECKPOINTS].store(keep.into(), Ordering::Relaxed);
    }

    /// See [`Self::keep_checkpoints`].
    #[must_use]
    pub fn checkpoints_kept(&self) -> bool {
        self.get(KEEP_CHECKPOINTS) != 0
    }

    /// The word that a listener waits at: ring by adding one, then wake its futex.
    #[must_use]
    pub fn bell(&self, listener: Listener) -> &'a AtomicU64 {
        let index = match listener {
            Listener::Worker(slot) => slot.index(),
            Listener::AudioOut => 2,
        };
        &self.words[BELLS + index * BELL_STRIDE]
    }

    /// What the worker in `slot` tells of itself.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> SlotWords<'a> {
        self.seat(SLOTS + slot.index() * SLOT_WORDS)
    }

    /// What the worker tells that plays for nobody.
    #[must_use]
    pub fn trial(&self) -> SlotWords<'a> {
        self.seat(TRIAL)
    }

    fn seat(&self, start: usize) -> SlotWords<'a> {
        SlotWords {
            words: &self.words[start..start + SLOT_WORDS],
        }
    }
}

/// Counts kept by audio-out, each from 0 for the life of the instance.
#[derive(Clone, Copy, Debug, Default)]
pub struct AudioCounters {
    /// Times a due block was in neither ring.
    pub underruns: u64,
    /// Blocks played in place of one that was not there.
    pub concealed_blocks: u64,
    /// Blocks taken from the ring that was not preferred.
    pub taken_across: u64,
    /// Blocks of which the two rings held different ones.
    pub differing: u64,
}

fn read_decision(word: u64, block: BlockIndex, last: Seq) -> Decision {
    let tag = word >> TAG_SHIFT;
    // 39 bits of block number: 46 years at 375 blocks a second.
    match tag.cmp(&(block.0 + 1)) {
        std::cmp::Ordering::Less => Decision::Open,
        std::cmp::Ordering::Greater => Decision::Gone,
        std::cmp::Ordering::Equal => {
            let grown = (word & SEQ_MASK).wrapping_sub(last.0 & SEQ_MASK) & SEQ_MASK;
            Decision::Made {
                seq: Seq(last.0 + grown),
                sealed: word & SEALED != 0,
            }
        }
    }
}

/// What a worker tells of itself; written by that worker alone.
#[derive(Clone, Copy, Debug)]
pub struct SlotWords<'a> {
    words: &'a [AtomicU64],
}

impl SlotWords<'_> {
    /// A new worker takes its seat: wipes what the one before it left.
    pub fn take_seat(&self, incarnation: Incarnation, frontier: BlockIndex, applied: Seq) {
        for word in &self.words[CRUMB..] {
            word.store(0, Ordering::Relaxed);
        }
        self.words[FRONTIER].store(frontier.0, Ordering::Relaxed);
        self.words[APPLIED].store(applied.0, Ordering::Relaxed);
        self.words[INCARNATION].store(incarnation.0, Ordering::Release);
    }

    /// Who sits here.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        Incarnation(self.words[INCARNATION].load(Ordering::Acquire))
    }

    /// Says that all blocks below `frontier` are rendered, with the commands up to `applied`.
    pub fn advance(&self, frontier: BlockIndex, applied: Seq) {
        self.words[APPLIED].store(applied.0, Ordering::Relaxed);
        // SYNC: frontier (writer): the decision of every block below it is made
        self.words[FRONTIER].store(frontier.0, Ordering::Release);
    }

    /// The next block that the worker will render.
    #[must_use]
    pub fn frontier(&self) -> BlockIndex {
        // SYNC: frontier (reader)
        BlockIndex(self.words[FRONTIER].load(Ordering::Acquire))
    }

    /// The last command applied.
    #[must_use]
    pub fn applied(&self) -> Seq {
        Seq(self.words[APPLIED].load(Ordering::Relaxed))
    }

    /// Says that it begins on a block, at that time ([`Stage::elapsed_blocks`]).
    pub fn begin(&self, elapsed_blocks: u64) {
        self.words[BEGAN].store(elapsed_blocks, Ordering::Relaxed);
    }

    /// When it began on the block that it is in, or took its seat.
    #[must_use]
    pub fn began(&self) -> u64 {
        self.words[BEGAN].load(Ordering::Relaxed)
    }

    /// Leaves a breadcrumb.
    pub fn drop_crumb(&self, crumb: Crumb) {
        self.words[CRUMB_MODULE].store(crumb.module.into(), Ordering::Relaxed);
        self.words[CRUMB_COMMAND].store(crumb.command.0, Ordering::Relaxed);
        self.words[CRUMB].store(crumb.block.0 << 4 | crumb.phase as u64, Ordering::Release);
    }

    /// The last breadcrumb.
    #[must_use]
    pub fn crumb(&self) -> Crumb {
        let word = self.words[CRUMB].load(Ordering::Acquire);
        let phase = match word & 15 {
            1 => Phase::Applying,
            2 => Phase::Rendering,
            3 => Phase::Publishing,
            4 => Phase::Checkpointing,
            5 => Phase::Harming,
            _ => Phase::Idle,
        };
        let module = self.words[CRUMB_MODULE].load(Ordering::Relaxed) as u16;
        Crumb {
            block: BlockIndex(word >> 4),
            phase,
            module,
            command: Seq(self.words[CRUMB_COMMAND].load(Ordering::Relaxed)),
        }
    }

    /// Says which module's output had to be muted in the last block, if one had.
    pub fn set_muted(&self, module: Option<u16>) {
        self.words[MUTED].store(module.map_or(0, |m| u64::from(m) + 1), Ordering::Relaxed);
    }

    /// See [`Self::set_muted`].
    #[must_use]
    pub fn muted(&self) -> Option<u16> {
        let word = self.words[MUTED].load(Ordering::Relaxed);
        word.checked_sub(1).map(|module| module as u16)
    }

    /// A referee's word: what the block's checksum should be.
    pub fn give_verdict(&self, block: BlockIndex, sum: u64) {
        self.words[VERDICT_SUM].store(sum, Ordering::Relaxed);
        // SYNC: verdict (writer)
        self.words[VERDICT].store(block.0 + 1, Ordering::Release);
    }

    /// See [`Self::give_verdict`].
    #[must_use]
    pub fn verdict(&self) -> Option<(BlockIndex, u64)> {
        // SYNC: verdict (reader)
        let block = self.words[VERDICT].load(Ordering::Acquire).checked_sub(1)?;
        Some((
            BlockIndex(block),
            self.words[VERDICT_SUM].load(Ordering::Relaxed),
        ))
    }

    /// Bits that tell what the machine granted: 1 real-time priority, 2 locked memory.
    pub fn set_notes(&self, notes: u64) {
        self.words[NOTES].store(notes, Ordering::Relaxed);
    }

    /// See [`Self::set_notes`].
    #[must_use]
    pub fn notes(&self) -> u64 {
        self.words[NOTES].load(Ordering::Relaxed)
    }

    /// Leaves a last word; called by a panic hook, so it must not fail.
    pub fn write_epitaph(&self, text: &str) {
        let bytes = text.as_bytes();
        let length = bytes.len().min(EPITAPH_BYTES);
        for (word, chunk) in self.words[EPITAPH + 1..]
            .iter()
            .zip(bytes[..length].chunks(8))
        {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(eight), Ordering::Relaxed);
        }
        self.words[EPITAPH].store(length as u64, Ordering::Release);
    }

    /// The last word, if one was left.
    #[must_use]
    pub fn epitaph(&self) -> Option<String> {
        let length = (self.words[EPITAPH].load(Ordering::Acquire) as usize).min(EPITAPH_BYTES);
        let bytes: Vec<u8> = self.words[EPITAPH + 1..]
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .take(length)
            .collect();
        (length > 0).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::heap;

    const SHAPE: Shape = Shape {
        rate_hz: 48_000,
        block_frames: 128,
        channels: 2,
        lead_blocks: 4,
        freewheel: false,
    };

    #[test]
    fn an_unfinished_stage_is_refused() {
        let words = heap(STAGE_WORDS);
        assert_eq!(Stage::open(&words).unwrap_err(), LayoutError::Unfinished);
        Stage::create(&words, &SHAPE).unwrap();
        assert_eq!(Stage::open(&words).unwrap().shape(), SHAPE);
    }

    const fn made(seq: Seq, sealed: bool) -> Decision {
        Decision::Made { seq, sealed }
    }

    #[test]
    fn the_loser_of_a_decision_obeys_the_word() {
        let words = heap(STAGE_WORDS);
        let stage = Stage::create(&words, &SHAPE).unwrap();
        let block = BlockIndex(7);
        assert_eq!(stage.decision(block, Seq(0)), Decision::Open);
        assert_eq!(stage.decide(block, Seq(5), Seq(3)), made(Seq(5), false));
        assert_eq!(stage.decide(block, Seq(9), Seq(3)), made(Seq(5), false));
        let later = BlockIndex(7 + DECISIONS);
        assert_eq!(stage.decide(later, Seq(9), Seq(5)), made(Seq(9), false));
        assert_eq!(stage.decide(block, Seq(6), Seq(3)), Decision::Gone);
        assert!(!stage.seal(block, Seq(5)), "long past");
    }

    #[test]
    fn a_decision_is_revised_until_it_is_sealed_and_the_overruled_one_hears_of_it() {
        let words = heap(STAGE_WORDS);
        let stage = Stage::create(&words, &SHAPE).unwrap();
        let block = BlockIndex(7);
        assert!(!stage.revise(block, Seq(3), Seq(3)), "not decided yet");
        assert_eq!(stage.decide(block, Seq(5), Seq(3)), made(Seq(5), false));
        assert!(stage.revise(block, Seq(5), Seq(3)));
        assert!(!stage.seal(block, Seq(5)), "it was overruled");
        assert!(stage.seal(block, Seq(3)) && stage.seal(block, Seq(3)));
        assert!(!stage.revise(block, Seq(3), Seq(5)), "sealed");
        assert_eq!(stage.decision(block, Seq(3)), made(Seq(3), true));
    }

    #[test]
    fn what_is_held_is_held_once_and_lifted_by_its_number() {
        let words = heap(STAGE_WORDS);
        let stage = Stage::create(&words, &SHAPE).unwrap();
        assert!(stage.hold(Seq(4)) && !stage.hold(Seq(2)));
        assert_eq!(stage.held(), Some(Seq(4)));
        assert!(!stage.lift(Seq(2)) && stage.lift(Seq(4)));
        assert_eq!(stage.held(), None);
        (1..=100).for_each(|seq| stage.quarantine(Seq(seq)));
        assert!(stage.quarantined(Seq(100)) && stage.quarantined(Seq(37)));
        assert!(!stage.quarantined(Seq(36)), "forgotten");
    }

    #[test]
    fn sequence_numbers_survive_the_wrap_of_their_24_bits() {
        let words = heap(STAGE_WORDS);
        let stage = Stage::create(&words, &SHAPE).unwrap();
        let last = Seq((1 << SEQ_BITS) * 3 - 1);
        let seq = Seq(last.0 + 2);
        assert_eq!(stage.decide(BlockIndex(0), seq, last), made(seq, false));
        assert_eq!(stage.decision(BlockIndex(0), last), made(seq, false));
        assert!(stage.seal(BlockIndex(0), seq));
    }

    #[test]
    fn only_one_of_two_switches_from_the_same_epoch_wins() {
        let words = heap(STAGE_WORDS);
        let stage = Stage::create(&words, &SHAPE).unwrap();
        let seen = stage.preference();
        assert_eq!(stage.switch(seen, Slot::One).unwrap().epoch, Epoch(1));
        assert_eq!(stage.switch(seen, Slot::One), None);
    }

    #[test]
    fn an_epitaph_is_read_back_and_cut_to_its_room() {
        let words = heap(STAGE_WORDS);
        let slot = Stage::create(&words, &SHAPE).unwrap().slot(Slot::One);
        assert_eq!(slot.epitaph(), None);
        slot.write_epitaph(&"x".repeat(5_000));
        assert_eq!(slot.epitaph().unwrap().len(), EPITAPH_BYTES);
    }
}
