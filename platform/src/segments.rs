//! The files of a command log: the segment in progress, and beside it the closed ones. Closed segments are
//! named by run and number, so that their names sort by age.
//!
//! A segment is closed by a hard link and one rename. A process that is killed between the two leaves a second
//! name for the segment in progress; [`mend`] removes it.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::paths::Paths;

/// A closed segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Closed {
    /// The run's number.
    pub run: u64,
    /// The segment's number in its run.
    pub number: u64,
    /// The file.
    pub path: PathBuf,
    /// Length in bytes.
    pub bytes: u64,
}

/// The closed segments of an instance, oldest first.
#[must_use]
pub fn closed(paths: &Paths) -> Vec<Closed> {
    let in_progress = fs::metadata(paths.command_log()).map_or(0, |m| m.ino());
    let files = fs::read_dir(&paths.state).into_iter().flatten().flatten();
    let mut closed: Vec<Closed> = files
        .filter_map(|file| {
            let (run, number) = number_of(file.file_name().to_str()?)?;
            let metadata = file.metadata().ok()?;
            (metadata.is_file() && metadata.ino() != in_progress).then(|| Closed {
                run,
                number,
                path: file.path(),
                bytes: metadata.len(),
            })
        })
        .collect();
    closed.sort();
    closed
}

/// Run and number in the name of a closed segment. The log that older builds kept beside the newest one
/// precedes all others.
fn number_of(name: &str) -> Option<(u64, u64)> {
    if name == "commands.previous.log" {
        return Some((0, 0));
    }
    let numbers = name.strip_prefix("commands.")?.strip_suffix(".log")?;
    let (run, number) = numbers.split_once('.')?;
    Some((run.parse().ok()?, number.parse().ok()?))
}

/// The path of a closed segment.
fn place(paths: &Paths, run: u64, number: u64) -> PathBuf {
    paths
        .state
        .join(format!("commands.{run:06}.{number:08}.log"))
}

/// Replaces the segment in progress by the complete file `next`. The old segment is kept under its run and
/// number, or under the next number that is free.
///
/// # Errors
/// When the file system refuses; nothing has changed then.
pub fn change(paths: &Paths, next: &Path, run: u64, number: u64) -> io::Result<()> {
    let current = paths.command_log();
    let mut numbers = number..;
    let closed = loop {
        let closed = place(paths, run, numbers.next().unwrap_or(number));
        match fs::hard_link(&current, &closed) {
            Ok(()) => break closed,
            // A segment with a damaged beginning does not tell its numbers, so the given ones may be taken.
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
            Err(why) => return Err(why),
        }
    };
    fs::rename(next, &current).inspect_err(|_| drop(fs::remove_file(&closed)))
}

/// Puts the complete file `next` in the place of a command log that is lost. A file in that place that is not
/// the segment in progress is set aside.
///
/// # Errors
/// When the file system refuses; nothing has changed then.
pub fn put(paths: &Paths, next: &Path) -> io::Result<()> {
    let current = paths.command_log();
    match fs::rename(&current, paths.set_aside()) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    fs::rename(next, &current)
}

/// Removes what a process left that was killed while it changed segments.
pub fn mend(paths: &Paths) {
    let Ok(current) = fs::metadata(paths.command_log()) else {
        return;
    };
    let files = fs::read_dir(&paths.state).into_iter().flatten().flatten();
    for file in files {
        let is_closed = file.file_name().to_str().and_then(number_of).is_some();
        let same = |metadata: fs::Metadata| {
            (metadata.ino(), metadata.dev()) == (current.ino(), current.dev())
        };
        if is_closed && file.metadata().is_ok_and(same) {
            let _ = fs::remove_file(file.path());
        }
    }
    let _ = fs::remove_file(paths.next_command_log());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(folder: &Path) -> Paths {
        Paths {
            instance: "test".into(),
            runtime: folder.join("run"),
            state: folder.to_owned(),
        }
    }

    #[test]
    fn segments_are_listed_by_age_and_half_a_change_is_undone() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let names = |paths: &Paths| -> Vec<(u64, u64)> {
            let closed = closed(paths);
            closed.iter().map(|c| (c.run, c.number)).collect()
        };
        for (text, run, number) in [("a", 1, 0), ("b", 1, 1), ("c", 1, 10), ("d", 12, 0)] {
            fs::write(paths.command_log(), text).unwrap();
            fs::write(paths.next_command_log(), "next").unwrap();
            change(&paths, &paths.next_command_log(), run, number).unwrap();
        }
        fs::write(paths.command_log(), "again").unwrap();
        fs::write(paths.next_command_log(), "next").unwrap();
        change(&paths, &paths.next_command_log(), 1, 1).unwrap();
        fs::remove_file(place(&paths, 1, 2)).unwrap();
        fs::write(folder.path().join("commands.previous.log"), "old").unwrap();
        fs::write(folder.path().join("commands.x.1.log"), "no").unwrap();
        let all = [(0, 0), (1, 0), (1, 1), (1, 10), (12, 0)];
        assert_eq!(names(&paths), all);
        let read = |at: usize| fs::read_to_string(&closed(&paths)[at].path).unwrap();
        assert_eq!((read(1).as_str(), read(4).as_str()), ("a", "d"));
        // A process was killed before the rename.
        fs::write(paths.next_command_log(), "half").unwrap();
        fs::hard_link(paths.command_log(), place(&paths, 12, 1)).unwrap();
        assert_eq!(names(&paths), all);
        mend(&paths);
        assert!(!place(&paths, 12, 1).exists() && !paths.next_command_log().exists());
        assert_eq!(fs::read_to_string(paths.command_log()).unwrap(), "next");
    }
}
