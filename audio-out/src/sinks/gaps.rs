//! Detects the gaps that a device causes: time for which the device took no sound.
//!
//! Apart from its buffer, a device takes as many frames as time passes. The lag of the frames behind the
//! clock varies with how late the callback is woken, but its minimum over a window is constant. If the minimum
//! rises and stays, the device played nothing for that time, regardless of its reports. Clock drift moves the minimum
//! by microseconds only. The callback owns this and allocates nothing.

use std::time::Duration;

/// The window over which the minimum lag is taken.
const WINDOW: Duration = Duration::from_millis(200);
/// A rise below this is jitter or drift.
const JITTER: Duration = Duration::from_millis(5);

/// The windows in which a gap may still grow: a server catches up in several steps after a stall.
const GROWS: u32 = 2;

/// A gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The number of gaps: more than one only if the device reported several xruns.
    pub count: u64,
    /// The time without playback, as far as it can be measured.
    pub length: Duration,
    /// Whether the last gap has grown to this length, instead of a new gap.
    pub grown: bool,
}

/// Watches the frames that one stream takes.
pub struct Gaps {
    rate_hz: u32,
    /// The frames before gaps count, since a stream needs time to start.
    grace_frames: u64,
    taken: u64,
    /// The time at which the first frames were taken.
    begun: Option<Duration>,
    /// The least lag before, the least lag in this window, and the end of this window, in nanoseconds.
    floor: Option<i64>,
    least: i64,
    ends: Duration,
    /// The xruns reported up to the last window.
    xruns: u64,
    /// Whether the lag had already risen in the previous window.
    risen: bool,
    /// The last gap, and the number of windows since.
    last: Duration,
    since: u32,
}

impl Gaps {
    /// The state for a new stream. `grace_frames` are the frames before gaps count; `xruns` were reported before.
    pub const fn new(rate_hz: u32, grace_frames: u64, xruns: u64) -> Self {
        Self {
            rate_hz,
            grace_frames,
            taken: 0,
            begun: None,
            floor: None,
            least: i64::MAX,
            ends: Duration::ZERO,
            xruns,
            risen: false,
            last: Duration::ZERO,
            since: u32::MAX,
        }
    }

    /// Records that the device takes `frames` at `now`, with `xruns` reported so far. Returns a gap that has ended.
    ///
    /// # Real-time
    /// Yes.
    pub fn taken(&mut self, now: Duration, frames: u64, xruns: u64) -> Option<Gap> {
        let begun = *self.begun.get_or_insert(now);
        // Nanoseconds of five days' frames do not fit 64 bits before the division.
        let played = u128::from(self.taken) * 1_000_000_000 / u128::from(self.rate_hz);
        let lag = now.saturating_sub(begun).as_nanos() as i64 - played as i64;
        self.taken += frames;
        if self.taken <= self.grace_frames {
            (self.ends, self.xruns) = (now + WINDOW, xruns);
            return None;
        }
        let gap = (now >= self.ends).then(|| self.judge(xruns)).flatten();
        if now >= self.ends {
            (self.ends, self.least) = (now + WINDOW, i64::MAX);
        }
        self.least = self.least.min(lag);
        gap
    }

