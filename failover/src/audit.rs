//! The audit: is a follower ready, and do the replicas still agree? Checksums prove it.
//!
//! A worker leaves a proof, tagged with its incarnation, for every block that it renders, whether it
//! publishes the block or not. The audit compares each proof with the same block as another worker
//! published it: the worker in the other slot, or the predecessor in this slot. A worker that merely runs
//! is not ready.

use common::{
    limits::{PROOF_BLOCKS, RING_CELLS},
    ring::Ring,
    stage::Stage,
    units::{BlockIndex, Incarnation, Slot},
};

use crate::load::{NEAR_BLOCKS, overloaded};

/// Compares one worker's proofs with the blocks that other workers published.
#[derive(Clone, Debug)]
pub struct Audit {
    slot: Slot,
    incarnation: Incarnation,
    next: BlockIndex,
    equal_in_a_row: u64,
}

/// What the audit has found in one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Blocks whose checksums differed.
    pub differing: u64,
    /// The last block whose checksums differed.
    pub differing_at: Option<BlockIndex>,
    /// The worker has proven itself and has caught up.
    pub ready: bool,
}

impl Audit {
    /// An audit of this incarnation of the worker in `slot`.
    #[must_use]
    pub const fn new(slot: Slot, incarnation: Incarnation) -> Self {
        Self {
            slot,
            incarnation,
            next: BlockIndex(0),
            equal_in_a_row: 0,
        }
    }

    /// Checks all proofs that have come since the last call.
    pub fn look(&mut self, stage: &Stage<'_>, rings: &[Ring<'_>; 2]) -> Findings {
        let seat = stage.slot(self.slot);
        let mut findings = Findings::default();
        if seat.incarnation() != self.incarnation {
            return findings; // the worker has not taken its seat yet
        }
        let frontier = seat.frontier();
        self.next = self
            .next
            .max(BlockIndex(frontier.0.saturating_sub(RING_CELLS / 2)));
        while self.next < frontier {
            match self.compare(rings) {
                Compared::Equal => self.equal_in_a_row += 1,
                Compared::Differing => {
                    findings.differing += 1;
                    findings.differing_at = Some(self.next);
                    self.equal_in_a_row = 0;
                }
                // Try again with the next call, unless the block is long past.
                Compared::NobodyElse if frontier.0 - self.next.0 < RING_CELLS / 4 => break,
                Compared::NobodyElse | Compared::NotMine => {}
            }
            self.next = self.next.next();
        }
        let ahead = stage.slot(self.slot.other()).frontier();
        let caught_up = match overloaded(stage) {
            true => frontier.0 + 2 * NEAR_BLOCKS + 2 >= ahead.0,
            false => frontier.0 + 4 >= ahead.0.min(stage.horizon().0) && frontier >= stage.cursor(),
        };
        findings.ready = self.equal_in_a_row >= PROOF_BLOCKS && caught_up;
        findings
    }

    /// Compares the worker's proof for the next block with the block that another worker published.
    fn compare(&self, rings: &[Ring<'_>; 2]) -> Compared {
        let [own, across] = match self.slot {
            Slot::Zero => [&rings[0], &rings[1]],
            Slot::One => [&rings[1], &rings[0]],
        };
        let mine = own
            .proof(self.next)
            .filter(|proof| proof.incarnation == self.incarnation);
        let Some(mine) = mine else {
            return Compared::NotMine;
        };
        let before = || {
            own.published(self.next)
                .filter(|p| p.incarnation != self.incarnation)
        };
        match across.published(self.next).or_else(before) {
            Some(reference) if reference.sum == mine.sum => Compared::Equal,
            Some(_) => Compared::Differing,
            None => Compared::NobodyElse,
        }
    }
}

enum Compared {
    Equal,
    Differing,
    /// No other worker has published the block, or not yet.
    NobodyElse,
    /// The ring has no proof by this incarnation: it began after the block, or the proof has been overwritten.
    NotMine,
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        ring::{Proof, ring_words},
        stage::{AudioFormat, STAGE_WORDS},
        sync::heap,
        units::Seq,
    };

    /// Slot 0's worker (incarnation 1) has published `blocks`; the test audits slot 1's worker.
    fn with_standby(blocks: u64, test: impl FnOnce(Stage<'_>, [Ring<'_>; 2])) {
        let format = AudioFormat {
            rate_hz: 48_000,
            block_frames: 16,
            channels: 1,
            lead_blocks: 32,
            freewheel: false,
        };
        let (words, zero, one) = (
            heap(STAGE_WORDS),
            heap(ring_words(16)),
            heap(ring_words(16)),
        );
        let stage = Stage::create(&words, &format).unwrap();
        let rings = [
            Ring::create(&zero, 16).unwrap(),
            Ring::create(&one, 16).unwrap(),
        ];
        stage
            .slot(Slot::Zero)
            .take_seat(Incarnation(1), BlockIndex(0), Seq(0));
        for block in 0..blocks {
            rings[0].publish(BlockIndex(block), Incarnation(1), Seq(0), block, &[0.0; 16]);
            stage
                .slot(Slot::Zero)
                .advance(BlockIndex(block + 1), Seq(0));
        }
        test(stage, rings);
    }

    fn prove(stage: &Stage<'_>, rings: &[Ring<'_>; 2], who: u64, block: u64, sum: u64) {
        rings[1].prove(
            BlockIndex(block),
            Proof {
                incarnation: Incarnation(who),
                sum,
            },
        );
        stage.slot(Slot::One).advance(BlockIndex(block + 1), Seq(0));
    }

    #[test]
    fn a_standby_is_ready_after_enough_equal_blocks_and_not_one_sooner() {
        with_standby(20, |stage, rings| {
            stage
                .slot(Slot::One)
                .take_seat(Incarnation(2), BlockIndex(10), Seq(0));
            let mut audit = Audit::new(Slot::One, Incarnation(2));
            for block in 10..20 {
                assert!(!audit.look(&stage, &rings).ready || block >= 10 + PROOF_BLOCKS);
                prove(&stage, &rings, 2, block, block);
            }
            assert_eq!(
                audit.look(&stage, &rings),
                Findings {
                    ready: true,
                    ..Findings::default()
                }
            );
        });
    }

    #[test]
    fn a_standby_with_other_checksums_is_never_ready_and_counted() {
        with_standby(20, |stage, rings| {
            stage
                .slot(Slot::One)
                .take_seat(Incarnation(2), BlockIndex(0), Seq(0));
            let mut audit = Audit::new(Slot::One, Incarnation(2));
            (0..20).for_each(|block| prove(&stage, &rings, 2, block, block ^ (block % 4)));
            let found = audit.look(&stage, &rings);
            assert_eq!((found.differing, found.ready), (15, false));
        });
    }

    #[test]
    fn the_proofs_of_the_one_who_sat_there_before_prove_nothing() {
        with_standby(20, |stage, rings| {
            stage
                .slot(Slot::One)
                .take_seat(Incarnation(2), BlockIndex(0), Seq(0));
            (0..20).for_each(|block| prove(&stage, &rings, 2, block, block));
            stage
                .slot(Slot::One)
                .take_seat(Incarnation(3), BlockIndex(20), Seq(0));
            let mut audit = Audit::new(Slot::One, Incarnation(3));
            assert_eq!(audit.look(&stage, &rings), Findings::default());
        });
    }
}
