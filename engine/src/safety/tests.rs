//! The safety stage against formulas and counts.

use super::*;
use crate::bench::{level, noise, step_max};

const RATE: u32 = 48_000;
const DELAY: usize = safety_delay_frames(RATE) as usize;

/// The stage by itself, fed in pieces.
struct Bench {
    config: Config,
    words: Vec<u64>,
    piece: usize,
}

impl Bench {
    fn new(channels: u32, rate_hz: u32) -> Self {
        let config = Config {
            rate_hz,
            block_frames: 128,
            channels,
        };
        let mut words = vec![0; words(config)];
        Safety::of(&mut words, config).begin();
        Self {
            config,
            words,
            piece: 128,
        }
    }

    fn stereo() -> Self {
        Self::new(2, RATE)
    }

    fn run(&mut self, on: bool, muted: bool, sound: &[f32]) -> Vec<f32> {
        let mut out = sound.to_vec();
        for piece in out.chunks_mut(self.piece * self.config.channels as usize) {
            Safety::of(&mut self.words, self.config).render(on, muted, piece);
        }
        out
    }

    fn removed(&mut self) -> Removed {
        Safety::of(&mut self.words, self.config).removed()
    }
}

fn sine(hz: f64, gain: f64, frames: usize) -> Vec<f32> {
    let sine = |n: usize| libm::sin(n as f64 * hz / f64::from(RATE) * std::f64::consts::TAU);
    (0..frames).map(|n| (sine(n) * gain) as f32).collect()
}

/// The same signal on both channels.
fn both(sound: &[f32]) -> Vec<f32> {
    sound.iter().flat_map(|sample| [*sample; 2]).collect()
}

fn left(sound: &[f32]) -> Vec<f32> {
    sound.iter().copied().step_by(2).collect()
}

fn peak(sound: &[f32]) -> f32 {
    sound
        .iter()
        .fold(0.0, |peak, sample| peak.max(sample.abs()))
}

#[test]
fn the_constants_are_what_they_say() {
    let db = |level: f32| 20.0 * libm::log10(f64::from(level));
    assert!((db(CEILING) + 0.2).abs() < 1e-6 && (db(DC) + 26.0).abs() < 1e-6);
    assert_eq!((DELAY, safety_delay_frames(44_100)), (72, 66));
}

#[test]
fn below_the_ceiling_it_is_the_same_to_the_bit_later() {
    for (channels, rate) in [(1, 8_000), (2, 48_000), (3, 44_100), (32, 192_000)] {
        let delay = safety_delay_frames(rate) as usize;
        let samples = 5_000 * channels as usize;
        let sound: Vec<f32> = noise(7, samples).iter().map(|x| x * CEILING).collect();
        for on in [true, false] {
            let mut stage = Bench::new(channels, rate);
            stage.piece = 100;
            let out = stage.run(on, false, &sound);
            let late = delay * channels as usize;
            assert!(out[..late].iter().all(|sample| *sample == 0.0));
            assert_eq!(out[late..], sound[..samples - late]);
            assert_eq!(stage.removed(), Removed::default());
        }
    }
}

#[test]
fn nothing_exceeds_the_ceiling_and_both_channels_are_turned_down_alike() {
    let mut sound: Vec<f32> = noise(3, 48_000).iter().map(|x| x * 60.0).collect();
    sound[40_000..].iter_mut().for_each(|x| *x *= 0.001);
    let mut stage = Bench::stereo();
    let out = stage.run(true, false, &sound);
    assert!(peak(&out) <= CEILING && peak(&out) > 0.9 * CEILING);
    // There is one gain: the ratio of left to right stays.
    for at in (2_000..30_000).step_by(2) {
        let (l, r) = (
            out[at] * sound[at + 1 - 2 * DELAY],
            out[at + 1] * sound[at - 2 * DELAY],
        );
        assert!((l - r).abs() <= 1e-3, "{at}: {l} {r}");
    }
    let over = sound.iter().filter(|x| x.abs() > CEILING).count() as u64;
    let removed = stage.removed();
    assert_eq!(removed.limited_samples, over);
    assert!(
        (removed.limited - (1.0 - CEILING / 60.0)).abs() < 0.01,
        "{removed:?}"
    );
    // Some seconds later only the count is left.
    stage.run(true, false, &both(&sine(440.0, 0.1, 4 * RATE as usize)));
    let later = stage.removed();
    assert_eq!((later.limited, later.limited_samples), (0.0, over));
}

#[test]
fn a_tone_that_is_too_loud_stays_a_tone() {
    let mut stage = Bench::stereo();
    let out = left(&stage.run(true, false, &both(&sine(1_000.0, 4.0, 48_000))));
    let (tone, third) = (
        level(&out[24_000..], 1_000.0),
        level(&out[24_000..], 3_000.0),
    );
    assert!(tone > 0.9 && third < 0.001, "{tone} {third}");
}

