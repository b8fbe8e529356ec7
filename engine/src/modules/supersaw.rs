//! `supersaw`: seven sawtooths: one in the centre and three detuned pairs.
//!
//! Detuning and levels follow the curves measured on the original instrument, but every edge is rounded: the original
//! aliases, and removes the aliases below the fundamental with a filter that is not needed here. Each voice starts
//! at its own phases, the same each time. The output never exceeds the range of one sawtooth, for any mix.
//!
//! # Source
//! Adam Szabo, How to emulate the super saw, 2010 (Roland JP-8000: offsets, detune curve, mix).

use super::{
    hard_sync::{self, Anew, Here},
    linear, noise, oscillator,
};
use crate::{
    catalog::{ModuleType, Param, Scale},
    lanes::{Lanes, inlined},
    math,
    module::{Io, Module, Outs, State},
};

pub struct Supersaw;

const SAWS: usize = 7;
/// The frequency offsets; the first is the centre.
const OFFSETS: [f32; SAWS] = [
    0.0,
    -0.110_023_13,
    -0.062_884_39,
    -0.019_523_56,
    0.019_912_21,
    0.062_165_38,
    0.107_452_42,
];
/// Szabo's polynomial of degree 11 as a sum of Chebyshev polynomials over 0 to 1: the original coefficients of up to
/// 100,000 would cancel out all digits of a single-precision number.
const CURVE: [f32; 12] = [
    0.214_161_3,
    0.302_091_96,
    0.144_023_1,
    0.085_273_88,
    0.060_310_09,
    0.052_482_86,
    0.049_464_35,
    0.038_131_655,
    0.025_247_503,
    0.015_708_64,
    0.008_276_285,
    0.004_782_072,
];

const PHASES: usize = 2;
/// The state of each saw's cycle that restarts.
const ANEW: usize = PHASES + SAWS;
const DETUNE: usize = 3;
const MIX: usize = 4;
const SEED: usize = 5;

/// The frequency of each saw, as a multiple of the centre's.
#[inline(always)]
fn ratios<L: Lanes>(io: &Io<'_, L>, detune: L) -> [L; SAWS] {
    let one = io.splat(1.0);
    let x = detune + detune - one;
    let (mut b, mut b_before) = (io.splat(0.0), io.splat(0.0));
    for factor in CURVE[1..].iter().rev() {
        (b, b_before) = (io.splat(*factor) + (x + x) * b - b_before, b);
    }
    let apart = io.splat(CURVE[0]) + x * b - b_before;
    let mut all = [one; SAWS];
    for (ratio, offset) in all.iter_mut().zip(OFFSETS) {
        *ratio = one + io.splat(offset) * apart;
    }
    all
}

/// The levels of the centre saw and of each other saw; their sum is 1.
#[inline(always)]
fn levels<L: Lanes>(io: &Io<'_, L>, mix: L) -> [L; 2] {
    let middle = io.splat(0.997_85) - io.splat(0.553_66) * mix;
    let sides = io.splat(0.044_372) + (io.splat(1.284_1) - io.splat(0.737_64) * mix) * mix;
    let all = io.splat(1.0) / (middle + io.splat(6.0) * sides);
    [middle * all, sides * all]
}

