//! A recording that modules play from: frames that never change, named by a hash of what they are.
//!
//! A patch says `NAME@ID`: the name is for people, the id is the content. So whoever finds that
//! content plays the same sound, and a command log stays reproducible when the file that it came from
//! has changed or is gone.

use std::{fmt::Write, sync::Arc};

use xxhash_rust::xxh3::xxh3_128;

use crate::limits::{CHANNELS_MAX, SAMPLE_BYTES_MAX};

const MAGIC: &[u8; 8] = b"undrsmpl";
/// Bytes before the frames: magic, rate, channels.
const HEAD: usize = 16;

/// Finds a recording by its id; `None` where it is not there: who plays from it is silent.
pub type Find<'a> = dyn Fn(&str) -> Option<Arc<Sample>> + 'a;

/// A recording.
#[derive(Debug, PartialEq)]
pub struct Sample {
    rate_hz: u32,
    channels: u32,
    /// Frame by frame, of each frame all channels.
    samples: Vec<f32>,
}

/// No recording: silence.
pub static NO_SAMPLE: Sample = Sample {
    rate_hz: 48_000,
    channels: 1,
    samples: Vec::new(),
};

impl Sample {
    /// Of whole frames; what is no number in them becomes silence. `None` when there is none, too much
    /// ([`SAMPLE_BYTES_MAX`]), or no such shape of sound.
    #[must_use]
    pub fn new(rate_hz: u32, channels: u32, mut samples: Vec<f32>) -> Option<Self> {
        let whole = channels >= 1 && samples.len().is_multiple_of(channels as usize);
        let fits = channels <= CHANNELS_MAX && samples.len() * 4 <= SAMPLE_BYTES_MAX;
        if rate_hz == 0 || !whole || !fits || samples.is_empty() {
            return None;
        }
        for sample in &mut samples {
            if !sample.is_finite() {
                *sample = 0.0;
            }
        }
        Some(Self {
            rate_hz,
            channels,
            samples,
        })
    }

    /// Frames a second.
    #[must_use]
    pub const fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// How many frames it has.
    ///
    /// # Real-time
    /// Yes.
    #[must_use]
    pub const fn frames(&self) -> usize {
        self.samples.len() / self.channels as usize
    }

    /// Bytes of its samples.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        4 * self.samples.len()
    }

    /// A sample of the left (0) or the right (1) side; of one channel both are the same. Silence outside.
    ///
    /// # Real-time
    /// Yes.
    #[inline(always)]
    #[must_use]
    pub fn at(&self, frame: i64, side: usize) -> f32 {
        let channel = side.min(self.channels as usize - 1);
        usize::try_from(frame)
            .ok()
            .and_then(|frame| frame.checked_mul(self.channels as usize))
            .and_then(|first| self.samples.get(first + channel))
            .copied()
            .unwrap_or(0.0)
    }

    /// As bytes, to be kept.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + 4 * self.samples.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.rate_hz.to_le_bytes());
        bytes.extend_from_slice(&self.channels.to_le_bytes());
        bytes.extend(self.samples.iter().flat_map(|sample| sample.to_le_bytes()));
        bytes
    }

    /// From bytes that were kept; `None` when they are something else, or not whole.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, samples) = bytes.split_at_checked(HEAD)?;
        let (magic, shape) = head.split_at(MAGIC.len());
        let (shape, _) = shape.as_chunks::<4>();
        let (samples, rest) = samples.as_chunks::<4>();
        if magic != MAGIC || !rest.is_empty() {
            return None;
        }
        let samples = samples.iter().copied().map(f32::from_le_bytes).collect();
        Self::new(
            u32::from_le_bytes(shape[0]),
            u32::from_le_bytes(shape[1]),
            samples,
        )
    }
}

/// The id of a recording, by its bytes: 32 hexadecimal digits.
///
/// # Source
/// XXH3 with 128 bits: Yann Collet, xxHash fast digest algorithm, specification 0.1.1.
#[must_use]
pub fn id(bytes: &[u8]) -> String {
    let mut id = String::new();
    let _ = write!(id, "{:032x}", xxh3_128(bytes));
    id
}

/// The id in `NAME@ID`; `None` where there is none.
#[must_use]
pub fn id_in(text: &str) -> Option<&str> {
    let (_, id) = text.rsplit_once('@')?;
    let digits = id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (id.len() == 32 && digits).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back_and_nothing_else() {
        let sample = Sample::new(44_100, 2, vec![0.1, -0.2, f32::NAN, 0.4]).unwrap();
        assert_eq!(sample.frames(), 2);
        let heard = |frame, side| sample.at(frame, side);
        assert_eq!([heard(0, 1), heard(1, 0), heard(1, 1)], [-0.2, 0.0, 0.4]);
        assert_eq!([heard(-1, 0), heard(2, 0), heard(i64::MAX, 1)], [0.0; 3]);
        let bytes = sample.to_bytes();
        assert_eq!(Sample::from_bytes(&bytes), Some(sample));
        for torn in [
            &bytes[..0],
            &bytes[..15],
            &bytes[..16],
            &bytes[..30],
            &bytes[..bytes.len() - 4],
        ] {
            assert_eq!(Sample::from_bytes(torn), None);
        }
        assert_eq!(NO_SAMPLE.at(0, 0), 0.0);
    }

    #[test]
    fn a_name_may_be_anything_and_the_id_is_the_content() {
        let id = id(b"abc");
        assert_eq!(id_in(&format!("my kick@home.wav@{id}")), Some(id.as_str()));
        for wrong in ["kick.wav", "kick@", "kick@ABCDEF", &id] {
            assert_eq!(id_in(wrong), None, "{wrong}");
        }
    }
}
