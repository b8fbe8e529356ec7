//! The store of an instance's recordings: a folder of files, each named by the hash of its content.
//!
//! The program that accepts a patch writes the patch's recordings before it sends the patch anywhere.
//! All processes that render read them. A file whose content does not match its name is not played. All
//! processes find the same mismatch, so replicas stay equal.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use common::sample::{self, Sample};

use crate::say;

/// The recordings in a folder. Each is in memory once, as long as it is in use.
pub struct Samples {
    folder: PathBuf,
    known: Mutex<BTreeMap<String, Weak<Sample>>>,
}

impl Samples {
    /// The store in that folder, which need not exist.
    #[must_use]
    pub const fn within(folder: PathBuf) -> Self {
        Self {
            folder,
            known: Mutex::new(BTreeMap::new()),
        }
    }

    /// The store that belongs to a command log: the folder beside it.
    #[must_use]
    pub fn beside(log: &Path) -> Self {
        Self::within(log.parent().unwrap_or(Path::new(".")).join(FOLDER))
    }

    /// The recording with that id; `None`, with a line in the text log, if it is missing or damaged.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Arc<Sample>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sample) = known.get(id).and_then(Weak::upgrade) {
            return Some(sample);
        }
        let read = fs::read(self.folder.join(id)).map_err(|e| e.to_string());
        let whole = read.and_then(|bytes| match sample::id(&bytes) == id {
            true => Sample::from_bytes(&bytes).ok_or_else(|| "it is not a recording".to_owned()),
            false => Err("the file is damaged".to_owned()),
        });
        match whole {
            Ok(sample) => {
                let sample = Arc::new(sample);
                known.retain(|_, weak| weak.strong_count() > 0);
                known.insert(id.to_owned(), Arc::downgrade(&sample));
                Some(sample)
            }
            Err(why) => {
                let text = format!("the recording {id} is silent: {why}");
                say::line("samples", &text);
                None
            }
        }
    }

    /// The files in the folder.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// Whether there is a recording with that id.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.folder.join(id).is_file()
    }

    /// Stores a recording's bytes under their id. The file is complete as soon as it has its name.
    ///
    /// # Errors
    /// When the bytes cannot be written.
    pub fn keep(&self, bytes: &[u8]) -> io::Result<()> {
        let id = sample::id(bytes);
        if self.has(&id) {
            return Ok(());
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)?;
        let unfinished = self.folder.join(format!("{id}.{}", std::process::id()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        let written = io::Write::write_all(&mut file, bytes).and_then(|()| file.sync_all());
        written
            .and_then(|()| fs::rename(&unfinished, self.folder.join(id)))
            .inspect_err(|_| drop(fs::remove_file(&unfinished)))
    }

    /// Removes the recordings whose id `wanted` rejects.
    pub fn sweep(&self, wanted: impl Fn(&str) -> bool) {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for file in files {
            if !file.file_name().to_str().is_some_and(&wanted) {
                let _ = fs::remove_file(file.path());
            }
        }
    }

    /// Whether there is any recording.
    #[must_use]
    pub fn any(&self) -> bool {
        fs::read_dir(&self.folder).is_ok_and(|mut files| files.next().is_some())
    }
}

/// The folder's name, beside the command log.
pub const FOLDER: &str = "samples";

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_kept_is_found_and_what_is_damaged_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let samples = Samples::beside(&folder.path().join("commands.log"));
        assert!(!samples.any());
        let bytes = Sample::new(48_000, 1, vec![0.5; 100]).unwrap().to_bytes();
        let id = sample::id(&bytes);
        assert!(samples.find(&id).is_none());
        samples.keep(&bytes).unwrap();
        samples.keep(&bytes).unwrap();
        let found = samples.find(&id).unwrap();
        assert_eq!(found.at_rate(48_000).frames(), 100);
        assert!(Arc::ptr_eq(&found, &samples.find(&id).unwrap()));
        let file = folder.path().join(FOLDER).join(&id);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(found);
        fs::write(&file, &bytes[..50]).unwrap();
        assert!(samples.find(&id).is_none());
        samples.sweep(|wanted| wanted == id);
        assert!(samples.any());
        samples.sweep(|_| false);
        assert!(!samples.any());
    }
}
