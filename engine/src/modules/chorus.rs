//! `chorus`: one sound as several, by three short delays with modulated times.
//!
//! The three modulations are a third of a cycle apart, so that the delays are never all sharp or all flat. The line is
//! read by cubic interpolation, which preserves the treble.
//!
//! # Source
//! Jon Dattorro, Effect design, part 2: delay-line modulation and chorus, 1997; the cubic: Catmull, Rom,
//! A class of local interpolating splines, 1974.

use super::{linear, log};
use crate::{
    catalog::ModuleType,
    lanes::{LANES_MAX, Lanes},
    math,
    module::{Context, Io, Module, Outs, State},
};

pub struct Chorus;

const VOICES: usize = 3;
/// A third of a cycle.
const APART: u32 = 0x5555_5555;
/// The longest delay: the largest base delay plus the largest modulation.
const LONGEST_MS: f32 = 32.0;
/// Samples below this level (-200 dB) become 0: they are inaudible and would become denormals, which are slow.
const NOTHING: f32 = 1e-10;

// Cells: the write position, and the phase of the modulation.
const AT: usize = 0;
const PHASE: usize = 1;

/// The length of the line, in samples.
fn line_len(context: Context) -> usize {
    (context.rate_hz * (LONGEST_MS / 1000.0)) as usize + 8
}

