//! Plays to a WAV file of 32-bit floats, bit-exact across all kills.
//!
//! The playback thread never touches the file: a writer thread copies the blocks on the tape, which the recorder copies
//! too, so that both files agree. The writer publishes its progress on the stage, where a restarted audio-out
//! continues.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use common::{
    limits::RING_CELLS,
    stage::Written,
    tape::{Found, Tape},
};
use platform::{say, shared::Shared, wav_file::WavFile};

use super::{Sink, timed::Timed};
use crate::faults::{self, Point};

/// The number of blocks per write.
const AT_ONCE: usize = 64;
/// The limit of unwritten blocks without a clock, far below the size of the tape: a wait is then inaudible.
const BEHIND_FREEWHEEL: u64 = RING_CELLS / 4;
/// The period of updates of the header.
const HEADER: Duration = Duration::from_millis(200);
/// The period of attempts on a full disk.
const AGAIN: Duration = Duration::from_millis(500);

/// A WAV file.
pub struct Wav {
    timed: Timed,
    ended: Arc<AtomicBool>,
    writer: JoinHandle<()>,
    path: String,
    /// The current write error, if any.
    trouble: Arc<Mutex<Option<String>>>,
    told: Option<String>,
}

impl Wav {
    /// Opens the file, or continues the file of this instance, and starts playback.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn open(shared: &Shared, tape: Tape<'static>, path: &str) -> Result<Self> {
        let (file, place) = begin(shared, &tape, Path::new(path))
            .with_context(|| format!("cannot write {path}; choose another --sink wav:PATH"))?;
        let (ended, trouble) = (Arc::default(), Arc::default());
        let writer = Writer {
            shared: *shared,
            tape,
            place,
            file,
            ended: Arc::clone(&ended),
            trouble: Arc::clone(&trouble),
        };
        let writer = thread::Builder::new()
            .name("write".into())
            .spawn(move || writer.run())?;
        let stage = shared.stage;
        let has_room = move || {
            let written = stage.written().map_or(0, |written| written.place);
            tape.position() < written + BEHIND_FREEWHEEL
        };
        let timed = Timed::start(shared, tape, has_room)?;
        Ok(Self {
            timed,
            ended,
            writer,
            path: path.into(),
            trouble,
            told: None,
        })
    }
}

/// Opens the file and finds its next place on the tape, after the blocks that an earlier audio-out of this instance has
/// written.
fn begin(shared: &Shared, tape: &Tape<'_>, path: &Path) -> io::Result<(WavFile, u64)> {
    let stage = &shared.stage;
    let format = stage.format();
    let resumed = stage.written().map(|written| {
        let file = WavFile::resume(path, &format, written.frames);
        file.map(|file| (file, written.place))
    });
    let (file, place) = match resumed {
        Some(Ok(resumed)) => resumed,
        Some(Err(why)) => {
            let text = format!(
                "{} cannot be continued ({why}); the file is started anew",
                path.display()
            );
            say::line("audio-out", &text);
            (WavFile::create(path, &format)?, tape.position())
        }
        None => (WavFile::create(path, &format)?, tape.position()),
    };
    let frames = file.frames();
    stage.set_written(Written { place, frames });
    Ok((file, place))
}

struct Writer {
    shared: Shared,
    tape: Tape<'static>,
    /// The next place on the tape.
    place: u64,
    file: WavFile,
    ended: Arc<AtomicBool>,
    trouble: Arc<Mutex<Option<String>>>,
}

impl Writer {
    fn run(mut self) {
        let mut last_header = Instant::now();
        let mut block = vec![0.0; self.shared.stage.format().block_samples()];
        let mut waiting: Vec<f32> = Vec::new();
        loop {
            let ending = self.ended.load(Ordering::Acquire);
            while self.gather(&mut block, &mut waiting) {
                self.write(&waiting);
            }
            if ending || last_header.elapsed() >= HEADER {
                let _ = self.file.update_sizes();
                last_header = Instant::now();
            }
            if ending {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Reads a part of the new blocks from the tape; false if there is none. Blocks that the tape has overwritten while
    /// the disk was full become silence.
    fn gather(&mut self, block: &mut [f32], into: &mut Vec<f32>) -> bool {
        into.clear();
        for _ in 0..AT_ONCE {
            match self.tape.read(self.place, block) {
                Found::NotYet => break,
                Found::Played => into.extend_from_slice(block),
                Found::Gone => into.extend(block.iter().map(|_| 0.0)),
            }
            self.place += 1;
        }
        !into.is_empty()
    }

    /// Writes samples; retries until the write succeeds, except at the end of playback.
    fn write(&mut self, samples: &[f32]) {
        while let Err(why) = self.file.append(samples) {
            self.set_trouble(Some(why.to_string()));
            if self.ended.load(Ordering::Acquire) {
                return;
            }
            thread::sleep(AGAIN);
        }
        self.set_trouble(None);
        faults::pass(Point::Written);
        let (place, frames) = (self.place, self.file.frames());
        self.shared.stage.set_written(Written { place, frames });
        faults::pass(Point::Noted);
    }

    fn set_trouble(&self, trouble: Option<String>) {
        if let Ok(mut place) = self.trouble.lock() {
            *place = trouble;
        }
    }
}

impl Sink for Wav {
    fn describe(&self) -> String {
        match &self.told {
            Some(why) => format!("wav:{} (cannot be written: {why})", self.path),
            None => format!("wav:{}", self.path),
        }
    }

    fn plays(&self) -> bool {
        self.told.is_none()
    }

    fn look_after(&mut self) -> Option<String> {
        let now = self.trouble.lock().ok()?.clone();
        if now == self.told {
            return None;
        }
        self.told.clone_from(&now);
        Some(match now {
            Some(why) => format!(
                "{} cannot be written: {why}; free space on the disk",
                self.path
            ),
            None => format!("{} is writable again", self.path),
        })
    }

    fn finish(self: Box<Self>) {
        self.timed.stop();
        self.ended.store(true, Ordering::Release);
        let _ = self.writer.join();
    }
}
