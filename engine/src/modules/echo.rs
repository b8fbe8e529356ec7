//! The common parts of all echoes: a delay line with a variable time, and the filters in the feedback.
//!
//! A change of the time fades from the old echo to the new one; the line itself is never cleared.

use super::{linear, log};
use crate::{
    catalog::Param,
    lanes::Lanes,
    math,
    module::{Io, State},
    smooth::glide_frames,
};

/// Samples below this level (-200 dB) become 0: they are inaudible and would become denormals, which are slow.
const NOTHING: f32 = 1e-10;

/// The ranges of the filters, at whose outer ends the filters have no effect.
const LOW_HZ: [f32; 3] = [10.0, 10.0, 5_000.0];
const HIGH_HZ: [f32; 3] = [100.0, 20_000.0, 20_000.0];

/// A parameter of every echo.
pub const MIX: Param = linear(
    "mix",
    "",
    [0.0, 0.35, 1.0],
    "from dry (0) to echoes only (1)",
);
/// See [`MIX`].
pub const LOW: Param = log(
    "low",
    "Hz",
    LOW_HZ,
    "corner of the high-pass in the feedback",
);
/// See [`MIX`].
pub const HIGH: Param = log(
    "high",
    "Hz",
    HIGH_HZ,
    "corner of the low-pass in the feedback",
);

// Cells: the write position, the delay in samples and the previous one, the remaining frames of the fade.
const AT: usize = 0;
const LENGTH: usize = 1;
const OLD_LENGTH: usize = 2;
const LEFT: usize = 3;
/// Cells of state.
pub const CELLS: usize = 4;

/// The read and write positions in the line of one channel.
pub struct Tap {
    pub at: usize,
    line: usize,
    length: usize,
    old_length: usize,
    left: u32,
    whole_glide: u32,
    /// The level of the old echo.
    rest: f32,
}

impl Tap {
    /// Loads the positions from the cells, for a line of this length.
    #[inline(always)]
    pub fn load<L: Lanes>(
        io: &Io<'_, L>,
        state: &mut State<'_, L>,
        channel: usize,
        line: usize,
    ) -> Self {
        let whole_glide = glide_frames(io.context.rate_hz);
        Self {
            at: *state.cell(AT, channel) as usize % line,
            line,
            length: (*state.cell(LENGTH, channel) as usize).min(line - 1),
            old_length: (*state.cell(OLD_LENGTH, channel) as usize).min(line - 1),
            left: (*state.cell(LEFT, channel)).min(whole_glide),
            whole_glide,
            rest: 0.0,
        }
    }

    /// Advances to a frame; starts a fade to the wanted delay unless one is running.
    #[inline(always)]
    pub fn aim(&mut self, wanted: impl FnOnce() -> usize) {
        if self.left == 0 {
            // The current value of a gliding or modulated parameter.
            let wanted = wanted();
            if self.length == 0 {
                (self.length, self.old_length) = (wanted, wanted);
            } else if wanted != self.length {
                (self.old_length, self.length, self.left) = (self.length, wanted, self.whole_glide);
            }
        }
        self.left = self.left.saturating_sub(1);
        self.rest = self.left as f32 / self.whole_glide as f32;
    }

    /// The echo in this frame.
    #[inline(always)]
    pub fn heard(&self, line: &[f32]) -> f32 {
        let back = |length: usize| line[(self.at + self.line - length.max(1)) % self.line];
        let new = back(self.length);
        if self.left == 0 {
            new
        } else {
            new + (back(self.old_length) - new) * self.rest
        }
    }

    /// Ends the frame.
    #[inline(always)]
    pub fn next(&mut self) {
        self.at = (self.at + 1) % self.line;
    }

    /// Stores the positions in the cells.
    #[inline(always)]
    pub fn keep<L: Lanes>(&self, state: &mut State<'_, L>, channel: usize) {
        for (cell, value) in [
            (AT, self.at),
            (LENGTH, self.length),
            (OLD_LENGTH, self.old_length),
        ] {
            *state.cell(cell, channel) = value as u32;
        }
        *state.cell(LEFT, channel) = self.left;
    }
}

/// The two filters in the feedback, at a frame: the coefficient of their pole, and the share of its effect. The
/// filters fade in over the outermost part of their ranges.
#[derive(Clone, Copy, Default)]
pub struct Band {
    low: [f32; 2],
    high: [f32; 2],
}

impl Band {
    /// The coefficients of the poles and the shares of their effect, low and high, for all channels.
    #[inline(always)]
    pub fn of<L: Lanes>(io: &Io<'_, L>, low: L, high: L) -> [L; 4] {
        let (zero, one) = (io.splat(0.0), io.splat(1.0));
        [
            math::one_pole(io, low),
            ((low - io.splat(LOW_HZ[0])) * io.splat(0.1))
                .max(zero)
                .min(one),
            math::one_pole(io, high),
            ((io.splat(HIGH_HZ[2]) - high) * io.splat(0.000_25))
                .max(zero)
                .min(one),
        ]
    }

    /// The filters of one channel.
    #[inline(always)]
    pub fn lane<L: Lanes>(all: [L; 4], channel: usize) -> Self {
        let [low, low_part, high, high_part] = all;
        Self {
            low: [low.lane(channel), low_part.lane(channel)],
            high: [high.lane(channel), high_part.lane(channel)],
        }
    }

    /// Filters one sample.
    #[inline(always)]
    pub fn next(&self, state: &mut [f32; 2], x: f32) -> f32 {
        let mut pole = |number: usize, go: f32, x: f32| {
            let step = (x - state[number]) * go;
            let low = state[number] + step;
            state[number] = low + step;
            low
        };
        let x = x - pole(0, self.low[0], x) * self.low[1];
        x + (pole(1, self.high[0], x) - x) * self.high[1]
    }
}

/// Replaces inaudible and non-finite values by 0.
#[inline(always)]
pub fn flush_denormal(x: f32) -> f32 {
    if x.is_finite() && x.abs() > NOTHING {
        x
    } else {
        0.0
    }
}
