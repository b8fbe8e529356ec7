//! Removes the jitter of a MIDI clock: a delay-locked loop over the ticks.
//!
//! The loop is of second order: its state is the ideal time of the last tick and the length of a tick. Its gains begin
//! as those of a straight line through all ticks so far (least squares), so that the loop is locked from the second
//! tick on; they fall until the loop has its bandwidth. After a pause the length of a tick is known, and the gain is
//! that of a mean of the positions.
//!
//! Bandwidth: `OMEGA` is 0.03 per tick; with T the length of a tick, B = OMEGA / (2 pi T): 0.11 Hz at 60 BPM, 0.23 Hz at
//! 120, 0.46 Hz at 240. The loop reduces jitter to about the square root of 1.06 OMEGA, a sixth. It follows a new tempo
//! at once: if the errors exceed the jitter, the tick is used as it came, and the gains rise again.
//!
//! # Source
//! F. Adriaensen, "Using a DLL to filter time", Linux Audio Conference 2005: the loop and its gains. N. Morrison,
//! "Introduction to Sequential Smoothing and Prediction", 1969: the gains of the expanding memory.

use serde::{Deserialize, Serialize};

/// The angular bandwidth of the loop, per tick.
const OMEGA: f64 = 0.03;
/// One second in units of an NTP timestamp.
pub const SECOND: f64 = 4_294_967_296.0;
/// The length of a tick in seconds, at 999 BPM and at 10 BPM.
const SHORTEST: f64 = 60.0 / (24.0 * 999.0);
const LONGEST: f64 = 60.0 / (24.0 * 10.0);
/// Ticks within this time, in seconds, were buffered. They are counted but not used for timing.
const BURST: f64 = 0.000_5;
/// RMS jitter in seconds: the least assumed value, the value before any measurement, and the greatest assumed value when
/// an error is judged.
const JITTER_LEAST: f64 = 0.000_1;
const JITTER_USUAL: f64 = 0.000_5;
const JITTER_MOST: f64 = 0.001;
/// A larger multiple of the jitter is not jitter.
const OUTSIDE: f64 = 6.0;
/// The ticks after which the line predicts the next tick about as well as the loop does.
const SETTLED: u32 = 8;
/// The ticks of a line whose length of a tick is preserved when the line restarts, as after a pause.
const STEADY: u32 = 48;
/// The weight of the newest error in the mean, and of its square in the variance.
const MEAN: f64 = 0.25;
const VARIANCE: f64 = 0.02;
/// Errors as multiples of the likely jitter: the thresholds of a possible and of a certain new tempo.
const DOUBT: f64 = 2.5;
const CERTAIN: f64 = 4.0;

/// The loop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clock {
    /// The ideal time of the last tick, an NTP timestamp.
    at: u64,
    /// The arrival of the last tick.
    came: u64,
    /// The length of a tick in seconds; 0 while unknown.
    period: f64,
    /// The ticks of the straight line so far.
    ticks: u32,
    /// Whether the length of a tick comes from a long line before, so that only the position is unknown.
    steady: bool,
    /// The mean and the variance of the errors.
    mean: f64,
    variance: f64,
    /// The last error, if it is not judged yet.
    last: f64,
    /// Whether the last tick was buffered, so that the position of the next one is unknown.
    loose: bool,
}

/// A tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tick {
    /// The ideal time of the tick, an NTP timestamp.
    pub at: u64,
    /// The tempo in BPM; `None` while unknown.
    pub bpm: Option<f64>,
    /// Whether the tick was buffered, so that it is older than its arrival.
    pub late: bool,
}

/// The time `seconds` after a time.
pub fn after(at: u64, seconds: f64) -> u64 {
    at.wrapping_add((seconds * SECOND).round() as i64 as u64)
}

/// The seconds from one time to another.
pub fn between(from: u64, to: u64) -> f64 {
    to.wrapping_sub(from) as i64 as f64 / SECOND
}

impl Clock {
    /// Takes a tick that arrived at `now`. `fresh` means the first tick after a start, whose position is arbitrary.
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
        // A line through few ticks may be less accurate than the tick itself. A mean of positions is not.
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

    /// The number of ticks that were lost between the last tick and a tick at `now`.
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

    /// The expected time of the next tick, if the tempo is known.
    pub fn next(&self) -> Option<u64> {
        (self.period > 0.0).then(|| after(self.at, self.period))
    }

    /// Restarts the line at a tick.
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
        // A line through few ticks is a poor prediction.
        let most = OUTSIDE * self.jitter().clamp(2.0 * JITTER_LEAST, JITTER_MOST) * (1.0 + 4.0 / n);
        if error.abs() > most.min(0.5 * self.period) {
            // Another tempo, or a pause, which does not affect the tempo.
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
        // The next error also contains the remaining part of the earlier ones.
        self.variance += VARIANCE * (error * error * n / (n + 4.0) - self.variance);
        if self.ticks > SETTLED && self.mean.abs() > CERTAIN * self.deviation() {
            (self.ticks, self.steady, self.mean) = (4, false, 0.0);
        }
    }

    /// The RMS value of the ticks' jitter, in seconds.
    fn jitter(&self) -> f64 {
        match self.variance {
            0.0 => JITTER_USUAL,
            variance => variance.sqrt().max(JITTER_LEAST),
        }
    }

    /// The deviation of the mean error from 0 by jitter alone.
    fn deviation(&self) -> f64 {
        self.jitter() * (MEAN / (2.0 - MEAN)).sqrt()
    }
}
