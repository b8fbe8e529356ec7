//! The held state of one MIDI channel: keys, pedal, bend, pressure, and the selected parameter.
//!
//! Plain values, which are saved after each message (`held`), so that a restarted MIDI input continues with them. Each
//! sounding key has a unique pitch, by which the engine identifies its note (`keys`).

use serde::{Deserialize, Serialize};

use crate::parameters::Selected;

/// A sounding key.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// The key, 0 to 127.
    pub number: u8,
    /// The note number by which the engine identifies the note.
    pub pitch: f32,
    /// Whether the key is released and the pedal holds its note.
    #[serde(default, skip_serializing_if = "is_default")]
    pub held: bool,
}

/// The held state of a channel. Initial values are not saved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Channel {
    /// The sounding keys, in the order of their strikes.
    #[serde(skip_serializing_if = "is_default")]
    pub keys: Vec<Key>,
    /// Whether the sustain pedal is down.
    #[serde(skip_serializing_if = "is_default")]
    pub pedal: bool,
    /// The pitch bend, -1 to 1.
    #[serde(skip_serializing_if = "is_default")]
    pub bend: f32,
    /// The bend range in semitones, if it was set.
    #[serde(skip_serializing_if = "is_default")]
    pub range: Option<f32>,
    /// Fine and coarse tuning, in semitones.
    #[serde(skip_serializing_if = "is_default")]
    pub fine: f32,
    #[serde(skip_serializing_if = "is_default")]
    pub coarse: f32,
    /// The channel pressure, 0 to 1.
    #[serde(skip_serializing_if = "is_default")]
    pub pressure: f32,
    /// Controller 74 of a member channel of a zone, 0 to 1.
    #[serde(skip_serializing_if = "is_default")]
    pub timbre: f32,
    /// The parameter that data entry sets.
    #[serde(skip_serializing_if = "is_default")]
    pub selected: Selected,
}

impl Channel {
    /// The index of a sounding key.
    pub fn find(&self, number: u8) -> Option<usize> {
        self.keys.iter().position(|key| key.number == number)
    }

    /// The pitch offset of the channel's notes in semitones, for a bend range.
    pub fn shift(&self, range: f32) -> f32 {
        self.bend * range + self.fine + self.coarse
    }

    /// Removes and returns the released keys that the pedal holds.
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

/// Whether a value has its initial value.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Distance between the pitches of the same key on two channels: 0.0015 cents, inaudible, but distinct as `f32`
/// up to note 127.
const APART: f32 = 1.0 / 65_536.0;

/// The pitch for a struck key: its number, or the nearest unused pitch above.
///
/// The engine ends and bends a note by its pitch; the same key on two channels makes two notes.
pub fn pitch_of(number: u8, channels: &[Channel]) -> f32 {
    let taken = |pitch: f32| {
        let keys = channels.iter().flat_map(|channel| &channel.keys);
        keys.into_iter().any(|key| key.pitch == pitch)
    };
    // The same key sounds on at most sixteen channels.
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
