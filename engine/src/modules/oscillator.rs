//! An oscillator: all but the shape of its wave.
//!
//! Its phase is a whole number, so that it never drifts, however long it runs. Each type of
//! oscillator is one of these and a wave, a function of the phase.

use bytemuck::{Pod, Zeroable};

use super::{linear, log};
use crate::{catalog::Param, module::Context, smooth::Smooth};

/// The parameters of every oscillator.
pub const PARAMS: &[Param] = &[
    log("freq", "Hz", [0.01, 440.0, 20_000.0], "frequency"),
    linear("gain", "", [0.0, 0.5, 1.0], "level"),
];

/// A whole turn, in steps: at 0.01 Hz and 192 kHz one frame is still 10^12 of them.
const TURN: f64 = 18_446_744_073_709_551_616.0;

/// Where an oscillator is in its turn, how fast it goes, how loud it is.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Oscillator {
    turn: u64,
    freq: Smooth,
    gain: Smooth,
}

impl Oscillator {
    /// At the start of a turn, with a value for each of [`PARAMS`].
    pub fn new(params: &[f32]) -> Self {
        Self {
            turn: 0,
            freq: Smooth::at(params[0]),
            gain: Smooth::at(params[1]),
        }
    }

    /// Glides to another value of one of [`PARAMS`].
    pub fn set(&mut self, context: Context, param: u16, value: f32) {
        match param {
            0 => self.freq.glide(value, context.rate_hz),
            _ => self.gain.glide(value, context.rate_hz),
        }
    }

    /// Renders a wave: its level at a phase, given the step to the next one, both in units of 2^-32
    /// of a turn.
    pub fn render(&mut self, context: Context, output: &mut [f32], wave: impl Fn(u32, u32) -> f32) {
        let mut gain = self.gain;
        if let Some(gain) = gain.at_rest() {
            self.run(context, output, |phase, step| wave(phase, step) * gain);
        } else {
            self.run(context, output, |phase, step| {
                wave(phase, step) * gain.next()
            });
            self.gain = gain;
        }
    }

    /// Calls `sample` with phase and step of each frame, in units of 2^-32 of a turn.
    #[inline]
    fn run(
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
