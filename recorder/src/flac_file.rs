//! A 24-bit FLAC file that is valid at every moment: a header with an unknown length, and whole frames, appended one by
//! one. At the end the length is written to the header.
//!
//! The header is written here, since `flacenc` only writes whole streams; `flacenc` encodes the frames.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use common::stage::AudioFormat;
use flacenc::{
    bitsink::ByteSink,
    component::{BitRepr, StreamInfo},
    config,
    error::{Verified, Verify},
    source::{Fill, FrameBuf},
};

/// The audio frames in a FLAC frame; the last FLAC frame may hold fewer.
const UNIT_FRAMES: usize = 4096;
const BITS: u8 = 24;
/// The encoder refuses higher rates, although the format supports them. Frames refer to the header for a rate without
/// a code.
const ENCODER_RATE_HZ_MAX: u32 = 96_000;
const UNNAMED_RATE_HZ: usize = 65_537;
/// The largest sample.
const FULL: i32 = (1 << (BITS - 1)) - 1;
/// "fLaC", the header of a block and the stream info.
const HEADER_BYTES: u64 = 42;
/// The offset of the 64 bits with the last bits of the rate, the channels, the bits of a sample and the length.
const LENGTH_AT: u64 = 18;

/// A FLAC file that is being written.
pub struct FlacFile {
    file: File,
    head: [u8; HEADER_BYTES as usize],
    bytes: u64,
    frames: u64,
    channels: usize,
    config: Verified<config::Encoder>,
    info: StreamInfo,
    unit: FrameBuf,
    samples: Vec<i32>,
}

impl FlacFile {
    /// Creates a new file, readable by its owner only; replaces an existing one.
    ///
    /// # Errors
    /// If the file cannot be written, or FLAC does not support the audio_format.
    pub fn create(path: &Path, audio_format: &AudioFormat) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        let mut created = Self::over(file, audio_format)?;
        created.file.write_all(&created.head)?;
        Ok(created)
    }

    /// Continues a file of the same audio_format after the given bytes and frames; truncates everything behind.
    ///
    /// # Errors
    /// If the file cannot be written, is shorter, or has another audio_format.
    pub fn resume(
        path: &Path,
        audio_format: &AudioFormat,
        bytes: u64,
        frames: u64,
    ) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut resumed = Self::over(file, audio_format)?;
        let mut found = [0; HEADER_BYTES as usize];
        resumed.file.read_exact(&mut found)?;
        // A recorder that was killed may have written the length without recording it.
        let length = LENGTH_AT as usize + 3..LENGTH_AT as usize + 8;
        found[length.clone()].copy_from_slice(&resumed.head[length]);
        if found != resumed.head {
            return Err(io::Error::other(
                "the file has another sample rate or number of channels",
            ));
        }
        if resumed.file.metadata()?.len() < bytes {
            return Err(io::Error::other("the file is shorter than its progress"));
        }
        resumed.file.set_len(bytes)?;
        resumed.file.seek(SeekFrom::Start(bytes))?;
        (resumed.bytes, resumed.frames) = (bytes, frames);
        Ok(resumed)
    }

    fn over(file: File, audio_format: &AudioFormat) -> io::Result<Self> {
        let channels = audio_format.channels as usize;
        let rate_hz = match audio_format.rate_hz {
            rate_hz @ ..=ENCODER_RATE_HZ_MAX => rate_hz as usize,
            _ => UNNAMED_RATE_HZ,
        };
        let config = config::Encoder::default().into_verified();
        Ok(Self {
            file,
            head: head(audio_format),
            bytes: HEADER_BYTES,
            frames: 0,
            channels,
            config: config.map_err(|(_, why)| refused(why))?,
            info: StreamInfo::new(rate_hz, channels, BITS.into()).map_err(refused)?,
            unit: FrameBuf::with_size(channels, UNIT_FRAMES).map_err(refused)?,
            samples: Vec::new(),
        })
    }

    /// The number of samples in a whole unit.
    pub const fn unit(&self) -> usize {
        UNIT_FRAMES * self.channels
    }

    /// The valid bytes and frames.
    pub const fn written(&self) -> (u64, u64) {
        (self.bytes, self.frames)
    }

    /// Appends all whole units, and with `last` the rest; returns the number of written samples.
    ///
    /// # Errors
    /// If the disk is full or fails; the file then ends as before.
    pub fn append(&mut self, samples: &[f32], last: bool) -> io::Result<usize> {
        let mut sink = ByteSink::new();
        let (mut taken, mut frames) = (0, self.frames);
        for unit in samples.chunks(self.unit()) {
            if unit.len() < self.unit() && !last {
                break;
            }
            self.encode(unit, frames, &mut sink)?;
            taken += unit.len();
            frames += (unit.len() / self.channels) as u64;
        }
        if let Err(why) = self.file.write_all(sink.as_slice()) {
            self.file.set_len(self.bytes)?;
            self.file.seek(SeekFrom::Start(self.bytes))?;
            return Err(why);
        }
        self.bytes += sink.as_slice().len() as u64;
        self.frames = frames;
        Ok(taken)
    }

    fn encode(&mut self, unit: &[f32], frames: u64, sink: &mut ByteSink) -> io::Result<()> {
        self.samples.clear();
        self.samples.extend(unit.iter().copied().map(quantized));
        self.unit.fill_interleaved(&self.samples).map_err(refused)?;
        let number = frames as usize / UNIT_FRAMES;
        let frame = flacenc::encode_fixed_size_frame(&self.config, &self.unit, number, &self.info);
        let frame = frame.map_err(refused)?;
        frame.write(sink).map_err(refused)
    }

    /// Writes the length to the header.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn update_total(&self) -> io::Result<()> {
        let total = told_length(self.frames);
        let at = LENGTH_AT as usize;
        let fixed: [u8; 8] = std::array::from_fn(|n| self.head[at + n]);
        let both = u64::from_be_bytes(fixed) | total;
        self.file.write_all_at(&both.to_be_bytes(), LENGTH_AT)
    }
}

