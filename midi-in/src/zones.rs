//! The zones of MIDI Polyphonic Expression: their member channels and master channels.
//!
//! # Source
//! MIDI Polyphonic Expression, version 1.1, 2022, sections 2.1 and 2.2.

use serde::{Deserialize, Serialize};

/// The number of member channels of both zones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zones {
    /// The members of the lower zone: channels 2 and up; the master is channel 1.
    lower: u8,
    /// The members of the upper zone: channels 15 and down; the master is channel 16.
    upper: u8,
}

impl Zones {
    /// Sets the number of members of the zone with this master (0 to 15); shrinks the other zone if necessary. Returns
    /// whether the channel is a master.
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

    /// The master of a member channel, both 0 to 15; `None` for other channels.
    pub const fn master_of(self, channel: u8) -> Option<u8> {
        if channel >= 1 && channel <= self.lower {
            Some(0)
        } else if channel < 15 && channel.saturating_add(self.upper) >= 15 {
            Some(15)
        } else {
            None
        }
    }

    /// The channels that a message affects: the whole zone of a master, otherwise only the channel itself.
    pub fn reach(self, channel: u8) -> std::ops::RangeInclusive<u8> {
        match channel {
            0 => 0..=self.lower,
            15 if self.master_of(15).is_none() => 15 - self.upper.min(15)..=15,
            other => other..=other,
        }
    }

    /// The channels that share a channel's settings: all members of its zone, otherwise only the channel itself.
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
