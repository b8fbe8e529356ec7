//! `adsr`: an envelope that shapes its input; its times are exact to the frame.
//!
//! Each segment begins at the current level, so a gate that opens or closes during a segment does not click. The
//! height of the gate is the velocity: the height of the attack. All channels are rendered side by side from one
//! change of a segment to the next.

use super::{
    choice, linear, log,
    segments::{self, GATE, Voice},
};
use crate::{
    catalog::ModuleType,
    lanes::{LANES_MAX, Lanes, Mask, inlined},
    module::{Io, Module, Outs, State},
};

pub struct Adsr;

/// Gate opens: any → attack → decay → sustain; closes: any but idle → release → idle.
const IDLE: u32 = 0;
const ATTACK: u32 = 1;
const DECAY: u32 = 2;
const SUSTAIN: u32 = 3;
const RELEASE: u32 = 4;

const TIMES: [usize; 3] = [0, 1, 3];
const SUSTAIN_LEVEL: usize = 2;
const CURVE: usize = 4;

/// The frames until the segment ends.
fn until(voice: &Voice) -> usize {
    match voice.stage {
        ATTACK | DECAY | RELEASE => voice.left.max(1) as usize,
        _ => usize::MAX,
    }
}

impl Module for Adsr {
    const TYPE: ModuleType = ModuleType {
        name: "adsr",
        help: "envelope: attack, decay, sustain, release; out: shaped input, env: envelope",
        inputs: &["in", "gate"],
        outputs: &["out", "env"],
        params: &[
            log("attack", "ms", [0.0, 10.0, 60_000.0], "time to full level"),
            log(
                "decay",
                "ms",
                [0.0, 100.0, 60_000.0],
                "time from full level to the sustain level",
            ),
            linear(
                "sustain",
                "",
                [0.0, 0.7, 1.0],
                "level while the gate is open",
            ),
            log(
                "release",
                "ms",
                [0.0, 200.0, 60_000.0],
                "time to silence after the gate closes",
            ),
            choice("curve", &["linear", "exponential"], "shape of the segments"),
        ],
        takes_gate: true,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = segments::CELLS;

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let mut voices = segments::load(state);
        let voices = &mut voices[..L::N];
        let times = TIMES.map(|param| io.param(param));
        let exponential = io.param(CURVE).first().lane(0) >= 0.5;
        let sustain = io.param(SUSTAIN_LEVEL);
        let (still_gate, gates) = (io.still(1), io.frames_of(1));
        let mut edges = io.edges(state.get(GATE));
        let mut frame = 0;
        while frame < io.frames {
            // The gates that open or close at this frame.
            let edge = edges.next(frame, gates.at(frame));
            let (opens, closes) = (edge.opens.bits(), edge.closes.bits());
            if opens | closes != 0 {
                for (channel, voice) in voices.iter_mut().enumerate() {
                    let time = |number: usize| times[number].at(frame).lane(channel);
                    if opens & 1 << channel != 0 {
                        voice.height = edge.gate.lane(channel).min(1.0);
                        voice.enter(ATTACK, time(0), io.context.rate_hz);
                    } else if closes & 1 << channel != 0
                        && voice.stage != IDLE
                        && voice.stage != RELEASE
                    {
                        voice.enter(RELEASE, time(2), io.context.rate_hz);
                    }
                }
            }
            // Until a segment ends or a gate changes.
            let least = voices.iter().map(until).min();
            let mut end = frame + least.unwrap_or(1).min(io.frames - frame);
            if frame < io.gate.stands_from() {
                end = frame + 1;
            } else if still_gate.is_none() {
                let zero = io.splat(0.0);
                let moves = inlined(
                    #[inline(always)]
                    |frame: &usize| {
                        let now = zero.lt(edges.gate(*frame, gates.at(*frame)));
                        ((now & !edge.open) | (edge.open & !now)).any()
                    },
                );
                end = (frame + 1..end).find(moves).unwrap_or(end);
                edges.before = edges.gate(end - 1, gates.at(end - 1));
            }
            let lanes = |of: &dyn Fn(&Voice) -> f32| {
                let mut all = [0.0; LANES_MAX];
                for (to, voice) in all.iter_mut().zip(&*voices) {
                    *to = of(voice);
                }
                L::load(io.token, &all[..L::N])
            };
            let span = Span {
                // The target of the level: a constant part, and a multiple of the sustain level.
                target: lanes(&|v| if v.stage == ATTACK { v.height } else { 0.0 }),
                sustained: lanes(&|v| match v.stage {
                    DECAY | SUSTAIN => v.height,
                    _ => 0.0,
                }),
                from: lanes(&|v| match v.stage {
                    IDLE => 0.0,
                    _ => v.from,
                }),
                each: lanes(&|v| match v.stage {
                    ATTACK | DECAY | RELEASE => 1.0 / v.frames as f32,
                    _ => 0.0,
                }),
                left: lanes(&|v| v.left as f32),
                exponential,
            };
            let level = span.render(io, outs, sustain, frame..end);
            let passed = (end - frame) as u32;
            let mut levels = [0.0; LANES_MAX];
            level.store(&mut levels[..L::N]);
            for (channel, voice) in voices.iter_mut().enumerate() {
                voice.level = levels[channel];
                if until(voice) == usize::MAX {
                    continue;
                }
                voice.left = voice.left.saturating_sub(passed);
                if voice.left == 0 {
                    match voice.stage {
                        ATTACK => {
                            let ms = times[1].at(end - 1).lane(channel);
                            voice.enter(DECAY, ms, io.context.rate_hz);
                        }
                        DECAY => voice.stage = SUSTAIN,
                        _ => voice.stage = IDLE,
                    }
                }
            }
            frame = end;
        }
        segments::keep(state, voices);
        state.set(GATE, edges.before);
    }
}

