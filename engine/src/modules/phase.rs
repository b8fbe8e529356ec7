//! The phase of an oscillator: a whole number, so that it never drifts, however long it runs.

use bytemuck::{Pod, Zeroable};

use super::log;
use crate::{catalog::Param, module::Context, smooth::Smooth};

/// The `freq` parameter of every oscillator.
pub const FREQ: Param = log("freq", "Hz", [0.01, 440.0, 20_000.0], "frequency");

/// A whole turn, in steps: at 0.01 Hz and 192 kHz one frame is still 10^12 of them.
const TURN: f64 = 18_446_744_073_709_551_616.0;

/// Where an oscillator is in its turn, and how fast it goes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Phase {
    turn: u64,
    freq: Smooth,
}

impl Phase {
    /// At the start of a turn.
    pub const fn new(freq_hz: f32) -> Self {
        Self {
            turn: 0,
            freq: Smooth::at(freq_hz),
        }
    }

    /// Glides to another frequency.
    pub fn set_freq(&mut self, context: Context, hz: f32) {
        self.freq.glide(hz, context.rate_hz);
    }

    /// Calls `sample` with phase and step of each frame, in units of 2^-32 of a turn.
    #[inline]
    pub fn run(
        &mut self,
        context: Context,
        output: &mut [f32],
        mut sample: impl FnMut(u32, u32) -> f32,
    ) {
        let steps_per_hz = TURN / f64::from(context.rate_hz);
        let step_of = |hz: f32| (f64::from(hz) * steps_per_hz) as u64;
        let mut turn = self.turn;
        if let Some(hz) = self.freq.at_rest() {
            let step = step_of(hz);
            for out in output {
                *out = sample((turn >> 32) as u32, (step >> 32) as u32);
                turn = turn.wrapping_add(step);
            }
        } else {
            for out in output {
                let step = step_of(self.freq.next());
                *out = sample((turn >> 32) as u32, (step >> 32) as u32);
                turn = turn.wrapping_add(step);
            }
        }
        self.turn = turn;
    }
}
