//! What audio-out tells of itself: what it does, what it had to do, how far its file has come.

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
    /// All that stands on the tape below this place is in the file.
    pub place: u64,
    /// Frames in the file.
    pub frames: u64,
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
    /// Gaps that the device made: it was gone, it stalled, it ran dry.
    pub device_gaps: u64,
    /// Samples that were beyond full scale on their way to the device.
    pub clipped_samples: u64,
}

impl Stage<'_> {
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

    /// Gaps that the device made, and how long the last of all is. Written by audio-out's callback.
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

    /// Samples that were beyond full scale. Written by audio-out's callback.
    pub fn add_clipped(&self, samples: u64) {
        self.words[CLIPPED].store(self.get(CLIPPED) + samples, Ordering::Relaxed);
    }

    /// Says that there is a device to play on. Written by audio-out, read by the next one.
    pub fn set_has_device(&self) {
        self.words[HAS_DEVICE].store(1, Ordering::Relaxed);
    }

    /// See [`Self::set_has_device`].
    #[must_use]
    pub fn has_device(&self) -> bool {
        self.get(HAS_DEVICE) != 0
    }

    /// Says how far the file has come, after it has. Written by audio-out.
    pub fn set_written(&self, written: Written) {
        let half = self.get(FILE_HALF) + 1;
        let place = FILE + 1 + 2 * (half as usize % 2);
        self.words[place].store(written.place, Ordering::Relaxed);
        self.words[place + 1].store(written.frames, Ordering::Relaxed);
        // SYNC: file (writer): the pair that it names is whole
        self.words[FILE_HALF].store(half, Ordering::Release);
    }

    /// See [`Self::set_written`]; `None` while there is no file. Read by the next audio-out.
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

    /// Says when frame 0 would have come in, by the monotonic clock ([`crate::time_tag`]). Written by
    /// audio-out.
    pub fn set_time_origin(&self, monotonic: u64) {
        self.words[TIME_ORIGIN].store(monotonic, Ordering::Relaxed);
    }

    /// See [`Self::set_time_origin`]; 0 while nobody knows, for ever where there is no clock.
    #[must_use]
    pub fn time_origin(&self) -> u64 {
        self.get(TIME_ORIGIN)
    }

    /// Says how far the clock on the wall is ahead of the monotonic one. Written by audio-out.
    pub fn set_wall(&self, ahead: u64) {
        self.words[WALL].store(ahead, Ordering::Relaxed);
    }

    /// See [`Self::set_wall`].
    #[must_use]
    pub fn wall(&self) -> u64 {
        self.get(WALL)
    }

    /// Sets the clock on the wall, as the stack sees it, by so much from what the machine says. Written by
    /// tests, which cannot set the machine's.
    pub fn set_clock_by(&self, ahead: u64) {
        self.words[SET_BY].store(ahead, Ordering::Relaxed);
    }

    /// See [`Self::set_clock_by`].
    #[must_use]
    pub fn clock_set_by(&self) -> u64 {
        self.get(SET_BY)
    }

    /// Says that the play cursor has moved just now, by the machine's monotonic clock. Written by audio-out.
    pub fn set_moved_at(&self, ns: u64) {
        self.words[MOVED_AT].store(ns, Ordering::Relaxed);
    }

    /// See [`Self::set_moved_at`]; 0 before the first time.
    #[must_use]
    pub fn moved_at(&self) -> u64 {
        self.get(MOVED_AT)
    }

    /// Says when the last block was taken, by the clock of the machine. Written by audio-out, where a
    /// clock plays.
    pub fn set_taken_at(&self, ns: u64) {
        self.words[TAKEN_AT].store(ns, Ordering::Relaxed);
    }

    /// See [`Self::set_taken_at`]; 0 before the first.
    #[must_use]
    pub fn taken_at(&self) -> u64 {
        self.get(TAKEN_AT)
    }

    /// Counts a block that was published less than a block before its deadline. Raised by workers.
    pub fn add_close(&self) {
        self.words[CLOSE].fetch_add(1, Ordering::Relaxed);
    }

    /// Blocks that were published less than a block before their deadline, or for which something else
    /// was played.
    #[must_use]
    pub fn late_blocks(&self) -> u64 {
        self.get(CLOSE).saturating_add(self.get(CONCEALED))
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
