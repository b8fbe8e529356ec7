//! `vca`: an amplifier whose level is a parameter plus a signal.

use super::linear;
use crate::{
    catalog::ModuleType,
    lanes::Lanes,
    module::{Io, Module, Outs, State},
};

pub struct Vca;

impl Module for Vca {
    const TYPE: ModuleType = ModuleType {
        name: "vca",
        help: "amplifier: its level is the parameter plus the input cv",
        inputs: &["in", "cv"],
        outputs: &["out"],
        params: &[linear("level", "", [0.0, 0.0, 1.0], "level at a cv of 0")],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, _: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let (level, [input, cv]) = (io.param(0), io.inputs());
        outs.write(
            0,
            #[inline(always)]
            |frame| input.at(frame) * (level.at(frame) + cv.at(frame)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;

    #[test]
    fn it_multiplies() {
        let mut vca = Bench::of::<Vca>(&[("level", 0.25)]);
        let inputs = [("in", vec![0.5, -1.0]), ("cv", vec![0.5, 0.25])];
        assert_eq!(vca.run(2, &inputs)[0], [0.375, -0.5]);
    }
}
