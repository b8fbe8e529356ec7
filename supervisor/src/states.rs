//! The state files: the state of the music a few seconds ago, so that `--resume` has little to render.
//!
//! Two files, written alternately by a thread without a deadline, so that one of them is always complete. A state file
//! equals the beginning of a segment at its block; the later records are in the segment in progress.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use common::command_log::{Extent, Preamble, Reader};
use platform::paths::Paths;

/// A state file.
pub struct StateFile {
    path: PathBuf,
    extent: Extent,
}

impl StateFile {
    /// The state files of a segment with a file of `length` bytes, the newest first.
    pub fn of(paths: &Paths, segment: Extent, length: u64) -> Vec<Self> {
        let read = |path: PathBuf| {
            let mut reader = Reader::without_arenas(File::open(&path).ok()?);
            let extent = Preamble::read(&mut reader).ok()??.extent();
            let place = segment.place(extent.from);
            let belongs = extent.run == segment.run && place.is_some_and(|place| place <= length);
            belongs.then_some(Self { path, extent })
        };
        let mut found: Vec<_> = paths.states().into_iter().filter_map(read).collect();
        found.sort_by_key(|state| std::cmp::Reverse(state.extent.from));
        found
    }

    /// The bytes of the state, and the later bytes of the log.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn read(&self, log: &Path, segment: Extent) -> std::io::Result<[Vec<u8>; 2]> {
        let mut rest = Vec::new();
        let mut log = File::open(log)?;
        let place = segment.place(self.extent.from).unwrap_or_default();
        log.seek(SeekFrom::Start(place))?;
        log.read_to_end(&mut rest)?;
        Ok([fs::read(&self.path)?, rest])
    }
}

/// Writes a state over the older file.
///
/// # Errors
/// If the disk refuses; the newer file is then unchanged.
pub fn write(paths: &Paths, bytes: &[u8]) -> std::io::Result<()> {
    let written = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
    let older = paths.states().into_iter().min_by_key(written);
    let path = older.unwrap_or_default();
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}
