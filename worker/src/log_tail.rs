//! Reads commands from the command log, from any place on: what was not received is there.
//!
//! The supervisor writes a command before it broadcasts it, so a worker never has to ask.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use common::{
    command_log::{self, Record},
    message::Numbered,
};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// A place in the log.
pub struct LogTail {
    file: File,
    offset: u64,
}

impl LogTail {
    /// The log from its start.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)
            .map_err(|e| io::Error::other(format!("cannot read {}: {e}", path.display())))?;
        Ok(Self { file, offset: 0 })
    }

    /// Goes to the record at that place.
    pub const fn seek(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// Where the next record begins.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record and its place; `None` at the end, or where a record is not whole yet.
    ///
    /// # Errors
    /// When reading fails.
    pub fn next(&mut self) -> io::Result<Option<(u64, Record)>> {
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

    /// All commands from here to the end.
    ///
    /// # Errors
    /// When reading fails.
    pub fn commands(&mut self) -> io::Result<Vec<Numbered>> {
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

    /// Reads a chunk more of what follows `offset`; false at the end of the log.
    fn read_more(&self, bytes: &mut Vec<u8>) -> io::Result<bool> {
        let held = bytes.len();
        bytes.resize(held + CHUNK, 0);
        let read = self
            .file
            .read_at(&mut bytes[held..], self.offset + held as u64)?;
        bytes.truncate(held + read);
        Ok(read > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        command::{Command, Event},
        units::Seq,
    };

    #[test]
    fn every_command_is_found_once_with_its_place_across_chunks_and_torn_tails() {
        let mut whole = Vec::new();
        let mut places = Vec::new();
        for seq in 1..=5_000 {
            places.push(whole.len() as u64);
            let command = match seq {
                7 => Command::Patch("x".repeat(3 * CHUNK)),
                _ => Command::Event(Event::Run(seq % 2 == 0)),
            };
            whole.extend(command_log::encode(&Record::Command {
                token: 0,
                seq: Seq(seq),
                command,
            }));
        }
        let path = std::env::temp_dir().join(format!("log-tail-{}", std::process::id()));
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let mut log = LogTail::open(&path).unwrap();
        let found = log.commands().unwrap();
        assert_eq!(found.len(), 4_999);
        assert_eq!(log.commands().unwrap(), [], "the last one is torn");
        std::fs::write(&path, &whole).unwrap();
        let last = log.commands().unwrap();
        assert_eq!(last.len(), 1);
        for (command, place) in found.iter().chain(&last).zip(&places) {
            assert_eq!(command.offset, *place);
            log.seek(command.offset);
            let (at, record) = log.next().unwrap().unwrap();
            assert_eq!(at, *place);
            assert!(matches!(record, Record::Command { seq, .. } if seq == command.seq));
            assert_eq!(log.offset(), command.next_offset);
        }
        std::fs::remove_file(&path).unwrap();
    }
}