#[test]
fn where_a_block_is_cut_changes_no_sample() {
    let mut sound = both(&sine(300.0, 2.0, 20_000));
    sound.extend(both(&[0.4; 120_000]));
    let whole = Bench::stereo().run(true, false, &sound);
    for piece in [1, 37, 128, 2_048] {
        let mut stage = Bench::stereo();
        stage.piece = piece;
        let out = stage.run(true, false, &sound);
        assert!(out == whole, "{piece}");
    }
}

#[test]
fn dc_is_taken_away_once_it_has_lasted_for_a_second_and_a_bass_never() {
    let second = RATE as usize;
    let mut stage = Bench::stereo();
    // 0.3 on the left with a tone; the right channel has no DC.
    let tone = sine(440.0, 0.2, 8 * second);
    let sound: Vec<f32> = tone.iter().flat_map(|x| [x + 0.3, *x]).collect();
    let out = stage.run(true, false, &sound);
    let (l, r): (Vec<f32>, Vec<f32>) = out.chunks(2).map(|f| (f[0], f[1])).unzip();
    let same = (DELAY..8 * second)
        .take_while(|n| l[*n] == tone[n - DELAY] + 0.3)
        .count();
    assert!((second..second + second / 8).contains(&same), "{same}");
    assert_eq!(r[DELAY..], tone[..8 * second - DELAY]);
    let mean = l[7 * second..].iter().sum::<f32>() / second as f32;
    assert!(mean.abs() < 1e-4, "{mean}");
    assert!((level(&l[7 * second..], 440.0) - 0.2).abs() < 0.001);
    // 0.2 at 440 Hz moves by 0.0115 a sample.
    assert!(step_max(&l[DELAY..]) < 0.0125, "{}", step_max(&l));
    assert!((stage.removed().dc - 0.3).abs() < 0.01);
    // When the DC is gone, the high-pass fades out; then the bits are equal.
    let rest = both(&tone);
    let out = stage.run(true, false, &rest);
    let from = 4 * second;
    assert_eq!(
        out[2 * from..],
        rest[2 * (from - DELAY)..2 * (8 * second - DELAY)]
    );
    assert_eq!(stage.removed().dc, 0.0);
    // Not DC: a bass, a slow drum, an offset that is too small or too short.
    let mut short = vec![0.9; second * 9 / 10];
    short.extend(vec![0.0; second]);
    for sound in [
        sine(16.0, 0.97, 4 * second),
        sine(25.3, 0.97, 4 * second),
        vec![0.05; 4 * second],
        short,
    ] {
        let sound = both(&sound);
        let out = Bench::stereo().run(true, false, &sound);
        assert_eq!(out[2 * DELAY..], sound[..sound.len() - 2 * DELAY]);
    }
}

#[test]
fn after_a_mute_it_comes_back_slowly_however_short_the_mute_was() {
    for mute in [1, 50, 72, 128, 4_800] {
        let mut stage = Bench::stereo();
        let tone = both(&[0.04; 9_600]);
        assert_eq!(
            stage.run(true, false, &tone)[2 * DELAY..],
            tone[2 * DELAY..]
        );
        stage.run(true, true, &vec![0.0; 2 * mute]);
        let out = left(&stage.run(true, false, &both(&[0.04; 48_000])));
        let first = DELAY;
        for n in [1, 2_400, 12_000, 23_999] {
            let expected = 0.04 * n as f32 / 24_000.0;
            let found = out[first + n - 1];
            assert!(
                (found - expected).abs() < 1e-5,
                "{mute} {n}: {found} {expected}"
            );
        }
        assert_eq!(out[first + 24_000..], [0.04; 24_000 - DELAY]);
    }
    // With the stage off, the sound returns at once.
    let mut stage = Bench::stereo();
    stage.run(false, true, &[0.0; 256]);
    let out = stage.run(false, false, &both(&[0.04; 500]));
    assert_eq!(out[2 * DELAY..], both(&[0.04; 500])[2 * DELAY..]);
}

#[test]
fn switching_it_off_and_on_does_not_jump() {
    let mut stage = Bench::stereo();
    let tone = sine(200.0, 3.0, 96_000);
    let mut out = Vec::new();
    for (number, part) in tone.chunks(16_000).enumerate() {
        out.extend(left(&stage.run(number % 2 == 0, false, &both(part))));
    }
    // A level of 3 at 200 Hz moves by 0.0785; when the stage is switched on, the level falls within
    // 1.5 ms.
    assert!(step_max(&out) < 0.12, "{}", step_max(&out));
    let (off, on) = (peak(&out[17_000..31_000]), peak(&out[33_000..47_000]));
    assert!(off > 2.9 && on <= CEILING, "{off} {on}");
}

#[test]
fn whatever_bits_it_remembers_it_does_not_panic() {
    for bits in [u64::MAX, 0x7fc0_0000_7fc0_0000, 0x8000_0001_ffff_fff0] {
        let mut stage = Bench::stereo();
        stage.words.fill(bits);
        stage.run(true, false, &noise(1, 20_000));
        stage.run(false, true, &noise(2, 20_000));
    }
}
