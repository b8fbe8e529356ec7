//! `lfo`: an oscillator for modulation, with cycles of up to seventeen minutes, free or synchronized to a tempo.
//!
//! The phase has 64 bits: a cycle of 1000 s is exact to 1e-12, and the phase does not drift over hours. A rising zero
//! crossing at `reset` restarts the cycle; `phase` shifts the output (the random values change at the begin of the
//! unshifted cycle). A change of the shape fades to the new one.
//!
//! # Source
//! The random values: Marsaglia, Xorshift RNGs, 2003 (32 bits: 13, 17, 5).

use super::{choice, discontinuity, linear, log, noise, tempo};
use crate::{
    catalog::{ModuleType, Param, Scale},
    lanes::{Bits, Lanes, Mask, inlined},
    math,
    module::{Io, Module, Outs, State},
};

pub struct Lfo;

const SHAPES: &[&str] = &["sine", "triangle", "square", "saw", "random"];
const RANDOM_SHAPE: u32 = 4;

// Parameters.
const RATE: usize = 0;
const SHAPE: usize = 1;
const PHASE: usize = 2;
const POLARITY: usize = 3;
const SYNC: usize = 4;
const BPM: usize = 5;
const DIVISION: usize = 6;
const SEED_PARAM: usize = 7;

// Cells: the phase and its step per frame, each the lower half first; the input `reset` in the previous frame; the
// bits of the random value, and their seed.
const LOW: usize = 0;
const HIGH: usize = 1;
const STEP: usize = 2;
const RESET: usize = 4;
const RANDOM: usize = 5;
const SEED: usize = 6;
const DISCONTINUITY: usize = 7;

/// The number of a shape and a polarity.
fn choices(params: &[f32]) -> u32 {
    params[SHAPE] as u32 * 2 + params[POLARITY] as u32
}

/// The step per frame at a frequency, in two halves.
#[inline(always)]
fn moving_step<L: Lanes>(io: &Io<'_, L>, hz: L) -> [L::Bits; 2] {
    let cycles = hz * io.splat(math::CYCLE / io.context.rate_hz);
    let whole = cycles.floor();
    let rest = (cycles - whole) * io.splat(math::CYCLE / 2.0);
    [rest.truncate().up(1), whole.truncate()]
}

impl Module for Lfo {
    const TYPE: ModuleType = ModuleType {
        name: "lfo",
        help: "slow oscillator for modulation, free or synchronized to a tempo",
        inputs: &["reset"],
        outputs: &["out"],
        params: &[
            log(
                "rate",
                "Hz",
                [0.001, 1.0, 100.0],
                "frequency; without effect with sync",
            ),
            choice("shape", SHAPES, "shape of the wave"),
            linear("phase", "cycles", [0.0, 0.0, 1.0], "phase offset"),
            choice(
                "polarity",
                &["bipolar", "unipolar"],
                "output range: -1 to 1, or 0 to 1",
            ),
            choice(
                "sync",
                &["off", "on"],
                "on: bpm and division set the length of a cycle",
            ),
            tempo::BPM,
            tempo::DIVISION,
            Param {
                scale: Scale::Stepped,
                ..linear(
                    "seed",
                    "",
                    [0.0, 0.0, 65_535.0],
                    "seed of the random values",
                )
            },
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = DISCONTINUITY + discontinuity::CELLS;

    fn start(channel: usize, params: &[f32], cells: &mut [u32]) {
        cells[SEED] = params[SEED_PARAM] as u32;
        cells[RANDOM] = noise::start(cells[SEED], channel);
        cells[DISCONTINUITY] = choices(params);
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let seed = io.value(SEED_PARAM) as u32;
        for channel in 0..L::N {
            if *state.cell(SEED, channel) != seed || *state.cell(RANDOM, channel) == 0 {
                *state.cell(SEED, channel) = seed;
                *state.cell(RANDOM, channel) = noise::start(seed, io.first_channel + channel);
            }
        }
        let shape = (io.param(SHAPE).first().lane(0) as u32).min(RANDOM_SHAPE);
        let unipolar = u32::from(io.param(POLARITY).first().lane(0) >= 0.5);
        let synced = io.param(SYNC).first().lane(0) >= 0.5;
        let length = tempo::length(io.param(DIVISION).first().lane(0));
        // Cycles per second for each unit of the parameter that sets the speed.
        let (speed, unit) = match synced {
            true => (io.param(BPM), tempo::PARTS as f64 / (60.0 * length as f64)),
            false => (io.param(RATE), 1.0),
        };
        let still = speed.still();
        if let (Some(speed), true) = (still, io.fresh) {
            for channel in 0..L::N {
                let hz = f64::from(speed.lane(channel)) * unit;
                let cycles = hz / f64::from(io.context.rate_hz);
                let step = (cycles * 18_446_744_073_709_551_616.0) as u64;
                *state.cell(STEP, channel) = step as u32;
                *state.cell(STEP + 1, channel) = (step >> 32) as u32;
            }
        }
        let mut step = [state.bits(STEP), state.bits(STEP + 1)];
        let (mut low, mut high) = (state.bits(LOW), state.bits(HIGH));
        let (mut before, mut random) = (state.get(RESET), state.bits(RANDOM));
        let mut discontinuity =
            discontinuity::Discontinuity::begin(io, state, DISCONTINUITY, shape * 2 + unipolar);
        let offset = io.param(PHASE);
        let (zero, one) = (io.splat(0.0), io.splat(1.0));
        let (none, single, half) = (
            io.splat_bits(0),
            io.splat_bits(1),
            io.splat_bits(0x8000_0000),
        );
        let whole = io.splat(1.0 / 2_147_483_648.0);
        let wave = inlined(
            #[inline(always)]
            |phase: L::Bits, random: L::Bits| match shape {
                0 => math::sine(io, phase),
                1 => {
                    let quarter = io.splat_bits(1 << 30);
                    L::of_signed(quarter - (phase - quarter).abs()) * (whole + whole)
                }
                2 => L::select(phase.lt(half), one, -one),
                3 => L::of_signed(phase ^ half) * whole,
                _ => L::of_signed(random) * whole,
            },
        );
        let resets = io.plugged(0);
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                if resets {
                    let now = io.at(0, frame);
                    let rises = before.le(zero) & zero.lt(now);
                    before = now;
                    if rises.any() {
                        low = L::Bits::select(rises, none, low);
                        high = L::Bits::select(rises, none, high);
                        random = L::Bits::select(rises, noise::next(random), random);
                    }
                }
                let offset = (offset.at(frame) * io.splat(16_777_216.0)).truncate().up(8);
                let mut level = wave(high + offset, random);
                if unipolar != 0 {
                    level = level * io.splat(0.5) + io.splat(0.5);
                }
                if still.is_none() {
                    step = moving_step(io, speed.at(frame) * io.splat(unit as f32));
                }
                let next = low + step[0];
                let carry = L::Bits::select(next.lt(low), single, none);
                low = next;
                let next = high + step[1] + carry;
                if shape == RANDOM_SHAPE {
                    random = L::Bits::select(next.lt(high), noise::next(random), random);
                }
                high = next;
                discontinuity.next(io, level)
            },
        );
        discontinuity.end(io, state, DISCONTINUITY);
        state.set_bits(LOW, low);
        state.set_bits(HIGH, high);
        state.set(RESET, before);
        state.set_bits(RANDOM, random);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, step_max};

