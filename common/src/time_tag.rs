//! Time tags: from wall-clock time to frames.
//!
//! Two numbers define the mapping. The *time origin* is the time of the monotonic clock at which frame 0
//! would have taken effect; nothing sets that clock. The second number is how far the wall clock is ahead
//! of the monotonic clock. audio-out maintains both, since only audio-out knows when blocks are due
//! ([`OriginTracker`], [`is_set`]). The receiver of a time tag computes its frame ([`Timing`]).
//!
//! The frame of a tag is the first frame that no worker can have rendered at that time. A message that
//! arrives before its tag therefore takes effect at the tagged frame, with the same latency as a message
//! without a tag. The time origin does not move while it is within [`DEADBAND`] of the measurements, so the
//! distance of two tags is the distance of their frames. When the wall clock is set, the time origin stays,
//! and later tags are read by the new wall-clock time.
//!
//! NTP seconds wrap every 136 years, first in 2036. A tag belongs to the era in which it is nearest to the present.

use crate::units::FrameIndex;

/// Seconds from 1900, the NTP epoch, to 1970.
const UNIX_EPOCH: u64 = 2_208_988_800;
/// One second in NTP units (2^-32 s).
pub const SECOND: u64 = 1 << 32;
/// The largest deviation of the time origin from the measurements: 1 ms.
pub const DEADBAND: u64 = SECOND / 1_000;

/// An NTP timestamp: seconds since 1900 in the upper half, their fraction in the lower.
#[must_use]
pub const fn ntp(unix_seconds: u64, nanoseconds: u32) -> u64 {
    let fraction = ((nanoseconds as u64) << 32) / 1_000_000_000;
    (unix_seconds.wrapping_add(UNIX_EPOCH)) << 32 | fraction
}

/// Whether the wall clock has been set since it was `told` ahead of the monotonic clock: it is `found` ahead
/// now, and both clocks run at the same rate.
#[must_use]
pub const fn is_set(told: u64, found: u64) -> bool {
    (found.wrapping_sub(told) as i64).unsigned_abs() > DEADBAND
}

/// The mapping from time tags to frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The time origin by the wall clock, modulo one era.
    origin: u64,
    /// A frame that takes effect about now.
    near: FrameIndex,
    rate_hz: u32,
}

impl Timing {
    /// A mapping with the time origin `origin` by the wall clock; the frame `near` takes effect about now.
    #[must_use]
    pub const fn new(origin: u64, near: FrameIndex, rate_hz: u32) -> Self {
        Self {
            origin,
            near,
            rate_hz: if rate_hz == 0 { 1 } else { rate_hz },
        }
    }

    /// The frame of a time tag; a tag before frame 0 gives frame 0.
    #[must_use]
    pub fn frame(&self, tag: u64) -> FrameIndex {
        let frames = (self.since(tag) * u128::from(self.rate_hz) + (1 << 31)) >> 32;
        FrameIndex(frames as u64)
    }

    /// The time tag of a frame: the inverse of [`Self::frame`].
    #[must_use]
    pub fn tag(&self, frame: FrameIndex) -> u64 {
        self.origin
            .wrapping_add(duration(frame, self.rate_hz) as u64)
    }

    /// As [`Self::frame`], not rounded.
    #[must_use]
    pub fn position(&self, tag: u64) -> f64 {
        self.since(tag) as f64 / SECOND as f64 * f64::from(self.rate_hz)
    }

    /// Time from frame 0 to a tag. Does not depend on `near`, as long as that is within 68 years of the tag.
    fn since(&self, tag: u64) -> u128 {
        let near = duration(self.near, self.rate_hz);
        let ahead = tag.wrapping_sub(self.origin.wrapping_add(near as u64)) as i64;
        near.saturating_add_signed(ahead.into())
    }
}

/// Time from frame 0 to a frame, in NTP units; it may exceed an era.
fn duration(frame: FrameIndex, rate_hz: u32) -> u128 {
    (u128::from(frame.0) << 32) / u128::from(rate_hz.max(1))
}

/// audio-out's measurement of the time origin.
#[derive(Clone, Copy, Debug)]
pub struct OriginTracker {
    rate_hz: u32,
    /// Blocks between two corrections, and how many are left.
    window: u32,
    left: u32,
    least: u64,
}

impl OriginTracker {
    /// A tracker for this many frames and blocks per second.
    #[must_use]
    pub const fn new(rate_hz: u32, blocks_a_second: u32) -> Self {
        Self {
            rate_hz,
            window: blocks_a_second,
            left: blocks_a_second,
            least: 0,
        }
    }

