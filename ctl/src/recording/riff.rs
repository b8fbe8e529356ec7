//! Repairs the structure of WAV and AIFF files, so that every decoder accepts them.
//!
//! Sizes in a file are wrong if its writer was killed, streamed the file, or exceeded the 4 GiB of a 32-bit size. So
//! no size is trusted: each is compared with the bytes that exist. The result is a WAV file with a minimal header and
//! the sound; loop and root note are returned beside it. AIFF files keep their chunks, with correct sizes. The input
//! may be any bytes; no function here panics.
//!
//! # Source
//! Microsoft, IBM: Multimedia Programming Interface and Data Specifications 1.0, 1991, and New Multimedia
//! Data Types and Data Techniques 3.0, 1994; EBU Tech 3306, RF64; ITU-R BS.2088, BW64; Apple, Audio
//! Interchange File Format 1.3, 1989.

mod fmt;

use common::sample::{Loop, Way};
use fmt::Format;

/// The properties of a file beside its sound.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The number of frames, if the decoder cannot determine it.
    pub(crate) frames: Option<usize>,
    pub(crate) looped: Option<Loop>,
    pub(crate) root: Option<f32>,
    /// The repairs, one line each.
    pub(crate) mended: Vec<String>,
}

/// A repaired file.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    pub(crate) found: Found,
}

/// A chunk: its name, and its bytes as far as they exist.
#[derive(Clone, Copy)]
struct Chunk<'a> {
    id: [u8; 4],
    body: &'a [u8],
}

/// Repairs a file; `None` if it is neither WAV nor AIFF.
pub(crate) fn mended(bytes: &[u8]) -> Result<Option<File>, String> {
    let Some((head, _)) = bytes.split_first_chunk::<12>() else {
        return Ok(None);
    };
    match (&head[..4], &head[8..]) {
        (b"RIFF" | b"RF64" | b"BW64", b"WAVE") => wave(bytes).map(Some),
        (b"FORM", b"AIFF" | b"AIFC") => aiff(bytes).map(Some),
        _ => Ok(None),
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*word))
}

/// The chunks of a file, as far as they are intact.
struct Chunks<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
    /// The length of the sound chunk, if it does not fit into 32 bits.
    sound_bytes: Option<u64>,
    /// The end of the file according to its header.
    end: usize,
    mended: Vec<String>,
}

impl<'a> Chunks<'a> {
    fn of(bytes: &'a [u8], big_endian: bool) -> Self {
        let mut chunks = Self {
            bytes,
            at: 12,
            big_endian,
            sound_bytes: None,
            end: 0,
            mended: Vec::new(),
        };
        let said = chunks.size_at(4).unwrap_or(0);
        chunks.end = (said as usize).saturating_add(8);
        let wide = !big_endian && &bytes[..4] != b"RIFF";
        if !wide && chunks.end.abs_diff(bytes.len()) > 1 {
            let is = bytes.len() - 8;
            chunks.mended.push(format!(
                "the file has {is} bytes after its header (the header says {said})"
            ));
        }
        chunks
    }

    fn size_at(&self, at: usize) -> Option<u32> {
        let size = word(self.bytes, at)?;
        Some(if self.big_endian {
            size.swap_bytes()
        } else {
            size
        })
    }

    fn holds_sound(id: [u8; 4]) -> bool {
        matches!(&id, b"data" | b"SSND")
    }

    /// Whether a chunk may begin at `at`, or the file ends there.
    fn plausible(&self, at: usize) -> bool {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let Some(id) = rest.first_chunk::<4>() else {
            return true;
        };
        let printable = id.iter().all(|b| (0x20..0x7f).contains(b));
        let fits = self
            .size_at(at + 4)
            .is_some_and(|size| size as usize <= rest.len() - 8);
        let known = Self::holds_sound(*id) || matches!(id, b"LIST" | b"fact" | b"smpl" | b"bext");
        printable && (fits || known) || rest.iter().all(|b| *b == 0)
    }

    /// How many of the bytes that the chunk's header claims belong to the sound.
    fn sound_len(&mut self, said: u64, body: usize) -> usize {
        let there = self.bytes.len() - body;
        let len = usize::try_from(said).unwrap_or(usize::MAX);
        let streamed = matches!(said, 0 | 0xffff_ffff) && there > 0;
        let after = body.saturating_add(len);
        let believed = after.abs_diff(self.end) <= 1
            || self.plausible(after + len % 2)
            || self.plausible(after);
        let is = match len {
            0 if streamed && self.plausible(body) && there >= 8 => 0,
            _ if len > there || streamed => there,
            _ if believed => len,
            _ => there,
        };
        if is as u64 != said {
            self.mended
                .push(format!("the sound has {is} bytes (the header says {said})"));
        }
        is
    }

    fn next(&mut self) -> Option<Chunk<'a>> {
        let id = *self.bytes.get(self.at..)?.first_chunk::<4>()?;
        let said = self.size_at(self.at + 4)?;
        let body = self.at + 8;
        let there = self.bytes.len() - body;
        let len = if Self::holds_sound(id) {
            let wide = self.sound_bytes.filter(|_| said == u32::MAX || said == 0);
            self.sound_len(wide.unwrap_or_else(|| said.into()), body)
        } else if said as usize > there {
            // The following chunks may still be intact.
            let sound: &[u8] = if self.big_endian { b"SSND" } else { b"data" };
            let rest = &self.bytes[body..];
            match rest.windows(4).position(|four| four == sound) {
                Some(found) => {
                    let name = String::from_utf8_lossy(&id).into_owned();
                    self.mended
                        .push(format!("the length of the chunk {name:?} is wrong"));
                    found
                }
                None => there,
            }
        } else {
            said as usize
        };
        let padded = body + len + len % 2;
        self.at = padded;
        // A padding byte is zero.
        let next = self.bytes.get(body + len).copied().unwrap_or(0);
        if len % 2 == 1 && next != 0 && self.plausible(body + len) {
            self.at = body + len;
            self.mended
                .push("a chunk of odd length is not padded".to_owned());
        }
        let body = &self.bytes[body..body + len];
        Some(Chunk { id, body })
    }
}

