//! What a sender hears, as OSC bytes.
//!
//! In SuperCollider's manner: `/done ADDRESS …` when asked for, `/fail ADDRESS TEXT` always. A
//! text that quotes the sender is cut, so that a reply stays small whatever came in.

use std::net::SocketAddr;

use rosc::{OscMessage, OscPacket, OscType};

/// Bytes of an explanation, at the most.
pub const TEXT_BYTES_MAX: usize = 300;
/// Bytes of an address that is repeated in a reply, at the most.
const ADDRESS_BYTES_MAX: usize = 128;
/// Bytes of a status text that still fits a UDP datagram with its address.
const STATUS_BYTES_MAX: usize = 60_000;

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `/done ADDRESS [NOTE]`
    Done(String, Option<String>),
    /// `/fail ADDRESS TEXT`
    Fail(String, String),
    /// `/synced N`
    Synced(i32),
    /// `/engine/status.reply JSON`
    Status(String),
    /// `/record/status.reply JSON`
    RecordStatus(String),
    /// `/preset/list.reply JSON`
    Presets(String),
    /// `/engine/schema.reply MODULE TYPE PARAM MIN MAX UNIT DEFAULT`
    Schema {
        /// The module's id.
        module: String,
        /// Its type.
        kind: String,
        /// The parameter's name.
        param: String,
        /// Its least value.
        min: f32,
        /// Its greatest value.
        max: f32,
        /// Its unit; empty when it has none.
        unit: String,
        /// Its value when the patch says nothing.
        default: f32,
    },
    /// `/engine/list.reply ID TYPE ID TYPE …`
    List(Vec<(String, String)>),
    /// A row of a list: an address that ends in `.reply`, and what is in it.
    Row(&'static str, Vec<OscType>),
}

/// A reply and whom it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Addressed {
    /// The sender of the request.
    pub to: SocketAddr,
    /// What it hears.
    pub reply: Reply,
}

/// Whether the address is one of replies: those are never answered, or two programs that answer
/// each other would never stop.
#[must_use]
pub fn is_reply(address: &str) -> bool {
    matches!(address, "/done" | "/fail" | "/synced") || address.ends_with(".reply")
}

/// The reply as a datagram.
#[must_use]
pub fn encode(reply: Reply) -> Vec<u8> {
    let (addr, args) = match reply {
        Reply::Done(address, note) => {
            let mut args = vec![text(&address, ADDRESS_BYTES_MAX)];
            args.extend(note.map(|note| text(&note, TEXT_BYTES_MAX)));
            ("/done", args)
        }
        Reply::Fail(address, why) => (
            "/fail",
            vec![
                text(&address, ADDRESS_BYTES_MAX),
                text(&why, TEXT_BYTES_MAX),
            ],
        ),
        Reply::Synced(number) => ("/synced", vec![OscType::Int(number)]),
        Reply::Status(json) if json.len() > STATUS_BYTES_MAX => {
            let why = "the status is too long for a datagram; use `understudy status --json`";
            ("/fail", vec!["/engine/status".into(), why.into()])
        }
        Reply::Status(json) => ("/engine/status.reply", vec![json.replace('\0', " ").into()]),
        Reply::Presets(json) if json.len() > STATUS_BYTES_MAX => {
            let why =
                "there are too many for a datagram; name a module, or use `understudy patch show`";
            ("/fail", vec!["/preset/list".into(), why.into()])
        }
        Reply::Presets(json) => ("/preset/list.reply", vec![json.into()]),
        Reply::RecordStatus(json) => ("/record/status.reply", vec![json.replace('\0', " ").into()]),
        Reply::Schema {
            module,
            kind,
            param,
            min,
            max,
            unit,
            default,
        } => {
            let name = |name: &str| text(name, ADDRESS_BYTES_MAX);
            let args = vec![
                name(&module),
                name(&kind),
                name(&param),
                min.into(),
                max.into(),
                name(&unit),
                default.into(),
            ];
            ("/engine/schema.reply", args)
        }
        Reply::Row(address, args) => (address, args),
        Reply::List(modules) => {
            let both = |(id, kind): (String, String)| {
                [text(&id, ADDRESS_BYTES_MAX), text(&kind, ADDRESS_BYTES_MAX)]
            };
            (
                "/engine/list.reply",
                modules.into_iter().flat_map(both).collect(),
            )
        }
    };
    let packet = OscPacket::Message(OscMessage {
        addr: addr.to_owned(),
        args,
    });
    // Writing into memory cannot fail; if it ever does, the sender gets no reply.
    rosc::encoder::encode(&packet).unwrap_or_default()
}

/// A text of so many bytes at the most, as an argument.
#[must_use]
pub fn text(words: &str, bytes: usize) -> OscType {
    OscType::String(shorten(words, bytes).replace('\0', " "))
}

/// The text, cut with `…` if it has more bytes than that.
#[must_use]
pub fn shorten(words: &str, bytes: usize) -> String {
    if words.len() <= bytes {
        return words.to_owned();
    }
    let end = (0..=bytes)
        .rev()
        .find(|at| words.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}…", words.get(..end).unwrap_or_default())
}
