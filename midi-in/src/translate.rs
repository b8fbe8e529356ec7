//! From MIDI to what the gateway understands: notes, expressions, controllers, tempo.
//!
//! Pure: what it remembers are the keys that are down, and of each channel its pedal, its bend and how far
//! that reaches. Whoever forgets it has forgotten no note: a key that is let go ends its note by its
//! number.
//!
//! # Source
//! MIDI 1.0 Detailed Specification, 1996; MIDI Polyphonic Expression, version 1.1, 2022.

use midly::{
    MidiMessage,
    live::{LiveEvent, SystemRealtime},
};

/// What MIDI has said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Said {
    /// A key, 0 to 127, and how hard it was struck, 0 to 127; 0 lets it go.
    Note(u8, u8),
    /// Bend in semitones, of the key or of all.
    Bend(f32, Option<u8>),
    /// Pressure, 0 to 1, of the key or of all.
    Pressure(f32, Option<u8>),
    /// Controller 74 of a channel of its own, 0 to 1, of the key.
    Timbre(f32, Option<u8>),
    /// Channel, 1 to 16, controller and value, 0 to 127.
    Control(u8, u8, u8),
    /// Beats a minute of the clock.
    Tempo(f32),
    /// From the beginning.
    Start,
    /// From where it stopped.
    Continue,
    /// Until it is continued or started.
    Stop,
}

/// Semitones that a bend reaches where nothing else was said: of a channel, of a note's own channel.
const BEND: f32 = 2.0;
const BEND_OF_MEMBER: f32 = 48.0;
/// Ticks of the clock in a beat.
const TICKS: usize = 24;
/// Of an NTP timestamp.
const SECOND: f64 = 4_294_967_296.0;
/// Beats a minute by which a tempo must differ to be told.
const TEMPO_STEP: f32 = 0.05;

mod controller {
    pub const DATA: u8 = 6;
    pub const DATA_FINE: u8 = 38;
    pub const PEDAL: u8 = 64;
    pub const TIMBRE: u8 = 74;
    pub const PARAM_FINE: u8 = 100;
    pub const PARAM: u8 = 101;
    pub const SOUND_OFF: u8 = 120;
    pub const RESET: u8 = 121;
    pub const NOTES_OFF: u8 = 123;
}

/// Registered parameters: how far a bend reaches, how many channels a zone has.
const BEND_RANGE: (u8, u8) = (0, 0);
const ZONE: (u8, u8) = (0, 6);

#[derive(Clone, Debug, Default)]
struct Channel {
    keys: Vec<u8>,
    /// Keys that are up while the pedal is down.
    held: Vec<u8>,
    pedal: bool,
    /// -1 to 1.
    bend: f32,
    /// Semitones; 0 is what it is where nothing was said.
    range: f32,
    pressure: f32,
    timbre: f32,
    selected: (u8, u8),
}

/// What is remembered of one port.
#[derive(Clone, Debug, Default)]
pub struct Translator {
    channels: [Channel; 16],
    /// Channels of a note each beside channel 1, and beside channel 16.
    lower: u8,
    upper: u8,
    /// When the last ticks came.
    ticks: Vec<u64>,
    tempo: f32,
}

impl Translator {
    /// What an event that came at that time, an NTP timestamp, says.
    pub fn hear(&mut self, event: LiveEvent<'_>, now: u64, mut say: impl FnMut(Said)) {
        match event {
            LiveEvent::Midi { channel, message } => {
                self.voice(channel.as_int(), message, &mut say);
            }
            LiveEvent::Realtime(SystemRealtime::TimingClock) => {
                say_some(self.tick(now), &mut say);
            }
            LiveEvent::Realtime(SystemRealtime::Start) => {
                self.ticks.clear();
                say(Said::Start);
            }
            LiveEvent::Realtime(SystemRealtime::Continue) => say(Said::Continue),
            LiveEvent::Realtime(SystemRealtime::Stop) => say(Said::Stop),
            LiveEvent::Realtime(SystemRealtime::Reset) => self.all_off(&mut say),
            LiveEvent::Realtime(_) | LiveEvent::Common(_) => {}
        }
    }

