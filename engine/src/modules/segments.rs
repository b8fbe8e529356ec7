//! The segments of an envelope: the common part of `adsr` and `ar`.
//!
//! Each segment begins at the current level and lasts a whole number of frames.

use crate::{
    lanes::{LANES_MAX, Lanes},
    math,
    module::{Io, State},
};

// Cells: the segment, its length and remaining frames, the level at its begin and now, the height of the gate that
// opened it; then, for the callers, the gate in the previous frame.
const STAGE: usize = 0;
const FRAMES: usize = 1;
const LEFT: usize = 2;
const FROM: usize = 3;
const LEVEL: usize = 4;
const HEIGHT: usize = 5;
/// The gate in the previous frame.
pub const GATE: usize = 6;
/// Cells of state.
pub const CELLS: usize = 7;

/// The envelope of one channel during a block.
#[derive(Clone, Copy, Default)]
pub struct Voice {
    pub stage: u32,
    pub frames: u32,
    pub left: u32,
    pub from: f32,
    pub level: f32,
    pub height: f32,
}

impl Voice {
    /// Begins a segment at the current level.
    pub fn enter(&mut self, stage: u32, ms: f32, rate_hz: f32) {
        self.stage = stage;
        // A segment from NaN would never end.
        self.from = if self.level.is_finite() {
            self.level
        } else {
            0.0
        };
        let frames = f64::from(ms) * f64::from(rate_hz) / 1000.0;
        self.frames = ((frames + 0.5) as u32).max(1);
        self.left = self.frames;
    }
}

/// Loads the envelopes of all channels from the cells; the first [`Lanes::N`] are valid.
#[inline(always)]
pub fn load<L: Lanes>(state: &mut State<'_, L>) -> [Voice; LANES_MAX] {
    let mut voices = [Voice::default(); LANES_MAX];
    for (channel, voice) in voices[..L::N].iter_mut().enumerate() {
        *voice = Voice {
            stage: *state.cell(STAGE, channel),
            frames: (*state.cell(FRAMES, channel)).max(1),
            left: *state.cell(LEFT, channel),
            from: state.number(FROM, channel),
            level: state.number(LEVEL, channel),
            height: state.number(HEIGHT, channel),
        };
    }
    voices
}

/// Stores the envelopes in the cells.
#[inline(always)]
pub fn keep<L: Lanes>(state: &mut State<'_, L>, voices: &[Voice]) {
    for (channel, voice) in voices.iter().enumerate() {
        *state.cell(STAGE, channel) = voice.stage;
        *state.cell(FRAMES, channel) = voice.frames;
        *state.cell(LEFT, channel) = voice.left;
        state.set_number(FROM, channel, voice.from);
        state.set_number(LEVEL, channel, voice.level);
        state.set_number(HEIGHT, channel, voice.height);
    }
}

/// An exponential segment: equal ratios instead of equal steps, from 1 to 2^-8, shifted so that the segment ends
/// exactly at 0.
#[inline(always)]
pub fn exponential<L: Lanes>(io: &Io<'_, L>, rest: L) -> L {
    let (zero, one) = (io.splat(0.0), io.splat(1.0));
    let curve = math::exp2(io, (rest - one) * io.splat(8.0)) - io.splat(1.0 / 256.0);
    L::select(zero.lt(rest), curve * io.splat(256.0 / 255.0), rest)
}
