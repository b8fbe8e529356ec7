//! What MIDI has said, as OSC for the gateway, a little ahead: with the time at which it came and a constant
//! more, so that it is heard as evenly as it was played, wherever a block begins.

use std::io;

use platform::player::{Argument, Player};

use crate::translate::Said;

/// From the arrival of a byte to the frame at which it comes in: longer than its way to the workers takes.
const AHEAD_NS: u64 = 3_000_000;

/// The gateway, as one who plays sees it.
pub struct Gateway {
    player: Player,
    keys: String,
}

impl Gateway {
    /// At that address; `keys` is the module that notes go to.
    ///
    /// # Errors
    /// When it is none, or the machine gives no socket.
    pub fn new(osc: &str, keys: &str) -> io::Result<Self> {
        Ok(Self {
            player: Player::new(osc)?,
            keys: keys.to_owned(),
        })
    }

    /// Sends what was said at that time, an NTP timestamp; controllers turn something or nothing
    /// ([`Self::turn`]).
    pub fn send(&self, said: Said, ntp: u64) {
        if let Some((address, arguments)) = message(said, &self.keys) {
            self.post(address, arguments, ntp);
        }
    }

    /// Turns a parameter to where a controller stands, 0 to 127.
    pub fn turn(&self, module: &str, param: &str, value: u8, ntp: u64) {
        let position = Argument::Float(f32::from(value) / 127.0);
        self.post(format!("/knob/{module}/{param}"), vec![position], ntp);
    }

    fn post(&self, address: String, arguments: Vec<Argument>, ntp: u64) {
        let ahead = (AHEAD_NS << 32) / 1_000_000_000;
        self.player
            .play(address, arguments, ntp.wrapping_add(ahead));
    }

    /// What the gateway has refused since it was last asked.
    pub fn refusals(&self) -> Vec<String> {
        self.player.refusals()
    }
}

fn message(said: Said, keys: &str) -> Option<(String, Vec<Argument>)> {
    let express = |what: &str, value: f32, key: Option<u8>| {
        let mut args = vec![Argument::String(what.into()), Argument::Float(value)];
        args.extend(key.map(|key| Argument::Int(key.into())));
        (format!("/express/{keys}"), args)
    };
    Some(match said {
        Said::Note(key, velocity) => (
            format!("/note/{keys}"),
            vec![Argument::Int(key.into()), Argument::Int(velocity.into())],
        ),
        Said::Bend(semitones, key) => express("bend", semitones, key),
        Said::Pressure(value, key) => express("pressure", value, key),
        Said::Timbre(value, key) => express("timbre", value, key),
        Said::Control(..) => return None,
        Said::Tempo(bpm) => ("/midi/tempo".into(), vec![Argument::Float(bpm)]),
        Said::Start => ("/midi/start".into(), vec![]),
        Said::Continue => ("/midi/continue".into(), vec![]),
        Said::Stop => ("/midi/stop".into(), vec![]),
    })
}
