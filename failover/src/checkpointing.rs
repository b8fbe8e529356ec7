//! Who keeps the checkpoints, and when it hurries.
//!
//! The follower does: it has time. A leader only when nobody has kept one for long; who has still to
//! catch up does that first. But nobody may die so often that none is ever finished: where the newest is
//! far behind, the next is written at once.

use common::{
    limits::LONE_CHECKPOINT_BLOCKS,
    stage::Stage,
    units::{BlockIndex, Slot},
};

/// So many blocks after the newest checkpoint the next is written at once, whatever it takes.
const LONG_BLOCKS: u64 = 128;

/// What a worker does for the checkpoints after a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteCheckpoint {
    /// Nothing.
    Nothing,
    /// It goes on with the next.
    GoOn,
    /// It finishes the next, as soon as it is due.
    AtOnce,
}

/// What the worker in slot `me` does, which stands before `block`; where the others were when it
/// began, and the block of the newest checkpoint that is complete.
///
/// # Real-time
/// Yes: two loads.
#[must_use]
pub fn write_checkpoint(
    stage: &Stage<'_>,
    me: Slot,
    block: BlockIndex,
    frontier: BlockIndex,
    newest: BlockIndex,
) -> WriteCheckpoint {
    if stage.checkpoints_frozen() {
        return WriteCheckpoint::Nothing;
    }
    let age = block.0.saturating_sub(newest.0);
    let bearable = match stage.preference().slot == me {
        true => LONE_CHECKPOINT_BLOCKS,
        false => 0,
    };
    if age >= bearable + LONG_BLOCKS {
        WriteCheckpoint::AtOnce
    } else if age >= bearable && block >= frontier {
        WriteCheckpoint::GoOn
    } else {
        WriteCheckpoint::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        stage::{AudioFormat, STAGE_WORDS},
        sync::heap,
    };

    #[test]
    fn the_follower_keeps_them_once_it_has_caught_up_and_anybody_does_in_the_end() {
        let words = heap(STAGE_WORDS);
        let format = AudioFormat {
            rate_hz: 48_000,
            block_frames: 64,
            channels: 2,
            lead_blocks: 8,
            freewheel: false,
        };
        let stage = Stage::create(&words, &format).unwrap();
        let writes = |me, block, newest| {
            let frontier = BlockIndex(2_000);
            super::write_checkpoint(&stage, me, BlockIndex(block), frontier, BlockIndex(newest))
        };
        let (leader, follower) = (Slot::Zero, Slot::One);
        assert_eq!(writes(follower, 2_000, 1_990), WriteCheckpoint::GoOn);
        assert_eq!(writes(follower, 1_999, 1_990), WriteCheckpoint::Nothing);
        assert_eq!(writes(follower, 1_999, 1_871), WriteCheckpoint::AtOnce);
        assert_eq!(writes(leader, 3_000, 2_000), WriteCheckpoint::Nothing);
        assert_eq!(writes(leader, 3_024, 2_000), WriteCheckpoint::GoOn);
        assert_eq!(writes(leader, 3_152, 2_000), WriteCheckpoint::AtOnce);
        stage.freeze_checkpoints(true);
        assert_eq!(writes(follower, 2_000, 0), WriteCheckpoint::Nothing);
    }
}
