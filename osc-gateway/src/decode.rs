//! Decodes the bytes of a datagram to messages; the first code that sees bytes from outside.
//!
//! Every size, depth and bracket is checked here before rosc sees a byte: rosc 0.11 recurses
//! without bound on nested bundles and arrays and drops the bytes after a zero-length element.
//! rosc gets one message at a time, and must consume all its bytes. A datagram is accepted or
//! refused as a whole.

use common::limits::{DATAGRAM_BYTES_MAX, OSC_DEPTH_MAX};
use rosc::{OscPacket, OscType};

/// An argument, as one of the types that the gateway distinguishes.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `i`, `h`
    Int(i64),
    /// `f`, `d`
    Float(f64),
    /// `T`, `F`
    Bool(bool),
    /// `s`
    Text(String),
    /// Any other type, by its name in error texts.
    Other(&'static str),
}

impl Value {
    /// The value as a number, if it is a number.
    #[must_use]
    pub const fn number(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Bool(_) | Self::Text(_) | Self::Other(_) => None,
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Bool(true) => f.write_str("T"),
            Self::Bool(false) => f.write_str("F"),
            Self::Text(text) => write!(f, "\"{}\"", crate::reply::shorten(text, 40)),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// One OSC message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Starts with `/`; may be a pattern.
    pub address: String,
    /// The arguments.
    pub args: Vec<Value>,
    /// The time tag of the enclosing bundle, in NTP units.
    pub time: Option<u64>,
}

/// Why a datagram was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The datagram has more bytes than the limit.
    #[error("the datagram has {0} bytes (expected at most {DATAGRAM_BYTES_MAX})")]
    TooLong(usize),
    /// The size is zero or not a multiple of four.
    #[error("the OSC packet has {0} bytes (expected a multiple of 4, at least 4)")]
    Size(usize),
    /// The packet ends in the middle of an element.
    #[error("the packet is truncated inside its {0}")]
    Truncated(&'static str),
    /// The packet starts with neither `/` nor `#bundle`.
    #[error("the start of the OSC packet is invalid (expected \"/\" or \"#bundle\")")]
    Start,
    /// The address has a character that is not printable ASCII.
    #[error("the address has an invalid character (expected printable ASCII)")]
    Address,
    /// A string is not UTF-8, or its padding is not zeros.
    #[error("a string is invalid (expected UTF-8, padded with zeros)")]
    Text,
    /// The comma before the type tags is missing.
    #[error("the start of the type tags is invalid (expected a comma)")]
    Tags,
    /// A type tag is unknown.
    #[error("the type tag \"{0}\" is unknown")]
    Tag(char),
    /// `[` and `]` do not match.
    #[error("the brackets of an array do not match")]
    Brackets,
    /// Bundles or arrays are nested too deeply.
    #[error("the nesting is too deep (expected at most {OSC_DEPTH_MAX} levels)")]
    Depth,
    /// The size of a bundle element is zero or not a multiple of four.
    #[error("a bundle element has {0} bytes (expected a multiple of 4, at least 4)")]
    Element(u32),
    /// Bytes follow the last argument.
    #[error("the message has {0} bytes after the last argument (expected none)")]
    LeftOver(usize),
    /// rosc refuses a message that has passed all checks here.
    #[error("not OSC: {0}")]
    Rosc(String),
}

/// Decodes a datagram to its messages, in order.
///
/// # Errors
/// If any part of the datagram is malformed; the whole datagram is then refused.
pub fn datagram(bytes: &[u8]) -> Result<Vec<Message>, Malformed> {
    if bytes.len() > DATAGRAM_BYTES_MAX {
        return Err(Malformed::TooLong(bytes.len()));
    }
    let mut messages = Vec::new();
    packet(bytes, None, 0, &mut messages)?;
    Ok(messages)
}

/// Whether the bytes begin with the marker of a bundle.
#[must_use]
pub fn is_bundle(bytes: &[u8]) -> bool {
    bytes.starts_with(b"#bundle\0")
}

/// The number of messages in a datagram, without decoding them; 1 if it is empty or malformed.
#[must_use]
pub fn count(bytes: &[u8]) -> u32 {
    count_in(bytes, 0).max(1)
}

fn count_in(bytes: &[u8], depth: usize) -> u32 {
    if !is_bundle(bytes) || depth >= OSC_DEPTH_MAX {
        return 1;
    }
    let mut count = 0;
    let mut rest = bytes.get(16..).unwrap_or_default();
    while let Some((size, after)) = rest.split_first_chunk() {
        let Some((element, others)) = after.split_at_checked(u32::from_be_bytes(*size) as usize)
        else {
            break;
        };
        count += count_in(element, depth + 1);
        rest = others;
    }
    count
}

/// The address of a refused datagram for the reply, if the datagram starts with one.
#[must_use]
pub fn address_of(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().take(128).position(|b| *b == 0)?;
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    (text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic())).then_some(text)
}