    fn shape(cycle: f64, shape: usize) -> f64 {
        match shape {
            0 => libm::sin(cycle * std::f64::consts::TAU),
            1 if cycle < 0.25 => 4.0 * cycle,
            1 if cycle < 0.75 => 2.0 - 4.0 * cycle,
            1 => 4.0 * cycle - 4.0,
            2 if cycle < 0.5 => 1.0,
            2 => -1.0,
            _ => 2.0 * cycle - 1.0,
        }
    }

    #[test]
    fn each_shape_is_its_formula_at_each_phase() {
        for number in 0..4 {
            for (offset, unipolar) in [(0.0, 0.0), (0.25, 1.0), (0.7, 0.0)] {
                let mut lfo = Bench::of::<Lfo>(&[
                    ("rate", 3.3),
                    ("shape", number as f32),
                    ("phase", offset),
                    ("polarity", unipolar),
                ]);
                let heard = lfo.run(48_000, &[]).remove(0);
                for (n, heard) in heard.iter().enumerate() {
                    let cycles = f64::from(3.3_f32) / 48_000.0 * n as f64 + f64::from(offset);
                    let cycle = cycles - cycles.floor();
                    let mut exact = shape(cycle, number);
                    if unipolar > 0.0 {
                        exact = exact * 0.5 + 0.5;
                    }
                    // At a jump, one frame earlier or later is right too.
                    if number >= 2 && (cycle * 2.0 - (cycle * 2.0).round()).abs() < 2e-4 {
                        continue;
                    }
                    assert!((f64::from(*heard) - exact).abs() < 2e-6, "{number}: {n}");
                }
            }
        }
    }

    /// The phase after a number of frames: three hours of frames, without rendering each.
    #[test]
    fn a_turn_of_a_thousand_seconds_is_right_for_hours() {
        let mut lfo = Bench::of::<Lfo>(&[("rate", 0.001), ("shape", 3.0)]);
        let frames = 4_800_000;
        let heard = lfo.run(frames, &[]).remove(0);
        let cycles = |n: usize| f64::from(0.001_f32) * n as f64 / 48_000.0;
        for n in [0, 1, 47, 1_000_000, frames - 1] {
            assert!((f64::from(heard[n]) - (2.0 * cycles(n) - 1.0)).abs() < 1.3e-7);
        }
        // The step loses less than 2^-64 of a cycle a frame: in ten hours less than 2^-33.
        let step = cycles(1) * 18_446_744_073_709_551_616.0;
        assert!((step - step.floor()) * 1.728e9 / 18_446_744_073_709_551_616.0 < 1e-10);
    }

