//! `kick`: a bass drum: a sine with a falling pitch and level, and the click of the beater.
//!
//! # Source
//! Werner, Abel, Smith: A physically-informed, circuit-bendable, digital model of the Roland TR-808
//! bass drum circuit, 2014: a resonator that rings after a pulse, with a far higher pitch during the
//! attack. Here an oscillator replaces the resonator, so that pitch and decay are independent.

use super::{drum, linear, log};
use crate::{
    catalog::ModuleType,
    lanes::{Bits, Lanes, Mask},
    math,
    module::{Io, Module, Outs, State},
};

pub struct Kick;

const PHASE: usize = drum::CELLS;
/// The level, the pitch bend, the level of the beater.
const LEVEL: usize = PHASE + 1;
const BENT: usize = PHASE + 2;
const KNOCK: usize = PHASE + 3;

/// The decay of the beater's click by 60 dB, in milliseconds.
const KNOCK_MS: f32 = 6.0;

impl Module for Kick {
    const TYPE: ModuleType = ModuleType {
        name: "kick",
        help: "bass drum, struck when its gate opens",
        inputs: drum::INPUTS,
        outputs: &["out"],
        params: &[
            log("tune", "Hz", [20.0, 50.0, 200.0], "final pitch"),
            log(
                "decay",
                "ms",
                [10.0, 500.0, 10_000.0],
                "time to fall by 60 dB",
            ),
            linear(
                "sweep",
                "octaves",
                [0.0, 2.0, 6.0],
                "initial pitch above the final pitch",
            ),
            log(
                "bend",
                "ms",
                [1.0, 90.0, 2_000.0],
                "time for the sweep to fall to a thousandth",
            ),
            linear("snap", "", [0.0, 0.3, 1.0], "level of the beater's click"),
            linear(
                "tone",
                "",
                [0.0, 0.0, 1.0],
                "from a pure sine (0) to a saturated one (1)",
            ),
            drum::GAIN,
        ],
        takes_gate: true,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = drum::CELLS + 4;

    fn start(channel: usize, _: &[f32], cells: &mut [u32]) {
        drum::start(channel, cells);
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let [tune, sweep, snap, tone, gain] = [0, 2, 4, 5, 6].map(|param| io.param(param));
        let (decay, bend) = (drum::Fall::of(io, 1), drum::Fall::of(io, 3));
        let knock_keep = drum::fall(io, io.splat(KNOCK_MS));
        let mut drum = drum::Drum::of(io, state);
        let mut phase = state.bits(PHASE);
        let [mut level, mut bent, mut knock] = [LEVEL, BENT, KNOCK].map(|cell| state.get(cell));
        let one = io.splat(1.0);
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                let struck = drum.struck(io, frame);
                if struck.any() {
                    phase = L::Bits::select(struck, io.splat_bits(0), phase);
                    level = L::select(struck, one, level);
                    bent = L::select(struck, one, bent);
                    knock = L::select(struck, one, knock);
                }
                let sine = math::sine(io, phase) * level;
                let driven = math::tanh(io, sine * io.splat(4.0));
                let body = sine + (driven - sine) * tone.at(frame);
                let sound = body + knock * snap.at(frame) * io.splat(0.5);
                let hz = tune.at(frame) * math::exp2(io, sweep.at(frame) * bent);
                phase = phase + math::step(io, hz);
                level = level * decay.at(io, frame);
                bent = bent * bend.at(io, frame);
                knock = knock * knock_keep;
                drum.heard(sound * gain.at(frame), io.splat(0.0))
            },
        );
        drum.keep(state);
        state.set_bits(PHASE, phase);
        for (cell, value) in [(LEVEL, level), (BENT, bent), (KNOCK, knock)] {
            state.set_flushed(cell, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bench::{Bench, step_max},
        modules::drum::tests::{assert_drum, peak, stroke},
    };

    #[test]
    fn it_is_a_drum() {
        assert_drum::<Kick>();
    }

    #[test]
    fn it_falls_by_60_decibels_in_its_time() {
        for ms in [100.0, 500.0, 2_000.0] {
            let kick = stroke::<Kick>(
                &[("decay", ms), ("sweep", 0.0), ("snap", 0.0)],
                1.0,
                144_000,
            );
            // A cycle of 50 Hz has 960 frames; how far apart two of them are.
            let at = (ms * 48.0) as usize;
            let fell = peak(&kick[..960]) / peak(&kick[at..at + 960]);
            let fell = 20.0 * libm::log10(f64::from(fell));
            assert!((fell - 60.0).abs() < 0.3, "{ms} ms: {fell} dB");
        }
    }

    #[test]
    fn its_pitch_falls_to_where_it_is_tuned() {
        let values = [("tune", 60.0), ("sweep", 2.0), ("bend", 100.0)];
        let kick = stroke::<Kick>(
            &[&values[..], &[("decay", 10_000.0), ("snap", 0.0)]].concat(),
            1.0,
            60_000,
        );
        // It rises through 0 where the integral of the frequency is whole.
        let mut cycles = 0.0_f64;
        let mut wanted = Vec::new();
        for n in 0..60_000 {
            let bent = libm::pow(10.0, -3.0 * f64::from(n) / 4_800.0);
            let next = cycles + 60.0 * libm::exp2(2.0 * bent) / 48_000.0;
            if libm::floor(next) > libm::floor(cycles) {
                wanted.push(n as usize + 1);
            }
            cycles = next;
        }
        let rises = |n: &usize| kick[n - 1] < 0.0 && kick[*n] >= 0.0;
        let found: Vec<usize> = (1..60_000).filter(rises).collect();
        assert!(found.len() > 70 && found.len().abs_diff(wanted.len()) <= 1);
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!(found.abs_diff(*wanted) <= 1, "{found} {wanted}");
        }
    }

    #[test]
    fn struck_while_it_sounds_it_does_not_break_off() {
        let mut kick = Bench::of::<Kick>(&[("snap", 0.0), ("sweep", 0.0), ("gain", 1.0)]);
        let mut heard = Vec::new();
        for frames in [200, 300, 710, 1_000] {
            kick.gate(1.0);
            heard.extend(kick.run(frames, &[]).remove(0));
        }
        // A sine of 50 Hz moves by 0.0065 a frame; the fading rest of a stroke moves by 0.0143 of
        // its level.
        assert!(step_max(&heard) < 0.022, "{}", step_max(&heard));
    }
}
