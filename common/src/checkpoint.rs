//! A checkpoint: a copy of the arena, from which a replacement starts.
//!
//! Each slot has two, written alternately by its worker ([`Writer`]), so that one of them is always whole.
//! A checkpoint is valid only when complete: the writer breaks its stamp before the copy and sets it
//! afterwards, and a checksum covers the whole content. Replacements and trials read the best valid one of
//! all four.

mod writer;

pub use writer::Writer;

use xxhash_rust::xxh3::Xxh3;

use crate::{
    layout::{self, HEADER_WORDS, Kind, LayoutError},
    limits::{ARENA_BYTES_MAX, CHECKPOINT_BLOCKS, PROOF_BLOCKS},
    sync::{AtomicU64, Ordering, fence},
    units::{BlockIndex, Seq},
};

/// Words of a piece, the unit of copying: 64 bytes.
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

/// Words of a checkpoint with an arena of this many bytes.
#[must_use]
pub const fn checkpoint_words(arena_bytes: usize) -> usize {
    ARENA + arena_bytes.div_ceil(8)
}

/// What a checkpoint holds beside the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The next block to render from here.
    pub block: BlockIndex,
    /// The commands up to this number have been applied.
    pub seq: Seq,
    /// The place in the log of the patch in force, in bytes.
    pub patch_offset: u64,
    /// The place in the log of the first record after `seq`, in bytes.
    pub next_offset: u64,
}

/// The rank of a checkpoint before `block` as the start of a replacement, when blocks up to `frontier` have
/// been published. Higher is better.
///
/// A newer checkpoint is better, as long as enough published blocks follow it for the replacement to prove
/// itself: to render a block again takes microseconds, to wait for the next one takes much longer.
#[must_use]
pub fn rank(block: BlockIndex, frontier: BlockIndex) -> u64 {
    let provable = block.0.saturating_add(PROOF_BLOCKS) <= frontier.0;
    block.0 + if provable { 2 * CHECKPOINT_BLOCKS } else { 0 }
}

/// A checkpoint, over mapped words or words on the heap.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Checkpoint<'a> {
    /// Writes a new, invalid checkpoint into zeroed words.
    ///
    /// # Errors
    /// If there are too few words.
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

    /// Opens a checkpoint that another process has created.
    ///
    /// # Errors
    /// If the checkpoint is unfinished or does not fit.
    pub fn open(words: &'a [AtomicU64]) -> Result<Self, LayoutError> {
        layout::check_header(words, Kind::Checkpoint, CHECKPOINT_WORDS)?;
        Ok(Self { words })
    }

    /// The words that an arena of this many bytes fills, cut to those that exist.
    #[must_use]
    pub fn filled(&self, arena_bytes: usize) -> &'a [AtomicU64] {
        &self.words[..checkpoint_words(arena_bytes).min(self.words.len())]
    }

    /// The block of the checkpoint if it is complete. The content may still prove to be damaged.
    #[must_use]
    pub fn block(&self) -> Option<BlockIndex> {
        self.words[STAMP]
            .load(Ordering::Acquire)
            .checked_sub(1)
            .map(BlockIndex)
    }

    /// The mark if the checkpoint is complete. The arena may still prove to be damaged.
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

    /// Copies the arena and returns its mark. `None` if the checkpoint has another length, is incomplete or
    /// damaged; the copy is then unusable.
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

/// The contribution of a word to the sum of an arena: the word, times an odd number that depends on its
/// index. A single changed word therefore always changes the sum, and the sum can be updated without
/// reading the other words.
///
/// # Source
/// Multilinear hashing modulo 2^64: Lawrence Carter, Mark Wegman, Universal classes of hash functions,
/// 1979; the numbers by the multiplication of Knuth, The Art of Computer Programming, 6.4.
#[inline(always)]
fn weighed(at: usize, word: u64) -> u64 {
    let spread = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word.wrapping_mul((spread ^ (spread >> 32)) | 1)
}

/// The checksum of a checkpoint: of the arena's sum and the mark.
fn sum(mark: Mark, arena: u64) -> u64 {
    if cfg!(loom) {
        return 0; // equal for all: under loom the stamp alone must reveal a torn checkpoint
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
        // To go back that far would take longer than to wait.
        assert_eq!(best(&[0, 16, 1_040], 1_044), 1_040);
    }
}
