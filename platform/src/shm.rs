//! Shared memory: named segments, each a slice of 64-bit atomic words.
//!
//! Room for a segment is reserved before the segment is used: otherwise a full `/dev/shm` would show as
//! SIGBUS at the first touch. Dropping a segment never unlinks it; the launcher removes the names when the
//! instance has ended.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::PathBuf,
    sync::atomic::AtomicU64,
};

use shared_memory::{Shmem, ShmemConf, ShmemError};

use crate::process;

/// Why a segment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ShmError {
    /// The segment cannot be created.
    #[error("shared memory {0}: {1}")]
    Make(String, ShmemError),
    /// No segment has that name, and no process holds one that had it.
    #[error("shared memory {0} is missing: it was never created, or it was removed")]
    Missing(String),
    /// The segment exists but cannot be used: no permission, no descriptor left, no memory.
    #[error("shared memory {0} cannot be opened: {1}")]
    Refused(String, io::Error),
    /// There is no room.
    #[error("shared memory {0}: no space for {1} bytes in /dev/shm ({2}); free some")]
    Room(String, usize, std::io::Error),
}

/// The name of a segment. It contains the process id of the launcher that began the instance.
#[must_use]
pub fn name(instance: &str, launcher: u32, what: &str) -> String {
    format!("understudy.{launcher}.{instance}.{what}")
}

/// Creates a segment of zeroed words and maps it until the process ends.
///
/// # Errors
/// When a segment of that name exists, or there is no room.
pub fn create(name: &str, words: usize) -> Result<&'static [AtomicU64], ShmError> {
    create_partly(name, words, words)
}

/// As [`create`], but reserves room for the first `reserved` words only. The others must not be touched
/// before they are reserved too.
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
        .map_err(|e| ShmError::Make(name.into(), e))?;
    segment.set_owner(false);
    if let Err(error) = reserve(name, reserved) {
        let _ = fs::remove_file(path(name));
        return Err(error);
    }
    Ok(words_of(segment))
}

/// Reserves room for the first `words` words of a segment. Reserved words can be touched.
///
/// # Errors
/// When there is no room.
pub fn reserve(name: &str, words: usize) -> Result<(), ShmError> {
    let bytes = words * 8;
    let file = File::options().write(true).open(path(name));
    let file = file.or_else(|why| held_by_somebody(name).ok_or(why));
    let flags = rustix::fs::FallocateFlags::empty();
    file.and_then(|file| Ok(rustix::fs::fallocate(&file, flags, 0, bytes as u64)?))
        .map_err(|error| ShmError::Room(name.into(), bytes, error))
}

/// Maps a segment that another process has created, until this process ends. If the name was removed, maps
/// the segment through a living process that holds it.
///
/// # Errors
/// When the segment is missing or cannot be used.
pub fn open(name: &str) -> Result<&'static [AtomicU64], ShmError> {
    let refused = |why| ShmError::Refused(name.into(), why);
    match ShmemConf::new().os_id(name).open() {
        Ok(mut segment) => {
            segment.set_owner(false);
            Ok(words_of(segment))
        }
        Err(ShmemError::MapOpenFailed(errno)) => {
            match io::Error::from_raw_os_error(errno.cast_signed()) {
                why if why.kind() == io::ErrorKind::NotFound => match held_by_somebody(name) {
                    Some(file) => map(file).map_err(refused),
                    None => Err(ShmError::Missing(name.into())),
                },
                why => Err(refused(why)),
            }
        }
        Err(other) => Err(refused(io::Error::other(other.to_string()))),
    }
}

/// The file of a segment whose name was removed, while a process holds it open. Every process that has
/// mapped the segment does.
fn held_by_somebody(name: &str) -> Option<File> {
    let removed = PathBuf::from(format!("{} (deleted)", path(name).display()));
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let descriptors = processes.filter_map(|process| fs::read_dir(process.path().join("fd")).ok());
    let mut all = descriptors
        .flat_map(Iterator::flatten)
        .map(|entry| entry.path());
    let place = all.find(|place| fs::read_link(place).is_ok_and(|to| to == removed))?;
    File::options().read(true).write(true).open(place).ok()
}

/// Maps a segment from its file.
fn map(file: File) -> io::Result<&'static [AtomicU64]> {
    use rustix::mm::{MapFlags, ProtFlags, mmap};
    let bytes = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel chooses the address of the new mapping of the whole file, so no other mapping is
    // replaced.
    let start = unsafe {
        mmap(
            std::ptr::null_mut(),
            bytes,
            protection,
            MapFlags::SHARED,
            &file,
            0,
        )?
    };
    // The file stays open, so that later processes find the segment through this process too.
    std::mem::forget(file);
    // SAFETY: as in `words_of`: the mapping is page-aligned, readable and writable, `bytes` bytes long, and
    // stays until the process ends. No process touches the memory other than through atomics.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), bytes / 8) })
}

