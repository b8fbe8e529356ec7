//! `math`: arithmetic with two signals.
//!
//! `offset_a` and `offset_b` are added to the inputs; an input without a cable is therefore a constant. The output is
//! finite for any input.

use super::{choice, discontinuity, linear};
use crate::{
    catalog::ModuleType,
    lanes::{Lanes, inlined},
    module::{Io, Module, Outs, State},
};

pub struct Math;

const OPERATIONS: &[&str] = &[
    "add", "subtract", "multiply", "divide", "min", "max", "average", "abs", "invert", "square",
    "root", "floor", "greater",
];

/// The least magnitude of a divisor: the output is at most a thousand times the input.
const DIVISOR_MIN: f32 = 0.001;

impl Module for Math {
    const TYPE: ModuleType = ModuleType {
        name: "math",
        help: "arithmetic with two signals, or with one and a constant",
        inputs: &["a", "b"],
        outputs: &["out"],
        params: &[
            choice(
                "op",
                OPERATIONS,
                "operation; abs, invert, square, root (of the magnitude) and floor use a only; greater: 1 if a > b, else 0",
            ),
            linear("offset_a", "", [-100.0, 0.0, 100.0], "constant added to a"),
            linear("offset_b", "", [-100.0, 0.0, 100.0], "constant added to b"),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = discontinuity::CELLS;

    fn start(_: usize, params: &[f32], cells: &mut [u32]) {
        cells[0] = params[0] as u32;
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let operation = io.param(0).first().lane(0) as u32;
        let (offset_a, offset_b) = (io.param(1), io.param(2));
        let [first, second] = io.inputs();
        let mut discontinuity = discontinuity::Discontinuity::begin(io, state, 0, operation);
        let (zero, one) = (io.splat(0.0), io.splat(1.0));
        let (least, half) = (io.splat(DIVISOR_MIN), io.splat(0.5));
        let result = inlined(
            #[inline(always)]
            |a: L, b: L| match operation {
                0 => a + b,
                1 => a - b,
                2 => a * b,
                3 => {
                    let divisor = L::select(b.lt(zero), (-least).min(b), least.max(b));
                    a / divisor
                }
                4 => a.min(b),
                5 => a.max(b),
                6 => (a + b) * half,
                7 => a.abs(),
                8 => -a,
                9 => a * a,
                10 => a.abs().sqrt(),
                11 => a.floor(),
                _ => L::select(b.lt(a), one, zero),
            },
        );
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                let a = first.at(frame) + offset_a.at(frame);
                let b = second.at(frame) + offset_b.at(frame);
                discontinuity.next(io, result(a, b))
            },
        );
        discontinuity.end(io, state, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, step_max};

    #[test]
    fn each_operation_is_its_formula() {
        let a = vec![0.5, -1.25, 2.0, 0.0, 1.0];
        let b = vec![0.25, -0.5, -4.0, 0.0, 1e-9];
        let expected: [[f32; 5]; 13] = [
            [0.75, -1.75, -2.0, 0.0, 1.0],
            [0.25, -0.75, 6.0, 0.0, 1.0],
            [0.125, 0.625, -8.0, 0.0, 1e-9],
            [2.0, 2.5, -0.5, 0.0, 1_000.0],
            [0.25, -1.25, -4.0, 0.0, 1e-9],
            [0.5, -0.5, 2.0, 0.0, 1.0],
            [0.375, -0.875, -1.0, 0.0, 0.5],
            [0.5, 1.25, 2.0, 0.0, 1.0],
            [-0.5, 1.25, -2.0, 0.0, -1.0],
            [0.25, 1.5625, 4.0, 0.0, 1.0],
            [0.5_f32.sqrt(), 1.25_f32.sqrt(), 2.0_f32.sqrt(), 0.0, 1.0],
            [0.0, -2.0, 2.0, 0.0, 1.0],
            [1.0, 0.0, 1.0, 0.0, 1.0],
        ];
        for (operation, expected) in expected.into_iter().enumerate() {
            for channels in [1, 3] {
                let mut math = Bench::poly::<Math>(&[("op", operation as f32)], channels);
                let heard = math.run(5, &[("a", a.clone()), ("b", b.clone())]);
                for channel in heard {
                    let name = OPERATIONS[operation];
                    let near = |(x, y): (&f32, &f32)| (x - y).abs() <= 1e-6 * y.abs();
                    assert!(
                        channel.iter().zip(&expected).all(near),
                        "{name}: {channel:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_input_without_a_cable_is_a_constant() {
        let values = [("op", 2.0), ("offset_b", 3.0), ("offset_a", 1.0)];
        let mut math = Bench::of::<Math>(&values);
        assert_eq!(math.run(2, &[("a", vec![1.0, 2.0])])[0], [6.0, 9.0]);
    }

    #[test]
    fn a_change_of_operation_does_not_click() {
        let mut math = Bench::of::<Math>(&[("offset_a", 0.5), ("offset_b", 0.5)]);
        let mut heard = math.run(500, &[]).remove(0);
        for operation in (1..13).rev() {
            math.set("op", operation as f32);
            heard.extend(math.run(200, &[]).remove(0));
        }
        assert!(step_max(&heard) < 0.006, "{}", step_max(&heard));
    }
}
