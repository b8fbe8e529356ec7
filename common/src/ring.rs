//! The ring of a slot: the blocks that its worker has published, and the proofs of its work.
//!
//! The writer unseals a cell before it writes, and seals it with its block number last, with release. A
//! reader checks the seal before and after its copy, then the checksum: it gets the whole block or nothing.
//! A cell whose block is still to be played is never written again: a replacement leaves its predecessor's
//! block there and only proves, block by block, that it would have published the same. The one writer is
//! the worker in the slot. A ring never waits and is never cleared.

use xxhash_rust::xxh3::Xxh3;

use crate::{
    layout::{self, HEADER_WORDS, Kind, LayoutError},
    limits::{RING_CELLS, place},
    sync::{AtomicU64, Ordering, fence},
    units::{BlockIndex, Incarnation, Seq},
};

const SAMPLES: usize = 4; // in the header: samples in a block

// A cell's first words; the samples follow, two to a word.
const SEAL: usize = 0;
const SUM: usize = 1;
const SEQ: usize = 2;
const WRITER: usize = 3;
const CELL_HEAD: usize = 8;

// A proof's words.
const TAG: usize = 0;
const PROVER: usize = 1;
const PROOF_SUM: usize = 2;
const PROOF_WORDS: usize = 4;

/// Words of a ring for blocks of this many samples.
#[must_use]
pub const fn ring_words(block_samples: usize) -> usize {
    HEADER_WORDS + RING_CELLS as usize * (cell_words(block_samples) + PROOF_WORDS)
}

const fn cell_words(block_samples: usize) -> usize {
    (CELL_HEAD + block_samples.div_ceil(2)).next_multiple_of(8)
}

/// The checksum of a block: of its samples, its number and the sequence number in force.
///
/// # Real-time
/// Yes; linear in the samples.
#[must_use]
pub fn checksum(block: BlockIndex, seq: Seq, samples: &[f32]) -> u64 {
    if cfg!(loom) {
        return 0; // equal for all blocks: under loom the seals alone must reveal a torn block
    }
    let mut hash = Xxh3::with_seed(block.0 ^ seq.0.rotate_left(32));
    for chunk in samples.chunks(64) {
        let mut bytes = [0u8; 256];
        for (four, sample) in bytes.chunks_exact_mut(4).zip(chunk) {
            four.copy_from_slice(&sample.to_bits().to_le_bytes());
        }
        hash.update(&bytes[..chunk.len() * 4]);
    }
    hash.digest()
}

/// A worker's proof of what it rendered for a block. Both replicas leave equal proofs unless one is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The worker that rendered the block.
    pub incarnation: Incarnation,
    /// The checksum of the rendered block.
    pub sum: u64,
}

/// The ring, over mapped words or words on the heap.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'a> {
    words: &'a [AtomicU64],
    block_samples: usize,
}

impl<'a> Ring<'a> {
    /// Writes a new, empty ring into zeroed words.
    ///
    /// # Errors
    /// If there are too few words.
    pub fn create(words: &'a [AtomicU64], block_samples: usize) -> Result<Self, LayoutError> {
        let needed = ring_words(block_samples);
        if words.len() < needed {
            return Err(LayoutError::Short {
                found: words.len(),
                needed,
            });
        }
        words[SAMPLES].store(block_samples as u64, Ordering::Relaxed);
        layout::seal_header(words, Kind::Ring);
        Ok(Self {
            words,
            block_samples,
        })
    }

    /// Opens a ring that another process has created, for blocks of this many samples.
    ///
    /// # Errors
    /// If the ring is unfinished or does not fit.
    pub fn open(words: &'a [AtomicU64], block_samples: usize) -> Result<Self, LayoutError> {
        let needed = ring_words(block_samples);
        layout::check_header(words, Kind::Ring, needed)?;
        let found = words[SAMPLES].load(Ordering::Relaxed) as usize;
        if found != block_samples {
            return Err(LayoutError::Short {
                found,
                needed: block_samples,
            });
        }
        Ok(Self {
            words,
            block_samples,
        })
    }

