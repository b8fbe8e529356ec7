//! The `fmt ` chunk of a WAV file: read leniently, written in the form that every decoder accepts.
//!
//! A sample that is narrower than its bytes fills their upper bits, so it is read as a sample of the full width.
//! ADPCM is packed in blocks; a truncated last block is padded.

use common::limits::CHANNELS_MAX;

/// The encoding of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Integer,
    Float,
    ALaw,
    MuLaw,
    MsAdpcm,
    ImaAdpcm,
}

/// The format of the sound.
#[derive(Debug)]
pub(super) struct Format {
    kind: Kind,
    channels: u16,
    rate_hz: u32,
    /// Bytes of a frame, or of a block if samples are packed in blocks.
    width: usize,
    pub(super) mended: Vec<String>,
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let half = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_le_bytes(*half))
}

/// The tail of the subformat GUIDs of `WAVE_FORMAT_EXTENSIBLE`.
const EXTENSIBLE_TAIL: [u8; 14] = [0, 0, 0, 0, 16, 0, 128, 0, 0, 170, 0, 56, 155, 113];
/// The seven pairs of coefficients of Microsoft ADPCM.
const MS_FACTORS: [i16; 14] = [
    256, 0, 512, -256, 0, 0, 192, 64, 240, 0, 460, -208, 392, -232,
];

impl Format {
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let cut = || "the \"fmt \" chunk is truncated".to_owned();
        let half = |at| half(body, at).ok_or_else(cut);
        let (mut tag, channels, block) = (half(0)?, half(2)?, half(12)?);
        let rate_hz = super::word(body, 4).ok_or_else(cut)?;
        let bits = half(14).unwrap_or(0);
        if tag == 0xfffe {
            tag = half(24)?;
            if body.get(26..40).is_some_and(|tail| tail != EXTENSIBLE_TAIL) {
                return Err("the encoding of the sound is unknown".to_owned());
            }
        }
        let kind = match tag {
            1 => Kind::Integer,
            2 => Kind::MsAdpcm,
            3 => Kind::Float,
            6 => Kind::ALaw,
            7 => Kind::MuLaw,
            0x11 => Kind::ImaAdpcm,
            0x55 => return Err("the sound is MP3 in a WAV file (expected an MP3 file)".to_owned()),
            _ => {
                return Err(format!(
                    "the encoding of the sound is {tag:#06x} (expected integers, floats, A-law, \u{b5}-law or ADPCM)"
                ));
            }
        };
        if !(1..=CHANNELS_MAX).contains(&channels.into()) {
            return Err(format!(
                "the sound has {channels} channels (expected 1 to {CHANNELS_MAX})"
            ));
        }
        let mut format = Self {
            kind,
            channels,
            rate_hz,
            width: usize::from(block),
            mended: Vec::new(),
        };
        format.measure(usize::from(bits), usize::from(block))?;
        Ok(format)
    }

    /// Determines the width of a sample or a block.
    fn measure(&mut self, bits: usize, block: usize) -> Result<(), String> {
        let channels = usize::from(self.channels);
        let (least, right): (usize, &[usize]) = match self.kind {
            Kind::Integer => (bits.div_ceil(8), &[1, 2, 3, 4]),
            Kind::Float => (bits.div_ceil(8), &[4, 8]),
            Kind::ALaw | Kind::MuLaw => (1, &[1]),
            Kind::MsAdpcm | Kind::ImaAdpcm => {
                let head = self.block_head() * channels;
                return match block > head {
                    true => Ok(()),
                    false => Err(format!(
                        "a block has {block} bytes (expected more than {head})"
                    )),
                };
            }
        };
        let each = block / channels;
        let fits = block.is_multiple_of(channels) && right.contains(&each) && each >= least;
        self.width = if fits { each } else { least };
        if !fits && least != 0 {
            let is = least * channels;
            self.mended
                .push(format!("a frame has {is} bytes (the header says {block})"));
        }
        match right.contains(&self.width) {
            true => Ok(()),
            false => Err(format!(
                "the samples have {bits} bits (expected 8, 16, 24 or 32; for floats 32 or 64)"
            )),
        }
    }

    /// Bytes of the header of a block, for each channel.
    const fn block_head(&self) -> usize {
        if matches!(self.kind, Kind::MsAdpcm) {
            7
        } else {
            4
        }
    }

    /// The frames in the first `bytes` bytes of a block.
    fn frames_in(&self, bytes: usize) -> usize {
        let channels = usize::from(self.channels);
        let Some(packed) = bytes.checked_sub(self.block_head() * channels) else {
            return 0;
        };
        match self.kind {
            Kind::MsAdpcm => packed * 2 / channels + 2,
            // Channels alternate, four bytes each.
            _ => {
                packed / (4 * channels) * 8
                    + packed % (4 * channels) * usize::from(channels == 1) * 2
                    + 1
            }
        }
    }

    /// Whether samples are packed in blocks.
    pub(super) const fn is_packed(&self) -> bool {
        matches!(self.kind, Kind::MsAdpcm | Kind::ImaAdpcm)
    }

    /// The sound in whole frames or blocks, and the number of frames.
    pub(super) fn whole(&self, sound: &[u8]) -> (Vec<u8>, usize) {
        let mut sound = sound.to_vec();
        if !self.is_packed() {
            let each = self.width * usize::from(self.channels);
            let frames = sound.len() / each;
            sound.truncate(frames * each);
            return (sound, frames);
        }
        let rest = sound.len() % self.width;
        let frames = sound.len() / self.width * self.frames_in(self.width) + self.frames_in(rest);
        sound.resize(sound.len().next_multiple_of(self.width), 0);
        (sound, frames)
    }

    /// The bytes of the chunk.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let (tag, bits) = match self.kind {
            Kind::Integer => (1_u16, self.width * 8),
            Kind::Float => (3, self.width * 8),
            Kind::ALaw => (6, 8),
            Kind::MuLaw => (7, 8),
            Kind::MsAdpcm => (2, 4),
            Kind::ImaAdpcm => (0x11, 4),
        };
        let block = match self.is_packed() {
            true => self.width,
            false => self.width * usize::from(self.channels),
        };
        let mut bytes = Vec::with_capacity(50);
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&self.channels.to_le_bytes());
        bytes.extend_from_slice(&self.rate_hz.to_le_bytes());
        let a_second = (block as u32).wrapping_mul(self.rate_hz);
        bytes.extend_from_slice(&a_second.to_le_bytes());
        bytes.extend_from_slice(&(block as u16).to_le_bytes());
        bytes.extend_from_slice(&(bits as u16).to_le_bytes());
        let frames = (self.frames_in(self.width) as u16).to_le_bytes();
        match self.kind {
            Kind::Integer | Kind::Float => {}
            Kind::ALaw | Kind::MuLaw => bytes.extend_from_slice(&[0, 0]),
            Kind::ImaAdpcm => bytes.extend([2, 0].iter().chain(&frames)),
            Kind::MsAdpcm => {
                bytes.extend([32, 0].iter().chain(&frames).chain(&[7, 0]));
                bytes.extend(MS_FACTORS.iter().flat_map(|factor| factor.to_le_bytes()));
            }
        }
        bytes
    }
}
