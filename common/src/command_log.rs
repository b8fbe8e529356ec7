//! The command log: what was asked, and in which block it came in; enough to render it all again.
//!
//! Written by the supervisor before anything is broadcast, read by workers that miss a command,
//! by a new supervisor and by `replay`. A record is length, checksum, payload: what was torn off
//! at the end is seen and dropped. Nothing here touches a file; it reads and writes bytes.
//!
//! A log is kept in segments, each of which begins with all that is needed to go on from it ([`Segment`]).

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

/// The version of the format that is written.
///
/// 3 added kinds of events and commands. 4 added kinds of events, and parameters of types that had been there:
/// before it, the parameters that follow a type's own had other numbers. 5 added segments and findings, 6 the
/// catalogue, by which numbers of parameters are read.
pub const VERSION: u32 = 6;
/// The oldest version that is read.
const OLDEST: u32 = 2;
/// A record longer than this is damage, not data: the largest arena, and what stands beside it.
const RECORD_BYTES_MAX: usize = ARENA_BYTES_MAX as usize + (4 << 20);

/// One record. New kinds go to the end: the number of a kind is its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// The first record of every log.
    Head {
        /// See [`VERSION`].
        version: u32,
        /// The format of the sound.
        format: AudioFormat,
    },
    /// An accepted command.
    Command {
        /// Its number, one more than the one before.
        seq: Seq,
        /// What it was submitted under, growing; 0 where no gateway handed it in. Who submits it
        /// again is told that it is here already.
        submission_id: u64,
        /// What it does.
        command: Command,
    },
    /// From this block on, the commands up to `seq` are in; written when it changes.
    Decision {
        /// The first such block.
        block: BlockIndex,
        /// The commands that are in.
        seq: Seq,
    },
    /// The arena before `block`, with the commands up to `seq` in: where a segment begins, or, before
    /// block 0, a resumed instance.
    State {
        /// The next block to be rendered from here.
        block: BlockIndex,
        /// The commands that are in.
        seq: Seq,
        /// The engine's arena.
        arena: Vec<u8>,
    },
    /// All decisions below this block are in the log, and it has been played.
    Progress {
        /// The block.
        block: BlockIndex,
    },
    /// That command was found to kill whoever applies it; it is left out.
    Quarantine {
        /// Its number.
        seq: Seq,
    },
    /// The second record of a segment: what is known where it begins. The patch in force follows, under the
    /// number of its command, then the state; then the log goes on.
    Segment(Box<Segment>),
    /// What a supervisor has found out.
    Found(Found),
    /// Follows the head: what the numbers of parameters mean.
    Catalogue(Box<Catalogue>),
    /// The run has ended with the [`Progress`](Self::Progress) before it. A log without this is of a run that was
    /// cut off, or goes on.
    Ended,
}

/// What a supervisor has found out about poison, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// A command kills whoever applies it; it is left out, and what was meant for it with it.
    LeftOut {
        /// Its number.
        seq: Seq,
        /// What it does, in a few words.
        what: String,
    },
    /// A module is left out.
    Bypassed {
        /// The command that does so.
        seq: Seq,
        /// Its name.
        module: String,
        /// From that block on.
        block: BlockIndex,
    },
}

impl Found {
    /// The command that it is about.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        match self {
            Self::LeftOut { seq, .. } | Self::Bypassed { seq, .. } => *seq,
        }
    }
}

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Reading failed.
    #[error("the command log cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// No head.
    #[error("the file is not a command log (expected a head record at its start)")]
    NoHead,
    /// Written by another version of this program.
    #[error(
        "the command log has format version {0} (understudy {own} expects {OLDEST} to {VERSION}); use {which} one",
        own = env!("CARGO_PKG_VERSION"),
        which = if *.0 > VERSION { "a newer" } else { "an older" }
    )]
    OtherVersion(u32),
}

/// The bytes of a record.
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

/// The first record of `bytes` and its length in bytes; `None` where it is torn or damaged.
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

/// Bytes before a record's payload.
const HEADER: usize = 8;

/// The length and checksum of the payload of the first record; `None` where there can be none.
fn frame(bytes: &[u8]) -> Option<(usize, u32)> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let sum = u32::from_le_bytes(bytes.get(4..HEADER)?.try_into().ok()?);
    (length <= RECORD_BYTES_MAX).then_some((length, sum))
}

/// All whole records of a log, each with its place in bytes; ends at the first torn one.
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
    /// The length of the records so far: where the next one begins.
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

/// What the first record of a log says.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The version of the format that it was written in.
    pub version: u32,
    /// The format of its sound.
    pub format: AudioFormat,
}

/// Checks the head of a log.
///
/// # Errors
/// When there is none, or it is of a version that is not read.
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