fn packet(
    bytes: &[u8],
    time: Option<u64>,
    depth: usize,
    out: &mut Vec<Message>,
) -> Result<(), Malformed> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(4) {
        return Err(Malformed::Size(bytes.len()));
    }
    match bytes.first() {
        Some(b'/') => out.push(message(bytes, time)?),
        Some(b'#') if is_bundle(bytes) => {
            // An outermost bundle is level 1.
            if depth >= OSC_DEPTH_MAX {
                return Err(Malformed::Depth);
            }
            let mut rest = Reader(bytes.get(8..).unwrap_or_default());
            let high = u64::from(rest.u32("time tag")?);
            let low = u64::from(rest.u32("time tag")?);
            while !rest.0.is_empty() {
                let size = rest.u32("bundle element's size")?;
                if size == 0 || !size.is_multiple_of(4) {
                    return Err(Malformed::Element(size));
                }
                let element = rest.take(size as usize, "bundle element")?;
                packet(element, Some(high << 32 | low), depth + 1, out)?;
            }
        }
        _ => return Err(Malformed::Start),
    }
    Ok(())
}

fn message(bytes: &[u8], time: Option<u64>) -> Result<Message, Malformed> {
    let mut rest = Reader(bytes);
    let address = rest.text("address")?;
    if !address.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Malformed::Address);
    }
    if rest.0.is_empty() {
        // Old senders omit the type tags of a message without arguments.
        return Ok(Message {
            address: address.to_owned(),
            args: Vec::new(),
            time,
        });
    }
    let tags = rest
        .text("type tags")?
        .strip_prefix(',')
        .ok_or(Malformed::Tags)?;
    let mut depth = 0_usize;
    for tag in tags.chars() {
        match tag {
            'i' | 'f' | 'c' | 'r' | 'm' => {
                rest.take(4, "arguments")?;
            }
            'h' | 'd' | 't' => {
                rest.take(8, "arguments")?;
            }
            's' => {
                rest.text("arguments")?;
            }
            'b' => {
                let size = rest.u32("arguments")? as usize;
                rest.padded(size, "arguments")?;
            }
            'T' | 'F' | 'N' | 'I' => {}
            '[' if depth == OSC_DEPTH_MAX => return Err(Malformed::Depth),
            '[' => depth += 1,
            ']' => depth = depth.checked_sub(1).ok_or(Malformed::Brackets)?,
            other => return Err(Malformed::Tag(other)),
        }
    }
    if depth != 0 {
        return Err(Malformed::Brackets);
    }
    if !rest.0.is_empty() {
        return Err(Malformed::LeftOver(rest.0.len()));
    }
    match rosc::decoder::decode_udp(bytes) {
        Ok(([], OscPacket::Message(found))) => Ok(Message {
            address: found.addr,
            args: found.args.into_iter().map(value).collect(),
            time,
        }),
        Ok((left, _)) => Err(Malformed::LeftOver(left.len())),
        Err(error) => Err(Malformed::Rosc(error.to_string())),
    }
}

fn value(argument: OscType) -> Value {
    match argument {
        OscType::Int(number) => Value::Int(number.into()),
        OscType::Long(number) => Value::Int(number),
        OscType::Float(number) => Value::Float(number.into()),
        OscType::Double(number) => Value::Float(number),
        OscType::Bool(truth) => Value::Bool(truth),
        OscType::String(text) => Value::Text(text),
        OscType::Blob(_) => Value::Other("a blob"),
        OscType::Time(_) => Value::Other("a time tag"),
        OscType::Char(_) => Value::Other("a character"),
        OscType::Color(_) => Value::Other("a colour"),
        OscType::Midi(_) => Value::Other("a MIDI message"),
        OscType::Array(_) => Value::Other("an array"),
        OscType::Nil => Value::Other("nil"),
        OscType::Inf => Value::Other("an infinity"),
    }
}

/// The bytes of a packet that are not read yet; a multiple of four bytes between calls.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(Malformed::Truncated(what))?;
        self.0 = rest;
        Ok(taken)
    }

    /// Reads `count` bytes and the zeros up to the next multiple of four.
    fn padded(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let padding = count.wrapping_neg() % 4;
        let taken = self.take(count, what)?;
        if self.take(padding, what)?.iter().any(|b| *b != 0) {
            return Err(Malformed::Text);
        }
        Ok(taken)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        let taken = self.take(4, what)?;
        taken
            .try_into()
            .map(u32::from_be_bytes)
            .map_err(|_| Malformed::Truncated(what))
    }

    fn text(&mut self, what: &'static str) -> Result<&'a str, Malformed> {
        let length = self
            .0
            .iter()
            .position(|b| *b == 0)
            .ok_or(Malformed::Truncated(what))?;
        let with_zero = self.padded(length + 1, what)?;
        let text = with_zero.get(..length).unwrap_or_default();
        std::str::from_utf8(text).map_err(|_| Malformed::Text)
    }
}