    fn voice(&mut self, number: u8, message: MidiMessage, say: &mut impl FnMut(Said)) {
        let member = self.is_member(number);
        let range = self.range(number);
        let Some(channel) = self.channels.get_mut(usize::from(number)) else {
            return;
        };
        match message {
            MidiMessage::NoteOn { key, vel } if vel.as_int() > 0 => {
                let key = key.as_int();
                channel.held.retain(|held| *held != key);
                channel.keys.retain(|down| *down != key);
                channel.keys.push(key);
                say(Said::Note(key, vel.as_int()));
                if member {
                    // What a channel of its own said before its note belongs to the note.
                    say(Said::Bend(channel.bend * range, Some(key)));
                    say(Said::Pressure(channel.pressure, Some(key)));
                    say(Said::Timbre(channel.timbre, Some(key)));
                }
            }
            MidiMessage::NoteOn { key, .. } | MidiMessage::NoteOff { key, .. } => {
                let key = key.as_int();
                channel.keys.retain(|down| *down != key);
                channel.held.retain(|held| *held != key);
                if channel.pedal {
                    channel.held.push(key);
                } else {
                    say(Said::Note(key, 0));
                }
            }
            MidiMessage::Aftertouch { key, vel } => {
                say(Said::Pressure(part(vel.as_int()), Some(key.as_int())));
            }
            MidiMessage::ChannelAftertouch { vel } => {
                channel.pressure = part(vel.as_int());
                channel.each(member, |key| say(Said::Pressure(part(vel.as_int()), key)));
            }
            MidiMessage::PitchBend { bend } => {
                channel.bend = bend.as_f32();
                let semitones = channel.bend * range;
                channel.each(member, |key| say(Said::Bend(semitones, key)));
            }
            MidiMessage::Controller { controller, value } => {
                self.control(number, controller.as_int(), value.as_int(), say);
            }
            MidiMessage::ProgramChange { .. } => {}
        }
    }

    fn control(&mut self, number: u8, controller: u8, value: u8, say: &mut impl FnMut(Said)) {
        let member = self.is_member(number);
        let Some(channel) = self.channels.get_mut(usize::from(number)) else {
            return;
        };
        match controller {
            controller::PEDAL => {
                channel.pedal = value >= 64;
                if !channel.pedal {
                    let held = std::mem::take(&mut channel.held);
                    held.into_iter().for_each(|key| say(Said::Note(key, 0)));
                }
            }
            controller::TIMBRE if member => {
                channel.timbre = part(value);
                channel.each(member, |key| say(Said::Timbre(part(value), key)));
            }
            controller::PARAM => channel.selected.0 = value,
            controller::PARAM_FINE => channel.selected.1 = value,
            controller::DATA if channel.selected == BEND_RANGE => channel.range = value.into(),
            controller::DATA_FINE if channel.selected == BEND_RANGE => {
                channel.range = channel.range.trunc() + f32::from(value) / 100.0;
            }
            controller::DATA if channel.selected == ZONE && number == 0 => {
                self.lower = value.min(15)
            }
            controller::DATA if channel.selected == ZONE && number == 15 => {
                self.upper = value.min(15);
            }
            controller::SOUND_OFF | controller::NOTES_OFF.. => {
                let keys = std::mem::take(&mut channel.keys);
                let held = std::mem::take(&mut channel.held);
                let all = keys.into_iter().chain(held);
                all.for_each(|key| say(Said::Note(key, 0)));
            }
            controller::RESET => {
                (channel.bend, channel.pressure, channel.timbre) = (0.0, 0.0, 0.0);
                channel.each(member, |key| {
                    say(Said::Bend(0.0, key));
                    say(Said::Pressure(0.0, key));
                });
            }
            _ => say(Said::Control(number + 1, controller, value)),
        }
    }

    /// Ends every note that is known of.
    pub fn all_off(&mut self, say: &mut impl FnMut(Said)) {
        for channel in &mut self.channels {
            let keys = channel.keys.drain(..).chain(channel.held.drain(..));
            keys.for_each(|key| say(Said::Note(key, 0)));
        }
    }

    /// Whether a channel has a note of its own.
    const fn is_member(&self, channel: u8) -> bool {
        (channel >= 1 && channel <= self.lower) || (channel < 15 && channel + self.upper >= 15)
    }

    fn range(&self, channel: u8) -> f32 {
        match self.channels.get(usize::from(channel)) {
            Some(Channel { range, .. }) if *range > 0.0 => *range,
            _ if self.is_member(channel) => BEND_OF_MEMBER,
            _ => BEND,
        }
    }

    /// A tick of the clock; the tempo, once a beat, if it has changed.
    fn tick(&mut self, now: u64) -> Option<Said> {
        self.ticks.push(now);
        if self.ticks.len() <= TICKS {
            return None;
        }
        let beat = now.wrapping_sub(self.ticks.first().copied()?);
        self.ticks.drain(..TICKS);
        let tempo = (60.0 * SECOND / beat.max(1) as f64) as f32;
        let told = (20.0..=999.0).contains(&tempo) && (tempo - self.tempo).abs() >= TEMPO_STEP;
        told.then(|| {
            self.tempo = tempo;
            Said::Tempo(tempo)
        })
    }
}

impl Channel {
    /// Its keys one by one, where it has a note of its own; else none, which means all.
    fn each(&self, member: bool, mut say: impl FnMut(Option<u8>)) {
        if member {
            self.keys
                .iter()
                .chain(&self.held)
                .for_each(|key| say(Some(*key)));
        } else {
            say(None);
        }
    }
}

fn say_some(said: Option<Said>, say: &mut impl FnMut(Said)) {
    said.into_iter().for_each(say);
}

