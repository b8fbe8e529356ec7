//! Reads the records of a log from a stream, in an amount of memory that does not depend on the length of the log.

use std::io::{self, Read};

use super::{HEADER, Record, decode, encode, frame};
use crate::units::{BlockIndex, Seq};

/// Bytes read at once.
const CHUNK: usize = 256 * 1024;
/// Bytes at the start of a state's payload, at most: kind, block, sequence number, length of the arena.
const STATE_START: usize = 4 * 10;

/// The records of a stream, in order. Ends at the first one that is torn or damaged.
pub struct Reader<R> {
    from: R,
    /// Bytes that have been read but not decoded yet: `held[at..]`.
    held: Vec<u8>,
    at: usize,
    /// The length of the records so far.
    offset: u64,
    with_arenas: bool,
}

impl<R: Read> Reader<R> {
    /// Reads all records.
    pub const fn new(from: R) -> Self {
        Self {
            from,
            held: Vec::new(),
            at: 0,
            offset: 0,
            with_arenas: true,
        }
    }

    /// Reads all records, but with empty arenas in states: the bytes of an arena are checked and then dropped.
    pub const fn without_arenas(from: R) -> Self {
        let mut reader = Self::new(from);
        reader.with_arenas = false;
        reader
    }

    /// The length in bytes of the records so far: the place of the next one.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The next whole record and its place.
    ///
    /// # Errors
    /// If reading fails.
    #[expect(clippy::should_implement_trait, reason = "it can fail")]
    pub fn next(&mut self) -> io::Result<Option<(u64, Record)>> {
        let at = self.offset;
        if !self.has(HEADER)? {
            return Ok(None);
        }
        let Some((length, sum)) = frame(&self.held[self.at..]) else {
            return Ok(None);
        };
        if !self.with_arenas && length > CHUNK && self.is_state()? {
            return Ok(self.skip_arena(length, sum)?.map(|record| (at, record)));
        }
        if !self.has(HEADER + length)? {
            return Ok(None);
        }
        let Some((mut record, length)) = decode(&self.held[self.at..]) else {
            return Ok(None);
        };
        if let Record::State { arena, .. } = &mut record
            && !self.with_arenas
        {
            *arena = Vec::new();
        }
        self.at += length;
        self.offset += length as u64;
        Ok(Some((at, record)))
    }

    /// Whether the next record, a long one, is a state.
    fn is_state(&mut self) -> io::Result<bool> {
        // The first byte of the payload is the number of the kind: its position in the enum.
        let state = Record::State {
            block: BlockIndex(0),
            seq: Seq(0),
            arena: Vec::new(),
        };
        Ok(
            self.has(HEADER + STATE_START)?
                && self.held[self.at + HEADER] == encode(&state)[HEADER],
        )
    }

    /// Reads the next record, a state, without its arena.
    fn skip_arena(&mut self, length: usize, sum: u32) -> io::Result<Option<Record>> {
        let start = self.at + HEADER;
        let Ok(((_, block, seq), _)) =
            postcard::take_from_bytes::<(u8, BlockIndex, Seq)>(&self.held[start..])
        else {
            return Ok(None);
        };
        let mut found = crc32fast::Hasher::new();
        self.at += HEADER;
        let mut left = length;
        while left > 0 {
            if !self.has(1)? {
                return Ok(None);
            }
            let part = left.min(self.held.len() - self.at);
            found.update(&self.held[self.at..self.at + part]);
            self.at += part;
            left -= part;
        }
        if found.finalize() != sum {
            return Ok(None);
        }
        self.offset += (HEADER + length) as u64;
        let arena = Vec::new();
        Ok(Some(Record::State { block, seq, arena }))
    }

    /// Buffers at least this many bytes; false if the stream ends before.
    fn has(&mut self, bytes: usize) -> io::Result<bool> {
        if self.held.len() - self.at >= bytes {
            return Ok(true);
        }
        self.held.drain(..self.at);
        self.at = 0;
        while self.held.len() < bytes {
            let length = self.held.len();
            self.held.resize(length + CHUNK, 0);
            let read = self.from.read(&mut self.held[length..]);
            self.held
                .truncate(length + read.as_ref().copied().unwrap_or(0));
            match read {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::{Command, Event},
        command_log::records,
    };

    /// Delivers a few bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = into.len().min(self.1).min(self.0.len());
            into[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn log() -> Vec<Record> {
        let command = |seq| Record::Command {
            seq: Seq(seq),
            submission_id: 7,
            command: Command::Event(Event::Run(true)),
        };
        let state = |seq, length| Record::State {
            block: BlockIndex(1 << 40),
            seq: Seq(seq),
            arena: (0..length).map(|byte| byte as u8).collect(),
        };
        let mut all: Vec<_> = (1..3_000).map(command).collect();
        all.push(state(5, 3 * CHUNK));
        all.push(state(6, 40));
        all.extend((3_000..3_100).map(command));
        all
    }

    #[test]
    fn a_stream_has_the_records_of_its_bytes_however_it_comes_and_wherever_it_ends() {
        let all = log();
        let bytes: Vec<u8> = all.iter().flat_map(encode).collect();
        for drop in [5_001, usize::MAX] {
            let mut reader = Reader::new(Drops(&bytes, drop));
            for expected in records(&bytes) {
                assert_eq!(reader.next().unwrap(), Some(expected));
            }
            assert_eq!(reader.next().unwrap(), None);
            assert_eq!(reader.offset(), bytes.len() as u64);
        }
        for cut in [1, 5_000, bytes.len() - 1] {
            let mut reader = Reader::without_arenas(&bytes[..cut]);
            let mut count = 0;
            while reader.next().unwrap().is_some() {
                count += 1;
            }
            assert_eq!(count, records(&bytes[..cut]).count());
        }
    }

    #[test]
    fn without_arenas_states_are_checked_and_empty_in_a_memory_of_a_few_chunks() {
        let all = log();
        let mut bytes: Vec<u8> = all.iter().flat_map(encode).collect();
        let mut reader = Reader::without_arenas(&bytes[..]);
        for mut expected in all {
            if let Record::State { arena, .. } = &mut expected {
                arena.clear();
            }
            assert_eq!(reader.next().unwrap().map(|(_, r)| r), Some(expected));
        }
        assert!(reader.held.capacity() <= 3 * CHUNK);
        // Damage in the middle of the large state.
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let mut reader = Reader::without_arenas(&bytes[..]);
        let mut count = 0;
        while reader.next().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 2_999);
    }
}
