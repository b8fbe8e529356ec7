//! `limiter`: a look-ahead limiter: no sample exceeds the ceiling.
//!
//! The look-ahead is 2 ms; [`Gain`] computes the gain of each sample. The arithmetic guarantees the ceiling, and a
//! sound below the ceiling passes bit for bit, 2 ms later.

use super::{linear, log};
use crate::{
    catalog::ModuleType,
    lanes::{Lanes, inlined},
    lookahead::{self, Gain},
    math,
    module::{Context, Io, Module, Outs, State},
};

pub struct Limiter;

const AHEAD_MS: f32 = 2.0;

// Cells: those of [`Gain`]: the position in the window, the largest reduction since the window's begin, the reduction
// after the release, and the integer sum over the window.
const AT: usize = 0;
const MOST: usize = 1;
const TAKEN: usize = 2;
const SUM: usize = 3;

/// The length of the look-ahead in samples.
fn ahead(context: Context) -> usize {
    ((context.rate_hz * AHEAD_MS / 1000.0) as usize).clamp(1, lookahead::FRAMES_MAX)
}

impl Module for Limiter {
    const TYPE: ModuleType = ModuleType {
        name: "limiter",
        help: "no sample exceeds the ceiling; 2 ms latency",
        inputs: &["in"],
        outputs: &["out"],
        params: &[
            linear("ceiling", "dB", [-40.0, -0.3, 0.0], "greatest output level"),
            log("release", "ms", [1.0, 100.0, 2_000.0], "recovery time"),
            linear("drive", "dB", [0.0, 0.0, 40.0], "gain before the limiter"),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = 4;

    /// The rings of the look-ahead: the sound, its reduction, and the largest reduction from each position of the last
    /// window to the window's end.
    fn memory(context: Context) -> usize {
        3 * ahead(context)
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let [ceiling, release, drive] = io.params();
        let len = ahead(io.context);
        let input = io.input(0);
        let one = io.splat(1.0);
        let height = inlined(
            #[inline(always)]
            |frame: usize| math::amplitude(io, ceiling.at(frame)),
        );
        let louder = inlined(
            #[inline(always)]
            |frame: usize| math::amplitude(io, drive.at(frame)),
        );
        let (first_height, first_louder) = (height(0), louder(0));
        let (still_height, still_louder) = (ceiling.still().is_some(), drive.still().is_some());
        // First compute the reduction of each sample, for all channels side by side.
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                let height = if still_height {
                    first_height
                } else {
                    height(frame)
                };
                let louder = if still_louder {
                    first_louder
                } else {
                    louder(frame)
                };
                let size = (io.at(0, frame) * louder).abs();
                one - height / height.max(size)
            },
        );
        let each_frame = -1000.0 * std::f32::consts::LOG2_E / io.context.rate_hz;
        let keep = math::exp2(io, io.splat(each_frame) / release.first());
        let out = outs.samples(0);
        for channel in 0..io.channels {
            let mut gain = Gain {
                at: *state.cell(AT, channel) % len as u32,
                most: state.number(MOST, channel),
                taken: state.number(TAKEN, channel),
                sum: *state.cell(SUM, channel),
            };
            let at = gain.at as usize;
            let keep = keep.lane(channel).clamp(0.0, 1.0);
            // The last of the three rings is scanned as a whole when it is full.
            for ring in [3 * channel, 3 * channel + 1] {
                state.writes(ring * len..(ring + 1) * len, at, io.frames);
            }
            let whole = at + io.frames >= len;
            let (first, count) = if whole { (0, len) } else { (at, io.frames) };
            state.writes(
                (3 * channel + 2) * len..(3 * channel + 3) * len,
                first,
                count,
            );
            let memory = &mut state.memory[channel * 3 * len..][..3 * len];
            let (sound, rest) = memory.split_at_mut(len);
            let (window, most_after) = rest.split_at_mut(len);
            for frame in 0..io.frames {
                let here = frame * L::N + channel;
                let (height, louder) = (
                    if still_height {
                        first_height
                    } else {
                        height(frame)
                    }
                    .lane(channel),
                    if still_louder {
                        first_louder
                    } else {
                        louder(frame)
                    }
                    .lane(channel),
                );
                let x = input[here] * louder;
                // Replace NaN and infinity by silence.
                let (x, needed) = if x.is_finite() {
                    (x, out[here].clamp(0.0, 1.0))
                } else {
                    (0.0, 0.0)
                };
                sound[gain.at as usize] = x;
                let left = gain.next(needed, keep, window, most_after);
                out[here] = (sound[gain.at as usize] * left).clamp(-height, height);
            }
            *state.cell(AT, channel) = gain.at;
            state.set_number(MOST, channel, gain.most);
            state.set_number(TAKEN, channel, gain.taken);
            *state.cell(SUM, channel) = gain.sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, alone, noise, step_max};

    fn sine(hz: f64, gain: f64, frames: usize) -> Vec<f32> {
        let cycle = |n: usize| libm::sin(n as f64 * hz / 48_000.0 * std::f64::consts::TAU);
        (0..frames).map(|n| (cycle(n) * gain) as f32).collect()
    }

    #[test]
    fn the_ceiling_is_never_exceeded() {
        for (ceiling, release) in [(0.0, 1.0), (-6.0, 50.0), (-40.0, 2_000.0)] {
            let values = [("ceiling", ceiling), ("release", release), ("drive", 20.0)];
            let mut input = noise(3, 48_000);
            input[20_000..].iter_mut().for_each(|x| *x *= 0.01);
            input[30_000] = 1e6;
            let out = Bench::of::<Limiter>(&values).run(48_000, &[("in", input)]);
            let most = libm::pow(10.0, f64::from(ceiling) / 20.0) as f32;
            let loud = out[0].iter().fold(0.0, |max: f32, x| max.max(x.abs()));
            assert!(loud <= most * 1.000_001, "{loud} {most}");
            assert!(loud > most * 0.9, "{loud} {most}");
        }
    }

    #[test]
    fn below_the_ceiling_it_is_the_same_to_the_bit_later() {
        let input = noise(3, 24_000);
        let out = Bench::of::<Limiter>(&[("ceiling", 0.0)]).run(24_000, &[("in", input.clone())]);
        assert_eq!(out[0][95..], input[..24_000 - 95]);
    }

    #[test]
    fn around_a_peak_it_is_as_quiet_as_the_peak_needs() {
        // Wherever in the window the peak falls; with the shortest release.
        for place in 0..97 {
            let mut input = vec![0.25; 4_800];
            input[1_000 + place] = 4.0;
            let values = [("ceiling", 0.0), ("release", 1.0)];
            let out = Bench::of::<Limiter>(&values).run(4_800, &[("in", input)]);
            let peak = 1_000 + place + 95;
            assert!((out[0][peak] - 1.0).abs() < 1e-4);
            for beside in [peak - 1, peak + 1] {
                let gain = out[0][beside] / 0.25;
                assert!((0.25..0.27).contains(&gain), "{place}: {gain}");
            }
        }
    }

    #[test]
    fn it_turns_down_smoothly_in_time_and_up_with_the_release() {
        // A tone that is 12 dB too loud for a while.
        let mut input = sine(1_000.0, 0.9, 96_000);
        input[24_000..48_000].iter_mut().for_each(|x| *x *= 4.0);
        let values = [("ceiling", -0.5), ("release", 100.0)];
        let out = Bench::of::<Limiter>(&values)
            .run(96_000, &[("in", input)])
            .remove(0);
        // The clamp has nothing to do: the peaks are where they should be, and the tone is no square.
        let tone = crate::bench::level(&out[30_000..46_800], 1_000.0);
        let third = crate::bench::level(&out[30_000..46_800], 3_000.0);
        let ceiling = libm::pow(10.0, -0.5 / 20.0);
        assert!(
            (tone / ceiling - 1.0).abs() < 0.01 && third < 0.001,
            "{tone} {third}"
        );
        // The gain's part that is missing falls by e in 100 ms.
        let peak = |from: usize| {
            out[from..from + 48]
                .iter()
                .fold(0.0, |m: f32, x| m.max(x.abs()))
        };
        let missing = |from: usize| 1.0 - peak(from) / 0.9;
        let ratio = missing(50_000) / missing(54_800);
        assert!((ratio / std::f32::consts::E - 1.0).abs() < 0.02, "{ratio}");
        assert!(step_max(&out) < 0.14, "{}", step_max(&out));
    }

    #[test]
    fn each_channel_is_limited_as_if_it_were_alone_and_a_bad_sample_forgotten() {
        alone::<Limiter>(&[("drive", 12.0)], &["in"]);
        alone::<Limiter>(&[("drive", 12.0)], &["in", "ceiling"]);
        let mut limiter = Bench::of::<Limiter>(&[]);
        let bad = limiter.run(64, &[("in", [f32::NAN, f32::INFINITY].repeat(32))]);
        let out = limiter.run(64, &[("in", vec![0.5; 64])]);
        assert!(bad[0].iter().chain(&out[0]).all(|x| x.is_finite()));
    }
}
