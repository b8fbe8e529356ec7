//! Reads commands from the command log, from any place on: what was not received is there.
//!
//! The supervisor writes a command before it broadcasts it, so a worker never has to ask.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use common::{
    command_log::{self, Record},
    message::Numbered,
};

/// Bytes read at once; a record that is longer makes it grow.
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
        let mut size = CHUNK;
        loop {
            let mut bytes = vec![0; size];
            let read = self.file.read_at(&mut bytes, self.offset)?;
            bytes.truncate(read);
            if let Some((record, length)) = command_log::decode(&bytes) {
                let at = self.offset;
                self.offset += length as u64;
                return Ok(Some((at, record)));
            }
            if read < size {
                return Ok(None);
            }
            size *= 4;
        }
    }

    /// All commands from here to the end.
    ///
    /// # Errors
    /// When reading fails.
    pub fn commands(&mut self) -> io::Result<Vec<Numbered>> {
        let mut found = Vec::new();
        while let Some((offset, record)) = self.next()? {
            if let Record::Command { seq, command } = record {
                found.push(Numbered {
                    seq,
                    offset,
                    next_offset: self.offset,
                    command,
                });
            }
        }
        Ok(found)
    }
}
