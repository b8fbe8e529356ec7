//! A copy of the arena, from which a replacement goes on.
//!
//! Each slot has two, written in turn by the worker in it: one is whole at every instant. Valid
//! only once complete: the stamp is broken before the copy and set after it, a checksum over all
//! of it decides. Readers are replacements; they take the newest valid one of all four.

use xxhash_rust::xxh3::Xxh3;

use crate::{
    layout::{self, HEADER_WORDS, Kind, LayoutError},
    limits::ARENA_BYTES_MAX,
    sync::{AtomicU64, Ordering, fence},
    units::{BlockIndex, Seq},
};

const STAMP: usize = HEADER_WORDS;
const SEQ: usize = STAMP + 1;
const PATCH_OFFSET: usize = STAMP + 2;
const NEXT_OFFSET: usize = STAMP + 3;
const BYTES: usize = STAMP + 4;
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

    /// Writes the arena; an arena beyond [`ARENA_BYTES_MAX`] is not written at all.
    ///
    /// # Real-time
    /// Yes; linear in the arena.
    pub fn write(&self, mark: Mark, arena: &[u8]) {
        if arena.len() as u64 > ARENA_BYTES_MAX {
            return;
        }
        self.words[STAMP].store(0, Ordering::Relaxed);
        // SYNC: checkpoint broken (writer)
        fence(Ordering::Release);
        let head = [
            mark.seq.0,
            mark.patch_offset,
            mark.next_offset,
            arena.len() as u64,
            sum(mark, arena),
        ];
        for (word, value) in self.words[SEQ..].iter().zip(head) {
            word.store(value, Ordering::Relaxed);
        }
        let (whole, rest) = arena.as_chunks::<8>();
        for (word, eight) in self.words[ARENA..].iter().zip(whole) {
            word.store(u64::from_le_bytes(*eight), Ordering::Relaxed);
        }
        if !rest.is_empty() {
            let mut eight = [0; 8];
            eight[..rest.len()].copy_from_slice(rest);
            self.words[ARENA + whole.len()].store(u64::from_le_bytes(eight), Ordering::Relaxed);
        }
        // SYNC: checkpoint complete (writer)
        self.words[STAMP].store(mark.block.0 + 1, Ordering::Release);
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
        let get = |word: usize| self.words[word].load(Ordering::Relaxed);
        let mark = Mark {
            block: self.block()?,
            seq: Seq(get(SEQ)),
            patch_offset: get(PATCH_OFFSET),
            next_offset: get(NEXT_OFFSET),
        };
        // SYNC: checkpoint broken (reader)
        fence(Ordering::Acquire);
        (self.block() == Some(mark.block)).then_some(mark)
    }

    /// The mark and the arena, if they are whole.
    #[must_use]
    pub fn read(&self) -> Option<(Mark, Vec<u8>)> {
        // SYNC: checkpoint complete (reader)
        let stamp = self.words[STAMP].load(Ordering::Acquire);
        let get = |word: usize| self.words[word].load(Ordering::Relaxed);
        let mark = Mark {
            block: BlockIndex(stamp.checked_sub(1)?),
            seq: Seq(get(SEQ)),
            patch_offset: get(PATCH_OFFSET),
            next_offset: get(NEXT_OFFSET),
        };
        let bytes = usize::try_from(get(BYTES))
            .ok()
            .filter(|n| *n as u64 <= ARENA_BYTES_MAX)?;
        let words = &self.words[ARENA..ARENA + bytes.div_ceil(8)];
        let mut arena = vec![0; words.len() * 8];
        let (chunks, _) = arena.as_chunks_mut::<8>();
        for (eight, word) in chunks.iter_mut().zip(words) {
            *eight = word.load(Ordering::Relaxed).to_le_bytes();
        }
        arena.truncate(bytes);
        let expected = get(SUM);
        // SYNC: checkpoint broken (reader)
        fence(Ordering::Acquire);
        let still = self.words[STAMP].load(Ordering::Relaxed) == stamp;
        (still && sum(mark, &arena) == expected).then_some((mark, arena))
    }
}

fn sum(mark: Mark, arena: &[u8]) -> u64 {
    if cfg!(loom) {
        return 0; // equal for all: under loom the stamp alone has to tell a torn checkpoint
    }
    let mut hash = Xxh3::with_seed(mark.block.0);
    hash.update(&mark.seq.0.to_le_bytes());
    hash.update(&mark.patch_offset.to_le_bytes());
    hash.update(&mark.next_offset.to_le_bytes());
    hash.update(arena);
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::heap;

    #[test]
    fn only_a_whole_checkpoint_is_read() {
        let words = heap(CHECKPOINT_WORDS);
        let checkpoint = Checkpoint::create(&words).unwrap();
        assert_eq!(checkpoint.read(), None);
        let mark = Mark {
            block: BlockIndex(32),
            seq: Seq(4),
            patch_offset: 10,
            next_offset: 99,
        };
        let arena: Vec<u8> = (0..101).collect();
        checkpoint.write(mark, &arena);
        assert_eq!(checkpoint.read(), Some((mark, arena)));
        words[ARENA + 3].fetch_xor(1, Ordering::Relaxed);
        assert_eq!(checkpoint.read(), None);
    }
}
