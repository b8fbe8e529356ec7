//! The held state of one MIDI channel: keys, pedal, bend, pressure, and the selected parameter.
//!
//! Plain values that are written down after each message (`held`), so that the next MIDI input goes on
//! with them. Each key that sounds has a pitch of its own, by which the engine tells its note from others
//! (`keys`).

use serde::{Deserialize, Serialize};

use crate::parameters::Selected;

/// A key that sounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// 0 to 127.
    pub number: u8,
    /// The note number by which the engine knows it.
    pub pitch: f32,
    /// It is up, and the pedal holds it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub held: bool,
}

/// What a channel holds. What is as at the start is not written down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Channel {
    /// In the order in which they were struck.
    #[serde(skip_serializing_if = "is_default")]
    pub keys: Vec<Key>,
    /// The sustain pedal is down.
    #[serde(skip_serializing_if = "is_default")]
    pub pedal: bool,
    /// -1 to 1.
    #[serde(skip_serializing_if = "is_default")]
    pub bend: f32,
    /// Semitones that a bend reaches, if it was said.
    #[serde(skip_serializing_if = "is_default")]
    pub range: Option<f32>,
    /// Fine and coarse tuning, in semitones.
    #[serde(skip_serializing_if = "is_default")]
    pub fine: f32,
    #[serde(skip_serializing_if = "is_default")]
    pub coarse: f32,
    /// 0 to 1.
    #[serde(skip_serializing_if = "is_default")]
    pub pressure: f32,
    /// Controller 74 of a member of a zone, 0 to 1.
    #[serde(skip_serializing_if = "is_default")]
    pub timbre: f32,
    /// The parameter that data entry sets.
    #[serde(skip_serializing_if = "is_default")]
    pub selected: Selected,
}

impl Channel {
    /// The place of a key that sounds.
    pub fn find(&self, number: u8) -> Option<usize> {
        self.keys.iter().position(|key| key.number == number)
    }

    /// How far its notes are from their keys, in semitones, with a bend range of so many.
    pub fn shift(&self, range: f32) -> f32 {
        self.bend * range + self.fine + self.coarse
    }

    /// Takes the keys that are up out of those that sound.
    pub fn take_held(&mut self) -> Vec<Key> {
        let (held, down) = std::mem::take(&mut self.keys)
            .into_iter()
            .partition(|key| key.held);
        self.keys = down;
        held
    }

    /// Resets pedal, bend, pressure and timbre; settings such as range and tuning stay.
    pub fn rest(&mut self) {
        self.pedal = false;
        (self.bend, self.pressure, self.timbre) = (0.0, 0.0, 0.0);
    }
}

/// Whether a value is as at the start.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Distance between the pitches of the same key on two channels: 0.0015 cents, inaudible, but distinct as `f32`
/// up to note 127.
const APART: f32 = 1.0 / 65_536.0;

/// The pitch for a struck key: its number, or the nearest pitch above that no sounding note has.
///
/// The engine ends and bends a note by its pitch; on two channels the same key is two notes.
pub fn pitch_of(number: u8, channels: &[Channel]) -> f32 {
    let taken = |pitch: f32| {
        let keys = channels.iter().flat_map(|channel| &channel.keys);
        keys.into_iter().any(|key| key.pitch == pitch)
    };
    // At most sixteen channels sound the same key.
    (0..16_u8)
        .map(|place| f32::from(number) + f32::from(place) * APART)
        .find(|pitch| !taken(*pitch))
        .unwrap_or_else(|| number.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_on_sixteen_channels_is_sixteen_notes() {
        for number in [0, 60, 127] {
            let mut channels: Vec<Channel> = vec![Channel::default(); 16];
            let mut pitches = Vec::new();
            for channel in 0..16 {
                let pitch = pitch_of(number, &channels);
                channels[channel].keys.push(Key {
                    number,
                    pitch,
                    held: false,
                });
                pitches.push(pitch);
            }
            assert_eq!(pitches[0], f32::from(number));
            assert!(pitches.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(pitches[15] - pitches[0] < 0.001);
        }
    }
}
