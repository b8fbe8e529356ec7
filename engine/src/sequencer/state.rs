//! The state of a sequence. It is in the arena, so that a replica restored from a checkpoint continues at the
//! same frame.
//!
//! Three things may be due: the end of the sounding note, the action of the present step (delayed by swing,
//! repeated by ratchets), and the next step. The frame of each is computed when it is planned.

mod lead;

use bytemuck::{Pod, Zeroable};
use common::command::{Event, SequenceControl};

pub use lead::Lead;

use super::{
    Track, at,
    tempo::{Tempo, thousandths},
};
use crate::patch::sequence::{BPM, GATE_LENGTH, SequenceSpec, Step};

/// Stands for no frame.
const NEVER: u64 = u64::MAX;
/// The note of a sequence without notes: C4.
const NO_NOTE: f32 = 60.0;
/// The velocity of an accent.
const VELOCITY_MAX: f32 = 127.0;

/// The state of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct State {
    /// The frames of the beginning of the next step, of the present step's action, and of the end of the
    /// sounding note.
    boundary: u64,
    strike: u64,
    off: u64,
    /// The frame of step 0 of the present tempo, and the number of the next step from there.
    origin: u64,
    number: u64,
    /// Steps and hits since the sequence began: the number of the next of each.
    step: u64,
    hits: u64,
    /// The requested tempo in thousandths of a beat per minute, and the gate length in thousandths of a step.
    bpm: u32,
    gate: u32,
    /// The tempo and division in force, which change when a step begins.
    tempo: u32,
    division: u32,
    /// The position of the next step in the pattern, and in the bar.
    place: u32,
    bar_step: u32,
    /// The pattern of the chain that plays, from 1, or 0 for the sequence's own pattern; and its bar, from 1.
    link: u32,
    bar: u32,
    /// The velocity of this step's hit; 0 for a rest, or [`TIE`].
    velocity: u32,
    /// How often this step has been struck.
    struck: u32,
    /// Whether the next step is a tie.
    held: u32,
    /// The note of this step, and the sounding note.
    pitch: f32,
    sounding: f32,
    /// Whether a note sounds.
    open: u32,
    /// Not 0: `number` is the step's number in the song, as an external clock counts it.
    led: u32,
    /// Not 0: nothing beyond the tick `limit` is due until the next message of the clock.
    waits: u32,
    limit: u32,
    spare: [u32; 1],
}

/// Stands for a tie in the place of a velocity.
const TIE: u32 = 128;
/// Words of the state in the arena: whole pieces.
pub const STATE_WORDS: usize = size_of::<State>() / 8;
const _: () = assert!(STATE_WORDS.is_multiple_of(common::checkpoint::PIECE_WORDS));

/// The beginning of another sequence's next bar.
#[derive(Clone, Copy)]
pub struct Downbeat {
    tempo: Tempo,
    origin: u64,
    number: u64,
}

impl Downbeat {
    pub fn frame(&self, rate_hz: u32) -> u64 {
        let frames = self.tempo.frames(rate_hz, (self.number.into(), 1));
        self.origin.wrapping_add(frames)
    }
}

impl State {
    /// A stopped sequence before its first step.
    pub fn new(spec: &SequenceSpec, track: &Track) -> Self {
        let bpm = thousandths(spec.bpm);
        Self {
            boundary: NEVER,
            strike: NEVER,
            off: NEVER,
            bpm,
            gate: thousandths(spec.gate_len),
            tempo: bpm,
            division: track.division,
            ..Self::zeroed()
        }
    }

    pub fn of(words: &[u64]) -> Self {
        *bytemuck::from_bytes(bytemuck::cast_slice(words))
    }

    pub fn words(&self) -> &[u64] {
        bytemuck::cast_slice(std::slice::from_ref(self))
    }

    /// The next frame at which something is due, or [`u64::MAX`].
    pub fn due(&self) -> u64 {
        self.boundary.min(self.strike).min(self.off)
    }

    pub const fn runs(&self) -> bool {
        self.boundary != NEVER || self.waits != 0
    }

    /// Takes tempo and gate length from a patch.
    pub fn take_values(&mut self, spec: &SequenceSpec) {
        self.bpm = thousandths(spec.bpm);
        self.gate = thousandths(spec.gate_len);
    }

    /// The pattern of the chain that plays, from 1; 0 for the sequence's own pattern.
    pub const fn link(&self) -> u32 {
        self.link
    }

    /// Makes that pattern of the chain the one that plays.
    pub const fn relink(&mut self, link: u32) {
        self.link = link;
    }

    /// Renumbers frames: `from` becomes `to`.
    pub fn rebase(&mut self, from: u64, to: u64) {
        self.origin = self.origin.wrapping_sub(from).wrapping_add(to);
        for frame in [&mut self.boundary, &mut self.strike, &mut self.off] {
            if *frame != NEVER {
                *frame = frame.saturating_sub(from).saturating_add(to);
            }
        }
    }

