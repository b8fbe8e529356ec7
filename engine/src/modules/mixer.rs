//! `mixer`: sums four inputs, each with its level. (Several cables into one input are always summed.)

use super::linear;
use crate::{
    catalog::ModuleType,
    lanes::{Lanes, inlined},
    module::{Io, Module, Outs, State},
};

pub struct Mixer;

impl Module for Mixer {
    const TYPE: ModuleType = ModuleType {
        name: "mixer",
        help: "sum of four inputs, each with its level",
        inputs: &["in1", "in2", "in3", "in4"],
        outputs: &["out"],
        params: &[
            linear("level1", "", [0.0, 1.0, 1.0], "level of in1"),
            linear("level2", "", [0.0, 1.0, 1.0], "level of in2"),
            linear("level3", "", [0.0, 1.0, 1.0], "level of in3"),
            linear("level4", "", [0.0, 1.0, 1.0], "level of in4"),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, _: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let (levels, inputs) = (io.params::<4>(), io.inputs::<4>());
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                let part = inlined(
                    #[inline(always)]
                    |input: usize| inputs[input].at(frame) * levels[input].at(frame),
                );
                part(0) + part(1) + part(2) + part(3)
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;

    #[test]
    fn it_adds_up() {
        let levels = [("level2", 0.5), ("level3", 0.25), ("level4", 0.0)];
        let mut mixer = Bench::of::<Mixer>(&levels);
        let inputs = ["in1", "in2", "in3", "in4"].map(|input| (input, vec![1.0, 2.0]));
        assert_eq!(mixer.run(2, &inputs)[0], [1.75, 3.5]);
    }
}
