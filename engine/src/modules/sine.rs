//! `sine`: a sine oscillator.

use super::oscillator;
use crate::{
    catalog::ModuleType,
    lanes::Lanes,
    math,
    module::{Io, Module, Outs, State},
};

pub struct Sine;

impl Module for Sine {
    const TYPE: ModuleType = oscillator::described("sine", "sine oscillator");
    const CELLS: usize = oscillator::CELLS;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        oscillator::render(
            io,
            state,
            outs,
            #[inline(always)]
            |phase, _, _| math::sine(io, phase),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bench::Bench, modules::oscillator::tests::assert_synced_without_noise};

    #[test]
    fn it_is_the_formula_after_ten_seconds_too() {
        for hz in [27.5, 440.0, 9_999.5, 20_000.0] {
            let mut sine = Bench::of::<Sine>(&[("freq", hz), ("gain", 0.8)]);
            let found = sine.run(480_000, &[]);
            // Without the resolution of the step, which is 2^-32 of a cycle.
            let steps = (hz * (4_294_967_296.0 / 48_000.0) + 0.5).floor();
            let cycles_each = f64::from(steps) / 4_294_967_296.0;
            // A tenth of a cent is 5.8e-5.
            assert!((cycles_each * 48_000.0 / f64::from(hz) - 1.0).abs() < 5e-7);
            for (n, found) in found[0].iter().enumerate() {
                let cycles = cycles_each * n as f64;
                let exact = 0.8 * libm::sin((cycles - cycles.floor()) * std::f64::consts::TAU);
                assert!(
                    (f64::from(*found) - exact).abs() < 1e-6,
                    "{hz} Hz at {n}: {found} {exact}"
                );
            }
        }
    }

    #[test]
    fn no_jump_of_a_parameter_clicks() {
        let mut sine = Bench::of::<Sine>(&[("gain", 1.0)]);
        let mut heard = sine.run(100, &[]).remove(0);
        for (param, value) in [
            ("gain", 0.0),
            ("gain", 1.0),
            ("freq", 100.0),
            ("freq", 500.0),
            ("gain", 0.3),
            ("gain", 0.9),
        ] {
            sine.set(param, value);
            heard.extend(sine.run(100, &[]).remove(0));
        }
        // A full sine of 500 Hz moves 0.0655 a frame at most, a glide of the level 1/336.
        assert!(heard.windows(2).all(|w| (w[1] - w[0]).abs() < 0.069));
    }

    #[test]
    fn it_is_modulated_by_octaves_and_by_frequencies() {
        // One octave up, by a signal that stands still.
        let mut sine = Bench::of::<Sine>(&[("freq", 220.0), ("gain", 1.0)]);
        let up = sine.run(48_000, &[("freq", vec![1.0; 48_000])]).remove(0);
        // As far again by its own frequency.
        let mut sine = Bench::of::<Sine>(&[("freq", 220.0), ("gain", 1.0)]);
        let fm = sine.run(48_000, &[("fm", vec![1.0; 48_000])]).remove(0);
        for heard in [up, fm] {
            let rising = heard.windows(2).filter(|w| w[0] < 0.0 && w[1] >= 0.0);
            assert!((439..=440).contains(&rising.count()));
        }
    }

    #[test]
    fn a_rise_at_sync_begins_the_cycle_anew() {
        let mut sine = Bench::of::<Sine>(&[("freq", 220.0), ("gain", 1.0)]);
        let sync: Vec<f32> = (0..1_000)
            .map(|n| if n < 77 { -1.0 } else { 1.0 })
            .collect();
        let heard = sine.run(1_000, &[("sync", sync)]).remove(0);
        // Half a frame after the frame 77, with a jump that is rounded.
        let plain = |n: f64| libm::sin(n * 220.0 / 48_000.0 * std::f64::consts::TAU);
        let height = -plain(77.5);
        for (n, found) in heard.iter().enumerate() {
            let exact = match n {
                ..77 => plain(n as f64),
                77 => plain(77.0) + height / 8.0,
                78 => plain(0.5) - height / 8.0,
                _ => plain(n as f64 - 77.5),
            };
            assert!(
                (f64::from(*found) - exact).abs() < 1e-5,
                "{n}: {found} {exact}"
            );
        }
    }

    #[test]
    fn synced_it_is_in_tune_and_nearly_without_noise() {
        assert_synced_without_noise::<Sine>(|cycle| libm::sin(cycle * std::f64::consts::TAU));
    }
}
