//! A MIDI clock without its jitter: a delay-locked loop over the ticks.
//!
//! The loop is of the second order: its state is the ideal time of the last tick and the length of a tick. Its
//! gains begin as those of a straight line through all ticks so far (least squares), so that it is right from
//! the second tick on, whatever it followed before; they fall until the loop has its bandwidth. After a pause
//! the length of a tick is known, and the gain is that of a mean of the places.
//!
//! Bandwidth: `OMEGA` is 0.03 a tick; with T the length of a tick, B = OMEGA / (2 pi T): 0.11 Hz at 60 beats a
//! minute, 0.23 Hz at 120, 0.46 Hz at 240. It reduces jitter to about the root of 1.06 OMEGA, a sixth. It
//! follows a new tempo at once: if the errors are larger than jitter explains, the tick is taken as it came,
//! and the gains rise again.
//!
//! # Source
//! F. Adriaensen, "Using a DLL to filter time", Linux Audio Conference 2005: the loop and its gains. N. Morrison,
//! "Introduction to Sequential Smoothing and Prediction", 1969: the gains of the expanding memory.

use serde::{Deserialize, Serialize};

/// Angular bandwidth of the loop, a tick.
const OMEGA: f64 = 0.03;
/// An NTP timestamp's second.
pub const SECOND: f64 = 4_294_967_296.0;
/// Seconds of a tick, at 999 beats a minute and at 10.
const SHORTEST: f64 = 60.0 / (24.0 * 999.0);
const LONGEST: f64 = 60.0 / (24.0 * 10.0);
/// Seconds: ticks that come closer together were buffered somewhere. They are counted but say nothing about time.
const BURST: f64 = 0.000_5;
/// RMS jitter in seconds: the least that is assumed, the assumption before any is measured, and the most that is
/// assumed when an error is judged.
const JITTER_LEAST: f64 = 0.000_1;
const JITTER_USUAL: f64 = 0.000_5;
const JITTER_MOST: f64 = 0.001;
/// An error of so many times the jitter is not jitter.
const OUTSIDE: f64 = 6.0;
/// Ticks after which the line foretells the next one about as well as the loop does.
const SETTLED: u32 = 8;
/// Ticks of a line whose length of a tick is kept when the line begins anew, as after a pause.
const STEADY: u32 = 48;
/// Share of the newest error in the mean, and of its square in the variance.
const MEAN: f64 = 0.25;
const VARIANCE: f64 = 0.02;
/// Errors as multiples of what jitter makes likely: from where on a new tempo is possible, and certain.
const DOUBT: f64 = 2.5;
const CERTAIN: f64 = 4.0;

/// The loop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clock {
    /// When the last tick ideally came, an NTP timestamp.
    at: u64,
    /// When it came.
    came: u64,
    /// Seconds of a tick; 0 while nobody knows.
    period: f64,
    /// Ticks of the straight line so far.
    ticks: u32,
    /// The length of a tick is that of a long line before this one: only the place is to be found.
    steady: bool,
    /// Mean and variance of the errors.
    mean: f64,
    variance: f64,
    /// The last error, if it is still to be judged.
    last: f64,
    /// The last tick had waited: where the next one is nobody knows.
    loose: bool,
}

/// A tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tick {
    /// When it ideally came, an NTP timestamp.
    pub at: u64,
    /// Beats a minute; none while nobody knows.
    pub bpm: Option<f64>,
    /// It had waited: it came before.
    pub late: bool,
}

/// So many seconds after a time.
pub fn after(at: u64, seconds: f64) -> u64 {
    at.wrapping_add((seconds * SECOND).round() as i64 as u64)
}

/// Seconds from one time to another.
pub fn between(from: u64, to: u64) -> f64 {
    to.wrapping_sub(from) as i64 as f64 / SECOND
}

