//! `pingpong`: an echo that alternates between left and right, in milliseconds or in parts of a beat.
//!
//! Two lines feed each other: the input of the left one is the sound, the input of the right one is the output of the
//! left. Filters and fades are those of `delay`. A time longer than the lines is halved until it fits, which keeps
//! the beat.
//!
//! # Source
//! As in [`super::delay`].

use super::{
    choice,
    echo::{self, Band, flush_denormal},
    linear,
};
use crate::{
    catalog::{ModuleType, Param},
    lanes::Lanes,
    module::{Context, Io, Module, Outs, Polyphony, State},
};

pub struct Pingpong;

/// The length of a line in samples: 1024 ms at 48 kHz; less at higher rates.
const LINE: usize = 49_152;

const DIVISIONS: &[&str] = &[
    "1/1", "1/2.", "1/2", "1/2t", "1/4.", "1/4", "1/4t", "1/8.", "1/8", "1/8t", "1/16", "1/32",
];
/// The divisions in beats (quarter notes).
const BEATS: [f32; 12] = [
    4.0,
    3.0,
    2.0,
    4.0 / 3.0,
    1.5,
    1.0,
    2.0 / 3.0,
    0.75,
    0.5,
    1.0 / 3.0,
    0.25,
    0.125,
];
const EIGHTH: f32 = 8.0;

const FILTERS: usize = echo::CELLS;

/// The delay in samples, for a time in frames.
fn fitting(frames: f32) -> usize {
    // At least one sample, also for NaN.
    let mut frames = frames.clamp(1.0, 1e9);
    while frames > (LINE - 1) as f32 {
        frames *= 0.5;
    }
    (frames as usize).clamp(1, LINE - 1)
}

