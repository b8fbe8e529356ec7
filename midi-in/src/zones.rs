//! Zones of MIDI Polyphonic Expression: which channels have a note each, and which one leads them.
//!
//! # Source
//! MIDI Polyphonic Expression, version 1.1, 2022, sections 2.1 and 2.2.

use serde::{Deserialize, Serialize};

/// Both zones: how many member channels each has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zones {
    /// Members of the lower zone: channels 2 and on, led by channel 1.
    lower: u8,
    /// Members of the upper zone: channels 15 and down, led by channel 16.
    upper: u8,
}

impl Zones {
    /// Gives the zone that this channel (0 to 15) leads so many members; the other zone gives way. Returns
    /// whether the channel leads a zone.
    pub fn set(&mut self, master: u8, members: u8) -> bool {
        let members = members.min(15);
        let (own, other) = match master {
            0 => (&mut self.lower, &mut self.upper),
            15 => (&mut self.upper, &mut self.lower),
            _ => return false,
        };
        *own = members;
        if members > 0 {
            *other = (*other).min(14_u8.saturating_sub(members));
        }
        true
    }

    /// The channel that leads a member, both 0 to 15; none where the channel is no member.
    pub const fn master_of(self, channel: u8) -> Option<u8> {
        if channel >= 1 && channel <= self.lower {
            Some(0)
        } else if channel < 15 && channel.saturating_add(self.upper) >= 15 {
            Some(15)
        } else {
            None
        }
    }

    /// The channels that a message on this one applies to: its whole zone if it leads one, else only itself.
    pub fn reach(self, channel: u8) -> std::ops::RangeInclusive<u8> {
        match channel {
            0 => 0..=self.lower,
            15 if self.master_of(15).is_none() => 15 - self.upper.min(15)..=15,
            other => other..=other,
        }
    }

    /// The channels that share a member's settings: all members of its zone; else only itself.
    pub fn siblings(self, channel: u8) -> std::ops::RangeInclusive<u8> {
        match self.master_of(channel) {
            Some(0) => 1..=self.lower,
            Some(_) => 15 - self.upper.min(15)..=14,
            None => channel..=channel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_members_and_the_later_one_wins() {
        let mut zones = Zones::default();
        assert!((0..16).all(|channel| zones.master_of(channel).is_none()));
        assert!(zones.set(0, 7) && zones.set(15, 7) && !zones.set(3, 4));
        assert_eq!((zones.reach(0), zones.reach(15)), (0..=7, 8..=15));
        assert_eq!(
            (zones.master_of(7), zones.master_of(8)),
            (Some(0), Some(15))
        );
        zones.set(15, 10);
        assert_eq!((zones.reach(0), zones.siblings(14)), (0..=4, 5..=14));
        zones.set(0, 15);
        assert_eq!((zones.reach(0), zones.master_of(15)), (0..=15, Some(0)));
        assert_eq!(zones.reach(15), 15..=15);
        zones.set(0, 0);
        assert!((0..16).all(|channel| zones.master_of(channel).is_none()));
        zones.set(15, 15);
        assert_eq!((zones.reach(15), zones.siblings(0)), (0..=15, 0..=14));
    }
}