impl Clock {
    /// A tick has come at that time; `fresh`: it is the first after a start, whose place may be anywhere.
    pub fn tick(&mut self, now: u64, fresh: bool) -> Tick {
        let since = between(self.came, now);
        let late = self.ticks > 0 && self.period > 0.0 && since.abs() < BURST;
        let fresh = fresh || std::mem::replace(&mut self.loose, late);
        if late {
            self.begin(now, 2);
        } else if self.ticks == 0 {
            self.begin(now, 1);
        } else if self.period == 0.0 {
            self.second(now, since);
        } else {
            self.follow(now, since, fresh);
        }
        self.came = now;
        let doubt = (self.mean.abs() / self.deviation()).max(self.last.abs() / self.jitter() - 1.0);
        // A line through few ticks may be farther off than the tick as it came. A mean of places is not.
        let known = match self.steady {
            true => 1.0,
            false => f64::from(self.ticks) / f64::from(SETTLED) - 1.0,
        };
        let trust = known.clamp(0.0, 1.0) * ((CERTAIN - doubt) / (CERTAIN - DOUBT)).clamp(0.0, 1.0);
        Tick {
            at: after(now, trust * between(now, self.at)),
            bpm: (self.period > 0.0).then(|| 60.0 / (24.0 * self.period)),
            late,
        }
    }

    /// Ticks that must have come since the last one, but for one that comes at that time: nobody heard them.
    pub fn skip(&mut self, now: u64) -> u32 {
        if self.ticks == 0 || self.period == 0.0 {
            return 0;
        }
        let ticks = (between(self.at, now) / self.period).round() - 1.0;
        let ticks = ticks.clamp(0.0, 1e6);
        self.at = after(self.at, ticks * self.period);
        self.came = after(self.came, ticks * self.period);
        ticks as u32
    }

    /// When the next tick is expected, if the tempo is known.
    pub fn next(&self) -> Option<u64> {
        (self.period > 0.0).then(|| after(self.at, self.period))
    }

    /// The line begins at a tick.
    fn begin(&mut self, now: u64, ticks: u32) {
        self.steady |= self.ticks >= STEADY;
        (self.at, self.ticks, self.mean, self.last) = (now, ticks, 0.0, 0.0);
    }

    fn second(&mut self, now: u64, since: f64) {
        self.begin(now, 1);
        self.steady = false;
        if (SHORTEST..=LONGEST).contains(&since) {
            self.period = since;
            self.ticks = 2;
        }
    }

    fn follow(&mut self, now: u64, since: f64, fresh: bool) {
        let error = between(self.at, now) - self.period;
        let n = f64::from(self.ticks);
        // A line through few ticks foretells the next one badly.
        let most = OUTSIDE * self.jitter().clamp(2.0 * JITTER_LEAST, JITTER_MOST) * (1.0 + 4.0 / n);
        if error.abs() > most.min(0.5 * self.period) {
            // Another tempo, or a pause, which says nothing of the tempo.
            let ratio = since / self.period;
            let jumps = (0.4..1.8).contains(&ratio) && (SHORTEST..=LONGEST).contains(&since);
            self.begin(now, 2);
            if jumps && !fresh {
                (self.period, self.steady) = (since, false);
            }
            return;
        }
        self.last = if self.ticks > SETTLED { error } else { 0.0 };
        let (line, slope) = match self.steady {
            true => (1.0 / n, 0.0),
            false => (
                2.0 * (2.0 * n + 1.0) / ((n + 1.0) * (n + 2.0)),
                6.0 / ((n + 1.0) * (n + 2.0)),
            ),
        };
        let (place, length) = (
            line.max(std::f64::consts::SQRT_2 * OMEGA),
            slope.max(OMEGA * OMEGA),
        );
        self.at = after(self.at, self.period + place * error);
        self.period = (self.period + length * error).clamp(SHORTEST, LONGEST);
        self.ticks = self.ticks.saturating_add(1);
        self.mean += MEAN * (error - self.mean);
        if self.variance == 0.0 {
            self.variance = JITTER_USUAL * JITTER_USUAL;
        }
        // The next error holds what the line has left of those before, too.
        self.variance += VARIANCE * (error * error * n / (n + 4.0) - self.variance);
        if self.ticks > SETTLED && self.mean.abs() > CERTAIN * self.deviation() {
            (self.ticks, self.steady, self.mean) = (4, false, 0.0);
        }
    }

    /// Effective value of the ticks' jitter, in seconds.
    fn jitter(&self) -> f64 {
        match self.variance {
            0.0 => JITTER_USUAL,
            variance => variance.sqrt().max(JITTER_LEAST),
        }
    }

    /// How far the mean of the errors is from 0 by jitter alone.
    fn deviation(&self) -> f64 {
        self.jitter() * (MEAN / (2.0 - MEAN)).sqrt()
    }
}
