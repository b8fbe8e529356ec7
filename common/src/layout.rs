//! The basis of all shared segments: a segment is a slice of 64-bit atomic words, a layout is a map of word numbers.
//!
//! There is no padding, no cast and no torn type: a stale or hostile writer can make a value wrong, but
//! never cause undefined behaviour. Every segment begins with the same header. Its magic is written last: a
//! segment without the magic is unfinished and is refused.

use crate::sync::{AtomicU64, Ordering};

/// Words of the header.
pub const HEADER_WORDS: usize = 8;
/// The magic "undrstdy"; the creator of a segment writes it last.
pub const MAGIC: u64 = u64::from_be_bytes(*b"undrstdy");
/// The number of this build. Any change of a layout, a rule or the engine changes it, since replicas must
/// not be of different builds (see `build.rs`).
pub const BUILD: u64 = number(env!("UNDERSTUDY_BUILD"));

const fn number(text: &str) -> u64 {
    match u64::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("build.rs writes a number"),
    }
}

/// The purpose of a segment, as in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Cursor, preference, decisions, slots.
    Stage = 1,
    /// The published blocks of one slot.
    Ring = 2,
    /// A copy of the arena.
    Checkpoint = 3,
    /// Datagrams that are not settled yet.
    Inbox = 4,
    /// What audio-out has played.
    Tape = 5,
}

/// Why a segment was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The segment is too short.
    #[error("the segment has {found} words (expected {needed}); remove it and start again")]
    Short {
        /// Words found.
        found: usize,
        /// Words needed.
        needed: usize,
    },
    /// There is no magic: the segment was never finished, or is something else.
    #[error("the segment is incomplete or does not belong to Understudy")]
    Unfinished,
    /// Another build made the segment.
    #[error(
        "the segment was made by build {found:016x} (expected {BUILD:016x}); stop the instance and start it with one build"
    )]
    OtherBuild {
        /// The build found.
        found: u64,
    },
    /// The segment is of another kind.
    #[error("the segment has kind {found} (expected {expected})")]
    OtherKind {
        /// The kind found.
        found: u64,
        /// The kind expected.
        expected: u64,
    },
}

/// Writes the header. The magic comes last, with release: a reader that sees it sees everything written before it.
pub fn seal_header(words: &[AtomicU64], kind: Kind) {
    words[1].store(BUILD, Ordering::Relaxed);
    words[2].store(kind as u64, Ordering::Relaxed);
    words[3].store(words.len() as u64, Ordering::Relaxed);
    // SYNC: segment finished (writer)
    words[0].store(MAGIC, Ordering::Release);
}

/// Checks the header.
///
/// # Errors
/// If the segment is too short, unfinished, of another build or of another kind.
pub fn check_header(words: &[AtomicU64], kind: Kind, needed: usize) -> Result<(), LayoutError> {
    if words.len() < needed.max(HEADER_WORDS) {
        return Err(LayoutError::Short {
            found: words.len(),
            needed,
        });
    }
    // SYNC: segment finished (reader)
    if words[0].load(Ordering::Acquire) != MAGIC {
        return Err(LayoutError::Unfinished);
    }
    let found = words[1].load(Ordering::Relaxed);
    if found != BUILD {
        return Err(LayoutError::OtherBuild { found });
    }
    let found = words[2].load(Ordering::Relaxed);
    if found != kind as u64 {
        return Err(LayoutError::OtherKind {
            found,
            expected: kind as u64,
        });
    }
    Ok(())
}

/// Writes samples into words, two per word.
///
/// # Real-time
/// Yes; linear in the samples.
pub(crate) fn store_samples(words: &[AtomicU64], samples: &[f32]) {
    for (word, pair) in words.iter().zip(samples.chunks(2)) {
        let low = u64::from(pair[0].to_bits());
        let high = pair.get(1).map_or(0, |sample| u64::from(sample.to_bits()));
        word.store(high << 32 | low, Ordering::Relaxed);
    }
}

/// Reads what [`store_samples`] has written.
///
/// # Real-time
/// Yes; linear in the samples.
pub(crate) fn load_samples(words: &[AtomicU64], into: &mut [f32]) {
    for (word, pair) in words.iter().zip(into.chunks_mut(2)) {
        let both = word.load(Ordering::Relaxed);
        pair[0] = f32::from_bits(both as u32);
        if let Some(second) = pair.get_mut(1) {
            *second = f32::from_bits((both >> 32) as u32);
        }
    }
}

/// Writes a text: its length into the first word, its bytes into the others. A text that does not fit is cut off.
///
/// # Real-time
/// Yes; linear in the words.
pub(crate) fn store_text(words: &[AtomicU64], text: &str) {
    let [length, words @ ..] = words else { return };
    let bytes = &text.as_bytes()[..text.len().min(8 * words.len())];
    length.store(0, Ordering::Relaxed);
    for (word, chunk) in words.iter().zip(bytes.chunks(8)) {
        let mut eight = [0; 8];
        eight[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_le_bytes(eight), Ordering::Relaxed);
    }
    // SYNC: text (writer)
    length.store(bytes.len() as u64, Ordering::Release);
}

/// Reads what [`store_text`] has written. A text that is being written at the same time may be garbled.
pub(crate) fn load_text(words: &[AtomicU64]) -> String {
    let [length, words @ ..] = words else {
        return String::new();
    };
    // SYNC: text (reader)
    let length = length.load(Ordering::Acquire) as usize;
    let bytes: Vec<u8> = words
        .iter()
        .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
        .take(length)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
