//! The stage: the segment in which all processes see where the music is.
//!
//! It holds the audio format, the play cursor, the preference word, one decision word per block, the
//! doorbells and the words of each slot. Every word has one writer, or changes by compare-and-swap only. No
//! access waits.
//!
//! This file owns the layout and the words that concern all processes. Its submodules own the decisions,
//! the words of audio-out, those of each worker, the costs of modules and the history that a supervisor
//! leaves.

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

// The audio format; the creator writes it once, before it seals the header.
const RATE: usize = HEADER_WORDS;
const BLOCK: usize = RATE + 1;
const CHANNELS: usize = RATE + 2;
const LEAD: usize = RATE + 3;
const FREEWHEEL: usize = RATE + 4;

// From here on, one cache line (8 words) per writer.
/// Written by audio-out: the next block to play. First value: the run's first block.
const CURSOR: usize = 16;
/// Written by audio-out: blocks that the device takes at once, beyond the first.
const BURST: usize = 17;
/// Written by audio-out: the last epoch that it has acted on.
const ACKNOWLEDGED: usize = 18;
/// Written by audio-out: the number of underruns, and of concealed blocks.
const UNDERRUNS: usize = 19;
const CONCEALED: usize = 20;
/// Written by audio-out: blocks for which the two rings held different content.
const DIFFERING: usize = 21;
/// Written by audio-out: blocks taken from the ring that was not preferred.
const TAKEN_ACROSS: usize = 22;
/// Written by audio-out: 1 once the first block has been played.
const PLAYING: usize = 23;
/// CAS by supervisor and audio-out: epoch << 1 | slot. First value: slot 0, the run's first number.
const PREFERENCE: usize = 24;
/// Written by the supervisor: the decisions of all blocks below this are in the log.
const LOGGED: usize = 32;
/// Written by the supervisor: 1 while both workers are ready.
const PROTECTED: usize = 33;
/// CAS by the supervisor, and by a follower that withdraws a block's commands: no block is decided with
/// commands above this number. 0: nothing is held. First value 0.
const HELD: usize = 34;
/// Written by the supervisor: how many commands have been quarantined. The table holds the newest of them.
const QUARANTINES: usize = 35;
/// Written by the supervisor: 1 while checkpoints are frozen for a trial.
const FREEZE_CHECKPOINTS: usize = 36;
/// Written by the supervisor: the lead in blocks. First value: the format's lead.
const LEAD_NOW: usize = 37;
/// The futex words, one (its low half) per listener: worker 0, worker 1, audio-out.
const FUTEXES: usize = 40;
const FUTEX_STRIDE: usize = 8;
const FUTEX_COUNT: usize = 3;
/// The words of each slot; written by the worker in it.
const SLOTS: usize = 64;
const SLOT_WORDS: usize = 64;
/// The words of the trial: they follow those of the two slots.
const TRIAL: usize = SLOTS + 2 * SLOT_WORDS;
/// Written by the supervisor: the numbers of quarantined commands, as a ring.
const QUARANTINE: usize = TRIAL + SLOT_WORDS;
const QUARANTINE_WORDS: usize = QUARANTINE_KEPT;
/// Written by audio-out: how far its file has come, two copies and the word that selects the valid one;
/// then its state.
const FILE: usize = QUARANTINE + QUARANTINE_WORDS;
const FILE_HALF: usize = FILE;
const AUDIO_STATE: usize = FILE + 5;
/// Written by audio-out: the time origin, by the monotonic clock, in NTP units; 0 while unknown.
const TIME_ORIGIN: usize = FILE + 6;
/// Written by audio-out: when the play cursor last moved, in ns of the monotonic clock.
const MOVED_AT: usize = FILE + 7;
/// Written by the supervisor, for each slot: the last distrusted incarnations, each with the first distrusted block.
const DISTRUSTED: usize = FILE + 8;
const DISTRUSTED_EACH: usize = 4;
/// Written by audio-out's callback: the number of gaps that the device caused, the length of the last one
/// in microseconds, and the number of samples that were clamped to full scale.
const DEVICE_GAPS: usize = DISTRUSTED + 4 * DISTRUSTED_EACH;
const LAST_GAP_US: usize = DEVICE_GAPS + 1;
const CLIPPED: usize = DEVICE_GAPS + 2;
/// Written by audio-out: 1 once it has opened a device. First value 0.
const HAS_DEVICE: usize = DEVICE_GAPS + 3;
/// Incremented by workers: blocks that were published less than a block before their deadline.
const CLOSE: usize = DEVICE_GAPS + 4;
/// Written by audio-out: when the last block was taken, in ns of the monotonic clock.
const TAKEN_AT: usize = DEVICE_GAPS + 5;
/// Written by audio-out: how far the wall clock is ahead of the monotonic clock, in NTP units.
const WALL: usize = DEVICE_GAPS + 6;
/// Written by tests: how far the stack's wall clock is ahead of the machine's, in NTP units. First value 0.
const SET_BY: usize = DEVICE_GAPS + 7;
/// The first decision word. No rule of the switch reads the words behind the decisions.
pub const DECISION: usize = DEVICE_GAPS + 8;