    /// Ends the sounding note.
    pub fn close(&mut self, track: &Track, out: &mut impl FnMut(Event)) {
        self.off = NEVER;
        if std::mem::take(&mut self.open) != 0 {
            for target in &track.targets {
                out(target.event(self.sounding, 0.0));
            }
        }
    }

    /// The sounding note, for a caller that ends the note itself.
    pub fn sounding(&self) -> Option<f32> {
        (self.open != 0).then_some(self.sounding)
    }

    /// Applies a control event at that frame. `Join` is handled elsewhere.
    pub fn control(
        &mut self,
        what: SequenceControl,
        track: &Track,
        now: u64,
        out: &mut impl FnMut(Event),
    ) {
        match what {
            SequenceControl::Start if !self.runs() => self.start(track, now),
            SequenceControl::Start | SequenceControl::Join => {}
            SequenceControl::Stop => {
                self.close(track, out);
                (self.boundary, self.strike, self.waits) = (NEVER, NEVER, 0);
            }
            SequenceControl::Reset => {
                let ran = self.runs();
                self.close(track, out);
                self.rewind();
                if ran {
                    self.start(track, now);
                }
            }
            SequenceControl::Bpm(bpm) if bpm.is_finite() => {
                self.bpm = thousandths(bpm.clamp(*BPM.start(), *BPM.end()));
            }
            SequenceControl::GateLength(part) if part.is_finite() => {
                self.gate = thousandths(part.clamp(*GATE_LENGTH.start(), *GATE_LENGTH.end()));
            }
            SequenceControl::Bpm(_) | SequenceControl::GateLength(_) => {}
        }
    }

    fn rewind(&mut self) {
        (self.boundary, self.strike, self.waits) = (NEVER, NEVER, 0);
        (self.step, self.hits, self.place) = (0, 0, 0);
        (self.bar_step, self.link, self.bar) = (0, 0, 0);
        (self.pitch, self.sounding) = (0.0, 0.0);
    }

    fn start(&mut self, track: &Track, now: u64) {
        self.take_tempo(track, now);
        self.boundary = now;
    }

    /// Puts the requested tempo in force; it counts from that frame.
    fn take_tempo(&mut self, track: &Track, now: u64) {
        self.bar_step = self.bar_step * track.division / self.division.max(1);
        (self.tempo, self.division) = (self.bpm, track.division);
        (self.origin, self.number, self.led) = (now, 0, 0);
    }

    fn tempo(&self) -> Tempo {
        Tempo {
            bpm: self.tempo,
            division: self.division,
        }
    }

    /// The frame of a number of steps after step 0, given as a fraction.
    fn frame(&self, rate_hz: u32, steps: (u128, u128)) -> u64 {
        self.origin
            .wrapping_add(self.tempo().frames(rate_hz, steps))
    }

    /// The beginning of the next bar.
    pub fn downbeat(&self, track: &Track) -> Downbeat {
        let mut then = *self;
        if (self.tempo, self.division) != (self.bpm, track.division) {
            then.take_tempo(track, self.boundary);
        }
        let division = then.division.max(1);
        let left = (division - then.bar_step % division) % division;
        Downbeat {
            tempo: then.tempo(),
            origin: then.origin,
            number: then.number + u64::from(left),
        }
    }

    /// Restarts at that downbeat; with the same tempo, on exactly the same grid.
    pub fn join(&mut self, track: &Track, rate_hz: u32, there: Downbeat) {
        self.rewind();
        self.start(track, there.frame(rate_hz));
        let notes = there.number * u64::from(self.division);
        let of_theirs = u64::from(there.tempo.division);
        if self.tempo == there.tempo.bpm && notes.is_multiple_of(of_theirs) {
            (self.origin, self.number) = (there.origin, notes / of_theirs);
        }
    }

    /// Restarts at that frame.
    pub fn begin(&mut self, track: &Track, now: u64) {
        self.rewind();
        self.start(track, now);
    }

    /// Does everything that is due at that frame.
    pub fn play(&mut self, track: &Track, rate_hz: u32, now: u64, out: &mut impl FnMut(Event)) {
        loop {
            if self.off <= now {
                self.close(track, out);
            } else if self.strike <= now {
                self.strike(track, rate_hz, out);
            } else if self.boundary <= now {
                self.step(track, rate_hz, now);
            } else {
                return;
            }
        }
    }

    /// Begins a step and plans its action.
    fn step(&mut self, track: &Track, rate_hz: u32, now: u64) {
        if (self.tempo, self.division) != (self.bpm, track.division) {
            self.take_tempo(track, self.boundary);
        }
        if self.bar_step == 0 {
            self.bar_begins(track);
        }
        let pattern = track.pattern(self.link);
        let count = pattern.steps.len();
        let place = self.place as usize % count;
        self.velocity = match pattern.steps[place] {
            Step::Rest => 0,
            Step::Tie => TIE,
            Step::Hit(velocity) => {
                self.pitch = at(&pattern.notes, self.hits).unwrap_or(NO_NOTE);
                self.hits += 1;
                let chance = at(&pattern.chances, self.step);
                let falls = chance.is_none_or(|chance| dice(track.seed, self.step) < chance);
                if falls { velocity.into() } else { 0 }
            }
        };
        self.held = (pattern.steps[(place + 1) % count] == Step::Tie).into();
        self.struck = 0;
        self.strike = self.frame(rate_hz, (self.onset(track, self.number), 1_000));
        self.number += 1;
        self.step += 1;
        self.place = ((place + 1) % count) as u32;
        self.bar_step = (self.bar_step + 1) % self.division.max(1);
        self.boundary = self.next_boundary(rate_hz, now);
    }

