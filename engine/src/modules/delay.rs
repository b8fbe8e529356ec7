//! `delay`: an echo: what came in a while ago, again and again, ever softer.
//!
//! The line is a ring of samples in the arena, 80 KiB of it: the largest state of all modules, and
//! so the one that checkpoints are measured with. A change of the time glides from the old echo to
//! the new one; the line itself is never cleared.
//!
//! # Source
//! Julius O. Smith, Physical Audio Signal Processing, "Delay Lines" and "Feedback Comb Filters",
//! <https://ccrma.stanford.edu/~jos/pasp/>.

use bytemuck::{Pod, Zeroable};

use super::linear;
use crate::{
    catalog::ModuleType,
    module::{Context, Module},
    smooth::Smooth,
};

/// Samples of the line: 426 ms at 48 kHz; less at higher rates.
const LINE: usize = 20_480;
/// Below this an echo is nothing to hear (-200 dB), and soon a denormal, which is slow.
const NOTHING: f32 = 1e-10;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Delay {
    line: [f32; LINE],
    /// Where the next sample goes.
    at: u32,
    /// The delay in samples, and the one that is being left.
    length: u32,
    old_length: u32,
    unused: u32,
    /// From the old delay (0) to the new one (1).
    cross: Smooth,
    feedback: Smooth,
    mix: Smooth,
}

fn samples(ms: f32, context: Context) -> u32 {
    ((ms * context.rate_hz / 1000.0) as u32).clamp(1, LINE as u32 - 1)
}

impl Delay {
    fn heard(&self, length: u32) -> f32 {
        let at = (self.at as usize % LINE + LINE - (length as usize).clamp(1, LINE - 1)) % LINE;
        self.line[at]
    }
}

impl Module for Delay {
    const TYPE: ModuleType = ModuleType {
        name: "delay",
        help: "echo: what came in a while ago, again and again, ever softer",
        inputs: &["in"],
        outputs: &["out"],
        takes_gate: false,
        params: &[
            linear(
                "time",
                "ms",
                [1.0, 250.0, 400.0],
                "from one echo to the next",
            ),
            linear(
                "feedback",
                "",
                [0.0, 0.4, 0.95],
                "how much of an echo is in the next one",
            ),
            linear(
                "mix",
                "",
                [0.0, 0.35, 1.0],
                "from dry (0) to echoes only (1)",
            ),
        ],
    };

    fn new(context: Context, params: &[f32]) -> Self {
        let length = samples(params[0], context);
        Self {
            length,
            old_length: length,
            cross: Smooth::at(1.0),
            feedback: Smooth::at(params[1]),
            mix: Smooth::at(params[2]),
            ..Self::zeroed()
        }
    }

    fn set(&mut self, context: Context, param: u16, value: f32) {
        match param {
            0 => {
                let length = samples(value, context);
                if length != self.length {
                    self.old_length = self.length;
                    self.length = length;
                    self.cross = Smooth::at(0.0);
                    self.cross.glide(1.0, context.rate_hz);
                }
            }
            1 => self.feedback.glide(value, context.rate_hz),
            2 => self.mix.glide(value, context.rate_hz),
            _ => {}
        }
    }

    fn render(&mut self, _: Context, inputs: &[f32], outputs: &mut [f32]) {
        for (out, input) in outputs.iter_mut().zip(inputs) {
            let cross = self.cross.next();
            let (new, old) = (self.heard(self.length), self.heard(self.old_length));
            let echo = old + (new - old) * cross;
            let mix = self.mix.next();
            *out = input + (echo - input) * mix;
            let kept = input + echo * self.feedback.next();
            let whole = kept.is_finite() && kept.abs() > NOTHING;
            self.at = (self.at as usize % LINE) as u32;
            self.line[self.at as usize] = if whole { kept } else { 0.0 };
            self.at = (self.at + 1) % LINE as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context = Context { rate_hz: 48_000.0 };

    #[test]
    fn an_impulse_comes_again_at_its_time_and_softer() {
        let mut delay = Delay::new(CONTEXT, &[10.0, 0.5, 1.0]);
        let mut input = vec![0.0; 2_000];
        input[0] = 1.0;
        let mut heard = vec![0.0; 2_000];
        delay.render(CONTEXT, &input, &mut heard);
        let loud: Vec<(usize, f32)> = heard
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, sample)| *sample != 0.0)
            .collect();
        assert_eq!(loud, [(480, 1.0), (960, 0.5), (1440, 0.25), (1920, 0.125)]);
    }

    #[test]
    fn a_change_of_time_does_not_click() {
        let mut delay = Delay::new(CONTEXT, &[100.0, 0.0, 1.0]);
        let tone = |n: usize| libm::sin(n as f64 * 0.01) as f32 * 0.5;
        let input: Vec<f32> = (0..24_000).map(tone).collect();
        let mut heard = vec![0.0; 24_000];
        delay.render(CONTEXT, &input[..12_000], &mut heard[..12_000]);
        delay.set(CONTEXT, 0, 37.0);
        delay.render(CONTEXT, &input[12_000..], &mut heard[12_000..]);
        let step = heard
            .windows(2)
            .map(|w| (w[1] - w[0]).abs())
            .fold(0.0, f32::max);
        assert!(step < 0.01, "{step}");
    }
}
