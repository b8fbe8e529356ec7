//! `midi_in`: converts notes to pitch, gate, velocity, pressure and timbre, one channel for each voice.
//!
//! A pitch of 0 is C4 (note 60, 261.626 Hz); 1 is an octave. An oscillator with a `freq` of 261.626 Hz plays the pitch
//! at its input `freq`. A note takes the free channel with the oldest note; if no channel is free, the note takes the
//! channel of another note by the rule of `voices`. Before its first note a channel plays the parameter `note`.
//! `/gate/ID` opens the gates of all channels; its height is the velocity. A gate that opens while it is open, or in
//! the frame in which it closes, first closes for one frame, so that the listening module is struck again ([`Shown`]).

use super::linear;
use crate::{
    catalog::{ModuleType, Param, Scale},
    lanes::Lanes,
    module::{Expressed, Io, Module, Note, Outs, Shown, State, Voices},
    smooth::{GLIDE_MS, frames},
};
use common::command::Expression;

pub struct MidiIn;

const VELOCITY: usize = 0;
/// The state of the channel's note: [`NEVER`] any note, [`HELD`], or [`ENDED`].
const LIFE: usize = 1;
/// The note's number; its start, counted in notes; the frames until it ends by itself, 0 for never.
const KEY: usize = 2;
const BEGAN: usize = 3;
const LEFT: usize = 4;
/// The gate.
const SHOWN: usize = 5;
/// The lines (ramps): value, target, step per frame, remaining frames.
const PITCH: usize = SHOWN + Shown::CELLS;
const BEND: usize = PITCH + 4;
const PRESSURE: usize = BEND + 4;
const TIMBRE: usize = PRESSURE + 4;
/// Not 0 before the first frame of the note.
const NEW: usize = TIMBRE + 4;
/// In the first channel only: the number of notes so far; for the mono voice, the count and list of other held keys.
const NOTES: usize = NEW + 1;
const KEYS: usize = NOTES + 1;
const KEY_FIRST: usize = KEYS + 1;
const KEYS_MAX: usize = 8;
const CELLS: usize = KEY_FIRST + KEYS_MAX;

const NEVER: u32 = 0;
const HELD: u32 = 1;
const ENDED: u32 = 2;

const NOTE: usize = 0;
const VOICES: usize = 1;
const GLIDE: usize = 2;
const QUIETEST: f32 = 1.0;
const MONO: f32 = 2.0;

/// Access to the cells of channels, between and during blocks.
trait Cells {
    fn cell(&mut self, channel: usize, cell: usize) -> &mut u32;

    fn get(&mut self, channel: usize, cell: usize) -> f32 {
        f32::from_bits(*self.cell(channel, cell))
    }

    fn set(&mut self, channel: usize, cell: usize, value: f32) {
        *self.cell(channel, cell) = value.to_bits();
    }

    /// Starts a line to a value within `frames` frames.
    fn go(&mut self, channel: usize, line: usize, to: f32, frames: u32) {
        let from = self.get(channel, line);
        self.set(channel, line + 1, to);
        self.set(channel, line + 2, (to - from) / frames.max(1) as f32);
        *self.cell(channel, line + 3) = frames;
        if frames == 0 {
            self.set(channel, line, to);
        }
    }

    /// The next value of a line.
    fn next(&mut self, channel: usize, line: usize) -> f32 {
        let left = *self.cell(channel, line + 3);
        if left > 0 {
            let to = self.get(channel, line + 1);
            let rest = self.get(channel, line + 2) * (left - 1) as f32;
            *self.cell(channel, line + 3) = left - 1;
            self.set(channel, line, if left == 1 { to } else { to - rest });
        }
        self.get(channel, line)
    }

    /// Whether a line is at rest.
    fn stands(&mut self, channel: usize, line: usize) -> bool {
        *self.cell(channel, line + 3) == 0
    }

    /// The number of other held keys of the mono voice.
    fn keys(&mut self) -> usize {
        (*self.cell(0, KEYS) as usize).min(KEYS_MAX)
    }

