//! Syncs a file to the disk: written data survives the death of the process, but not a power cut. A separate thread
//! waits for the disk, so that no other thread does. A thread that must not acknowledge unsynced data queries the
//! progress.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError, SyncSender},
    },
    thread,
    time::Duration,
};

/// The longest time between a write and its sync, unless a caller hurries it.
const AT_THE_LATEST: Duration = Duration::from_millis(500);

/// The handle of the thread.
pub struct Disk {
    file: Arc<FileOnDisk>,
    hurry: SyncSender<()>,
}

struct FileOnDisk {
    file: File,
    /// The folder with the file's name, and whether the name is synced: without its name the file would be lost.
    folder: File,
    has_name: AtomicBool,
    /// The number of written bytes, and of synced bytes.
    written: AtomicU64,
    held: AtomicU64,
    /// The error of the last sync.
    refused: Mutex<Option<String>>,
}

impl Disk {
    /// Starts the thread for a file in a folder; the file already holds `written` bytes.
    ///
    /// # Errors
    /// If the file cannot be opened a second time.
    pub fn keeping(file: &File, folder: &Path, written: u64) -> io::Result<Self> {
        let file = Arc::new(FileOnDisk {
            file: file.try_clone()?,
            folder: File::open(folder)?,
            has_name: false.into(),
            written: written.into(),
            held: 0.into(),
            refused: Mutex::new(None),
        });
        let (hurry, hurried) = mpsc::sync_channel(1);
        let own = Arc::clone(&file);
        thread::Builder::new().spawn(move || {
            let mut last = false;
            while !last {
                // Also sync the data that was written before the file was closed.
                last = hurried.recv_timeout(AT_THE_LATEST) == Err(RecvTimeoutError::Disconnected);
                let refused = own.keep().err().map(|why| why.to_string());
                if let Some(why) = &refused {
                    let text = format!("the command log cannot be synced to the disk: {why}");
                    platform::say::line("supervisor", &text);
                }
                *own.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
            }
        })?;
        Ok(Self { file, hurry })
    }

    /// Reports the number of written bytes.
    pub fn written(&self, bytes: u64) {
        self.file.written.store(bytes, Ordering::Relaxed);
    }

    /// The number of synced bytes.
    pub fn held(&self) -> u64 {
        self.file.held.load(Ordering::Relaxed)
    }

    /// The error of the last sync, if it failed.
    pub fn refused(&self) -> Option<String> {
        let refused = self.file.refused.lock();
        refused.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests a sync at once; never waits.
    pub fn hurry(&self) {
        // A full queue means that a request is pending.
        let _ = self.hurry.try_send(());
    }
}

impl FileOnDisk {
    fn keep(&self) -> io::Result<()> {
        let written = self.written.load(Ordering::Relaxed);
        if written != self.held.load(Ordering::Relaxed) {
            self.file.sync_data()?;
            if !self.has_name.load(Ordering::Relaxed) {
                self.folder.sync_all()?;
                self.has_name.store(true, Ordering::Relaxed);
            }
            self.held.store(written, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, time::Instant};

    use super::*;

    #[test]
    fn what_was_written_is_held_once_it_is_asked_for_and_by_itself_in_time() {
        let mut file = tempfile::tempfile().unwrap();
        let disk = Disk::keeping(&file, Path::new("."), 0).unwrap();
        for (bytes, hurry) in [(3, true), (6, false)] {
            file.write_all(b"abc").unwrap();
            disk.written(bytes);
            let limit = Instant::now() + Duration::from_secs(20);
            while disk.held() < bytes {
                assert!(Instant::now() < limit);
                if hurry {
                    disk.hurry();
                }
                thread::yield_now();
            }
            assert_eq!(disk.held(), bytes);
        }
    }
}