    #[test]
    fn a_turn_lasts_as_long_as_the_tempo_says() {
        // 90 bpm: a quarter note is 32000 frames, a dotted eighth 24000, a triplet 16th 5333.33.
        for (division, frames) in [
            ("1/4", 32_000.0),
            ("1/8.", 24_000.0),
            ("1/16t", 16_000.0 / 3.0),
        ] {
            let number = tempo::DIVISION.choices.iter().position(|n| *n == division);
            let mut lfo = Bench::of::<Lfo>(&[
                ("sync", 1.0),
                ("bpm", 90.0),
                ("division", number.unwrap() as f32),
                ("shape", 3.0),
            ]);
            let heard = lfo.run(480_000, &[]).remove(0);
            let falls = (1..heard.len()).filter(|n| heard[*n] < heard[*n - 1]);
            for (cycle, n) in falls.enumerate() {
                let exact = (cycle + 1) as f64 * frames;
                assert!((n as f64 - exact).abs() <= 1.0, "{division}: {n} {exact}");
            }
        }
    }

    #[test]
    fn it_holds_each_random_value_for_a_turn_and_each_seed_has_its_own() {
        let run = |seed: f32| {
            let mut lfo = Bench::poly::<Lfo>(&[("rate", 100.0), ("shape", 4.0), ("seed", seed)], 3);
            lfo.run(480_000, &[])
        };
        let heard = run(5.0);
        let changes: Vec<usize> = (1..480_000)
            .filter(|n| heard[0][*n] != heard[0][*n - 1])
            .collect();
        assert!((998..=1_000).contains(&changes.len()), "{}", changes.len());
        assert!(
            changes
                .windows(2)
                .all(|w| (479..=481).contains(&(w[1] - w[0])))
        );
        let mean = heard[0].iter().map(|x| f64::from(*x)).sum::<f64>() / 480_000.0;
        assert!(mean.abs() < 0.06 && heard[0].iter().all(|x| x.abs() <= 1.0));
        assert!(heard[0] != heard[1] && heard[1] != heard[2]);
        assert!(run(5.0) == heard && run(6.0)[0] != heard[0]);
    }

    #[test]
    fn a_rise_at_reset_begins_the_cycle_anew() {
        let mut lfo = Bench::of::<Lfo>(&[("rate", 10.0), ("shape", 3.0)]);
        let reset = (0..3_000).map(|n| f32::from(u8::from(n >= 777))).collect();
        let heard = lfo.run(3_000, &[("reset", reset)]).remove(0);
        assert!(heard[776] > -0.8 && heard[777] == -1.0);
        assert_eq!(heard[777..1_554], heard[..777]);
    }

    #[test]
    fn it_is_modulated_by_octaves_and_glides() {
        let mut lfo = Bench::of::<Lfo>(&[("rate", 5.0), ("shape", 3.0)]);
        let up: Vec<f32> = (0..48_000)
            .map(|n| if n == 0 { 0.9 } else { 1.0 })
            .collect();
        let heard = lfo.run(48_000, &[("rate", up)]).remove(0);
        let falls = heard.windows(2).filter(|w| w[1] < w[0]).count();
        assert!((9..=10).contains(&falls), "{falls}");
    }

    #[test]
    fn no_change_of_shape_or_parameter_steps() {
        let mut lfo = Bench::of::<Lfo>(&[("rate", 2.0)]);
        let mut heard = lfo.run(3_000, &[]).remove(0);
        for (name, value) in [
            ("shape", 1.0),
            ("polarity", 1.0),
            ("rate", 5.0),
            ("shape", 0.0),
            ("sync", 1.0),
            ("bpm", 200.0),
            ("division", 10.0),
            ("phase", 0.5),
            ("polarity", 0.0),
            ("shape", 1.0),
        ] {
            lfo.set(name, value);
            heard.extend(lfo.run(700, &[]).remove(0));
        }
        // A step of 2 over 336 frames, and the wave's own way.
        assert!(step_max(&heard) < 0.011, "{}", step_max(&heard));
    }

    #[test]
    fn each_channel_is_as_one_alone() {
        for channels in [3, 11, 20] {
            let mut lfo = Bench::poly::<Lfo>(&[("rate", 7.0), ("shape", 1.0)], channels);
            let by = |channel: usize| {
                let signal = |n: usize| (n as f32 * 1e-3 + channel as f32 * 0.1) % 1.0;
                (0..900).map(signal).collect::<Vec<f32>>()
            };
            let all: Vec<Vec<f32>> = (0..channels).map(by).collect();
            let heard = lfo.run_poly(900, &[("rate", all.clone()), ("phase", all.clone())]);
            for (channel, by) in all.into_iter().enumerate() {
                let mut alone = Bench::of::<Lfo>(&[("rate", 7.0), ("shape", 1.0)]);
                let alone = alone.run(900, &[("rate", by.clone()), ("phase", by)]);
                assert_eq!(heard[channel], alone[0]);
            }
        }
    }
}
