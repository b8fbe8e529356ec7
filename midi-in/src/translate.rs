//! Translates MIDI to messages for the gateway: notes, expressions, controllers, tempo.
//!
//! Pure: the output follows from the message and the held state (`channel`, `zones`, `transport`). The state can be
//! saved after any message; another process can read it and continue with the next message.
//!
//! # Source
//! MIDI 1.0 Detailed Specification, 1996; RP-015, "Response to Reset All Controllers", 1999; MIDI Polyphonic
//! Expression, version 1.1, 2022.

use midly::{
    MidiMessage,
    live::{LiveEvent, SystemCommon, SystemRealtime},
};
use serde::{Deserialize, Serialize};

use crate::{
    channel::{Channel, Key, is_default, pitch_of},
    parameters::{self, Known, Selected},
    transport::Transport,
    zones::Zones,
};

/// A message for the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Said {
    /// A note, by its pitch, with the velocity, 0 to 127; 0 ends the note.
    Note(f32, u8),
    /// Bend in semitones, of the note with this pitch or of all notes.
    Bend(f32, Option<f32>),
    /// Pressure, 0 to 1, of the note or of all notes.
    Pressure(f32, Option<f32>),
    /// Controller 74 of an MPE member channel, 0 to 1.
    Timbre(f32, Option<f32>),
    /// Channel, 1 to 16, controller and value, 0 to 127.
    Control(u8, u8, u8),
    /// As [`Self::Control`], but by a reset instead of a movement: the controller is not learnt.
    Reset(u8, u8, u8),
    /// Silences all sound at once.
    Silence,
    /// The tempo of the clock in BPM.
    Tempo(f32),
    /// The song starts at a tick, with a tempo (0 if unknown), at a time, an NTP timestamp.
    Play(u32, f32, u64),
    /// The song plays, with a tick at a time and a tempo in BPM; 0 means that the song waits at the tick.
    Clock(u32, f32, u64),
    /// The song stops at a time.
    Stop(u64),
}

/// The default bend range in semitones: of a channel, and of a member channel of a zone.
const BEND: f32 = 2.0;
const BEND_OF_MEMBER: f32 = 48.0;
mod controller {
    pub const MODULATION: u8 = 1;
    pub const EXPRESSION: u8 = 11;
    pub const PEDAL: u8 = 64;
    pub const TIMBRE: u8 = 74;
    pub const SOUND_OFF: u8 = 120;
    pub const RESET: u8 = 121;
    pub const LOCAL: u8 = 122;
    pub const NOTES_OFF: u8 = 123;
}

/// The held state of one port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Translator {
    channels: [Channel; 16],
    #[serde(skip_serializing_if = "is_default")]
    zones: Zones,
    /// The clock.
    #[serde(skip_serializing_if = "is_default")]
    pub transport: Transport,
}

impl Translator {
    /// Translates an event that arrived at `now`, an NTP timestamp.
    pub fn hear(&mut self, event: LiveEvent<'_>, now: u64, mut say: impl FnMut(Said)) {
        match event {
            LiveEvent::Midi { channel, message } => {
                self.voice(channel.as_int(), message, &mut say);
            }
            LiveEvent::Realtime(SystemRealtime::TimingClock) => {
                self.transport.tick(now, &mut say);
            }
            LiveEvent::Realtime(SystemRealtime::Start) => self.transport.start(),
            LiveEvent::Realtime(SystemRealtime::Continue) => self.transport.go_on(),
            LiveEvent::Realtime(SystemRealtime::Stop) => self.transport.stop(now, &mut say),
            LiveEvent::Common(SystemCommon::SongPosition(place)) => {
                self.transport.locate(place.as_int());
            }
            LiveEvent::Realtime(SystemRealtime::Reset) => {
                self.release(&mut say);
                self.channels = Default::default();
                self.zones = Zones::default();
            }
            LiveEvent::Realtime(_) | LiveEvent::Common(_) => {}
        }
    }

    /// Ends all notes, and releases all keys and pedals.
    pub fn release(&mut self, say: &mut impl FnMut(Said)) {
        for channel in &mut self.channels {
            let keys = std::mem::take(&mut channel.keys);
            keys.iter().for_each(|key| say(Said::Note(key.pitch, 0)));
            channel.rest();
        }
    }

    /// The number of sounding keys.
    pub fn sounding(&self) -> usize {
        self.channels.iter().map(|channel| channel.keys.len()).sum()
    }

