//! Plays into a WAV file of 32-bit floats: what was played, to the bit.
//!
//! The thread that plays never touches the file: a writer thread does, and brings the header up
//! to date several times a second, so that the file can be read at every moment.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use hound::{SampleFormat, WavSpec, WavWriter};
use platform::shared::Shared;
use rtrb::{Consumer, RingBuffer};

use super::{Sink, timed::Timed};

/// Seconds of sound that may wait for the disk.
const QUEUE_SECONDS: usize = 4;
/// How often the header is brought up to date.
const HEADER: Duration = Duration::from_millis(200);

type File = WavWriter<io::BufWriter<std::fs::File>>;

/// A WAV file.
pub struct Wav {
    timed: Timed,
    ended: Arc<AtomicBool>,
    writer: JoinHandle<()>,
    description: String,
}

impl Wav {
    /// Opens the file, continuing one that this instance has begun, and starts to play.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn open(shared: &Shared, path: &str) -> Result<Self> {
        let shape = shared.stage.shape();
        let spec = WavSpec {
            channels: shape.channels as u16,
            sample_rate: shape.rate_hz,
            bits_per_sample: 32,
            sample_format: SampleFormat::Float,
        };
        let continued = shared.stage.playing() && std::path::Path::new(path).exists();
        let file = if continued {
            WavWriter::append(path)
        } else {
            WavWriter::create(path, spec)
        };
        let file =
            file.with_context(|| format!("cannot write {path}; choose another --sink wav:PATH"))?;
        let room = shape.rate_hz as usize * shape.channels as usize * QUEUE_SECONDS;
        let (mut queue, samples) = RingBuffer::new(room);
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        let writer = thread::Builder::new()
            .name("write".into())
            .spawn(move || write(file, samples, &end))?;
        let timed = Timed::start(shared, move |block| {
            if queue.is_abandoned() {
                return true; // the writer has given up: the disk is full or gone
            }
            let Ok(chunk) = queue.write_chunk_uninit(block.len()) else {
                return false;
            };
            chunk.fill_from_iter(block.iter().copied());
            true
        })?;
        Ok(Self {
            timed,
            ended,
            writer,
            description: format!("wav:{path}"),
        })
    }
}

fn write(mut file: File, mut samples: Consumer<f32>, ended: &AtomicBool) {
    let mut last_header = Instant::now();
    loop {
        let ending = ended.load(Ordering::Acquire);
        if let Ok(chunk) = samples.read_chunk(samples.slots()) {
            for sample in chunk {
                if file.write_sample(sample).is_err() {
                    return;
                }
            }
        }
        if ending {
            let _ = file.finalize();
            return;
        }
        if last_header.elapsed() >= HEADER {
            let _ = file.flush();
            last_header = Instant::now();
        }
        thread::sleep(Duration::from_millis(5));
    }
}

impl Sink for Wav {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn finish(self: Box<Self>) {
        self.timed.stop();
        self.ended.store(true, Ordering::Release);
        let _ = self.writer.join();
    }
}
