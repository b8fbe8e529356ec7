//! A recording that modules play: frames that never change, identified by a hash of their content.
//!
//! A patch refers to it as `NAME@ID`: the name is for people, the id is the content. Every copy of that
//! content sounds the same, and a command log stays reproducible even if the original file has changed or
//! is gone.
//!
//! A recording holds its original frames and, if the stack that imports it has another rate, the same sound
//! converted to that rate. Loops are played from the original frames, in which their ends are whole frames.
//! Everything else is played from the converted frames. The first half of an id is that of the original
//! sound, so a file has the same first half at every rate.

use std::{fmt::Write, sync::Arc};

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::limits::{CHANNELS_MAX, SAMPLE_BYTES_MAX};

/// Magic of a recording without loop, root note and converted frames. Layout: magic, rate, channels,
/// frames. Older builds know only this format.
const PLAIN: &[u8; 8] = b"undrsmpl";
/// Magic of any other recording. Layout: magic; first half of the id; then 32-bit words: rate, channels,
/// frames, the loop's first frame, the frame after its last, its kind (0: no loop), the root note in
/// 65,536ths (all ones: none), the rate of the converted frames (0: none); then the original frames; then
/// the converted ones.
const RICH: &[u8; 8] = b"undrsmp2";
/// Bytes before the frames, in either format.
const PLAIN_HEAD: usize = 16;
const RICH_HEAD: usize = 48;
const NO_ROOT: u32 = u32::MAX;

/// Finds a recording by its id. `None` if it is missing: a module that plays it is then silent.
pub type Find<'a> = dyn Fn(&str) -> Option<Arc<Sample>> + 'a;

/// Frames at one rate, stored channel after channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    rate_hz: u32,
    channels: u32,
    frames: usize,
    samples: Vec<f32>,
}

/// The direction in which a loop is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the first frame to the last, repeatedly.
    Forwards,
    /// To the last frame and back to the first, repeatedly.
    ToAndFro,
    /// From the last frame to the first, repeatedly.
    Backwards,
}

/// The loop of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loop {
    /// The first frame.
    pub from: u32,
    /// The frame after the last.
    pub to: u32,
    /// The direction.
    pub way: Way,
}

/// A recording.
#[derive(Debug, PartialEq)]
pub struct Sample {
    recorded: Sound,
    converted: Option<Sound>,
    looped: Option<Loop>,
    /// The root note in 65,536ths of a semitone, or [`NO_ROOT`].
    root: u32,
}

/// An empty recording: silence.
pub static NO_SAMPLE: Sample = Sample {
    recorded: Sound {
        rate_hz: 48_000,
        channels: 1,
        frames: 0,
        samples: Vec::new(),
    },
    converted: None,
    looped: None,
    root: NO_ROOT,
};

impl Sound {
    /// Takes interleaved frames; samples that are not finite become 0. `None` if there is no frame or an
    /// incomplete one, the sound is too long ([`SAMPLE_BYTES_MAX`]), or rate or channels are invalid.
    fn new(rate_hz: u32, channels: u32, samples: &[f32]) -> Option<Self> {
        let whole = channels >= 1 && samples.len().is_multiple_of(channels as usize);
        let fits = channels <= CHANNELS_MAX && samples.len() * 4 <= SAMPLE_BYTES_MAX;
        if rate_hz == 0 || !whole || !fits || samples.is_empty() {
            return None;
        }
        let frames = samples.len() / channels as usize;
        let mut sides = Vec::with_capacity(samples.len());
        for channel in 0..channels as usize {
            let side = samples.iter().skip(channel).step_by(channels as usize);
            sides.extend(side.map(|sample| if sample.is_finite() { *sample } else { 0.0 }));
        }
        Some(Self {
            rate_hz,
            channels,
            frames,
            samples: sides,
        })
    }

    /// Frames per second.
    #[must_use]
    pub const fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// The number of frames.
    ///
    /// # Real-time
    /// Yes.
    #[must_use]
    pub const fn frames(&self) -> usize {
        self.frames
    }

