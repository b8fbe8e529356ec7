//! Which worker writes checkpoints, and when it must finish one at once.
//!
//! The follower writes them, since it has time. The leader writes one only if the newest is old. A worker
//! that is still catching up writes none. One exception keeps repeated deaths from preventing every
//! checkpoint: if the newest one is far behind, the worker writes the next at once.

use common::{
    limits::LONE_CHECKPOINT_BLOCKS,
    stage::Stage,
    units::{BlockIndex, Slot},
};

/// If the newest checkpoint is this many blocks older than it should be, the next is written at once, even
/// during a catch-up.
const LONG_BLOCKS: u64 = 128;

/// What a worker does about checkpoints after a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteCheckpoint {
    /// Writes nothing.
    Nothing,
    /// Continues the checkpoint in progress.
    GoOn,
    /// Completes a checkpoint in one go, as soon as one is due.
    AtOnce,
}

/// What the worker in slot `me`, which stands before `block`, does about checkpoints. `frontier`: the block
/// up to which it has to catch up. `newest`: the block of the newest complete checkpoint.
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
