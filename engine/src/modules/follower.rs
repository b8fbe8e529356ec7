//! `follower`: an envelope follower: the level of a sound as a signal.
//!
//! A one-pole filter with separate times for rise and fall; after a jump the output covers 63 % of the distance within
//! the time.
//!
//! # Source
//! Udo Zölzer (ed.), DAFX: Digital audio effects, 2002: the peak detector with attack and release.

use super::{linear, log};
use crate::{
    catalog::ModuleType,
    lanes::{Lanes, inlined},
    math,
    module::{Io, Module, Outs, State},
};

pub struct Follower;

const LEVEL: usize = 0;

/// The share of the distance that a one-pole filter covers in a frame: 1 - e^(-1 / frames).
///
/// # Source
/// For small steps the Taylor series, which avoids the cancellation of the subtraction.
#[inline(always)]
pub fn part<L: Lanes>(io: &Io<'_, L>, ms: L) -> L {
    let x = io.splat(1000.0 / io.context.rate_hz) / ms.max(io.splat(1e-6));
    let one = io.splat(1.0);
    let series = one - x * io.splat(0.25);
    let series = one - x * io.splat(1.0 / 3.0) * series;
    let series = x * (one - x * io.splat(0.5) * series);
    let power = one - math::exp2(io, x * io.splat(-std::f32::consts::LOG2_E));
    L::select(x.lt(io.splat(0.06)), series, power)
}

impl Module for Follower {
    const TYPE: ModuleType = ModuleType {
        name: "follower",
        help: "envelope follower: the level of a sound",
        inputs: &["in"],
        outputs: &["out"],
        params: &[
            log("attack", "ms", [0.0, 5.0, 1_000.0], "time to rise by 63 %"),
            log(
                "release",
                "ms",
                [0.0, 100.0, 1_000.0],
                "time to fall by 63 %",
            ),
            linear("gain", "", [0.0, 1.0, 10.0], "level of the output"),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = 1;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let (attack, release, gain) = (io.param(0), io.param(1), io.param(2));
        let still = attack.still().is_some() && release.still().is_some();
        let parts = inlined(
            #[inline(always)]
            |frame: usize| [part(io, attack.at(frame)), part(io, release.at(frame))],
        );
        let [mut up, mut down] = parts(0);
        let mut level = state.get(LEVEL);
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                if !still {
                    [up, down] = parts(frame);
                }
                let wanted = io.at(0, frame).abs();
                let part = L::select(level.lt(wanted), up, down);
                level = level + (wanted - level) * part;
                level * gain.at(frame)
            },
        );
        state.set_flushed(LEVEL, level);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;

    #[test]
    fn it_rises_and_falls_by_its_times() {
        for (attack, release) in [(0.05, 1.0), (10.0, 200.0), (700.0, 0.3)] {
            let values = [("attack", attack), ("release", release)];
            let mut follower = Bench::of::<Follower>(&values);
            let input = (0..96_000).map(|n| if n < 48_000 { -0.5 } else { 0.0 });
            let heard = follower.run(96_000, &[("in", input.collect())]).remove(0);
            let frames = |ms: f32| f64::from(ms) * 48.0;
            for n in (0..48_000).step_by(97) {
                let exact = 0.5 * (1.0 - libm::exp(-(n as f64 + 1.0) / frames(attack)));
                assert!((f64::from(heard[n]) - exact).abs() < 2e-4, "{attack}: {n}");
            }
            let top = f64::from(heard[47_999]);
            for n in (0..48_000).step_by(97) {
                let exact = top * libm::exp(-(n as f64 + 1.0) / frames(release));
                assert!((f64::from(heard[48_000 + n]) - exact).abs() < 2e-4);
            }
        }
    }

    #[test]
    fn of_a_sine_with_a_quick_attack_it_is_the_peak() {
        let mut follower = Bench::of::<Follower>(&[("attack", 0.0), ("release", 1_000.0)]);
        let sine = |n: usize| 0.7 * libm::sin(n as f64 * 0.13) as f32;
        let heard = follower.run(48_000, &[("in", (0..48_000).map(sine).collect())]);
        assert!(heard[0][24_000..].iter().all(|x| (x - 0.7).abs() < 0.002));
    }

    #[test]
    fn one_bad_sample_is_forgotten() {
        let mut follower = Bench::of::<Follower>(&[]);
        follower.run(64, &[("in", vec![f32::NAN; 64])]);
        let heard = follower.run(640, &[("in", vec![0.5; 640])]).remove(0);
        assert!(heard.iter().all(|x| (0.0..0.51).contains(x)));
    }
}
