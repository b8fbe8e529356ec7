//! A WAV file of 32-bit floats that is valid at any time, even after a SIGKILL, and has no size limit.
//!
//! Samples are appended first and the header's sizes are updated afterwards, so the sizes never exceed
//! the file's content. The writer keeps the number of complete frames elsewhere. After its death, its
//! successor cuts the file after these frames and continues there. `hound` is not used since it writes
//! its header at the end only, and can neither cut nor continue a file. The header reserves room for
//! sizes beyond 4 GiB; once these are needed, it becomes an RF64 header (EBU Tech 3306).

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use common::stage::AudioFormat;

/// Bytes before the first sample.
const HEADER_BYTES: u64 = 80;
/// The part of the header that does not depend on the sizes: the format, and the tag of the samples.
const FIXED: std::ops::Range<usize> = 48..76;
/// The format tag of 32-bit floats.
const FLOAT: u16 = 3;

/// A WAV file that is being written.
pub struct WavFile {
    file: File,
    format: AudioFormat,
    frame_bytes: u64,
    frames: u64,
    buffer: Vec<u8>,
}

impl WavFile {
    /// Creates a file, readable by its owner only; an existing file is overwritten.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(path: &Path, format: &AudioFormat) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        let frame_bytes = 4 * u64::from(format.channels);
        file.write_all(&header(format, 0))?;
        Ok(Self {
            file,
            format: *format,
            frame_bytes,
            frames: 0,
            buffer: Vec::new(),
        })
    }

    /// Continues a file of the same format after `frames` frames; cuts off everything beyond them.
    ///
    /// # Errors
    /// When the file cannot be written, is shorter, or has another format.
    pub fn resume(path: &Path, format: &AudioFormat, frames: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let frame_bytes = 4 * u64::from(format.channels);
        let mut found = [0; HEADER_BYTES as usize];
        file.read_exact(&mut found)?;
        if found[8..12] != *b"WAVE" || found[FIXED] != header(format, 0)[FIXED] {
            return Err(io::Error::other(
                "the file has another sample rate or number of channels",
            ));
        }
        let bytes = HEADER_BYTES + frames * frame_bytes;
        if file.metadata()?.len() < bytes {
            return Err(io::Error::other("the file is shorter than its progress"));
        }
        let mut resumed = Self {
            file,
            format: *format,
            frame_bytes,
            frames,
            buffer: Vec::new(),
        };
        // Sizes first: they must never exceed the content.
        resumed.update_sizes()?;
        resumed.file.set_len(bytes)?;
        resumed.file.seek(SeekFrom::Start(bytes))?;
        Ok(resumed)
    }

    /// The number of frames in the file.
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// The number of bytes up to the last whole frame.
    pub const fn bytes(&self) -> u64 {
        HEADER_BYTES + self.frames * self.frame_bytes
    }

    /// Appends whole frames, interleaved.
    ///
    /// # Errors
    /// When the disk is full or fails; the file then ends with the frames written before.
    pub fn append(&mut self, samples: &[f32]) -> io::Result<()> {
        self.buffer.clear();
        self.buffer
            .extend(samples.iter().flat_map(|s| s.to_le_bytes()));
        if let Err(why) = self.file.write_all(&self.buffer) {
            self.file.set_len(self.bytes())?;
            self.file.seek(SeekFrom::Start(self.bytes()))?;
            return Err(why);
        }
        self.frames += self.buffer.len() as u64 / self.frame_bytes;
        Ok(())
    }

    /// Updates the sizes in the header by one write within a page, so no reader finds half of it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn update_sizes(&self) -> io::Result<()> {
        let data = self.frames * self.frame_bytes;
        self.file.write_all_at(&header(&self.format, data), 0)
    }
}