fn words_of(segment: Shmem) -> &'static [AtomicU64] {
    let (start, words) = (segment.as_ptr(), segment.len() / 8);
    std::mem::forget(segment);
    // SAFETY: the mapping is page-aligned, readable and writable, `words * 8` bytes long, and stays until
    // the process ends, since its owner was just forgotten. Every bit pattern is an AtomicU64, and no
    // process touches the memory other than through atomics.
    unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), words) }
}

/// Locks the pages of the words into memory, which touches each page; returns whether that was allowed.
pub fn lock(words: &[AtomicU64]) -> bool {
    // SAFETY: the range is mapped; mlock changes no content.
    unsafe { libc::mlock(words.as_ptr().cast(), std::mem::size_of_val(words)) == 0 }
}

/// Maps the pages of the words at once instead of one by one as they are touched; for writing too if
/// `to_write` says so. Where the system cannot do that, the pages are mapped one by one.
pub fn touch(words: &[AtomicU64], to_write: bool) {
    let pages = pages(words);
    let advice = match to_write {
        true => libc::MADV_POPULATE_WRITE,
        false => libc::MADV_POPULATE_READ,
    };
    // SAFETY: the pages lie within the mapping; populating them changes no content.
    unsafe {
        libc::madvise(pages.start as *mut _, pages.len(), advice);
    }
}

/// The addresses of the pages that lie completely within the words; an empty range if there are none.
pub(crate) fn pages<T>(words: &[T]) -> std::ops::Range<usize> {
    let page = rustix::param::page_size();
    let start = (words.as_ptr() as usize).next_multiple_of(page);
    let end = (words.as_ptr() as usize + std::mem::size_of_val(words)) / page * page;
    start..end.max(start)
}

/// Removes a name. The memory is freed when the last process unmaps it.
pub fn unlink(name: &str) {
    let _ = fs::remove_file(path(name));
}

/// Removes all segments of one launcher.
pub fn unlink_all_of(launcher: u32) {
    let names = names();
    let its = names
        .iter()
        .filter(|name| parts(name).is_some_and(|(_, of)| of == launcher));
    its.for_each(|name| unlink(name));
}

/// The instances of which only segments are left: launcher and processes are gone. Each comes with its
/// launcher's process id.
#[must_use]
pub fn stale() -> BTreeSet<(String, u32)> {
    let used = launchers_with_segments_in_use();
    let lives = |seen: process::Seen| seen.lives() && seen.name.starts_with("understudy");
    let is_stale = |pid: u32| !process::look(pid).is_some_and(lives) && !used.contains(&pid);
    let names = names();
    let parts = names.iter().filter_map(|name| parts(name));
    parts
        .filter(|(_, pid)| is_stale(*pid))
        .map(|(instance, pid)| (instance.to_owned(), pid))
        .collect()
}

/// The launchers whose segments a process has mapped. A launcher among them may have died while other
/// processes play on.
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

/// The names of all segments of all instances.
fn names() -> Vec<String> {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| parts(name).is_some()).collect()
}

/// The instance and the launcher that a segment's name contains.
fn parts(name: &str) -> Option<(&str, u32)> {
    let mut parts = name.strip_prefix("understudy.")?.split('.');
    let launcher = parts.next()?.parse().ok()?;
    Some((parts.next()?, launcher))
}

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from("/dev/shm").join(name)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    fn test_name(what: &str) -> String {
        name("shm-test", std::process::id(), what)
    }

    #[test]
    fn a_segment_whose_name_was_removed_is_found_with_those_who_hold_it() {
        let name = test_name("held");
        let made = create(&name, 512).unwrap();
        made[7].store(42, Ordering::Relaxed);
        unlink(&name);
        reserve(&name, 512).unwrap();
        let found = open(&name).unwrap();
        assert_eq!((found.len(), found[7].load(Ordering::Relaxed)), (512, 42));
        found[8].store(43, Ordering::Relaxed);
        assert_eq!(made[8].load(Ordering::Relaxed), 43);
    }

    #[test]
    fn missing_and_refused_are_told_apart() {
        assert!(matches!(
            open(&test_name("none")),
            Err(ShmError::Missing(_))
        ));
        let name = test_name("folder");
        fs::create_dir(path(&name)).unwrap();
        let refused = open(&name);
        fs::remove_dir(path(&name)).unwrap();
        assert!(matches!(refused, Err(ShmError::Refused(..))), "{refused:?}");
    }

    #[test]
    fn a_name_tells_instance_and_launcher() {
        assert_eq!(parts(&name("a-b", 7, "ring-0")), Some(("a-b", 7)));
        for other in ["understudy.x.a.b", "understudy.7", "pulse-shm-1", ""] {
            assert_eq!(parts(other), None, "{other}");
        }
    }
}
