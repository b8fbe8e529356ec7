//! audio-out's words: its state, its counts, the progress of its file, and its clocks.

use std::time::Duration;

use super::{
    AUDIO_STATE, CLIPPED, CLOSE, CONCEALED, DEVICE_GAPS, DIFFERING, FILE, FILE_HALF, HAS_DEVICE,
    LAST_GAP_US, MOVED_AT, PLAYING, SET_BY, Stage, TAKEN_ACROSS, TAKEN_AT, TIME_ORIGIN, UNDERRUNS,
    WALL,
};
use crate::sync::Ordering;

/// What audio-out is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioState {
    /// audio-out opens its sink.
    Opening = 0,
    /// audio-out plays: the cursor moves while there are blocks.
    Playing = 1,
    /// The device is gone; audio-out waits for it to return.
    Waiting = 2,
}

/// How far audio-out's file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file contains everything below this place of the tape.
    pub place: u64,
    /// Frames in the file.
    pub frames: u64,
}

/// Counts by audio-out, each from 0 for the life of the instance.
#[derive(Clone, Copy, Debug, Default)]
pub struct AudioCounters {
    /// Times a due block was in neither ring.
    pub underruns: u64,
    /// Concealed blocks.
    pub concealed_blocks: u64,
    /// Blocks taken from the ring that was not preferred.
    pub taken_across: u64,
    /// Blocks for which the two rings held different content.
    pub differing: u64,
    /// Gaps that the device caused: it was gone, stalled or ran dry.
    pub device_gaps: u64,
    /// Samples beyond full scale on their way to the device.
    pub clipped_samples: u64,
}

