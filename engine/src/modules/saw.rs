//! `saw`: a rising sawtooth with its edge rounded, so that it aliases less.

use super::oscillator;
use crate::{
    catalog::ModuleType,
    lanes::Lanes,
    math,
    module::{Io, Module, Outs, State},
};

pub struct Saw;

impl Module for Saw {
    const TYPE: ModuleType = ModuleType {
        name: "saw",
        help: "sawtooth oscillator, band-limited",
        inputs: oscillator::INPUTS,
        outputs: &["out"],
        params: &[oscillator::FREQ, oscillator::GAIN, oscillator::INDEX],
        takes_gate: false,
    };
    const CELLS: usize = oscillator::CELLS;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        oscillator::render(
            io,
            state,
            outs,
            #[inline(always)]
            |phase, step, _| {
                let turn = math::turns(io, phase);
                let step = L::of_signed(step) * io.splat(1.0 / math::TURN);
                turn + turn - io.splat(1.0) + oscillator::edge(io, turn, step)
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, level};

    fn heard(hz: f32) -> Vec<f32> {
        Bench::of::<Saw>(&[("freq", hz), ("gain", 1.0)])
            .run(48_000, &[])
            .remove(0)
    }

    #[test]
    fn its_partials_fall_as_one_over_n() {
        let saw = heard(100.0);
        for partial in 1..20 {
            let (n, exact) = (f64::from(partial), 2.0 / std::f64::consts::PI);
            let found = level(&saw, 100.0 * n) * n;
            assert!(
                (found / exact - 1.0).abs() < 0.02,
                "partial {partial}: {found}, {exact}"
            );
        }
    }

    #[test]
    fn it_aliases_far_less_than_a_plain_ramp() {
        // The tenth partial of 4.7 kHz comes down at 1 kHz: 0.064 of a plain ramp.
        let alias = level(&heard(4_700.0), 1_000.0);
        assert!(alias < 0.01, "{alias}");
    }
}
