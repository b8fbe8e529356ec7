//! `slew`: a slew limiter: follows its input with a limited slope; for portamento, or to make an envelope of a gate.
//!
//! The step of a frame may be smaller than the resolution of the float; the rounding error is carried over to the next
//! frame, so that long times are exact.
//!
//! # Source
//! The carry: William Kahan, Further remarks on reducing truncation errors, 1965.

use super::log;
use crate::{
    catalog::ModuleType,
    lanes::{Lanes, inlined},
    module::{Io, Module, Outs, State},
};

pub struct Slew;

const LEVEL: usize = 0;
const CARRY: usize = 1;

impl Module for Slew {
    const TYPE: ModuleType = ModuleType {
        name: "slew",
        help: "follows its input with a limited slope",
        inputs: &["in"],
        outputs: &["out"],
        params: &[
            log("rise", "ms", [0.0, 100.0, 60_000.0], "time to rise by 1"),
            log("fall", "ms", [0.0, 100.0, 60_000.0], "time to fall by 1"),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = 2;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let (rise, fall) = (io.param(0), io.param(1));
        // The largest step per frame; practically unlimited for a time of 0.
        let most = inlined(
            #[inline(always)]
            |ms: L| io.splat(1000.0 / io.context.rate_hz) / ms.max(io.splat(1e-9)),
        );
        let still = rise.still().is_some() && fall.still().is_some();
        let (mut up, mut down) = (most(rise.first()), most(fall.first()));
        let zero = io.splat(0.0);
        let (mut level, mut carry) = (state.get(LEVEL), state.get(CARRY));
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                if !still {
                    (up, down) = (most(rise.at(frame)), most(fall.at(frame)));
                }
                let wanted = io.at(0, frame);
                let way = wanted - level;
                let near = way.le(up) & (-down).le(way);
                let by = way.min(up).max(-down) + carry;
                let next = level + by;
                carry = L::select(near, zero, by - (next - level));
                level = L::select(near, wanted, next);
                level
            },
        );
        state.set_flushed(LEVEL, level);
        state.set_flushed(CARRY, carry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;

    #[test]
    fn it_rises_and_falls_in_its_times() {
        for channels in [1, 3] {
            let mut slew = Bench::poly::<Slew>(&[("rise", 10.0), ("fall", 20.0)], channels);
            let input = (0..2_000).map(|n| f32::from(u8::from(n < 1_000))).collect();
            for heard in slew.run(2_000, &[("in", input)]) {
                for (n, heard) in heard[..480].iter().enumerate() {
                    let exact = (n + 1) as f32 / 480.0;
                    assert!((heard - exact).abs() < 1e-5, "{n}: {heard}");
                }
                assert_eq!(heard[480..1_000], [1.0; 520]);
                assert!((heard[1_479] - 0.5).abs() < 1e-5);
                assert!(heard[1_958] > 1e-3 && heard[1_960..] == [0.0; 40]);
            }
        }
    }

    #[test]
    fn a_minute_lasts_a_minute_far_from_0() {
        let mut slew = Bench::of::<Slew>(&[("rise", 60_000.0), ("fall", 0.0)]);
        // At once down to -5, then up by 1/60 a second.
        assert_eq!(slew.run(1, &[("in", vec![-5.0])])[0], [-5.0]);
        let heard = slew.run(480_000, &[("in", vec![5.0; 480_000])]).remove(0);
        assert!((heard[479_999] + 5.0 - 10.0 / 60.0).abs() < 2e-6);
    }

    #[test]
    fn no_time_is_no_delay() {
        let mut slew = Bench::of::<Slew>(&[("rise", 0.0), ("fall", 0.0)]);
        let input = vec![3.0, -70.0, 0.25, 1e-3];
        assert_eq!(slew.run(4, &[("in", input.clone())])[0], input);
    }
}
