//! Distortion against formulas: levels, aliases, gain.

use super::*;
use crate::bench::{Bench, alone, level, step_max};

fn sine(hz: f64, gain: f64, frames: usize) -> Vec<f32> {
    let cycle = |n: usize| libm::sin(n as f64 * hz / 48_000.0 * std::f64::consts::TAU);
    (0..frames).map(|n| (cycle(n) * gain) as f32).collect()
}

fn bent(mode: u32, drive: f32, input: Vec<f32>) -> Vec<f32> {
    let values = [("mode", mode as f32), ("drive", drive)];
    Bench::of::<Distortion>(&values)
        .run(input.len(), &[("in", input)])
        .remove(0)
}

#[test]
fn a_quiet_sound_passes_unbent_and_in_step_with_the_dry_one() {
    for mode in [SOFT, HARD, FOLD] {
        for (mix, tone_hz) in [(0.5, 1_000.0), (1.0, 200.0)] {
            let input = sine(tone_hz, 0.01, 48_000);
            let values = [("mode", mode as f32), ("drive", 0.0), ("mix", mix)];
            let out = Bench::of::<Distortion>(&values).run(48_000, &[("in", input.clone())]);
            for n in 1_000..48_000 {
                let error = (out[0][n] - input[n - LATE]).abs();
                assert!(error < 4e-4, "{mode} at {n}: {error}");
            }
            let found = level(&out[0], tone_hz);
            assert!((found / 0.01 - 1.0).abs() < 0.002, "{mode}: {found}");
        }
    }
}

#[test]
fn each_mode_bends_as_its_formula() {
    // A slow sine: the output follows the curve, 34 frames later (plus the delay of the tone filter, about
    // half a frame).
    let input = sine(20.0, 0.5, 9_600);
    for mode in [SOFT, HARD, FOLD] {
        let out = bent(mode, 20.0, input.clone());
        for n in 2_400..9_600 {
            let x = f64::from(input[n - LATE]) * 10.0;
            let y = match mode {
                SOFT => {
                    let t = (x / 1.875).clamp(-1.0, 1.0);
                    1.875 * t * (1.0 - 2.0 / 3.0 * t * t + 0.2 * t * t * t * t)
                }
                HARD => x.clamp(-1.0, 1.0),
                _ => libm::sin(x),
            };
            let error = (f64::from(out[n]) - y).abs();
            assert!(error < 0.02, "{mode} at {n}: {error}");
        }
    }
}

#[test]
fn what_folds_back_of_a_high_sine_is_below_60_db_at_every_drive() {
    let hz = 5_000.0;
    let input = sine(hz, 1.0, 56_000);
    for mode in [SOFT, HARD, FOLD] {
        for drive in [0.0, 12.0, 24.0, 36.0, 48.0] {
            let out = &bent(mode, drive, input.clone())[8_000..];
            // Odd partials alias to odd thousands of hertz, except the wanted ones.
            let folded = (0..12).map(|k| f64::from(2 * k + 1) * 1_000.0);
            let folded = folded.filter(|hz| ![5_000.0, 15_000.0].contains(hz));
            let worst = folded.map(|hz| level(out, hz)).fold(0.0, f64::max);
            let worst_db = 20.0 * libm::log10(worst.max(1e-12));
            println!("distortion, mode {mode}, {drive} dB: {worst_db:.1} dB");
            assert!(worst_db < -60.0, "{mode} {drive}: {worst_db}");
        }
        // The wanted partials are present: the first two at 12 dB, by the formula at a hundred points per
        // cycle.
        let out = &bent(mode, 12.0, input.clone())[8_000..];
        for partial in [1.0, 3.0] {
            let gain = libm::pow(10.0, 12.0 / 20.0);
            let points = 20_000;
            let sum = (0..points).map(|n| {
                let cycle = f64::from(n) / f64::from(points) * std::f64::consts::TAU;
                let x = gain * libm::sin(cycle);
                let y = match mode {
                    SOFT => {
                        let t = (x / 1.875).clamp(-1.0, 1.0);
                        1.875 * t * (1.0 - 2.0 / 3.0 * t * t + 0.2 * t * t * t * t)
                    }
                    HARD => x.clamp(-1.0, 1.0),
                    _ => libm::sin(x),
                };
                y * libm::sin(partial * cycle)
            });
            let meant = (2.0 * sum.sum::<f64>() / f64::from(points)).abs();
            // The tone filter, at 20 kHz, removes 1.7 dB at 15 kHz.
            let found = level(out, partial * hz);
            assert!(
                (0.75..1.05).contains(&(found / meant)),
                "{mode} {partial}: {found} {meant}"
            );
        }
    }
}

#[test]
fn the_crusher_holds_and_rounds() {
    let values = [
        ("mode", 3.0),
        ("drive", 0.0),
        ("bits", 3.0),
        ("rate", 4_800.0),
    ];
    let out = Bench::of::<Distortion>(&values)
        .run(9_600, &[("in", sine(50.0, 1.0, 9_600))])
        .remove(0);
    // The tone filter, at 20 kHz, takes a few frames to settle.
    let settled = out[960..].windows(3).filter(|w| {
        let quarter = (w[0] * 4.0 - (w[0] * 4.0).round()).abs() < 0.01;
        quarter && (w[2] - w[0]).abs() < 0.01
    });
    assert!(settled.count() > 5_000);
    let changes = out[960..].windows(2).filter(|w| (w[1] - w[0]).abs() > 0.15);
    assert!(changes.count() < 900);
}

#[test]
fn no_jump_of_a_parameter_clicks() {
    let values = [("drive", 0.0), ("rate", 192_000.0), ("bits", 16.0)];
    let mut distortion = Bench::of::<Distortion>(&values);
    let mut heard = Vec::new();
    for (param, value) in [
        ("drive", 12.0),
        ("mode", 1.0),
        ("mode", 2.0),
        ("mode", 3.0),
        ("mode", 0.0),
        ("tone", 300.0),
        ("mix", 0.0),
    ] {
        let now: Vec<f32> = sine(50.0, 0.5, heard.len() + 1_024).split_off(heard.len());
        heard.extend(distortion.run(1_024, &[("in", now)]).remove(0));
        distortion.set(param, value);
    }
    // The input moves by 0.0033 a frame, and four times as much when driven; a cross-fade by 1/336.
    assert!(step_max(&heard) < 0.03, "{}", step_max(&heard));
}

#[test]
fn each_channel_is_bent_as_if_it_were_alone() {
    for mode in [0.0, 1.0, 2.0, 3.0] {
        alone::<Distortion>(&[("mode", mode)], &["in"]);
    }
    alone::<Distortion>(&[("mode", 2.0)], &["in", "drive", "tone"]);
}