impl Module for Supersaw {
    const TYPE: ModuleType = ModuleType {
        name: "supersaw",
        help: "seven detuned sawtooths",
        inputs: oscillator::INPUTS,
        outputs: &["out"],
        params: &[
            oscillator::FREQ,
            oscillator::GAIN,
            oscillator::INDEX,
            linear(
                "detune",
                "",
                [0.0, 0.4, 1.0],
                "detuning; at 1 almost two semitones on either side",
            ),
            linear(
                "mix",
                "",
                [0.0, 0.6, 1.0],
                "level of the six detuned saws relative to the centre",
            ),
            Param {
                scale: Scale::Stepped,
                ..linear(
                    "seed",
                    "",
                    [0.0, 0.0, 65_535.0],
                    "seed of the initial phases; without effect after the start",
                )
            },
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = ANEW + SAWS * hard_sync::CELLS;

    fn start(channel: usize, params: &[f32], cells: &mut [u32]) {
        for saw in 0..SAWS {
            let seed = params[SEED] as u32 * SAWS as u32 + saw as u32;
            cells[PHASES + saw] = noise::start(seed, channel);
        }
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let (freq, detune, mix) = (io.param(0), io.param(DETUNE), io.param(MIX));
        let mut phases: [L::Bits; SAWS] = std::array::from_fn(|saw| state.bits(PHASES + saw));
        let still_ratios = match detune.still() {
            Some(detune) => Some(ratios(io, detune)),
            None => None,
        };
        let still_levels = match mix.still() {
            Some(mix) => Some(levels(io, mix)),
            None => None,
        };
        // The divisions for each saw are computed once if nothing moves.
        let mut still_steps = None;
        if let (false, false, Some(hz), Some(ratios)) =
            (io.plugged(0), io.plugged(1), freq.still(), still_ratios)
        {
            let hz = ratios[0] * hz;
            let mut all = [(math::step(io, hz), oscillator::Steps::of(io, hz, hz)); SAWS];
            for (steps, ratio) in all.iter_mut().zip(ratios) {
                let hz = ratio * hz;
                *steps = (math::step(io, hz), oscillator::Steps::of(io, hz, hz));
            }
            still_steps = Some(all);
        }
        let one = io.splat(1.0);
        let mut anew: [Anew<L>; SAWS] =
            std::array::from_fn(|saw| Anew::load(state, ANEW + saw * hard_sync::CELLS));
        let wave = inlined(
            #[inline(always)]
            |(phase, steps): (L::Bits, oscillator::Steps<L>)| {
                let cycle = math::cycles(io, phase);
                cycle + cycle - one + oscillator::edge(io, phase, steps)
            },
        );
        oscillator::walk(
            io,
            state,
            outs,
            #[inline(always)]
            |tick| {
                let ratios = match still_ratios {
                    Some(ratios) => ratios,
                    None => ratios(io, detune.at(tick.frame)),
                };
                let [middle, sides] = match still_levels {
                    Some(levels) => levels,
                    None => levels(io, mix.at(tick.frame)),
                };
                let mut sum = [io.splat(0.0); SAWS];
                for saw in 0..SAWS {
                    let (step, steps) = match still_steps {
                        Some(all) => all[saw],
                        None => {
                            let (last, hz) = (tick.last_hz * ratios[saw], tick.hz * ratios[saw]);
                            (math::step(io, hz), oscillator::Steps::of(io, last, hz))
                        }
                    };
                    let mut here = Here {
                        phase: phases[saw],
                        steps,
                        rounds: io.splat(0.0),
                    };
                    match tick.sync {
                        Some(sync) => {
                            let (last, hz) = (tick.last_hz * ratios[saw], tick.hz * ratios[saw]);
                            anew[saw].begun(io, &mut here, last);
                            anew[saw].begins(io, &mut here, hz, sync, |phase, steps| {
                                wave((phase, steps))
                            });
                        }
                        None => anew[saw].forget(io),
                    }
                    sum[saw] = wave((here.phase, here.steps)) + here.rounds;
                    phases[saw] = here.phase + step;
                }
                let [first, a, b, c, d, e, f] = sum;
                (first * middle + (a + b + c + d + e + f) * sides) * tick.gain
            },
        );
        for (saw, phase) in phases.into_iter().enumerate() {
            state.set_bits(PHASES + saw, phase);
            anew[saw].store(state, ANEW + saw * hard_sync::CELLS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bench::{Bench, level},
        modules::oscillator::tests::{assert_in_tune, assert_synced_without_noise, heard},
    };

    /// Szabo's polynomial as he prints it.
    fn szabo(x: f64) -> f64 {
        let factors = [
            10_028.731_289_163_4,
            -50_818.865_204_592_4,
            111_363.480_872_936_8,
            -138_150.676_108_054_8,
            106_649.667_915_829_2,
            -53_046.964_275_187_5,
            17_019.951_858_008_0,
            -3_425.083_659_131_8,
            404.270_393_838_8,
            -24.187_882_439_1,
            0.671_741_763_4,
            0.003_011_559_6,
        ];
        factors.iter().fold(0.0, |sum, factor| sum * x + factor)
    }

    #[test]
    fn it_is_in_tune() {
        // Apart they have no pitch.
        assert_in_tune::<Supersaw>(&[("mix", 0.0), ("detune", 0.0)]);
    }

    #[test]
    fn its_saws_are_where_they_were_measured_and_as_loud() {
        let offsets = [
            0.0,
            -0.110_023_13,
            -0.062_884_39,
            -0.019_523_56,
            0.019_912_21,
            0.062_165_38,
            0.107_452_42,
        ];
        for (detune, mix) in [(0.3, 0.2), (0.6, 0.5), (1.0, 1.0)] {
            let values = [("detune", detune), ("mix", mix)];
            let heard = heard::<Supersaw>(&values, 1_000.0, 480_000);
            let m = f64::from(mix);
            let middle = 0.99785 - 0.55366 * m;
            let side = 0.044372 + 1.2841 * m - 0.73764 * m * m;
            for (saw, offset) in offsets.into_iter().enumerate() {
                let hz = 1_000.0 * (1.0 + offset * szabo(f64::from(detune)));
                let part = if saw == 0 { middle } else { side };
                let exact = 2.0 / std::f64::consts::PI * part / (middle + 6.0 * side);
                let found = level(&heard, hz);
                assert!(
                    (found / exact - 1.0).abs() < 0.1,
                    "{detune} {mix} {saw}: {found}, {exact}"
                );
            }
            assert!(heard.iter().all(|x| x.abs() <= 1.0));
        }
    }

    #[test]
    fn it_aliases_far_less_than_plain_ramps() {
        let values = [("detune", 0.0), ("mix", 0.0)];
        let found = heard::<Supersaw>(&values, 4_700.0, 480_000);
        // The tenth partial of 4.7 kHz comes down at 1 kHz: 0.064 of a plain ramp.
        assert!(level(&found, 1_000.0) < 0.003);
    }

    #[test]
    fn each_voice_and_each_seed_begins_elsewhere_and_the_same_each_time() {
        let run = |seed, channels| {
            Bench::poly::<Supersaw>(&[("seed", seed), ("mix", 1.0)], channels).run(500, &[])
        };
        let all = run(3.0, 20);
        assert_eq!(all, run(3.0, 20));
        assert_eq!(all[0], run(3.0, 1)[0]);
        assert!((1..20).all(|voice| all[voice] != all[0]));
        assert_ne!(all[0], run(4.0, 1)[0]);
    }

    #[test]
    fn a_rise_at_sync_begins_all_of_them_anew() {
        let mut saw = Bench::of::<Supersaw>(&[("freq", 100.0), ("gain", 1.0), ("detune", 0.0)]);
        let sync = (0..200).map(|n| if n < 77 { -1.0 } else { 1.0 }).collect();
        let heard = saw.run(200, &[("sync", sync)]).remove(0);
        // It rises half-way between the frames 76 and 77; a cycle begins a frame later, and its jump is
        // rounded over the frames beside it.
        for (n, found) in heard[79..200].iter().enumerate() {
            let plain = (n as f32 + 1.5) / 240.0 - 1.0;
            assert!((found - plain).abs() < 1e-5, "{n}: {found} {plain}");
        }
    }

    #[test]
    fn synced_it_is_nearly_without_noise() {
        assert_synced_without_noise::<Supersaw>(|cycle| 2.0 * cycle - 1.0);
    }

    #[test]
    fn moving_parameters_sound_as_still_ones() {
        let values = [("freq", 220.0), ("detune", 0.5)];
        let still = Bench::of::<Supersaw>(&values).run(2_000, &[]).remove(0);
        let nothing: Vec<f32> = (0..2_000).map(|n| (n % 2) as f32 * 1e-30).collect();
        let inputs = ["freq", "detune", "mix", "fm"].map(|input| (input, nothing.clone()));
        let moving = Bench::of::<Supersaw>(&values).run(2_000, &inputs).remove(0);
        let mut off = still.iter().zip(&moving).map(|(a, b)| (a - b).abs());
        assert!(off.all(|off| off < 1e-5));
    }
}
