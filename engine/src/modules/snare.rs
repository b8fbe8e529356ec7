//! `snare`: a snare drum: two modes of the head, and the rattle of the wires.
//!
//! # Source
//! Gordon Reid, Synth Secrets, "Practical snare drum synthesis", Sound on Sound, March 2002: two sines
//! for the two audible modes (180 and 330 Hz on the TR-808) and high-passed noise, each with a decay of
//! its own.

use super::{drum, linear, log};
use crate::{
    catalog::ModuleType,
    lanes::{Bits, Lanes, Mask},
    math,
    module::{Io, Module, Outs, State},
};

pub struct Snare;

const PHASES: usize = drum::CELLS;
const HEAD: usize = PHASES + 2;
const WIRES: usize = PHASES + 3;
/// The low-pass state of the wires' noise.
const LOW: usize = PHASES + 4;

/// The frequency of the second mode, as a multiple of the first.
const SECOND: f32 = 330.0 / 180.0;
/// The corner of the wires' noise.
const WIRES_HZ: f32 = 1_500.0;

impl Module for Snare {
    const TYPE: ModuleType = ModuleType {
        name: "snare",
        help: "snare drum, struck when its gate opens",
        inputs: drum::INPUTS,
        outputs: &["out"],
        params: &[
            log("tune", "Hz", [60.0, 180.0, 800.0], "pitch of the head"),
            log(
                "decay",
                "ms",
                [10.0, 200.0, 5_000.0],
                "time for the head to fall by 60 dB",
            ),
            linear(
                "tone",
                "",
                [0.0, 0.4, 1.0],
                "from the lower (0) to the upper (1) mode of the head",
            ),
            linear("snap", "", [0.0, 0.6, 1.0], "level of the wires' rattle"),
            log(
                "rattle",
                "ms",
                [10.0, 350.0, 5_000.0],
                "time for the wires to fall by 60 dB",
            ),
            drum::GAIN,
        ],
        takes_gate: true,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = drum::CELLS + 5;

    fn start(channel: usize, _: &[f32], cells: &mut [u32]) {
        drum::start(channel, cells);
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let [tune, tone, snap, gain] = [0, 2, 3, 5].map(|param| io.param(param));
        let (decay, rattle) = (drum::Fall::of(io, 1), drum::Fall::of(io, 4));
        let mut drum = drum::Drum::of(io, state);
        let mut phases = [state.bits(PHASES), state.bits(PHASES + 1)];
        let [mut head, mut wires, mut low] = [HEAD, WIRES, LOW].map(|cell| state.get(cell));
        let one = io.splat(1.0);
        let corner = std::f32::consts::TAU * WIRES_HZ / io.context.rate_hz;
        let corner = io.splat(corner / (1.0 + corner));
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                let struck = drum.struck(io, frame);
                if struck.any() {
                    for phase in &mut phases {
                        *phase = L::Bits::select(struck, io.splat_bits(0), *phase);
                    }
                    head = L::select(struck, one, head);
                    wires = L::select(struck, one, wires);
                }
                let [lower, upper] = [math::sine(io, phases[0]), math::sine(io, phases[1])];
                let white = drum.white(io);
                low = low + (white - low) * corner;
                let tone = (lower + (upper - lower) * tone.at(frame)) * head * io.splat(0.6);
                let noise = (white - low) * wires * snap.at(frame) * io.splat(0.8);
                let hz = tune.at(frame);
                phases[0] = phases[0] + math::step(io, hz);
                phases[1] = phases[1] + math::step(io, hz * io.splat(SECOND));
                head = head * decay.at(io, frame);
                wires = wires * rattle.at(io, frame);
                let gain = gain.at(frame);
                drum.heard(tone * gain, noise * gain)
            },
        );
        drum.keep(state);
        state.set_bits(PHASES, phases[0]);
        state.set_bits(PHASES + 1, phases[1]);
        for (cell, value) in [(HEAD, head), (WIRES, wires), (LOW, low)] {
            state.set_flushed(cell, value);
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
        assert_drum::<Snare>();
    }

    #[test]
    fn its_head_has_two_modes() {
        for (tone, lower, upper) in [(0.0, 1.0, 0.0), (0.5, 0.5, 0.5), (1.0, 0.0, 1.0)] {
            let values = [("snap", 0.0), ("tone", tone), ("decay", 5_000.0)];
            let head = stroke::<Snare>(&values, 1.0, 4_800);
            // In a tenth of a second it falls by 1.2 dB.
            assert!((level(&head, 180.0) - 0.56 * lower).abs() < 0.02);
            assert!((level(&head, 330.0) - 0.56 * upper).abs() < 0.02);
        }
    }

    #[test]
    fn its_wires_fall_in_their_own_time() {
        let values = [("decay", 10.0), ("snap", 1.0), ("rattle", 1_000.0)];
        let wires = stroke::<Snare>(&values, 1.0, 48_000);
        let fell = rms(&wires[2_400..7_200]) / rms(&wires[26_400..31_200]);
        assert!((20.0 * libm::log10(fell) - 30.0).abs() < 1.0);
        let values = [("decay", 10.0), ("snap", 0.0), ("rattle", 1_000.0)];
        assert!(rms(&stroke::<Snare>(&values, 1.0, 48_000)[2_400..]) < 1e-4);
    }
}
