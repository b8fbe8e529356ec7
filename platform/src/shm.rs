//! Shared memory: named segments, each a slice of 64-bit atomic words.
//!
//! A segment is reserved before it is used, since a full `/dev/shm` would otherwise show as
//! SIGBUS at the first touch, and is never unlinked by dropping: names are removed by hand, by
//! the launcher, when the instance has ended.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    path::PathBuf,
    sync::atomic::AtomicU64,
};

use shared_memory::{Shmem, ShmemConf, ShmemError};

/// Why a segment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ShmError {
    /// The operating system refused.
    #[error("shared memory {0}: {1}")]
    Map(String, ShmemError),
    /// No room.
    #[error("shared memory {0}: no room for {1} bytes in /dev/shm ({2}); free some")]
    Room(String, usize, std::io::Error),
}

/// The name of a segment: in it the process id of the launcher that began the instance.
#[must_use]
pub fn name(instance: &str, launcher: u32, what: &str) -> String {
    format!("understudy.{launcher}.{instance}.{what}")
}

/// Makes a new segment of zeroed words, mapped until the process ends.
///
/// # Errors
/// When it exists already, or there is no room.
pub fn create(name: &str, words: usize) -> Result<&'static [AtomicU64], ShmError> {
    create_partly(name, words, words)
}

/// The same, with room for the first words only: the rest must not be touched before it has been
/// reserved, too.
///
/// # Errors
/// As [`create`].
pub fn create_partly(
    name: &str,
    words: usize,
    reserved: usize,
) -> Result<&'static [AtomicU64], ShmError> {
    let bytes = words * 8;
    let mut segment = ShmemConf::new()
        .os_id(name)
        .size(bytes)
        .create()
        .map_err(|e| ShmError::Map(name.into(), e))?;
    segment.set_owner(false);
    if let Err(error) = reserve(name, reserved) {
        let _ = fs::remove_file(path(name));
        return Err(error);
    }
    Ok(words_of(segment))
}

/// Reserves the first words of a segment: what is reserved can be touched.
///
/// # Errors
/// When there is no room.
pub fn reserve(name: &str, words: usize) -> Result<(), ShmError> {
    let bytes = words * 8;
    let file = OpenOptions::new().write(true).open(path(name));
    let flags = rustix::fs::FallocateFlags::empty();
    file.and_then(|file| Ok(rustix::fs::fallocate(&file, flags, 0, bytes as u64)?))
        .map_err(|error| ShmError::Room(name.into(), bytes, error))
}

/// Maps a segment that another process has made, until this process ends.
///
/// # Errors
/// When there is none of that name.
pub fn open(name: &str) -> Result<&'static [AtomicU64], ShmError> {
    let mut segment = ShmemConf::new()
        .os_id(name)
        .open()
        .map_err(|e| ShmError::Map(name.into(), e))?;
    segment.set_owner(false);
    Ok(words_of(segment))
}

fn words_of(segment: Shmem) -> &'static [AtomicU64] {
    let (start, words) = (segment.as_ptr(), segment.len() / 8);
    std::mem::forget(segment);
    // SAFETY: the mapping is page-aligned, readable and writable, `words * 8` bytes long, and
    // stays until the process ends, since the owner of it was just forgotten. Every bit pattern
    // is an AtomicU64, and no process touches the memory other than through atomics.
    unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), words) }
}

/// Locks the words' pages into memory, touching each; tells whether it was allowed.
pub fn lock(words: &[AtomicU64]) -> bool {
    // SAFETY: the range is mapped; mlock changes no content.
    unsafe { libc::mlock(words.as_ptr().cast(), std::mem::size_of_val(words)) == 0 }
}

/// Maps the pages of those words at once, rather than one by one as they are touched; for writing, too,
/// if so wanted. Where the system cannot, they come one by one.
pub fn touch(words: &[AtomicU64], to_write: bool) {
    let pages = pages(words);
    let advice = match to_write {
        true => libc::MADV_POPULATE_WRITE,
        false => libc::MADV_POPULATE_READ,
    };
    // SAFETY: the pages lie within the mapping; to populate them changes no content.
    unsafe {
        libc::madvise(pages.start as *mut _, pages.len(), advice);
    }
}

/// Addresses of the pages that lie wholly within those words; none if there are none.
pub(crate) fn pages<T>(words: &[T]) -> std::ops::Range<usize> {
    let page = rustix::param::page_size();
    let start = (words.as_ptr() as usize).next_multiple_of(page);
    let end = (words.as_ptr() as usize + std::mem::size_of_val(words)) / page * page;
    start..end.max(start)
}

/// Removes a name; the memory goes when the last process lets go of it.
pub fn unlink(name: &str) {
    let _ = fs::remove_file(path(name));
}

/// Removes the segments of one launcher.
pub fn unlink_all_of(launcher: u32) -> usize {
    sweep(|pid| pid == launcher)
}

/// Removes the segments of instances whose launcher and processes are all gone.
pub fn unlink_stale() -> usize {
    let used = launchers_with_segments_in_use();
    sweep(|pid| {
        let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        !command.starts_with("understudy") && !used.contains(&pid)
    })
}

/// The launchers whose segments somebody has mapped: they may have died, and left the others playing.
fn launchers_with_segments_in_use() -> BTreeSet<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let maps = processes.filter_map(|p| fs::read_to_string(p.path().join("maps")).ok());
    let launcher = |line: &str| {
        let (_, name) = line.split_once("/dev/shm/understudy.")?;
        name.split('.').next()?.parse().ok()
    };
    maps.flat_map(|text| text.lines().filter_map(launcher).collect::<Vec<u32>>())
        .collect()
}

fn sweep(stale: impl Fn(u32) -> bool) -> usize {
    let Ok(entries) = fs::read_dir("/dev/shm") else {
        return 0;
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let gone: Vec<String> = names
        .filter(|name| {
            let mut parts = name.split('.');
            parts.next() == Some("understudy")
                && parts
                    .next()
                    .and_then(|pid| pid.parse().ok())
                    .is_some_and(&stale)
        })
        .collect();
    gone.iter().for_each(|name| unlink(name));
    gone.len()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/dev/shm").join(name)
}