/// A span of frames in which no channel changes its segment.
struct Span<L> {
    target: L,
    sustained: L,
    from: L,
    /// The reciprocal of the segment's frames; 0 for a constant level.
    each: L,
    left: L,
    exponential: bool,
}

impl<L: Lanes> Span<L> {
    /// Renders the span; returns the levels at its end.
    #[inline(always)]
    fn render(
        self,
        io: &Io<'_, L>,
        outs: &mut Outs<'_, L>,
        sustain: crate::params::Signal<'_, L>,
        frames: std::ops::Range<usize>,
    ) -> L {
        let (zero, one) = (io.splat(0.0), io.splat(1.0));
        let stands = !zero.lt(self.each).any();
        if let (true, Some(sustain)) = (stands, sustain.still()) {
            let level = self.target + self.sustained * sustain;
            self.write(io, outs, frames, |_| level);
            return level;
        }
        let mut left = self.left;
        let mut last = zero;
        self.write(
            io,
            outs,
            frames,
            #[inline(always)]
            |frame| {
                let target = self.target + self.sustained * sustain.at(frame);
                left = (left - one).max(zero);
                let mut rest = left * self.each;
                if self.exponential {
                    rest = segments::exponential(io, rest);
                }
                last = target + (self.from - target) * rest;
                last
            },
        );
        last
    }

