//! `sampler`: plays a recording in stereo: once, while its gate is open, in a loop, or back and forth; at any speed,
//! forwards or backwards.
//!
//! The position in the recording is an integer with 32 fractional bits, so that the millionth pass of a loop is as
//! exact as the first. Values between two frames are band-limited ([`crate::bandlimited`]). A loop is seamless: its
//! first frame follows its last. Loops are played from the original frames, since only at that rate the loop is a
//! whole number of frames; everything else is played from the frames at the stack's rate, which need no interpolation
//! at speed 1. When the gate opens again or closes, or the end is reached, the old sound fades out beside the new
//! one, so that nothing but the recording itself clicks.

use super::{choice, linear, log};
use crate::{
    bandlimited::{self, Beyond, Bounds, Kernel, ONE, Quality},
    catalog::ModuleType,
    lanes::Lanes,
    math::note_hz,
    module::{Edges, Io, Module, Outs, State},
    smooth::glide_frames,
};
use common::sample::{Loop, Sample, Sound, Way};

pub struct Sampler;

const ONCE: u32 = 0;
const LOOP: u32 = 2;
const TO_AND_FRO: u32 = 3;

// Cells: for the playing and for the fading voice its position (two), its frames, its flags, and its level; the gate,
// and the remaining frames of the fade.
const VOICE: usize = 5;
const FADING: usize = VOICE;
const GATE: usize = 2 * VOICE;
const LEFT: usize = GATE + 1;
const FADE: usize = GATE + 2;

/// The frames that a voice plays: none, those at the stack's rate, or the recorded ones.
const NOTHING: u32 = 0;
const CONVERTED: u32 = 1;
const RECORDED: u32 = 2;

/// The flags of a voice: it runs backwards; it has passed the loop's end, so that the loop's last frame precedes its
/// first.
const BACKWARDS: u32 = 1;
const AROUND: u32 = 2;

#[derive(Clone, Copy, Default)]
struct Voice {
    place: i64,
    from: u32,
    backwards: bool,
    around: bool,
    level: f32,
}

/// The part of a recording that is played, in whole frames, from `start` to `end`, and its loop.
#[derive(Clone, Copy)]
struct Part {
    start: i64,
    end: i64,
    first: i64,
    last: i64,
    way: Option<Way>,
    /// The frames of the cross-fade between the loop's end and the sound before its begin.
    cross: i64,
}

impl Part {
    /// The part from `start` to `end` of a recording, at least a frame, in this mode.
    #[inline(always)]
    fn of(sound: &Sound, [start, end]: [f32; 2], mode: u32, own: Option<Loop>, cross: f32) -> Self {
        let frames = sound.frames() as i64;
        let place = |part: f32| (f64::from(part) * frames as f64 + 0.5) as i64;
        let start = place(start).clamp(0, (frames - 1).max(0));
        let end = place(end).clamp(start + 1, frames.max(start + 1));
        let mut part = Self {
            start,
            end,
            first: start,
            last: end,
            way: match mode {
                LOOP => Some(Way::Forwards),
                TO_AND_FRO => Some(Way::ToAndFro),
                _ => None,
            },
            cross: 0,
        };
        if let (Some(_), Some(own)) = (part.way, own) {
            let (from, to) = (i64::from(own.from).max(start), i64::from(own.to).min(end));
            if from < to {
                (part.first, part.last) = (from, to);
                if mode == LOOP {
                    part.way = Some(own.way);
                }
            }
        }
        if part.way == Some(Way::Forwards) {
            part.cross = (cross as i64).min(part.last - part.first);
        }
        part
    }

    /// The frames of a voice's cross-fade at the end of the loop: at most the frames beyond it.
    #[inline(always)]
    fn crossing(&self, sound: &Sound, backwards: bool) -> i64 {
        self.cross.min(match backwards {
            false => self.first,
            true => sound.frames() as i64 - self.last,
        })
    }
}