    /// Removes a held key.
    fn let_go(&mut self, key: f32) {
        let mut kept = 0;
        for number in 0..self.keys() {
            let other = self.get(0, KEY_FIRST + number);
            if other != key {
                self.set(0, KEY_FIRST + kept, other);
                kept += 1;
            }
        }
        *self.cell(0, KEYS) = kept as u32;
    }

    /// Adds a held key as the last; removes the first if there are too many.
    fn hold(&mut self, key: f32) {
        self.let_go(key);
        if self.keys() == KEYS_MAX {
            let first = self.get(0, KEY_FIRST);
            self.let_go(first);
        }
        let keys = self.keys();
        self.set(0, KEY_FIRST + keys, key);
        *self.cell(0, KEYS) = keys as u32 + 1;
    }

    /// The gate of a channel.
    fn shown(&mut self, channel: usize) -> Shown {
        Shown::load(|cell| *self.cell(channel, SHOWN + cell))
    }

    fn keep_shown(&mut self, channel: usize, shown: Shown) {
        shown.keep(|cell, bits| *self.cell(channel, SHOWN + cell) = bits);
    }

    /// Ends the note of a channel.
    fn end(&mut self, channel: usize) {
        *self.cell(channel, LIFE) = ENDED;
        *self.cell(channel, LEFT) = 0;
    }
}

impl Cells for Voices<'_> {
    fn cell(&mut self, channel: usize, cell: usize) -> &mut u32 {
        self.cell(channel, cell)
    }
}

impl<L: Lanes> Cells for State<'_, L> {
    fn cell(&mut self, channel: usize, cell: usize) -> &mut u32 {
        self.cell(cell, channel)
    }
}

/// The pitch of a note at the output.
fn octaves(key: f32) -> f32 {
    (key - 60.0) / 12.0
}

/// Begins or ends a note.
fn play(voices: &mut Voices<'_>, note: Note) {
    let mono = voices.param(VOICES) == MONO;
    let holds = |voices: &mut Voices<'_>, channel: &usize| {
        *voices.cell(*channel, LIFE) == HELD && voices.get(*channel, KEY) == note.pitch
    };
    let same = (0..voices.channels).find(|channel| holds(voices, channel));
    if note.velocity > 0.0 {
        let channel = match same {
            _ if mono => 0,
            Some(channel) => channel,
            None => free(voices),
        };
        if mono && *voices.cell(0, LIFE) == HELD && *voices.cell(0, LEFT) == 0 {
            let key = voices.get(0, KEY);
            voices.hold(key);
        }
        if mono {
            voices.let_go(note.pitch);
        }
        begin(voices, channel, note);
        return;
    }
    voices.let_go(note.pitch);
    let Some(channel) = same else {
        return;
    };
    match voices.keys() {
        last @ 1.. if mono => {
            let key = voices.get(0, KEY_FIRST + last - 1);
            voices.let_go(key);
            slide(voices, 0, key);
        }
        _ => voices.end(channel),
    }
}

/// The channel that a new note takes.
fn free(voices: &mut Voices<'_>) -> usize {
    let quietest = voices.param(VOICES) == QUIETEST;
    let now = *voices.cell(0, NOTES);
    let rank = |voices: &mut Voices<'_>, channel: usize| {
        let held = *voices.cell(channel, LIFE) == HELD;
        let loud = if held && quietest {
            voices.get(channel, VELOCITY).to_bits()
        } else {
            0
        };
        let age = now.wrapping_sub(*voices.cell(channel, BEGAN));
        let age = if *voices.cell(channel, LIFE) == NEVER {
            u32::MAX
        } else {
            age
        };
        (held, loud, u32::MAX - age)
    };
    let channels = 0..voices.channels;
    channels
        .min_by_key(|channel| rank(voices, *channel))
        .unwrap_or(0)
}

