//! `sampler`: plays a recording, in stereo: once, while its gate is open, in a loop, to and fro; at any
//! speed, forwards or backwards.
//!
//! Where it stands in the recording is a whole number with 32 bits after the point, so that a loop of a
//! million turns is as exact as the first. Between two frames it is the cubic through four. What was
//! sounding when the gate opens again, or closes, or the end is reached, fades out beside it; so nothing
//! clicks but the recording itself.
//!
//! # Source
//! Edwin Catmull, Raphael Rom, A class of local interpolating splines, 1974.

use super::{choice, linear, log};
use crate::{
    catalog::ModuleType,
    lanes::Lanes,
    module::{Io, Module, Outs, State},
    smooth::glide_frames,
};
use common::sample::Sample;

pub struct Sampler;

const ONCE: u32 = 0;
const LOOP: u32 = 2;
const TO_AND_FRO: u32 = 3;

// Cells: of the voice that plays and of the one that fades each its place (two), whether it plays, which
// way, and how loud; the gate, and the frames until the other has faded.
const VOICE: usize = 5;
const FADING: usize = VOICE;
const GATE: usize = 2 * VOICE;
const LEFT: usize = GATE + 1;
const FADE: usize = GATE + 2;

/// One frame, where places have 32 bits after the point.
const ONE: i64 = 1 << 32;

/// The sample of a side at a place.
#[inline(always)]
pub fn between(at: impl Fn(i64) -> f32, place: i64) -> f32 {
    let frame = place >> 32;
    let part = ((place as u32) >> 8) as f32 * (1.0 / 16_777_216.0);
    let [a, b, c, d] = [at(frame - 1), at(frame), at(frame + 1), at(frame + 2)];
    let bend = part * (3.0 * (b - c) + d - a) + (2.0 * a - 5.0 * b + 4.0 * c - d);
    b + 0.5 * part * (c - a + part * bend)
}

#[derive(Clone, Copy, Default)]
struct Voice {
    place: i64,
    plays: bool,
    backwards: bool,
    level: f32,
}

impl Voice {
    #[inline(always)]
    fn load<L: Lanes>(state: &mut State<'_, L>, first: usize, channel: usize) -> Self {
        let high = i64::from(*state.cell(first, channel) as i32);
        let low = i64::from(*state.cell(first + 1, channel));
        let level = state.number(first + 4, channel);
        Self {
            place: high << 32 | low,
            plays: *state.cell(first + 2, channel) != 0,
            backwards: *state.cell(first + 3, channel) != 0,
            level: if level.is_finite() { level } else { 0.0 },
        }
    }

    #[inline(always)]
    fn keep<L: Lanes>(&self, state: &mut State<'_, L>, first: usize, channel: usize) {
        *state.cell(first, channel) = (self.place >> 32) as u32;
        *state.cell(first + 1, channel) = self.place as u32;
        *state.cell(first + 2, channel) = self.plays.into();
        *state.cell(first + 3, channel) = self.backwards.into();
        state.set_number(first + 4, channel, self.level);
    }

    /// What is heard of it on a side.
    #[inline(always)]
    fn heard(&self, sample: &Sample, side: usize) -> f32 {
        if self.plays {
            between(|frame| sample.at(frame, side), self.place) * self.level
        } else {
            0.0
        }
    }

    #[inline(always)]
    fn go(&mut self, step: i64) {
        let step = if self.backwards { -step } else { step };
        self.place = self.place.wrapping_add(step);
    }

    /// Turns round where it has left the part that is played; false where that is the end.
    #[inline(always)]
    fn turn(&mut self, mode: u32, from: i64, to: i64) -> bool {
        let past = if self.backwards {
            self.place < from
        } else {
            self.place >= to
        };
        if !past {
            return true;
        }
        match mode {
            LOOP => {
                let length = to - from;
                self.place = from + self.place.wrapping_sub(from).rem_euclid(length);
                true
            }
            TO_AND_FRO => {
                let edge = if self.backwards { from } else { to - ONE };
                self.place = edge
                    .saturating_mul(2)
                    .wrapping_sub(self.place)
                    .clamp(from, to - 1);
                self.backwards = !self.backwards;
                true
            }
            _ => false,
        }
    }
}