impl Voice {
    #[inline(always)]
    fn load<L: Lanes>(state: &mut State<'_, L>, first: usize, channel: usize) -> Self {
        let high = i64::from(*state.cell(first, channel) as i32);
        let low = i64::from(*state.cell(first + 1, channel));
        let flags = *state.cell(first + 3, channel);
        let level = state.number(first + 4, channel);
        Self {
            place: high << 32 | low,
            from: *state.cell(first + 2, channel),
            backwards: flags & BACKWARDS != 0,
            around: flags & AROUND != 0,
            level: if level.is_finite() { level } else { 0.0 },
        }
    }

    #[inline(always)]
    fn keep<L: Lanes>(&self, state: &mut State<'_, L>, first: usize, channel: usize) {
        let backwards = if self.backwards { BACKWARDS } else { 0 };
        let flags = backwards | if self.around { AROUND } else { 0 };
        *state.cell(first, channel) = (self.place >> 32) as u32;
        *state.cell(first + 1, channel) = self.place as u32;
        *state.cell(first + 2, channel) = self.from;
        *state.cell(first + 3, channel) = flags;
        state.set_number(first + 4, channel, self.level);
    }

    #[inline(always)]
    const fn plays(&self) -> bool {
        self.from != NOTHING
    }

    /// The frames that the interpolation may read; during the loop's cross-fade, both sides as recorded.
    #[inline(always)]
    fn bounds(&self, sound: &Sound, part: &Part, crosses: bool) -> Bounds {
        let all = Bounds::all(sound.frames());
        let beyond = match part.way {
            Some(Way::ToAndFro) => Beyond::Mirrored,
            Some(_) => Beyond::Around,
            None => return all,
        };
        let mut bounds = Bounds {
            from: part.first,
            len: part.last - part.first,
            ..all
        };
        if self.around || !self.backwards {
            bounds.above = beyond;
            if !crosses || !self.backwards {
                bounds.high = part.last;
            }
        }
        if self.around || self.backwards {
            bounds.below = beyond;
            if !crosses || self.backwards {
                bounds.low = part.first;
            }
        }
        bounds
    }

    /// The positions that the voice plays, the level of each, and the frames that may be read there.
    #[inline(always)]
    fn heard(&self, sound: &Sound, part: &Part, level: f32) -> [(i64, f32, Bounds); 2] {
        let level = if self.plays() {
            self.level * level
        } else {
            0.0
        };
        let cross = part.crossing(sound, self.backwards);
        let bounds = self.bounds(sound, part, cross > 0);
        // The distance to the end, where the other side of the cross-fade has taken over.
        let (rest, other) = match self.backwards {
            false => (
                (part.last << 32).wrapping_sub(self.place),
                part.first - part.last,
            ),
            true => (
                self.place.wrapping_sub((part.first - 1) << 32),
                part.last - part.first,
            ),
        };
        let gone = match cross {
            0 => 0.0,
            _ => (1.0 - rest as f32 / (cross << 32) as f32).clamp(0.0, 1.0),
        };
        let beyond = Bounds {
            below: Beyond::Around,
            above: Beyond::Around,
            from: part.first,
            len: part.last - part.first,
            ..Bounds::all(sound.frames())
        };
        let there = self.place.wrapping_add(other << 32);
        [
            (self.place, level * (1.0 - gone), bounds),
            (there, level * gone, beyond),
        ]
    }