    /// Takes a measurement: at `now` of the monotonic clock, `coming_in` is the first frame that cannot
    /// have been rendered. Returns the new time origin, if it is not `origin` (0: unknown).
    ///
    /// # Real-time
    /// Yes; constant time.
    pub fn note(&mut self, now: u64, coming_in: FrameIndex, origin: u64) -> Option<u64> {
        let since = duration(coming_in, self.rate_hz);
        // 0 would mean unknown.
        let found = now.wrapping_sub(since as u64).max(1);
        if origin == 0 {
            return Some(found);
        }
        // A thread that wakes late measures a later origin, never an earlier one: the least is right.
        if self.left == self.window || (found.wrapping_sub(self.least) as i64) < 0 {
            self.least = found;
        }
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return None;
        }
        self.left = self.window;
        is_set(origin, self.least).then_some(self.least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: u64 = 365 * 24 * 3_600;

    #[test]
    fn a_tag_is_a_frame_and_the_distance_of_tags_is_that_of_their_frames() {
        let origin = ntp(1_700_000_000, 123_456_789);
        let timing = Timing::new(origin, FrameIndex(9), 48_000);
        assert_eq!(timing.frame(origin), FrameIndex(0));
        assert_eq!(timing.frame(origin - SECOND), FrameIndex(0));
        for frames in [1_u64, 479, 48_000, 48_000 * YEAR] {
            let tag = timing.tag(FrameIndex(frames));
            assert_eq!(timing.frame(tag), FrameIndex(frames));
        }
    }

    #[test]
    fn frames_go_on_through_the_end_of_an_era_and_for_ever() {
        // NTP's first era ends in 2036; the instance is this many years old by then.
        for years in [0, 1, 67, 68, 69, 100, 135, 137, 1_000] {
            for rate in [8_000, 48_000, 192_000_u32] {
                let edge = FrameIndex(u64::from(rate) * (years * YEAR + 60));
                let origin = 0_u64.wrapping_sub(duration(edge, rate) as u64);
                // With the cursor anywhere within hours.
                for near in [
                    edge.0 - u64::from(rate) * 60,
                    edge.0 + u64::from(rate) * 7_200,
                ] {
                    let timing = Timing::new(origin, FrameIndex(near), rate);
                    for beside in [-96_000_i64, -1, 0, 1, 96_000] {
                        let frame = FrameIndex(edge.0.saturating_add_signed(beside));
                        let tag = timing.tag(frame);
                        assert_eq!(timing.frame(tag), frame, "{years} {rate} {beside}");
                        let position = timing.position(tag) - frame.0 as f64;
                        assert!(position.abs() < 0.5, "{years} {position}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_clock_that_is_set_moves_what_tags_mean_and_nothing_else() {
        let (booted, rate) = (ntp(1_700_000_000, 0), 48_000);
        let origin = 5 * SECOND + 12_345;
        let near = FrameIndex(7 * u64::from(rate));
        let by = |ahead: u64| Timing::new(origin.wrapping_add(ahead), near, rate);
        for hours in [-30_i64, -2, 3, 50] {
            let set = booted.wrapping_add_signed(hours * 3_600 * SECOND as i64);
            assert!(is_set(booted, set) && !is_set(booted, booted + DEADBAND));
            for ms in [-5_i64, 0, 250, 1_800_000] {
                // The same moment by either clock.
                let moment =
                    (2 * SECOND + origin).wrapping_add_signed(ms * (SECOND / 1_000) as i64);
                let before = by(booted).frame(booted.wrapping_add(moment));
                assert_eq!(by(set).frame(set.wrapping_add(moment)), before);
            }
        }
    }

    #[test]
    fn the_time_origin_follows_the_earliest_and_stands_still_while_it_is_right() {
        let mut tracker = OriginTracker::new(48_000, 4);
        let ms = SECOND / 1_000;
        let at = |block: u64, late: u64| SECOND * 100 + block * SECOND / 375 + late;
        let frame = |block: u64| FrameIndex(block * 128);
        let mut origin = 0;
        let mut moved = Vec::new();
        // The first measurement is 3 ms late, others up to 5 ms. From block 12 on, the music is 20 ms later.
        for (block, late) in [
            3, 5, 1, 4, 0, 5, 2, 4, 0, 1, 1, 1, 20, 25, 20, 21, 20, 22, 23, 24,
        ]
        .iter()
        .enumerate()
        {
            let block = block as u64;
            if let Some(to) = tracker.note(at(block, late * ms), frame(block), origin) {
                origin = to;
                moved.push((block, (to - SECOND * 100 + ms / 2) / ms));
            }
        }
        assert_eq!(moved, [(0, 3), (4, 0), (16, 20)]);
    }
}
