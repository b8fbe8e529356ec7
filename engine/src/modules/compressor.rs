//! `compressor`: reduces the level above a threshold, by a ratio.
//!
//! A feed-forward compressor in decibels: a curve with a knee gives the gain reduction for the level, which is smoothed
//! afterwards, so that attack and release are times of the gain itself. The input `sidechain` may supply another
//! sound to measure.
//!
//! # Source
//! Dimitrios Giannoulis, Michael Massberg, Joshua Reiss, Digital dynamic range compressor design: a
//! tutorial and analysis, 2012 (equation 4, and the smooth decoupled peak detector, equation 17).

use super::{linear, log};
use crate::{
    catalog::ModuleType,
    lanes::{Lanes, inlined},
    math,
    module::{Io, Module, Outs, State},
};

pub struct Compressor;

/// Cells: the gain reduction in decibels after the release, and after both release and attack.
const RELEASED: usize = 0;
const TAKEN: usize = 1;

/// Decibels in an octave of amplitude.
const OCTAVE_DB: f32 = 6.020_6;
const SIDECHAIN: usize = 1;

impl Module for Compressor {
    const TYPE: ModuleType = ModuleType {
        name: "compressor",
        help: "reduces the level above the threshold; gain outputs the gain",
        inputs: &["in", "sidechain"],
        outputs: &["out", "gain"],
        params: &[
            linear(
                "threshold",
                "dB",
                [-60.0, -20.0, 0.0],
                "level above which it compresses",
            ),
            log(
                "ratio",
                "",
                [1.0, 4.0, 100.0],
                "input change in dB for an output change of 1 dB",
            ),
            log(
                "attack",
                "ms",
                [0.1, 10.0, 500.0],
                "time of the gain reduction",
            ),
            log(
                "release",
                "ms",
                [1.0, 100.0, 5_000.0],
                "time of the recovery",
            ),
            linear(
                "knee",
                "dB",
                [0.0, 6.0, 24.0],
                "width of the transition around the threshold to the full ratio",
            ),
            linear(
                "makeup",
                "dB",
                [-12.0, 0.0, 40.0],
                "gain after the compression",
            ),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = 2;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let params: [_; 6] = io.params();
        let [threshold, ratio, attack, release, knee, makeup] = params;
        let (zero, half, one) = (io.splat(0.0), io.splat(0.5), io.splat(1.0));
        let each = io.splat(-1000.0 * std::f32::consts::LOG2_E / io.context.rate_hz);
        let settings = inlined(
            #[inline(always)]
            |frame: usize| {
                let knee = knee.at(frame);
                Settings {
                    threshold: threshold.at(frame),
                    slope: one - one / ratio.at(frame),
                    attack: math::exp2(io, each / attack.at(frame)),
                    release: math::exp2(io, each / release.at(frame)),
                    knee,
                    bend: half / knee.max(io.splat(1e-6)),
                    makeup: makeup.at(frame),
                }
            },
        );
        let still = params.iter().all(|param| param.still().is_some());
        let mut now = settings(0);
        let listens = usize::from(io.plugged(SIDECHAIN));
        let (mut released, mut taken) = (state.get(RELEASED), state.get(TAKEN));
        let (out, gains) = outs.two();
        let both = out.chunks_exact_mut(L::N).zip(gains.chunks_exact_mut(L::N));
        for (frame, (out, to)) in both.enumerate() {
            if !still {
                now = settings(frame);
            }
            let level = math::log2(io, io.at(listens, frame).abs()) * io.splat(OCTAVE_DB);
            let over = level - now.threshold;
            let bent = (over + now.knee * half).max(zero).min(now.knee);
            let straight = (over - now.knee * half).max(zero);
            let should = now.slope * (bent * bent * now.bend + straight);
            released = should.max(should + (released - should) * now.release);
            taken = released + (taken - released) * now.attack;
            let gain = math::exp2(io, (now.makeup - taken) * io.splat(1.0 / OCTAVE_DB));
            gain.store(to);
            (io.at(0, frame) * gain).store(out);
        }
        state.set_flushed(RELEASED, released);
        state.set_flushed(TAKEN, taken);
    }
}

/// The coefficients at a frame.
#[derive(Clone, Copy)]
struct Settings<L> {
    threshold: L,
    /// The reduction in decibels for each decibel above the threshold.
    slope: L,
    /// The factor of the reduction in the previous frame.
    attack: L,
    release: L,
    knee: L,
    /// The reciprocal of twice the knee.
    bend: L,
    makeup: L,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, alone, step_max};