    /// All frames of the left (0) or the right (1) side. A mono sound has the same on both.
    ///
    /// # Real-time
    /// Yes.
    #[inline(always)]
    #[must_use]
    pub fn side(&self, side: usize) -> &[f32] {
        let channel = side.min(self.channels as usize - 1);
        self.samples
            .get(channel * self.frames..(channel + 1) * self.frames)
            .unwrap_or_default()
    }

    /// Whether there is only one channel.
    ///
    /// # Real-time
    /// Yes.
    #[must_use]
    pub const fn is_mono(&self) -> bool {
        self.channels == 1
    }

    /// All samples, interleaved.
    #[must_use]
    pub fn interleaved(&self) -> Vec<f32> {
        let channels = self.channels as usize;
        let mut samples = Vec::with_capacity(self.samples.len());
        for frame in 0..self.frames {
            samples
                .extend((0..channels).map(|channel| self.samples[channel * self.frames + frame]));
        }
        samples
    }

    /// The number of channels.
    #[must_use]
    pub const fn channels(&self) -> u32 {
        self.channels
    }

    /// Bytes of the samples.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        4 * self.samples.len()
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let samples = self.interleaved();
        bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    }
}

impl Sample {
    /// A recording of interleaved frames; samples that are not finite become 0. `None` if there is no frame
    /// or an incomplete one, the sound is too long ([`SAMPLE_BYTES_MAX`]), or rate or channels are invalid.
    #[must_use]
    #[allow(
        clippy::needless_pass_by_value,
        reason = "whoever has read them needs them no more"
    )]
    pub fn new(rate_hz: u32, channels: u32, samples: Vec<f32>) -> Option<Self> {
        Some(Self {
            recorded: Sound::new(rate_hz, channels, &samples)?,
            converted: None,
            looped: None,
            root: NO_ROOT,
        })
    }

    /// The recording without its converted frames, with its loop and root note.
    #[must_use]
    pub fn as_recorded(&self) -> Self {
        Self {
            recorded: self.recorded.clone(),
            converted: None,
            looped: self.looped,
            root: self.root,
        }
    }

    /// The recording with this loop; without a loop if it does not lie within the recording.
    #[must_use]
    pub fn looping(mut self, looped: Option<Loop>) -> Self {
        self.looped = looped.filter(|l| l.from < l.to && l.to as usize <= self.recorded.frames);
        self
    }

    /// The recording with this root note, 0 to 127: the note that it sounds at its original speed.
    #[must_use]
    pub fn rooted(mut self, note: Option<f32>) -> Self {
        let note = note.filter(|note| (0.0..=127.0).contains(note));
        self.root = note.map_or(NO_ROOT, |note| (note * 65_536.0) as u32);
        self
    }

    /// The recording with converted frames for another rate; frames as in [`Sample::new`].
    #[must_use]
    pub fn converted(mut self, rate_hz: u32, samples: &[f32]) -> Option<Self> {
        self.converted = Some(Sound::new(rate_hz, self.recorded.channels, samples)?);
        Some(self)
    }

    /// The original sound; loops are played from it.
    ///
    /// # Real-time
    /// Yes.
    #[inline(always)]
    #[must_use]
    pub const fn recorded(&self) -> &Sound {
        &self.recorded
    }

    /// The sound at this rate if it was converted to it; otherwise the original.
    ///
    /// # Real-time
    /// Yes.
    #[inline(always)]
    #[must_use]
    pub fn at_rate(&self, rate_hz: u32) -> &Sound {
        match &self.converted {
            Some(sound) if sound.rate_hz == rate_hz => sound,
            _ => &self.recorded,
        }
    }

    /// The loop of the recording.
    ///
    /// # Real-time
    /// Yes.
    #[must_use]
    pub const fn looped(&self) -> Option<Loop> {
        self.looped
    }

    /// The note that the recording sounds at its original speed.
    ///
    /// # Real-time
    /// Yes.
    #[must_use]
    pub fn root(&self) -> Option<f32> {
        (self.root != NO_ROOT).then_some(self.root as f32 / 65_536.0)
    }

    /// Bytes of the samples, original and converted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let converted = self
            .converted
            .as_ref()
            .map_or(0, |sound| sound.samples.len());
        4 * (self.recorded.samples.len() + converted)
    }

    /// Encodes the recording for storage.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RICH_HEAD + self.bytes());
        bytes.extend_from_slice(PLAIN);
        bytes.extend_from_slice(&self.recorded.rate_hz.to_le_bytes());
        bytes.extend_from_slice(&self.recorded.channels.to_le_bytes());
        self.recorded.write(&mut bytes);
        if self.converted.is_none() && self.looped.is_none() && self.root == NO_ROOT {
            return bytes;
        }
        let source = (xxh3_128(&bytes) >> 64) as u64;
        let looped = self
            .looped
            .map_or([0; 3], |l| [l.from, l.to, l.way as u32 + 1]);
        let words = [
            self.recorded.rate_hz,
            self.recorded.channels,
            self.recorded.frames as u32,
            looped[0],
            looped[1],
            looped[2],
            self.root,
            self.converted.as_ref().map_or(0, |sound| sound.rate_hz),
        ];
        let mut head = Vec::with_capacity(RICH_HEAD);
        head.extend_from_slice(RICH);
        head.extend_from_slice(&source.to_le_bytes());
        head.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes.splice(..PLAIN_HEAD, head);
        if let Some(sound) = &self.converted {
            sound.write(&mut bytes);
        }
        bytes
    }

    /// Decodes a stored recording; `None` if the bytes are something else or incomplete.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if let Some(plain) = bytes.strip_prefix(PLAIN) {
            let (format, samples) = plain.split_at_checked(PLAIN_HEAD - PLAIN.len())?;
            let [rate_hz, channels] = words(format)?;
            return Self::new(rate_hz, channels, numbers(samples)?);
        }
        let (head, samples) = bytes
            .strip_prefix(RICH)?
            .split_at_checked(RICH_HEAD - RICH.len())?;
        let [rate_hz, channels, frames, from, to, way, root, to_hz] = words(&head[8..])?;
        let samples = numbers(samples)?;
        let recorded = (frames as usize).checked_mul(channels as usize)?;
        let (recorded, converted) = samples.split_at_checked(recorded)?;
        let looped = match way {
            0 => None,
            1 => Some(Way::Forwards),
            2 => Some(Way::ToAndFro),
            3 => Some(Way::Backwards),
            _ => return None,
        };
        let looped = looped.map(|way| Loop { from, to, way });
        let mut sample = Self::new(rate_hz, channels, recorded.to_vec())?.looping(looped);
        sample.root = root;
        match to_hz {
            0 => converted.is_empty().then_some(sample),
            _ => sample.converted(to_hz, converted),
        }
    }
}

