//! `seq`: a step sequencer of up to 16 steps.
//!
//! A rising edge at `clock`, or an event of `/gate/ID`, advances by one step. The first edge plays step 1, as does the
//! first edge after a rising edge at `reset`, even in the same frame. The gate is open as long as the clock's, in the
//! steps with a gate.

use super::{choice, linear};
use crate::{
    catalog::{ModuleType, Param, Scale},
    lanes::Lanes,
    module::{Edges, Io, Module, Outs, Shown, State},
};

pub struct Seq;

const STEPS: usize = 16;

// Parameters, after the steps.
const LENGTH: usize = STEPS;
const GATES: usize = STEPS + 1;
const RANGE: usize = STEPS + 2;

// Cells: the step, from 1, 0 before the first; the inputs `clock` and `reset` in the previous frame.
const STEP: usize = 0;
const CLOCK: usize = 1;
const RESET: usize = 2;
/// The gate of the module.
const SHOWN: usize = 3;

const fn step(name: &'static str) -> Param {
    linear(
        name,
        "",
        [-5.0, 0.0, 5.0],
        "value of the step; octaves for a pitch",
    )
}

impl Module for Seq {
    const TYPE: ModuleType = ModuleType {
        name: "seq",
        help: "step sequencer of up to 16 steps",
        inputs: &["clock", "reset"],
        outputs: &["cv", "gate"],
        params: &[
            step("step1"),
            step("step2"),
            step("step3"),
            step("step4"),
            step("step5"),
            step("step6"),
            step("step7"),
            step("step8"),
            step("step9"),
            step("step10"),
            step("step11"),
            step("step12"),
            step("step13"),
            step("step14"),
            step("step15"),
            step("step16"),
            Param {
                scale: Scale::Stepped,
                ..linear(
                    "length",
                    "steps",
                    [1.0, 8.0, 16.0],
                    "number of played steps",
                )
            },
            Param {
                scale: Scale::Stepped,
                ..linear(
                    "gates",
                    "",
                    [0.0, 65_535.0, 65_535.0],
                    "steps with a gate: the sum of 1 for step 1, 2 for step 2, 4, 8, … 32768",
                )
            },
            choice(
                "range",
                &["octaves", "unit"],
                "octaves: values unchanged; unit: values limited to 0 to 1",
            ),
        ],
        takes_gate: true,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = SHOWN + Shown::CELLS;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let (length, gates) = (io.param(LENGTH), io.param(GATES));
        let unit = io.param(RANGE).first().lane(0) >= 0.5;
        let (cv, gate) = outs.two();
        for channel in 0..L::N {
            let mut step = (*state.cell(STEP, channel) as usize).min(STEPS);
            let mut edges = Edges::<f32>::of((), io.gate, state.number(CLOCK, channel));
            let mut shown = Shown::load(|cell| *state.cell(SHOWN + cell, channel));
            let mut reset_before = state.number(RESET, channel);
            let read = |input: usize, frame: usize| match io.plugged(input) {
                true => io.input(input)[frame * L::N + channel],
                false => 0.0,
            };
            let mut signal = io.param(step.max(1) - 1);
            for frame in 0..io.frames {
                let (clock, reset) = (read(0, frame), read(1, frame));
                let clock = edges.next(frame, clock);
                let was = step;
                if reset_before <= 0.0 && reset > 0.0 {
                    step = 0;
                }
                if clock.opens {
                    let length = (length.at(frame).lane(channel) as usize).min(STEPS);
                    step = if step >= length { 1 } else { step + 1 };
                }
                reset_before = reset;
                if step != was {
                    signal = io.param(step.clamp(1, STEPS) - 1);
                }
                let value = signal.at(frame).lane(channel);
                let on = step > 0 && gates.at(frame).lane(channel) as u32 >> (step - 1) & 1 != 0;
                let to = frame * L::N + channel;
                cv[to] = if unit { value.clamp(0.0, 1.0) } else { value };
                if on && clock.opens {
                    shown.strike(1.0);
                }
                gate[to] = shown.next(f32::from(u8::from(on && clock.open)));
            }
            *state.cell(STEP, channel) = step as u32;
            state.set_number(CLOCK, channel, edges.before);
            shown.keep(|cell, bits| *state.cell(SHOWN + cell, channel) = bits);
            state.set_number(RESET, channel, reset_before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;

    const VALUES: [(&str, f32); 5] = [
        ("step1", 0.25),
        ("step2", -1.0),
        ("step3", 2.0),
        ("length", 3.0),
        ("gates", 5.0),
    ];

    /// Open for the first half of every 10 frames, from frame 5 on.
    fn clock(frames: usize) -> Vec<f32> {
        let open = |n: usize| n >= 5 && (n - 5) % 10 < 5;
        (0..frames).map(|n| f32::from(u8::from(open(n)))).collect()
    }

    #[test]
    fn each_rise_of_the_clock_goes_one_step_on() {
        for channels in [1, 3, 17] {
            let mut seq = Bench::poly::<Seq>(&VALUES, channels);
            let heard = seq.run(200, &[("clock", clock(200))]);
            for (cv, gate) in heard[..channels].iter().zip(&heard[channels..]) {
                for (n, (cv, gate)) in cv.iter().zip(gate).enumerate() {
                    let step = if n < 5 { 0 } else { (n - 5) / 10 % 3 };
                    assert_eq!(*cv, [0.25, -1.0, 2.0][step], "{n}");
                    let open = n >= 5 && (n - 5) % 10 < 5 && step != 1;
                    assert_eq!(*gate > 0.0, open, "{n}");
                }
            }
        }
    }

    #[test]
    fn after_a_reset_the_next_step_is_the_first() {
        for at in [20, 24, 25] {
            let mut seq = Bench::of::<Seq>(&VALUES);
            let reset = (0..100).map(|n| f32::from(u8::from(n == at))).collect();
            let heard = seq.run(100, &[("clock", clock(100)), ("reset", reset)]);
            assert_eq!(heard[0][19], -1.0);
            assert_eq!(heard[0][25..35], [0.25; 10], "reset at {at}");
            assert_eq!(heard[0][35..45], [-1.0; 10]);
        }
    }

    #[test]
    fn an_event_goes_on_too_and_a_unit_is_from_0_to_1() {
        let mut seq = Bench::of::<Seq>(&VALUES);
        seq.set("range", 1.0);
        let (shut, open) = ([0.0; 4], [1.0; 4]);
        // Its gate, that is open in two steps one after the other, is closed for a frame between them.
        let again = [0.0, 1.0, 1.0, 1.0];
        for (value, gate) in [(0.25, open), (0.0, shut), (1.0, open), (0.25, again)] {
            seq.gate(1.0);
            let heard = seq.run(4, &[]);
            assert_eq!(heard[0], [value; 4]);
            assert_eq!(heard[1], gate);
        }
    }
}
