//! A shared segment is a slice of 64-bit atomic words; a layout is a map of word numbers.
//!
//! So there is no padding, no cast, no torn type: a stale or hostile writer can make a value
//! wrong, never undefined. The first words of every segment are the same header, whose magic is
//! written last: a segment without it is not finished and is refused.

use crate::sync::{AtomicU64, Ordering};

/// Words of the header.
pub const HEADER_WORDS: usize = 8;
/// Written last by the creator of a segment: "undrstdy".
pub const MAGIC: u64 = u64::from_be_bytes(*b"undrstdy");
/// Changes with every change of any layout or rule: replicas refuse a mixed build.
pub const LAYOUT: u64 = 5;

/// What a segment is for; stands in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Cursor, preference, decisions, slots.
    Stage = 1,
    /// The published blocks of one slot.
    Ring = 2,
    /// A copy of the arena.
    Checkpoint = 3,
    /// Datagrams that are not done with.
    Inbox = 4,
}

/// Why a segment was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Shorter than it must be.
    #[error("the segment has {found} words, {needed} are needed; remove it and start again")]
    Short {
        /// Words there.
        found: usize,
        /// Words needed.
        needed: usize,
    },
    /// No magic: never finished, or something else.
    #[error("the segment was never finished or is not Understudy's")]
    Unfinished,
    /// Made by another build.
    #[error(
        "the segment has layout {found}, this build has {LAYOUT}; stop the instance and start it with one build"
    )]
    OtherBuild {
        /// The layout found.
        found: u64,
    },
    /// A segment of another kind.
    #[error("the segment is of kind {found}, expected {expected}")]
    OtherKind {
        /// The kind found.
        found: u64,
        /// The kind expected.
        expected: u64,
    },
}

/// Writes the header; the magic last, with release: who sees it sees everything before it.
pub fn seal_header(words: &[AtomicU64], kind: Kind) {
    words[1].store(LAYOUT, Ordering::Relaxed);
    words[2].store(kind as u64, Ordering::Relaxed);
    words[3].store(words.len() as u64, Ordering::Relaxed);
    // SYNC: segment finished (writer)
    words[0].store(MAGIC, Ordering::Release);
}

/// Checks the header.
///
/// # Errors
/// When the segment is too short, unfinished, of another build or another kind.
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
    let layout = words[1].load(Ordering::Relaxed);
    if layout != LAYOUT {
        return Err(LayoutError::OtherBuild { found: layout });
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
