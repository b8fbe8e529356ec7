//! An OSC client of the gateway, for a process that brings events in from outside: MIDI, Ableton Link.
//! Each message carries the time at which it takes effect.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

use rosc::{OscBundle, OscMessage, OscPacket, OscTime};

use crate::reach;

/// An argument of a message.
pub use rosc::OscType as Argument;

/// A socket and the gateway's address.
pub struct OscClient {
    socket: UdpSocket,
    to: SocketAddr,
}

impl OscClient {
    /// Creates a client of the gateway that listens at `osc`.
    ///
    /// # Errors
    /// When `osc` is not an address, or the operating system gives no socket.
    pub fn new(osc: &str) -> io::Result<Self> {
        let no = |_| io::Error::other(format!("\"{osc}\" is not an address"));
        let (socket, to) = reach::sender(osc.parse().map_err(no)?)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, to })
    }

    /// Sends a message that takes effect at `ntp`, an NTP timestamp.
    pub fn play(&self, addr: impl Into<String>, args: Vec<Argument>, ntp: u64) {
        let timetag = OscTime {
            seconds: (ntp >> 32) as u32,
            fractional: ntp as u32,
        };
        let addr = addr.into();
        let content = vec![OscPacket::Message(OscMessage { addr, args })];
        let packet = OscPacket::Bundle(OscBundle { timetag, content });
        if let Ok(bytes) = rosc::encoder::encode(&packet) {
            // While the gateway is being replaced, the message waits in its socket.
            let _ = self.socket.send_to(&bytes, self.to);
        }
    }

    /// The gateway's refusals (`/fail`) since the last call.
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
