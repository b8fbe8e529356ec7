//! The recording thread: copies the tape to the requested file, one recording after another.
//!
//! The file is written first, its progress on the tape second: a restarted recorder truncates a partial write and reads
//! the same part of the tape again. Overwritten parts of the tape become silence and are counted. A failed write is
//! retried; the music never waits for the file.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use common::{
    recording::file_name,
    stage::AudioFormat,
    tape::{Found, Order, Progress, Tape},
};
use platform::{say, service::Signs};

use crate::file::File;

/// The period of checking for a new order.
const IDLE: Duration = Duration::from_millis(20);
/// The period of reading the tape during a recording; without a clock the tape fills quickly.
const LOOK: Duration = Duration::from_millis(10);
const LOOK_FREEWHEEL: Duration = Duration::from_millis(1);
/// The period of updates of the file's header.
const HEAD: Duration = Duration::from_millis(200);
/// The period of attempts after a failed write.
const AGAIN: Duration = Duration::from_millis(500);
/// The limit of samples per write beyond a unit of the format.
const BATCH: usize = 1 << 16;

/// The tape and the folder of recordings.
pub struct RecordingThread {
    tape: Tape<'static>,
    audio_format: AudioFormat,
    folder: PathBuf,
}

impl RecordingThread {
    /// Records from a tape to files in a folder.
    pub const fn new(tape: Tape<'static>, audio_format: AudioFormat, folder: PathBuf) -> Self {
        Self {
            tape,
            audio_format,
            folder,
        }
    }

    /// Executes the orders on the tape, forever.
    pub fn run(&self, signs: &Signs) {
        loop {
            signs.act();
            match self.tape.order().filter(|_| self.tape.recording()) {
                Some(order) => self.record(order, signs),
                None => thread::sleep(IDLE),
            }
        }
    }