impl Stage<'_> {
    /// Counts an underrun. Written by audio-out.
    pub fn add_underrun(&self) {
        self.bump(UNDERRUNS);
    }

    /// Counts a concealed block. Written by audio-out.
    pub fn add_concealed(&self) {
        self.bump(CONCEALED);
    }

    /// Counts a block that was taken from the ring that is not preferred. Written by audio-out.
    pub fn add_taken_across(&self) {
        self.bump(TAKEN_ACROSS);
    }

    /// Counts a block for which the two rings hold different content. Written by audio-out.
    pub fn add_differing(&self) {
        self.bump(DIFFERING);
    }

    /// Counts gaps that the device caused, and sets the length of the last one. Written by audio-out's callback.
    pub fn add_device_gaps(&self, count: u64, last: Duration) {
        let us = u64::try_from(last.as_micros()).unwrap_or(u64::MAX);
        self.words[LAST_GAP_US].store(us, Ordering::Relaxed);
        self.words[DEVICE_GAPS].store(self.get(DEVICE_GAPS) + count, Ordering::Relaxed);
    }

    /// The length of the last gap that the device caused; `None` if it caused none.
    #[must_use]
    pub fn last_device_gap(&self) -> Option<Duration> {
        (self.get(DEVICE_GAPS) > 0).then(|| Duration::from_micros(self.get(LAST_GAP_US)))
    }

    /// Counts samples beyond full scale. Written by audio-out's callback.
    pub fn add_clipped(&self, samples: u64) {
        self.words[CLIPPED].store(self.get(CLIPPED) + samples, Ordering::Relaxed);
    }

    /// Notes that there is a device to play on. Written by audio-out, read by its successor.
    pub fn set_has_device(&self) {
        self.words[HAS_DEVICE].store(1, Ordering::Relaxed);
    }

    /// See [`Self::set_has_device`].
    #[must_use]
    pub fn has_device(&self) -> bool {
        self.get(HAS_DEVICE) != 0
    }

    /// Sets how far the file has come, after the file was written. Written by audio-out.
    pub fn set_written(&self, written: Written) {
        let half = self.get(FILE_HALF) + 1;
        let place = FILE + 1 + 2 * (half as usize % 2);
        self.words[place].store(written.place, Ordering::Relaxed);
        self.words[place + 1].store(written.frames, Ordering::Relaxed);
        // SYNC: file (writer): the pair of words that it selects is complete
        self.words[FILE_HALF].store(half, Ordering::Release);
    }

    /// How far the file has come; `None` while there is no file. Read by audio-out's successor.
    #[must_use]
    pub fn written(&self) -> Option<Written> {
        // SYNC: file (reader)
        let half = self.words[FILE_HALF].load(Ordering::Acquire);
        let place = FILE + 1 + 2 * (half as usize % 2);
        (half > 0).then(|| Written {
            place: self.get(place),
            frames: self.get(place + 1),
        })
    }

    /// Sets the state of audio-out. Written by audio-out.
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

    /// Sets the time origin, by the monotonic clock ([`crate::time_tag`]). Written by audio-out.
    pub fn set_time_origin(&self, monotonic: u64) {
        self.words[TIME_ORIGIN].store(monotonic, Ordering::Relaxed);
    }

    /// The time origin; 0 while unknown, and always in freewheel.
    #[must_use]
    pub fn time_origin(&self) -> u64 {
        self.get(TIME_ORIGIN)
    }

    /// Sets how far the wall clock is ahead of the monotonic clock. Written by audio-out.
    pub fn set_wall(&self, ahead: u64) {
        self.words[WALL].store(ahead, Ordering::Relaxed);
    }

    /// See [`Self::set_wall`].
    #[must_use]
    pub fn wall(&self) -> u64 {
        self.get(WALL)
    }

    /// Sets the wall clock of the stack ahead of the machine's by `ahead`. Written by tests, which cannot
    /// set the machine's clock.
    pub fn set_clock_by(&self, ahead: u64) {
        self.words[SET_BY].store(ahead, Ordering::Relaxed);
    }

    /// See [`Self::set_clock_by`].
    #[must_use]
    pub fn clock_set_by(&self) -> u64 {
        self.get(SET_BY)
    }

    /// Sets when the play cursor last moved, in ns of the monotonic clock. Written by audio-out.
    pub fn set_moved_at(&self, ns: u64) {
        self.words[MOVED_AT].store(ns, Ordering::Relaxed);
    }

    /// When the play cursor last moved, in ns of the monotonic clock; 0 if it never did.
    #[must_use]
    pub fn moved_at(&self) -> u64 {
        self.get(MOVED_AT)
    }

    /// Sets when the last block was taken, in ns of the monotonic clock. Written by audio-out, if a clock drives it.
    pub fn set_taken_at(&self, ns: u64) {
        self.words[TAKEN_AT].store(ns, Ordering::Relaxed);
    }

    /// When the last block was taken, in ns of the monotonic clock; 0 if none was.
    #[must_use]
    pub fn taken_at(&self) -> u64 {
        self.get(TAKEN_AT)
    }

    /// Counts a block that was published less than a block before its deadline. Incremented by workers.
    pub fn add_close(&self) {
        self.words[CLOSE].fetch_add(1, Ordering::Relaxed);
    }

    /// Blocks that were published less than a block before their deadline, or were concealed.
    #[must_use]
    pub fn late_blocks(&self) -> u64 {
        self.get(CLOSE).saturating_add(self.get(CONCEALED))
    }

    /// Notes that the first block has been played. Written by audio-out.
    pub fn set_playing(&self) {
        self.words[PLAYING].store(1, Ordering::Relaxed);
    }

    /// True once the first block has been played.
    #[must_use]
    pub fn playing(&self) -> bool {
        self.get(PLAYING) != 0
    }

    fn bump(&self, word: usize) {
        // There is one writer: load and store are enough.
        self.words[word].store(self.get(word) + 1, Ordering::Relaxed);
    }

    /// All counts.
    #[must_use]
    pub fn audio_counters(&self) -> AudioCounters {
        AudioCounters {
            underruns: self.get(UNDERRUNS),
            concealed_blocks: self.get(CONCEALED),
            taken_across: self.get(TAKEN_ACROSS),
            differing: self.get(DIFFERING),
            device_gaps: self.get(DEVICE_GAPS),
            clipped_samples: self.get(CLIPPED),
        }
    }
}
