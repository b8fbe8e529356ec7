//! How a worker writes its two checkpoints: a bounded part in each block.
//!
//! A checkpoint still holds the arena of two checkpoints ago. The writer copies only the pieces that have
//! changed since. If these are many, it copies a share in each block before the checkpoint is due, and at
//! the end the pieces that have changed again. Live migration of virtual machines pre-copies memory in the
//! same way.
//!
//! # Source
//! Christopher Clark et al., Live migration of virtual machines, NSDI 2005.

use super::{ARENA, Checkpoint, Mark, PIECE_WORDS, SEQ, STAMP, sum, weighed};
use crate::{
    limits::{ARENA_BYTES_MAX, CHECKPOINT_BLOCKS},
    sync::{Ordering, fence},
    units::BlockIndex,
};

/// Pieces in a group: one bit of a word each.
const GROUP: usize = 64;
/// Words in a group.
const GROUP_WORDS: usize = GROUP * PIECE_WORDS;
/// Groups in the largest arena.
const GROUPS: usize = (ARENA_BYTES_MAX as usize).div_ceil(8 * GROUP_WORDS);
/// With at most this many waiting pieces nothing is copied before the checkpoint is due.
const FEW: usize = 1_024;
/// Most pieces copied in a block, unless blocks change more.
const MANY: usize = 8_192;
/// Copying begins this many blocks before the checkpoint is due. Until then the older checkpoint stays
/// valid, for a referee that has to go back.
const BLOCKS: u64 = CHECKPOINT_BLOCKS * 3 / 4;

/// The state of a slot's checkpoint writer.
pub struct Writer {
    both: [Half; 2],
    /// The index of the checkpoint to write next.
    next: usize,
    /// Pieces that the last block has written.
    written: usize,
    /// The group that the next checkpoint copies even if it is unchanged: damage from outside is repaired that way.
    renewed: usize,
}

/// The writer's state for one checkpoint.
struct Half {
    /// One bit for each piece that must be copied.
    waiting: Vec<u64>,
    /// The number of these pieces.
    count: usize,
    /// The contribution of each copied group to the sum.
    sums: Vec<u64>,
    /// The group at which copying continues.
    at: usize,
    /// Whether the stamp is broken.
    broken: bool,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// A writer before the first block. The checkpoints hold what another worker has left.
    #[must_use]
    pub fn new() -> Self {
        let half = || Half {
            waiting: vec![0; GROUPS],
            count: 0,
            sums: vec![0; GROUPS],
            at: 0,
            broken: false,
        };
        Self {
            both: [half(), half()],
            next: 0,
            written: 0,
            renewed: 0,
        }
    }

    /// Starts with a new arena of this many words: all pieces must be copied.
    ///
    /// # Real-time
    /// Yes.
    pub fn begin(&mut self, words: usize) {
        let pieces = words.div_ceil(PIECE_WORDS);
        for half in &mut self.both {
            half.count = pieces.min(GROUPS * GROUP);
            half.at = 0;
            for (group, waiting) in half.waiting.iter_mut().enumerate() {
                *waiting = all(pieces, group);
            }
        }
    }

    /// Marks the pieces that a block has written for copying, and clears the bits in `written`.
    ///
    /// # Real-time
    /// Yes.
    pub fn note(&mut self, written: &mut [u64]) {
        self.written = 0;
        for (group, written) in written.iter_mut().enumerate().take(GROUPS) {
            if *written != 0 {
                self.written += written.count_ones() as usize;
                for half in &mut self.both {
                    half.count += (*written & !half.waiting[group]).count_ones() as usize;
                    half.waiting[group] |= *written;
                }
                *written = 0;
            }
        }
    }

    /// Whether there is something to copy before this block.
    ///
    /// # Real-time
    /// Yes.
    #[must_use]
    pub fn has_work(&self, block: BlockIndex) -> bool {
        let half = &self.both[self.next];
        let left = blocks_left(block);
        left == 0 || half.count > FEW && (left <= BLOCKS || half.broken)
    }

