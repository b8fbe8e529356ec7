//! What a stopped stack leaves: its recording and its logs.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use common::{
    command::{self, Event},
    command_log::{self, Record},
    stage::AudioFormat,
};
use engine::replay::Replay;
use platform::samples::Samples;
use tempfile::TempDir;

use crate::ear;

/// The WAV file into which a stack plays.
pub struct Recording {
    /// The file.
    pub wav: PathBuf,
    _folder: TempDir,
}

impl Recording {
    /// A recording that a stack will make in that folder.
    #[must_use]
    pub fn in_folder(folder: TempDir) -> Self {
        Self {
            wav: folder.path().join("out.wav"),
            _folder: folder,
        }
    }

    /// The left channel of a stereo recording, from that frame on.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn left_from(&self, frame: usize) -> Result<Vec<f32>> {
        let heard = ear::read_wav(&self.wav)?;
        Ok(heard.iter().step_by(2).copied().skip(frame).collect())
    }
}

/// The files of a stopped instance.
pub struct Remains {
    /// A copy of the newest segment of its command log.
    pub command_log: PathBuf,
    pub(super) _folder: TempDir,
}

impl Remains {
    /// The folder of the recorder's files.
    #[must_use]
    pub fn recordings(&self) -> PathBuf {
        self._folder.path().join("recordings")
    }

    /// Renders the command log again; calls `each` with each block.
    ///
    /// # Errors
    /// When the log cannot be rendered.
    pub fn replay(&self, mut each: impl FnMut(&[f32])) -> Result<AudioFormat> {
        platform::realtime::flush_denormals();
        let samples = Samples::beside(&self.command_log);
        let bytes = std::fs::read(&self.command_log)?;
        let mut replay = Replay::new(&bytes, Box::new(move |id| samples.find(id)))?;
        let format = replay.format();
        let mut block = vec![0.0; format.block_samples()];
        while replay.next(&mut block)? {
            each(&block);
        }
        Ok(format)
    }

    /// The values that were sent to `adsr.attack`, multiplied by 16, in the order of the log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn attacks(&self) -> Result<Vec<u32>> {
        let bytes = std::fs::read(&self.command_log)?;
        let attack = |record| match record {
            Record::Command {
                command:
                    command::Command::Event(Event::Param {
                        module: 1,
                        param: 0,
                        value,
                    }),
                ..
            } => Some((value * 16.0) as u32),
            _ => None,
        };
        Ok(command_log::records(&bytes)
            .filter_map(|(_, record)| attack(record))
            .collect())
    }

    /// Compares the recording with the replay: how many samples were compared, and how many of them
    /// differ.
    ///
    /// # Errors
    /// When the recording or the log cannot be read, or their lengths differ.
    pub fn compare(&self, wav: &Path) -> Result<(usize, usize)> {
        let mut reader = hound::WavReader::open(wav)?;
        let played = reader.len() as usize;
        let mut samples = reader.samples::<f32>();
        let (mut compared, mut differing) = (0, 0);
        let mut equal = None;
        self.replay(|block| {
            for rendered in block {
                match samples.next() {
                    Some(Ok(heard)) if heard.to_bits() == rendered.to_bits() => {}
                    _ => {
                        equal.get_or_insert(compared);
                        differing += 1;
                    }
                }
                compared += 1;
            }
        })?;
        if compared != played {
            let equal = equal.unwrap_or(compared.min(played));
            bail!(
                "{played} samples were played, the log renders {compared}; the first {equal} are equal"
            );
        }
        Ok((compared, differing))
    }
}