    fn amplitude(db: f64) -> f32 {
        libm::pow(10.0, db / 20.0) as f32
    }

    fn decibels(gain: f32) -> f64 {
        20.0 * libm::log10(f64::from(gain))
    }

    #[test]
    fn its_curve_is_the_formulas() {
        let (threshold, ratio) = (-24.0, 3.0);
        for knee in [0.0, 12.0] {
            for level in [-60.0, -40.0, -29.0, -26.0, -24.0, -20.0, -15.0, -6.0, 0.0] {
                let values = [
                    ("threshold", threshold as f32),
                    ("ratio", ratio as f32),
                    ("knee", knee as f32),
                    ("attack", 1.0),
                    ("makeup", 2.0),
                ];
                let input = vec![amplitude(level); 9_600];
                let out = Bench::of::<Compressor>(&values).run(9_600, &[("in", input)]);
                let over: f64 = level - threshold;
                let expected = if 2.0 * over < -knee {
                    level
                } else if 2.0 * over > knee {
                    threshold + over / ratio
                } else {
                    let bent = over + knee / 2.0;
                    level + (1.0 / ratio - 1.0) * bent * bent / (2.0 * knee.max(1e-9))
                };
                let found = decibels(out[0][9_599]) - 2.0;
                assert!(
                    (found - expected).abs() < 0.01,
                    "{knee} {level}: {found} {expected}"
                );
                assert_eq!(out[0][9_599], out[1][9_599] * amplitude(level));
            }
        }
    }

    #[test]
    fn attack_and_release_are_its_time_constants() {
        let values = [
            ("threshold", -20.0),
            ("ratio", 100.0),
            ("knee", 0.0),
            ("attack", 5.0),
            ("release", 200.0),
        ];
        let mut compressor = Bench::of::<Compressor>(&values);
        let mut side = vec![1.0; 24_000];
        side.extend(vec![0.0; 48_000]);
        let ones = vec![1.0; side.len()];
        let out = compressor.run(side.len(), &[("in", ones), ("sidechain", side)]);
        let taken = |frame: usize| -decibels(out[0][frame]);
        let all = 20.0 * 0.99;
        let risen = taken(240 - 1) / all;
        assert!(
            (risen - (1.0 - 1.0 / std::f64::consts::E)).abs() < 1e-3,
            "{risen}"
        );
        assert!((taken(23_999) - all).abs() < 1e-2);
        // Once the attack's part has gone.
        let ratio = taken(28_800) / taken(38_400);
        assert!((ratio / std::f64::consts::E - 1.0).abs() < 1e-2, "{ratio}");
    }

    #[test]
    fn no_jump_of_a_parameter_clicks() {
        let mut compressor = Bench::of::<Compressor>(&[]);
        let mut heard = Vec::new();
        for (param, value) in [
            ("threshold", -60.0),
            ("ratio", 20.0),
            ("makeup", 20.0),
            ("knee", 24.0),
            ("threshold", 0.0),
            ("makeup", 0.0),
        ] {
            let input = (heard.len()..heard.len() + 4_800)
                .map(|n| libm::sin(n as f64 * std::f64::consts::TAU / 480.0) as f32)
                .collect();
            heard.extend(compressor.run(4_800, &[("in", input)]).remove(0));
            compressor.set(param, value);
        }
        // 100 Hz at the level that the makeup gives it at most.
        let loud = heard.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
        assert!(
            step_max(&heard) < 0.02 * loud.max(1.0),
            "{} {loud}",
            step_max(&heard)
        );
    }

    #[test]
    fn each_channel_is_compressed_as_if_it_were_alone() {
        alone::<Compressor>(&[], &["in"]);
        alone::<Compressor>(&[], &["in", "sidechain", "threshold"]);
    }
}
