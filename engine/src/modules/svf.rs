//! `svf`: a second-order filter with four simultaneous outputs.
//!
//! The same equations as `filter`, with one output for each kind. For a single output, `filter` costs less.
//!
//! # Source
//! As in [`super::state_variable`].

use super::{
    log,
    state_variable::{Solved, design},
};
use crate::{
    catalog::ModuleType,
    lanes::Lanes,
    module::{Io, Module, Outs, State},
};

pub struct Svf;

/// Cells: the two integrators; the coefficients of frequency and damping.
const Z: usize = 0;
const DESIGN: usize = 2;
const LOWPASS: u32 = 0;

impl Module for Svf {
    const TYPE: ModuleType = ModuleType {
        name: "svf",
        help: "second-order filter: low-pass, band-pass, high-pass and notch at once",
        inputs: &["in"],
        outputs: &["low", "band", "high", "notch"],
        params: &[
            log(
                "cutoff",
                "Hz",
                [10.0, 1_000.0, 20_000.0],
                "corner or centre frequency",
            ),
            log("q", "", [0.1, 0.707, 40.0], "resonance, or narrowness"),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = 4;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let (cutoff, q) = (io.param(0), io.param(1));
        let (zero, half) = (io.splat(0.0), io.splat(0.5));
        let mut z = [state.get(Z), state.get(Z + 1)];
        let still = cutoff.still().is_some() && q.still().is_some();
        if still && io.fresh {
            let found = design(io, LOWPASS, [cutoff.first(), q.first(), zero]);
            state.set(DESIGN, found[0]);
            state.set(DESIGN + 1, found[1]);
        }
        let (mut g, mut k) = (state.get(DESIGN), state.get(DESIGN + 1));
        let solve = crate::lanes::inlined(
            #[inline(always)]
            |g: L, k: L| Solved::of(io, [g, k, zero, zero, zero]),
        );
        let mut solved = solve(g, k);
        let [lows, bands, highs, notches] = outs.all();
        for (frame, x) in io.input(0).chunks_exact(L::N).enumerate() {
            if !still {
                [g, k, ..] = design(io, LOWPASS, [cutoff.at(frame), q.at(frame), zero]);
                solved = solve(g, k);
            }
            let x = L::load(io.token, x);
            let [band, low] = solved.next(&mut z, x);
            let (band, low) = (k * half * band, half * low);
            let notch = x - band;
            let at = frame * L::N..(frame + 1) * L::N;
            low.store(&mut lows[at.clone()]);
            band.store(&mut bands[at.clone()]);
            notch.store(&mut notches[at.clone()]);
            (notch - low).store(&mut highs[at]);
        }
        state.set_flushed(Z, z[0]);
        state.set_flushed(Z + 1, z[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, alone, gain_at, step_max};

    /// The gains of the four outputs by the analog prototype and the bilinear transform.
    fn formula(cutoff: f32, q: f32, hz: f64) -> [f64; 4] {
        let tan = |hz: f64| libm::tan(std::f64::consts::PI * hz / 48_000.0);
        let s = tan(hz) / tan(f64::from(cutoff));
        let (re, im) = (1.0 - s * s, s / f64::from(q));
        let size = (re * re + im * im).sqrt();
        [1.0 / size, im / size, s * s / size, re.abs() / size]
    }

    #[test]
    fn each_output_has_the_response_of_its_kind() {
        for (cutoff, q) in [(1_000.0, 0.707), (40.0, 4.0), (15_000.0, 8.0)] {
            let mut svf = Bench::of::<Svf>(&[("cutoff", cutoff), ("q", q)]);
            let mut input = vec![0.0; 96_000];
            input[0] = 1.0;
            let out = svf.run(input.len(), &[("in", input)]);
            for hz in [20.0, 45.0, 500.0, 1_000.0, 5_000.0, 14_000.0, 20_000.0] {
                for (output, expected) in formula(cutoff, q, hz).into_iter().enumerate() {
                    let found = gain_at(&out[output], hz);
                    let at = format!("{cutoff} {q} {output} at {hz} Hz: {found} {expected}");
                    assert!((found - expected).abs() < 2e-4 * expected.max(1.0), "{at}");
                }
            }
        }
    }

    #[test]
    fn no_jump_of_a_parameter_clicks() {
        let mut svf = Bench::of::<Svf>(&[]);
        let mut heard = vec![Vec::new(); 4];
        for (param, value) in [("cutoff", 100.0), ("q", 3.0), ("cutoff", 400.0), ("q", 0.5)] {
            let from = heard[0].len();
            let input = (from..from + 1_024)
                .map(|n| libm::sin(n as f64 * std::f64::consts::TAU / 480.0) as f32)
                .collect();
            for (heard, out) in heard.iter_mut().zip(svf.run(1_024, &[("in", input)])) {
                heard.extend(out);
            }
            svf.set(param, value);
        }
        for heard in heard {
            // Without glides the damping alone would jump by 0.7.
            assert!(step_max(&heard) < 0.1, "{}", step_max(&heard));
        }
    }

    #[test]
    fn each_channel_is_filtered_as_if_it_were_alone() {
        alone::<Svf>(&[("q", 5.0)], &["in"]);
        alone::<Svf>(&[("q", 5.0)], &["in", "cutoff"]);
    }
}
