//! Registered parameters: the selection for data entry, and the values.
//!
//! # Source
//! MIDI 1.0 Detailed Specification, "Registered and Non-Registered Parameter Numbers"; RP-018, "Response to
//! Data Increment and Decrement Controllers", 1998.

use serde::{Deserialize, Serialize};

pub const DATA: u8 = 6;
pub const DATA_FINE: u8 = 38;
pub const INCREMENT: u8 = 96;
pub const DECREMENT: u8 = 97;
pub const OTHER_FINE: u8 = 98;
pub const OTHER: u8 = 99;
pub const PARAM_FINE: u8 = 100;
pub const PARAM: u8 = 101;

/// The parameter that data entry sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selected {
    /// Nothing: the data entry controllers are controllers like any other.
    #[default]
    None,
    /// A registered parameter, by its two numbers; 127 for an unset number.
    Registered(u8, u8),
    /// A non-registered parameter; none is supported.
    Other(u8, u8),
}

/// The supported registered parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The bend range.
    BendRange,
    /// Fine tuning.
    Fine,
    /// Coarse tuning.
    Coarse,
    /// The number of member channels of an MPE zone.
    Zone,
}

impl Selected {
    /// Handles a selecting controller; false for any other controller.
    pub fn hear(&mut self, controller: u8, value: u8) -> bool {
        let (registered, other) = match *self {
            Self::None => ((127, 127), (127, 127)),
            Self::Registered(high, low) => ((high, low), (127, 127)),
            Self::Other(high, low) => ((127, 127), (high, low)),
        };
        let selected = match controller {
            PARAM => Self::Registered(value, registered.1),
            PARAM_FINE => Self::Registered(registered.0, value),
            OTHER => Self::Other(value, other.1),
            OTHER_FINE => Self::Other(other.0, value),
            _ => return false,
        };
        *self = match selected {
            Self::Registered(127, 127) | Self::Other(127, 127) => Self::None,
            selected => selected,
        };
        true
    }

    /// The parameter, if it is supported.
    pub const fn known(self) -> Option<Known> {
        match self {
            Self::Registered(0, 0) => Some(Known::BendRange),
            Self::Registered(0, 1) => Some(Known::Fine),
            Self::Registered(0, 2) => Some(Known::Coarse),
            Self::Registered(0, 6) => Some(Known::Zone),
            _ => None,
        }
    }
}

/// The bend range in semitones after data entry: semitones, cents, or a step of one cent.
pub fn range(now: f32, controller: u8, value: u8) -> f32 {
    let cents = (now * 100.0).round();
    let (whole, part) = ((cents / 100.0).trunc(), cents % 100.0);
    let value = f32::from(value);
    let cents = match controller {
        DATA => value * 100.0,
        DATA_FINE => whole * 100.0 + value.min(99.0),
        INCREMENT => whole * 100.0 + part + 1.0,
        _ => whole * 100.0 + part - 1.0,
    };
    cents.clamp(0.0, 12_799.0) / 100.0
}

/// Fine tuning in semitones after data entry: 14 bits from a semitone down to a semitone up.
pub fn fine(now: f32, controller: u8, value: u8) -> f32 {
    let steps = ((now + 1.0) * 8_192.0).round() as i32;
    let value = i32::from(value);
    let steps = match controller {
        DATA => value << 7 | (steps & 127),
        DATA_FINE => (steps & !127) | value,
        INCREMENT => steps + 1,
        _ => steps - 1,
    };
    steps.clamp(0, 16_383) as f32 / 8_192.0 - 1.0
}

/// Coarse tuning in semitones after data entry; its LSB has no meaning.
pub fn coarse(now: f32, controller: u8, value: u8) -> f32 {
    let semitones = match controller {
        DATA => f32::from(value) - 64.0,
        INCREMENT => now + 1.0,
        DECREMENT => now - 1.0,
        _ => now,
    };
    semitones.clamp(-64.0, 63.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_selected_by_two_numbers_and_deselected_by_127_or_by_the_other_kind() {
        let mut selected = Selected::default();
        assert_eq!(selected.known(), None);
        assert!(selected.hear(PARAM, 0) && selected.known().is_none());
        assert!(selected.hear(PARAM_FINE, 2));
        assert_eq!(selected.known(), Some(Known::Coarse));
        assert!(selected.hear(OTHER, 0) && selected.hear(OTHER_FINE, 2));
        assert_eq!((selected, selected.known()), (Selected::Other(0, 2), None));
        assert!(selected.hear(PARAM, 127) && selected.hear(PARAM_FINE, 127));
        assert_eq!(selected, Selected::None);
        assert!(!selected.hear(DATA, 3));
    }

    #[test]
    fn data_entry_sets_what_the_specification_says() {
        assert_eq!(range(2.0, DATA, 12), 12.0);
        assert_eq!(range(12.0, DATA_FINE, 50), 12.5);
        assert_eq!(range(12.99, INCREMENT, 0), 13.0);
        assert_eq!(range(0.0, DECREMENT, 0), 0.0);
        assert_eq!(fine(0.0, DATA, 0), -1.0);
        assert_eq!(fine(0.0, DATA, 64), 0.0);
        assert_eq!(
            fine(fine(0.0, DATA, 127), DATA_FINE, 127),
            8_191.0 / 8_192.0
        );
        assert_eq!(fine(0.0, INCREMENT, 0), 1.0 / 8_192.0);
        assert_eq!(coarse(0.0, DATA, 52), -12.0);
        assert_eq!(
            (coarse(0.0, DATA_FINE, 9), coarse(3.0, DECREMENT, 0)),
            (0.0, 2.0)
        );
    }
}
