//! `sample_hold`: samples its input when the gate opens and holds the value; or, in mode `track`, follows the input
//! while the gate is open and holds the last value.

use super::choice;
use crate::{
    catalog::ModuleType,
    lanes::Lanes,
    module::{Io, Module, Outs, State},
};

pub struct SampleHold;

const HELD: usize = 0;
/// The gate in the previous frame.
const GATE: usize = 1;

impl Module for SampleHold {
    const TYPE: ModuleType = ModuleType {
        name: "sample_hold",
        help: "holds the input at the opening of the gate",
        inputs: &["in", "gate"],
        outputs: &["out"],
        params: &[choice(
            "mode",
            &["sample", "track"],
            "sample: take the input when the gate opens; track: follow the input while it is open",
        )],
        takes_gate: true,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = 2;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let tracks = io.param(0).first().lane(0) >= 0.5;
        let mut held = state.get(HELD);
        let mut edges = io.edges(state.get(GATE));
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                let edge = edges.next(frame, io.at(1, frame));
                let takes = if tracks { edge.open } else { edge.opens };
                held = L::select(takes, io.at(0, frame), held);
                held
            },
        );
        state.set_flushed(HELD, held);
        state.set(GATE, edges.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;

    fn ramp() -> Vec<f32> {
        (0..200).map(|n| n as f32).collect()
    }

    /// Open from frame 10 to 19 and from 100 to 149.
    fn gate() -> Vec<f32> {
        let open = |n: usize| (10..20).contains(&n) || (100..150).contains(&n);
        (0..200).map(|n| f32::from(u8::from(open(n)))).collect()
    }

    #[test]
    fn it_takes_the_frame_in_which_the_gate_opens() {
        for channels in [1, 4] {
            let mut hold = Bench::poly::<SampleHold>(&[], channels);
            for heard in hold.run(200, &[("in", ramp()), ("gate", gate())]) {
                assert_eq!(heard[..10], [0.0; 10]);
                assert_eq!(heard[10..100], [10.0; 90]);
                assert_eq!(heard[100..], [100.0; 100]);
            }
        }
    }

    #[test]
    fn it_follows_while_the_gate_is_open() {
        let mut hold = Bench::of::<SampleHold>(&[("mode", 1.0)]);
        let heard = hold.run(200, &[("in", ramp()), ("gate", gate())]).remove(0);
        assert_eq!(heard[10..20], ramp()[10..20]);
        assert_eq!(heard[20..100], [19.0; 80]);
        assert_eq!(heard[199], 149.0);
    }

    #[test]
    fn an_event_opens_it_again_and_again() {
        let mut hold = Bench::of::<SampleHold>(&[]);
        for value in [0.25, -0.5] {
            hold.gate(1.0);
            assert_eq!(hold.run(3, &[("in", vec![value, 9.0, 9.0])])[0], [value; 3]);
        }
        hold.gate(0.0);
        assert_eq!(hold.run(1, &[("in", vec![9.0])])[0], [-0.5]);
    }
}
