//! The reach of a log: where its run ended, according to its records.

use super::Record;
use crate::units::BlockIndex;

/// The first format version that records the end of a run.
const TELLS_END: u32 = 6;

/// The reach of a log, after every record has passed [`Self::take`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The block up to which the run was played, as recorded: up to a second old if the run was cut off.
    pub played: BlockIndex,
    /// Whether the log says where its run ended. True for versions that do not record it.
    pub has_end: bool,
    /// The first block after the last decision.
    decided: BlockIndex,
}

impl Reach {
    /// The reach of a segment of which only the preamble has been read.
    #[must_use]
    pub const fn beginning(played: BlockIndex) -> Self {
        Self {
            played,
            has_end: false,
            decided: BlockIndex(0),
        }
    }

    /// Takes the next record into account.
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

    /// The first block that the log reports neither as played nor as decided.
    #[must_use]
    pub fn known(&self) -> BlockIndex {
        self.played.max(self.decided)
    }

    /// The end of the log: the block up to which it was played or, if the run was cut off and
    /// `to_last_decision` is set, its last decision.
    #[must_use]
    pub fn end(&self, to_last_decision: bool) -> BlockIndex {
        match to_last_decision && !self.has_end {
            true => self.known(),
            false => self.played,
        }
    }
}