impl Module for Pingpong {
    const TYPE: ModuleType = ModuleType {
        name: "pingpong",
        help: "ping-pong echo: alternates between left and right",
        inputs: &["in"],
        outputs: &["left", "right"],
        params: &[
            linear(
                "time",
                "ms",
                [1.0, 250.0, 1_000.0],
                "time from one echo to the next without sync",
            ),
            linear(
                "feedback",
                "",
                [0.0, 0.5, 0.95],
                "level of an echo relative to the one before",
            ),
            echo::MIX,
            echo::LOW,
            echo::HIGH,
            choice("sync", &["off", "on"], "on: bpm and division set the time"),
            linear(
                "bpm",
                "",
                [20.0, 120.0, 300.0],
                "tempo in quarter notes per minute",
            ),
            Param {
                default: EIGHTH,
                ..choice(
                    "division",
                    DIVISIONS,
                    "time from one echo to the next with sync, in whole notes",
                )
            },
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const POLYPHONY: Polyphony = Polyphony::Summed;
    const CELLS: usize = FILTERS + 4;

    fn memory(_: Context) -> usize {
        2 * LINE
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let [time, feedback, mix, low, high, sync, bpm, division] = io.params();
        let each_ms = io.context.rate_hz / 1000.0;
        let still_band = low.still().is_some() && high.still().is_some();
        let first_band = Band::of(io, low.first(), high.first());
        let (lefts, rights) = outs.two();
        for channel in 0..io.channels {
            let of = |value: L| value.lane(channel);
            let mut tap = echo::Tap::load(io, state, channel, LINE);
            let mut poles: [f32; 4] =
                std::array::from_fn(|n| flush_denormal(state.number(FILTERS + n, channel)));
            let mut band = Band::lane(first_band, channel);
            for line in [2 * channel, 2 * channel + 1] {
                state.writes(line * LINE..(line + 1) * LINE, tap.at, io.frames);
            }
            let lines = &mut state.memory[channel * 2 * LINE..][..2 * LINE];
            let (near, far) = lines.split_at_mut(LINE);
            for frame in 0..io.frames {
                tap.aim(|| {
                    let beats = of(division.at(frame)) as usize;
                    let beats = BEATS.get(beats).copied().unwrap_or(0.5);
                    let ms = if of(sync.at(frame)) >= 0.5 {
                        beats * 60_000.0 / of(bpm.at(frame)).max(1.0)
                    } else {
                        of(time.at(frame))
                    };
                    fitting(ms * each_ms + 0.5)
                });
                let (first, second) = (tap.heard(near), tap.heard(far));
                if !still_band {
                    band = Band::lane(Band::of(io, low.at(frame), high.at(frame)), channel);
                }
                let [a, b, c, d] = poles;
                let (mut first_poles, mut second_poles) = ([a, b], [c, d]);
                let feedback = of(feedback.at(frame));
                let input = io.input(0)[frame * L::N + channel];
                near[tap.at] =
                    flush_denormal(input + band.next(&mut second_poles, second) * feedback);
                far[tap.at] = flush_denormal(band.next(&mut first_poles, first) * feedback);
                poles = [
                    first_poles[0],
                    first_poles[1],
                    second_poles[0],
                    second_poles[1],
                ];
                let mix = of(mix.at(frame));
                lefts[frame * L::N + channel] = input + (first - input) * mix;
                rights[frame * L::N + channel] = input + (second - input) * mix;
                tap.next();
            }
            tap.keep(state, channel);
            for (n, pole) in poles.into_iter().enumerate() {
                state.set_number(FILTERS + n, channel, flush_denormal(pole));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, step_max};

    fn echoes(values: &[(&str, f32)], frames: usize) -> [Vec<(usize, f32)>; 2] {
        let mut input = vec![0.0; frames];
        input[0] = 1.0;
        let all = [&[("mix", 1.0), ("feedback", 0.5)], values].concat();
        let out = Bench::of::<Pingpong>(&all).run(frames, &[("in", input)]);
        [0, 1].map(|side: usize| {
            let samples = out[side].iter().copied().enumerate();
            samples.filter(|(_, x)| *x != 0.0).collect()
        })
    }

    #[test]
    fn it_goes_from_side_to_side() {
        let [left, right] = echoes(&[("time", 10.0)], 2_000);
        assert_eq!(left, [(480, 1.0), (1_440, 0.25)]);
        assert_eq!(right, [(960, 0.5), (1_920, 0.125)]);
    }

    #[test]
    fn it_follows_the_beat_to_the_frame() {
        let place = |division: &str| DIVISIONS.iter().position(|d| *d == division).unwrap() as f32;
        // At 150 a minute a beat lasts 400 ms, 19 200 frames.
        for (division, frames) in [
            ("1/4", 19_200),
            ("1/8", 9_600),
            ("1/8.", 14_400),
            ("1/8t", 6_400),
            ("1/16", 4_800),
            ("1/2", 38_400),
            // Halved, as it is longer than the line.
            ("1/1", 38_400),
        ] {
            let values = [("sync", 1.0), ("bpm", 150.0), ("division", place(division))];
            let [left, _] = echoes(&values, 40_000);
            assert_eq!(left[0].0, frames, "{division}");
        }
        assert_eq!(Pingpong::TYPE.params[7].default, place("1/8"));
    }

    #[test]
    fn no_jump_of_a_parameter_clicks() {
        let mut pingpong = Bench::of::<Pingpong>(&[("mix", 1.0)]);
        let mut heard = Vec::new();
        for (param, value) in [
            ("time", 100.0),
            ("sync", 1.0),
            ("bpm", 150.0),
            ("low", 300.0),
            ("high", 500.0),
            ("division", 10.0),
        ] {
            let tone = |n: usize| libm::sin(n as f64 * 0.01) as f32 * 0.3;
            let input = (heard.len()..heard.len() + 24_000).map(tone).collect();
            heard.extend(pingpong.run(24_000, &[("in", input)]).remove(1));
            pingpong.set(param, value);
        }
        assert!(step_max(&heard) < 0.02, "{}", step_max(&heard));
    }
}
