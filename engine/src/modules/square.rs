//! `square`: a pulse of any width with rounded edges, which reduces aliasing.
//!
//! The wave is 1 from the begin of the cycle for its width, then -1. As for every pulse, its mean is not 0 for a width
//! other than one half.
//!
//! # Source
//! The difference of two sawtooths; their edges as in [`super::oscillator::edge`].

use super::{linear, oscillator};
use crate::{
    catalog::ModuleType,
    lanes::{Bits, Lanes},
    math,
    module::{Io, Module, Outs, State},
};

pub struct Square;

const WIDTH: usize = 3;

impl Module for Square {
    const TYPE: ModuleType = ModuleType {
        name: "square",
        help: "square or pulse oscillator, band-limited",
        inputs: oscillator::INPUTS,
        outputs: &["out"],
        params: &[
            oscillator::FREQ,
            oscillator::GAIN,
            oscillator::INDEX,
            linear(
                "width",
                "",
                [0.01, 0.5, 0.99],
                "width of the pulse, as a fraction of the cycle",
            ),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = oscillator::CELLS;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let width = io.param(WIDTH);
        let one = io.splat(1.0);
        oscillator::render(
            io,
            state,
            outs,
            #[inline(always)]
            |phase, steps, frame| {
                let width = (width.at(frame) * io.splat(16_777_216.0)).truncate().up(8);
                let above = math::cycles(io, phase).lt(math::cycles(io, width));
                let plain = L::select(above, one, -one);
                plain - oscillator::edge(io, phase, steps)
                    + oscillator::edge(io, phase - width, steps)
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bench::{Bench, level, step_max},
        modules::oscillator::tests::{alias, assert_in_tune, assert_synced_without_noise, heard},
    };

    #[test]
    fn it_is_in_tune() {
        assert_in_tune::<Square>(&[]);
        assert_in_tune::<Square>(&[("width", 0.2)]);
    }

    #[test]
    fn its_partials_follow_from_its_width() {
        for width in [0.01, 0.1, 0.25, 0.5, 0.75, 0.99] {
            let square = heard::<Square>(&[("width", width)], 100.0, 48_000);
            let mean = square.iter().copied().map(f64::from).sum::<f64>() / 48_000.0;
            assert!((mean - (2.0 * f64::from(width) - 1.0)).abs() < 1e-3);
            for partial in 1..20 {
                let n = f64::from(partial) * std::f64::consts::PI;
                let exact = (4.0 / n * libm::sin(n * f64::from(width))).abs();
                let found = level(&square, 100.0 * f64::from(partial));
                assert!(
                    (found - exact).abs() < 0.002 + 0.02 * exact,
                    "{width}, partial {partial}: {found}, {exact}"
                );
            }
        }
    }

    #[test]
    fn it_aliases_far_less_than_a_plain_pulse() {
        for width in [0.5, 0.3] {
            let square = heard::<Square>(&[("width", width)], 4_700.0, 48_000);
            let high = (width * 48_000.0) as usize;
            let plain: Vec<f32> = (0..48_000)
                .map(|n| if n * 4_700 % 48_000 < high { 1.0 } else { -1.0 })
                .collect();
            // These come down to 5.7 and 3.7 kHz.
            for (partial, db) in [(9, 22.0), (11, 22.0)] {
                let less = 20.0 * libm::log10(alias(&plain, partial) / alias(&square, partial));
                assert!(less > db, "{width}, partial {partial}: {less} dB");
            }
        }
    }

    #[test]
    fn a_jump_of_its_width_moves_one_edge_only() {
        let mut square = Bench::of::<Square>(&[("freq", 100.0), ("gain", 1.0), ("width", 0.2)]);
        square.run(10, &[]);
        square.set("width", 0.8);
        let heard = square.run(4_800, &[]).remove(0);
        // Two edges a cycle and no other step: ten cycles.
        assert!(step_max(&heard) <= 2.0);
        let moved = heard.windows(2).filter(|w| (w[1] - w[0]).abs() > 1e-6);
        assert!(moved.count() <= 10 * 2 * 2);
    }

    #[test]
    fn every_channel_is_as_one_alone() {
        let values = [("freq", 1_234.0), ("width", 0.3)];
        let alone = Bench::of::<Square>(&values).run(1_000, &[]).remove(0);
        for channels in [5, 16, 20] {
            let all = Bench::poly::<Square>(&values, channels).run(1_000, &[]);
            assert!(all.iter().all(|channel| *channel == alone));
        }
    }

    #[test]
    fn synced_it_is_in_tune_and_nearly_without_noise() {
        assert_synced_without_noise::<Square>(|cycle| if cycle < 0.5 { 1.0 } else { -1.0 });
    }
}
