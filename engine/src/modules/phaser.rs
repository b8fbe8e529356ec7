//! `phaser`: moving notches.
//!
//! Six first-order all-pass filters in series, mixed with the input: at frequencies with a phase shift of half a cycle
//! the two cancel out. The feedback has no delay; its equation is solved in each frame.
//!
//! # Source
//! Julius O. Smith, Physical Audio Signal Processing, "Phasing with First-Order Allpass Filters",
//! <https://ccrma.stanford.edu/~jos/pasp/>; Vadim Zavalishin, The Art of VA Filter Design, 2018, 6.1.

use super::{linear, log};
use crate::{
    catalog::ModuleType,
    lanes::{Lanes, inlined},
    math,
    module::{Io, Module, Outs, State},
};

pub struct Phaser;

const STAGES: usize = 6;
/// Cells: the stages, and the phase of the sweep.
const PHASE: usize = STAGES;

impl Module for Phaser {
    const TYPE: ModuleType = ModuleType {
        name: "phaser",
        help: "notches that move up and down",
        inputs: &["in"],
        outputs: &["out"],
        params: &[
            log("rate", "Hz", [0.01, 0.4, 20.0], "frequency of the sweep"),
            log(
                "center",
                "Hz",
                [50.0, 800.0, 8_000.0],
                "centre of the sweep",
            ),
            linear(
                "depth",
                "octaves",
                [0.0, 1.5, 4.0],
                "range of the sweep, up and down",
            ),
            linear(
                "feedback",
                "",
                [-0.95, 0.5, 0.95],
                "feedback: sharpness of the notches",
            ),
            linear(
                "mix",
                "",
                [0.0, 0.5, 1.0],
                "from dry (0) to phase-shifted only (1)",
            ),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = STAGES + 1;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let [rate, center, depth, feedback, mix] = io.params();
        let mut z: [L; STAGES] = state.several(0);
        let mut phase = state.bits(PHASE);
        let one = io.splat(1.0);
        let step = inlined(
            #[inline(always)]
            |frame: usize| math::step(io, rate.at(frame)),
        );
        let still_step = step(0);
        let moves = rate.still().is_none();
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                let by = if moves { step(frame) } else { still_step };
                let octaves = math::sine(io, phase) * depth.at(frame);
                phase = phase + by;
                let go = math::one_pole(io, center.at(frame) * math::exp2(io, octaves));
                // The weights of the input and of the state of a stage in its output.
                let through = go + go - one;
                let mut keeps = one - go;
                keeps = keeps + keeps;
                let mut rest = io.splat(0.0);
                let mut all = one;
                for z in &z {
                    rest = rest * through + keeps * *z;
                    all = all * through;
                }
                let x = io.at(0, frame);
                let back = feedback.at(frame);
                let mut y = (x + back * rest) / (one - back * all);
                for z in &mut z {
                    let turned = through * y + keeps * *z;
                    // Twice the low-pass is the input and the output together.
                    *z = (y + turned) - *z;
                    y = turned;
                }
                x + (y - x) * mix.at(frame)
            },
        );
        for (stage, z) in z.into_iter().enumerate() {
            state.set_flushed(stage, z);
        }
        state.set_bits(PHASE, phase);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, alone, gain_at, noise, step_max};

    #[test]
    fn its_response_is_the_formulas() {
        for feedback in [0.0, 0.7, -0.7] {
            let values = [("depth", 0.0), ("center", 1_000.0), ("feedback", feedback)];
            let mut input = vec![0.0; 48_000];
            input[0] = 1.0;
            let out = Bench::of::<Phaser>(&values).run(input.len(), &[("in", input)]);
            // Notches: where six stages shift the phase by half a cycle, or three halves of one.
            let tan = |hz: f64| libm::tan(std::f64::consts::PI * hz / 48_000.0);
            for hz in [50.0, 268.0, 700.0, 1_001.0, 3_700.0, 15_000.0] {
                let cycle = -12.0 * libm::atan(tan(hz) / tan(1_000.0));
                let (re, im) = (libm::cos(cycle), libm::sin(cycle));
                // (1 + a / (1 - fa)) / 2 = (1 + a (1 - f)) / (1 - fa) / 2
                let f = f64::from(feedback);
                let top = [1.0 + re * (1.0 - f), im * (1.0 - f)];
                let below = [1.0 - f * re, -f * im];
                let size = |c: [f64; 2]| (c[0] * c[0] + c[1] * c[1]).sqrt();
                let expected = size(top) / size(below) / 2.0;
                let found = gain_at(&out[0], hz);
                assert!(
                    (found - expected).abs() < 1e-3,
                    "{feedback} {hz}: {found} {expected}"
                );
            }
            // 1 kHz times the tangent of a twelfth of half a cycle.
            let notch = gain_at(&out[0], 268.1);
            assert!(feedback != 0.0 || notch < 2e-3, "{notch}");
        }
    }

    #[test]
    fn it_stays_bounded_and_no_jump_clicks() {
        let values = [("rate", 20.0), ("depth", 4.0), ("feedback", 0.95)];
        let mut phaser = Bench::of::<Phaser>(&values);
        let out = phaser.run(48_000, &[("in", noise(1, 48_000))]);
        assert!(out[0].iter().all(|x| x.abs() < 20.0));
        let mut phaser = Bench::of::<Phaser>(&[]);
        let mut heard = Vec::new();
        for (param, value) in [
            ("feedback", -0.5),
            ("center", 100.0),
            ("depth", 3.0),
            ("mix", 0.0),
        ] {
            let input = (heard.len()..heard.len() + 2_048)
                .map(|n| libm::sin(n as f64 * std::f64::consts::TAU / 480.0) as f32)
                .collect();
            heard.extend(phaser.run(2_048, &[("in", input)]).remove(0));
            phaser.set(param, value);
        }
        assert!(step_max(&heard) < 0.08, "{}", step_max(&heard));
    }

    #[test]
    fn each_channel_is_turned_as_if_it_were_alone() {
        alone::<Phaser>(&[("rate", 10.0)], &["in"]);
        alone::<Phaser>(&[("rate", 10.0)], &["in", "rate", "center"]);
    }
}
