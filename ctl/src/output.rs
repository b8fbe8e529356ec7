//! Standard output: lines and JSON, quiet when the reader has gone; and WAV files.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use hound::{SampleFormat, WavSpec, WavWriter};
use serde_json::Value;

use crate::failure::Failure;

/// Writes as it is; ends the program in silence when nobody reads any more.
pub(crate) fn raw(text: &str) {
    let mut out = io::stdout().lock();
    if out
        .write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_err()
    {
        std::process::exit(0);
    }
}

/// Writes a line.
pub(crate) fn line(text: &str) {
    raw(&format!("{text}\n"));
}

/// Writes a line for a person to standard error, where it is in nobody's way.
pub(crate) fn warning(text: &str) {
    let _ = writeln!(io::stderr(), "warning: {text}");
}

/// Writes a JSON value.
pub(crate) fn value(value: &Value) {
    raw(&format!("{value:#}\n"));
}

/// How many times as fast as real time so many frames have been made since then.
pub(crate) fn pace(frames: u64, rate_hz: u32, begun: Instant) -> f64 {
    let seconds = frames as f64 / f64::from(rate_hz);
    let pace = seconds / begun.elapsed().as_secs_f64().max(1e-9);
    (10.0 * pace).round() / 10.0
}

/// A WAV file of 32-bit floats in the making.
pub(crate) struct Wav {
    writer: WavWriter<BufWriter<File>>,
    path: PathBuf,
    failed: Option<hound::Error>,
}

impl Wav {
    /// Begins a file.
    pub(crate) fn create(path: &Path, rate_hz: u32, channels: u32) -> Result<Self, Failure> {
        let spec = WavSpec {
            channels: channels as u16,
            sample_rate: rate_hz,
            bits_per_sample: 32,
            sample_format: SampleFormat::Float,
        };
        let writer = WavWriter::create(path, spec).map_err(|e| cannot_write(path, &e))?;
        Ok(Self {
            writer,
            path: path.into(),
            failed: None,
        })
    }

    /// Adds interleaved samples; what goes wrong is told by [`Wav::finish`].
    pub(crate) fn add(&mut self, samples: &[f32]) {
        for sample in samples {
            if self.failed.is_none() {
                self.failed = self.writer.write_sample(*sample).err();
            }
        }
    }

    /// Completes the file.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let done = match self.failed {
            Some(error) => Err(error),
            None => self.writer.finalize(),
        };
        done.map_err(|e| cannot_write(&self.path, &e))
    }
}

fn cannot_write(path: &Path, error: &hound::Error) -> Failure {
    Failure::no(format!("cannot write {}: {error}", path.display()))
}

/// Reads a text file.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|e| Failure::no(format!("cannot read {}: {e}", path.display())))
}
