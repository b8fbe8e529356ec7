//! OSC to an instance: finds its address, sends messages, collects the replies until `/synced`.

use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant, SystemTime},
};

use common::limits::DATAGRAM_BYTES_MAX;
use platform::reach;
use rosc::{OscBundle, OscMessage, OscPacket, OscTime, OscType};
use serde_json::Value;

use crate::failure::Failure;

/// The time limit of a reply: longer than the delay by a busy disk or an overloaded machine.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// A socket to the instance's OSC address.
pub(crate) struct Osc {
    socket: UdpSocket,
    address: SocketAddr,
}

/// The replies to the messages that were sent.
pub(crate) struct Replies {
    /// All replies except `/synced`.
    pub(crate) messages: Vec<OscMessage>,
    /// Whether everything that was sent before has been applied.
    pub(crate) synced: bool,
}

impl Osc {
    /// Opens a socket to the OSC address in a status.
    pub(crate) fn open(status: &Value) -> Result<Self, Failure> {
        let text = status["osc"].as_str().unwrap_or("127.0.0.1:5005");
        let listens: SocketAddr = text
            .parse()
            .map_err(|_| Failure::no(format!("the stack has an invalid OSC address \"{text}\"")))?;
        let (socket, address) = reach::sender(listens)
            .and_then(|(socket, to)| socket.connect(to).map(|()| (socket, to)))
            .map_err(|e| Failure::no(format!("cannot send to {listens}: {e}")))?;
        Ok(Self { socket, address })
    }

    /// The destination address.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends one message.
    pub(crate) fn send(&self, address: &str, args: Vec<OscType>) -> Result<(), Failure> {
        let addr = address.into();
        self.post(address, &OscPacket::Message(OscMessage { addr, args }))
    }

    /// Sends one message that takes effect at the NTP timestamp `ntp`.
    pub(crate) fn send_at(
        &self,
        ntp: u64,
        address: &str,
        args: Vec<OscType>,
    ) -> Result<(), Failure> {
        let addr = address.into();
        let bundle = OscBundle {
            timetag: OscTime {
                seconds: (ntp >> 32) as u32,
                fractional: ntp as u32,
            },
            content: vec![OscPacket::Message(OscMessage { addr, args })],
        };
        self.post(address, &OscPacket::Bundle(bundle))
    }

    fn post(&self, address: &str, packet: &OscPacket) -> Result<(), Failure> {
        let bytes = rosc::encoder::encode(packet)
            .map_err(|e| Failure::usage(format!("{address} is not an OSC message: {e:?}")))?;
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Err(Failure::usage(format!(
                "the message has {} bytes (expected at most {DATAGRAM_BYTES_MAX})",
                bytes.len()
            )));
        }
        self.socket
            .send(&bytes)
            .map_err(|e| Failure::no(format!("cannot send to {}: {e}", self.address)))?;
        Ok(())
    }

    /// Sends `/sync` and collects replies until `/synced` arrives, for at most [`REPLY_TIMEOUT`].
    pub(crate) fn sync(&self) -> Result<Replies, Failure> {
        let nanos = SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |since| since.subsec_nanos());
        let mark = (nanos & 0x7fff_ffff) as i32;
        self.send("/sync", vec![OscType::Int(mark)])?;
        let mut replies = Replies {
            messages: Vec::new(),
            synced: false,
        };
        let until = Instant::now() + REPLY_TIMEOUT;
        let mut buffer = vec![0; 65_536];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(replies);
            }
            let received = self
                .socket
                .set_read_timeout(Some(left))
                .and_then(|()| self.socket.recv(&mut buffer));
            match received {
                Ok(length) => {
                    if let Ok((_, packet)) = rosc::decoder::decode_udp(&buffer[..length]) {
                        gather(packet, mark, &mut replies);
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
                    return Err(Failure::no(format!(
                        "no process listens at {}",
                        self.address
                    )));
                }
                // The loop checks the time above.
                Err(_) => {}
            }
            if replies.synced {
                return Ok(replies);
            }
        }
    }
}

fn gather(packet: OscPacket, mark: i32, replies: &mut Replies) {
    match packet {
        OscPacket::Message(message) => {
            if message.addr == "/synced" && message.args == [OscType::Int(mark)] {
                replies.synced = true;
            } else {
                replies.messages.push(message);
            }
        }
        OscPacket::Bundle(bundle) => {
            for inner in bundle.content {
                gather(inner, mark, replies);
            }
        }
    }
}

/// Parses a typed argument: an integer, a number, `true` or `false`, else a string.
pub(crate) fn argument(text: &str) -> OscType {
    if let Ok(number) = text.parse::<i32>() {
        return OscType::Int(number);
    }
    if let Ok(number) = text.parse::<f32>() {
        return OscType::Float(number);
    }
    match text {
        "true" => OscType::Bool(true),
        "false" => OscType::Bool(false),
        _ => OscType::String(text.into()),
    }
}

/// An argument as text.
pub(crate) fn plain(argument: &OscType) -> String {
    match argument {
        OscType::String(text) => text.clone(),
        other => match value(other) {
            Value::Null => format!("{other:?}"),
            value => value.to_string(),
        },
    }
}

/// An argument as JSON.
pub(crate) fn value(argument: &OscType) -> Value {
    match argument {
        OscType::Int(number) => (*number).into(),
        OscType::Long(number) => (*number).into(),
        // Through the decimal form: 0.1, not 0.10000000149.
        OscType::Float(number) => number.to_string().parse::<f64>().unwrap_or(0.0).into(),
        OscType::Double(number) => (*number).into(),
        OscType::Bool(on) => (*on).into(),
        OscType::String(text) => text.clone().into(),
        OscType::Array(array) => array.content.iter().map(value).collect(),
        OscType::Nil => Value::Null,
        other => format!("{other:?}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_take_the_type_they_look_like() {
        assert_eq!(argument("3"), OscType::Int(3));
        assert_eq!(argument("-3.5"), OscType::Float(-3.5));
        assert_eq!(argument("5000000000"), OscType::Float(5e9));
        assert_eq!(argument("false"), OscType::Bool(false));
        assert_eq!(argument("X..x"), OscType::String("X..x".into()));
        assert_eq!(plain(&OscType::Float(0.1)), "0.1");
    }
}
