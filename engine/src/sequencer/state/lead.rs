//! Leads a sequence by an external clock: the sequence has the clock's phase, not only its tempo.
//!
//! A tick has a number, counted from the beginning of the song, and a frame. From that frame and the tempo
//! follows the frame at which the song began, and from that the frame of each step, in the usual integer
//! arithmetic. So whatever tempo was in force before, a step is off by no more than the error of the last
//! tick.

use common::command::Event;

use super::{NEVER, State};
use crate::{
    patch::sequence::{BPM, Step},
    sequencer::{Track, tempo::thousandths},
};

/// Ticks in a whole note.
const TICKS: u128 = 96;

/// A message of an external clock.
#[derive(Clone, Copy, Debug)]
pub struct Lead {
    /// The tick's number.
    pub ticks: u32,
    /// Beats per minute from this tick on. At 0, nothing beyond this tick is due until the next message.
    pub bpm: f32,
    /// Whether to start from this tick, whatever was played before.
    pub begin: bool,
    /// The tick's frame.
    pub frame: u64,
}

impl State {
    /// Follows a clock. A stopped sequence follows only if `lead.begin`.
    pub fn lead(
        &mut self,
        track: &Track,
        rate_hz: u32,
        (now, lead): (u64, Lead),
        out: &mut impl FnMut(Event),
    ) {
        if !(self.runs() || lead.begin) || !lead.bpm.is_finite() {
            return;
        }
        let song = u128::from(lead.ticks);
        if lead.begin {
            self.close(track, out);
            self.locate(track, lead.ticks);
        }
        if lead.bpm > 0.0 {
            self.bpm = thousandths(lead.bpm.clamp(*BPM.start(), *BPM.end()));
        }
        let joins = !lead.begin && (self.led == 0 || self.division != track.division);
        if joins {
            self.bar_step = self.bar_step * track.division / self.division.max(1);
        }
        (self.tempo, self.division) = (self.bpm, track.division);
        let division = u128::from(self.division.max(1));
        if joins {
            self.number = self.nearest(rate_hz, lead.frame, song * division);
        }
        self.led = 1;
        // The frame of the song's step 0.
        let since = self.tempo().frames(rate_hz, (song * division, TICKS));
        self.origin = lead.frame.wrapping_sub(since);
        self.waits = u32::from(lead.bpm <= 0.0);
        self.limit = lead.ticks;
        self.boundary = self.next_boundary(rate_hz, now);
        if !lead.begin && self.waits == 0 {
            self.replan(track, rate_hz, now);
        }
    }

    /// Moves the planned frames of the present step to where the clock has them.
    fn replan(&mut self, track: &Track, rate_hz: u32, now: u64) {
        let stroke = self.stroke(track);
        let not_before =
            |frame: u64| now.wrapping_add((frame.wrapping_sub(now) as i64).max(0) as u64);
        if self.strike != NEVER {
            self.strike = not_before(self.strikes(rate_hz, stroke));
        }
        if self.off != NEVER && self.struck > 0 {
            self.off = not_before(self.ends(rate_hz, stroke, self.struck - 1));
        }
    }

    /// The beginning of the next step, but not before `now`; [`NEVER`] if the next message must come first.
    pub(super) fn next_boundary(&self, rate_hz: u32, now: u64) -> u64 {
        let ticks = u128::from(self.number) * TICKS;
        if self.waits != 0 && ticks > u128::from(self.limit) * u128::from(self.division) {
            return NEVER;
        }
        let frame = self.frame(rate_hz, (self.number.into(), 1));
        // A frame before the first frame of all is before `now` too.
        let ahead = frame.wrapping_sub(now) as i64;
        now.wrapping_add(ahead.max(0) as u64)
    }

    /// For a sequence that has not followed so far: the step of the song that is nearest to its next step.
    /// `here` is the song's position at `frame`, in 96ths of a step.
    fn nearest(&self, rate_hz: u32, frame: u64, here: u128) -> u64 {
        if self.boundary == NEVER {
            return here.div_ceil(TICKS) as u64;
        }
        let ahead = self.boundary.wrapping_sub(frame) as i64;
        let below = 240_000 * i128::from(rate_hz);
        let parts = i128::from(ahead) * i128::from(self.bpm) * i128::from(self.division);
        let parts = here as i128 + parts * TICKS as i128 / below.max(1);
        let steps = (parts + TICKS as i128 / 2).div_euclid(TICKS as i128);
        u64::try_from(steps).unwrap_or_default()
    }

    /// Moves to the first step that is not before that tick, as if the sequence had played up to there.
    fn locate(&mut self, track: &Track, ticks: u32) {
        self.rewind();
        self.division = track.division;
        let division = u64::from(track.division.max(1));
        let step = (u64::from(ticks) * division).div_ceil(TICKS as u64);
        (self.step, self.number) = (step, step);
        self.bar_step = (step % division) as u32;
        let round: u64 = track.bars.iter().map(|bars| u64::from(*bars)).sum();
        if round == 0 {
            self.hits = hits(track, 0, step);
            self.place = (step % count(track, 0)) as u32;
            return;
        }
        // The last bar that has begun, and how many of its steps have passed.
        let Some(last) = step.checked_sub(1) else {
            return;
        };
        let (bar, steps) = (last / division, last % division + 1);
        let mut left = bar % round;
        for (number, bars) in track.bars.iter().enumerate() {
            let (link, bars) = (number as u32 + 1, u64::from(*bars));
            self.hits += bar / round * hits(track, link, bars * division);
            if self.link != 0 {
                continue;
            }
            if left >= bars {
                self.hits += hits(track, link, bars * division);
                left -= bars;
                continue;
            }
            let steps = left * division + steps;
            self.hits += hits(track, link, steps);
            (self.link, self.bar) = (link, left as u32 + 1);
            self.place = (steps % count(track, link)) as u32;
        }
    }
}

fn count(track: &Track, link: u32) -> u64 {
    track.pattern(link).steps.len() as u64
}

/// Hits in the first `steps` steps of a pattern, repeated.
fn hits(track: &Track, link: u32, steps: u64) -> u64 {
    let pattern = &track.pattern(link).steps;
    let of = |steps: &[Step]| steps.iter().filter(|s| matches!(s, Step::Hit(_))).count() as u64;
    let count = pattern.len() as u64;
    steps / count * of(pattern) + of(&pattern[..(steps % count) as usize])
}