/// Written by the supervisor: what it leaves for its successor.
const HISTORY: usize = DECISION + DECISIONS as usize;

/// Written by the worker in each slot: the costs of its modules.
const COSTS: usize = (HISTORY + history::HISTORY_WORDS).next_multiple_of(8);

/// Words of a stage.
pub const STAGE_WORDS: usize = COSTS + costs::COSTS_WORDS;

/// The audio format: the same for every process and for the life of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AudioFormat {
    /// Frames per second.
    pub rate_hz: u32,
    /// Frames in a block.
    pub block_frames: u32,
    /// Channels of sound in a frame.
    pub channels: u32,
    /// The lead at the start, in blocks; [`Stage::lead`] is the present one.
    pub lead_blocks: u32,
    /// No clock drives the sound: blocks are taken as soon as they are published.
    pub freewheel: bool,
}

impl AudioFormat {
    /// Samples in a block, over all channels.
    #[must_use]
    pub const fn block_samples(&self) -> usize {
        (self.block_frames * self.channels) as usize
    }

    /// Duration of a block in nanoseconds.
    #[must_use]
    pub fn block_ns(&self) -> u64 {
        u64::from(self.block_frames) * 1_000_000_000 / u64::from(self.rate_hz.max(1))
    }
}

/// The thread that waits at a futex word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// The render thread of the worker in the slot.
    Worker(Slot),
    /// audio-out's thread that plays.
    AudioOut,
}

/// The slot that audio-out should take blocks from, and the number of the switch that said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Preference {
    /// The number of the switch.
    pub epoch: Epoch,
    /// The preferred slot.
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

