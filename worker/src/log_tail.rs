//! Reads commands from the command log, from any place on. A worker finds there the commands that it has not
//! received.
//!
//! The supervisor writes a command before it broadcasts it, so a worker never has to ask for one.

use std::{
    fs::{self, File},
    io::{self, BufReader},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use common::{
    command_log::{self, Extent, Preamble, Reader, Record},
    message::Numbered,
};

/// How many bytes are read at once.
const CHUNK: usize = 64 * 1024;

/// A place in the command log, and its newest segment.
pub struct LogTail {
    path: PathBuf,
    file: File,
    segment: Extent,
    offset: u64,
}

impl LogTail {
    /// Opens the log at the first record after the state with which its newest segment begins.
    ///
    /// # Errors
    /// When there is no log.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)
            .map_err(|e| io::Error::other(format!("cannot read {}: {e}", path.display())))?;
        let segment = preamble(&file, false)?.extent();
        Ok(Self {
            path: path.to_owned(),
            file,
            segment,
            offset: segment.from,
        })
    }

    /// As [`Self::open`]. If there is no log, starts from the supervisor's ledger until there is one again.
    ///
    /// # Errors
    /// When there is neither log nor ledger.
    pub fn open_or(path: &Path, ledger: Option<&Path>) -> io::Result<Self> {
        let log = Self::open(path);
        match (log, ledger) {
            (Err(why), Some(ledger)) => {
                let ledger = Self::open(ledger).map_err(|_| why)?;
                Ok(Self {
                    path: path.to_owned(),
                    ..ledger
                })
            }
            (log, _) => log,
        }
    }

    /// The segment's preamble, with the arena.
    ///
    /// # Errors
    /// When reading fails.
    pub fn beginning(&self) -> io::Result<Preamble> {
        preamble(&self.file, true)
    }

    /// The patch in the record at `offset`, as JSON. For a place before the segment, the patch in force where
    /// the segment begins. `None` if the record is not a patch.
    ///
    /// # Errors
    /// When reading fails.
    pub fn patch(&mut self, offset: u64) -> io::Result<Option<String>> {
        if offset < self.segment.from {
            return Ok(Some(preamble(&self.file, false)?.patch.0));
        }
        self.seek(offset);
        Ok(match self.next()? {
            Some((_, Record::Command { command, .. })) => command.patch().map(Into::into),
            _ => None,
        })
    }

    /// Whether the segment holds all records from `offset` on.
    pub const fn reaches(&self, offset: u64) -> bool {
        offset >= self.segment.from
    }

    /// Moves to the record at that place of the whole log.
    pub const fn seek(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// The next record and its place; `None` at the end, or where a record is incomplete as yet.
    fn next(&mut self) -> io::Result<Option<(u64, Record)>> {
        let mut bytes = Vec::new();
        loop {
            let more = self.read_more(&mut bytes)?;
            if let Some((record, length)) = command_log::decode(&bytes) {
                let at = self.offset;
                self.offset += length as u64;
                return Ok(Some((at, record)));
            }
            if !more {
                return Ok(None);
            }
        }
    }

    /// All commands from here to the end, including those in the next segment if there is one.
    ///
    /// # Errors
    /// When reading fails, or the next records are in a segment that was closed meanwhile.
    pub fn commands(&mut self) -> io::Result<Vec<Numbered>> {
        // Looked up first: once there is a next segment, this one receives no more records.
        let next = self.next_segment()?;
        let mut found = self.rest()?;
        if let Some((file, segment)) = next {
            if self.offset < segment.from {
                return Err(io::Error::other(format!(
                    "the command log begins at {} (expected the records after {})",
                    segment.from, self.offset
                )));
            }
            (self.file, self.segment) = (file, segment);
            found.extend(self.rest()?);
        }
        Ok(found)
    }

    /// All commands from here to the end of this segment.
    fn rest(&mut self) -> io::Result<Vec<Numbered>> {
        let mut bytes = Vec::new();
        while self.read_more(&mut bytes)? {}
        let start = self.offset;
        let mut records = command_log::records(&bytes);
        let mut found = Vec::new();
        while let Some((at, record)) = records.next() {
            if let Record::Command { seq, command, .. } = record {
                found.push(Numbered {
                    seq,
                    offset: start + at,
                    next_offset: start + records.offset(),
                    command,
                });
            }
        }
        self.offset = start + records.offset();
        Ok(found)
    }

    /// The segment that has replaced this one, if any. If this segment's name is gone, or names something
    /// else, reading goes on in this one: the supervisor will put a segment there again.
    fn next_segment(&self) -> io::Result<Option<(File, Extent)>> {
        let own = self.file.metadata()?;
        let Ok(newest) = fs::metadata(&self.path) else {
            return Ok(None);
        };
        if (own.ino(), own.dev()) == (newest.ino(), newest.dev()) {
            return Ok(None);
        }
        let next = File::open(&self.path).and_then(|file| Ok((preamble(&file, false)?, file)));
        Ok(next.ok().map(|(begins, file)| (file, begins.extent())))
    }

    /// Reads one more chunk of the bytes after `offset`; false at the end of the log.
    fn read_more(&self, bytes: &mut Vec<u8>) -> io::Result<bool> {
        let held = bytes.len();
        bytes.resize(held + CHUNK, 0);
        let place = self.segment.place(self.offset).unwrap_or_default();
        let read = self.file.read_at(&mut bytes[held..], place + held as u64)?;
        bytes.truncate(held + read);
        Ok(read > 0)
    }
}

/// Reads the preamble of a segment.
fn preamble(file: &File, with_arena: bool) -> io::Result<Preamble> {
    // A cloned descriptor would share this position. All other reads give their own position.
    io::Seek::rewind(&mut &*file)?;
    let mut reader = match with_arena {
        true => Reader::new(BufReader::new(file)),
        false => Reader::without_arenas(BufReader::new(file)),
    };
    Preamble::read(&mut reader)?
        .ok_or_else(|| io::Error::other("the beginning of the command log is damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        command::{Command, Event},
        command_log::{Catalogue, Segment},
        stage::AudioFormat,
        units::Seq,
    };

    /// The beginning of a segment whose first record is at `from` in the log.
    fn beginning(from: u64) -> Vec<u8> {
        let format = AudioFormat {
            rate_hz: 48_000,
            block_frames: 64,
            channels: 2,
            lead_blocks: 4,
            freewheel: false,
        };
        let patch = Record::Command {
            seq: Seq(1),
            submission_id: 0,
            command: Command::Patch("{}".into()),
        };
        let known = Segment {
            from,
            ..Segment::default()
        };
        command_log::preamble(format, &Catalogue::default(), &known, &patch, vec![1; 100])
    }

    #[test]
    fn every_command_is_found_once_with_its_place_across_chunks_and_torn_tails() {
        let first = beginning(10);
        let mut whole = first.clone();
        let mut places = Vec::new();
        for seq in 1..=5_000 {
            places.push(10 + (whole.len() - first.len()) as u64);
            let command = match seq {
                7 => Command::Patch("x".repeat(3 * CHUNK)),
                _ => Command::Event(Event::Run(seq % 2 == 0)),
            };
            whole.extend(command_log::encode(&Record::Command {
                submission_id: 0,
                seq: Seq(seq),
                command,
            }));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("commands.log");
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let mut log = LogTail::open(&path).unwrap();
        let found = log.commands().unwrap();
        assert_eq!(found.len(), 4_999);
        assert_eq!(log.commands().unwrap(), [], "the last one is torn");
        fs::write(&path, &whole).unwrap();
        let last = log.commands().unwrap();
        assert_eq!(last.len(), 1);
        for (command, place) in found.iter().chain(&last).zip(&places) {
            assert_eq!(command.offset, *place);
            log.seek(command.offset);
            let (at, record) = log.next().unwrap().unwrap();
            assert_eq!(at, *place);
            assert!(matches!(record, Record::Command { seq, .. } if seq == command.seq));
            assert_eq!(log.offset, command.next_offset);
        }
        let patch = log.patch(places[6]).unwrap().unwrap();
        assert_eq!(patch.len(), 3 * CHUNK);
        assert_eq!(log.patch(9).unwrap().unwrap(), "{}");
        assert_eq!(log.beginning().unwrap().arena, [1; 100]);
    }

    #[test]
    fn the_next_segment_is_followed_at_the_same_place_and_one_that_begins_later_is_refused() {
        let record = |seq| {
            command_log::encode(&Record::Command {
                submission_id: 0,
                seq: Seq(seq),
                command: Command::Event(Event::Run(true)),
            })
        };
        let length = record(1).len() as u64;
        let folder = tempfile::tempdir().unwrap();
        let (path, next) = (
            folder.path().join("commands.log"),
            folder.path().join("new"),
        );
        let put = |from: u64, seqs: std::ops::RangeInclusive<u64>| {
            let mut bytes = beginning(from);
            bytes.extend(seqs.flat_map(record));
            fs::write(&next, bytes).unwrap();
            fs::rename(&next, &path).unwrap();
        };
        put(0, 1..=9);
        let mut log = LogTail::open(&path).unwrap();
        assert_eq!(log.commands().unwrap().len(), 9);
        put(5 * length, 6..=12);
        let found = log.commands().unwrap();
        let seqs: Vec<_> = found.iter().map(|n| (n.seq.0, n.offset)).collect();
        let places = [(10, 9 * length), (11, 10 * length), (12, 11 * length)];
        assert_eq!(seqs, places);
        assert!(!log.reaches(4 * length) && log.reaches(5 * length));
        // Another file in the segment's place: reading goes on in the segment.
        let mut held = File::options().append(true).open(&path).unwrap();
        fs::rename(&path, folder.path().join("away")).unwrap();
        fs::write(&path, "no log").unwrap();
        assert!(log.commands().unwrap().is_empty());
        io::Write::write_all(&mut held, &record(13)).unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(log.commands().unwrap().len(), 1);
        fs::remove_dir(&path).unwrap();
        put(14 * length, 15..=16);
        assert!(log.commands().is_err());
        // The log is lost: the ledger is read, then the log once there is one again.
        let ledger = folder.path().join("ledger");
        fs::rename(&path, &ledger).unwrap();
        assert!(LogTail::open_or(&path, None).is_err());
        let mut log = LogTail::open_or(&path, Some(&ledger)).unwrap();
        assert_eq!(log.commands().unwrap().len(), 2);
        put(14 * length, 15..=18);
        assert_eq!(log.commands().unwrap().len(), 2);
    }
}
