//! The worker's rule: which block next, and with which commands.
//!
//! The leader decides a block as soon as it starts on it; the follower waits until the leader has
//! rendered it, but only until a few blocks before it is due. Either way the decision is made by
//! compare-and-swap on the block's word, and whoever loses obeys: there can be no split brain, and
//! a worker that wakes after a minute can do no harm.

use common::{
    limits::{DECISIONS, RING_CELLS},
    stage::{Decision, Stage},
    units::{BlockIndex, Seq, Slot},
};

/// What the worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Render the block, with the commands up to this number in before it.
    Render(Seq),
    /// Nothing to do until a bell rings.
    Wait(Waiting),
    /// The decision is no longer there: too far behind to catch up from here.
    Overtaken,
}

/// What the worker waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The play cursor: the block is further ahead than the lead.
    Cursor,
    /// The leader, which has not rendered the block yet, nor is it due soon.
    Leader,
    /// The commands up to this number, which are decided but not here yet.
    Commands(Seq),
    /// The supervisor, which has not logged the decisions yet (only without a clock).
    Log,
}

/// Blocks before a block is due at which the follower stops waiting for the leader.
#[must_use]
pub fn patience_blocks(lead_blocks: u32) -> u64 {
    u64::from(lead_blocks / 2).max(1)
}

/// The next step of the worker in slot `me`, which stands before `block`, has applied the commands
/// up to `applied` and holds those up to `received`.
///
/// # Real-time
/// Yes: a few loads and at most one compare-and-swap that can be lost.
#[must_use]
pub fn step(stage: &Stage<'_>, me: Slot, block: BlockIndex, applied: Seq, received: Seq) -> Step {
    if block >= stage.horizon() {
        return Step::Wait(Waiting::Cursor);
    }
    let shape = stage.shape();
    // Without a clock the workers could outrun the supervisor's log; with one it must not matter.
    if shape.freewheel && block.0 >= stage.logged().0 + DECISIONS - RING_CELLS {
        return Step::Wait(Waiting::Log);
    }
    if stage.preference().slot != me {
        let leader_has_it = stage.slot(me.other()).frontier() > block;
        let due_soon = block.0 < stage.cursor().0 + patience_blocks(shape.lead_blocks);
        if !leader_has_it && !due_soon {
            return Step::Wait(Waiting::Leader);
        }
    }
    match stage.decide(block, received, applied) {
        Decision::Seq(seq) if seq <= received => Step::Render(seq),
        Decision::Seq(seq) => Step::Wait(Waiting::Commands(seq)),
        Decision::Gone | Decision::Open => Step::Overtaken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        stage::{STAGE_WORDS, Shape},
        sync::{AtomicU64, heap},
    };

    fn stage(words: &[AtomicU64]) -> Stage<'_> {
        let shape = Shape {
            rate_hz: 48_000,
            block_frames: 64,
            channels: 2,
            lead_blocks: 8,
            freewheel: false,
        };
        Stage::create(words, &shape).unwrap()
    }

    #[test]
    fn the_follower_waits_for_the_leader_but_not_beyond_the_deadline() {
        let words = heap(STAGE_WORDS);
        let stage = stage(&words);
        let block = BlockIndex(5);
        let step = |stage: &Stage<'_>| super::step(stage, Slot::One, block, Seq(0), Seq(3));
        assert_eq!(step(&stage), Step::Wait(Waiting::Leader));
        stage.set_cursor(BlockIndex(2));
        assert_eq!(
            step(&stage),
            Step::Render(Seq(3)),
            "block 5 is due in three blocks"
        );
    }

    #[test]
    fn the_follower_renders_what_the_leader_decided_and_waits_for_its_commands() {
        let words = heap(STAGE_WORDS);
        let stage = stage(&words);
        let block = BlockIndex(5);
        assert_eq!(
            super::step(&stage, Slot::Zero, block, Seq(0), Seq(7)),
            Step::Render(Seq(7))
        );
        stage.slot(Slot::Zero).advance(block.next(), Seq(7));
        let step = |received| super::step(&stage, Slot::One, block, Seq(0), received);
        assert_eq!(step(Seq(3)), Step::Wait(Waiting::Commands(Seq(7))));
        assert_eq!(step(Seq(7)), Step::Render(Seq(7)));
        assert_eq!(step(Seq(9)), Step::Render(Seq(7)));
    }

    #[test]
    fn nobody_renders_beyond_the_lead_and_a_sleeper_is_overtaken() {
        let words = heap(STAGE_WORDS);
        let stage = stage(&words);
        let step = |block| super::step(&stage, Slot::Zero, BlockIndex(block), Seq(0), Seq(0));
        assert_eq!(step(8), Step::Wait(Waiting::Cursor));
        stage.set_cursor(BlockIndex(DECISIONS + 1));
        assert_eq!(step(DECISIONS + 1), Step::Render(Seq(0)));
        assert_eq!(step(1), Step::Overtaken);
    }
}