fn begin(voices: &mut Voices<'_>, channel: usize, note: Note) {
    let life = *voices.cell(channel, LIFE);
    if life == NEVER {
        voices.go(channel, PITCH, octaves(note.pitch), 0);
        *voices.cell(channel, LIFE) = HELD;
    }
    slide(voices, channel, note.pitch);
    let notes = voices.cell(0, NOTES).wrapping_add(1);
    *voices.cell(0, NOTES) = notes;
    *voices.cell(channel, BEGAN) = notes;
    *voices.cell(channel, LIFE) = HELD;
    *voices.cell(channel, LEFT) = note.frames;
    let mut shown = voices.shown(channel);
    shown.strike(note.velocity);
    voices.keep_shown(channel, shown);
    voices.set(channel, VELOCITY, note.velocity);
    *voices.cell(channel, NEW) = 1;
    for line in [BEND, PRESSURE, TIMBRE] {
        voices.go(channel, line, 0.0, 0);
    }
}

/// Glides to another pitch.
fn slide(voices: &mut Voices<'_>, channel: usize, key: f32) {
    let (ms, rate_hz) = (voices.param(GLIDE), voices.rate_hz);
    let time = if ms > 0.0 { frames(ms, rate_hz) } else { 0 };
    voices.set(channel, KEY, key);
    voices.go(channel, PITCH, octaves(key), time);
}

/// Changes sounding notes.
fn express(voices: &mut Voices<'_>, expressed: Expressed) {
    let (line, value) = match expressed.what {
        Expression::Bend => (BEND, expressed.value / 12.0),
        Expression::Pressure => (PRESSURE, expressed.value),
        Expression::Timbre => (TIMBRE, expressed.value),
    };
    let time = frames(GLIDE_MS, voices.rate_hz);
    for channel in 0..voices.channels {
        let all = expressed.pitch < 0.0;
        let own =
            *voices.cell(channel, LIFE) == HELD && voices.get(channel, KEY) == expressed.pitch;
        if all || own {
            // Expressions at a note's first frame apply at once, without a glide.
            let is_new = *voices.cell(channel, NEW) != 0;
            let time = if is_new { 0 } else { time };
            voices.go(channel, line, value, time);
        }
    }
}

