//! `split`: separates the channels of a cable.
//!
//! Outputs beyond the channels of the input are silent; channels beyond the outputs are dropped.

use crate::{
    catalog::ModuleType,
    lanes::Lanes,
    module::{Io, Module, Outs, Polyphony, State},
};

pub struct Split;

impl Module for Split {
    const TYPE: ModuleType = ModuleType {
        name: "split",
        help: "the channels of a cable, each at an output",
        inputs: &["in"],
        outputs: &[
            "out1", "out2", "out3", "out4", "out5", "out6", "out7", "out8", "out9", "out10",
            "out11", "out12", "out13", "out14", "out15", "out16",
        ],
        params: &[],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const POLYPHONY: Polyphony = Polyphony::Split;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, _: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        // The first group also writes the outputs without a channel.
        for output in io.first_channel..outs.count() {
            let channel = output - io.first_channel;
            if channel >= io.channels {
                outs.samples(output).fill(0.0);
                continue;
            }
            let from = io.input(0).chunks_exact(L::N);
            for (to, from) in outs.samples(output).iter_mut().zip(from) {
                *to = from[channel];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;

    #[test]
    fn each_output_is_its_channel_or_silent() {
        for channels in [1, 2, 3, 8, 9, 16, 17, 32] {
            let mut split = Bench::poly::<Split>(&[], channels);
            let signals = (0..channels).map(|channel| vec![1.0 + channel as f32; 3]);
            let heard = split.run_poly(3, &[("in", signals.collect())]);
            assert_eq!(heard.len(), 16);
            for (output, heard) in heard.iter().enumerate() {
                let there = output < channels;
                let expected = if there { 1.0 + output as f32 } else { 0.0 };
                assert_eq!(heard, &[expected; 3], "{output} of {channels}");
            }
        }
    }
}