/// Decodes 32-bit words.
fn words<const COUNT: usize>(bytes: &[u8]) -> Option<[u32; COUNT]> {
    let (words, rest) = bytes.as_chunks::<4>();
    let words: &[_; COUNT] = words.try_into().ok()?;
    rest.is_empty().then(|| words.map(u32::from_le_bytes))
}

/// Decodes samples.
fn numbers(bytes: &[u8]) -> Option<Vec<f32>> {
    let (samples, rest) = bytes.as_chunks::<4>();
    let samples = samples.iter().copied().map(f32::from_le_bytes);
    rest.is_empty().then(|| samples.collect())
}

/// The id of a recording with these bytes: 32 hexadecimal digits. The first 16 identify the original sound,
/// whatever it was converted to.
///
/// # Source
/// XXH3 with 64 and 128 bits: Yann Collet, xxHash fast digest algorithm, specification 0.1.1.
#[must_use]
pub fn id(bytes: &[u8]) -> String {
    let mut id = String::new();
    let source = bytes.strip_prefix(RICH).and_then(<[u8]>::first_chunk);
    let _ = match source {
        Some(source) => {
            let source = u64::from_le_bytes(*source);
            write!(id, "{source:016x}{:016x}", xxh3_64(bytes))
        }
        None => write!(id, "{:032x}", xxh3_128(bytes)),
    };
    id
}