    fn voice(&mut self, number: u8, message: MidiMessage, say: &mut impl FnMut(Said)) {
        match message {
            MidiMessage::NoteOn { key, vel } if vel.as_int() > 0 => {
                self.strike(number, key.as_int(), vel.as_int(), say);
            }
            MidiMessage::NoteOn { key, .. } | MidiMessage::NoteOff { key, .. } => {
                self.let_go(number, key.as_int(), say);
            }
            MidiMessage::Aftertouch { key, vel } => {
                let channel = self.channel(number);
                if let Some(place) = channel.find(key.as_int()) {
                    let pitch = channel.keys[place].pitch;
                    say(Said::Pressure(part(vel.as_int()), Some(pitch)));
                }
            }
            MidiMessage::ChannelAftertouch { vel } => {
                self.channel_mut(number).pressure = part(vel.as_int());
                self.say_of(number, Said::Pressure, Self::pressure, say);
            }
            MidiMessage::PitchBend { bend } => {
                self.channel_mut(number).bend = bend.as_f32();
                self.say_of(number, Said::Bend, Self::bend, say);
            }
            MidiMessage::Controller { controller, value } => {
                self.control(number, controller.as_int(), value.as_int(), say);
            }
            MidiMessage::ProgramChange { .. } => {}
        }
    }

    fn strike(&mut self, number: u8, key: u8, velocity: u8, say: &mut impl FnMut(Said)) {
        let channel = self.channel_mut(number);
        let pitch = match channel.find(key) {
            // A repeated strike is the same note.
            Some(place) => channel.keys.remove(place).pitch,
            None => pitch_of(key, &self.channels),
        };
        self.channel_mut(number).keys.push(Key {
            number: key,
            pitch,
            held: false,
        });
        say(Said::Note(pitch, velocity));
        // Send the channel's bend, pressure and timbre for the new note, which begins without them.
        let own = [
            (
                self.bend(number),
                Said::Bend as fn(f32, Option<f32>) -> Said,
            ),
            (self.pressure(number), Said::Pressure),
        ];
        let timbre = self.zones.master_of(number).map(|_| {
            let timbre = self.channel(number).timbre;
            (timbre, Said::Timbre as fn(f32, Option<f32>) -> Said)
        });
        for (value, of) in own.into_iter().chain(timbre) {
            if value != 0.0 {
                say(of(value, Some(pitch)));
            }
        }
    }

    fn let_go(&mut self, number: u8, key: u8, say: &mut impl FnMut(Said)) {
        let pedal = self.pedal(number);
        let is_free = pitch_of(key, &self.channels) == f32::from(key);
        let channel = self.channel_mut(number);
        match channel.find(key) {
            Some(place) if pedal => channel.keys[place].held = true,
            Some(place) => say(Said::Note(channel.keys.remove(place).pitch, 0)),
            // An unknown key: end its note, but not a note of another channel.
            None if is_free => say(Said::Note(key.into(), 0)),
            None => {}
        }
    }

    fn control(&mut self, number: u8, controller: u8, value: u8, say: &mut impl FnMut(Said)) {
        match controller {
            controller::PEDAL => {
                self.channel_mut(number).pedal = value >= 64;
                self.end_held(number, say);
            }
            controller::TIMBRE if self.zones.master_of(number).is_some() => {
                let channel = self.channel_mut(number);
                channel.timbre = part(value);
                let keys = channel.keys.iter();
                keys.for_each(|key| say(Said::Timbre(part(value), Some(key.pitch))));
            }
            controller::SOUND_OFF => {
                for number in self.zones.reach(number) {
                    let keys = std::mem::take(&mut self.channel_mut(number).keys);
                    keys.iter().for_each(|key| say(Said::Note(key.pitch, 0)));
                }
                say(Said::Silence);
            }
            controller::RESET => self.reset(number, say),
            controller::LOCAL => {}
            controller::NOTES_OFF.. => {
                for number in self.zones.reach(number) {
                    let down = self.channel(number).keys.iter().filter(|key| !key.held);
                    let down: Vec<u8> = down.map(|key| key.number).collect();
                    down.iter().for_each(|key| self.let_go(number, *key, say));
                }
            }
            _ => {
                if !self.channel_mut(number).selected.hear(controller, value) {
                    self.enter(number, controller, value, say);
                }
            }
        }
    }

