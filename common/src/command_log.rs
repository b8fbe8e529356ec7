//! The command log: all accepted commands, and the block in which each took effect. It suffices to render
//! the music again.
//!
//! The supervisor writes a record before it broadcasts the command. Workers that miss a command, a new
//! supervisor and `replay` read the log. A record consists of length, checksum and payload: a record that
//! was torn at the end is detected and dropped. This module touches no file; it reads and writes bytes.
//!
//! A log is kept in segments. Each begins with everything that is needed to continue from it ([`Segment`]).

mod catalogue;
mod reach;
mod reader;
mod segment;

pub use catalogue::{Catalogue, TypeNames};
pub use reach::Reach;
pub use reader::Reader;
pub use segment::{Extent, Preamble, Segment, preamble};

use serde::{Deserialize, Serialize};

use crate::{
    command::Command,
    limits::ARENA_BYTES_MAX,
    stage::AudioFormat,
    units::{BlockIndex, Seq},
};

/// The format version that is written.
///
/// 3 added kinds of events and commands. 4 added kinds of events, and parameters to existing types: before,
/// the parameters that follow a type's own had other numbers. 5 added segments and findings. 6 added the
/// catalogue, which gives the numbers of parameters their meaning.
pub const VERSION: u32 = 6;
/// The oldest version that can be read.
const OLDEST: u32 = 2;
/// The longest valid record: the largest arena and the data beside it. A longer record is damaged.
const RECORD_BYTES_MAX: usize = ARENA_BYTES_MAX as usize + (4 << 20);

/// One record. A new kind must be the last one: the number of a kind is its position in the enum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// The first record of every log.
    Head {
        /// See [`VERSION`].
        version: u32,
        /// The audio format.
        format: AudioFormat,
    },
    /// An accepted command.
    Command {
        /// The sequence number, one more than that of the command before.
        seq: Seq,
        /// The submission id of the command, which only grows; 0 if the gateway did not submit it. A
        /// repeated submission is recognised by it.
        submission_id: u64,
        /// The command.
        command: Command,
    },
    /// From this block on, the commands up to `seq` are in force; written when `seq` changes.
    Decision {
        /// The first block with this decision.
        block: BlockIndex,
        /// The sequence number in force.
        seq: Seq,
    },
    /// The arena before `block`, after the commands up to `seq`: at the beginning of a segment, or, before
    /// block 0, of a resumed instance.
    State {
        /// The next block to render from this state.
        block: BlockIndex,
        /// The last command applied.
        seq: Seq,
        /// The arena of the engine.
        arena: Vec<u8>,
    },
    /// All blocks below this one have been played, and their decisions are in the log.
    Progress {
        /// The block.
        block: BlockIndex,
    },
    /// The command kills the worker that applies it, and is skipped.
    Quarantine {
        /// The sequence number of the command.
        seq: Seq,
    },
    /// The third record of a segment, after head and catalogue (in version 5 the second): what is known at
    /// the beginning. The patch in force follows as a command with its number, then the state, then the log
    /// continues.
    Segment(Box<Segment>),
    /// A finding of the supervisor.
    Found(Found),
    /// The record after the head: the meaning of the numbers of parameters.
    Catalogue(Box<Catalogue>),
    /// The run has ended at the [`Progress`](Self::Progress) before this record. Without it, the run was
    /// cut off or still goes on.
    Ended,
}

/// A finding about poison, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// A command that kills the worker that applies it is in quarantine, with all commands resolved against it.
    LeftOut {
        /// The sequence number of the command.
        seq: Seq,
        /// A short description of the command.
        what: String,
    },
    /// A module is bypassed.
    Bypassed {
        /// The sequence number of the bypass.
        seq: Seq,
        /// The module's name.
        module: String,
        /// The first block with the bypass.
        block: BlockIndex,
    },
}

impl Found {
    /// The command that the finding is about.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        match self {
            Self::LeftOut { seq, .. } | Self::Bypassed { seq, .. } => *seq,
        }
    }
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Reading has failed.
    #[error("the command log cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// There is no head record.
    #[error("the file is not a command log (expected a head record at its start)")]
    NoHead,
    /// The log has a format version that this program cannot read.
    #[error(
        "the command log has format version {0} (understudy {own} expects {OLDEST} to {VERSION}); use {which} one",
        own = env!("CARGO_PKG_VERSION"),
        which = if *.0 > VERSION { "a newer" } else { "an older" }
    )]
    OtherVersion(u32),
}

