//! A recording's file, of either format: samples are put in, whole frames come out, and whoever comes after
//! a kill goes on behind the last byte that is known to be right.

use std::{io, path::Path};

use common::{recording::Format, stage::Shape, tape::Progress};
use platform::wav_file::WavFile;

use crate::flac_file::FlacFile;

/// A file that is being recorded into.
pub enum File {
    /// Floats.
    Wav(WavFile),
    /// 24 bits.
    Flac(Box<FlacFile>),
}

impl File {
    /// A new file; what was there before is gone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path, format: Format, shape: &Shape) -> io::Result<Self> {
        Ok(match format {
            Format::Wav => Self::Wav(WavFile::create(path, shape)?),
            Format::Flac => Self::Flac(Box::new(FlacFile::create(path, shape)?)),
        })
    }

    /// Goes on with a file; what stands behind that progress is cut off.
    ///
    /// # Errors
    /// When it cannot be written, or is shorter, or of another shape.
    pub fn resume(
        path: &Path,
        format: Format,
        shape: &Shape,
        progress: &Progress,
    ) -> io::Result<Self> {
        Ok(match format {
            Format::Wav => Self::Wav(WavFile::resume(path, shape, progress.frames)?),
            Format::Flac => {
                let Progress { bytes, frames, .. } = *progress;
                Self::Flac(Box::new(FlacFile::resume(path, shape, bytes, frames)?))
            }
        })
    }

    /// Writes whole frames; returns how many samples it took, all but what does not fill a unit of the
    /// format. With `last`, it takes them all.
    ///
    /// # Errors
    /// When the disk is full or fails; then the file ends with what was written before.
    pub fn append(&mut self, samples: &[f32], last: bool) -> io::Result<usize> {
        match self {
            Self::Wav(wav) => wav.append(samples).map(|()| samples.len()),
            Self::Flac(flac) => flac.append(samples, last),
        }
    }

    /// Samples that [`Self::append`] takes at once, at the least.
    pub fn unit(&self) -> usize {
        match self {
            Self::Wav(_) => 1,
            Self::Flac(flac) => flac.unit(),
        }
    }

    /// Bytes and frames that are right.
    pub fn written(&self) -> (u64, u64) {
        match self {
            Self::Wav(wav) => (wav.bytes(), wav.frames()),
            Self::Flac(flac) => flac.written(),
        }
    }

    /// Brings the head up to date; `last` says that nothing follows.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn update_head(&self, last: bool) -> io::Result<()> {
        match self {
            Self::Wav(wav) => wav.update_sizes(),
            // Until the end, a length that is not known is right.
            Self::Flac(flac) if last => flac.update_total(),
            Self::Flac(_) => Ok(()),
        }
    }
}
