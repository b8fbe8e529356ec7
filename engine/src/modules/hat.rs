//! `hat`: a hi-hat or cymbal: six detuned pulse waves, high-passed.
//!
//! As in the instrument, the pulse waves run continuously: no two strokes are identical.
//!
//! # Source
//! Werner, Abel, Smith: The TR-808 cymbal: a physically-informed, circuit-bendable, digital model,
//! 2014 (the frequencies of the six oscillators, and the high-pass of some kHz).

use super::{drum, linear, log, oscillator};
use crate::{
    catalog::ModuleType,
    lanes::{Lanes, Mask},
    math,
    module::{Io, Module, Outs, State},
};

pub struct Hat;

const PULSES: usize = 6;
/// The frequencies as multiples of the lowest.
const RATIOS: [f32; PULSES] = [
    1.0,
    304.4 / 205.3,
    369.6 / 205.3,
    522.7 / 205.3,
    540.0 / 205.3,
    800.0 / 205.3,
];

const PHASES: usize = drum::CELLS;
const LEVEL: usize = PHASES + PULSES;
/// Two second-order filters in series.
const Z: usize = LEVEL + 1;

impl Module for Hat {
    const TYPE: ModuleType = ModuleType {
        name: "hat",
        help: "hi-hat or cymbal, struck when its gate opens",
        inputs: drum::INPUTS,
        outputs: &["out"],
        params: &[
            log(
                "tune",
                "Hz",
                [50.0, 205.3, 1_000.0],
                "frequency of the lowest of its six pulse waves",
            ),
            log(
                "decay",
                "ms",
                [5.0, 120.0, 10_000.0],
                "time to fall by 60 dB: short for closed, long for open or cymbal",
            ),
            log(
                "tone",
                "Hz",
                [500.0, 7_000.0, 16_000.0],
                "corner of the high-pass",
            ),
            linear(
                "snap",
                "",
                [0.0, 0.2, 1.0],
                "from pulse waves (0) to noise (1)",
            ),
            drum::GAIN,
        ],
        takes_gate: true,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = Z + 4;

    fn start(channel: usize, _: &[f32], cells: &mut [u32]) {
        drum::start(channel, cells);
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let [tune, tone, snap, gain] = [0, 2, 3, 4].map(|param| io.param(param));
        let decay = drum::Fall::of(io, 1);
        let q = io.splat(std::f32::consts::FRAC_1_SQRT_2);
        let still_filter = match tone.still() {
            Some(hz) => Some(drum::Svf::of(io, hz, q)),
            None => None,
        };
        let mut drum = drum::Drum::of(io, state);
        let mut phases: [L::Bits; PULSES] = std::array::from_fn(|pulse| state.bits(PHASES + pulse));
        let mut level = state.get(LEVEL);
        let mut z = [
            [state.get(Z), state.get(Z + 1)],
            [state.get(Z + 2), state.get(Z + 3)],
        ];
        let (zero, one) = (io.splat(0.0), io.splat(1.0));
        let half = io.splat_bits(1 << 31);
        let mut still_steps = None;
        if let Some(hz) = tune.still() {
            let mut all = [(math::step(io, hz), oscillator::Steps::of(io, hz, hz)); PULSES];
            for (steps, ratio) in all.iter_mut().zip(RATIOS) {
                let hz = hz * io.splat(ratio);
                *steps = (math::step(io, hz), oscillator::Steps::of(io, hz, hz));
            }
            still_steps = Some(all);
        }
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                let struck = drum.struck(io, frame);
                if struck.any() {
                    level = L::select(struck, one, level);
                }
                let mut sum = zero;
                for pulse in 0..PULSES {
                    let (step, steps) = match still_steps {
                        Some(all) => all[pulse],
                        None => {
                            let hz = tune.at(frame) * io.splat(RATIOS[pulse]);
                            (math::step(io, hz), oscillator::Steps::of(io, hz, hz))
                        }
                    };
                    let phase = phases[pulse];
                    let above = L::of_signed(phase).lt(zero);
                    sum = sum + L::select(above, one, -one) + oscillator::edge(io, phase, steps)
                        - oscillator::edge(io, phase - half, steps);
                    phases[pulse] = phase + step;
                }
                let white = drum.white(io);
                let metal = sum * io.splat(0.7);
                let dry = metal + (white * io.splat(1.2) - metal) * snap.at(frame);
                let filter = match still_filter {
                    Some(filter) => filter,
                    None => drum::Svf::of(io, tone.at(frame), q),
                };
                let [high, _, _] = filter.next(&mut z[0], dry);
                let [high, _, _] = filter.next(&mut z[1], high);
                let sound = high * level * gain.at(frame);
                level = level * decay.at(io, frame);
                drum.heard(io.splat(0.0), sound)
            },
        );
        drum.keep(state);
        for (pulse, phase) in phases.into_iter().enumerate() {
            state.set_bits(PHASES + pulse, phase);
        }
        state.set_flushed(LEVEL, level);
        for (number, value) in z.into_iter().flatten().enumerate() {
            state.set_flushed(Z + number, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bench::level,
        modules::drum::tests::{assert_drum, rms, stroke},
    };

    #[test]
    fn it_is_a_drum() {
        assert_drum::<Hat>();
    }

    #[test]
    fn its_partials_are_those_of_the_six_pulses_and_high() {
        let values = [("decay", 10_000.0), ("snap", 0.0), ("tone", 500.0)];
        let hat = stroke::<Hat>(&values, 1.0, 48_000);
        for hz in [
            205.3 * 11.0,
            304.4 * 9.0,
            369.6 * 7.0,
            522.7 * 5.0,
            540.0 * 5.0,
            800.0 * 3.0,
        ] {
            // Beside it there is little.
            assert!(level(&hat, hz) > 10.0 * level(&hat, hz + 7.0), "{hz} Hz");
        }
        let high = stroke::<Hat>(&[("decay", 10_000.0), ("snap", 0.0)], 1.0, 48_000);
        // A filter of the fourth order, at half its corner and lower, against one two octaves lower.
        let fell = 20.0 * libm::log10(level(&high, 2_400.0) / level(&hat, 2_400.0));
        assert!((-40.0..-34.0).contains(&fell), "{fell} dB");
    }

    #[test]
    fn it_falls_in_its_time() {
        let hat = stroke::<Hat>(&[("decay", 1_000.0)], 1.0, 48_000);
        let fell = 20.0 * libm::log10(rms(&hat[..9_600]) / rms(&hat[24_000..33_600]));
        assert!((fell - 30.0).abs() < 1.0, "{fell} dB");
    }
}
