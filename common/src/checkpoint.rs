//! A copy of the arena, from which a replacement goes on.
//!
//! Each slot has two, written in turn by the worker in it ([`Writer`]): one is whole at every instant.
//! Valid only once complete: the stamp is broken before the copy and set after it, a checksum over all
//! of it decides. Readers are replacements; they take the newest valid one of all four.

mod writer;

pub use writer::Writer;

use xxhash_rust::xxh3::Xxh3;

use crate::{
    layout::{self, HEADER_WORDS, Kind, LayoutError},
    limits::{ARENA_BYTES_MAX, CHECKPOINT_BLOCKS, PROOF_BLOCKS},
    sync::{AtomicU64, Ordering, fence},
    units::{BlockIndex, Seq},
};

/// Words of a piece: what is copied or left as it is, 64 bytes.
pub const PIECE_WORDS: usize = 8;

const STAMP: usize = HEADER_WORDS;
const SEQ: usize = STAMP + 1;
const PATCH_OFFSET: usize = STAMP + 2;
const NEXT_OFFSET: usize = STAMP + 3;
const LEN: usize = STAMP + 4;
const SUM: usize = STAMP + 5;
const ARENA: usize = STAMP + 8;

/// Words of a checkpoint.
pub const CHECKPOINT_WORDS: usize = checkpoint_words(ARENA_BYTES_MAX as usize);

/// Words of a checkpoint that an arena of that many bytes fills.
#[must_use]
pub const fn checkpoint_words(arena_bytes: usize) -> usize {
    ARENA + arena_bytes.div_ceil(8)
}

/// What goes with the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The next block to be rendered from here.
    pub block: BlockIndex,
    /// The commands that are in.
    pub seq: Seq,
    /// Where in the log the patch in force stands, in bytes.
    pub patch_offset: u64,
    /// Where in the log the first record after `seq` stands, in bytes.
    pub next_offset: u64,
}

/// How good a place to begin a checkpoint before that block is for a replacement, where blocks are
/// published up to the frontier; more is better.
///
/// Newer is better; but far enough back that the blocks to prove itself by have been played already: a
/// block is rendered again in microseconds, the next one is to be waited for.
#[must_use]
pub fn rank(block: BlockIndex, frontier: BlockIndex) -> u64 {
    let provable = block.0.saturating_add(PROOF_BLOCKS) <= frontier.0;
    block.0 + if provable { 2 * CHECKPOINT_BLOCKS } else { 0 }
}

/// A checkpoint, over mapped or heap words.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Checkpoint<'a> {
    /// Writes a new, invalid checkpoint into zeroed words.
    ///
    /// # Errors
    /// When there are too few words.
    pub fn create(words: &'a [AtomicU64]) -> Result<Self, LayoutError> {
        if words.len() < CHECKPOINT_WORDS {
            return Err(LayoutError::Short {
                found: words.len(),
                needed: CHECKPOINT_WORDS,
            });
        }
        layout::seal_header(words, Kind::Checkpoint);
        Ok(Self { words })
    }

    /// A checkpoint that another process has made.
    ///
    /// # Errors
    /// When it is unfinished or does not fit.
    pub fn open(words: &'a [AtomicU64]) -> Result<Self, LayoutError> {
        layout::check_header(words, Kind::Checkpoint, CHECKPOINT_WORDS)?;
        Ok(Self { words })
    }

    /// The words that an arena of that many bytes fills, as far as they are there.
    #[must_use]
    pub fn filled(&self, arena_bytes: usize) -> &'a [AtomicU64] {
        &self.words[..checkpoint_words(arena_bytes).min(self.words.len())]
    }

    /// The block it stands for, if it is complete; its content may still turn out to be invalid.
    #[must_use]
    pub fn block(&self) -> Option<BlockIndex> {
        self.words[STAMP]
            .load(Ordering::Acquire)
            .checked_sub(1)
            .map(BlockIndex)
    }

    /// The mark, if the checkpoint is complete; the arena may still turn out to be damaged.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        let mark = self.mark_of(self.block()?);
        // SYNC: checkpoint broken (reader)
        fence(Ordering::Acquire);
        (self.block() == Some(mark.block)).then_some(mark)
    }

    fn mark_of(&self, block: BlockIndex) -> Mark {
        let get = |word: usize| self.words[word].load(Ordering::Relaxed);
        Mark {
            block,
            seq: Seq(get(SEQ)),
            patch_offset: get(PATCH_OFFSET),
            next_offset: get(NEXT_OFFSET),
        }
    }

    /// The length of the arena, in words.
    #[must_use]
    pub fn arena_words(&self) -> usize {
        let words = self.words[LEN].load(Ordering::Relaxed) as usize;
        words.min(self.words.len() - ARENA)
    }

    /// Copies the arena, and returns its mark; `None` when it is of another length, not whole, or
    /// damaged: then what was copied is worth nothing.
    #[must_use]
    pub fn read(&self, arena: &mut [u64]) -> Option<Mark> {
        // SYNC: checkpoint complete (reader)
        let stamp = self.words[STAMP].load(Ordering::Acquire);
        let mark = self.mark_of(BlockIndex(stamp.checked_sub(1)?));
        let get = |word: usize| self.words[word].load(Ordering::Relaxed);
        if get(LEN) != arena.len() as u64 {
            return None;
        }
        let words = self.words.get(ARENA..ARENA + arena.len())?;
        let mut found = 0_u64;
        for (at, (to, word)) in arena.iter_mut().zip(words).enumerate() {
            *to = word.load(Ordering::Relaxed);
            found = found.wrapping_add(weighed(at, *to));
        }
        let expected = get(SUM);
        // SYNC: checkpoint broken (reader)
        fence(Ordering::Acquire);
        let still = self.words[STAMP].load(Ordering::Relaxed) == stamp;
        (still && sum(mark, found) == expected).then_some(mark)
    }
}

/// What a word adds to the sum of an arena: it, times an odd number that belongs to its place. So one
/// word that is changed always changes the sum, and the sum follows a change without a look at the rest.
///
/// # Source
/// Multilinear hashing modulo 2^64: Lawrence Carter, Mark Wegman, Universal classes of hash functions,
/// 1979; the numbers by the multiplication of Knuth, The Art of Computer Programming, 6.4.
#[inline(always)]
fn weighed(at: usize, word: u64) -> u64 {
    let spread = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word.wrapping_mul((spread ^ (spread >> 32)) | 1)
}

/// The sum that stands in a checkpoint: of the arena and its mark.
fn sum(mark: Mark, arena: u64) -> u64 {
    if cfg!(loom) {
        return 0; // equal for all: under loom the stamp alone has to tell a torn checkpoint
    }
    let mut hash = Xxh3::with_seed(mark.block.0);
    for number in [mark.seq.0, mark.patch_offset, mark.next_offset, arena] {
        hash.update(&number.to_le_bytes());
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_begins_at_the_newest_that_it_can_prove_itself_from() {
        let best = |blocks: &[u64], frontier: u64| {
            let ranked = |block: &&u64| rank(BlockIndex(**block), BlockIndex(frontier));
            *blocks.iter().max_by_key(ranked).unwrap()
        };
        assert_eq!(best(&[32, 48], 55), 32);
        assert_eq!(best(&[32, 48], 56), 48);
        // To go back far would take longer than to wait.
        assert_eq!(best(&[0, 16, 1_040], 1_044), 1_040);
    }
}
