//! `merge`: combines single channels to one cable.
//!
//! The number of channels is that of the last input with a cable; inputs without a cable before it are silent. From a
//! cable of several channels the module takes the first.

use crate::{
    catalog::ModuleType,
    lanes::Lanes,
    module::{Io, Module, Outs, Polyphony, State},
};

pub struct Merge;

/// The number of inputs, and the limit of channels.
const INPUTS: usize = 16;

impl Module for Merge {
    const TYPE: ModuleType = ModuleType {
        name: "merge",
        help: "one cable of several channels, one from each input",
        inputs: &[
            "in1", "in2", "in3", "in4", "in5", "in6", "in7", "in8", "in9", "in10", "in11", "in12",
            "in13", "in14", "in15", "in16",
        ],
        outputs: &["out"],
        params: &[],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const POLYPHONY: Polyphony = Polyphony::Merge;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, _: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let out = outs.samples(0);
        for channel in 0..L::N {
            let input = io.first_channel + channel;
            if input >= INPUTS || channel >= io.channels {
                for to in out.chunks_exact_mut(L::N) {
                    to[channel] = 0.0;
                }
                continue;
            }
            for (frame, to) in out.chunks_exact_mut(L::N).enumerate() {
                to[channel] = io.first_channel_of(input, frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;

    #[test]
    fn each_channel_is_the_first_of_its_input() {
        let mut merge = Bench::poly::<Merge>(&[], 3);
        let cable = |value: f32| vec![vec![value; 2], vec![9.0; 2], vec![9.0; 2]];
        let heard = merge.run_poly(2, &[("in1", cable(0.5)), ("in3", cable(-1.0))]);
        assert_eq!(heard, [[0.5; 2], [0.0; 2], [-1.0; 2]]);
    }
}
