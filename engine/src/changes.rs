//! Marks which pieces of the arena a block has changed, so that a checkpoint need not copy the others.
//!
//! There is one bit for each piece of 64 bytes. Most of a large arena are delay lines, of which a block
//! writes only a small part. The module itself marks that part ([`crate::module::State::writes`]).
//! Everything else may change in any block.

use std::ops::Range;

/// Cells in a piece.
pub const PIECE: usize = common::checkpoint::PIECE_WORDS * 2;

/// The bits for an arena.
pub struct Changes {
    /// Inactive pieces that were written since these bits were last cleared.
    written: Vec<u64>,
    /// Active pieces, which may change in any block.
    active: Vec<u64>,
}

impl Changes {
    /// The bits for an arena of `cells` cells, of which `memories` change only a little in a block.
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

/// Marks the pieces that hold these cells.
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