/// The length in the header: 36 bits, where 0 means unknown. At 48 kHz the length is unknown after 16 days.
///
/// # Source
/// RFC 9639, section 8.2.
const fn told_length(frames: u64) -> u64 {
    if frames < 1 << 36 { frames } else { 0 }
}

fn refused(why: impl std::fmt::Display) -> io::Error {
    io::Error::other(why.to_string())
}

/// The sample as 24 bits, clipped to full scale.
pub fn quantized(sample: f32) -> i32 {
    // In f64 the product is exact; NaN becomes 0.
    let scaled = f64::from(sample) * f64::from(FULL + 1);
    (scaled.round() as i32).clamp(-FULL - 1, FULL)
}

/// The header of a file with an unknown length and checksum.
///
/// # Source
/// RFC 9639, section 8.2.
fn head(audio_format: &AudioFormat) -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[..4].copy_from_slice(b"fLaC");
    // The only metadata block, with 34 bytes.
    bytes[4..8].copy_from_slice(&[0x80, 0, 0, 34]);
    let unit = (UNIT_FRAMES as u16).to_be_bytes();
    bytes[8..10].copy_from_slice(&unit);
    bytes[10..12].copy_from_slice(&unit);
    let described = u64::from(audio_format.rate_hz) << 44
        | u64::from(audio_format.channels - 1) << 41
        | u64::from(BITS - 1) << 36;
    bytes[LENGTH_AT as usize..][..8].copy_from_slice(&described.to_be_bytes());
    bytes
}

#[cfg(test)]
pub use tests::decoded;

#[cfg(test)]
mod tests {
    use super::*;
    use symphonia::core::{
        codecs::audio::AudioDecoderOptions,
        formats::{FormatOptions, TrackType, probe::Hint},
        io::MediaSourceStream,
        meta::MetadataOptions,
    };

    #[test]
    fn a_length_that_the_head_has_no_room_for_is_not_told() {
        let edge = 1 << 36;
        assert_eq!(
            [edge - 1, edge, edge + 5].map(told_length),
            [edge - 1, 0, 0]
        );
    }

    const FORMAT: AudioFormat = AudioFormat {
        rate_hz: 44_100,
        block_frames: 64,
        channels: 2,
        lead_blocks: 4,
        freewheel: false,
    };

