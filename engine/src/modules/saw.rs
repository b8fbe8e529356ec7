//! `saw`: a rising sawtooth with a rounded edge, which reduces aliasing.

use super::oscillator;
use crate::{
    catalog::ModuleType,
    lanes::Lanes,
    math,
    module::{Io, Module, Outs, State},
};

pub struct Saw;

impl Module for Saw {
    const TYPE: ModuleType = oscillator::described("saw", "sawtooth oscillator, band-limited");
    const CELLS: usize = oscillator::CELLS;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        oscillator::render(
            io,
            state,
            outs,
            #[inline(always)]
            |phase, steps, _| {
                let cycle = math::cycles(io, phase);
                cycle + cycle - io.splat(1.0) + oscillator::edge(io, phase, steps)
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bench::{Bench, level},
        modules::oscillator::tests::{alias, assert_in_tune, assert_synced_without_noise, heard},
    };

    #[test]
    fn it_is_in_tune() {
        assert_in_tune::<Saw>(&[]);
    }

    #[test]
    fn its_partials_fall_as_one_over_n() {
        let saw = heard::<Saw>(&[], 100.0, 48_000);
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
        let saw = heard::<Saw>(&[], 4_700.0, 48_000);
        let plain: Vec<f32> = (0..48_000)
            .map(|n| ((n * 4_700 % 48_000) as f64 / 24_000.0 - 1.0) as f32)
            .collect();
        // These come down to 1, 5.7 and 10.4 kHz.
        for (partial, db) in [(10, 30.0), (9, 22.0), (8, 16.0)] {
            let less = 20.0 * libm::log10(alias(&plain, partial) / alias(&saw, partial));
            assert!(less > db, "partial {partial}: {less} dB");
        }
    }

    #[test]
    fn a_jump_at_sync_is_rounded_where_it_is_and_nowhere_else() {
        // The signal rises through 0 that long before frame 200; the cycle restarts a frame later.
        for ago in [1e-30_f32, 0.25, 1.0] {
            let mut saw = Bench::of::<Saw>(&[("freq", 100.0), ("gain", 1.0)]);
            let sync = |n: i32| match n {
                200 => ago,
                _ if n < 200 => ago - 1.0,
                _ => 1.0,
            };
            let heard = saw.run(400, &[("sync", (0..400).map(sync).collect())]);
            let plain = |n: f32| (n % 480.0) / 240.0 - 1.0;
            let height = -1.0 - plain(201.0 - ago);
            for n in 1..400 {
                let at = n as f32;
                let exact = match n {
                    ..200 => plain(at),
                    200 => plain(200.0) + height * ago * ago / 2.0,
                    201 => plain(ago) - height * (1.0 - ago) * (1.0 - ago) / 2.0,
                    _ => plain(at - 201.0 + ago),
                };
                let found = heard[0][n as usize];
                assert!((found - exact).abs() < 1e-5, "{n}: {found} {exact}");
            }
        }
    }

    #[test]
    fn what_is_no_number_at_sync_stays_there() {
        let mut saw = Bench::of::<Saw>(&[("gain", 1.0)]);
        let wild = [
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            f32::MAX,
            f32::MIN,
        ];
        let sync = (0..400).map(|n| wild[n * n % 5]).collect();
        let heard = saw.run(400, &[("sync", sync)]).remove(0);
        assert!(heard.iter().all(|x| x.abs() <= 1.5));
    }

    #[test]
    fn synced_it_is_in_tune_and_nearly_without_noise() {
        assert_synced_without_noise::<Saw>(|cycle| 2.0 * cycle - 1.0);
    }

    #[test]
    fn a_wild_frequency_never_takes_it_out_of_its_range() {
        let mut saw = Bench::of::<Saw>(&[("freq", 3_000.0), ("gain", 1.0), ("index", 20.0)]);
        let fm: Vec<f32> = (0..48_000u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0)
            .collect();
        let heard = saw.run(48_000, &[("fm", fm)]).remove(0);
        assert!(heard.iter().all(|x| x.abs() <= 1.0));
        // An edge passed by a small step is not rounded again by the large one after it.
        let mut saw = Bench::of::<Saw>(&[("freq", 100.0), ("gain", 1.0), ("index", 20.0)]);
        let fm = (0..600).map(|n| if n < 482 { 0.0 } else { 1.0 }).collect();
        let heard = saw.run(600, &[("fm", fm)]).remove(0);
        assert!((heard[482] - (2.0 / 240.0 - 1.0)).abs() < 1e-5);
    }
}
