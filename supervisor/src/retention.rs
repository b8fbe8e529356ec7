//! Limits the size of the logs: passes older closed segments of the command log to the archive's command and deletes
//! them, on a separate thread. On a full disk it deletes the oldest segment at once, without the archive. The text
//! log is limited too.
//!
//! Age is counted in music, not by the wall clock: on a machine whose clock is set long after its start all segments
//! would become old at once.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError, SyncSender},
    },
    thread,
    time::Duration,
};

use common::options::{Bytes, Keep, Options, Seconds};
use platform::{
    paths::Paths,
    say,
    segments::{self, Closed},
};

use crate::log::begins;

/// The period of checking ages and of trying a failed archive again.
const LOOK: Duration = Duration::from_secs(60);
/// The same period while the archive's command runs.
const LOOK_SOON: Duration = Duration::from_millis(200);
/// The time limit of the archive's command for a segment, in seconds.
const ARCHIVE_SECONDS: &str = "600";

/// The length at which the text log is rotated, and the number of older files.
const TEXT_BYTES: u64 = 8 << 20;
const TEXT_FILES: usize = 3;

/// The handle of the thread.
pub struct Retention {
    paths: Paths,
    keep: Keep,
    look: SyncSender<()>,
    kept: Arc<AtomicU64>,
    trouble: Arc<Mutex<Option<String>>>,
}

impl Retention {
    /// Starts the thread, which checks at once.
    pub fn start(options: &Options, paths: &Paths) -> Self {
        let (look, looks) = mpsc::sync_channel(1);
        let kept = Arc::new(AtomicU64::new(0));
        let trouble = Arc::new(Mutex::new(None));
        let keeping = Keeping {
            paths: paths.clone(),
            keep: options.keep,
            archive: options.archive.clone(),
            kept: Arc::clone(&kept),
            trouble: Arc::clone(&trouble),
            begins: HashMap::new(),
            running: None,
        };
        thread::spawn(move || keeping.run(&looks));
        Self {
            paths: paths.clone(),
            keep: options.keep,
            look,
            kept,
            trouble,
        }
    }

    /// The error of the archive's command, if it fails.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clone()
    }

    /// Requests a check after a segment was closed.
    pub fn look(&self) {
        // A full queue means that a check is pending.
        let _ = self.look.try_send(());
    }

    /// The length of all closed segments at the last check, in bytes.
    pub fn kept_bytes(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// Deletes the oldest segment to free space on a full disk; false if no segment may be deleted.
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
            let text = format!("the disk is full; deleted {}", oldest.path.display());
            say::line("supervisor", &text);
            self.look();
        }
        gone
    }
}

/// The state of the thread.
struct Keeping {
    paths: Paths,
    keep: Keep,
    archive: Option<String>,
    kept: Arc<AtomicU64>,
    trouble: Arc<Mutex<Option<String>>>,
    /// The beginnings of the segments that have been read.
    begins: HashMap<PathBuf, Option<Begin>>,
    /// The running archive's command, and its file.
    running: Option<(Child, PathBuf)>,
}

/// The beginning of a segment: its run, and the seconds of music since the start of the run.
#[derive(Clone, Copy)]
struct Begin {
    run: u64,
    seconds: f64,
}

/// The result of passing a segment to the archive.
#[derive(PartialEq)]
enum Archived {
    Taken,
    Refused,
    NotYet,
}