    /// All words of the ring, to lock them into memory.
    #[must_use]
    pub const fn all_words(&self) -> &'a [AtomicU64] {
        self.words
    }

    fn cell(&self, block: BlockIndex) -> &'a [AtomicU64] {
        let words = cell_words(self.block_samples);
        let start = HEADER_WORDS + place(block, RING_CELLS) * words;
        &self.words[start..start + words]
    }

    fn proof_words(&self, block: BlockIndex) -> &'a [AtomicU64] {
        let start = HEADER_WORDS
            + RING_CELLS as usize * cell_words(self.block_samples)
            + place(block, RING_CELLS) * PROOF_WORDS;
        &self.words[start..start + PROOF_WORDS]
    }

    /// Publishes a block. Only the slot's worker may call this, and only for a block that the ring does not hold yet.
    ///
    /// # Real-time
    /// Yes; linear in the samples.
    pub fn publish(
        &self,
        block: BlockIndex,
        writer: Incarnation,
        seq: Seq,
        sum: u64,
        samples: &[f32],
    ) {
        let cell = self.cell(block);
        cell[SEAL].store(0, Ordering::Relaxed);
        // SYNC: seal broken (writer): a reader that sees a new sample sees the broken seal
        fence(Ordering::Release);
        cell[SUM].store(sum, Ordering::Relaxed);
        cell[SEQ].store(seq.0, Ordering::Relaxed);
        cell[WRITER].store(writer.0, Ordering::Relaxed);
        layout::store_samples(&cell[CELL_HEAD..], samples);
        // SYNC: block published (writer)
        cell[SEAL].store(block.0 + 1, Ordering::Release);
    }

    /// Copies a block if it is published and whole. Returns the sequence number in force.
    ///
    /// # Real-time
    /// Yes; linear in the samples.
    #[must_use]
    pub fn read(&self, block: BlockIndex, into: &mut [f32]) -> Option<Seq> {
        let cell = self.cell(block);
        // SYNC: block published (reader)
        if cell[SEAL].load(Ordering::Acquire) != block.0 + 1 {
            return None;
        }
        layout::load_samples(&cell[CELL_HEAD..], into);
        let seq = Seq(cell[SEQ].load(Ordering::Relaxed));
        let sum = cell[SUM].load(Ordering::Relaxed);
        // SYNC: seal broken (reader)
        fence(Ordering::Acquire);
        let still = cell[SEAL].load(Ordering::Relaxed) == block.0 + 1;
        (still && checksum(block, seq, into) == sum).then_some(seq)
    }

    /// The writer and checksum of a published block, without its samples.
    ///
    /// # Real-time
    /// Yes.
    #[must_use]
    pub fn published(&self, block: BlockIndex) -> Option<Proof> {
        let cell = self.cell(block);
        // SYNC: block published (reader)
        if cell[SEAL].load(Ordering::Acquire) != block.0 + 1 {
            return None;
        }
        let incarnation = Incarnation(cell[WRITER].load(Ordering::Relaxed));
        let sum = cell[SUM].load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        (cell[SEAL].load(Ordering::Relaxed) == block.0 + 1).then_some(Proof { incarnation, sum })
    }

    /// Leaves the proof for a block, whether the block is published or not.
    ///
    /// # Real-time
    /// Yes.
    pub fn prove(&self, block: BlockIndex, proof: Proof) {
        let words = self.proof_words(block);
        words[TAG].store(0, Ordering::Relaxed);
        // SYNC: proof broken (writer)
        fence(Ordering::Release);
        words[PROVER].store(proof.incarnation.0, Ordering::Relaxed);
        words[PROOF_SUM].store(proof.sum, Ordering::Relaxed);
        // SYNC: proof (writer)
        words[TAG].store(block.0 + 1, Ordering::Release);
    }

    /// The proof for a block.
    #[must_use]
    pub fn proof(&self, block: BlockIndex) -> Option<Proof> {
        let words = self.proof_words(block);
        // SYNC: proof (reader)
        if words[TAG].load(Ordering::Acquire) != block.0 + 1 {
            return None;
        }
        let incarnation = Incarnation(words[PROVER].load(Ordering::Relaxed));
        let sum = words[PROOF_SUM].load(Ordering::Relaxed);
        // SYNC: proof broken (reader)
        fence(Ordering::Acquire);
        (words[TAG].load(Ordering::Relaxed) == block.0 + 1).then_some(Proof { incarnation, sum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::heap;

    const SAMPLES_IN_BLOCK: usize = 6;

    #[test]
    fn a_block_comes_out_as_it_went_in_and_only_under_its_number() {
        let words = heap(ring_words(SAMPLES_IN_BLOCK));
        let ring = Ring::create(&words, SAMPLES_IN_BLOCK).unwrap();
        let samples = [0.5, -0.25, 1e-40, f32::NAN, 0.0, -0.0];
        let block = BlockIndex(3);
        ring.publish(
            block,
            Incarnation(1),
            Seq(9),
            checksum(block, Seq(9), &samples),
            &samples,
        );
        let mut out = [0.0; SAMPLES_IN_BLOCK];
        assert_eq!(ring.read(block, &mut out), Some(Seq(9)));
        assert_eq!(out.map(f32::to_bits), samples.map(f32::to_bits));
        assert_eq!(ring.read(BlockIndex(3 + RING_CELLS), &mut out), None);
        assert_eq!(ring.read(BlockIndex(4), &mut out), None);
    }

    #[test]
    fn a_flipped_bit_or_a_broken_seal_hides_the_block() {
        let words = heap(ring_words(SAMPLES_IN_BLOCK));
        let ring = Ring::create(&words, SAMPLES_IN_BLOCK).unwrap();
        let samples = [0.5; SAMPLES_IN_BLOCK];
        let block = BlockIndex(0);
        let sum = checksum(block, Seq(0), &samples);
        let mut out = [0.0; SAMPLES_IN_BLOCK];
        ring.publish(block, Incarnation(1), Seq(0), sum, &samples);
        ring.cell(block)[CELL_HEAD].fetch_xor(1 << 40, Ordering::Relaxed);
        assert_eq!(ring.read(block, &mut out), None);
        ring.publish(block, Incarnation(1), Seq(0), sum, &samples);
        assert!(ring.read(block, &mut out).is_some());
        ring.cell(block)[SEAL].store(0, Ordering::Relaxed);
        assert_eq!(ring.read(block, &mut out), None);
        assert_eq!(ring.published(block), None);
    }
}
