//! The stage: the one segment in which all processes see where the music is.
//!
//! It holds the format of the sound, the play cursor, the preference word, one decision word per
//! block, the doorbells and what each slot tells of itself. Every word has one writer, or is
//! changed by compare-and-swap only. Nobody ever waits inside it.
//!
//! This file is the layout and what concerns everybody; its parts are what is decided, what audio-out
//! tells, what each worker tells and what its modules cost.

mod audio;
mod costs;
mod decisions;
mod history;
mod slot_words;

pub use self::{
    audio::{AudioCounters, AudioState, Written},
    costs::{BlockCosts, Costs},
    decisions::Decision,
    history::{NOTE_NUMBERS, Note, Noted, Tallies},
    slot_words::{Breadcrumb, PANIC_MESSAGE_BYTES, Phase, SlotWords},
};
use crate::{
    layout::{self, HEADER_WORDS, Kind, LayoutError},
    limits::{DECISIONS, QUARANTINE_KEPT},
    sync::{AtomicU64, Ordering},
    units::{BlockIndex, Epoch, First, Incarnation, Slot},
};

// The format of the sound; written once by the creator, before the header is sealed.
const RATE: usize = HEADER_WORDS;
const BLOCK: usize = RATE + 1;
const CHANNELS: usize = RATE + 2;
const LEAD: usize = RATE + 3;
const FREEWHEEL: usize = RATE + 4;

// One cache line (8 words) per writer from here on.
/// Written by audio-out: the next block to be played; first value: the run's first block.
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
/// CAS by supervisor and audio-out: epoch << 1 | slot; first value: slot 0, the run's first number.
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
const FREEZE_CHECKPOINTS: usize = 36;
/// Written by the supervisor: blocks that workers render ahead of the play cursor; first value: the
/// format's lead.
const LEAD_NOW: usize = 37;
/// Futex words: one (the low half) per listener; worker 0, worker 1, audio-out.
const FUTEXES: usize = 40;
const FUTEX_STRIDE: usize = 8;
const FUTEX_COUNT: usize = 3;
/// What each slot tells; written by the worker in it.
const SLOTS: usize = 64;
const SLOT_WORDS: usize = 64;
/// What the worker tells that plays for nobody: two slots' words are followed by a third's.
const TRIAL: usize = SLOTS + 2 * SLOT_WORDS;
/// Written by the supervisor: the numbers of quarantined commands, a ring.
const QUARANTINE: usize = TRIAL + SLOT_WORDS;
const QUARANTINE_WORDS: usize = QUARANTINE_KEPT;
/// Written by audio-out: what its file holds, twice, and which of the two is right; then what it
/// does.
const FILE: usize = QUARANTINE + QUARANTINE_WORDS;
const FILE_HALF: usize = FILE;
const AUDIO_STATE: usize = FILE + 5;
/// Written by audio-out: when frame 0 would have come in, by the machine's monotonic clock; 0 while nobody knows.
const TIME_ORIGIN: usize = FILE + 6;
/// Written by audio-out: when the play cursor last moved, in ns of the machine's monotonic clock.
const MOVED_AT: usize = FILE + 7;
/// Written by the supervisor, for each slot: the last lives that were wrong, and from which block on.
const DISTRUSTED: usize = FILE + 8;
const DISTRUSTED_EACH: usize = 4;
/// Written by audio-out's callback: gaps that the device caused, the length of the last one in microseconds,
/// and samples that were clamped to full scale.
const DEVICE_GAPS: usize = DISTRUSTED + 4 * DISTRUSTED_EACH;
const LAST_GAP_US: usize = DEVICE_GAPS + 1;
const CLIPPED: usize = DEVICE_GAPS + 2;
/// Written by audio-out: 1 once it has opened a device; first value 0.
const HAS_DEVICE: usize = DEVICE_GAPS + 3;
/// Raised by workers: blocks that were published less than a block before their deadline.
const CLOSE: usize = DEVICE_GAPS + 4;
/// Written by audio-out: when the last block was taken, in ns of the machine's monotonic clock.
const TAKEN_AT: usize = DEVICE_GAPS + 5;
/// Written by audio-out: how far the clock on the wall is ahead of the monotonic one.
const WALL: usize = DEVICE_GAPS + 6;
/// Written by tests: how far the clock on the wall is to be set from what the machine says; first value 0.
const SET_BY: usize = DEVICE_GAPS + 7;
/// The first decision word. No rule of the switch reads what lies behind them all.
pub const DECISION: usize = DEVICE_GAPS + 8;

/// Written by the supervisor: what it leaves for the next one.
const HISTORY: usize = DECISION + DECISIONS as usize;

/// Written by the worker in each slot: what its modules cost.
const COSTS: usize = (HISTORY + history::HISTORY_WORDS).next_multiple_of(8);

/// Words of a stage.
pub const STAGE_WORDS: usize = COSTS + costs::COSTS_WORDS;

