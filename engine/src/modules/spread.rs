//! `spread`: one signal in several channels, with a constant offset from one channel to the next; a pitch becomes a
//! detuned unison. The patch sets the number of channels (`channels`).

use super::linear;
use crate::{
    catalog::ModuleType,
    lanes::{LANES_MAX, Lanes},
    module::{Io, Module, Outs, State},
};

pub struct Spread;

impl Module for Spread {
    const TYPE: ModuleType = ModuleType {
        name: "spread",
        help: "one signal in several channels, with a constant offset between channels",
        inputs: &["in"],
        outputs: &["out"],
        params: &[linear(
            "step",
            "",
            [-1.0, 0.01, 1.0],
            "offset from one channel to the next; octaves for a pitch",
        )],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, _: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let (step, [input]) = (io.param(0), io.inputs());
        let mut numbers = [0.0; LANES_MAX];
        for (channel, number) in numbers[..L::N].iter_mut().enumerate() {
            *number = (io.first_channel + channel) as f32;
        }
        let numbers = L::load(io.token, &numbers[..L::N]);
        if let (Some(x), Some(step)) = (io.still(0), step.still()) {
            outs.hold(0, x + step * numbers);
            return;
        }
        outs.write(
            0,
            #[inline(always)]
            |frame| input.at(frame) + step.at(frame) * numbers,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, step_max};

    #[test]
    fn each_channel_is_a_step_further() {
        for channels in [1, 3, 8, 9, 32] {
            let mut spread = Bench::poly::<Spread>(&[("step", 0.25)], channels);
            let signal: Vec<f32> = (0..100).map(|n| n as f32 * 0.5).collect();
            let heard = spread.run(100, &[("in", signal.clone())]);
            for (channel, heard) in heard.iter().enumerate() {
                let exact = |x: &f32| x + 0.25 * channel as f32;
                assert_eq!(*heard, signal.iter().map(exact).collect::<Vec<f32>>());
            }
        }
    }

    #[test]
    fn a_change_of_the_step_glides() {
        let mut spread = Bench::poly::<Spread>(&[("step", 0.0)], 3);
        let mut heard = spread.run(100, &[]).remove(2);
        spread.set("step", 1.0);
        heard.extend(spread.run(500, &[]).remove(2));
        assert!(heard[599] == 2.0 && step_max(&heard) < 0.007);
    }
}
