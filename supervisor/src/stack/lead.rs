//! The lead of the workers (`failover::lead`), and their smallest margins to the deadline.

use std::collections::VecDeque;

use common::{
    limits::LEAD_BLOCKS_MAX,
    options::Options,
    stage::{AudioFormat, Stage},
    units::Slot,
};
use failover::lead::Lead;
use platform::say;

use super::Stack;

/// The seconds for which the smallest margin is shown.
const SHOWN_SECONDS: usize = 60;

/// The state of the lead.
pub struct Ahead {
    /// The rule; `None` for a fixed lead.
    rule: Option<Lead>,
    /// The smallest margin in each of the last seconds, in microseconds, oldest first.
    closest: VecDeque<(u32, u32)>,
}

impl Ahead {
    pub fn new(options: &Options, stage: &Stage<'_>) -> Self {
        let format = stage.format();
        let most = longest(options.lead_max_ms, &format);
        let rule = || Lead::new(format.lead_blocks, most, stage.late_blocks(), 0);
        Self {
            rule: options.lead_blocks.is_none().then(rule),
            closest: VecDeque::new(),
        }
    }

    /// Whether the lead is automatic.
    pub const fn is_auto(&self) -> bool {
        self.rule.is_some()
    }

    /// The smallest margin to a deadline within the last minute, in milliseconds.
    pub fn closest_ms(&self) -> Option<f64> {
        let least = self.closest.iter().map(|(_, us)| *us).min()?;
        Some(f64::from(least / 10) / 100.0)
    }

    fn look(&mut self, stage: &Stage<'_>) {
        for (second, margin_us) in Slot::ALL.map(|slot| stage.slot(slot).closest()) {
            let known = self.closest.iter_mut().find(|(noted, _)| *noted == second);
            match known {
                _ if second == 0 => {}
                Some((_, least)) => *least = margin_us.min(*least),
                None => self.closest.push_back((second, margin_us)),
            }
        }
        let newest = self.closest.iter().map(|(second, _)| *second).max();
        let oldest = newest.unwrap_or(0).saturating_sub(SHOWN_SECONDS as u32);
        self.closest.retain(|(second, _)| *second > oldest);
    }
}

/// The number of blocks that last `max_ms` milliseconds, within the limit of the lead.
fn longest(max_ms: u32, format: &AudioFormat) -> u32 {
    let blocks = u64::from(max_ms) * 1_000_000 / format.block_ns().max(1);
    blocks.clamp(1, LEAD_BLOCKS_MAX) as u32
}

impl Stack {
    /// Adapts the lead to the margins of the last blocks.
    pub(super) fn look_ahead(&mut self) {
        let (stage, now_us) = (self.shared.stage, self.present_us());
        self.ahead.look(&stage);
        let (lead, late) = (stage.lead(), stage.late_blocks());
        let Some(rule) = self.ahead.rule.as_mut() else {
            return;
        };
        if self.overload.is_near() {
            return rule.forgive(late);
        }
        let wanted = rule.step(now_us, lead, late);
        if wanted == lead {
            return;
        }
        stage.set_lead(wanted);
        self.shared.wake_workers();
        let why = match wanted > lead {
            true => "a block was late or nearly late",
            false => "no block was late for ten minutes",
        };
        say::line(
            "supervisor",
            &format!("the lead changes from {lead} to {wanted} blocks: {why}"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{stage::STAGE_WORDS, sync::heap};

    const FORMAT: AudioFormat = AudioFormat {
        rate_hz: 48_000,
        block_frames: 128,
        channels: 2,
        lead_blocks: 4,
        freewheel: false,
    };

    #[test]
    fn the_limit_is_a_time_and_fits_the_rings() {
        assert_eq!(longest(32, &FORMAT), 12);
        let small = AudioFormat {
            block_frames: 16,
            ..FORMAT
        };
        assert_eq!(u64::from(longest(32, &small)), LEAD_BLOCKS_MAX);
        let large = AudioFormat {
            block_frames: 2_048,
            ..FORMAT
        };
        assert_eq!(longest(32, &large), 1);
    }

    #[test]
    fn the_smallest_margin_of_both_workers_is_shown_for_a_minute() {
        let words = heap(STAGE_WORDS);
        let stage = Stage::create(&words, &FORMAT).unwrap();
        let mut ahead = Ahead {
            rule: None,
            closest: VecDeque::new(),
        };
        ahead.look(&stage);
        assert_eq!(ahead.closest_ms(), None);
        for (slot, margin_us, second) in [(0, 9_000, 10), (1, 3_150, 10), (0, 9_000, 11)] {
            let slot = Slot::from_index(slot).unwrap();
            stage.slot(slot).published_before(margin_us, second);
            ahead.look(&stage);
        }
        assert_eq!(ahead.closest_ms(), Some(3.15));
        stage.slot(Slot::Zero).published_before(8_000, 69);
        ahead.look(&stage);
        assert_eq!(ahead.closest_ms(), Some(3.15));
        stage.slot(Slot::Zero).published_before(8_000, 70);
        ahead.look(&stage);
        assert_eq!(ahead.closest_ms(), Some(8.0));
    }
}
