//! One who plays the instance from a process of its own: OSC to the gateway, each message with the time at
//! which it comes in. Whoever hears something from outside says it so: MIDI, Ableton Link.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

use rosc::{OscBundle, OscMessage, OscPacket, OscTime};

use crate::reach;

/// What a message says beside its address.
pub use rosc::OscType as Argument;

/// The way to the gateway.
pub struct OscClient {
    socket: UdpSocket,
    to: SocketAddr,
}

impl OscClient {
    /// Plays to whom listens at that address.
    ///
    /// # Errors
    /// When it is none, or the machine gives no socket.
    pub fn new(osc: &str) -> io::Result<Self> {
        let no = |_| io::Error::other(format!("\"{osc}\" is not an address"));
        let (socket, to) = reach::sender(osc.parse().map_err(no)?)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to })
    }

    /// Sends what comes in at that time, an NTP timestamp.
    pub fn play(&self, addr: impl Into<String>, args: Vec<Argument>, ntp: u64) {
        let timetag = OscTime {
            seconds: (ntp >> 32) as u32,
            fractional: ntp as u32,
        };
        let addr = addr.into();
        let content = vec![OscPacket::Message(OscMessage { addr, args })];
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
                    Argument::String(text) => Some(text.as_str()),
                    _ => None,
                });
                found.push(text.collect::<Vec<_>>().join(": "));
            }
        }
        found
    }
}
