//! The segments of a log: each begins with everything that is needed to continue from it.
//!
//! A segment is made from its predecessor and a state. Its preamble describes what is known at the state.
//! The records after the preamble are byte for byte those of the predecessor. A place, in bytes from the
//! very beginning of the log, therefore means the same record in every segment that contains it.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::{Catalogue, Found, Reader, Record, VERSION, encode};
use crate::{
    edit::Edit,
    stage::AudioFormat,
    units::{BlockIndex, Seq},
};

/// What is known at the beginning of a segment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// The number of the run; every start of an instance has a higher one.
    pub run: u64,
    /// The segment's number in the run, from 0.
    pub number: u64,
    /// The place in the whole log of the first record after the preamble, in bytes. Places begin at 1, so
    /// that 0 is before every record.
    pub from: u64,
    /// The next block to render from the state.
    pub block: BlockIndex,
    /// The last command applied in the state; later commands are in the segment.
    pub seq: Seq,
    /// The highest submission id of the commands applied.
    pub submission_id: u64,
    /// The generation of the patch in force: the number of patches so far, where a withdrawn one counts twice.
    pub generation: u64,
    /// The patch with the values last set, as JSON.
    pub patch: String,
    /// The edits that wait for their commit.
    pub drafts: Vec<Edit>,
    /// The last edit of the patch, and the first sealed block that includes it.
    pub edited: Option<(Seq, Option<BlockIndex>)>,
    /// The findings so far.
    pub findings: Vec<Found>,
    /// The checksum of the block before `block`, as each slot's worker has published it; `None` for a slot
    /// that did not.
    pub sums: [Option<u64>; 2],
    /// The play cursor.
    pub played: BlockIndex,
    /// The wall-clock time at which the play cursor was at `played`: milliseconds since 1970, UTC.
    pub at_ms: u64,
}

/// Encodes the preamble of a segment. It has five records: head, catalogue, what is known, the patch in
/// force as a command with its number, and the state. An empty arena stands for the initial state of the
/// patch.
#[must_use]
pub fn preamble(
    format: AudioFormat,
    catalogue: &Catalogue,
    segment: &Segment,
    patch: &Record,
    arena: Vec<u8>,
) -> Vec<u8> {
    let mut bytes = encode(&Record::Head {
        version: VERSION,
        format,
    });
    bytes.extend(encode(&Record::Catalogue(Box::new(catalogue.clone()))));
    bytes.extend(encode(&Record::Segment(Box::new(segment.clone()))));
    bytes.extend(encode(patch));
    bytes.extend(encode(&Record::State {
        block: segment.block,
        seq: segment.seq,
        arena,
    }));
    bytes
}

/// The preamble of a segment, decoded.
#[derive(Clone, Debug)]
pub struct Preamble {
    /// The audio format.
    pub format: AudioFormat,
    /// What is known.
    pub segment: Segment,
    /// The patch in force as JSON, and its place in the file in bytes.
    pub patch: (String, u64),
    /// The arena. Empty if it is the initial state of the patch, or if the reader drops arenas.
    pub arena: Vec<u8>,
    /// The length of the preamble in bytes.
    pub bytes: u64,
}

impl Preamble {
    /// Reads the preamble of a segment. `None` if its records are not whole, or it is of another version.
    ///
    /// # Errors
    /// If reading fails.
    pub fn read<R: Read>(reader: &mut Reader<R>) -> io::Result<Option<Self>> {
        let Some((_, Record::Head { version, format })) = reader.next()? else {
            return Ok(None);
        };
        if version != VERSION {
            return Ok(None);
        }
        let Some((_, Record::Catalogue(_))) = reader.next()? else {
            return Ok(None);
        };
        let Some((_, Record::Segment(segment))) = reader.next()? else {
            return Ok(None);
        };
        let Some((place, Record::Command { command, .. })) = reader.next()? else {
            return Ok(None);
        };
        let (Some(json), Some((_, Record::State { arena, .. }))) =
            (command.patch(), reader.next()?)
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            format,
            patch: (json.to_owned(), place),
            segment: *segment,
            arena,
            bytes: reader.offset(),
        }))
    }

    /// The segment's identity, and the position of its records in the whole log.
    #[must_use]
    pub const fn extent(&self) -> Extent {
        Extent {
            run: self.segment.run,
            number: self.segment.number,
            block: self.segment.block,
            from: self.segment.from,
            preamble: self.bytes,
        }
    }
}

/// The identity of a segment file, and the position of its records in the whole log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The number of the run; see [`Segment::run`].
    pub run: u64,
    /// The number in the run; see [`Segment::number`].
    pub number: u64,
    /// The block of the state; see [`Segment::block`].
    pub block: BlockIndex,
    /// The place of the first record after the preamble; see [`Segment::from`].
    pub from: u64,
    /// The length of the preamble, in bytes.
    pub preamble: u64,
}

impl Extent {
    /// Converts a place in the whole log to an offset in the file; `None` if the place is before the first record.
    #[must_use]
    pub const fn place(&self, of_log: u64) -> Option<u64> {
        match of_log.checked_sub(self.from) {
            Some(beyond) => Some(self.preamble + beyond),
            None => None,
        }
    }

    /// Converts an offset in the file to a place in the whole log. An offset within the preamble gives the
    /// first record's.
    #[must_use]
    pub const fn of_log(&self, place: u64) -> u64 {
        self.from + place.saturating_sub(self.preamble)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;

    const FORMAT: AudioFormat = AudioFormat {
        rate_hz: 48_000,
        block_frames: 64,
        channels: 2,
        lead_blocks: 4,
        freewheel: false,
    };

    #[test]
    fn a_preamble_is_read_as_it_was_written() {
        let segment = Segment {
            run: 3,
            number: 1 << 40,
            from: 99,
            block: BlockIndex(17),
            seq: Seq(5),
            findings: vec![Found::LeftOut {
                seq: Seq(4),
                what: "a patch".into(),
            }],
            sums: [Some(u64::MAX), None],
            ..Segment::default()
        };
        let patch = Record::Command {
            seq: Seq(2),
            submission_id: 0,
            command: Command::Edited("{}".into()),
        };
        let bytes = preamble(
            FORMAT,
            &Catalogue::default(),
            &segment,
            &patch,
            vec![1, 2, 3],
        );
        let read = |bytes: &[u8]| Preamble::read(&mut Reader::new(bytes)).unwrap();
        let found = read(&bytes).unwrap();
        assert_eq!((found.format, &found.segment), (FORMAT, &segment));
        assert_eq!(
            (found.patch.0.as_str(), &found.arena),
            ("{}", &vec![1, 2, 3])
        );
        assert_eq!(found.bytes, bytes.len() as u64);
        let extent = found.extent();
        assert_eq!(extent.place(98), None);
        assert_eq!(extent.place(101), Some(found.bytes + 2));
        assert_eq!(extent.of_log(found.bytes + 2), 101);
        for byte in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[byte] ^= 1;
            assert!(read(&damaged).is_none(), "{byte}");
        }
    }
}
