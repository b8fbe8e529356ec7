//! `ladder`: the four-pole low-pass of the transistor ladder, with resonance to self-oscillation.
//!
//! Four one-pole stages with zero-delay feedback: the equations of a frame are solved without a delay of one frame, so
//! that the corner does not move as the resonance rises. The input is saturated, which bounds the oscillation, since
//! the stages themselves cannot grow. The equations separate the states, so that a frame has a short chain of
//! dependent operations. The saturation applies to the solution of the linear equations: one step, no iteration.
//!
//! # Source
//! Vadim Zavalishin, The Art of VA Filter Design, 2018, 5.1 to 5.4 (the ladder, its zero-delay
//! feedback, its saturation); Tim Stilson, Julius Smith, Analyzing the Moog VCF with considerations for
//! digital implementation, 1996.

use super::{linear, log};
use crate::{
    catalog::ModuleType,
    lanes::Lanes,
    math,
    module::{Io, Module, Outs, State},
};

pub struct Ladder;

/// Cells: the four stages, then the result of [`design`].
const STAGES: usize = 0;
const DESIGN: usize = 4;
/// Below this level a self-oscillating filter is excited, as by the noise of a circuit.
const PUSH: f32 = 1e-6;

/// The coefficients of the parameters: the gain of a stage, the feedback, the reciprocal of the input's coefficient in
/// the same frame, and the level of the input.
#[inline(always)]
fn design<L: Lanes>(io: &Io<'_, L>, [cutoff, resonance, drive]: [L; 3]) -> [L; 4] {
    let go = math::one_pole(io, cutoff);
    let back = resonance * io.splat(4.0);
    let square = go * go;
    let inverse = io.splat(1.0) / (io.splat(1.0) + back * square * square);
    [go, back, inverse, math::amplitude(io, drive)]
}

/// The equations of a frame, solved.
#[derive(Clone, Copy)]
struct Solved<L> {
    /// The powers of a stage's gain, for one to four stages; and the factor of its state.
    go: [L; 4],
    keep: L,
    /// The contribution of each stage to the output.
    heard: [L; 4],
    /// The levels of the input and the feedback at the saturation.
    input: L,
    back: L,
}

impl<L: Lanes> Solved<L> {
    #[inline(always)]
    fn of(io: &Io<'_, L>, [go, back, inverse, drive]: [L; 4]) -> Self {
        let keep = io.splat(1.0) - go;
        let square = go * go;
        let cube = square * go;
        Self {
            go: [go, square, cube, square * square],
            keep,
            heard: [keep * cube, keep * square, keep * go, keep],
            input: drive * inverse,
            back: back * inverse,
        }
    }

    /// Advances the stages by one frame.
    #[inline(always)]
    fn next(&self, io: &Io<'_, L>, z: &mut [L; 4], x: L) -> L {
        let [h1, h2, h3, h4] = self.heard;
        let rest = (h1 * z[0] + h2 * z[1]) + (h3 * z[2] + h4 * z[3]);
        let first = self.keep * z[0];
        let second = self.go[0] * first + self.keep * z[1];
        let third = self.go[0] * second + self.keep * z[2];
        let u = math::soft_clip(io, self.input * x - self.back * rest);
        let y = [
            self.go[0] * u + first,
            self.go[1] * u + second,
            self.go[2] * u + third,
            self.go[3] * u + rest,
        ];
        for (z, y) in z.iter_mut().zip(y) {
            *z = (y + y) - *z;
        }
        y[3]
    }
}

