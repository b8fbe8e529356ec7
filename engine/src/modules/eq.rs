//! `eq`: a four-band equalizer: a shelf at either end, two peaks between them.
//!
//! Four state variable filters in series. A band with a gain of 0 dB is transparent.
//!
//! # Source
//! As in [`super::state_variable`].

use super::{
    linear, log,
    state_variable::{Solved, design},
};
use crate::{
    catalog::ModuleType,
    lanes::{Lanes, inlined},
    module::{Io, Module, Outs, State},
};

pub struct Eq;

const BANDS: usize = 4;
/// The kind of each band, and its parameters: frequency, gain, Q.
const KINDS: [u32; BANDS] = [5, 4, 4, 6];
const FREQS: [usize; BANDS] = [0, 2, 5, 8];
const GAINS: [usize; BANDS] = [1, 3, 6, 9];
const QS: [Option<usize>; BANDS] = [None, Some(4), Some(7), None];
/// The Q of a shelf without overshoot.
const SHELF_Q: f32 = std::f32::consts::FRAC_1_SQRT_2;

// Cells: each band's two integrators, then its coefficients.
const Z: usize = 0;
const DESIGN: usize = 2 * BANDS;

impl Module for Eq {
    const TYPE: ModuleType = ModuleType {
        name: "eq",
        help: "equalizer: a low shelf, two peaks, a high shelf",
        inputs: &["in"],
        outputs: &["out"],
        params: &[
            log(
                "low_freq",
                "Hz",
                [20.0, 120.0, 2_000.0],
                "frequency of the low shelf",
            ),
            linear(
                "low_gain",
                "dB",
                [-24.0, 0.0, 24.0],
                "gain of the low shelf",
            ),
            log(
                "peak1_freq",
                "Hz",
                [20.0, 500.0, 20_000.0],
                "centre frequency of the first peak",
            ),
            linear(
                "peak1_gain",
                "dB",
                [-24.0, 0.0, 24.0],
                "gain of the first peak",
            ),
            log(
                "peak1_q",
                "",
                [0.1, 1.0, 20.0],
                "Q of the first peak: higher is narrower",
            ),
            log(
                "peak2_freq",
                "Hz",
                [20.0, 2_500.0, 20_000.0],
                "centre frequency of the second peak",
            ),
            linear(
                "peak2_gain",
                "dB",
                [-24.0, 0.0, 24.0],
                "gain of the second peak",
            ),
            log(
                "peak2_q",
                "",
                [0.1, 1.0, 20.0],
                "Q of the second peak: higher is narrower",
            ),
            log(
                "high_freq",
                "Hz",
                [200.0, 8_000.0, 20_000.0],
                "frequency of the high shelf",
            ),
            linear(
                "high_gain",
                "dB",
                [-24.0, 0.0, 24.0],
                "gain of the high shelf",
            ),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = DESIGN + 5 * BANDS;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let out = outs.samples(0);
        out.copy_from_slice(io.input(0));
        // Band by band over the block: the output of a band is the input of the next.
        for band in 0..BANDS {
            let (freq, gain) = (io.param(FREQS[band]), io.param(GAINS[band]));
            let q = io.param(QS[band].unwrap_or(0));
            let wished = inlined(
                #[inline(always)]
                |frame: usize| {
                    let q = match QS[band] {
                        Some(_) => q.at(frame),
                        None => io.splat(SHELF_Q),
                    };
                    design(io, KINDS[band], [freq.at(frame), q, gain.at(frame)])
                },
            );
            let still = freq.still().is_some()
                && gain.still().is_some()
                && (QS[band].is_none() || q.still().is_some());
            let cell = DESIGN + 5 * band;
            if still && io.fresh {
                for (number, value) in wished(0).into_iter().enumerate() {
                    state.set(cell + number, value);
                }
            }
            let mut solved = Solved::of(io, state.several(cell));
            let mut z = [state.get(Z + 2 * band), state.get(Z + 2 * band + 1)];
            for (frame, sample) in out.chunks_exact_mut(L::N).enumerate() {
                if !still {
                    solved = Solved::of(io, wished(frame));
                }
                let [dry, band, low] = solved.heard;
                let x = L::load(io.token, sample);
                let [bands, lows] = solved.next(&mut z, x);
                (dry * x + band * bands + low * lows).store(sample);
            }
            state.set_flushed(Z + 2 * band, z[0]);
            state.set_flushed(Z + 2 * band + 1, z[1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bench::{Bench, alone, gain_at, noise, step_max},
        modules::filter::tests::cookbook,
    };

    #[test]
    fn its_response_is_the_product_of_its_bands() {
        let bands = [
            [100.0, SHELF_Q, 5.0, 9.0],
            [400.0, 3.0, 4.0, -12.0],
            [3_000.0, 0.5, 4.0, 6.0],
            [9_000.0, SHELF_Q, 6.0, -6.0],
        ];
        let names = [
            ["low_freq", "", "low_gain"],
            ["peak1_freq", "peak1_q", "peak1_gain"],
            ["peak2_freq", "peak2_q", "peak2_gain"],
            ["high_freq", "", "high_gain"],
        ];
        let mut values = Vec::new();
        for ([freq, q, gain], [f, width, _, db]) in names.iter().zip(bands) {
            values.extend([(*freq, f), (*gain, db)]);
            if !q.is_empty() {
                values.push((*q, width));
            }
        }
        let mut input = vec![0.0; 96_000];
        input[0] = 1.0;
        let out = Bench::of::<Eq>(&values).run(input.len(), &[("in", input)]);
        for hz in [20.0, 110.0, 390.0, 1_000.0, 3_000.0, 8_000.0, 20_000.0] {
            let expected: f64 = bands.iter().map(|band| cookbook(band, hz)).product();
            let off = 20.0 * libm::log10(gain_at(&out[0], hz) / expected);
            assert!(off.abs() < 0.01, "{hz} Hz: {off} dB off");
        }
    }

    #[test]
    fn at_0_db_it_is_not_there() {
        let input = noise(4, 4_800);
        let out = Bench::of::<Eq>(&[]).run(4_800, &[("in", input.clone())]);
        assert_eq!(out[0], input);
    }

    #[test]
    fn no_jump_of_a_parameter_clicks() {
        let mut eq = Bench::of::<Eq>(&[]);
        let mut heard = Vec::new();
        for (param, value) in [
            ("low_gain", 12.0),
            ("low_gain", -12.0),
            ("peak1_gain", 12.0),
            ("peak1_freq", 100.0),
            ("high_freq", 200.0),
            ("high_gain", -12.0),
        ] {
            let input = (heard.len()..heard.len() + 1_024)
                .map(|n| libm::sin(n as f64 * std::f64::consts::TAU / 480.0) as f32)
                .collect();
            heard.extend(eq.run(1_024, &[("in", input)]).remove(0));
            eq.set(param, value);
        }
        assert!(step_max(&heard) < 0.1, "{}", step_max(&heard));
    }

    #[test]
    fn each_channel_is_equalized_as_if_it_were_alone() {
        let values = [("low_gain", 6.0), ("peak2_gain", -6.0)];
        alone::<Eq>(&values, &["in"]);
        alone::<Eq>(&values, &["in", "peak2_freq"]);
    }
}
