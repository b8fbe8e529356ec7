//! The sampler against formulas: loops, seams, voices, speeds.

use super::*;
use crate::bench::{Bench, alone, step_max};

/// A recording of one channel whose samples are their index divided by 1,000.
fn ramp(frames: usize) -> Sample {
    Sample::new(48_000, 1, (0..frames).map(|n| n as f32 / 1000.0).collect()).unwrap()
}

fn played(sample: Sample, values: &[(&str, f32)], frames: usize) -> Vec<f32> {
    let mut sampler = Bench::of::<Sampler>(values).playing(sample);
    sampler.gate(1.0);
    sampler.run(frames, &[]).remove(0)
}

#[test]
fn it_plays_what_was_recorded_to_the_bit_and_then_nothing() {
    let sample = ramp(300);
    let expected: Vec<f32> = sample.recorded().side(0).to_vec();
    let heard = played(sample, &[], 2_000);
    assert_eq!(heard[..300], expected);
    assert_eq!(
        heard[300 + glide_frames(48_000.0) as usize..],
        vec![0.0; 2_000 - 300 - glide_frames(48_000.0) as usize]
    );
}

#[test]
fn it_starts_ends_turns_and_loops_where_it_should() {
    let near = |heard: &[f32], expected: &[usize]| {
        for (heard, expected) in heard.iter().zip(expected) {
            let expected = *expected as f32 / 1000.0;
            assert!((heard - expected).abs() < 1e-6, "{heard}, not {expected}");
        }
    };
    let part = [("start", 0.25), ("end", 0.75)];
    let with = |more: &[(&'static str, f32)]| [&part, more].concat();
    near(
        &played(ramp(400), &with(&[("mode", 2.0)]), 401),
        &[
            (100..300).collect::<Vec<_>>(),
            (100..300).collect(),
            vec![100],
        ]
        .concat(),
    );
    let backwards = played(ramp(400), &with(&[("mode", 2.0), ("direction", 1.0)]), 202);
    let down: Vec<usize> = (100..300).rev().collect();
    near(&backwards, &[&down[..], &[299, 298]].concat());
    let to_and_fro = played(ramp(400), &with(&[("mode", 3.0)]), 400);
    let up: Vec<usize> = (100..300).collect();
    near(&to_and_fro, &[&up[..], &down[1..], &[101]].concat());
    // There is an edge at the beginning; a little later only the ramp is read.
    near(
        &played(ramp(400), &[("pitch", 2.0)], 150)[40..],
        &(40..150).map(|n| 2 * n).collect::<Vec<_>>(),
    );
}

fn tone(hz: f64, rate_hz: f64, frames: usize) -> Vec<f32> {
    let cycle = |n: usize| (n as f64 * hz / rate_hz).fract() * std::f64::consts::TAU;
    (0..frames)
        .map(|n| (0.5 * libm::sin(cycle(n))) as f32)
        .collect()
}

/// The level of the tone at that frequency, and the root mean square of the rest, both relative to
/// a tone of 0.5.
fn tone_and_rest(heard: &[f32], hz: f64) -> (f64, f64) {
    let cycle = |n: usize| (n as f64 * hz / 48_000.0).fract() * std::f64::consts::TAU;
    let (mut cc, mut cs, mut ss, mut xc, mut xs) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (n, x) in heard.iter().enumerate() {
        let (s, c) = (libm::sin(cycle(n)), libm::cos(cycle(n)));
        (cc, cs, ss) = (cc + c * c, cs + c * s, ss + s * s);
        (xc, xs) = (xc + f64::from(*x) * c, xs + f64::from(*x) * s);
    }
    let det = cc * ss - cs * cs;
    let (a, b) = ((xc * ss - xs * cs) / det, (xs * cc - xc * cs) / det);
    let rest: f64 = heard
        .iter()
        .enumerate()
        .map(|(n, x)| {
            let fit = a * libm::cos(cycle(n)) + b * libm::sin(cycle(n));
            (f64::from(*x) - fit) * (f64::from(*x) - fit)
        })
        .sum();
    let of_half = 0.5 * std::f64::consts::FRAC_1_SQRT_2;
    (
        (a * a + b * b).sqrt() / 0.5,
        (rest / heard.len() as f64).sqrt() / of_half,
    )
}

fn db(level: f64) -> f64 {
    20.0 * libm::log10(level.max(1e-12))
}

/// All looping modes, in both directions, with and without a cross-fade.
fn rounds() -> Vec<[(&'static str, f32); 3]> {
    let mut all = Vec::new();
    for mode in [2.0, 3.0] {
        for direction in [0.0, 1.0] {
            for crossfade in [0.0, 0.5, 40.0] {
                all.push([
                    ("mode", mode),
                    ("direction", direction),
                    ("crossfade", crossfade),
                ]);
            }
        }
    }
    all
}

#[test]
fn what_does_not_move_stays_as_it_is_in_every_loop() {
    let mut worst = 0.0_f32;
    for frames in [1, 2, 3, 7, 100, 4_801] {
        for round in rounds() {
            for pitch in [0.0625, 0.37, 1.0, 1.5, 2.7, 5.1, 16.0] {
                for part in [(0.0, 1.0), (0.13, 0.87)] {
                    let sample = Sample::new(48_000, 2, vec![0.5; 2 * frames]).unwrap();
                    let more = [("pitch", pitch), ("start", part.0), ("end", part.1)];
                    let heard = played(sample, &[&round[..], &more].concat(), 300);
                    let off = heard
                        .iter()
                        .fold(0.0_f32, |off, x| off.max((x - 0.5).abs()));
                    worst = worst.max(off);
                }
            }
        }
    }
    println!("loop seams: largest deviation from a constant {worst:e}");
    assert!(worst < 1e-5, "{worst}");
}

#[test]
fn a_sine_that_goes_round_has_no_seam() {
    let mut worst = f64::MIN;
    for (round, pitch) in rounds()
        .into_iter()
        .flat_map(|round| [0.25, 0.4, 1.0, 1.5, 2.3].map(|pitch| (round, pitch)))
    {
        // 480 frames have five cycles; a back-and-forth loop from peak to peak has 96 frames more
        // each.
        let wave = |n: usize| 0.5 * libm::cos(n as f64 / 96.0 * std::f64::consts::TAU);
        let all: Vec<f32> = (0..2_400).map(|n| wave(n) as f32).collect();
        let (from, to) = (
            960,
            if round[0].1 == 3.0 {
                960 + 481
            } else {
                960 + 480
            },
        );
        for all in [all[..].to_vec(), all[from..to].to_vec()] {
            let (start, end) = match all.len() {
                2_400 => (from as f32 / 2_400.0, to as f32 / 2_400.0),
                _ => (0.0, 1.0),
            };
            let sample = Sample::new(48_000, 1, all).unwrap();
            let more = [("pitch", pitch), ("start", start), ("end", end)];
            let heard = played(sample, &[&round[..], &more].concat(), 9_600);
            let (level, rest) = tone_and_rest(&heard, 500.0 * f64::from(pitch));
            assert!((level - 1.0).abs() < 1e-3, "{round:?} {pitch}: {level}");
            worst = worst.max(db(rest));
        }
    }
    println!("loop seams: largest deviation from a sine {worst:.1} dB");
    assert!(worst < -80.0, "{worst}");
}

#[test]
fn a_tone_stays_a_tone_at_any_rate_and_speed() {
    let (mut most, mut off) = (f64::MIN, 0.0_f64);
    for rate_hz in [44_100_u32, 48_000, 96_000] {
        for hz in [997.0, 9_000.0, 15_000.0, 19_500.0, 30_000.0] {
            let length = rate_hz as usize;
            for pitch in [
                0.5, 0.7, 0.999, 1.0, 1.001, 1.2, 1.26, 1.4, 1.7, 2.0, 3.3, 7.0, 13.0,
            ] {
                if hz >= f64::from(rate_hz) / 2.0 {
                    continue;
                }
                let sample = Sample::new(rate_hz, 1, tone(hz, f64::from(rate_hz), length)).unwrap();
                let heard = played(sample, &[("pitch", pitch)], 4_096);
                // Without the beginning.
                let heard = &heard[1_000..3_600];
                let out_hz = hz * f64::from(pitch);
                let (level, rest) = tone_and_rest(heard, out_hz.min(23_999.0));
                let rest = if out_hz < 24_000.0 {
                    rest
                } else {
                    rest.max(level)
                };
                most = most.max(db(rest));
                assert!(
                    db(rest) < -80.0,
                    "{hz} in {rate_hz} at {pitch}: {} dB",
                    db(rest)
                );
                if out_hz < 18_000.0 && pitch <= 2.0 {
                    off = off.max(db(level).abs());
                    assert!(
                        db(level).abs() < 0.1,
                        "{hz} in {rate_hz} at {pitch}: {} dB",
                        db(level)
                    );
                }
            }
        }
    }
    println!("sampler at any speed: aliases and images {most:.1} dB, level off by {off:.3} dB");
}

#[test]
fn a_loop_that_the_recording_brings_is_played_and_a_note_by_its_root() {
    let looped = |way| Loop {
        from: 100,
        to: 104,
        way,
    };
    let sample = |way| ramp(400).looping(Some(looped(way)));
    let frames =
        |heard: &[f32]| -> Vec<u32> { heard.iter().map(|x| (x * 1_000.0 + 0.5) as u32).collect() };
    let values = [("mode", 2.0), ("start", 98.0 / 400.0)];
    for (way, expected) in [
        (Way::Forwards, [98, 99, 100, 101, 102, 103, 100, 101, 102]),
        (Way::ToAndFro, [98, 99, 100, 101, 102, 103, 102, 101, 100]),
        (Way::Backwards, [98, 99, 100, 101, 102, 103, 103, 102, 101]),
    ] {
        assert_eq!(
            frames(&played(sample(way), &values, 9)),
            expected,
            "{way:?}"
        );
    }
    let part = [("mode", 2.0), ("start", 398.0 / 400.0), ("loop", 1.0)];
    assert_eq!(
        frames(&played(sample(Way::Forwards), &part, 4)),
        [398, 399, 398, 399]
    );
    // A recording whose root is A4 played as A5: twice as fast. Without a note: as recorded.
    for (freq, hz) in [(0.0, 440.0), (880.0, 880.0), (220.0, 220.0)] {
        let sample = Sample::new(48_000, 1, tone(440.0, 48_000.0, 48_000)).unwrap();
        let heard = played(sample.rooted(Some(69.0)), &[("freq", freq)], 9_600);
        let (level, _) = tone_and_rest(&heard[500..], hz);
        assert!((level - 1.0).abs() < 0.001, "{freq}: {level}");
    }
}

#[test]
fn what_was_converted_is_played_to_the_bit_and_loops_as_it_was_recorded() {
    let sample = || {
        let sample = Sample::new(24_000, 1, vec![0.25; 50]).unwrap();
        let ramp: Vec<f32> = (0..100).map(|n| n as f32 / 1000.0).collect();
        sample.converted(48_000, &ramp).unwrap()
    };
    let once = played(sample(), &[], 100);
    assert_eq!(once[..100], *sample().at_rate(48_000).side(0));
    assert!(
        played(sample(), &[("mode", 2.0)], 500)
            .iter()
            .all(|x| (x - 0.25).abs() < 1e-5)
    );
    // A change of the mode during playback continues at the same time.
    let mut sampler = Bench::of::<Sampler>(&[]).playing(sample());
    sampler.gate(1.0);
    sampler.run(64, &[]);
    sampler.set("mode", 2.0);
    assert!(
        sampler.run(64, &[])[0]
            .iter()
            .all(|x| (x - 0.25).abs() < 1e-5)
    );
}

#[test]
fn nothing_clicks_when_it_is_struck_again_or_let_go() {
    let cycle = |n: usize| libm::sin(n as f64 * 100.0 / 48_000.0 * std::f64::consts::TAU);
    let sample = Sample::new(48_000, 1, (0..48_000).map(|n| cycle(n) as f32).collect()).unwrap();
    let mut gate = vec![0.0; 10_000];
    // Opened where the tone begins at 0, opened again in its middle, and closed.
    for (from, to) in [(100, 2_000), (2_001, 7_000)] {
        gate[from..to].fill(1.0);
    }
    let values = [("mode", 1.0), ("release", 20.0)];
    let mut sampler = Bench::of::<Sampler>(&values).playing(sample);
    let heard = sampler.run(10_000, &[("gate", gate)]).remove(0);
    // The tone itself moves by 0.013 a frame, and for a while there are two tones.
    assert!(step_max(&heard) < 0.03, "{}", step_max(&heard));
    assert_eq!(heard[8_000..], [0.0; 2_000]);
}

#[test]
fn channels_play_each_for_itself_and_both_sides_are_heard() {
    alone::<Sampler>(&[("mode", 2.0)], &["gate", "pitch", "start"]);
    let sample = Sample::new(48_000, 2, vec![0.1, 0.2, 0.3, 0.4]).unwrap();
    let mut sampler = Bench::of::<Sampler>(&[]).playing(sample);
    sampler.gate(1.0);
    let heard = sampler.run(2, &[]);
    assert_eq!(heard, [vec![0.1, 0.3], vec![0.2, 0.4]]);
}
