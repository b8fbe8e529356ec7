//! What a block has changed of the arena, so that a checkpoint need not copy what stayed as it was.
//!
//! A bit for each piece of 64 bytes. Most of a large arena is lines of delay, of which a block writes but
//! a little: that a module says itself ([`crate::module::State::writes`]). Everything else may change in
//! any block.

use std::ops::Range;

/// Cells in a piece.
pub const PIECE: usize = common::checkpoint::PIECE_WORDS * 2;

/// The bits of an arena.
pub struct Changes {
    /// Written since these were last cleared, of what changes but a little.
    written: Vec<u64>,
    /// What may change in any block.
    active: Vec<u64>,
}

impl Changes {
    /// Of an arena of so many cells, of which those change but a little.
    pub fn new(cells: usize, memories: impl Iterator<Item = Range<usize>>) -> Self {
        let words = cells.div_ceil(PIECE).div_ceil(64);
        let mut inactive = vec![0; words];
        for memory in memories {
            // Only pieces that hold nothing else.
            set(
                &mut inactive,
                memory.start.div_ceil(PIECE)..memory.end / PIECE,
            );
        }
        Self {
            written: vec![0; words],
            active: inactive.into_iter().map(|word: u64| !word).collect(),
        }
    }

    pub fn written(&mut self) -> &mut [u64] {
        &mut self.written
    }

    pub fn active(&self) -> &[u64] {
        &self.active
    }
}

/// Marks the pieces in which those cells lie.
///
/// # Real-time
/// Yes.
pub fn mark(bits: &mut [u64], cells: Range<usize>) {
    set(bits, cells.start / PIECE..cells.end.div_ceil(PIECE));
}

fn set(bits: &mut [u64], pieces: Range<usize>) {
    let mut at = pieces.start;
    while at < pieces.end {
        let end = pieces.end.min((at / 64 + 1) * 64);
        let some = u64::MAX >> (64 - (end - at)) << (at % 64);
        if let Some(word) = bits.get_mut(at / 64) {
            *word |= some;
        }
        at = end;
    }
}