impl Module for Chorus {
    const TYPE: ModuleType = ModuleType {
        name: "chorus",
        help: "one sound as several, by three modulated delays",
        inputs: &["in"],
        outputs: &["out"],
        params: &[
            log(
                "rate",
                "Hz",
                [0.01, 0.6, 10.0],
                "frequency of the modulation",
            ),
            linear("depth", "ms", [0.0, 1.5, 10.0], "depth of the modulation"),
            linear("delay", "ms", [1.0, 8.0, 20.0], "mean delay"),
            linear(
                "feedback",
                "",
                [0.0, 0.0, 0.9],
                "level of the delayed sound that is fed back",
            ),
            linear(
                "mix",
                "",
                [0.0, 0.5, 1.0],
                "from dry (0) to delayed sound only (1)",
            ),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = 2;

    fn memory(context: Context) -> usize {
        line_len(context)
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let [rate, depth, delay, feedback, mix] = io.params();
        let len = line_len(io.context);
        let each_ms = io.splat(io.context.rate_hz / 1000.0);
        // The cubic needs one sample on the near side and two on the far side.
        let (nearest, furthest) = (io.splat(2.0), io.splat((len - 4) as f32));
        let mut phase = state.bits(PHASE);
        let mut at = *state.cell(AT, 0) as usize % len;
        for channel in 0..io.channels {
            state.writes(channel * len..(channel + 1) * len, at, io.frames);
        }
        let out = outs.samples(0);
        let mut away = [[0.0; LANES_MAX]; VOICES];
        for frame in 0..io.frames {
            let (depth, delay) = (depth.at(frame), delay.at(frame).max(depth.at(frame)));
            let mut cycle = phase;
            for away in &mut away {
                let samples = (delay + depth * math::sine(io, cycle)) * each_ms;
                // The lower bound last: it replaces NaN.
                let samples = samples.min(furthest).max(nearest);
                samples.store(&mut away[..L::N]);
                cycle = cycle + io.splat_bits(APART);
            }
            phase = phase + math::step(io, rate.at(frame));
            let (mut feedbacks, mut mixes) = ([0.0; LANES_MAX], [0.0; LANES_MAX]);
            feedback.at(frame).store(&mut feedbacks[..L::N]);
            mix.at(frame).store(&mut mixes[..L::N]);
            for channel in 0..io.channels {
                let line = &mut state.memory[channel * len..][..len];
                let heard = |back: usize| line[(at + len - back.min(len)) % len];
                let mut echoes = 0.0;
                for away in &away {
                    let whole = away[channel] as usize;
                    let part = away[channel] - whole as f32;
                    let [a, b, c, d] = [
                        heard(whole - 1),
                        heard(whole),
                        heard(whole + 1),
                        heard(whole + 2),
                    ];
                    let bend = part * (3.0 * (b - c) + d - a) + (2.0 * a - 5.0 * b + 4.0 * c - d);
                    echoes += b + 0.5 * part * (c - a + part * bend);
                }
                echoes *= 1.0 / VOICES as f32;
                let x = io.input(0)[frame * L::N + channel];
                let kept = x + echoes * feedbacks[channel];
                let whole = kept.is_finite() && kept.abs() > NOTHING;
                line[at] = if whole { kept } else { 0.0 };
                out[frame * L::N + channel] = x + (echoes - x) * mixes[channel];
            }
            at = if at + 1 < len { at + 1 } else { 0 };
        }
        state.set_bits(AT, io.splat_bits(at as u32));
        state.set_bits(PHASE, phase);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, alone, level, step_max};

    fn sine(hz: f64, frames: usize) -> Vec<f32> {
        let cycle = |n: usize| libm::sin(n as f64 * hz / 48_000.0 * std::f64::consts::TAU);
        (0..frames).map(|n| cycle(n) as f32 * 0.5).collect()
    }

    #[test]
    fn without_depth_it_is_an_echo_at_its_time() {
        let values = [("depth", 0.0), ("delay", 10.0), ("mix", 1.0)];
        let input = sine(1_000.0, 9_600);
        let out = Bench::of::<Chorus>(&values).run(9_600, &[("in", input.clone())]);
        for n in 480..9_600 {
            assert!((out[0][n] - input[n - 480]).abs() < 1e-6);
        }
        // Half-way between two samples the treble is there too.
        let values = [("depth", 0.0), ("delay", 10.010_417), ("mix", 1.0)];
        let out = Bench::of::<Chorus>(&values).run(48_000, &[("in", sine(8_000.0, 48_000))]);
        let db = 20.0 * libm::log10(level(&out[0][960..], 8_000.0) / 0.5);
        assert!(db.abs() < 0.7, "{db} dB");
    }

    #[test]
    fn it_bends_the_pitch_as_far_as_its_formula() {
        // Three voices a third of a cycle apart: no single tone is left, but beats. Within half a cycle
        // of the wavering each is once as sharp as depth times rate times 2π: 1 + 2π · 1 · 0.003.
        let values = [("depth", 3.0), ("rate", 1.0), ("mix", 1.0)];
        let out = Bench::of::<Chorus>(&values).run(48_000, &[("in", sine(1_000.0, 48_000))]);
        let sum = |from: f64, to: f64| -> f64 {
            let mut hz = from;
            let mut all = 0.0;
            while hz <= to {
                let found = level(&out[0], hz);
                all += found * found;
                hz += 1.0;
            }
            all
        };
        let within = sum(980.0, 1_020.0);
        let beyond = sum(900.0, 970.0) + sum(1_030.0, 1_100.0);
        assert!(within > 0.02 && beyond < within * 0.03, "{within} {beyond}");
        assert!(level(&out[0], 1_000.0) < 0.3);
    }

    #[test]
    fn no_jump_of_a_parameter_clicks_and_it_falls_silent() {
        let mut chorus = Bench::of::<Chorus>(&[]);
        let mut heard = Vec::new();
        for (param, value) in [
            ("depth", 5.0),
            ("rate", 3.0),
            ("feedback", 0.7),
            ("mix", 1.0),
            ("delay", 9.0),
            ("depth", 0.0),
        ] {
            let input = sine(100.0, heard.len() + 2_400).split_off(heard.len());
            heard.extend(chorus.run(2_400, &[("in", input)]).remove(0));
            chorus.set(param, value);
        }
        assert!(
            step_max(&heard[960..]) < 0.08,
            "{}",
            step_max(&heard[960..])
        );
        chorus.run(64, &[("in", vec![f32::NAN; 64])]);
        let out = chorus.run(96_000, &[]);
        assert!(out[0][90_000..].iter().all(|x| *x == 0.0));
    }

    #[test]
    fn each_channel_wavers_as_if_it_were_alone() {
        alone::<Chorus>(&[("feedback", 0.5)], &["in"]);
        alone::<Chorus>(
            &[("feedback", 0.5), ("delay", 2.0)],
            &["in", "rate", "delay"],
        );
    }
}