    /// Switches to the other frames (original or converted) if the mode has changed while it sounds.
    #[inline(always)]
    fn plays_from<'a>(&mut self, from: u32, sound_of: impl Fn(u32) -> &'a Sound) {
        if self.plays() && self.from != from {
            let [old, new] = [self.from, from].map(|from| f64::from(sound_of(from).rate_hz()));
            self.place = (self.place as f64 * (new / old)) as i64;
            self.from = from;
            self.around = false;
        }
    }

    #[inline(always)]
    fn go(&mut self, step: i64) {
        let step = if self.backwards { -step } else { step };
        self.place = self.place.wrapping_add(step);
    }

    /// Wraps a position that has left the played part; false at the end.
    #[inline(always)]
    fn render(&mut self, part: &Part) -> bool {
        let (first, last) = (part.first << 32, part.last << 32);
        let Some(way) = part.way else {
            return match self.backwards {
                true => self.place >= part.start << 32,
                false => self.place < part.end << 32,
            };
        };
        match way {
            Way::Forwards | Way::Backwards => {
                let past = match self.backwards {
                    true => self.place < first,
                    false => self.place >= last,
                };
                if past {
                    let into = self.place.wrapping_sub(first).rem_euclid(last - first);
                    let cycles = way == Way::Backwards && !self.backwards;
                    self.place = match cycles {
                        true => (last - ONE - into).max(first),
                        false => first + into,
                    };
                    self.backwards |= cycles;
                    self.around = true;
                }
            }
            Way::ToAndFro => {
                // The first and the last frame occur once: a cycle is twice the loop minus two frames.
                let cycle = (2 * (last - first) - 2 * ONE).max(ONE);
                let past = match self.backwards {
                    true => self.place < first,
                    false => self.place > last - ONE,
                };
                if past {
                    let up = self.place.wrapping_sub(first);
                    let into = if self.backwards {
                        cycle.wrapping_sub(up)
                    } else {
                        up
                    };
                    let into = into.rem_euclid(cycle);
                    self.backwards = into > last - ONE - first;
                    let up = if self.backwards { cycle - into } else { into };
                    self.place = (first + up).clamp(first, last - ONE);
                    self.around = true;
                }
            }
        }
        true
    }
}

/// The playback settings for values of the parameters; computed when they change.
#[derive(Clone, Copy)]
struct How {
    mode: u32,
    from: u32,
    part: Part,
    step: i64,
    kernel: Kernel,
}

impl How {
    #[inline(always)]
    fn of(values: [f32; 7], sample: &Sample, rate_hz: f32) -> Self {
        let [pitch, start, end, mode, crossfade_ms, freq, looped] = values;
        let mode = mode as u32;
        let (from, sound) = match mode {
            LOOP | TO_AND_FRO => (RECORDED, sample.recorded()),
            _ => (CONVERTED, sample.at_rate(rate_hz as u32)),
        };
        let sound_hz = sound.rate_hz() as f32;
        let own = sample.looped().filter(|_| looped < 0.5);
        let part = Part::of(
            sound,
            [start, end],
            mode,
            own,
            crossfade_ms * sound_hz / 1000.0,
        );
        let root_hz = || f64::from(note_hz(sample.root().unwrap_or(60.0)));
        let tuned = if freq > 0.0 {
            f64::from(freq) / root_hz()
        } else {
            1.0
        };
        let speed = f64::from(pitch) * tuned * f64::from(sound_hz) / f64::from(rate_hz);
        let step = (speed * ONE as f64) as i64;
        Self {
            mode,
            from,
            part,
            step,
            kernel: Kernel::at(Quality::Voice, step as u64),
        }
    }
}

impl Module for Sampler {
    const TYPE: ModuleType = ModuleType {
        name: "sampler",
        help: "plays a recording when its gate opens, in stereo",
        inputs: &["gate"],
        outputs: &["left", "right"],
        params: &[
            log(
                "pitch",
                "",
                [0.0625, 1.0, 16.0],
                "playback speed: 2 is an octave up",
            ),
            linear(
                "start",
                "",
                [0.0, 0.0, 1.0],
                "start of the played part: 1 is the end of the recording",
            ),
            linear("end", "", [0.0, 1.0, 1.0], "end of the played part"),
            choice(
                "mode",
                &["once", "gate", "loop", "pingpong"],
                "once: to the end; gate: while the gate is open; loop: repeat; pingpong: back and forth",
            ),
            choice("direction", &["forwards", "backwards"], "initial direction"),
            log(
                "release",
                "ms",
                [1.0, 5.0, 10_000.0],
                "fade-out after the gate closes",
            ),
            linear("gain", "", [0.0, 1.0, 2.0], "level"),
            log(
                "crossfade",
                "ms",
                [0.0, 0.0, 1_000.0],
                "cross-fade of the loop's end with the sound before its start",
            ),
            log(
                "freq",
                "Hz",
                [0.0, 0.0, 20_000.0],
                "frequency; 0, or that of the root note, plays as recorded",
            ),
            choice(
                "loop",
                &["recording", "part"],
                "recording: the recording's own loop, if it has one; part: from start to end",
            ),
        ],
        takes_gate: true,
        takes_notes: false,
        takes_sample: true,
    };
    const CELLS: usize = 2 * VOICE + 3;

