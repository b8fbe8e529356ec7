//! Keeps as much of the logs as was asked for: closed segments of the command log that are older are handed to
//! the archive's command and deleted, on a thread of its own; a disk that is full gets room at once. The text
//! log is bounded, too.

use std::{
    fs::{self, File},
    io,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError, SyncSender},
    },
    thread,
    time::{Duration, SystemTime},
};

use common::options::{Bytes, Keep, Options, Seconds};
use platform::{
    paths::Paths,
    say,
    segments::{self, Closed},
};

/// How often age is looked at, and a failed archive tried again.
const LOOK: Duration = Duration::from_secs(60);

/// The text log is turned over at this length, and so many older ones are kept.
const TEXT_BYTES: u64 = 8 << 20;
const TEXT_FILES: usize = 3;

/// The way to the thread.
pub struct Keeper {
    paths: Paths,
    keep: Keep,
    look: SyncSender<()>,
    kept: Arc<AtomicU64>,
}

impl Keeper {
    /// Starts the thread, which looks at once.
    pub fn start(options: &Options, paths: &Paths) -> Self {
        let (look, looks) = mpsc::sync_channel(1);
        let kept = Arc::new(AtomicU64::new(0));
        let keeping = Keeping {
            paths: paths.clone(),
            keep: options.keep,
            archive: options.archive.clone(),
            kept: Arc::clone(&kept),
            has_failed: false,
        };
        thread::spawn(move || keeping.run(&looks));
        Self {
            paths: paths.clone(),
            keep: options.keep,
            look,
            kept,
        }
    }

    /// A segment was closed.
    pub fn look(&self) {
        // Full: it will look anyway.
        let _ = self.look.try_send(());
    }

