//! Plays into a WAV file of 32-bit floats: what was played, to the bit, whoever is killed.
//!
//! The thread that plays never touches the file: a writer thread does. It says on the stage how far
//! the file has come; an audio-out that is started anew takes the blocks that were played but not
//! written from the rings, where they still are, and goes on with the very next one.

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
use common::{limits::RING_CELLS, stage::Written, tape::Tape, units::BlockIndex};
use platform::{say, shared::Shared, wav_file::WavFile};
use rtrb::{Consumer, Producer, RingBuffer};

use super::{Sink, timed::Timed};
use crate::played;

/// Seconds of sound that may wait for the disk.
const QUEUE_SECONDS: u32 = 4;
/// Without a clock nobody hears it wait: no more than the rings still hold.
const QUEUE_BLOCKS_FREEWHEEL: usize = RING_CELLS as usize / 4;
/// How often the header is brought up to date.
const HEADER: Duration = Duration::from_millis(200);
/// How often it is tried again when the disk is full.
const AGAIN: Duration = Duration::from_millis(500);

/// A WAV file.
pub struct Wav {
    timed: Timed,
    ended: Arc<AtomicBool>,
    writer: JoinHandle<()>,
    path: String,
    /// Why nothing can be written, while that is so.
    trouble: Arc<Mutex<Option<String>>>,
    told: Option<String>,
}

impl Wav {
    /// Opens the file, continuing one that this instance has begun, and starts to play.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn open(shared: &Shared, tape: Tape<'static>, path: &str) -> Result<Self> {
        let shape = shared.stage.shape();
        let file = begin(shared, Path::new(path))
            .with_context(|| format!("cannot write {path}; choose another --sink wav:PATH"))?;
        let blocks = match shape.freewheel {
            true => QUEUE_BLOCKS_FREEWHEEL,
            false => (shape.rate_hz * QUEUE_SECONDS / shape.block_frames) as usize,
        };
        let (samples, to_write) = RingBuffer::new(blocks * shape.block_samples());
        let (marks, marked) = RingBuffer::new(blocks);
        let (ended, trouble) = (Arc::default(), Arc::default());
        let writer = Writer {
            shared: *shared,
            file,
            samples: to_write,
            marks: marked,
            ended: Arc::clone(&ended),
            trouble: Arc::clone(&trouble),
        };
        let writer = thread::Builder::new()
            .name("write".into())
            .spawn(move || writer.run())?;
        let mut queue = Queue { samples, marks };
        let timed = Timed::start(shared, tape, move |block, next| queue.put(block, next))?;
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

/// Opens the file; if this instance has begun it, with all that was played so far.
fn begin(shared: &Shared, path: &Path) -> io::Result<WavFile> {
    let stage = &shared.stage;
    let shape = stage.shape();
    let resumed = stage.written().map(|written| {
        let file = WavFile::resume(path, &shape, written.frames);
        file.map(|file| (file, written.block))
    });
    let (mut file, block) = match resumed {
        Some(Ok(resumed)) => resumed,
        Some(Err(why)) => {
            let text = format!(
                "{} cannot be continued ({why}); it begins anew",
                path.display()
            );
            say::line("audio-out", &text);
            (WavFile::create(path, &shape)?, stage.cursor())
        }
        None => (WavFile::create(path, &shape)?, stage.cursor()),
    };
    played::since(shared, block, |samples, _| file.append(samples))?;
    file.update_sizes()?;
    let frames = file.frames();
    let block = stage.cursor();
    stage.set_written(Written { block, frames });
    Ok(file)
}

/// The playing thread's end: samples, and which block comes after them.
struct Queue {
    samples: Producer<f32>,
    marks: Producer<BlockIndex>,
}

impl Queue {
    /// Whether there was room; if not, nothing has changed.
    ///
    /// # Real-time
    /// Yes.
    fn put(&mut self, block: &[f32], next: BlockIndex) -> bool {
        if self.marks.is_full() {
            return false;
        }
        let Ok(chunk) = self.samples.write_chunk_uninit(block.len()) else {
            return false;
        };
        chunk.fill_from_iter(block.iter().copied());
        self.marks.push(next).is_ok()
    }
}

struct Writer {
    shared: Shared,
    file: WavFile,
    samples: Consumer<f32>,
    marks: Consumer<BlockIndex>,
    ended: Arc<AtomicBool>,
    trouble: Arc<Mutex<Option<String>>>,
}

impl Writer {
    fn run(mut self) {
        let mut last_header = Instant::now();
        let block_samples = self.shared.stage.shape().block_samples();
        let mut waiting: Vec<f32> = Vec::new();
        loop {
            let ending = self.ended.load(Ordering::Acquire);
            let mut next = None;
            waiting.clear();
            while let Ok(mark) = self.marks.pop() {
                if let Ok(chunk) = self.samples.read_chunk(block_samples) {
                    waiting.extend(chunk);
                }
                next = Some(mark);
            }
            if let Some(block) = next {
                self.write(&waiting, block);
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

    /// Writes, however long it takes; what does not fit into the queue meanwhile is lost.
    fn write(&mut self, samples: &[f32], block: BlockIndex) {
        while let Err(why) = self.file.append(samples) {
            self.set_trouble(Some(why.to_string()));
            if self.ended.load(Ordering::Acquire) {
                return;
            }
            thread::sleep(AGAIN);
        }
        self.set_trouble(None);
        let frames = self.file.frames();
        self.shared.stage.set_written(Written { block, frames });
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
            Some(why) => format!("{} cannot be written: {why}; make room", self.path),
            None => format!("{} can be written again", self.path),
        })
    }

    fn finish(self: Box<Self>) {
        self.timed.stop();
        self.ended.store(true, Ordering::Release);
        let _ = self.writer.join();
    }
}
