//! `filter`: a second-order filter of seven kinds.
//!
//! A state variable filter with the responses of the cookbook biquads, but with full precision at 10 Hz and without
//! artefacts during sweeps. A change of the mode is a glide of the coefficients; the expensive functions run only
//! while a parameter moves.
//!
//! # Source
//! As in [`super::state_variable`].

use super::{
    choice, linear, log,
    state_variable::{Coefficients, Solved, design},
};
use crate::{
    catalog::ModuleType,
    lanes::{Lanes, inlined},
    module::{Io, Module, Outs, State},
    smooth::glide_frames,
};

pub struct Filter;

const MODES: &[&str] = &[
    "lowpass",
    "highpass",
    "bandpass",
    "notch",
    "peak",
    "lowshelf",
    "highshelf",
];

/// Cells: the two integrators, the coefficients, the mode and the remaining frames of its glide.
const Z: usize = 0;
const COEFFICIENTS: usize = 2;
const MODE: usize = 7;
const LEFT: usize = 8;

impl Module for Filter {
    const TYPE: ModuleType = ModuleType {
        name: "filter",
        help: "second-order filter",
        inputs: &["in"],
        outputs: &["out"],
        params: &[
            log(
                "cutoff",
                "Hz",
                [10.0, 8_000.0, 20_000.0],
                "corner or centre frequency",
            ),
            log("q", "", [0.1, 0.707, 40.0], "resonance, or narrowness"),
            choice("mode", MODES, "kind of filter"),
            linear(
                "gain",
                "dB",
                [-24.0, 0.0, 24.0],
                "gain of the peak or the shelf",
            ),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = 9;

    fn start(_: usize, params: &[f32], cells: &mut [u32]) {
        cells[MODE] = params[2] as u32;
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let (cutoff, q, gain) = (io.param(0), io.param(1), io.param(3));
        let mode = io.param(2).first().lane(0) as u32;
        if *state.cell(MODE, 0) != mode {
            let frames = glide_frames(io.context.rate_hz);
            state.set_bits(MODE, io.splat_bits(mode));
            state.set_bits(LEFT, io.splat_bits(frames));
        }
        let mut left = *state.cell(LEFT, 0);
        let wished = inlined(
            #[inline(always)]
            |frame: usize| design(io, mode, [cutoff.at(frame), q.at(frame), gain.at(frame)]),
        );
        let stored = |state: &State<'_, L>| -> Coefficients<L> {
            std::array::from_fn(|number| state.get(COEFFICIENTS + number))
        };
        let mut z = [state.get(Z), state.get(Z + 1)];
        let input = io.input(0).chunks_exact(L::N);
        let both = input.zip(outs.samples(0).chunks_exact_mut(L::N));
        let stands = cutoff.still().is_some() && q.still().is_some() && gain.still().is_some();
        let mut coefficients = stored(state);
        if stands && left == 0 {
            if io.fresh {
                coefficients = wished(0);
            }
            let solved = Solved::of(io, coefficients);
            let [dry, band, low] = solved.heard;
            if mode == 0 {
                for (x, out) in both {
                    let [_, lows] = solved.next(&mut z, L::load(io.token, x));
                    (lows * low).store(out);
                }
            } else {
                for (x, out) in both {
                    let x = L::load(io.token, x);
                    let [bands, lows] = solved.next(&mut z, x);
                    (dry * x + band * bands + low * lows).store(out);
                }
            }
        } else {
            for (frame, (x, out)) in both.enumerate() {
                let wished = wished(frame);
                if left > 0 {
                    let part = io.splat(1.0 / left as f32);
                    for (now, to) in coefficients.iter_mut().zip(wished) {
                        *now = *now + (to - *now) * part;
                    }
                    left -= 1;
                } else {
                    coefficients = wished;
                }
                let solved = Solved::of(io, coefficients);
                let [dry, band, low] = solved.heard;
                let x = L::load(io.token, x);
                let [bands, lows] = solved.next(&mut z, x);
                (dry * x + band * bands + low * lows).store(out);
            }
            state.set_bits(LEFT, io.splat_bits(left));
        }
        for (number, coefficient) in coefficients.into_iter().enumerate() {
            state.set(COEFFICIENTS + number, coefficient);
        }
        state.set_flushed(Z, z[0]);
        state.set_flushed(Z + 1, z[1]);
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::bench::{Bench, step_max};

    const NAMES: [&str; 4] = ["cutoff", "q", "mode", "gain"];

    fn filter(params: &[f32]) -> Bench {
        let values: Vec<(&str, f32)> = NAMES.into_iter().zip(params.iter().copied()).collect();
        Bench::of::<Filter>(&values)
    }

    /// The gain for a sine of that frequency, from the filter's own impulse response.
    fn measured(params: &[f32], hz: f64) -> f64 {
        let mut input = vec![0.0; 192_000];
        input[0] = 1.0;
        let output = filter(params).run(input.len(), &[("in", input)]).remove(0);
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in output.iter().enumerate() {
            let angle = hz / 48_000.0 * std::f64::consts::TAU * n as f64;
            re += f64::from(*sample) * libm::cos(angle);
            im += f64::from(*sample) * libm::sin(angle);
        }
        (re * re + im * im).sqrt()
    }

    /// The gain by the cookbook's coefficients, as they are printed there.
    pub fn cookbook(params: &[f32], hz: f64) -> f64 {
        let [f0, q, mode, db] = [0, 1, 2, 3].map(|n| f64::from(params[n]));
        let w0 = std::f64::consts::TAU * f0 / 48_000.0;
        let (cos, alpha) = (libm::cos(w0), libm::sin(w0) / (2.0 * q));
        let a = libm::pow(10.0, db / 40.0);
        let r = 2.0 * a.sqrt() * alpha;
        let (p, m) = (a + 1.0, a - 1.0);
        let (b, d) = match mode as u32 {
            0 => (
                [(1.0 - cos) / 2.0, 1.0 - cos, (1.0 - cos) / 2.0],
                [1.0 + alpha, -2.0 * cos, 1.0 - alpha],
            ),
            1 => (
                [(1.0 + cos) / 2.0, -(1.0 + cos), (1.0 + cos) / 2.0],
                [1.0 + alpha, -2.0 * cos, 1.0 - alpha],
            ),
            2 => ([alpha, 0.0, -alpha], [1.0 + alpha, -2.0 * cos, 1.0 - alpha]),
            3 => (
                [1.0, -2.0 * cos, 1.0],
                [1.0 + alpha, -2.0 * cos, 1.0 - alpha],
            ),
            4 => (
                [1.0 + alpha * a, -2.0 * cos, 1.0 - alpha * a],
                [1.0 + alpha / a, -2.0 * cos, 1.0 - alpha / a],
            ),
            5 => (
                [
                    a * (p - m * cos + r),
                    2.0 * a * (m - p * cos),
                    a * (p - m * cos - r),
                ],
                [p + m * cos + r, -2.0 * (m + p * cos), p + m * cos - r],
            ),
            _ => (
                [
                    a * (p + m * cos + r),
                    -2.0 * a * (m + p * cos),
                    a * (p + m * cos - r),
                ],
                [p - m * cos + r, 2.0 * (m - p * cos), p - m * cos - r],
            ),
        };
        let w = std::f64::consts::TAU * hz / 48_000.0;
        let size = |c: [f64; 3]| {
            let re = c[0] + c[1] * libm::cos(w) + c[2] * libm::cos(2.0 * w);
            let im = c[1] * libm::sin(w) + c[2] * libm::sin(2.0 * w);
            (re * re + im * im).sqrt()
        };
        size(b) / size(d)
    }

    #[test]
    fn its_response_is_the_cookbooks() {
        for (mode, name) in MODES.iter().enumerate() {
            for (cutoff, q, db) in [
                (1_000.0, 2.0, 12.0),
                (50.0, 0.707, -6.0),
                (15_000.0, 8.0, 3.0),
            ] {
                let params = [cutoff, q, mode as f32, db];
                for hz in [
                    20.0, 50.0, 200.0, 1_000.0, 1_100.0, 5_000.0, 15_000.0, 20_000.0,
                ] {
                    let (found, expected) = (measured(&params, hz), cookbook(&params, hz));
                    let at = format!("{name} {params:?} at {hz} Hz: {found}, {expected}");
                    assert!((found - expected).abs() < 1e-4 * expected.max(1.0), "{at}");
                }
            }
        }
    }

    #[test]
    fn no_jump_of_a_parameter_clicks() {
        let mut filter = filter(&[1_000.0, 0.707, 0.0, 0.0]);
        let mut heard = Vec::new();
        let jumps = [
            (0, 20_000.0),
            (2, 1.0),
            (2, 0.0),
            (0, 100.0),
            (1, 5.0),
            (2, 4.0),
            (3, 24.0),
            (3, -24.0),
        ];
        for (param, value) in jumps {
            let input: Vec<f32> = (heard.len()..heard.len() + 1_024)
                .map(|n| libm::sin(n as f64 * std::f64::consts::TAU / 480.0) as f32)
                .collect();
            heard.extend(filter.run(1_024, &[("in", input)]).remove(0));
            filter.set(NAMES[param], value);
        }
        // The input, 100 Hz, moves by 0.0131 of its level a frame, a glide by 0.003 of the span.
        let step = step_max(&heard);
        let level = heard
            .iter()
            .fold(0.0, |max: f32, sample| max.max(sample.abs()));
        assert!(level > 5.0 && step < 0.02 * level, "{step} of {level}");
    }

    #[test]
    fn it_falls_silent_and_forgets_a_bad_sample() {
        let mut filter = filter(&[1_000.0, 1.0, 0.0, 0.0]);
        let run = |filter: &mut Bench, input: Vec<f32>| {
            filter.run(input.len(), &[("in", input)]).remove(0)
        };
        assert!(run(&mut filter, vec![f32::NAN; 64])[1].is_nan());
        let calm = run(&mut filter, vec![1.0; 64]);
        assert!(calm.iter().all(|sample| sample.is_finite()));
        let mut input = vec![0.0; 64];
        input[63] = f32::INFINITY;
        run(&mut filter, input);
        let calm = run(&mut filter, vec![1.0; 64]);
        assert!(calm.iter().all(|sample| sample.is_finite()));
        let last = run(&mut filter, vec![0.0; 24_000]);
        assert!(last[23_000..].iter().all(|sample| *sample == 0.0));
    }

    #[test]
    fn each_channel_is_filtered_as_if_it_were_alone() {
        let noise = |seed: u32| -> Vec<f32> {
            let mut x = seed;
            let mut next = || {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                x as i32 as f32 / 2_147_483_648.0
            };
            (0..500).map(|_| next()).collect()
        };
        for channels in [2, 9, 32] {
            let values = [("cutoff", 700.0), ("q", 5.0)];
            let inputs: Vec<Vec<f32>> = (0..channels as u32).map(noise).collect();
            let sweep: Vec<Vec<f32>> = (0..channels as u32).map(|n| noise(n + 99)).collect();
            let all = Bench::poly::<Filter>(&values, channels)
                .run_poly(500, &[("in", inputs.clone()), ("cutoff", sweep.clone())]);
            for channel in 0..channels {
                let one = Bench::of::<Filter>(&values).run(
                    500,
                    &[
                        ("in", inputs[channel].clone()),
                        ("cutoff", sweep[channel].clone()),
                    ],
                );
                let bits = |x: &Vec<f32>| x.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
                assert_eq!(
                    bits(&all[channel]),
                    bits(&one[0]),
                    "{channel} of {channels}"
                );
            }
        }
    }
}
