//! How far a log goes: what its records say of the end of its run.

use super::Record;
use crate::units::BlockIndex;

/// The first version that says where a run ended.
const TELLS_END: u32 = 6;

/// How far a log goes, once it has been shown every record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// How far it was played, as was written down: up to a second old where the run was cut off.
    pub played: BlockIndex,
    /// Whether the log says where its run ended; one of an older version need not.
    pub has_end: bool,
    /// The first block after the last decision.
    decided: BlockIndex,
}

impl Reach {
    /// That of a segment of which nothing but its beginning has been read.
    #[must_use]
    pub const fn beginning(played: BlockIndex) -> Self {
        Self {
            played,
            has_end: false,
            decided: BlockIndex(0),
        }
    }

    /// Takes in the next record.
    pub fn take(&mut self, record: &Record) {
        match record {
            Record::Head { version, .. } => self.has_end = *version < TELLS_END,
            Record::Segment(known) => self.played = self.played.max(known.played),
            Record::Progress { block } => self.played = self.played.max(*block),
            Record::Decision { block, .. } => self.decided = self.decided.max(block.next()),
            Record::Ended => self.has_end = true,
            _ => {}
        }
    }

    /// The first block of which the log does not say that it was played or decided.
    #[must_use]
    pub fn known(&self) -> BlockIndex {
        self.played.max(self.decided)
    }

    /// Where the log ends: how far it was played or, where it was cut off and that is wanted, its last decision.
    #[must_use]
    pub fn end(&self, to_last_decision: bool) -> BlockIndex {
        match to_last_decision && !self.has_end {
            true => self.known(),
            false => self.played,
        }
    }
}