    /// Writes both outputs.
    #[inline(always)]
    fn write(
        &self,
        io: &Io<'_, L>,
        outs: &mut Outs<'_, L>,
        frames: std::ops::Range<usize>,
        mut level: impl FnMut(usize) -> L,
    ) {
        let range = frames.start * L::N..frames.end * L::N;
        let wanted = outs.wants(1);
        let (out, env) = outs.two();
        let input = io.input(0)[range.clone()].chunks_exact(L::N);
        let out = out[range.clone()].chunks_exact_mut(L::N);
        let env = env[range].chunks_exact_mut(L::N);
        if wanted {
            for (((frame, dry), out), env) in frames.zip(input).zip(out).zip(env) {
                let level = level(frame);
                level.store(env);
                (L::load(io.token, dry) * level).store(out);
            }
        } else {
            for ((frame, dry), out) in frames.zip(input).zip(out) {
                (L::load(io.token, dry) * level(frame)).store(out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, step_max};

    fn levels(adsr: &mut Bench, frames: usize) -> Vec<f32> {
        let mut both = adsr.run(frames, &[("in", vec![1.0; frames])]);
        assert_eq!(both[0], both[1]);
        both.remove(0)
    }

    #[test]
    fn its_times_are_exact_to_the_frame() {
        for curve in [0.0, 1.0] {
            let mut adsr = Bench::of::<Adsr>(&[
                ("attack", 10.0),
                ("decay", 20.0),
                ("sustain", 0.5),
                ("release", 5.0),
                ("curve", curve),
            ]);
            assert_eq!(levels(&mut adsr, 10), [0.0; 10]);
            adsr.gate(1.0);
            let attack = levels(&mut adsr, 480);
            assert!(attack[478] < 1.0 && attack[479] == 1.0);
            let decay = levels(&mut adsr, 960);
            assert!(decay[958] > 0.5 && decay[959] == 0.5);
            assert_eq!(levels(&mut adsr, 100), [0.5; 100]);
            adsr.gate(0.0);
            let release = levels(&mut adsr, 241);
            assert!(release[238] > 0.0 && release[239] == 0.0 && release[240] == 0.0);
            // Half-way, the straight one is half there, the other one much further.
            let half = release[119] / 0.5;
            assert!(
                if curve == 0.0 {
                    half > 0.49
                } else {
                    half < 0.07
                },
                "{half}"
            );
        }
    }

    #[test]
    fn the_longest_times_are_exact_too() {
        let values = [
            ("attack", 59_999.0),
            ("decay", 0.0),
            ("sustain", 1.0),
            ("release", 0.0),
        ];
        let mut adsr = Bench::at::<Adsr>(&values, 1, 44_100.0);
        adsr.gate(0.6);
        let out = levels(&mut adsr, 2_645_956);
        let frames = out.len();
        assert!(out[frames - 2] < 0.6 && out[frames - 1] == 0.6);
    }

    #[test]
    fn a_gate_in_the_middle_of_a_segment_does_not_step() {
        let mut adsr = Bench::of::<Adsr>(&[
            ("attack", 10.0),
            ("decay", 20.0),
            ("sustain", 0.5),
            ("release", 10.0),
        ]);
        let mut heard = Vec::new();
        for frames in [300, 200, 700, 100, 50, 600] {
            let open = heard.len() % 2 == 0;
            adsr.gate(if open { 0.8 } else { 0.0 });
            heard.extend(levels(&mut adsr, frames));
        }
        assert!(step_max(&heard) < 0.003);
    }

    #[test]
    fn each_channel_follows_its_own_gate_to_the_frame() {
        let values = [
            ("attack", 1.0),
            ("decay", 0.0),
            ("sustain", 1.0),
            ("release", 1.0),
        ];
        for channels in [1, 3, 20] {
            let mut adsr = Bench::poly::<Adsr>(&values, channels);
            let gate = |channel: usize| {
                let open = 10 + 7 * channel..200 + 3 * channel;
                (0..500)
                    .map(|n| f32::from(u8::from(open.contains(&n))))
                    .collect()
            };
            let gates: Vec<Vec<f32>> = (0..channels).map(gate).collect();
            let ones = vec![vec![1.0; 500]; channels];
            let heard = adsr.run_poly(500, &[("in", ones), ("gate", gates)]);
            for (channel, out) in heard[..channels].iter().enumerate() {
                let first = out.iter().position(|x| *x > 0.0);
                assert_eq!(first, Some(10 + 7 * channel));
                assert_eq!(out[10 + 7 * channel + 47], 1.0);
                let last = out.iter().rposition(|x| *x > 0.0);
                assert_eq!(last, Some(200 + 3 * channel + 46));
            }
        }
    }
}
