//! The file of a recording, in either format: takes samples, writes whole frames, and continues after a kill behind the
//! last byte that is known to be valid.

use std::{io, path::Path};

use common::{recording::Format, stage::AudioFormat, tape::Progress};
use platform::wav_file::WavFile;

use crate::flac_file::FlacFile;

/// A file of a running recording.
pub enum File {
    /// 32-bit floats.
    Wav(WavFile),
    /// 24 bits.
    Flac(Box<FlacFile>),
}

impl File {
    /// Creates a new file; replaces an existing one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(path: &Path, format: Format, audio_format: &AudioFormat) -> io::Result<Self> {
        Ok(match format {
            Format::Wav => Self::Wav(WavFile::create(path, audio_format)?),
            Format::Flac => Self::Flac(Box::new(FlacFile::create(path, audio_format)?)),
        })
    }

    /// Continues a file at its progress; truncates everything behind.
    ///
    /// # Errors
    /// If the file cannot be written, is shorter, or has another audio_format.
    pub fn resume(
        path: &Path,
        format: Format,
        audio_format: &AudioFormat,
        progress: &Progress,
    ) -> io::Result<Self> {
        Ok(match format {
            Format::Wav => Self::Wav(WavFile::resume(path, audio_format, progress.frames)?),
            Format::Flac => {
                let Progress { bytes, frames, .. } = *progress;
                Self::Flac(Box::new(FlacFile::resume(
                    path,
                    audio_format,
                    bytes,
                    frames,
                )?))
            }
        })
    }

    /// Writes whole frames; returns the number of written samples, without those that do not fill a unit of the format.
    /// With `last`, writes all samples.
    ///
    /// # Errors
    /// If the disk is full or fails; the file then ends as before.
    pub fn append(&mut self, samples: &[f32], last: bool) -> io::Result<usize> {
        match self {
            Self::Wav(wav) => wav.append(samples).map(|()| samples.len()),
            Self::Flac(flac) => flac.append(samples, last),
        }
    }

    /// The least number of samples that [`Self::append`] writes at once.
    pub fn unit(&self) -> usize {
        match self {
            Self::Wav(_) => 1,
            Self::Flac(flac) => flac.unit(),
        }
    }

    /// The valid bytes and frames.
    pub fn written(&self) -> (u64, u64) {
        match self {
            Self::Wav(wav) => (wav.bytes(), wav.frames()),
            Self::Flac(flac) => flac.written(),
        }
    }

    /// Updates the header; `last` means that no samples follow.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn update_head(&self, last: bool) -> io::Result<()> {
        match self {
            Self::Wav(wav) => wav.update_sizes(),
            // Until the end, an unknown length is valid.
            Self::Flac(flac) if last => flac.update_total(),
            Self::Flac(_) => Ok(()),
        }
    }
}
