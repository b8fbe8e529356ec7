//! The segments of a log: each begins with all that is needed to go on from it.
//!
//! A segment is made of the one before and of a state: its preamble says what is known where the state
//! stands, and the records after it are those of the one before, byte by byte. So a place in the log, in
//! bytes from its very beginning, means the same record in every segment that has it, and goes on growing.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::{Catalogue, Found, Reader, Record, VERSION, encode};
use crate::{
    edit::Edit,
    stage::AudioFormat,
    units::{BlockIndex, Seq},
};

/// What is known where a segment begins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// The run that it belongs to; every start of an instance has a higher one.
    pub run: u64,
    /// Its number in the run, from 0.
    pub number: u64,
    /// The place in the whole log of the first record after the preamble, in bytes; from 1, so that 0 lies
    /// before every record.
    pub from: u64,
    /// The next block to be rendered from the state.
    pub block: BlockIndex,
    /// The commands that are in the state; those that follow it are in the segment.
    pub seq: Seq,
    /// The highest submission id of those that are in.
    pub submission_id: u64,
    /// The number of patches so far, and of those taken back.
    pub generation: u64,
    /// The patch with the values last set, as JSON.
    pub patch: String,
    /// The edits that wait for their commit.
    pub drafts: Vec<Edit>,
    /// The last edit of the patch, and the first block that has it in for good.
    pub edited: Option<(Seq, Option<BlockIndex>)>,
    /// What was found out so far.
    pub findings: Vec<Found>,
    /// The checksum of the block before `block`, as each worker has published it; none where one played
    /// alone.
    pub sums: [Option<u64>; 2],
    /// The play cursor, and the time of day at which it stood there: milliseconds since 1970, UTC.
    pub played: BlockIndex,
    /// See `played`.
    pub at_ms: u64,
}

/// The bytes that a segment begins with: five records. Head, catalogue, what is known, the patch in force under
/// its number, and the state; an empty arena is that of the patch when it was loaded.
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

/// What a segment begins with.
#[derive(Clone, Debug)]
pub struct Preamble {
    /// The format of the sound.
    pub format: AudioFormat,
    /// What is known.
    pub segment: Segment,
    /// The patch in force, as JSON, and its place in bytes.
    pub patch: (String, u64),
    /// The state; empty where it is that of the patch when it was loaded, or where it was not asked for.
    pub arena: Vec<u8>,
    /// The length in bytes.
    pub bytes: u64,
}

impl Preamble {
    /// Reads the first records of a segment; `None` where it has no whole ones, as where it is of another
    /// version.
    ///
    /// # Errors
    /// When reading fails.
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

    /// Which segment that is, and where its records are.
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

/// Which segment a file is, and where its records are in the whole log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// See [`Segment`].
    pub run: u64,
    /// See [`Segment`].
    pub number: u64,
    /// See [`Segment`].
    pub block: BlockIndex,
    /// See [`Segment`].
    pub from: u64,
    /// The length of the preamble, in bytes.
    pub preamble: u64,
}

impl Extent {
    /// Where a place of the whole log is in the file; `None` where it lies before the first record.
    #[must_use]
    pub const fn place(&self, of_log: u64) -> Option<u64> {
        match of_log.checked_sub(self.from) {
            Some(beyond) => Some(self.preamble + beyond),
            None => None,
        }
    }

    /// Where a place of the file is in the whole log; those of the preamble count as the first record's.
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
