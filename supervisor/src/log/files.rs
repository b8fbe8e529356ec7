//! What the files of a command log say of themselves: which segment of which run each is, and how far it goes.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use common::{
    command_log::{self, Extent, Preamble, Reader},
    stage::AudioFormat,
};

/// An upper bound of the length of a log's header, in bytes.
const HEAD_BYTES: u64 = 4_096;

/// Whether the path is a command log that this program can read.
pub fn is_one(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    read.is_ok() && command_log::head(&head).is_ok()
}

/// The extent of a command log; a log of an older build, without segments, has run 0.
pub fn extent(path: &Path) -> Extent {
    // Number 0 of run 0 is the log that such a build called the previous one.
    let unnumbered = Extent {
        number: 1,
        ..Extent::default()
    };
    extent_of(path).unwrap_or(unnumbered)
}

fn extent_of(path: &Path) -> Option<Extent> {
    begins(path).map(|(extent, _)| extent)
}

/// The extent of a command log, and the format of its sound.
pub fn begins(path: &Path) -> Option<(Extent, AudioFormat)> {
    let mut reader = Reader::without_arenas(File::open(path).ok()?);
    let preamble = Preamble::read(&mut reader).ok()??;
    Some((preamble.extent(), preamble.format))
}

/// The extent of a command log, and the length of its file in bytes; `None` for a file with only a header.
pub fn head_of(path: &Path) -> Option<(Extent, u64)> {
    let mut reader = Reader::without_arenas(File::open(path).ok()?);
    let two = [reader.next().ok()?, reader.next().ok()?];
    let length = fs::metadata(path).ok()?.len();
    two.iter()
        .all(Option::is_some)
        .then(|| (extent(path), length))
}

/// The run of a segment, and the end of its last whole record in the whole log.
pub fn end(path: &Path) -> Option<(u64, u64)> {
    let mut reader = Reader::without_arenas(File::open(path).ok()?);
    let extent = Preamble::read(&mut reader).ok()??.extent();
    while reader.next().ok()?.is_some() {}
    Some((extent.run, extent.of_log(reader.offset())))
}

/// Whether a segment may reach further than the one after it, by their lengths or because the later one is damaged at
/// its beginning.
pub fn may_go_further(before: &Path, newest: &Path) -> bool {
    let end = |path: &Path| {
        let length = fs::metadata(path).ok()?.len();
        Some(extent_of(path)?.of_log(length))
    };
    match (end(before), end(newest)) {
        (Some(before), Some(newest)) => before > newest,
        _ => false,
    }
}