    /// The samples of a file, as a decoder that is not ours finds them.
    pub fn decoded(path: &Path) -> Vec<i32> {
        let source =
            MediaSourceStream::new(Box::new(File::open(path).unwrap()), Default::default());
        let mut format = symphonia::default::get_probe()
            .probe(
                Hint::new().with_extension("flac"),
                source,
                FormatOptions::default(),
                MetadataOptions::default(),
            )
            .unwrap();
        let track = format.default_track(TrackType::Audio).unwrap();
        let params = track.codec_params.as_ref().unwrap().audio().unwrap();
        let mut decoder = symphonia::default::get_codecs()
            .make_audio_decoder(params, &AudioDecoderOptions::default())
            .unwrap();
        let mut samples = Vec::new();
        while let Ok(Some(packet)) = format.next_packet() {
            let mut part: Vec<i32> = Vec::new();
            decoder
                .decode(&packet)
                .unwrap()
                .copy_to_vec_interleaved(&mut part);
            // Left-aligned in 32 bits.
            samples.extend(part.iter().map(|sample| sample >> 8));
        }
        samples
    }

    /// Something that goes up and down, and beyond full scale.
    fn sound(samples: usize) -> Vec<f32> {
        (0..samples)
            .map(|n| (n as f32 * 0.01).sin() * 1.25)
            .collect()
    }

    #[test]
    fn it_is_valid_at_every_moment_and_goes_on_where_it_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.flac");
        let sound = sound(3 * 8192 + 10);
        let expected: Vec<i32> = sound.iter().copied().map(quantized).collect();
        let mut file = FlacFile::create(&path, &FORMAT).unwrap();
        let taken = file.append(&sound[..20_000], false).unwrap();
        assert_eq!((taken, file.written().1), (16_384, 8_192));
        assert_eq!(decoded(&path), expected[..16_384]);
        let (bytes, frames) = file.written();
        // Killed in the middle of the next unit.
        file.file.write_all(&[0xff, 0xf8, 0xc9, 0x18, 2]).unwrap();
        drop(file);
        let mut file = FlacFile::resume(&path, &FORMAT, bytes, frames).unwrap();
        assert_eq!(decoded(&path), expected[..16_384]);
        let rest = file.append(&sound[16_384..], true).unwrap();
        assert_eq!(rest, 8_202);
        file.update_total().unwrap();
        assert_eq!(decoded(&path), expected);
        let head = std::fs::read(&path).unwrap();
        assert_eq!(head[22..26], (3 * 4096 + 5_u32).to_be_bytes(), "the length");
        let (bytes, frames) = file.written();
        assert!(FlacFile::resume(&path, &FORMAT, bytes + 1, frames).is_err());
        let faster = AudioFormat {
            rate_hz: 48_000,
            ..FORMAT
        };
        assert!(FlacFile::resume(&path, &faster, bytes, frames).is_err());
        FlacFile::resume(&path, &FORMAT, bytes, frames).unwrap();
    }

    #[test]
    fn every_shape_that_a_name_is_taken_for_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.flac");
        for rate_hz in [8_000, 44_100, 96_000, 192_000] {
            for channels in 1..=common::recording::FLAC_CHANNELS_MAX {
                let audio_format = AudioFormat {
                    rate_hz,
                    channels,
                    ..FORMAT
                };
                let sound = sound(4_100 * channels as usize);
                let mut file = FlacFile::create(&path, &audio_format).unwrap();
                assert_eq!(file.append(&sound, true).unwrap(), sound.len());
                let expected: Vec<i32> = sound.iter().copied().map(quantized).collect();
                assert_eq!(
                    decoded(&path),
                    expected,
                    "{rate_hz} Hz, {channels} channels"
                );
            }
        }
    }

    #[test]
    fn samples_are_rounded_and_cut_at_full_scale() {
        for (sample, expected) in [
            (0.5, 1 << 22),
            (1.0, FULL),
            (-1.0, -FULL - 1),
            (7.0, FULL),
            (-1e30, -FULL - 1),
            (f32::NAN, 0),
            (0.6 / (1 << 23) as f32, 1),
        ] {
            assert_eq!(quantized(sample), expected, "{sample}");
        }
    }
}