impl Module for Ladder {
    const TYPE: ModuleType = ModuleType {
        name: "ladder",
        help: "four-pole low-pass that saturates and oscillates",
        inputs: &["in"],
        outputs: &["out"],
        params: &[
            log(
                "cutoff",
                "Hz",
                [10.0, 2_000.0, 20_000.0],
                "corner frequency",
            ),
            linear(
                "resonance",
                "",
                [0.0, 0.3, 1.25],
                "feedback; self-oscillation at the cutoff from 1 on",
            ),
            linear(
                "drive",
                "dB",
                [-24.0, 0.0, 36.0],
                "gain before the saturation",
            ),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = 8;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let [cutoff, resonance, drive] = io.params();
        let mut z: [L; 4] = state.several(STAGES);
        let zero = io.splat(0.0);
        let push = io.splat(1.0).le(resonance.first()) & z[0].abs().lt(io.splat(PUSH));
        z[0] = z[0] + L::select(push, io.splat(PUSH), zero);
        let input = io.input(0).chunks_exact(L::N);
        let both = input.zip(outs.samples(0).chunks_exact_mut(L::N));
        if let (Some(cutoff), Some(resonance), Some(drive)) =
            (cutoff.still(), resonance.still(), drive.still())
        {
            if io.fresh {
                let found = design(io, [cutoff, resonance, drive]);
                for (number, value) in found.into_iter().enumerate() {
                    state.set(DESIGN + number, value);
                }
            }
            let solved = Solved::of(io, state.several(DESIGN));
            for (x, out) in both {
                solved.next(io, &mut z, L::load(io.token, x)).store(out);
            }
        } else {
            for (frame, (x, out)) in both.enumerate() {
                let now = [cutoff.at(frame), resonance.at(frame), drive.at(frame)];
                let solved = Solved::of(io, design(io, now));
                solved.next(io, &mut z, L::load(io.token, x)).store(out);
            }
        }
        for (stage, z) in z.into_iter().enumerate() {
            state.set_flushed(STAGES + stage, z);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, gain_at, noise, step_max};

    fn ladder(cutoff: f32, resonance: f32, drive: f32) -> Bench {
        Bench::of::<Ladder>(&[
            ("cutoff", cutoff),
            ("resonance", resonance),
            ("drive", drive),
        ])
    }

    /// A quiet impulse, which nothing saturates.
    fn quiet(frames: usize) -> Vec<f32> {
        let mut input = vec![0.0; frames];
        input[0] = 1e-3;
        input
    }

    /// 1 / ((1 + s)⁴ + k) with s by the bilinear transform, in decibels.
    fn formula(cutoff: f32, resonance: f32, hz: f64) -> f64 {
        let tan = |hz: f64| libm::tan(std::f64::consts::PI * hz / 48_000.0);
        let s = tan(hz) / tan(f64::from(cutoff));
        // (1 + is)² = 1 - s² + 2is, and that squared.
        let (re, im) = (1.0 - s * s, 2.0 * s);
        let (re, im) = (
            re * re - im * im + 4.0 * f64::from(resonance),
            2.0 * re * im,
        );
        -10.0 * libm::log10(re * re + im * im)
    }

    #[test]
    fn its_response_is_the_ladders() {
        for (cutoff, resonance) in [
            (1_000.0, 0.0),
            (1_000.0, 0.5),
            (60.0, 0.9),
            (9_000.0, 0.8),
            (20_000.0, 0.2),
        ] {
            let out = ladder(cutoff, resonance, 0.0).run(96_000, &[("in", quiet(96_000))]);
            for hz in [20.0, 59.0, 300.0, 1_000.0, 3_000.0, 9_000.0, 15_000.0] {
                let expected = formula(cutoff, resonance, hz);
                let found = 20.0 * libm::log10(gain_at(&out[0], hz) * 1e3);
                let at = format!("{cutoff} {resonance} at {hz} Hz: {found} {expected} dB");
                assert!(expected < -90.0 || (found - expected).abs() < 0.05, "{at}");
            }
        }
    }

    #[test]
    fn it_oscillates_at_the_cutoff_and_stays_bounded() {
        for cutoff in [110.0, 1_000.0, 6_000.0] {
            let mut ladder = ladder(cutoff, 1.1, 0.0);
            let out = ladder.run(144_000, &[]).remove(0);
            let late = &out[96_000..];
            let loud = late.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
            assert!(loud > 0.1 && loud < 1.0, "{cutoff}: {loud}");
            // Between the first and last rise through 0, placed between the samples.
            let rises: Vec<f64> = (1..late.len())
                .filter(|n| late[n - 1] < 0.0 && late[*n] >= 0.0)
                .map(|n| n as f64 - f64::from(late[n] / (late[n] - late[n - 1])))
                .collect();
            let cycles = (rises.len() - 1) as f64;
            let hz = 48_000.0 * cycles / (rises[rises.len() - 1] - rises[0]);
            let cents = 1_200.0 * libm::log2(hz / f64::from(cutoff));
            assert!(cents.abs() < 3.0, "{cutoff}: {cents} cents");
        }
        // Just below it dies away.
        let out = ladder(1_000.0, 0.97, 0.0).run(96_000, &[("in", quiet(96_000))]);
        assert!(out[0][90_000..].iter().all(|x| x.abs() < 1e-9));
    }

    #[test]
    fn no_input_and_no_sweep_makes_it_grow() {
        let mut ladder = ladder(20_000.0, 1.25, 36.0);
        let sweep: Vec<f32> = noise(5, 24_000).iter().map(|x| x * 10.0 - 5.0).collect();
        let input: Vec<f32> = noise(1, 24_000).iter().map(|x| x * 100.0).collect();
        let out = ladder.run(24_000, &[("in", input), ("cutoff", sweep)]);
        assert!(out[0].iter().all(|x| x.abs() < 4.0));
        // A bad sample is forgotten.
        ladder.run(64, &[("in", vec![f32::NAN; 64])]);
        let out = ladder.run(64, &[("in", vec![f32::INFINITY; 64])]);
        assert!(out[0].iter().all(|x| x.abs() < 4.0));
    }

    #[test]
    fn drive_saturates() {
        let input: Vec<f32> = (0..48_000)
            .map(|n| libm::sin(f64::from(n) / 480.0 * std::f64::consts::TAU) as f32 * 0.1)
            .collect();
        let found = |drive: f32| {
            let out = ladder(20_000.0, 0.0, drive).run(48_000, &[("in", input.clone())]);
            [100.0, 300.0].map(|hz| crate::bench::level(&out[0], hz))
        };
        let ([clean, third], [loud, driven]) = (found(0.0), found(36.0));
        assert!((clean - 0.1).abs() < 3e-4 && third < 1e-4);
        // Nearly a square: 4/π, a third of it at three times the frequency.
        assert!((1.1..1.28).contains(&loud) && (0.25..0.43).contains(&(driven / loud)));
    }

    #[test]
    fn no_jump_of_a_parameter_clicks() {
        let mut ladder = ladder(1_000.0, 0.3, 0.0);
        let mut heard = Vec::new();
        for (param, value) in [
            ("cutoff", 20_000.0),
            ("resonance", 0.9),
            ("cutoff", 200.0),
            ("drive", 12.0),
            ("drive", -12.0),
        ] {
            let input = (heard.len()..heard.len() + 1_024)
                .map(|n| libm::sin(n as f64 * std::f64::consts::TAU / 480.0) as f32 * 0.5)
                .collect();
            heard.extend(ladder.run(1_024, &[("in", input)]).remove(0));
            ladder.set(param, value);
        }
        assert!(step_max(&heard) < 0.02, "{}", step_max(&heard));
    }

    #[test]
    fn each_channel_is_filtered_as_if_it_were_alone() {
        let values = [("cutoff", 700.0), ("resonance", 1.05), ("drive", 6.0)];
        crate::bench::alone::<Ladder>(&values, &["in"]);
        crate::bench::alone::<Ladder>(&values, &["in", "cutoff"]);
    }
}