    /// Continues the next checkpoint after the block before `mark`. `active`: the pieces that may change in
    /// any block. `at_once`: complete the checkpoint when it is due, however much must be copied. Returns
    /// whether a checkpoint was completed.
    ///
    /// # Real-time
    /// Yes; unless `at_once`, the copied amount is bounded, except for the active pieces.
    pub fn go_on(
        &mut self,
        checkpoints: &[Checkpoint<'_>; 2],
        mark: Mark,
        arena: &[u64],
        active: &[u64],
        at_once: bool,
    ) -> bool {
        if arena.len() as u64 * 8 > ARENA_BYTES_MAX || !self.has_work(mark.block) {
            return false;
        }
        let (half, checkpoint) = (&mut self.both[self.next], &checkpoints[self.next]);
        let left = blocks_left(mark.block);
        if left == 0 && (at_once || half.count <= 4 * FEW.max(self.written)) {
            half.finish(checkpoint, mark, arena, active, self.renewed);
            self.renewed = (self.renewed + 1) % arena.len().div_ceil(GROUP_WORDS).max(1);
            self.next ^= 1;
            return true;
        }
        let share = half.count / left.max(1) as usize + 1;
        half.copy_some(checkpoint, arena, share.min(MANY.max(4 * self.written)));
        false
    }
}

impl Half {
    fn break_stamp(&mut self, checkpoint: &Checkpoint<'_>) {
        if !self.broken {
            self.broken = true;
            checkpoint.words[STAMP].store(0, Ordering::Relaxed);
            // SYNC: checkpoint broken (writer)
            fence(Ordering::Release);
        }
    }

    /// Copies this many waiting pieces, rounded up to a whole group.
    fn copy_some(&mut self, checkpoint: &Checkpoint<'_>, arena: &[u64], pieces: usize) {
        self.break_stamp(checkpoint);
        let enough = self.count.saturating_sub(pieces);
        while self.count > enough {
            self.copy(checkpoint, arena, self.at, 0);
            self.at = (self.at + 1) % GROUPS;
        }
    }

    fn finish(
        &mut self,
        checkpoint: &Checkpoint<'_>,
        mark: Mark,
        arena: &[u64],
        active: &[u64],
        renewed: usize,
    ) {
        self.break_stamp(checkpoint);
        let groups = arena.len().div_ceil(GROUP_WORDS);
        for group in 0..groups {
            let more = match active.get(group) {
                Some(active) if group != renewed => *active,
                _ => u64::MAX,
            };
            self.copy(checkpoint, arena, group, more);
        }
        let whole = self.sums[..groups]
            .iter()
            .fold(0_u64, |a, b| a.wrapping_add(*b));
        let head = [
            mark.seq.0,
            mark.patch_offset,
            mark.next_offset,
            arena.len() as u64,
            sum(mark, whole),
        ];
        for (word, value) in checkpoint.words[SEQ..].iter().zip(head) {
            word.store(value, Ordering::Relaxed);
        }
        // SYNC: checkpoint complete (writer)
        checkpoint.words[STAMP].store(mark.block.0 + 1, Ordering::Release);
        self.broken = false;
    }