    fn start(_: usize, _: &[f32], _: &mut [u32]) {
        bandlimited::prepare();
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let [
            pitch,
            start,
            end,
            mode,
            direction,
            release,
            gain,
            crossfade,
            freq,
            looped,
        ] = io.params();
        let sample = io.sample;
        let recorded = sample.recorded();
        let converted = sample.at_rate(io.context.rate_hz as u32);
        let short = glide_frames(io.context.rate_hz);
        let sound_of = |from: u32| {
            if from == RECORDED {
                recorded
            } else {
                converted
            }
        };
        let (lefts, rights) = outs.two();
        for channel in 0..io.channels {
            let of = |value: L| value.lane(channel);
            let mut voice = Voice::load(state, 0, channel);
            let mut fading = Voice::load(state, FADING, channel);
            let mut edges = Edges::<f32>::of((), io.gate, state.number(GATE, channel));
            let mut left = *state.cell(LEFT, channel);
            let mut fade = (*state.cell(FADE, channel)).max(1);
            let mut set = [0.0; 7];
            let mut how = How::of(set, sample, io.context.rate_hz);
            for frame in 0..io.frames {
                let edge = edges.next(frame, io.input(0)[frame * L::N + channel]);
                let now =
                    [pitch, start, end, mode, crossfade, freq, looped].map(|p| of(p.at(frame)));
                if frame == 0 || now != set {
                    set = now;
                    how = How::of(now, sample, io.context.rate_hz);
                }
                let How {
                    mode,
                    from,
                    part,
                    step,
                    kernel,
                } = how;
                let sound = sound_of(from);
                for voice in [&mut voice, &mut fading] {
                    voice.plays_from(from, sound_of);
                }
                let opened = edge.opens;
                let closed = edge.closes && mode != ONCE;
                if opened || closed {
                    if voice.plays() {
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
                    let plays = opened && sound.frames() > 0;
                    voice = Voice {
                        place: (if backwards { part.end - 1 } else { part.start }) << 32,
                        from: if plays { from } else { NOTHING },
                        backwards,
                        around: match backwards {
                            false => part.start == part.first,
                            true => part.end == part.last,
                        },
                        level: edge.gate.clamp(0.0, 1.0),
                    };
                }
                let rest = left.min(fade) as f32 / fade as f32;
                let [a, b] = voice.heard(sound, &part, 1.0);
                let [c, d] = fading.heard(sound, &part, rest);
                let mut heard = [0.0; 2];
                for (place, level, bounds) in [a, b, c, d] {
                    if level > 0.0 {
                        let read = match sound.is_mono() {
                            true => [kernel.read([sound.side(0)], place, &bounds)[0]; 2],
                            false => {
                                kernel.read([0, 1].map(|side| sound.side(side)), place, &bounds)
                            }
                        };
                        for (heard, read) in heard.iter_mut().zip(read) {
                            *heard += read * level;
                        }
                    }
                }
                let gain = of(gain.at(frame));
                lefts[frame * L::N + channel] = heard[0] * gain;
                rights[frame * L::N + channel] = heard[1] * gain;
                voice.go(step);
                if voice.plays() && !voice.render(&part) {
                    (fading, fade, left) = (voice, short, short);
                    voice.from = NOTHING;
                } else if left > 0 {
                    left -= 1;
                    fading.go(step);
                    // The fading voice still loops; past an end it continues into the adjacent frames.
                    fading.render(&part);
                }
            }
            voice.keep(state, 0, channel);
            fading.keep(state, FADING, channel);
            let before = edges.before;
            state.set_number(GATE, channel, if before.is_finite() { before } else { 0.0 });
            *state.cell(LEFT, channel) = left;
            *state.cell(FADE, channel) = fade;
        }
    }
}

#[cfg(test)]
mod tests;
