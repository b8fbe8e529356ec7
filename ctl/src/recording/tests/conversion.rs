//! Conversion to the stack's rate, against formulas.

use super::*;

/// How loud a tone of that frequency is, and the root of the mean square of all else as if of a tone.
pub fn tone_and_rest(heard: &[f32], hz: f64, rate_hz: f64) -> (f64, f64) {
    let angle = |n: usize| n as f64 * hz / rate_hz * std::f64::consts::TAU;
    let (mut cc, mut cs, mut ss, mut xc, mut xs) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (n, x) in heard.iter().enumerate() {
        let (s, c) = angle(n).sin_cos();
        (cc, cs, ss) = (cc + c * c, cs + c * s, ss + s * s);
        (xc, xs) = (xc + f64::from(*x) * c, xs + f64::from(*x) * s);
    }
    let det = cc * ss - cs * cs;
    let (a, b) = ((xc * ss - xs * cs) / det, (xs * cc - xc * cs) / det);
    let off = |(n, x): (usize, &f32)| f64::from(*x) - a * angle(n).cos() - b * angle(n).sin();
    let rest: f64 = heard.iter().enumerate().map(off).map(|off| off * off).sum();
    (a.hypot(b), (2.0 * rest / heard.len() as f64).sqrt())
}

#[test]
fn a_conversion_lets_through_what_is_heard_and_nothing_else() {
    let (mut most, mut off) = (f64::MIN, 0.0_f64);
    for (from, to) in [
        (44_100_u32, 48_000_u32),
        (96_000, 48_000),
        (48_000, 44_100),
        (22_050, 48_000),
        (192_000, 48_000),
    ] {
        for hz in [
            20.0, 1_000.0, 10_000.0, 15_000.0, 20_000.0, 24_500.0, 30_000.0, 90_000.0,
        ] {
            if hz >= f64::from(from) / 2.0 {
                continue;
            }
            let angle =
                |n: u32| (f64::from(n) * hz / f64::from(from) * std::f64::consts::TAU).sin();
            let tone = (0..from / 2).map(|n| (0.5 * angle(n)) as f32).collect();
            let sample = at_rate(Sample::new(from, 1, tone).unwrap(), to).unwrap();
            let sound = sample.at_rate(to);
            assert_eq!((sound.rate_hz(), sound.frames()), (to, to as usize / 2));
            let heard = &sound.side(0)[to as usize / 8..to as usize * 3 / 8];
            let passes = hz <= 20_000.0;
            let (level, rest) = tone_and_rest(heard, if passes { hz } else { 997.0 }, to.into());
            let rest = if passes { rest } else { rest.max(level) } / 0.5;
            most = most.max(20.0 * rest.log10());
            if passes {
                off = off.max((20.0 * (level / 0.5).log10()).abs());
                // It lies where it lay.
                let place = f64::from(to / 8) / f64::from(to);
                let first = 0.5 * (place * hz * std::f64::consts::TAU).sin();
                assert!(
                    (f64::from(heard[0]) - first).abs() < 0.006,
                    "{from} {to} {hz}"
                );
            }
        }
    }
    println!("conversion: aliases and images {most:.1} dB, level off by {off:.4} dB up to 20 kHz");
    assert!(most < -100.0 && off < 0.1, "{most} {off}");
}