/// The stage, over mapped words or words on the heap.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Stage<'a> {
    /// Writes a new stage into zeroed words.
    ///
    /// # Errors
    /// If there are too few words.
    pub fn create(words: &'a [AtomicU64], format: &AudioFormat) -> Result<Self, LayoutError> {
        Self::create_from(words, format, First::default())
    }

    /// As [`Self::create`], for a run whose counters begin at `first`.
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

    /// Opens a stage that another process has created.
    ///
    /// # Errors
    /// If the stage is unfinished or does not fit this build.
    pub fn open(words: &'a [AtomicU64]) -> Result<Self, LayoutError> {
        layout::check_header(words, Kind::Stage, STAGE_WORDS)?;
        Ok(Self { words })
    }

    /// All words of the stage, to lock them into memory.
    #[must_use]
    pub const fn all_words(&self) -> &'a [AtomicU64] {
        self.words
    }

    fn get(&self, word: usize) -> u64 {
        self.words[word].load(Ordering::Relaxed)
    }

    /// The audio format.
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

    /// The play cursor: the next block to play.
    #[must_use]
    pub fn cursor(&self) -> BlockIndex {
        // SYNC: play cursor (reader): cells of earlier blocks may be overwritten
        BlockIndex(self.words[CURSOR].load(Ordering::Acquire))
    }

    /// Moves the play cursor. Written by audio-out.
    pub fn set_cursor(&self, block: BlockIndex) {
        // SYNC: play cursor (writer)
        self.words[CURSOR].store(block.0, Ordering::Release);
    }

    /// Sets the lead in blocks, not including a device's burst. Written by the supervisor.
    pub fn set_lead(&self, blocks: u32) {
        self.words[LEAD_NOW].store(blocks.into(), Ordering::Relaxed);
    }

    /// See [`Self::set_lead`].
    #[must_use]
    pub fn lead(&self) -> u32 {
        self.get(LEAD_NOW) as u32
    }

    /// The horizon: workers render block n only while n is below this.
    #[must_use]
    pub fn horizon(&self) -> BlockIndex {
        let ahead = u64::from(self.lead())
            .saturating_add(self.get(BURST))
            .min(crate::limits::AHEAD_BLOCKS_MAX);
        BlockIndex(self.cursor().0.saturating_add(ahead))
    }

    /// Raises the number of blocks that the device takes at once, beyond the first. Written by audio-out; only grows.
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

    /// The preference: the preferred slot and its epoch.
    #[must_use]
    pub fn preference(&self) -> Preference {
        // SYNC: preference (reader)
        Preference::from_word(self.words[PREFERENCE].load(Ordering::Acquire))
    }

    /// Phase 1 of a switch: `from` becomes the next epoch, with `slot` preferred. CAS by supervisor and
    /// audio-out; `None` if another process has switched meanwhile.
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

    /// Acknowledges the epoch that audio-out has acted on last. Written by audio-out.
    pub fn acknowledge(&self, epoch: Epoch) {
        // SYNC: acknowledged epoch (writer): from this epoch on the old ring is not preferred
        self.words[ACKNOWLEDGED].store(epoch.0, Ordering::Release);
    }

    /// See [`Self::acknowledge`].
    #[must_use]
    pub fn acknowledged(&self) -> Epoch {
        // SYNC: acknowledged epoch (reader)
        Epoch(self.words[ACKNOWLEDGED].load(Ordering::Acquire))
    }

    /// Declares the decisions of all blocks below this to be in the log. Written by the supervisor.
    pub fn set_logged(&self, block: BlockIndex) {
        self.words[LOGGED].store(block.0, Ordering::Release);
    }

    /// See [`Self::set_logged`].
    #[must_use]
    pub fn logged(&self) -> BlockIndex {
        BlockIndex(self.words[LOGGED].load(Ordering::Acquire))
    }

    /// Sets whether both workers are ready. Written by the supervisor.
    pub fn set_protected(&self, protected: bool) {
        self.words[PROTECTED].store(protected.into(), Ordering::Relaxed);
    }

    /// See [`Self::set_protected`].
    #[must_use]
    pub fn protected(&self) -> bool {
        self.get(PROTECTED) != 0
    }

    /// Distrusts the blocks that this worker has published from `from` on: audio-out plays them only if the
    /// other ring lacks the block. Written by the supervisor, read by audio-out.
    pub fn distrust(&self, slot: Slot, incarnation: Incarnation, from: BlockIndex) {
        // Replace the entry with the oldest incarnation.
        let places = Self::distrusted(slot);
        let place = places
            .min_by_key(|place| self.get(*place))
            .unwrap_or(DISTRUSTED);
        self.words[place + 1].store(from.0, Ordering::Relaxed);
        // SYNC: distrust (writer)
        self.words[place].store(incarnation.0, Ordering::Release);
    }

    /// Whether this worker's version of the block is distrusted; see [`Self::distrust`].
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

    /// Time in blocks, as audio-out counts it: it also advances while something else is played in place of
    /// a missing block.
    #[must_use]
    pub fn elapsed_blocks(&self) -> u64 {
        self.cursor().0.saturating_add(self.get(CONCEALED))
    }

    /// Freezes or releases the checkpoints; they are frozen while a trial starts from one. Written by the supervisor.
    pub fn freeze_checkpoints(&self, frozen: bool) {
        self.words[FREEZE_CHECKPOINTS].store(frozen.into(), Ordering::Relaxed);
    }

    /// See [`Self::freeze_checkpoints`].
    #[must_use]
    pub fn checkpoints_frozen(&self) -> bool {
        self.get(FREEZE_CHECKPOINTS) != 0
    }

    /// The futex word at which a listener waits. To wake it, add 1 to the word and call `futex::wake`.
    #[must_use]
    pub fn futex(&self, listener: Listener) -> &'a AtomicU64 {
        let index = match listener {
            Listener::Worker(slot) => slot.index(),
            Listener::AudioOut => 2,
        };
        &self.words[FUTEXES + index * FUTEX_STRIDE]
    }

    /// The words of the worker in `slot`.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> SlotWords<'a> {
        self.seat(SLOTS + slot.index() * SLOT_WORDS)
    }

    /// The words of the trial.
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
