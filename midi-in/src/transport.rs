//! The transport of a MIDI clock: the position in the song, whether the song plays, and the messages to send.
//!
//! Start and continue take effect with the first tick after them. Ticks are numbered, so that followers have the clock's
//! phase, not only its tempo. While the clock plays, the last message predicts the next ticks; another message is sent
//! only if the ticks differ from the prediction, and once a beat. A missing tick stops the time of the song.
//!
//! # Source
//! MIDI 1.0 Detailed Specification, 1996: "System Real Time Messages", "Song Position Pointer".

use serde::{Deserialize, Serialize};

use crate::{
    clock::{self, Clock},
    translate::Said,
};

/// The ticks of a beat, and of a sixteenth, the unit of a song position.
const BEAT: u32 = 24;
const SIXTEENTH: u32 = 6;
/// Seconds by which a tick may differ from its prediction without a message: half a frame.
const SAID: f64 = 0.000_01;
/// Seconds after which a late tick counts as missing: more than jitter, but soon enough to stop the step on that
/// tick before it is rendered.
const MISSING: f64 = 0.002_5;
/// Seconds before a tick at which events that must precede it are timed.
const BEFORE: f64 = 0.000_3;
/// Seconds from a tick to the frame of its step: long enough to notice that a tick is missing and to send that.
pub const AHEAD: f64 = 0.006;
/// The difference in BPM above which a new tempo is sent while the song is stopped.
const TEMPO_STEP: f32 = 0.05;

/// The transport.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Transport {
    clock: Clock,
    /// The number of the next tick.
    next: u32,
    running: bool,
    /// Whether the song starts with the next tick.
    begins: bool,
    /// Whether a missing tick has been reported.
    stands: bool,
    /// The last message: tick, time and tempo.
    said: Option<(u32, u64, f32)>,
    tempo: f32,
    /// The ticks since the tempo was sent.
    since_tempo: u32,
    /// Whether the song has started without a certain message.
    #[serde(skip)]
    untold: bool,
    /// Whether this process has received a tick.
    #[serde(skip)]
    heard: bool,
    /// Whether unread bytes are lost, as at a port, in contrast to a pipe.
    #[serde(skip)]
    pub lossy: bool,
}

impl Transport {
    /// Starts the song from the beginning.
    pub const fn start(&mut self) {
        self.next = 0;
        self.begins = true;
    }

    /// Continues the song at its position.
    pub const fn go_on(&mut self) {
        self.begins = !self.running;
    }

    /// Sets the position to a sixteenth.
    pub const fn locate(&mut self, sixteenths: u16) {
        self.next = sixteenths as u32 * SIXTEENTH;
        self.begins |= self.running;
    }

    /// Restarts the song with the next tick, at its position then: the message of the start may not have been sent.
    pub const fn begin_again(&mut self) {
        self.untold = self.running;
    }

    /// Stops the song: events on the next tick are not played.
    pub fn stop(&mut self, now: u64, say: &mut impl FnMut(Said)) {
        let at = match self.clock.next() {
            Some(next) if self.running => {
                let before = clock::after(next, -BEFORE);
                if clock::between(before, now) > 0.0 {
                    before
                } else {
                    now
                }
            }
            _ => now,
        };
        (self.running, self.begins, self.stands, self.said) = (false, false, false, None);
        self.untold = false;
        say(Said::Stop(at));
    }

    /// Handles a tick that arrived at `now`.
    pub fn tick(&mut self, now: u64, say: &mut impl FnMut(Said)) {
        let lost = match self.heard || !self.lossy {
            true => 0,
            false => self.clock.skip(now),
        };
        let resumed = !std::mem::replace(&mut self.heard, true);
        if self.running && !self.begins {
            self.next = self.next.wrapping_add(lost);
        }
        let tick = self.clock.tick(now, self.begins);
        let bpm = tick.bpm.map_or(0.0, |bpm| bpm as f32);
        if self.begins {
            (self.running, self.begins) = (true, false);
            self.say(Said::Play(self.next, bpm, tick.at), say);
        } else if self.running && self.untold {
            self.say(Said::Play(self.next, bpm, tick.at), say);
        } else if self.running {
            // After a kill, the last message remains valid until the position of the clock is known again.
            let unsure = tick.late || (resumed && lost == 0 && self.said.is_some());
            if self.stands || (!unsure && self.is_elsewhere(tick.at)) {
                self.say(Said::Clock(self.next, bpm, tick.at), say);
            }
        } else {
            self.tell_tempo(bpm, say);
        }
        if self.running {
            self.next = self.next.wrapping_add(1);
        }
    }

    /// The time of the next check for a missing tick.
    pub fn due(&self) -> Option<u64> {
        let watches = self.running && !self.begins && !self.stands && self.heard;
        let next = self.clock.next().filter(|_| watches)?;
        Some(clock::after(next, MISSING))
    }

    /// Checks for a missing tick.
    pub fn look(&mut self, now: u64, say: &mut impl FnMut(Said)) {
        let is_missing = self
            .due()
            .is_some_and(|due| clock::between(due, now) >= 0.0);
        if let Some(next) = self.clock.next().filter(|_| is_missing) {
            self.stands = true;
            say(Said::Clock(
                self.next.saturating_sub(1),
                0.0,
                clock::after(next, -BEFORE),
            ));
        }
    }

    fn say(&mut self, what: Said, say: &mut impl FnMut(Said)) {
        self.untold = false;
        if let Said::Play(ticks, bpm, at) | Said::Clock(ticks, bpm, at) = what {
            self.said = Some((ticks, at, bpm));
        }
        self.stands = false;
        say(what);
    }

    /// Whether the next tick, at the given time, differs from its prediction, or is a beat or more after the last message.
    fn is_elsewhere(&self, at: u64) -> bool {
        let Some((ticks, then, bpm)) = self.said else {
            return true;
        };
        let ahead = self.next.wrapping_sub(ticks);
        if bpm <= 0.0 || ahead >= BEAT {
            return true;
        }
        let foretold = 60.0 / (f64::from(BEAT) * f64::from(bpm)) * f64::from(ahead);
        (clock::between(then, at) - foretold).abs() > SAID
    }

    fn tell_tempo(&mut self, bpm: f32, say: &mut impl FnMut(Said)) {
        self.since_tempo += 1;
        if self.since_tempo >= BEAT {
            self.since_tempo = 0;
            if (20.0..=999.0).contains(&bpm) && (bpm - self.tempo).abs() >= TEMPO_STEP {
                self.tempo = bpm;
                say(Said::Tempo(bpm));
            }
        }
    }
}

#[cfg(test)]
mod tests;
