//! `triangle`: a triangle in phase with the sine, with rounded corners, which reduces aliasing.
//!
//! The wave is not integrated from a square: an integral drifts, and its level depends on the frequency.
//!
//! # Source
//! [`super::oscillator::corner`].

use super::oscillator;
use crate::{
    catalog::ModuleType,
    lanes::{Bits, Lanes},
    math,
    module::{Io, Module, Outs, State},
};

pub struct Triangle;

impl Module for Triangle {
    const TYPE: ModuleType = oscillator::described("triangle", "triangle oscillator, band-limited");
    const CELLS: usize = oscillator::CELLS;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let quarter = io.splat_bits(1 << 30);
        oscillator::render(
            io,
            state,
            outs,
            #[inline(always)]
            |phase, steps, _| {
                // Folded to a quarter cycle on either side, like the sine.
                let from_top = phase - quarter;
                let folded = quarter - from_top.abs();
                let plain = L::of_signed(folded) * io.splat(4.0 / math::CYCLE);
                let from_bottom = from_top + io.splat_bits(1 << 31);
                plain - oscillator::corner(io, from_top, steps)
                    + oscillator::corner(io, from_bottom, steps)
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
        assert_in_tune::<Triangle>(&[]);
    }

    #[test]
    fn its_odd_partials_fall_as_one_over_n_squared() {
        let triangle = heard::<Triangle>(&[], 100.0, 48_000);
        let first = 8.0 / (std::f64::consts::PI * std::f64::consts::PI);
        for partial in 1..20 {
            let n = f64::from(partial);
            let found = level(&triangle, 100.0 * n);
            let exact = if partial % 2 == 1 {
                first / (n * n)
            } else {
                0.0
            };
            assert!(
                (found - exact).abs() < 1e-5 + 0.02 * exact,
                "partial {partial}: {found}, {exact}"
            );
        }
    }

    #[test]
    fn it_aliases_far_less_than_a_plain_one() {
        let triangle = heard::<Triangle>(&[], 4_700.0, 48_000);
        let plain: Vec<f32> = (0..48_000)
            .map(|n| {
                let cycle = ((n * 4_700 + 12_000) % 48_000) as f64 / 48_000.0;
                (1.0 - 4.0 * (cycle - 0.5).abs()) as f32
            })
            .collect();
        // These come down to 5.7 and 3.7 kHz.
        for (partial, db) in [(9, 22.0), (11, 22.0)] {
            let less = 20.0 * libm::log10(alias(&plain, partial) / alias(&triangle, partial));
            assert!(less > db, "partial {partial}: {less} dB");
        }
    }

    #[test]
    fn neither_a_wild_frequency_nor_a_jump_of_it_makes_it_click() {
        let mut triangle = Bench::of::<Triangle>(&[("freq", 300.0), ("gain", 1.0), ("index", 8.0)]);
        let fm: Vec<f32> = (0..4_800)
            .map(|n| if n / 100 % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        let mut heard = triangle.run(4_800, &[("fm", fm)]).remove(0);
        triangle.set("freq", 50.0);
        heard.extend(triangle.run(4_800, &[]).remove(0));
        // At 2.7 kHz it moves by 0.225 a frame.
        assert!(step_max(&heard) < 0.226);
        assert!(heard.iter().all(|x| x.abs() <= 1.0));
    }

    #[test]
    fn synced_it_is_in_tune_and_nearly_without_noise() {
        assert_synced_without_noise::<Triangle>(|cycle| {
            1.0 - ((cycle + 0.75) % 1.0 * 4.0 - 2.0_f64).abs()
        });
    }
}
