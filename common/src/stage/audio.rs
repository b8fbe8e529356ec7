//! What audio-out tells of itself: what it does, what it had to do, how far its file has come.

use super::{
    ANCHOR, AUDIO_STATE, CONCEALED, DIFFERING, FILE, FILE_TURN, PLAYING, Stage, TAKEN_ACROSS,
    UNDERRUNS,
};
use crate::{sync::Ordering, units::BlockIndex};

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

    /// Says when frame 0 would have come in ([`crate::time_tag`]). Written by audio-out.
    pub fn set_anchor(&self, ntp: u64) {
        self.words[ANCHOR].store(ntp, Ordering::Relaxed);
    }

    /// See [`Self::set_anchor`]; 0 while nobody knows, for ever where there is no clock.
    #[must_use]
    pub fn anchor(&self) -> u64 {
        self.get(ANCHOR)
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
}
