//! What MIDI has said, as OSC for the gateway, a little ahead: with the time at which it came and a constant
//! more, so that it is heard as evenly as it was played, wherever a block begins.

use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use platform::reach;
use rosc::{OscBundle, OscMessage, OscPacket, OscTime, OscType};

use crate::translate::Said;

/// From the arrival of a byte to the frame at which it comes in: longer than its way to the workers takes.
const AHEAD_NS: u64 = 3_000_000;

/// The gateway, as one who plays sees it.
pub struct Gateway {
    socket: UdpSocket,
    to: SocketAddr,
    keys: String,
}

impl Gateway {
    /// At that address; `keys` is the module that notes go to.
    ///
    /// # Errors
    /// When the machine gives no socket.
    pub fn new(osc: &str, keys: &str) -> Result<Self> {
        let listens = osc
            .parse()
            .with_context(|| format!("\"{osc}\" is no address"))?;
        let (socket, to) = reach::sender(listens)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            to,
            keys: keys.to_owned(),
        })
    }

    /// Sends what was said at that time, an NTP timestamp; controllers turn something or nothing
    /// ([`Self::turn`]).
    pub fn send(&self, said: Said, ntp: u64) {
        if let Some(message) = message(said, &self.keys) {
            self.post(message, ntp);
        }
    }

    /// Turns a parameter to where a controller stands, 0 to 127.
    pub fn turn(&self, module: &str, param: &str, value: u8, ntp: u64) {
        let args = vec![OscType::Float(f32::from(value) / 127.0)];
        let addr = format!("/knob/{module}/{param}");
        self.post(OscMessage { addr, args }, ntp);
    }

    fn post(&self, message: OscMessage, ntp: u64) {
        let tag = ntp.wrapping_add((AHEAD_NS << 32) / 1_000_000_000);
        let timetag = OscTime {
            seconds: (tag >> 32) as u32,
            fractional: tag as u32,
        };
        let content = vec![OscPacket::Message(message)];
        let packet = OscPacket::Bundle(OscBundle { timetag, content });
        if let Ok(bytes) = rosc::encoder::encode(&packet) {
            // A gateway that is between two lives finds it in its socket.
            let _ = self.socket.send_to(&bytes, self.to);
        }
    }

    /// What the gateway has refused since it was last asked.
    pub fn refusals(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut bytes = [0; 2_048];
        while let Ok(length) = self.socket.recv(&mut bytes) {
            let reply = rosc::decoder::decode_udp(bytes.get(..length).unwrap_or_default());
            if let Ok((_, OscPacket::Message(OscMessage { addr, args }))) = reply
                && addr == "/fail"
            {
                let text = args.iter().filter_map(|arg| match arg {
                    OscType::String(text) => Some(text.as_str()),
                    _ => None,
                });
                found.push(text.collect::<Vec<_>>().join(": "));
            }
        }
        found
    }
}

fn message(said: Said, keys: &str) -> Option<OscMessage> {
    let express = |what: &str, value: f32, key: Option<u8>| {
        let mut args = vec![OscType::String(what.into()), OscType::Float(value)];
        args.extend(key.map(|key| OscType::Int(key.into())));
        (format!("/express/{keys}"), args)
    };
    let (addr, args) = match said {
        Said::Note(key, velocity) => (
            format!("/note/{keys}"),
            vec![OscType::Int(key.into()), OscType::Int(velocity.into())],
        ),
        Said::Bend(semitones, key) => express("bend", semitones, key),
        Said::Pressure(value, key) => express("pressure", value, key),
        Said::Timbre(value, key) => express("timbre", value, key),
        Said::Control(..) => return None,
        Said::Tempo(bpm) => ("/midi/tempo".into(), vec![OscType::Float(bpm)]),
        Said::Start => ("/midi/start".into(), vec![]),
        Said::Continue => ("/midi/continue".into(), vec![]),
        Said::Stop => ("/midi/stop".into(), vec![]),
    };
    Some(OscMessage { addr, args })
}