    /// The length of all closed segments, in bytes, when last looked at.
    pub fn kept_bytes(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// Deletes the oldest segment, for a disk that is full; false where there is none that may go.
    pub fn make_room(&self) -> bool {
        let oldest = match self.keep {
            Keep::All => None,
            Keep::Size(_) | Keep::Age(_) => segments::closed(&self.paths).into_iter().next(),
        };
        let Some(oldest) = oldest else {
            return false;
        };
        let gone = fs::remove_file(&oldest.path).is_ok();
        if gone {
            let text = format!("the disk is full; {} is deleted", oldest.path.display());
            say::line("supervisor", &text);
            self.look();
        }
        gone
    }
}

/// What the thread knows.
struct Keeping {
    paths: Paths,
    keep: Keep,
    archive: Option<String>,
    kept: Arc<AtomicU64>,
    /// The archive's command has failed, and that was said.
    has_failed: bool,
}

impl Keeping {
    fn run(mut self, looks: &mpsc::Receiver<()>) {
        loop {
            self.look();
            if looks.recv_timeout(LOOK) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    fn look(&mut self) {
        if let Err(why) = turn_over(&self.paths.text_log()) {
            say::line("supervisor", &format!("the text log grows on: {why}"));
        }
        let closed = segments::closed(&self.paths);
        let in_progress = fs::metadata(self.paths.command_log()).map_or(0, |m| m.len());
        let count = too_many(&closed, in_progress, self.keep, SystemTime::now());
        let gone = closed[..count]
            .iter()
            .take_while(|closed| {
                self.hand_over(&closed.path) && fs::remove_file(&closed.path).is_ok()
            })
            .count();
        let left = closed[gone..].iter().map(|closed| closed.bytes).sum();
        self.kept.store(left, Ordering::Relaxed);
    }

    /// Hands a segment to the archive; true where it may go.
    fn hand_over(&mut self, path: &Path) -> bool {
        let Some(command) = &self.archive else {
            return true;
        };
        let status = Command::new("/bin/sh")
            .args(["-c", &format!("{command} \"$1\""), "archive"])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        let why = match status {
            Ok(status) if status.success() => {
                self.has_failed = false;
                return true;
            }
            Ok(status) => status.to_string(),
            Err(why) => why.to_string(),
        };
        if !std::mem::replace(&mut self.has_failed, true) {
            let text = format!(
                "the archive's command `{command}` does not take {} ({why}); it is kept and tried again",
                path.display()
            );
            say::line("supervisor", &text);
        }
        false
    }
}

/// Bounds the text log: a long one is copied to a name of its own and cut, since its writers hold it open;
/// a line that is written in between is lost.
fn turn_over(log: &Path) -> io::Result<()> {
    if fs::metadata(log).map_or(0, |file| file.len()) <= TEXT_BYTES {
        return Ok(());
    }
    let older = |number: usize| log.with_extension(format!("{number}.log"));
    for number in (1..TEXT_FILES).rev() {
        // There are fewer at first.
        let _ = fs::rename(older(number), older(number + 1));
    }
    fs::copy(log, older(1))?;
    File::options().write(true).open(log)?.set_len(0)
}

/// How many of the closed segments, oldest first, are more than is kept.
fn too_many(closed: &[Closed], in_progress: u64, keep: Keep, now: SystemTime) -> usize {
    match keep {
        Keep::All => 0,
        Keep::Size(Bytes(most)) => {
            let mut all = in_progress + closed.iter().map(|closed| closed.bytes).sum::<u64>();
            let goes = |closed: &&Closed| {
                let goes = all > most;
                all -= closed.bytes;
                goes
            };
            closed.iter().take_while(goes).count()
        }
        Keep::Age(Seconds(most)) => {
            let age = |closed: &Closed| now.duration_since(closed.written).unwrap_or_default();
            let old = closed
                .iter()
                .take_while(|closed| age(closed).as_secs() > most);
            old.count()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_until_what_is_left_is_no_more_than_is_kept() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let closed: Vec<Closed> = (0..10)
            .map(|number| Closed {
                run: 1,
                number,
                path: format!("{number}").into(),
                bytes: 100,
                written: now - Duration::from_secs(100 * (10 - number)),
            })
            .collect();
        let count =
            |keep: &str, in_progress| too_many(&closed, in_progress, keep.parse().unwrap(), now);
        assert_eq!(count("all", 0), 0);
        assert_eq!(
            (count("1000B", 0), count("1000B", 1), count("450B", 50)),
            (0, 1, 6)
        );
        assert_eq!(count("0B", 5), 10);
        assert_eq!(
            (count("1h", 0), count("550s", 0), count("0s", 0)),
            (0, 5, 10)
        );
    }

    #[test]
    fn a_long_text_log_is_turned_over_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("understudy.log");
        for turn in 0..6 {
            let bytes = vec![b'0' + turn; TEXT_BYTES as usize + 1];
            fs::write(&log, bytes).unwrap();
            turn_over(&log).unwrap();
            assert_eq!(fs::metadata(&log).unwrap().len(), 0);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1 + TEXT_FILES);
        let oldest = folder.path().join("understudy.3.log");
        assert_eq!(fs::read(oldest).unwrap()[0], b'3');
        fs::write(&log, "short").unwrap();
        turn_over(&log).unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "short");
    }

    #[test]
    fn what_the_archive_does_not_take_stays() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths {
            instance: "test".into(),
            runtime: folder.path().into(),
            state: folder.path().into(),
        };
        let files: Vec<_> = (0..3)
            .map(|number| folder.path().join(format!("commands.1.{number}.log")))
            .collect();
        files.iter().for_each(|file| fs::write(file, "x").unwrap());
        fs::create_dir(folder.path().join("archive")).unwrap();
        let mut keeping = Keeping {
            paths,
            keep: Keep::Size(Bytes(1)),
            archive: Some("false".into()),
            kept: Arc::default(),
            has_failed: false,
        };
        keeping.look();
        assert!(files.iter().all(|file| file.exists()));
        assert_eq!(keeping.kept.load(Ordering::Relaxed), 3);
        let archive = folder.path().join("archive");
        keeping.archive = Some(format!("cp -t {}", archive.display()));
        keeping.look();
        assert_eq!(fs::read_dir(archive).unwrap().count(), 2);
        assert!(files[2].exists() && !files[1].exists());
    }
}