    /// Copies the waiting pieces of a group, and those in `more`.
    fn copy(&mut self, checkpoint: &Checkpoint<'_>, arena: &[u64], group: usize, more: u64) {
        let all = all(arena.len().div_ceil(PIECE_WORDS), group);
        let pieces = (self.waiting[group] | more) & all;
        self.count -= self.waiting[group].count_ones() as usize;
        self.waiting[group] = 0;
        // If all pieces are copied, the old content does not matter.
        let known = pieces != all;
        let mut sum = if known { self.sums[group] } else { 0 };
        let mut left = pieces;
        while left != 0 {
            let piece = group * GROUP + left.trailing_zeros() as usize;
            sum = sum.wrapping_add(copy_piece(checkpoint, arena, piece, known));
            left &= left - 1;
        }
        self.sums[group] = sum;
    }
}

/// Copies a piece. Returns its contribution to the sum; if the old content is `known`, the change of the
/// contribution.
#[inline(always)]
fn copy_piece(checkpoint: &Checkpoint<'_>, arena: &[u64], piece: usize, known: bool) -> u64 {
    let first = piece * PIECE_WORDS;
    let end = arena.len().min(first + PIECE_WORDS);
    let (from, to) = (
        &arena[first..end],
        &checkpoint.words[ARENA + first..ARENA + end],
    );
    let mut sum = 0_u64;
    for (number, (from, to)) in from.iter().zip(to).enumerate() {
        let old = if known { to.load(Ordering::Relaxed) } else { 0 };
        to.store(*from, Ordering::Relaxed);
        sum = sum.wrapping_add(weighed(first + number, from.wrapping_sub(old)));
    }
    sum
}

/// Blocks from this one to the next before which a checkpoint is due; 0 if one is due now.
const fn blocks_left(block: BlockIndex) -> u64 {
    (CHECKPOINT_BLOCKS - block.0 % CHECKPOINT_BLOCKS) % CHECKPOINT_BLOCKS
}

/// The pieces of a group that exist, out of `pieces` in all.
const fn all(pieces: usize, group: usize) -> u64 {
    match pieces.saturating_sub(group * GROUP) {
        0 => 0,
        GROUP.. => u64::MAX,
        some => u64::MAX >> (GROUP - some),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{
        checkpoint::CHECKPOINT_WORDS,
        sync::{AtomicU64, heap},
        units::Seq,
    };

    const fn mark(block: u64) -> Mark {
        Mark {
            block: BlockIndex(block),
            seq: Seq(block / 3),
            patch_offset: 10,
            next_offset: block,
        }
    }

    fn pair(words: &[Vec<AtomicU64>; 2]) -> [Checkpoint<'_>; 2] {
        [0, 1].map(|n| Checkpoint::create(&words[n]).unwrap())
    }

    /// Writes checkpoints of an arena of this many words. Each block writes the active words, and `each` others.
    fn play(words: usize, blocks: u64, each: usize) -> (u64, u64) {
        let memory = [heap(CHECKPOINT_WORDS), heap(CHECKPOINT_WORDS)];
        let checkpoints = pair(&memory);
        let mut writer = Writer::new();
        writer.begin(words);
        let pieces = words.div_ceil(PIECE_WORDS);
        let mut arena: Vec<u64> = (0..words as u64).collect();
        let (mut active, mut written) =
            (vec![0; pieces.div_ceil(64)], vec![0; pieces.div_ceil(64)]);
        (0..pieces)
            .step_by(7)
            .for_each(|piece| active[piece / 64] |= 1 << (piece % 64));
        let (mut finished, mut valid) = (0, 0);
        let mut read = vec![0; words];
        let mut random = 1_u64;
        for block in 1..=blocks {
            for word in (0..words).step_by(7 * PIECE_WORDS) {
                arena[word] = arena[word].wrapping_add(block);
            }
            for _ in 0..each {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(99);
                let word = (random >> 33) as usize % words;
                arena[word] ^= random;
                written[word / PIECE_WORDS / 64] |= 1 << (word / PIECE_WORDS % 64);
            }
            writer.note(&mut written);
            if writer.go_on(&checkpoints, mark(block), &arena, &active, false) {
                finished += 1;
                let newest = checkpoints.iter().max_by_key(|c| c.block()).unwrap();
                assert_eq!(newest.read(&mut read), Some(mark(block)));
                assert_eq!(read, arena, "block {block}");
            }
            // One checkpoint is whole at any time, once there was one.
            let whole = checkpoints.iter().filter(|c| c.read(&mut read).is_some());
            valid += u64::from(whole.count() > 0);
        }
        (finished, valid)
    }

    #[test]
    fn a_checkpoint_holds_the_arena_as_it_is_whatever_was_copied_before() {
        // One piece; one group; several groups; an arena so large that it is copied over many blocks.
        for (words, each) in [(3, 1), (100, 0), (5_000, 40), (200_001, 300)] {
            let (finished, valid) = play(words, 160, each);
            assert!(
                finished >= 8 && valid >= 120,
                "{words}: {finished}, {valid}"
            );
        }
    }

    #[test]
    fn one_that_another_worker_has_written_is_written_anew() {
        let memory = [heap(CHECKPOINT_WORDS), heap(CHECKPOINT_WORDS)];
        let checkpoints = pair(&memory);
        for life in 1..4 {
            let arena = vec![life; 1_000 * life as usize];
            let mut writer = Writer::new();
            writer.begin(arena.len());
            assert!(writer.go_on(&checkpoints, mark(16 * life), &arena, &[], true));
            let mut read = vec![0; arena.len()];
            assert_eq!(checkpoints[0].read(&mut read), Some(mark(16 * life)));
            assert_eq!(read, arena);
        }
    }

    #[test]
    fn what_is_damaged_is_not_read_and_does_not_stay() {
        let memory = [heap(CHECKPOINT_WORDS), heap(CHECKPOINT_WORDS)];
        let checkpoints = pair(&memory);
        let arena = vec![7; 2_000];
        let inactive = vec![0; 4];
        let mut writer = Writer::new();
        writer.begin(arena.len());
        let mut read = vec![0; arena.len()];
        let mut block = 0;
        let mut next = |writer: &mut Writer| {
            block += 16;
            assert!(writer.go_on(&checkpoints, mark(block), &arena, &inactive, false));
        };
        next(&mut writer);
        memory[0][ARENA + 1_500].fetch_xor(1 << 40, Ordering::Relaxed);
        assert_eq!(checkpoints[0].read(&mut read), None);
        assert_eq!(checkpoints[0].read(&mut read[1..]), None);
        for _ in 0..8 {
            next(&mut writer);
        }
        assert!(checkpoints[0].read(&mut read).is_some());
    }
}
