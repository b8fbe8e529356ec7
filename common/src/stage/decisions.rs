//! The decision of each block: made once by compare-and-swap, and revised until it is sealed. Also the
//! commands that are held or in quarantine.

use super::{DECISION, HELD, QUARANTINE, QUARANTINE_WORDS, QUARANTINES, Stage};
use crate::{
    limits::{DECISIONS, place},
    sync::Ordering,
    units::{BlockIndex, Seq},
};

/// The state of a block's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The block is undecided.
    Open,
    /// The commands up to this number take effect before the block. Once sealed, the decision is final.
    Made {
        /// The sequence number in force.
        seq: Seq,
        /// A worker has rendered the block with this decision and is about to publish it, or has.
        sealed: bool,
    },
    /// The word has been reused for a later block.
    Gone,
}

const SEQ_BITS: u32 = 24;
const SEQ_MASK: u64 = (1 << SEQ_BITS) - 1;
const SEALED: u64 = 1 << SEQ_BITS;
const TAG_SHIFT: u32 = SEQ_BITS + 1;

/// How often the word of this block has been used before, plus 1. Together with the word's index it gives
/// the whole block number. It has 39 bits: 2^53 blocks, 95,000 years at 3,000 blocks a second.
const fn tag(block: BlockIndex) -> u64 {
    block.0 / DECISIONS + 1
}

const fn decision_word(block: BlockIndex, seq: Seq) -> u64 {
    tag(block) << TAG_SHIFT | (seq.0 & SEQ_MASK)
}