/// The format of the sound: the same for every process and for the life of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AudioFormat {
    /// Frames a second.
    pub rate_hz: u32,
    /// Frames in a block.
    pub block_frames: u32,
    /// Channels of sound in a frame.
    pub channels: u32,
    /// Blocks that workers render ahead of the play cursor at the start; then see [`Stage::lead`].
    pub lead_blocks: u32,
    /// No clock: blocks are taken as soon as they are there.
    pub freewheel: bool,
}

impl AudioFormat {
    /// Samples in a block, over all channels.
    #[must_use]
    pub const fn block_samples(&self) -> usize {
        (self.block_frames * self.channels) as usize
    }

    /// Nanoseconds that a block lasts.
    #[must_use]
    pub fn block_ns(&self) -> u64 {
        u64::from(self.block_frames) * 1_000_000_000 / u64::from(self.rate_hz.max(1))
    }
}

/// Who waits at a futex word.
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
    pub fn create(words: &'a [AtomicU64], format: &AudioFormat) -> Result<Self, LayoutError> {
        Self::create_from(words, format, First::default())
    }

    /// As [`Self::create`], for a run whose counters begin there.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_from(
        words: &'a [AtomicU64],
        format: &AudioFormat,
        first: First,
    ) -> Result<Self, LayoutError> {
        if words.len() < STAGE_WORDS {
            return Err(LayoutError::Short {
                found: words.len(),
                needed: STAGE_WORDS,
            });
        }
        words[RATE].store(format.rate_hz.into(), Ordering::Relaxed);
        words[BLOCK].store(format.block_frames.into(), Ordering::Relaxed);
        words[CHANNELS].store(format.channels.into(), Ordering::Relaxed);
        words[LEAD].store(format.lead_blocks.into(), Ordering::Relaxed);
        words[LEAD_NOW].store(format.lead_blocks.into(), Ordering::Relaxed);
        words[FREEWHEEL].store(format.freewheel.into(), Ordering::Relaxed);
        let epoch = Epoch(first.number);
        let slot = Slot::Zero;
        for (word, value) in [
            (CURSOR, first.block.0),
            (LOGGED, first.block.0),
            (PREFERENCE, Preference { epoch, slot }.to_word()),
            (ACKNOWLEDGED, epoch.0),
        ] {
            words[word].store(value, Ordering::Relaxed);
        }
        for futex in 0..FUTEX_COUNT {
            words[FUTEXES + futex * FUTEX_STRIDE].store(first.number, Ordering::Relaxed);
        }
        for slot in Slot::ALL {
            let seat = SLOTS + slot.index() * SLOT_WORDS;
            SlotWords::over(&words[seat..seat + SLOT_WORDS]).begin_at(first.block);
        }
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

    /// The format of the sound.
    #[must_use]
    pub fn format(&self) -> AudioFormat {
        AudioFormat {
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

    /// Blocks that workers render ahead of the play cursor, a device's burst not included. Written by
    /// the supervisor.
    pub fn set_lead(&self, blocks: u32) {
        self.words[LEAD_NOW].store(blocks.into(), Ordering::Relaxed);
    }

    /// See [`Self::set_lead`].
    #[must_use]
    pub fn lead(&self) -> u32 {
        self.get(LEAD_NOW) as u32
    }

    /// Workers render block n only while n is below this.
    #[must_use]
    pub fn horizon(&self) -> BlockIndex {
        let ahead = u64::from(self.lead())
            .saturating_add(self.get(BURST))
            .min(crate::limits::AHEAD_BLOCKS_MAX);
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
    pub fn freeze_checkpoints(&self, frozen: bool) {
        self.words[FREEZE_CHECKPOINTS].store(frozen.into(), Ordering::Relaxed);
    }

    /// See [`Self::freeze_checkpoints`].
    #[must_use]
    pub fn checkpoints_frozen(&self) -> bool {
        self.get(FREEZE_CHECKPOINTS) != 0
    }

    /// The word that a listener waits at: to wake it, add one and call `futex::wake`.
    #[must_use]
    pub fn futex(&self, listener: Listener) -> &'a AtomicU64 {
        let index = match listener {
            Listener::Worker(slot) => slot.index(),
            Listener::AudioOut => 2,
        };
        &self.words[FUTEXES + index * FUTEX_STRIDE]
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
        SlotWords::over(&self.words[start..start + SLOT_WORDS])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::heap;

    pub(super) const FORMAT: AudioFormat = AudioFormat {
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
        Stage::create(&words, &FORMAT).unwrap();
        assert_eq!(Stage::open(&words).unwrap().format(), FORMAT);
    }

    #[test]
    fn only_one_of_two_switches_from_the_same_epoch_wins() {
        let words = heap(STAGE_WORDS);
        let stage = Stage::create(&words, &FORMAT).unwrap();
        let seen = stage.preference();
        assert_eq!(stage.switch(seen, Slot::One).unwrap().epoch, Epoch(1));
        assert_eq!(stage.switch(seen, Slot::One), None);
    }
}