/// Encodes a record.
///
/// # Panics
/// Never: all records can be encoded.
#[must_use]
pub fn encode(record: &Record) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    bytes = postcard::to_extend(record, bytes).expect("records can be encoded");
    let length = (bytes.len() - 8) as u32;
    let sum = crc32fast::hash(&bytes[8..]);
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Decodes the first record of `bytes` and returns its length in bytes; `None` if it is torn or damaged.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<(Record, usize)> {
    let (length, sum) = frame(bytes)?;
    let payload = bytes.get(HEADER..HEADER + length)?;
    if crc32fast::hash(payload) != sum {
        return None;
    }
    let record = postcard::from_bytes(payload).ok()?;
    Some((record, HEADER + length))
}

/// Bytes of a record before its payload.
const HEADER: usize = 8;

/// Length and checksum of the first record's payload; `None` if the header is incomplete or invalid.
fn frame(bytes: &[u8]) -> Option<(usize, u32)> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let sum = u32::from_le_bytes(bytes.get(4..HEADER)?.try_into().ok()?);
    (length <= RECORD_BYTES_MAX).then_some((length, sum))
}

/// All whole records of a log, each with its place in bytes. Ends at the first torn record.
#[must_use]
pub const fn records(bytes: &[u8]) -> Records<'_> {
    Records { bytes, offset: 0 }
}

/// See [`records`].
#[derive(Clone)]
pub struct Records<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl Records<'_> {
    /// The length in bytes of the records so far: the place of the next one.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset as u64
    }
}

impl Iterator for Records<'_> {
    type Item = (u64, Record);

    fn next(&mut self) -> Option<Self::Item> {
        let (record, length) = decode(self.bytes.get(self.offset..)?)?;
        let at = self.offset();
        self.offset += length;
        Some((at, record))
    }
}

/// The content of a log's first record.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The format version of the log.
    pub version: u32,
    /// The audio format.
    pub format: AudioFormat,
}

/// Checks the head of a log.
///
/// # Errors
/// If there is none, or its version cannot be read.
pub fn head(bytes: &[u8]) -> Result<Head, LogError> {
    match decode(bytes) {
        Some((Record::Head { version, format }, _)) if (OLDEST..=VERSION).contains(&version) => {
            Ok(Head { version, format })
        }
        Some((Record::Head { version, .. }, _)) => Err(LogError::OtherVersion(version)),
        _ => Err(LogError::NoHead),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Event;

    #[test]
    fn a_log_of_another_version_is_refused_with_the_program_to_use() {
        let format = AudioFormat {
            rate_hz: 48_000,
            block_frames: 128,
            channels: 2,
            lead_blocks: 4,
            freewheel: false,
        };
        let refused = |version| {
            let why = head(&encode(&Record::Head { version, format })).unwrap_err();
            why.to_string()
        };
        assert_eq!(
            refused(1),
            format!(
                "the command log has format version 1 (understudy {} expects 2 to 6); use an older one",
                env!("CARGO_PKG_VERSION")
            )
        );
        let newer = refused(VERSION + 1);
        assert!(newer.ends_with("use a newer one"), "{newer}");
        assert!(
            head(&encode(&Record::Head {
                version: OLDEST,
                format
            }))
            .is_ok()
        );
    }

    #[test]
    fn a_torn_tail_loses_only_the_torn_record() {
        let first = Record::Command {
            seq: Seq(1),
            submission_id: 0,
            command: Command::Patch("{}".into()),
        };
        let event = Event::Param {
            module: 1,
            param: 2,
            value: 0.5,
        };
        let second = Record::Command {
            seq: Seq(2),
            submission_id: 65_537,
            command: Command::Event(event),
        };
        let mut bytes = encode(&first);
        let whole = bytes.len();
        bytes.extend(encode(&second));
        assert_eq!(records(&bytes).count(), 2);
        for cut in whole..bytes.len() {
            let mut records = records(&bytes[..cut]);
            let read: Vec<_> = records.by_ref().collect();
            assert_eq!(read, [(0, first.clone())], "cut at {cut}");
            assert_eq!(records.offset(), whole as u64);
        }
        let end = bytes.len() - 1;
        bytes[end] ^= 1;
        assert_eq!(records(&bytes).count(), 1);
    }
}