impl Stage<'_> {
    /// The decision of `block`. `last` as in [`Self::decide`].
    #[must_use]
    pub fn decision(&self, block: BlockIndex, last: Seq) -> Decision {
        // SYNC: decision (reader)
        let word = self.words[DECISION + place(block, DECISIONS)].load(Ordering::Acquire);
        read_decision(word, block, last)
    }

    /// Decides `block` if it is undecided: the commands up to `seq` take effect before it. CAS by workers.
    /// Returns the decision in force, whichever worker made it: the loser of the race obeys the word.
    ///
    /// `last` is the sequence number in force in the block before. The word has room for 24 bits of a
    /// sequence number; `last` supplies the others.
    #[must_use]
    pub fn decide(&self, block: BlockIndex, seq: Seq, last: Seq) -> Decision {
        let word = &self.words[DECISION + place(block, DECISIONS)];
        let wanted = decision_word(block, seq);
        loop {
            let found = word.load(Ordering::Acquire);
            match read_decision(found, block, last) {
                Decision::Open => {}
                decided => return decided,
            }
            // SYNC: decision (writer)
            if word
                .compare_exchange(found, wanted, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                return Decision::Made { seq, sealed: false };
            }
        }
    }

    /// Revises the decision of a block that is not sealed from `from` to `to`. CAS by a follower that has
    /// waited too long for the leader, and by the supervisor if the leader died of the block. False if the
    /// block is sealed or has another decision.
    #[must_use]
    pub fn revise(&self, block: BlockIndex, from: Seq, to: Seq) -> bool {
        let (from, to) = (decision_word(block, from), decision_word(block, to));
        // SYNC: decision (writer)
        self.words[DECISION + place(block, DECISIONS)]
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Seals the decision of `block`. A worker calls this once it has rendered the block with the commands
    /// up to `seq`, before it publishes. CAS by workers. False if the decision was revised meanwhile or the
    /// block is long past: the block must not be published then, and the caller's state is no longer valid.
    #[must_use]
    pub fn seal(&self, block: BlockIndex, seq: Seq) -> bool {
        let open = decision_word(block, seq);
        // SYNC: decision (writer)
        match self.words[DECISION + place(block, DECISIONS)].compare_exchange(
            open,
            open | SEALED,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => true,
            Err(found) => found == open | SEALED,
        }
    }

    /// The number above which commands are held: no block is decided with them. `None` if nothing is held.
    #[must_use]
    pub fn held(&self) -> Option<Seq> {
        // SYNC: hold (reader)
        Some(Seq(self.words[HELD].load(Ordering::Acquire))).filter(|seq| *seq > Seq(0))
    }

    /// Holds the commands above `seq`, unless others are held already. CAS by a follower before it
    /// withdraws a block's commands, and by the supervisor. Returns whether it did.
    pub fn hold(&self, seq: Seq) -> bool {
        // SYNC: hold (writer)
        self.words[HELD]
            .compare_exchange(0, seq.0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Lifts the hold above `seq`. Returns whether it was in force.
    pub fn lift(&self, seq: Seq) -> bool {
        // SYNC: hold (writer): a worker that sees it lifted sees the quarantine
        self.words[HELD]
            .compare_exchange(seq.0, 0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Quarantines a command: every worker skips it. Written by the supervisor, before it lifts the hold on
    /// the command.
    pub fn quarantine(&self, seq: Seq) {
        let count = self.get(QUARANTINES);
        let place = QUARANTINE + count as usize % QUARANTINE_WORDS;
        self.words[place].store(seq.0, Ordering::Relaxed);
        self.words[QUARANTINES].store(count + 1, Ordering::Release);
    }

    /// Whether a command is in quarantine. The stage holds only the newest quarantined commands, but more
    /// than a worker can still have to apply.
    #[must_use]
    pub fn quarantined(&self, seq: Seq) -> bool {
        let count =
            (self.words[QUARANTINES].load(Ordering::Acquire) as usize).min(QUARANTINE_WORDS);
        self.words[QUARANTINE..QUARANTINE + count]
            .iter()
            .any(|word| word.load(Ordering::Relaxed) == seq.0)
    }
}

fn read_decision(word: u64, block: BlockIndex, last: Seq) -> Decision {
    match (word >> TAG_SHIFT).cmp(&tag(block)) {
        std::cmp::Ordering::Less => Decision::Open,
        std::cmp::Ordering::Greater => Decision::Gone,
        std::cmp::Ordering::Equal => {
            let grown = (word & SEQ_MASK).wrapping_sub(last.0 & SEQ_MASK) & SEQ_MASK;
            Decision::Made {
                seq: Seq(last.0 + grown),
                sealed: word & SEALED != 0,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        stage::{STAGE_WORDS, tests::FORMAT},
        sync::heap,
    };

    const fn made(seq: Seq, sealed: bool) -> Decision {
        Decision::Made { seq, sealed }
    }

    #[test]
    fn the_loser_of_a_decision_obeys_the_word() {
        let words = heap(STAGE_WORDS);
        let stage = Stage::create(&words, &FORMAT).unwrap();
        let block = BlockIndex(7);
        assert_eq!(stage.decision(block, Seq(0)), Decision::Open);
        assert_eq!(stage.decide(block, Seq(5), Seq(3)), made(Seq(5), false));
        assert_eq!(stage.decide(block, Seq(9), Seq(3)), made(Seq(5), false));
        let later = BlockIndex(7 + DECISIONS);
        assert_eq!(stage.decide(later, Seq(9), Seq(5)), made(Seq(9), false));
        assert_eq!(stage.decide(block, Seq(6), Seq(3)), Decision::Gone);
        assert!(!stage.seal(block, Seq(5)), "the block is long past");
    }

    #[test]
    fn a_decision_is_revised_until_it_is_sealed_and_the_overruled_one_hears_of_it() {
        let words = heap(STAGE_WORDS);
        let stage = Stage::create(&words, &FORMAT).unwrap();
        let block = BlockIndex(7);
        assert!(!stage.revise(block, Seq(3), Seq(3)), "not decided yet");
        assert_eq!(stage.decide(block, Seq(5), Seq(3)), made(Seq(5), false));
        assert!(stage.revise(block, Seq(5), Seq(3)));
        assert!(!stage.seal(block, Seq(5)), "the decision was revised");
        assert!(stage.seal(block, Seq(3)) && stage.seal(block, Seq(3)));
        assert!(!stage.revise(block, Seq(3), Seq(5)), "sealed");
        assert_eq!(stage.decision(block, Seq(3)), made(Seq(3), true));
    }

    #[test]
    fn what_is_held_is_held_once_and_lifted_by_its_number() {
        let words = heap(STAGE_WORDS);
        let stage = Stage::create(&words, &FORMAT).unwrap();
        assert!(stage.hold(Seq(4)) && !stage.hold(Seq(2)));
        assert_eq!(stage.held(), Some(Seq(4)));
        assert!(!stage.lift(Seq(2)) && stage.lift(Seq(4)));
        assert_eq!(stage.held(), None);
        (1..=100).for_each(|seq| stage.quarantine(Seq(seq)));
        assert!(stage.quarantined(Seq(100)) && stage.quarantined(Seq(37)));
        assert!(!stage.quarantined(Seq(36)), "forgotten");
    }

    #[test]
    fn blocks_are_decided_for_a_hundred_thousand_years() {
        let words = heap(STAGE_WORDS);
        let stage = Stage::create(&words, &FORMAT).unwrap();
        for bits in [31, 32, 38, 39, 40, 47, 52] {
            let edge = 1 << bits;
            for block in (edge - 2..edge + 2).map(BlockIndex) {
                let seq = Seq(block.0 >> 1);
                assert_eq!(stage.decision(block, seq), Decision::Open, "{block}");
                assert_eq!(stage.decide(block, seq, seq), made(seq, false));
                assert!(stage.seal(block, seq));
                let before = BlockIndex(block.0 - DECISIONS);
                assert_eq!(stage.decision(before, seq), Decision::Gone, "{before}");
            }
        }
    }

    #[test]
    fn sequence_numbers_survive_the_wrap_of_their_24_bits() {
        let words = heap(STAGE_WORDS);
        let stage = Stage::create(&words, &FORMAT).unwrap();
        let last = Seq((1 << SEQ_BITS) * 3 - 1);
        let seq = Seq(last.0 + 2);
        assert_eq!(stage.decide(BlockIndex(0), seq, last), made(seq, false));
        assert_eq!(stage.decision(BlockIndex(0), last), made(seq, false));
        assert!(stage.seal(BlockIndex(0), seq));
    }
}