/// The header of a file with `data` bytes of samples: RIFF with reserved room, or RF64; then `fmt ` for
/// 32-bit floats; then `data`.
fn header(format: &AudioFormat, data: u64) -> Vec<u8> {
    let channels = format.channels as u16;
    let riff = data + HEADER_BYTES - 8;
    let (tag, room): (&[u8; 4], &[u8; 4]) = match u32::try_from(riff) {
        Ok(_) => (b"RIFF", b"JUNK"),
        Err(_) => (b"RF64", b"ds64"),
    };
    let size = |bytes: u64| match tag {
        b"RIFF" => (bytes as u32).to_le_bytes(),
        _ => u32::MAX.to_le_bytes(),
    };
    let mut bytes = Vec::with_capacity(HEADER_BYTES as usize);
    bytes.extend(tag);
    bytes.extend(size(riff));
    bytes.extend(b"WAVE");
    bytes.extend(room);
    bytes.extend(28_u32.to_le_bytes());
    bytes.extend(riff.to_le_bytes());
    bytes.extend(data.to_le_bytes());
    bytes.extend((data / (4 * u64::from(format.channels))).to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(b"fmt ");
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend(FLOAT.to_le_bytes());
    bytes.extend(channels.to_le_bytes());
    bytes.extend(format.rate_hz.to_le_bytes());
    bytes.extend((format.rate_hz * 4 * format.channels).to_le_bytes());
    bytes.extend((4 * channels).to_le_bytes());
    bytes.extend(32_u16.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend(size(data));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: AudioFormat = AudioFormat {
        rate_hz: 48_000,
        block_frames: 64,
        channels: 2,
        lead_blocks: 4,
        freewheel: false,
    };

    fn read(path: &Path) -> Vec<f32> {
        let reader = hound::WavReader::open(path).unwrap();
        assert_eq!(
            (reader.spec().channels, reader.spec().sample_rate),
            (2, 48_000)
        );
        reader.into_samples::<f32>().map(Result::unwrap).collect()
    }

    #[test]
    fn it_is_valid_at_every_moment_and_goes_on_where_it_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.wav");
        let mut file = WavFile::create(&path, &FORMAT).unwrap();
        assert!(read(&path).is_empty());
        file.append(&[0.5; 8]).unwrap();
        assert!(read(&path).is_empty(), "the sizes follow");
        file.update_sizes().unwrap();
        file.append(&[0.25; 8]).unwrap();
        assert_eq!(read(&path).len(), 8);
        drop(file); // as after a kill: everything behind the sizes, or more, is cut off
        let mut file = WavFile::resume(&path, &FORMAT, 3).unwrap();
        assert_eq!(read(&path), [0.5; 6]);
        file.append(&[1.0; 2]).unwrap();
        file.update_sizes().unwrap();
        assert_eq!(read(&path), [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0]);
        assert!(WavFile::resume(&path, &FORMAT, 5).is_err(), "shorter");
        let mono = AudioFormat {
            channels: 1,
            ..FORMAT
        };
        assert!(WavFile::resume(&path, &mono, 1).is_err(), "another format");
    }

    #[test]
    fn beyond_4_gib_the_header_holds_the_sizes_elsewhere() {
        let sizes =
            |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        for (data, tags) in [
            (0x1_0000_0000 - 80, [b"RIFF", b"JUNK"]),
            (0x1_0000_0000 - 72, [b"RF64", b"ds64"]),
            (1 << 43, [b"RF64", b"ds64"]),
        ] {
            let bytes = header(&FORMAT, data);
            assert_eq!(bytes.len() as u64, HEADER_BYTES);
            assert_eq!([&bytes[..4], &bytes[12..16]], tags);
            let frames = data / 8;
            assert_eq!(
                [20, 28, 36].map(|at| sizes(&bytes, at)),
                [data + 72, data, frames]
            );
            let small = u32::from_le_bytes(bytes[76..].try_into().unwrap());
            let expected = if tags[0] == b"RIFF" {
                data as u32
            } else {
                u32::MAX
            };
            assert_eq!(small, expected);
        }
    }

    #[test]
    fn a_full_disk_is_reported() {
        assert!(WavFile::create(Path::new("/dev/full"), &FORMAT).is_err());
    }
}
