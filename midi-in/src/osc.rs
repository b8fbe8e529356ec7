//! Sends MIDI as OSC to the gateway, timed slightly ahead: with the time of arrival plus a constant, so that the timing
//! is preserved regardless of block boundaries. Inside this process all times are of the monotonic clock, which is never
//! set; sent messages have wall-clock time.

use std::{cell::Cell, io};

use common::time_tag::is_set;
use platform::{
    osc_client::{Argument, OscClient},
    realtime,
};

use crate::{clock, translate::Said, transport::AHEAD};

/// The time from the arrival of a byte to the frame of its effect: longer than its path to the workers takes.
const AHEAD_NS: u64 = 3_000_000;

/// The connection to the gateway.
pub struct Gateway {
    player: OscClient,
    keys: String,
    /// The offset of the wall clock from the monotonic clock.
    wall: Cell<u64>,
}

impl Gateway {
    /// A connection to an address; `keys` is the module for notes.
    ///
    /// # Errors
    /// If the address is invalid, or a socket cannot be created.
    pub fn new(osc: &str, keys: &str) -> io::Result<Self> {
        Ok(Self {
            player: OscClient::new(osc)?,
            keys: keys.to_owned(),
            wall: Cell::new(realtime::wall_ahead()),
        })
    }

    /// Sends a message for a time of the monotonic clock, in NTP units; controllers are sent by [`Self::turn`].
    pub fn send(&self, said: Said, ntp: u64) {
        if let Some((address, arguments)) = message(said, &self.keys) {
            match said {
                // Messages of the clock contain their own times.
                Said::Play(.., at) | Said::Clock(.., at) | Said::Stop(at) => {
                    let at = clock::after(at, AHEAD);
                    self.player.play(address, arguments, self.on_the_wall(at));
                }
                _ => self.post(address, arguments, ntp),
            }
        }
    }

    /// Sets a parameter to the position of a controller, 0 to 127.
    pub fn turn(&self, module: &str, param: &str, value: u8, ntp: u64) {
        let position = Argument::Float(f32::from(value) / 127.0);
        self.post(format!("/knob/{module}/{param}"), vec![position], ntp);
    }

    fn post(&self, address: String, arguments: Vec<Argument>, ntp: u64) {
        let ahead = (AHEAD_NS << 32) / 1_000_000_000;
        let at = self.on_the_wall(ntp.wrapping_add(ahead));
        self.player.play(address, arguments, at);
    }

    /// The wall-clock timestamp of a time. Distances of two times are preserved until the clock is set.
    fn on_the_wall(&self, monotonic: u64) -> u64 {
        let found = realtime::wall_ahead();
        if is_set(self.wall.get(), found) {
            self.wall.set(found);
        }
        monotonic.wrapping_add(self.wall.get())
    }

    /// The refusals of the gateway since the last call.
    pub fn refusals(&self) -> Vec<String> {
        self.player.refusals()
    }
}

fn place(ticks: u32, bpm: f32) -> Vec<Argument> {
    // After 1.4 years at 120 BPM the number exceeds a signed 32-bit integer.
    let ticks = i32::try_from(ticks).map_or_else(|_| Argument::Long(ticks.into()), Argument::Int);
    vec![ticks, Argument::Float(bpm)]
}

fn message(said: Said, keys: &str) -> Option<(String, Vec<Argument>)> {
    let express = |what: &str, value: f32, pitch: Option<f32>| {
        let mut args = vec![Argument::String(what.into()), Argument::Float(value)];
        args.extend(pitch.map(Argument::Float));
        (format!("/express/{keys}"), args)
    };
    Some(match said {
        Said::Note(pitch, velocity) => (
            format!("/note/{keys}"),
            vec![Argument::Float(pitch), Argument::Int(velocity.into())],
        ),
        Said::Bend(semitones, pitch) => express("bend", semitones, pitch),
        Said::Pressure(value, pitch) => express("pressure", value, pitch),
        Said::Timbre(value, pitch) => express("timbre", value, pitch),
        Said::Control(..) | Said::Reset(..) => return None,
        Said::Silence => ("/midi/silence".into(), vec![]),
        Said::Tempo(bpm) => ("/midi/tempo".into(), vec![Argument::Float(bpm)]),
        Said::Play(ticks, bpm, _) => ("/midi/play".into(), place(ticks, bpm)),
        Said::Clock(ticks, bpm, _) => ("/midi/clock".into(), place(ticks, bpm)),
        Said::Stop(_) => ("/midi/stop".into(), vec![]),
    })
}