impl Module for Sampler {
    const TYPE: ModuleType = ModuleType {
        name: "sampler",
        help: "plays a recording from where its gate opens, in stereo",
        inputs: &["gate"],
        outputs: &["left", "right"],
        params: &[
            log(
                "pitch",
                "",
                [0.0625, 1.0, 16.0],
                "how fast: 2 is an octave up",
            ),
            linear(
                "start",
                "",
                [0.0, 0.0, 1.0],
                "where it begins: 1 is the end of the recording",
            ),
            linear("end", "", [0.0, 1.0, 1.0], "where it ends"),
            choice(
                "mode",
                &["once", "gate", "loop", "pingpong"],
                "to the end; while the gate is open; over and over; to and fro",
            ),
            choice(
                "direction",
                &["forwards", "backwards"],
                "which way it begins",
            ),
            log(
                "release",
                "ms",
                [1.0, 5.0, 10_000.0],
                "fade once the gate closes",
            ),
            linear("gain", "", [0.0, 1.0, 2.0], "level"),
        ],
        takes_gate: true,
        takes_notes: false,
        takes_sample: true,
    };
    const CELLS: usize = 2 * VOICE + 3;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let [pitch, start, end, mode, direction, release, gain] = io.params();
        let sample = io.sample;
        let length = (sample.frames() as i64) << 32;
        let each = f64::from(sample.rate_hz()) / f64::from(io.context.rate_hz);
        let short = glide_frames(io.context.rate_hz);
        let (lefts, rights) = outs.two();
        for channel in 0..io.channels {
            let of = |value: L| value.lane(channel);
            let mut voice = Voice::load(state, 0, channel);
            let mut fading = Voice::load(state, FADING, channel);
            let mut before = state.number(GATE, channel);
            let mut left = *state.cell(LEFT, channel);
            let mut fade = (*state.cell(FADE, channel)).max(1);
            for frame in 0..io.frames {
                let gate = io.input(0)[frame * L::N + channel].max(io.gate.level);
                let (was, is) = (before > 0.0, gate > 0.0);
                before = gate;
                let mode = of(mode.at(frame)) as u32;
                // Places as parts of the recording; at least a frame lies between.
                let place =
                    |part: f32| (f64::from(part) * sample.frames() as f64 * ONE as f64) as i64;
                let from = place(of(start.at(frame))).clamp(0, (length - ONE).max(0));
                let to = place(of(end.at(frame))).clamp(from + ONE, length.max(from + ONE));
                let step = (f64::from(of(pitch.at(frame))) * each * ONE as f64) as i64;
                let opened = is && (!was || frame == 0 && io.gate.opened);
                let closed = was && !is && mode != ONCE;
                if opened || closed {
                    if voice.plays {
                        fading = voice;
                        fade = match closed {
                            true => {
                                let ms = of(release.at(frame)) * io.context.rate_hz / 1000.0;
                                (ms as u32).max(1)
                            }
                            false => short,
                        };
                        left = fade;
                    }
                    let backwards = of(direction.at(frame)) >= 0.5;
                    voice = Voice {
                        place: if backwards { to - ONE } else { from },
                        plays: opened && length > 0,
                        backwards,
                        level: gate.clamp(0.0, 1.0),
                    };
                }
                let rest = left.min(fade) as f32 / fade as f32;
                let gain = of(gain.at(frame));
                for (side, out) in [&mut *lefts, &mut *rights].into_iter().enumerate() {
                    let mut heard = voice.heard(sample, side);
                    if left > 0 {
                        heard += fading.heard(sample, side) * rest;
                    }
                    out[frame * L::N + channel] = heard * gain;
                }
                voice.go(step);
                if voice.plays && !voice.turn(mode, from, to) {
                    (fading, fade, left) = (voice, short, short);
                    voice.plays = false;
                } else if left > 0 {
                    left -= 1;
                    fading.go(step);
                    // It goes round as long as it is heard; past an end it goes on into what lies there.
                    fading.turn(mode, from, to);
                }
            }
            voice.keep(state, 0, channel);
            fading.keep(state, FADING, channel);
            state.set_number(GATE, channel, if before.is_finite() { before } else { 0.0 });
            *state.cell(LEFT, channel) = left;
            *state.cell(FADE, channel) = fade;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, alone, step_max};

    /// A recording of one channel, whose samples are their numbers, in thousandths.
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
        let expected: Vec<f32> = (0..300).map(|n| sample.at(n, 0)).collect();
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
        near(
            &played(ramp(400), &[("pitch", 2.0)], 150),
            &(0..150).map(|n| 2 * n).collect::<Vec<_>>(),
        );
    }

    #[test]
    fn a_tone_is_in_tune_at_any_rate_and_speed() {
        let tone = |rate: f64| {
            let turn = |n: usize| libm::sin(n as f64 * 1_000.0 / rate * std::f64::consts::TAU);
            (0..96_000).map(|n| turn(n) as f32).collect::<Vec<_>>()
        };
        for (rate_hz, pitch, hz) in [
            (44_100, 1.0, 1_000.0),
            (48_000, 0.5, 500.0),
            (96_000, 1.5, 1_500.0),
        ] {
            let sample = Sample::new(rate_hz, 1, tone(f64::from(rate_hz))).unwrap();
            let heard = played(sample, &[("pitch", pitch)], 24_000);
            let level = crate::bench::level(&heard, hz);
            assert!((level - 1.0).abs() < 0.01, "{rate_hz}, {pitch}: {level}");
        }
    }

    #[test]
    fn nothing_clicks_when_it_is_struck_again_or_let_go() {
        let turn = |n: usize| libm::sin(n as f64 * 100.0 / 48_000.0 * std::f64::consts::TAU);
        let sample = Sample::new(48_000, 1, (0..48_000).map(|n| turn(n) as f32).collect()).unwrap();
        let mut gate = vec![0.0; 10_000];
        // Opened where the tone begins at 0, again in its middle, and closed.
        for (from, to) in [(100, 2_000), (2_001, 7_000)] {
            gate[from..to].fill(1.0);
        }
        let values = [("mode", 1.0), ("release", 20.0)];
        let mut sampler = Bench::of::<Sampler>(&values).playing(sample);
        let heard = sampler.run(10_000, &[("gate", gate)]).remove(0);
        // The tone itself moves by 0.013 a frame, and for a while there are two.
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
}
