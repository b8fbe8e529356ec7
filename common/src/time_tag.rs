//! When a time tag comes in: from the clock on the wall to frames.
//!
//! One number says it: the time at which frame 0 would have come in, as an NTP timestamp. audio-out, who
//! alone knows when blocks are due, keeps it ([`Anchoring`]); whoever has a time tag works out the frame
//! ([`frame_at`]). A tag's frame is the first that no worker may have rendered at that time: so what is
//! received before its tag comes in at its very frame, and is heard as late as what is sent without one.
//! The number stands still while it is right within [`DEADBAND`], so that the distance of two tags is the
//! distance of their frames.

use crate::units::FrameIndex;

/// Seconds from 1900, where NTP begins to count, to 1970.
const UNIX_EPOCH: u64 = 2_208_988_800;
/// A second, as NTP counts.
pub const SECOND: u64 = 1 << 32;
/// How far the anchor may be from what is measured: a thousandth of a second.
pub const DEADBAND: u64 = SECOND / 1_000;

/// An NTP timestamp: seconds since 1900 in the upper half, their fraction in the lower.
#[must_use]
pub const fn ntp(unix_seconds: u64, nanoseconds: u32) -> u64 {
    let fraction = ((nanoseconds as u64) << 32) / 1_000_000_000;
    (unix_seconds.wrapping_add(UNIX_EPOCH)) << 32 | fraction
}

/// The frame at which what has that time tag comes in.
#[must_use]
pub fn frame_at(anchor: u64, tag: u64, rate_hz: u32) -> FrameIndex {
    // Across the end of NTP's era, too; what lies before the anchor is frame 0.
    let since = (tag.wrapping_sub(anchor) as i64).max(0) as u64;
    let frames = (u128::from(since) * u128::from(rate_hz) + (1 << 31)) >> 32;
    FrameIndex(frames as u64)
}

/// The time tag of what is to come in at that frame: [`frame_at`], the other way.
#[must_use]
pub fn tag_of(anchor: u64, frame: FrameIndex, rate_hz: u32) -> u64 {
    let since = (u128::from(frame.0) << 32) / u128::from(rate_hz.max(1));
    anchor.wrapping_add(since as u64)
}

/// What audio-out measures the anchor with.
#[derive(Clone, Copy, Debug)]
pub struct Anchoring {
    rate_hz: u32,
    /// Blocks to look at before it is moved, and how many are left.
    window: u32,
    left: u32,
    least: u64,
}

impl Anchoring {
    /// For so many frames and blocks a second.
    #[must_use]
    pub const fn new(rate_hz: u32, blocks_a_second: u32) -> Self {
        Self {
            rate_hz,
            window: blocks_a_second,
            left: blocks_a_second,
            least: 0,
        }
    }

    /// At that time, `coming_in` is the first frame that cannot have been rendered. Returns where the
    /// anchor is to be from now on, if not where it is; 0 is nowhere yet.
    ///
    /// # Real-time
    /// Yes; constant time.
    pub fn note(&mut self, now: u64, coming_in: FrameIndex, anchor: u64) -> Option<u64> {
        let since = ((u128::from(coming_in.0)) << 32) / u128::from(self.rate_hz.max(1));
        let found = now.wrapping_sub(since as u64);
        if anchor == 0 {
            return Some(found);
        }
        // A thread that wakes late finds it too late, never too early: the least is right.
        if self.left == self.window || (found.wrapping_sub(self.least) as i64) < 0 {
            self.least = found;
        }
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return None;
        }
        self.left = self.window;
        let off = self.least.wrapping_sub(anchor) as i64;
        (off.unsigned_abs() > DEADBAND).then_some(self.least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_frame_and_the_distance_of_tags_is_that_of_their_frames() {
        let anchor = ntp(1_700_000_000, 123_456_789);
        assert_eq!(frame_at(anchor, anchor, 48_000), FrameIndex(0));
        assert_eq!(frame_at(anchor, anchor - SECOND, 48_000), FrameIndex(0));
        for frames in [1_u64, 479, 48_000, 48_000 * 3600 * 24 * 365] {
            let tag = tag_of(anchor, FrameIndex(frames), 48_000);
            assert_eq!(frame_at(anchor, tag, 48_000), FrameIndex(frames));
        }
        // NTP's era ends in 2036.
        assert_eq!(frame_at(u64::MAX, SECOND - 1, 48_000), FrameIndex(48_000));
    }

    #[test]
    fn the_anchor_follows_the_earliest_and_stands_still_while_it_is_right() {
        let mut anchoring = Anchoring::new(48_000, 4);
        let ms = SECOND / 1_000;
        let at = |block: u64, late: u64| SECOND * 100 + block * SECOND / 375 + late;
        let frame = |block: u64| FrameIndex(block * 128);
        let mut anchor = 0;
        let mut moved = Vec::new();
        // The first is 3 ms late, others by up to 5; from block 12 on the music is 20 ms later.
        for (block, late) in [
            3, 5, 1, 4, 0, 5, 2, 4, 0, 1, 1, 1, 20, 25, 20, 21, 20, 22, 23, 24,
        ]
        .iter()
        .enumerate()
        {
            let block = block as u64;
            if let Some(to) = anchoring.note(at(block, late * ms), frame(block), anchor) {
                anchor = to;
                moved.push((block, (to - SECOND * 100 + ms / 2) / ms));
            }
        }
        assert_eq!(moved, [(0, 3), (4, 0), (16, 20)]);
    }
}