    /// Evaluates a window at its end.
    fn judge(&mut self, xruns: u64) -> Option<Gap> {
        self.since = self.since.saturating_add(1);
        if self.least == i64::MAX {
            return None;
        }
        let floor = *self.floor.get_or_insert(self.least);
        let rise = self.least - floor;
        let reported = xruns.saturating_sub(self.xruns);
        let found = rise > JITTER.as_nanos() as i64 || reported > 0;
        if found && !self.risen {
            // Wait for another window: a busy machine may have been late for a whole window while the buffer kept
            // playing, and the length of an xrun shows only in the next window.
            self.risen = true;
            return None;
        }
        self.risen = false;
        self.xruns = xruns;
        self.floor = Some(self.least);
        if !found {
            return None;
        }
        let length = Duration::from_nanos(rise.max(0) as u64);
        let grown = reported == 0 && self.since <= GROWS;
        self.last = if grown { self.last + length } else { length };
        self.since = 0;
        Some(Gap {
            count: reported.max(1),
            length: self.last,
            grown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 48_000;

    /// Plays for a number of seconds, 384 frames at once; `stalls` are (second, length in ms), in which the
    /// device takes nothing; each callback comes up to `late_ms` late. The gaps in ms.
    fn gaps(seconds: f64, speed: f64, late_ms: f64, stalls: &[(f64, f64)]) -> Vec<f64> {
        let mut gaps = Gaps::new(RATE, 0, 0);
        let mut found = Vec::new();
        let (mut device, mut stalled, mut noise) = (0.0, 0.0, 0_u32);
        while device + stalled < seconds {
            for (at, ms) in stalls {
                if device + stalled >= *at && stalled < stalls_until(stalls, *at) + ms / 1e3 - 1e-9
                {
                    stalled += ms / 1e3;
                }
            }
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let late = f64::from(noise >> 8) / f64::from(1 << 24) * late_ms / 1e3;
            let now = Duration::from_secs_f64(device + stalled + late);
            if let Some(gap) = gaps.taken(now, 384, 0) {
                if gap.grown {
                    found.pop();
                }
                found.push(gap.length.as_secs_f64() * 1e3);
            }
            device += 384.0 / f64::from(RATE) / speed;
        }
        found
    }

    fn stalls_until(stalls: &[(f64, f64)], at: f64) -> f64 {
        stalls
            .iter()
            .filter(|(a, _)| *a < at)
            .map(|(_, ms)| ms / 1e3)
            .sum()
    }

    #[test]
    fn a_month_without_a_gap_has_none() {
        let mut gaps = Gaps::new(RATE, 0, 0);
        for hour in 0..24 * 31 {
            let now = Duration::from_secs(3_600 * hour);
            assert_eq!(gaps.taken(now, 3_600 * u64::from(RATE), 0), None, "{hour}");
        }
    }

    #[test]
    fn a_device_that_keeps_time_makes_no_gap_however_late_its_callbacks_are() {
        for (speed, late_ms) in [(1.0, 0.0), (1.0, 7.0), (1.0002, 7.0), (0.9998, 7.0)] {
            assert_eq!(gaps(600.0, speed, late_ms, &[]), Vec::<f64>::new());
        }
    }

    #[test]
    fn each_gap_is_found_once_with_its_length() {
        let stalls = [(1.5, 10.0), (3.0, 120.0), (5.0, 2_000.0), (9.0, 20.0)];
        let found = gaps(12.0, 1.0001, 4.0, &stalls);
        assert_eq!(found.len(), 4, "{found:?}");
        for ((_, ms), found) in stalls.iter().zip(found) {
            assert!((ms - found).abs() < 4.0, "{ms} and {found}");
        }
    }

    #[test]
    fn a_callback_that_is_late_once_and_then_catches_up_is_no_gap() {
        let mut gaps = Gaps::new(RATE, 0, 0);
        for n in 0..1_000_u64 {
            // 8 ms each; for a quarter of a second everything is 8 ms late, buffered by the device.
            let late = if (500..530).contains(&n) { 8 } else { 0 };
            let now = Duration::from_millis(8 * n + late);
            assert_eq!(gaps.taken(now, 384, 0), None);
        }
    }

    #[test]
    fn a_reported_one_counts_though_no_time_was_lost() {
        let mut gaps = Gaps::new(RATE, 0, 0);
        let found: Vec<_> = (0..200_u64)
            .filter_map(|n| gaps.taken(Duration::from_millis(8 * n), 384, u64::from(n >= 100)))
            .collect();
        let gap = Gap {
            count: 1,
            length: Duration::ZERO,
            grown: false,
        };
        assert_eq!(found, [gap]);
    }

    #[test]
    fn a_gap_that_ends_in_steps_is_one() {
        let mut gaps = Gaps::new(RATE, 0, 0);
        let mut found = Vec::new();
        for n in 0..400_u64 {
            // 300 ms at once; half a second later the rest of it, 60 ms.
            let lost = 300 * u64::from(n >= 100) + 60 * u64::from(n >= 150);
            found.extend(gaps.taken(Duration::from_millis(8 * n + lost), 384, 0));
        }
        assert_eq!((found[0].grown, found[1].grown), (false, true), "{found:?}");
        assert_eq!(found[1].length, Duration::from_millis(360));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn nothing_counts_before_the_stream_has_started() {
        let mut gaps = Gaps::new(RATE, 48_000, 0);
        // One buffer at once, the next two seconds later.
        assert_eq!(gaps.taken(Duration::ZERO, 768, 0), None);
        for n in 0..500_u64 {
            let now = Duration::from_millis(2_000 + 8 * n);
            assert_eq!(gaps.taken(now, 384, 0), None);
        }
    }
}