impl Keeping {
    fn run(mut self, looks: &mpsc::Receiver<()>) {
        loop {
            self.look();
            let wait = self.running.as_ref().map_or(LOOK, |_| LOOK_SOON);
            if looks.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    fn look(&mut self) {
        if let Err(why) = turn_over(&self.paths.text_log()) {
            say::line(
                "supervisor",
                &format!("the text log cannot be rotated: {why}"),
            );
        }
        let closed = segments::closed(&self.paths);
        let in_progress = fs::metadata(self.paths.command_log()).map_or(0, |m| m.len());
        let ages = match self.keep {
            Keep::Age(_) => self.ages(&closed),
            Keep::All | Keep::Size(_) => Vec::new(),
        };
        let count = too_many(&closed, in_progress, self.keep, &ages);
        let gone = closed[..count]
            .iter()
            .take_while(|closed| {
                self.hand_over(&closed.path) == Archived::Taken
                    && fs::remove_file(&closed.path).is_ok()
            })
            .count();
        let left = closed[gone..].iter().map(|closed| closed.bytes).sum();
        self.kept.store(left, Ordering::Relaxed);
    }

    /// For each closed segment, a lower bound of the seconds of music played since its end.
    fn ages(&mut self, closed: &[Closed]) -> Vec<f64> {
        let known = std::mem::take(&mut self.begins);
        let begins_of = |path: &Path| known.get(path).copied().unwrap_or_else(|| begin(path));
        self.begins = closed
            .iter()
            .map(|closed| (closed.path.clone(), begins_of(&closed.path)))
            .collect();
        // The segment in progress soon gets another name.
        let in_progress = begin(&self.paths.command_log());
        let begins: Vec<Option<Begin>> = closed
            .iter()
            .map(|closed| self.begins.get(&closed.path).copied().flatten())
            .chain([in_progress])
            .collect();
        ages(&begins)
    }

    /// Passes a segment to the archive, without waiting for it.
    fn hand_over(&mut self, path: &Path) -> Archived {
        let Some(command) = self.archive.clone() else {
            return Archived::Taken;
        };
        let (mut child, of) = match self.running.take() {
            Some(running) => running,
            None => match archive(&command, path) {
                Ok(child) => (child, path.to_owned()),
                Err(why) => return self.refused(&command, path, &why.to_string()),
            },
        };
        match child.try_wait() {
            Ok(None) => {
                self.running = Some((child, of));
                Archived::NotYet
            }
            // The segment was deleted meanwhile to free space.
            Ok(Some(_)) if of != path => self.hand_over(path),
            Ok(Some(status)) if status.success() => {
                *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
                Archived::Taken
            }
            Ok(Some(status)) if status.code() == Some(TIMED_OUT) => {
                let why = format!("it ran for more than {ARCHIVE_SECONDS} s");
                self.refused(&command, path, &why)
            }
            Ok(Some(status)) => self.refused(&command, path, &status.to_string()),
            Err(why) => self.refused(&command, path, &why.to_string()),
        }
    }

    fn refused(&self, command: &str, path: &Path, why: &str) -> Archived {
        let text = format!(
            "the archive's command `{command}` has failed for {} ({why}); the file is kept and tried again every {} s",
            path.display(),
            LOOK.as_secs()
        );
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.replace(text.clone()).is_none() {
            say::line("supervisor", &text);
        }
        Archived::Refused
    }
}

/// The exit code of `timeout` after the time limit.
const TIMED_OUT: i32 = 124;

/// Starts the archive's command for a segment, with a time limit: a hanging command, as on a lost network, would keep
/// all later segments from the archive.
fn archive(command: &str, path: &Path) -> io::Result<Child> {
    Command::new("timeout")
        .args(["-k", "5", ARCHIVE_SECONDS, "/bin/sh", "-c"])
        .args([&format!("{command} \"$1\""), "archive"])
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
}

fn begin(path: &Path) -> Option<Begin> {
    let (extent, format) = begins(path)?;
    let frames = extent.block.0 as f64 * f64::from(format.block_frames);
    Some(Begin {
        run: extent.run,
        seconds: frames / f64::from(format.rate_hz),
    })
}

/// For all segments in order except the last, which is the newest: the seconds of music from the segment's end to the
/// beginning of the newest. The length of the last segment of an older run is unknown and counts as zero.
fn ages(begins: &[Option<Begin>]) -> Vec<f64> {
    let length = |pair: &[Option<Begin>]| match pair {
        [Some(one), Some(next)] if one.run == next.run => next.seconds - one.seconds,
        _ => 0.0,
    };
    let mut after = 0.0;
    let newest_first = begins.windows(2).rev().map(|pair| {
        let age = after;
        after += length(pair);
        age
    });
    let mut ages: Vec<f64> = newest_first.collect();
    ages.reverse();
    ages
}

/// Rotates the text log: copies a long log to another file and truncates it, since its writers hold it open. A line
/// that is written in between is lost.
fn turn_over(log: &Path) -> io::Result<()> {
    if fs::metadata(log).map_or(0, |file| file.len()) <= TEXT_BYTES {
        return Ok(());
    }
    let older = |number: usize| log.with_extension(format!("{number}.log"));
    for number in (1..TEXT_FILES).rev() {
        // At first fewer files exist.
        let _ = fs::rename(older(number), older(number + 1));
    }
    fs::copy(log, older(1))?;
    File::options().write(true).open(log)?.set_len(0)
}

/// How many of the closed segments, oldest first, exceed the kept size or age; ages in seconds.
fn too_many(closed: &[Closed], in_progress: u64, keep: Keep, ages: &[f64]) -> usize {
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
            let old = ages.iter().take_while(|age| **age > most as f64);
            old.count()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_until_what_is_left_is_no_more_than_is_kept() {
        let closed: Vec<Closed> = (0..10)
            .map(|number| Closed {
                run: 1,
                number,
                path: format!("{number}").into(),
                bytes: 100,
            })
            .collect();
        // Five segments of a run, of which the last was cut off after some time; then six of another.
        let begin = |number: u64| {
            let run = 1 + number / 5;
            let seconds = 100.0 * (number % 5 + 1) as f64;
            Some(Begin { run, seconds })
        };
        let mut begins: Vec<_> = (0..10).map(begin).collect();
        begins.push(Some(Begin {
            run: 2,
            seconds: 600.0,
        }));
        let ages = ages(&begins);
        assert_eq!(
            ages,
            [
                800.0, 700.0, 600.0, 500.0, 500.0, 400.0, 300.0, 200.0, 100.0, 0.0
            ]
        );
        let count =
            |keep: &str, in_progress| too_many(&closed, in_progress, keep.parse().unwrap(), &ages);
        assert_eq!(count("all", 0), 0);
        assert_eq!(
            (count("1000B", 0), count("1000B", 1), count("450B", 50)),
            (0, 1, 6)
        );
        assert_eq!(count("0B", 5), 10);
        assert_eq!(
            (count("1h", 0), count("550s", 0), count("0s", 0)),
            (0, 3, 9)
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
            trouble: Arc::default(),
            begins: HashMap::new(),
            running: None,
        };
        let look = |keeping: &mut Keeping| loop {
            keeping.look();
            if keeping.running.is_none() {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        };
        look(&mut keeping);
        assert!(files.iter().all(|file| file.exists()));
        assert_eq!(keeping.kept.load(Ordering::Relaxed), 3);
        let trouble = || keeping.trouble.lock().unwrap().clone();
        assert!(trouble().unwrap().contains("`false` has failed"));
        // A hanging command does not block the thread.
        keeping.archive = Some("sleep 3 #".into());
        keeping.look();
        let (mut child, _) = keeping.running.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let archive = folder.path().join("archive");
        keeping.archive = Some(format!("cp -t {}", archive.display()));
        look(&mut keeping);
        assert_eq!(*keeping.trouble.lock().unwrap(), None);
        assert_eq!(fs::read_dir(archive).unwrap().count(), 2);
        assert!(files[2].exists() && !files[1].exists());
    }
}
