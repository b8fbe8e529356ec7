//! The replies to a sender, as OSC bytes.
//!
//! The replies follow SuperCollider's convention: `/done ADDRESS …` on request, `/fail ADDRESS TEXT` always. Quoted
//! text of the sender is shortened, so that the size of a reply is bounded.

use std::net::SocketAddr;

use rosc::{OscMessage, OscPacket, OscType};

/// The limit of an error text, in bytes.
pub const TEXT_BYTES_MAX: usize = 300;
/// The limit of a quoted address in a reply, in bytes.
const ADDRESS_BYTES_MAX: usize = 128;
/// The limit of a status text, in bytes: with its address it must fit a UDP datagram.
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
        /// The module's type.
        kind: String,
        /// The parameter's name.
        param: String,
        /// The least value.
        min: f32,
        /// The greatest value.
        max: f32,
        /// The unit; empty for a parameter without a unit.
        unit: String,
        /// The value if the patch sets none.
        default: f32,
    },
    /// `/engine/list.reply ID TYPE ID TYPE …`
    List(Vec<(String, String)>),
    /// A row of a list: an address that ends in `.reply`, and the arguments.
    Row(&'static str, Vec<OscType>),
}

/// A reply and its recipient.
#[derive(Clone, Debug, PartialEq)]
pub struct Addressed {
    /// The sender of the request.
    pub to: SocketAddr,
    /// The reply.
    pub reply: Reply,
}

/// Whether the address is that of a reply. Replies are never answered: two programs that answer each other would
/// never stop.
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
            let why = "the status is too large for a datagram; use `understudy status --json`";
            ("/fail", vec!["/engine/status".into(), why.into()])
        }
        Reply::Status(json) => ("/engine/status.reply", vec![json.replace('\0', " ").into()]),
        Reply::Presets(json) if json.len() > STATUS_BYTES_MAX => {
            let why =
                "the list is too long for a datagram; name a module or use `understudy patch show`";
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
    // Encoding to memory cannot fail; if it does, the sender gets no reply.
    rosc::encoder::encode(&packet).unwrap_or_default()
}

/// A text, shortened to `bytes` bytes, as an argument.
#[must_use]
pub fn text(words: &str, bytes: usize) -> OscType {
    OscType::String(shorten(words, bytes).replace('\0', " "))
}

/// The text, shortened with `…` to at most `bytes` bytes.
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
