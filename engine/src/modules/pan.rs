//! `pan`: constant-power panning between two outputs.
//!
//! # Source
//! Curtis Roads, The Computer Music Tutorial, 1996: constant power panning (the two gains are the
//! cosine and the sine of one angle, so that their squares add up to 1).

use super::linear;
use crate::{
    catalog::ModuleType,
    lanes::{Bits, Lanes, inlined},
    math,
    module::{Io, Module, Outs, State},
};

pub struct Pan;

/// The cosine and the sine of `part` (0 to 1) of a quarter cycle.
#[inline(always)]
pub fn equal_power<L: Lanes>(io: &Io<'_, L>, part: L) -> [L; 2] {
    // Rounded to 2^-24 of a cycle, the resolution of a float.
    let angle = (part * io.splat(4_194_304.0)).truncate().up(8);
    let quarter = io.splat_bits(1 << 30);
    [math::sine(io, quarter - angle), math::sine(io, angle)]
}

impl Module for Pan {
    const TYPE: ModuleType = ModuleType {
        name: "pan",
        help: "panorama between left and right, with constant power",
        inputs: &["in"],
        outputs: &["left", "right"],
        params: &[linear(
            "pan",
            "",
            [-1.0, 0.0, 1.0],
            "from left (-1) to right (1); -3 dB on both sides in the centre",
        )],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, _: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let (pan, [input]) = (io.param(0), io.inputs());
        let gains = inlined(
            #[inline(always)]
            |pan: L| equal_power(io, pan * io.splat(0.5) + io.splat(0.5)),
        );
        let still = pan.still();
        let [left, right] = gains(pan.first());
        let (to_left, to_right) = outs.two();
        let both = to_left
            .chunks_exact_mut(L::N)
            .zip(to_right.chunks_exact_mut(L::N));
        for (frame, (to_left, to_right)) in both.enumerate() {
            let x = input.at(frame);
            let [left, right] = match still {
                Some(_) => [left, right],
                None => gains(pan.at(frame)),
            };
            (x * left).store(to_left);
            (x * right).store(to_right);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, step_max};

    #[test]
    fn its_power_is_the_same_everywhere() {
        for place in [-1.0, -0.7, -0.1, 0.0, 0.3, 1.0] {
            let mut pan = Bench::of::<Pan>(&[("pan", place)]);
            let heard = pan.run(2, &[("in", vec![1.0, -0.5])]);
            let (left, right) = (heard[0][0], heard[1][0]);
            assert!((left * left + right * right - 1.0).abs() < 1e-6, "{place}");
            let angle = (f64::from(place) + 1.0) * std::f64::consts::FRAC_PI_4;
            assert!((f64::from(left) - libm::cos(angle)).abs() < 1e-6);
            assert!((f64::from(right) - libm::sin(angle)).abs() < 1e-6);
            assert_eq!(heard[0][1], -0.5 * left);
            if place.abs() == 1.0 {
                assert_eq!(left.min(right), 0.0);
            }
        }
    }

    #[test]
    fn a_jump_of_place_does_not_click() {
        let mut pan = Bench::of::<Pan>(&[("pan", -1.0)]);
        let ones = || [("in", vec![1.0; 500])];
        let mut heard = pan.run(500, &ones()).remove(1);
        pan.set("pan", 1.0);
        heard.extend(pan.run(500, &ones()).remove(1));
        assert!(heard[999] > 0.999_999 && step_max(&heard) < 0.005);
    }
}
