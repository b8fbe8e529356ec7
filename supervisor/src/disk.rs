//! Has the disk hold what is written into a file: what a process has written outlives it, but not the
//! machine's power. A thread of its own waits for the disk, so that nobody else does; whoever has
//! promised something asks how far it has come.

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

/// What is written is on the disk after this at the latest, where nobody asks for it sooner.
const AT_THE_LATEST: Duration = Duration::from_millis(500);

/// The way to the thread.
pub struct Disk {
    file: Arc<FileOnDisk>,
    hurry: SyncSender<()>,
}

struct FileOnDisk {
    file: File,
    /// Where its name stands, and whether the disk holds that: without it the file would be lost.
    folder: File,
    has_name: AtomicBool,
    /// So many bytes have been written, and so many of them the disk holds.
    written: AtomicU64,
    held: AtomicU64,
    /// Why the disk did not take them, the last time.
    refused: Mutex<Option<String>>,
}

impl Disk {
    /// Starts the thread for a file in that folder; `written` bytes stand in it already.
    ///
    /// # Errors
    /// When the file cannot be opened a second time.
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
                // What was written before the file was closed is kept, too.
                last = hurried.recv_timeout(AT_THE_LATEST) == Err(RecvTimeoutError::Disconnected);
                let refused = own.keep().err().map(|why| why.to_string());
                if let Some(why) = &refused {
                    let text = format!("the disk does not hold the command log: {why}");
                    platform::say::line("supervisor", &text);
                }
                *own.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
            }
        })?;
        Ok(Self { file, hurry })
    }

    /// Says how many bytes have been written.
    pub fn written(&self, bytes: u64) {
        self.file.written.store(bytes, Ordering::Relaxed);
    }

    /// How many bytes the disk holds.
    pub fn held(&self) -> u64 {
        self.file.held.load(Ordering::Relaxed)
    }

    /// Why the disk does not hold what was written, if it refuses.
    pub fn refused(&self) -> Option<String> {
        let refused = self.file.refused.lock();
        refused.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does not let the thread wait until it is time; never waits itself.
    pub fn hurry(&self) {
        // Full: it has been asked already.
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