    /// Starts or continues a recording, and completes it.
    fn record(&self, order: Order, signs: &Signs) {
        let Some(mut take) = Take::open(self, &order) else {
            return;
        };
        let look = match self.audio_format.freewheel {
            true => LOOK_FREEWHEEL,
            false => LOOK,
        };
        loop {
            signs.act();
            match take.step() {
                Stepped::More => {}
                Stepped::Waits => thread::sleep(look),
                Stepped::Failed => thread::sleep(AGAIN),
                Stepped::Over => return,
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stepped {
    /// More samples are available at once.
    More,
    /// All played samples are written.
    Waits,
    /// The write has failed.
    Failed,
    /// The recording has ended.
    Over,
}

/// A running recording.
struct Take {
    tape: Tape<'static>,
    audio_format: AudioFormat,
    number: u64,
    from: u64,
    path: PathBuf,
    file: File,
    /// The next place on the tape, and the number of its samples that are already in the file.
    next: u64,
    skip: usize,
    block: Vec<f32>,
    /// The samples that are read but not written.
    pending: Vec<f32>,
    missing: u64,
    head_at: Instant,
    failing: bool,
}

impl Take {
    /// Starts or continues a recording. On failure reports the error and ends the recording.
    fn open(recording: &RecordingThread, order: &Order) -> Option<Self> {
        let tape = recording.tape;
        let path = recording.folder.join(&order.name);
        let resumes = tape.begun() == order.take;
        let opened = match resumes {
            true => Self::over(recording, order, &path, Some(tape.progress())),
            false => Self::over(recording, order, &path, None),
        };
        let take = match opened {
            Ok(take) => take,
            Err(why) => {
                let what = if resumes {
                    "be continued"
                } else {
                    "be written"
                };
                tell(&tape, &format!("{} cannot {what}: {why}", path.display()));
                tape.set_ended(order.take);
                tape.set_begun(order.take);
                return None;
            }
        };
        tape.set_trouble("");
        take.tell_progress();
        tape.set_begun(order.take);
        let frames = take.file.written().1;
        let text = match resumes {
            true => format!("continues {} after {frames} frames", path.display()),
            false => format!("records to {}", path.display()),
        };
        say::line("recorder", &text);
        Some(take)
    }

    fn over(
        recording: &RecordingThread,
        order: &Order,
        path: &Path,
        progress: Option<Progress>,
    ) -> io::Result<Self> {
        let audio_format = recording.audio_format;
        let (_, format) =
            file_name(&order.name, audio_format.channels).map_err(io::Error::other)?;
        let file = match &progress {
            Some(progress) => File::resume(path, format, &audio_format, progress)?,
            None => File::create(path, format, &audio_format)?,
        };
        let Progress {
            frames, missing, ..
        } = progress.unwrap_or_default();
        let block_frames = u64::from(audio_format.block_frames);
        Ok(Self {
            tape: recording.tape,
            audio_format,
            number: order.take,
            from: order.from,
            path: path.into(),
            file,
            next: order.from + frames / block_frames,
            skip: (frames % block_frames) as usize * audio_format.channels as usize,
            block: vec![0.0; audio_format.block_samples()],
            pending: Vec::new(),
            missing,
            head_at: Instant::now(),
            failing: false,
        })
    }

    fn step(&mut self) -> Stepped {
        let to = self.tape.order().and_then(|order| order.to);
        let end = self.tape.position().min(to.unwrap_or(u64::MAX));
        self.read(end);
        let last = to.is_some_and(|to| self.next >= to);
        match self.write(last) {
            Ok(()) => self.failed(None),
            Err(why) => {
                self.failed(Some(why));
                if to.is_none() {
                    return Stepped::Failed;
                }
                // The order has ended, so do not wait for free space.
                return self.end();
            }
        }
        match self.next < end {
            true => Stepped::More,
            false if last => self.end(),
            false => Stepped::Waits,
        }
    }

    /// Reads from the tape up to `end`, as far as the buffer has room.
    fn read(&mut self, end: u64) {
        while self.next < end && self.pending.len() < BATCH.max(self.file.unit()) {
            match self.tape.read(self.next, &mut self.block) {
                Found::Played => {}
                Found::NotYet => return,
                Found::Gone => {
                    self.block.fill(0.0);
                    self.missing += u64::from(self.audio_format.block_frames);
                }
            }
            self.pending.extend_from_slice(&self.block[self.skip..]);
            self.skip = 0;
            self.next += 1;
        }
    }

    fn write(&mut self, last: bool) -> io::Result<()> {
        if !self.pending.is_empty() {
            let taken = self.file.append(&self.pending, last)?;
            self.pending.drain(..taken);
            self.tell_progress();
        }
        if last || self.head_at.elapsed() >= HEAD {
            self.head_at = Instant::now();
            self.file.update_head(last)?;
        }
        Ok(())
    }

    fn tell_progress(&self) {
        let (bytes, frames) = self.file.written();
        self.tape.set_progress(Progress {
            bytes,
            frames,
            missing: self.missing,
            needed: self.from + frames / u64::from(self.audio_format.block_frames),
        });
    }

    /// Reports a failed write once, and the recovery once.
    fn failed(&mut self, why: Option<io::Error>) {
        match why {
            Some(why) if !self.failing => {
                let path = self.path.display();
                tell(
                    &self.tape,
                    &format!("{path} cannot be written: {why}; free space on the disk"),
                );
            }
            None if self.failing => {
                let text = format!("{} is writable again", self.path.display());
                say::line("recorder", &text);
                self.tape.set_trouble("");
            }
            _ => return,
        }
        self.failing = !self.failing;
    }

    fn end(&mut self) -> Stepped {
        let _ = self.file.update_head(true);
        let (_, frames) = self.file.written();
        self.tape.set_ended(self.number);
        let text = format!(
            "{} is complete: {self}, {frames} frames",
            self.path.display()
        );
        say::line("recorder", &text);
        Stepped::Over
    }
}

impl fmt::Display for Take {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.failing, self.missing) {
            (true, _) => f.write_str("the end is missing"),
            (false, 0) => f.write_str("nothing is missing"),
            (false, missing) => write!(f, "{missing} frames are missing and replaced by silence"),
        }
    }
}

/// Reports an error in the status and in the log.
fn tell(tape: &Tape<'_>, text: &str) {
    tape.set_trouble(text);
    say::line("recorder", text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{sync::heap, tape::tape_words, units::BlockIndex};

    const FORMAT: AudioFormat = AudioFormat {
        rate_hz: 48_000,
        block_frames: 16,
        channels: 2,
        lead_blocks: 4,
        freewheel: false,
    };
    const CELLS: usize = 2_048;

    fn recording(folder: &Path) -> RecordingThread {
        let words = heap(tape_words(FORMAT.block_samples(), CELLS)).leak();
        let tape = Tape::create(words, FORMAT.block_samples(), CELLS).unwrap();
        RecordingThread::new(tape, FORMAT, folder.into())
    }

    /// Plays a number of blocks, each with another ramp.
    fn play(tape: &Tape<'_>, blocks: u64) {
        for _ in 0..blocks {
            let place = tape.position();
            tape.append(&block(place), BlockIndex(place + 1));
        }
    }

    fn block(place: u64) -> Vec<f32> {
        let samples = FORMAT.block_samples();
        let sample = |n| (place as usize * samples + n) as f32 / (1 << 23) as f32;
        (0..samples).map(sample).collect()
    }

    fn expected(places: std::ops::Range<u64>) -> Vec<f32> {
        places.flat_map(block).collect()
    }

    fn wav(path: &Path) -> Vec<f32> {
        let reader = hound::WavReader::open(path).unwrap();
        reader.into_samples().map(Result::unwrap).collect()
    }

    fn flac(path: &Path) -> Vec<f32> {
        let samples = crate::flac_file::decoded(path).into_iter();
        samples
            .map(|sample| sample as f32 / (1 << 23) as f32)
            .collect()
    }

    fn killed_again_and_again(name: &str, read: fn(&Path) -> Vec<f32>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let recording = recording(folder.path());
        let tape = recording.tape;
        play(&tape, 5);
        tape.begin(name, None);
        for blocks in [0, 1, 300, 0, 700, 13, 999, 2] {
            play(&tape, blocks);
            let order = tape.order().unwrap();
            let mut take = Take::open(&recording, &order).unwrap();
            while take.step() == Stepped::More {}
            // Killed in the middle of the next write.
            let mut file = std::fs::OpenOptions::new()
                .append(true)
                .open(&path)
                .unwrap();
            io::Write::write_all(&mut file, &[0xff, 0xf8, 1, 2, 3]).unwrap();
        }
        play(&tape, 100);
        tape.end(None);
        play(&tape, 1);
        let mut take = Take::open(&recording, &tape.order().unwrap()).unwrap();
        while take.step() != Stepped::Over {}
        assert!(!tape.recording());
        assert_eq!((tape.progress().missing, tape.trouble()), (0, None));
        assert_eq!(read(&path), expected(5..2_120));
    }

    #[test]
    fn a_recorder_that_is_killed_goes_on_with_the_very_next_frame() {
        killed_again_and_again("a.wav", wav);
        killed_again_and_again("a.flac", flac);
    }

    #[test]
    fn what_the_tape_does_not_hold_any_more_is_silence_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let recording = recording(folder.path());
        let tape = recording.tape;
        tape.begin("a.wav", None);
        play(&tape, CELLS as u64 + 10);
        tape.end(None);
        let mut take = Take::open(&recording, &tape.order().unwrap()).unwrap();
        while take.step() != Stepped::Over {}
        assert_eq!(tape.progress().missing, 10 * 16);
        let heard = wav(&folder.path().join("a.wav"));
        assert!(heard[..320].iter().all(|sample| *sample == 0.0));
        assert_eq!(heard[320..], expected(10..CELLS as u64 + 10));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_once_and_ends_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let recording = recording(&folder.path().join("nowhere"));
        let tape = recording.tape;
        tape.begin("a.wav", None);
        assert!(Take::open(&recording, &tape.order().unwrap()).is_none());
        assert_eq!((tape.begun(), tape.ended()), (1, 1));
        assert!(tape.trouble().unwrap().contains("a.wav cannot be written"));
        // A disk that is full from the start.
        std::fs::create_dir(folder.path().join("nowhere")).unwrap();
        let full = folder.path().join("nowhere/b.wav");
        std::os::unix::fs::symlink("/dev/full", full).unwrap();
        tape.begin("b.wav", None);
        assert!(Take::open(&recording, &tape.order().unwrap()).is_none());
        assert!(tape.trouble().unwrap().contains("No space left"));
        tape.begin("c.wav", None);
        assert!(Take::open(&recording, &tape.order().unwrap()).is_some());
        assert_eq!(tape.trouble(), None);
    }
}