    /// Begins the next pattern of the chain if the last one has ended.
    fn bar_begins(&mut self, track: &Track) {
        let links = track.bars.len() as u32;
        let bars = at_link(&track.bars, self.link);
        if links == 0 {
            if self.link != 0 {
                (self.link, self.place) = (0, 0);
            }
        } else if bars.is_none_or(|bars| self.bar >= bars) {
            self.link = self.link % links + 1;
            (self.bar, self.place) = (0, 0);
        }
        // Without a chain the count is not used; it wraps after 33 years at the highest tempo.
        self.bar = self.bar.wrapping_add(1);
    }

    /// When the step with that number acts, in thousandths of steps. `self.step` is the step's number since the
    /// beginning.
    fn onset(&self, track: &Track, number: u64) -> u128 {
        u128::from(number) * 1_000 + u128::from(late(track, self.step))
    }

    /// Performs the action of the present step, whose number is one less than that of the next step.
    fn strike(&mut self, track: &Track, rate_hz: u32, out: &mut impl FnMut(Event)) {
        let (now, step) = (self.strike, self.step.wrapping_sub(1));
        let pattern = track.pattern(self.link);
        if self.struck == 0 {
            for lane in &pattern.lanes {
                let value = at(&lane.values, step).unwrap_or_default();
                for &(module, param) in &lane.params {
                    out(Event::Param {
                        module,
                        param,
                        value,
                    });
                }
            }
        }
        self.strike = NEVER;
        let hit = (1..TIE).contains(&self.velocity);
        if hit {
            self.close(track, out);
            (self.open, self.sounding) = (1, self.pitch);
            for target in &track.targets {
                out(target.event(self.pitch, self.velocity as f32 / VELOCITY_MAX));
            }
        } else if self.velocity == 0 && self.off == NEVER {
            self.close(track, out);
        }
        if self.open == 0 || self.velocity == 0 {
            return;
        }
        let stroke = self.stroke(track);
        let is_last = self.struck + 1 >= stroke.times;
        self.off = match is_last && self.held != 0 {
            true => NEVER,
            false => self.ends(rate_hz, stroke, self.struck).max(now + 1),
        };
        self.struck += 1;
        if !is_last {
            self.strike = self.strikes(rate_hz, stroke);
        }
    }

    /// The stroke of the present step.
    fn stroke(&self, track: &Track) -> Stroke {
        let step = self.step.wrapping_sub(1);
        let hit = (1..TIE).contains(&self.velocity);
        let times = match hit {
            true => at(&track.pattern(self.link).ratchets, step)
                .unwrap_or(1)
                .max(1),
            false => 1,
        };
        let (late, next) = (late(track, step), late(track, step.wrapping_add(1)));
        let divided = u128::from(1_000 - late);
        Stroke {
            times,
            begin: u128::from(self.number.wrapping_sub(1)) * 1_000 + u128::from(late),
            divided,
            long: match times {
                1 => u128::from(1_000 + next - late),
                _ => divided,
            },
        }
    }

    /// The frame of the next strike.
    fn strikes(&self, rate_hz: u32, stroke: Stroke) -> u64 {
        let times = u128::from(stroke.times);
        let next = stroke.begin * times + u128::from(self.struck) * stroke.divided;
        self.frame(rate_hz, (next, 1_000 * times))
    }

    /// The frame at which that strike ends.
    fn ends(&self, rate_hz: u32, stroke: Stroke, struck: u32) -> u64 {
        let times = u128::from(stroke.times);
        let here = stroke.begin * times + u128::from(struck) * stroke.divided;
        let end = here * 1_000 + u128::from(self.gate) * stroke.long;
        self.frame(rate_hz, (end, 1_000_000 * times))
    }
}

/// The timing of a step's action in thousandths of a step: its beginning, the part that ratchets divide, the
/// longest time that its note may sound; and the number of strikes.
#[derive(Clone, Copy)]
struct Stroke {
    times: u32,
    begin: u128,
    divided: u128,
    long: u128,
}

/// By how many thousandths of a step that step is late.
const fn late(track: &Track, step: u64) -> u32 {
    if step % 2 == 1 { track.swing } else { 0 }
}

fn at_link(bars: &[u32], link: u32) -> Option<u32> {
    bars.get((link as usize).checked_sub(1)?).copied()
}

/// A number below 2^32 for each step, the same in each run.
///
/// # Source
/// SplitMix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
const fn dice(seed: u64, step: u64) -> u64 {
    let mut z = seed.wrapping_add(step.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) >> 32
}
