//! `sum`: sums all channels of a cable to one.

use super::linear;
use crate::{
    catalog::ModuleType,
    lanes::Lanes,
    module::{Io, Module, Outs, Polyphony, State},
};

pub struct Sum;

impl Module for Sum {
    const TYPE: ModuleType = ModuleType {
        name: "sum",
        help: "sum of all channels of a cable",
        inputs: &["in"],
        outputs: &["out"],
        params: &[linear("gain", "", [0.0, 1.0, 1.0], "level")],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const POLYPHONY: Polyphony = Polyphony::Summed;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, _: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let (gain, [input]) = (io.param(0), io.inputs());
        outs.write(
            0,
            #[inline(always)]
            |frame| input.at(frame) * gain.at(frame),
        );
    }
}
