//! `delay`: an echo: what came in a while ago, again and again, ever softer.
//!
//! The line is a ring of samples in the arena, 80 KiB of it a channel: with the reverberation the
//! largest state of all modules, and so the one that checkpoints are measured with. A change of the
//! time glides from the old echo to the new one; the line itself is never cleared.
//!
//! # Source
//! Julius O. Smith, Physical Audio Signal Processing, "Delay Lines" and "Feedback Comb Filters",
//! <https://ccrma.stanford.edu/~jos/pasp/>.

use super::linear;
use crate::{
    catalog::ModuleType,
    lanes::Lanes,
    module::{Context, Io, Module, Outs, State},
    smooth::GLIDE_MS,
};

pub struct Delay;

/// Samples of the line: 426 ms at 48 kHz; less at higher rates.
const LINE: usize = 20_480;
/// Below this an echo is nothing to hear (-200 dB), and soon a denormal, which is slow.
const NOTHING: f32 = 1e-10;

/// Where the next sample goes.
const AT: usize = 0;
/// The delay in samples, and the one that is being left.
const LENGTH: usize = 1;
const OLD_LENGTH: usize = 2;
/// Frames until the old one is left, of [`glide_frames`].
const LEFT: usize = 3;

fn glide_frames(context: Context) -> u32 {
    ((context.rate_hz * GLIDE_MS / 1000.0) as u32).max(1)
}

fn samples(ms: f32, context: Context) -> u32 {
    ((ms * context.rate_hz / 1000.0) as u32).clamp(1, LINE as u32 - 1)
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
    const CELLS: usize = 4;

    fn memory(_: Context) -> usize {
        LINE
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let (time, feedback, mix) = (io.param(0), io.param(1), io.param(2));
        let whole_glide = glide_frames(io.context);
        let out = outs.samples(0);
        for channel in 0..io.channels {
            let of = |value: L| value.lane(channel);
            let mut at = *state.cell(AT, channel) as usize % LINE;
            let mut length = (*state.cell(LENGTH, channel) as usize).min(LINE - 1);
            let mut old_length = (*state.cell(OLD_LENGTH, channel) as usize).min(LINE - 1);
            let mut left = (*state.cell(LEFT, channel)).min(whole_glide);
            let line = &mut state.memory[channel * LINE..][..LINE];
            for frame in 0..io.frames {
                if left == 0 {
                    // Where the parameter is on its way, or modulated, to where it is now.
                    let wanted = samples(of(time.at(frame)), io.context) as usize;
                    if length == 0 {
                        (length, old_length) = (wanted, wanted);
                    } else if wanted != length {
                        (old_length, length, left) = (length, wanted, whole_glide);
                    }
                }
                let heard = |length: usize| line[(at + LINE - length.max(1)) % LINE];
                let mut echo = heard(length);
                if left > 0 {
                    left -= 1;
                    let rest = left as f32 / whole_glide as f32;
                    echo += (heard(old_length) - echo) * rest;
                }
                let input = io.input(0)[frame * L::N + channel];
                out[frame * L::N + channel] = input + (echo - input) * of(mix.at(frame));
                let kept = input + echo * of(feedback.at(frame));
                let whole = kept.is_finite() && kept.abs() > NOTHING;
                line[at] = if whole { kept } else { 0.0 };
                at = (at + 1) % LINE;
            }
            for (cell, value) in [(AT, at), (LENGTH, length), (OLD_LENGTH, old_length)] {
                *state.cell(cell, channel) = value as u32;
            }
            *state.cell(LEFT, channel) = left;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;

    #[test]
    fn an_impulse_comes_again_at_its_time_and_softer() {
        let mut delay = Bench::of::<Delay>(&[("time", 10.0), ("feedback", 0.5), ("mix", 1.0)]);
        let mut input = vec![0.0; 2_000];
        input[0] = 1.0;
        let heard = delay.run(2_000, &[("in", input)]).remove(0);
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
        let mut delay = Bench::of::<Delay>(&[("time", 100.0), ("feedback", 0.0), ("mix", 1.0)]);
        let tone = |n: usize| libm::sin(n as f64 * 0.01) as f32 * 0.5;
        let input: Vec<f32> = (0..24_000).map(tone).collect();
        let mut heard = delay
            .run(12_000, &[("in", input[..12_000].to_vec())])
            .remove(0);
        delay.set("time", 37.0);
        heard.extend(
            delay
                .run(12_000, &[("in", input[12_000..].to_vec())])
                .remove(0),
        );
        let step = heard
            .windows(2)
            .map(|w| (w[1] - w[0]).abs())
            .fold(0.0, f32::max);
        assert!(step < 0.01, "{step}");
    }
}