impl Module for MidiIn {
    const TYPE: ModuleType = ModuleType {
        name: "midi_in",
        help: "MIDI notes as pitch, gate, velocity, pressure and timbre, a channel for each voice",
        inputs: &[],
        outputs: &["pitch", "gate", "velocity", "pressure", "timbre"],
        params: &[
            Param {
                scale: Scale::Stepped,
                ..linear(
                    "note",
                    "",
                    [0.0, 60.0, 127.0],
                    "note number before the first note; 60 is C4",
                )
            },
            Param {
                scale: Scale::Stepped,
                choices: &["oldest", "quietest", "mono"],
                ..linear(
                    "voices",
                    "",
                    [0.0, 0.0, 2.0],
                    "channel that a note takes if none is free, or mono for a single voice",
                )
            },
            linear(
                "glide",
                "ms",
                [0.0, 0.0, 5_000.0],
                "glide time to the pitch of the next note",
            ),
        ],
        takes_gate: true,
        takes_notes: true,
        takes_sample: false,
    };
    const CELLS: usize = CELLS;
    const PLAY: Option<fn(&mut Voices<'_>, Note)> = Some(play);
    const EXPRESS: Option<fn(&mut Voices<'_>, Expressed)> = Some(express);

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let note = io.param(NOTE);
        let frames = io.frames as u32;
        let mut moves = io.gate.stands_from() > 0 || note.still().is_none();
        for channel in 0..io.channels {
            let left = *state.cell(LEFT, channel);
            moves |= !state.shown(channel).stands() || left > 0 && left <= frames;
            for line in [PITCH, BEND, PRESSURE, TIMBRE] {
                moves |= !state.stands(channel, line);
            }
        }
        let needed = if moves { io.frames } else { 1 };
        let mut heard = [0.0; 5];
        for channel in 0..io.channels {
            let mut shown = state.shown(channel);
            for frame in 0..needed {
                let (note, gate) = (note.at(frame).lane(0), io.gate.at(frame));
                voice(io, state, channel, note, (gate, &mut shown), &mut heard);
                for (number, value) in heard.iter().enumerate() {
                    outs.samples(number)[frame * L::N + channel] = *value;
                }
            }
            if !moves {
                // Count down one frame.
                let left = state.cell(LEFT, channel);
                *left = left.saturating_sub(frames - 1);
            }
            state.keep_shown(channel, shown);
        }
        if !moves {
            for number in 0..heard.len() {
                let held = L::load(io.token, &outs.samples(number)[..L::N]);
                outs.hold(number, held);
            }
        }
    }
}

/// A frame of a channel.
#[inline(always)]
fn voice<L: Lanes>(
    io: &Io<'_, L>,
    state: &mut State<'_, L>,
    channel: usize,
    note: f32,
    ((all, opened), shown): ((f32, bool), &mut Shown),
    heard: &mut [f32; 5],
) {
    *state.cell(NEW, channel) = 0;
    let held = *state.cell(LIFE, channel) == HELD;
    let own = if held {
        state.number(VELOCITY, channel)
    } else {
        0.0
    };
    let pitch = match *state.cell(LIFE, channel) {
        NEVER => octaves(note),
        _ => Cells::next(state, channel, PITCH) + Cells::next(state, channel, BEND),
    };
    let open = all.max(own);
    if opened {
        shown.strike(open);
    }
    if all > 0.0 && !held {
        state.set_number(VELOCITY, channel, all);
    }
    *heard = [
        pitch,
        shown.next(open),
        state.number(VELOCITY, channel),
        Cells::next(state, channel, PRESSURE),
        Cells::next(state, channel, TIMBRE),
    ];
    let left = state.cell(LEFT, channel);
    if *left > 0 {
        *left -= 1;
        if *left == 0 {
            finish(io, state, channel);
        }
    }
}

/// Ends a note whose time is over: the mono voice returns to a held key.
fn finish<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, channel: usize) {
    let mono = io.value(VOICES) == MONO && io.first_channel == 0 && channel == 0;
    match state.keys() {
        last @ 1.. if mono => {
            let key = Cells::get(state, 0, KEY_FIRST + last - 1);
            state.let_go(key);
            Cells::set(state, 0, KEY, key);
            let ms = io.value(GLIDE);
            let time = if ms > 0.0 {
                frames(ms, io.context.rate_hz)
            } else {
                0
            };
            state.go(0, PITCH, octaves(key), time);
        }
        _ => state.end(channel),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Bench;

    fn keys(values: &[(&str, f32)], channels: usize) -> Bench {
        Bench::poly::<MidiIn>(values, channels)
    }

    /// Pitches in semitones from C4 and gates of all channels at a frame.
    fn at(heard: &[Vec<f32>], channels: usize, frame: usize) -> Vec<(f32, f32)> {
        let both = heard[..channels].iter().zip(&heard[channels..2 * channels]);
        both.map(|(pitch, gate)| (pitch[frame] * 12.0, gate[frame]))
            .collect()
    }

    #[test]
    fn a_note_is_its_pitch_in_octaves_from_c4() {
        for (note, pitch) in [(60.0, 0.0), (69.0, 0.75), (48.0, -1.0), (0.0, -5.0)] {
            let heard = keys(&[("note", note)], 4).run(10, &[]);
            assert!(heard[..4].iter().all(|voice| *voice == [pitch; 10]));
        }
        // A4 is 440 Hz.
        assert!((261.625_57 * libm::exp2(0.75) - 440.0).abs() < 1e-3);
    }

    #[test]
    fn its_gate_opens_all_voices_and_its_height_is_the_velocity() {
        let mut keys = keys(&[], 2);
        assert!(keys.run(5, &[])[2..4].iter().all(|x| *x == [0.0; 5]));
        keys.gate(0.5);
        assert!(keys.run(5, &[])[2..6].iter().all(|x| *x == [0.5; 5]));
        // Again while it is open.
        keys.gate(0.75);
        let heard = keys.run(3, &[]);
        assert!(heard[2..4].iter().all(|x| *x == [0.0, 0.75, 0.75]));
        keys.gate(0.0);
        let heard = keys.run(3, &[]);
        assert!(heard[2..4].iter().all(|x| *x == [0.0; 3]));
        assert!(heard[4..6].iter().all(|x| *x == [0.75; 3]));
    }

    #[test]
    fn notes_take_free_channels_and_give_them_back() {
        let mut keys = keys(&[], 3);
        keys.note(60.0, 0.5, 0);
        keys.note(64.0, 0.6, 0);
        let heard = keys.run(4, &[]);
        assert_eq!(at(&heard, 3, 0), [(0.0, 0.5), (4.0, 0.6), (0.0, 0.0)]);
        keys.note(60.0, 0.0, 0);
        keys.note(67.0, 0.7, 0);
        keys.note(72.0, 0.8, 0);
        // A channel that has never sounded is taken first, then a channel whose note has ended.
        let heard = keys.run(4, &[]);
        assert_eq!(at(&heard, 3, 3), [(12.0, 0.8), (4.0, 0.6), (7.0, 0.7)]);
    }

    #[test]
    fn when_none_is_free_the_oldest_or_the_quietest_is_taken_with_a_gap_of_a_frame() {
        for (voices, taken) in [(0.0, 0), (1.0, 1)] {
            let mut keys = keys(&[("voices", voices)], 2);
            keys.note(60.0, 0.9, 0);
            keys.note(62.0, 0.3, 0);
            keys.run(3, &[]);
            keys.note(70.0, 0.5, 0);
            let heard = keys.run(3, &[]);
            assert_eq!(at(&heard, 2, 0)[taken], (10.0, 0.0));
            assert_eq!(at(&heard, 2, 1)[taken], (10.0, 0.5));
            assert!(at(&heard, 2, 0)[1 - taken].1 > 0.0);
        }
    }

    #[test]
    fn a_note_ends_at_its_very_frame() {
        let mut keys = keys(&[], 1);
        keys.note(60.0, 1.0, 150);
        let gates: Vec<f32> = (0..4).flat_map(|_| keys.run(64, &[])[1].clone()).collect();
        assert_eq!(gates.iter().position(|gate| *gate == 0.0), Some(150));
        assert!(gates[150..].iter().all(|gate| *gate == 0.0));
    }

    #[test]
    fn one_voice_goes_back_to_the_key_that_is_held_and_glides() {
        let mut keys = keys(&[("voices", 2.0), ("glide", 1.0)], 2);
        keys.note(60.0, 0.5, 0);
        keys.run(8, &[]);
        keys.note(72.0, 0.5, 0);
        let pitch = keys.run(48, &[])[0].clone();
        for (frame, value) in pitch.iter().enumerate() {
            let line = (frame + 1) as f32 / 48.0;
            assert!((value - line).abs() < 1e-5, "{frame}: {value}");
        }
        keys.note(72.0, 0.0, 0);
        let heard = keys.run(60, &[]);
        assert_eq!(at(&heard, 2, 59), [(0.0, 0.5), (0.0, 0.0)]);
        keys.note(60.0, 0.0, 0);
        assert_eq!(at(&keys.run(1, &[]), 2, 0)[0], (0.0, 0.0));
    }

    #[test]
    fn a_note_begins_with_what_is_said_of_it_at_its_first_frame() {
        let mut keys = keys(&[], 2);
        keys.note(60.0, 0.5, 0);
        keys.express(60.0, Expression::Bend, -2.0);
        keys.express(60.0, Expression::Pressure, 0.25);
        let heard = keys.run(4, &[]);
        assert_eq!(heard[0], [-2.0 / 12.0; 4]);
        assert_eq!(heard[6], [0.25; 4]);
    }

    #[test]
    fn a_note_that_sounds_is_bent_and_pressed() {
        let mut keys = keys(&[], 2);
        keys.note(60.0, 0.5, 0);
        keys.note(64.0, 0.5, 0);
        keys.express(64.0, Expression::Bend, 2.0);
        keys.express(-1.0, Expression::Pressure, 0.25);
        let heard = keys.run(400, &[]);
        assert_eq!(at(&heard, 2, 399)[0].0, 0.0);
        assert!((at(&heard, 2, 399)[1].0 - 6.0).abs() < 1e-5);
        assert_eq!((heard[6][399], heard[7][399]), (0.25, 0.25));
        // In a line, not in a step.
        assert!(heard[6].windows(2).all(|w| (w[1] - w[0]).abs() < 0.001));
    }
}
