//! The lead: how far ahead of the sound the workers render. It is as short as this machine allows.
//!
//! A block that is late, or is published less than a block before its deadline, shows that the lead is too
//! short: the lead grows by one block for each such block. After ten minutes without one, it shrinks by one
//! block. Neither change is audible: only the horizon moves.

use common::{stage::Stage, units::BlockIndex};

/// After this long without a late block, in microseconds, the lead shrinks by one block.
const QUIET_US: u64 = 600_000_000;

/// The rule and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    least: u32,
    most: u32,
    late: u64,
    quiet_since_us: u64,
}

impl Lead {
    /// A lead from `least` to `most` blocks. `late`: the late blocks counted so far ([`Stage::late_blocks`]).
    #[must_use]
    pub fn new(least: u32, most: u32, late: u64, now_us: u64) -> Self {
        Self {
            least,
            most: most.max(least),
            late,
            quiet_since_us: now_us,
        }
    }

    /// Ignores the late blocks counted so far: no lead could have prevented them.
    pub const fn forgive(&mut self, late: u64) {
        self.late = late;
    }

    /// Returns the new lead in blocks. `lead` is the present one; `late` counts the late blocks so far.
    pub fn step(&mut self, now_us: u64, lead: u32, late: u64) -> u32 {
        let new = late.saturating_sub(self.late);
        self.late = late;
        if new > 0 {
            self.quiet_since_us = now_us;
            let wanted = u64::from(lead).saturating_add(new);
            return wanted.min(self.most.max(lead).into()) as u32;
        }
        if lead > self.least && now_us.saturating_sub(self.quiet_since_us) >= QUIET_US {
            self.quiet_since_us = now_us;
            return lead - 1;
        }
        lead
    }
}

/// The margin of a block that is published at `now_ns` of the monotonic clock: nanoseconds until its
/// deadline, 0 if it is late. `None` if the block has no deadline: it has been played, the instance
/// freewheels, or nobody takes blocks.
///
/// # Real-time
/// Yes: a few loads.
#[must_use]
pub fn margin_ns(stage: &Stage<'_>, block: BlockIndex, now_ns: u64) -> Option<u64> {
    let (format, taken_at) = (stage.format(), stage.taken_at());
    let ahead = block.0.checked_sub(stage.cursor().0)?;
    if format.freewheel || taken_at == 0 {
        return None;
    }
    // The device takes this many blocks at a time.
    let together = stage.burst().saturating_add(1);
    let period_ns = together.saturating_mul(format.block_ns());
    let since = now_ns.saturating_sub(taken_at);
    if since > period_ns.saturating_mul(2) {
        return None;
    }
    let periods = ahead / together + 1;
    Some(periods.saturating_mul(period_ns).saturating_sub(since))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        stage::{AudioFormat, STAGE_WORDS},
        sync::heap,
    };

    #[test]
    fn each_late_block_makes_the_lead_a_block_longer_up_to_the_limit() {
        let mut rule = Lead::new(4, 12, 7, 0);
        assert_eq!(rule.step(10, 4, 7), 4, "counted already");
        assert_eq!(rule.step(20, 4, 8), 5);
        assert_eq!(rule.step(30, 5, 8), 5);
        assert_eq!(rule.step(40, 5, 11), 8);
        assert_eq!(rule.step(50, 8, 1_000), 12);
        assert_eq!(rule.step(60, 12, 1_001), 12);
        assert_eq!(rule.step(70, 20, 1_002), 20, "a longer lead on request");
    }

    #[test]
    fn ten_quiet_minutes_make_it_a_block_shorter_down_to_where_it_began() {
        let mut rule = Lead::new(4, 12, 0, 0);
        let mut lead = rule.step(1_000, 4, 2);
        let mut shrunk_at = Vec::new();
        for minute in 1..60 {
            let shorter = rule.step(1_000 + minute * 60_000_000, lead, 2);
            if shorter != lead {
                shrunk_at.push((minute, shorter));
            }
            lead = shorter;
        }
        assert_eq!(shrunk_at, [(10, 5), (20, 4)]);
    }

    #[test]
    fn a_late_block_begins_the_ten_minutes_anew() {
        let mut rule = Lead::new(4, 12, 0, 0);
        assert_eq!(rule.step(QUIET_US - 1, 6, 1), 7);
        assert_eq!(rule.step(QUIET_US, 7, 1), 7);
        assert_eq!(rule.step(2 * QUIET_US - 1, 7, 1), 6);
    }

    #[test]
    fn the_margin_is_counted_from_when_the_last_block_was_taken() {
        let words = heap(STAGE_WORDS);
        let format = AudioFormat {
            rate_hz: 48_000,
            block_frames: 48,
            channels: 1,
            lead_blocks: 8,
            freewheel: false,
        };
        let stage = Stage::create(&words, &format).unwrap();
        let ms = 1_000_000;
        let margin = |block, now| margin_ns(&stage, BlockIndex(block), now);
        assert_eq!(margin(0, ms), None, "no block has been taken yet");
        stage.set_cursor(BlockIndex(10));
        stage.set_taken_at(100 * ms);
        assert_eq!(margin(10, 100 * ms), Some(ms), "the next block");
        assert_eq!(margin(13, 100 * ms + ms / 2), Some(3 * ms + ms / 2));
        assert_eq!(margin(10, 101 * ms + 1), Some(0), "late");
        assert_eq!(margin(9, 100 * ms), None, "the block has been played");
        assert_eq!(margin(10, 103 * ms), None, "nobody takes blocks");
        // Three at a time: blocks 10, 11 and 12 are due together, 13 with the next three.
        stage.raise_burst(2);
        assert_eq!(margin(12, 100 * ms), Some(3 * ms));
        assert_eq!(margin(13, 100 * ms), Some(6 * ms));
    }
}