    /// Handles data entry if a parameter is selected; otherwise an ordinary controller.
    fn enter(&mut self, number: u8, controller: u8, value: u8, say: &mut impl FnMut(Said)) {
        use parameters::{DATA, DATA_FINE, DECREMENT, INCREMENT};
        let selected = self.channel(number).selected;
        let data = matches!(controller, DATA | DATA_FINE | INCREMENT | DECREMENT);
        if !data || selected == Selected::None {
            say(Said::Control(number + 1, controller, value));
            return;
        }
        match selected.known() {
            Some(Known::BendRange) => {
                let range = parameters::range(self.range(number), controller, value);
                // All member channels of a zone share one range.
                for number in self.zones.siblings(number) {
                    self.channel_mut(number).range = Some(range);
                    self.say_of(number, Said::Bend, Self::bend, say);
                }
            }
            Some(Known::Fine) => {
                let channel = self.channel_mut(number);
                channel.fine = parameters::fine(channel.fine, controller, value);
                self.say_of(number, Said::Bend, Self::bend, say);
            }
            Some(Known::Coarse) => {
                let channel = self.channel_mut(number);
                channel.coarse = parameters::coarse(channel.coarse, controller, value);
                self.say_of(number, Said::Bend, Self::bend, say);
            }
            Some(Known::Zone) if controller == DATA => self.set_zone(number, value, say),
            Some(Known::Zone) | None => {}
        }
    }

    /// Creates or removes a zone: ends its notes, and sets the bend ranges of the specification.
    fn set_zone(&mut self, number: u8, members: u8, say: &mut impl FnMut(Said)) {
        let before = self.zones;
        if !self.zones.set(number, members) {
            return;
        }
        for other in 0..16_u8 {
            let of_zone = before.reach(number).chain(self.zones.reach(number));
            let changed = before.master_of(other) != self.zones.master_of(other);
            if changed || of_zone.into_iter().any(|of| of == other) {
                let channel = self.channel_mut(other);
                let keys = std::mem::take(&mut channel.keys);
                keys.iter().for_each(|key| say(Said::Note(key.pitch, 0)));
                channel.rest();
                channel.range = None;
            }
        }
    }

    /// Handles Reset All Controllers.
    fn reset(&mut self, number: u8, say: &mut impl FnMut(Said)) {
        for number in self.zones.reach(number) {
            let channel = self.channel_mut(number);
            channel.rest();
            channel.selected = Selected::None;
        }
        self.end_held(number, say);
        self.say_of(number, Said::Bend, Self::bend, say);
        self.say_of(number, Said::Pressure, Self::pressure, say);
        for (controller, value) in [(controller::MODULATION, 0), (controller::EXPRESSION, 127)] {
            say(Said::Reset(number + 1, controller, value));
        }
    }

    /// Ends the notes that no pedal holds any more, on all channels that the channel's pedal affects.
    fn end_held(&mut self, number: u8, say: &mut impl FnMut(Said)) {
        for number in self.zones.reach(number) {
            if !self.pedal(number) {
                let held = self.channel_mut(number).take_held();
                held.iter().for_each(|key| say(Said::Note(key.pitch, 0)));
            }
        }
    }

    /// Sends an expression for all notes that a channel's messages affect: one by one, or for all at once if no other
    /// channel plays, so that it also affects notes that fade out.
    fn say_of(
        &self,
        number: u8,
        of: fn(f32, Option<f32>) -> Said,
        value: fn(&Self, u8) -> f32,
        say: &mut impl FnMut(Said),
    ) {
        let reach = self.zones.reach(number);
        let others = (0..16).any(|other| {
            other != number && (reach.contains(&other) || !self.channel(other).keys.is_empty())
        });
        if !others && self.zones.master_of(number).is_none() {
            say(of(value(self, number), None));
            return;
        }
        for number in reach {
            let keys = self.channel(number).keys.iter();
            keys.for_each(|key| say(of(value(self, number), Some(key.pitch))));
        }
    }

    /// The bend of a channel's notes in semitones, including that of the zone's master channel.
    fn bend(&self, number: u8) -> f32 {
        let own = |number| self.channel(number).shift(self.range(number));
        own(number) + self.zones.master_of(number).map_or(0.0, own)
    }

    fn pressure(&self, number: u8) -> f32 {
        let own = |number| self.channel(number).pressure;
        own(number).max(self.zones.master_of(number).map_or(0.0, own))
    }

    fn pedal(&self, number: u8) -> bool {
        let own = |number| self.channel(number).pedal;
        own(number) || self.zones.master_of(number).is_some_and(own)
    }

    /// The bend range of a channel in semitones.
    fn range(&self, number: u8) -> f32 {
        let usual = match self.zones.master_of(number) {
            Some(_) => BEND_OF_MEMBER,
            None => BEND,
        };
        self.channel(number).range.unwrap_or(usual)
    }

    const fn channel(&self, number: u8) -> &Channel {
        &self.channels[(number & 15) as usize]
    }

    const fn channel_mut(&mut self, number: u8) -> &mut Channel {
        &mut self.channels[(number & 15) as usize]
    }
}

fn part(value: u8) -> f32 {
    f32::from(value) / 127.0
}

#[cfg(test)]
mod tests;