/// Whether two ids identify the same original sound.
#[must_use]
pub fn same_sound(a: &str, b: &str) -> bool {
    a.len() == 32 && b.len() == 32 && a.as_bytes()[..16] == b.as_bytes()[..16]
}

/// The id in `NAME@ID`; `None` if there is none.
#[must_use]
pub fn id_in(text: &str) -> Option<&str> {
    let (_, id) = text.rsplit_once('@')?;
    let digits = id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (id.len() == 32 && digits).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sound: &Sound, frame: usize, side: usize) -> f32 {
        sound.side(side)[frame]
    }

    #[test]
    fn what_is_kept_is_read_back_and_nothing_else() {
        let sample = Sample::new(44_100, 2, vec![0.1, -0.2, f32::NAN, 0.4]).unwrap();
        assert_eq!(sample.recorded().frames(), 2);
        let heard = |frame, side| at(sample.recorded(), frame, side);
        assert_eq!([heard(0, 1), heard(1, 0), heard(1, 1)], [-0.2, 0.0, 0.4]);
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
        assert_eq!(NO_SAMPLE.recorded().side(1), [0.0; 0]);
    }

    #[test]
    fn what_older_builds_have_kept_is_still_read_under_its_id() {
        // Written by hand: magic, 48,000 Hz, one channel, the samples 0.5 and -1.
        let kept = [
            &b"undrsmpl"[..],
            &48_000_u32.to_le_bytes(),
            &1_u32.to_le_bytes(),
            &0.5_f32.to_le_bytes(),
            &(-1.0_f32).to_le_bytes(),
        ]
        .concat();
        let sample = Sample::from_bytes(&kept).unwrap();
        assert_eq!(sample.recorded().side(0), [0.5, -1.0]);
        assert_eq!(id(&kept), format!("{:032x}", xxh3_128(&kept)));
        assert_eq!(sample.to_bytes(), kept);
    }

    #[test]
    fn a_loop_a_root_and_a_second_rate_are_kept_and_the_sound_keeps_its_name() {
        let plain = || Sample::new(44_100, 2, vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).unwrap();
        let looped = Loop {
            from: 1,
            to: 3,
            way: Way::ToAndFro,
        };
        let rich = plain().looping(Some(looped)).rooted(Some(60.5));
        let rich = rich.converted(48_000, &[0.1; 8]).unwrap();
        let bytes = rich.to_bytes();
        let read = Sample::from_bytes(&bytes).unwrap();
        assert_eq!(read, rich);
        assert_eq!((read.looped(), read.root()), (Some(looped), Some(60.5)));
        assert_eq!((read.at_rate(48_000).frames(), read.bytes()), (4, 14 * 4));
        assert_eq!(read.at_rate(96_000), read.recorded());
        let of_plain = id(&plain().to_bytes());
        assert!(same_sound(&of_plain, &id(&bytes)) && of_plain != id(&bytes));
        let other = Sample::new(44_100, 1, vec![0.1])
            .unwrap()
            .rooted(Some(60.0));
        assert!(!same_sound(&of_plain, &id(&other.to_bytes())));
        for torn in (0..RICH_HEAD + 24).chain([bytes.len() - 1, bytes.len() - 4]) {
            assert_eq!(Sample::from_bytes(&bytes[..torn]), None, "{torn}");
        }
        // A loop beyond the end is dropped.
        let beyond = Loop { to: 4, ..looped };
        assert_eq!(plain().looping(Some(beyond)).looped(), None);
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