fn wave(bytes: &[u8]) -> Result<File, String> {
    let mut chunks = Chunks::of(bytes, false);
    let (mut format, mut sound, mut frames) = (None, None, None);
    let mut found = Found::default();
    while let Some(chunk) = chunks.next() {
        match &chunk.id {
            b"ds64" => {
                let low = word(chunk.body, 8).map(u64::from);
                let high = word(chunk.body, 12).map(u64::from);
                chunks.sound_bytes = low.zip(high).map(|(low, high)| high << 32 | low);
            }
            b"fmt " if format.is_none() => format = Some(Format::read(chunk.body)?),
            b"fact" => frames = word(chunk.body, 0),
            b"data" if sound.is_none() => sound = Some(chunk.body),
            b"smpl" => (found.looped, found.root) = instrument(chunk.body),
            _ => {}
        }
    }
    found.mended = chunks.mended;
    let mut format = format.ok_or("the \"fmt \" chunk is missing, so the format is unknown")?;
    let sound = sound.ok_or("the \"data\" chunk is missing, so there is no sound")?;
    found.mended.append(&mut format.mended);
    let (sound, in_sound) = format.whole(sound);
    if format.is_packed() {
        // The number of frames in the file, unless it is impossible.
        let said = frames.map_or(0, |said| said as usize);
        let fits = (1..=in_sound).contains(&said);
        found.frames = Some(if fits { said } else { in_sound });
    }
    let head = format.to_bytes();
    let mut file = Vec::with_capacity(28 + head.len() + sound.len());
    let size = |len: usize| (len as u32).to_le_bytes();
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&size(4 + 8 + head.len() + 8 + sound.len()));
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&size(head.len()));
    file.extend_from_slice(&head);
    file.extend_from_slice(b"data");
    file.extend_from_slice(&size(sound.len()));
    file.extend_from_slice(&sound);
    Ok(File { bytes: file, found })
}

/// The first loop and the root note of a `smpl` chunk.
fn instrument(body: &[u8]) -> (Option<Loop>, Option<f32>) {
    let root = word(body, 12).zip(word(body, 16)).and_then(|(note, part)| {
        let part = f64::from(part) / 4_294_967_296.0;
        (note <= 127).then_some((f64::from(note) + part) as f32)
    });
    let count = word(body, 28).unwrap_or(0);
    let [way, from, last] = [40, 44, 48].map(|at| word(body, at));
    let looped = match (way, from, last) {
        (Some(way), Some(from), Some(last)) if count > 0 => Some(Loop {
            from,
            to: last.saturating_add(1),
            way: match way {
                1 => Way::ToAndFro,
                2 => Way::Backwards,
                _ => Way::Forwards,
            },
        }),
        _ => None,
    };
    (looped, root)
}

/// An AIFF file: its chunks unchanged, with correct lengths.
fn aiff(bytes: &[u8]) -> Result<File, String> {
    let mut chunks = Chunks::of(bytes, true);
    let mut body = bytes[8..12].to_vec();
    let (mut described, mut sound) = (None, None);
    while let Some(chunk) = chunks.next() {
        match &chunk.id {
            b"COMM" if described.is_none() => described = Some(chunk.body.to_vec()),
            b"SSND" if sound.is_none() => sound = Some(chunk.body),
            b"FVER" => part(&mut body, chunk.id, chunk.body),
            _ => {}
        }
    }
    let mut described =
        described.ok_or("the \"COMM\" chunk is missing, so the format is unknown")?;
    let sound = sound.ok_or("the \"SSND\" chunk is missing, so there is no sound")?;
    // The number of frames: the whole frames that follow the sound chunk's own header.
    if let Some((head, _)) = described.split_first_chunk_mut::<8>() {
        let channels = usize::from(u16::from_be_bytes([head[0], head[1]]));
        let bits = usize::from(u16::from_be_bytes([head[6], head[7]]));
        if !(1..=32).contains(&channels) || !(1..=64).contains(&bits) {
            return Err(format!(
                "the sound has {channels} channels of {bits} bits (expected 1 to 32 channels of 8 to 64 bits)"
            ));
        }
        let each = channels * bits.div_ceil(8);
        let there = (sound.len().saturating_sub(8) / each) as u32;
        let said = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
        if said == 0 || said > there {
            head[2..6].copy_from_slice(&there.to_be_bytes());
        }
    }
    part(&mut body, *b"COMM", &described);
    part(&mut body, *b"SSND", sound);
    let mut file = b"FORM".to_vec();
    file.extend_from_slice(&(body.len() as u32).to_be_bytes());
    file.extend_from_slice(&body);
    let found = Found {
        mended: chunks.mended,
        ..Found::default()
    };
    Ok(File { bytes: file, found })
}

/// Adds a chunk of an AIFF file.
fn part(file: &mut Vec<u8>, id: [u8; 4], body: &[u8]) {
    file.extend_from_slice(&id);
    file.extend_from_slice(&(body.len() as u32).to_be_bytes());
    file.extend_from_slice(body);
    if body.len() % 2 == 1 {
        file.push(0);
    }
}