fn part(value: u8) -> f32 {
    f32::from(value) / 127.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use midly::stream::MidiStream;

    /// What bytes say, one millisecond after the other.
    fn said(translator: &mut Translator, bytes: &[u8]) -> Vec<Said> {
        let mut all = Vec::new();
        MidiStream::new().feed(bytes, |event| {
            translator.hear(event, 0, |said| all.push(said))
        });
        all
    }

    #[test]
    fn keys_are_notes_with_and_without_running_status() {
        let mut translator = Translator::default();
        let bytes = [0x90, 60, 100, 64, 80, 60, 0, 0x80, 64, 12];
        let notes = [(60, 100), (64, 80), (60, 0), (64, 0)].map(|(k, v)| Said::Note(k, v));
        assert_eq!(said(&mut translator, &bytes), notes);
    }

    #[test]
    fn the_pedal_holds_what_is_let_go() {
        let mut translator = Translator::default();
        let pressed = [0xB0, 64, 127, 0x90, 60, 100, 60, 0, 64, 90];
        assert_eq!(
            said(&mut translator, &pressed),
            [Said::Note(60, 100), Said::Note(64, 90)]
        );
        assert_eq!(said(&mut translator, &[0xB0, 64, 0]), [Said::Note(60, 0)]);
        assert_eq!(said(&mut translator, &[0xB0, 123, 0]), [Said::Note(64, 0)]);
    }

    #[test]
    fn a_bend_reaches_as_far_as_was_said() {
        let mut translator = Translator::default();
        let up = [0xE0, 0x7F, 0x7F];
        let Said::Bend(semitones, None) = said(&mut translator, &up)[0] else {
            panic!("no bend");
        };
        assert!((semitones - 2.0).abs() < 0.001);
        let wider = [0xB0, 101, 0, 100, 0, 6, 12];
        assert_eq!(said(&mut translator, &wider), []);
        let Said::Bend(semitones, None) = said(&mut translator, &[0xE0, 0, 0])[0] else {
            panic!("no bend");
        };
        assert_eq!(semitones, -12.0);
    }

    #[test]
    fn in_a_zone_each_note_has_a_channel_of_its_own() {
        let mut translator = Translator::default();
        // A lower zone of three channels.
        assert_eq!(said(&mut translator, &[0xB0, 101, 0, 100, 6, 6, 3]), []);
        let heard = said(
            &mut translator,
            &[0xE1, 0, 0x60, 0x91, 60, 100, 0x92, 64, 90],
        );
        assert_eq!(heard[0], Said::Note(60, 100));
        assert!(matches!(heard[1], Said::Bend(x, Some(60)) if (x - 24.0).abs() < 0.01));
        assert_eq!(heard[4], Said::Note(64, 90));
        assert_eq!(heard[5], Said::Bend(0.0, Some(64)));
        assert_eq!(
            said(&mut translator, &[0xD2, 127]),
            [Said::Pressure(1.0, Some(64))]
        );
        assert_eq!(
            said(&mut translator, &[0xB1, 74, 0]),
            [Said::Timbre(0.0, Some(60))]
        );
        // Beyond the zone a controller is a controller, and a bend is everybody's.
        assert_eq!(
            said(&mut translator, &[0xB4, 74, 9]),
            [Said::Control(5, 74, 9)]
        );
        assert_eq!(
            said(&mut translator, &[0xE0, 0, 0x40]),
            [Said::Bend(0.0, None)]
        );
    }

    #[test]
    fn the_clock_tells_its_tempo_when_it_changes() {
        let mut translator = Translator::default();
        let mut tempi = Vec::new();
        let mut now = 0;
        for tick_us in [[20_833; 72].as_slice(), &[16_667; 72]].concat() {
            now += (tick_us << 32) / 1_000_000;
            let clock = LiveEvent::Realtime(SystemRealtime::TimingClock);
            translator.hear(clock, now, |said| tempi.push(said));
        }
        let [Said::Tempo(first), .., Said::Tempo(last)] = tempi.as_slice() else {
            panic!("{tempi:?}");
        };
        assert!(
            (first - 120.0).abs() < 0.1 && (last - 150.0).abs() < 0.1,
            "{tempi:?}"
        );
        assert!(tempi.len() <= 3, "{tempi:?}");
    }

    #[test]
    fn any_bytes_are_survived() {
        let mut translator = Translator::default();
        let mut state = 1_u32;
        let mut bytes = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let noise: Vec<u8> = (0..100_000).map(|_| bytes()).collect();
        for said in said(&mut translator, &noise) {
            match said {
                Said::Note(key, velocity) => assert!(key < 128 && velocity < 128),
                Said::Bend(semitones, _) => assert!(semitones.abs() <= 129.0),
                Said::Pressure(x, _) | Said::Timbre(x, _) => assert!((0.0..=1.0).contains(&x)),
                Said::Control(channel, ..) => assert!((1..=16).contains(&channel)),
                Said::Tempo(bpm) => assert!((20.0..=999.0).contains(&bpm)),
                Said::Start | Said::Continue | Said::Stop => {}
            }
        }
        for channel in &translator.channels {
            assert!(channel.keys.len() <= 128 && channel.held.len() <= 128);
        }
    }
}
