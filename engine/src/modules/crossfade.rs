//! `crossfade`: mixes two sounds.
//!
//! The equal-power law keeps the loudness of two uncorrelated sounds constant, the linear law that of two similar
//! sounds.
//!
//! # Source
//! Curtis Roads, The Computer Music Tutorial, 1996 (as `pan`).

use super::{choice, linear, pan};
use crate::{
    catalog::ModuleType,
    lanes::{Lanes, Mask, inlined},
    module::{Io, Module, Outs, State},
    smooth::GLIDE_MS,
};

pub struct Crossfade;

/// The share of the linear law, which glides.
const LINEAR: usize = 0;

impl Module for Crossfade {
    const TYPE: ModuleType = ModuleType {
        name: "crossfade",
        help: "mixes two sounds",
        inputs: &["a", "b"],
        outputs: &["out"],
        params: &[
            linear("mix", "", [0.0, 0.5, 1.0], "from a (0) to b (1)"),
            choice(
                "law",
                &["power", "linear"],
                "power: constant loudness of unrelated sounds; linear: of similar ones",
            ),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = 1;

    fn start(_: usize, params: &[f32], cells: &mut [u32]) {
        cells[LINEAR] = params[1].to_bits();
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let (mix, [first, second]) = (io.param(0), io.inputs());
        let wanted = io.splat(io.param(1).first().lane(0));
        let (zero, one) = (io.splat(0.0), io.splat(1.0));
        let step = one / (io.splat(io.context.rate_hz * GLIDE_MS / 1000.0)).max(one);
        let mut linear = state.get(LINEAR).max(zero).min(one);
        let changes = (linear.lt(wanted) | wanted.lt(linear)).any();
        let gains = inlined(
            #[inline(always)]
            |mix: L, linear: L| {
                let [a, b] = pan::equal_power(io, mix);
                [a + (one - mix - a) * linear, b + (mix - b) * linear]
            },
        );
        let [a, b] = gains(mix.first(), linear);
        let still = mix.still().is_some() && !changes;
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                let [a, b] = match still {
                    true => [a, b],
                    false => gains(mix.at(frame), linear),
                };
                linear = linear + (wanted - linear).min(step).max(-step);
                first.at(frame) * a + second.at(frame) * b
            },
        );
        state.set(LINEAR, linear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, step_max};

    #[test]
    fn it_is_either_law() {
        for mix in [0.0, 0.2, 0.5, 1.0] {
            let angle = f64::from(mix) * std::f64::consts::FRAC_PI_2;
            let expected = [
                0.8 * libm::cos(angle) - 0.6 * libm::sin(angle),
                0.8 * (1.0 - f64::from(mix)) - 0.6 * f64::from(mix),
            ];
            for (law, expected) in expected.into_iter().enumerate() {
                let values = [("mix", mix), ("law", law as f32)];
                let mut fade = Bench::of::<Crossfade>(&values);
                let heard = fade.run(100, &[("a", vec![0.8; 100]), ("b", vec![-0.6; 100])]);
                for heard in &heard[0] {
                    assert!((f64::from(*heard) - expected).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn no_change_clicks() {
        let mut fade = Bench::of::<Crossfade>(&[]);
        let mut heard = Vec::new();
        for (name, value) in [("law", 1.0), ("mix", 1.0), ("mix", 0.3), ("law", 0.0)] {
            let ones = [("a", vec![1.0; 500]), ("b", vec![1.0; 500])];
            heard.extend(fade.run(500, &ones).remove(0));
            fade.set(name, value);
        }
        assert!(step_max(&heard) < 0.005, "{}", step_max(&heard));
    }
}
