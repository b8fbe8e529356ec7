//! The worker's rule: which block next, and with which commands.
//!
//! The leader decides a block as soon as it starts on it; the follower waits until the leader has
//! rendered it, but only until a few blocks before it is due. The decision is made by
//! compare-and-swap on the block's word, and whoever loses obeys; whoever has rendered the block
//! seals the word before publishing. So there can be no split brain, and a worker that wakes after
//! a minute can do no harm.
//!
//! A command that kills has been touched by one worker only: a follower never is the first to apply
//! a command, and when the leader is stuck in a block with new ones, it withdraws them from that
//! block and holds them back, until the supervisor knows what the leader died of.

use common::{
    limits::{DECISIONS, RING_CELLS},
    stage::{Decision, Phase, SlotWords, Stage},
    units::{BlockIndex, Seq, Slot},
};

/// What the worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Render the block, with the commands up to this number in before it.
    Render(Seq),
    /// Nothing to do until its futex word changes.
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

/// The same where the leader is known to be inside the block: it may have died of it, and the
/// supervisor is given time to say so.
const fn patience_in_doubt_blocks(lead_blocks: u32) -> u64 {
    if lead_blocks < 8 {
        1
    } else {
        lead_blocks as u64 / 4
    }
}

/// Time that a leader has for a block with new commands, in blocks, before they are withdrawn.
const ITS_TIME_BLOCKS: u64 = 2;
/// The same where the music stands still already: haste saves nothing, and whoever has just been
/// started has much to do.
const STANDING_STILL_BLOCKS: u64 = 16;

/// The next step of the worker in slot `me`, which stands before `block`, has applied the commands
/// up to `applied` and holds those up to `received`.
///
/// # Real-time
/// Yes: a few loads and at most three compare-and-swaps that can be lost.
#[must_use]
pub fn step(stage: &Stage<'_>, me: Slot, block: BlockIndex, applied: Seq, received: Seq) -> Step {
    if block >= stage.horizon() {
        return Step::Wait(Waiting::Cursor);
    }
    let format = stage.format();
    // Without a clock the workers could outrun the supervisor's log; with one it must not matter.
    if format.freewheel && block.0 >= stage.logged().0.saturating_add(DECISIONS - RING_CELLS) {
        return Step::Wait(Waiting::Log);
    }
    let leads = stage.preference().slot == me;
    let leader_has_it = leads || stage.slot(me.other()).frontier() > block;
    if !leader_has_it {
        let stuck = stuck_in(&stage.slot(me.other()), block);
        let patience = match stuck && stage.decision(block, applied) == unchanged(applied) {
            true => patience_in_doubt_blocks(stage.lead()),
            false => patience_blocks(stage.lead()),
        };
        if block.0 >= stage.cursor().0.saturating_add(patience) {
            return Step::Wait(Waiting::Leader);
        }
    }
    let wanted = match (leads, stage.held()) {
        (true, Some(held)) => received.min(held).max(applied),
        (true, None) => received,
        (false, _) => applied,
    };
    let decided = match stage.decide(block, wanted, applied) {
        Decision::Made { seq, sealed: false } if seq > applied && !leader_has_it => {
            // However late the block is, the leader has its time for it.
            let spent = stage
                .elapsed_blocks()
                .saturating_sub(stage.slot(me.other()).began());
            let stands_still = block <= stage.cursor();
            if spent
                < if stands_still {
                    STANDING_STILL_BLOCKS
                } else {
                    ITS_TIME_BLOCKS
                }
            {
                return Step::Wait(Waiting::Leader);
            }
            withdraw(stage, block, seq, applied)
        }
        decided => decided,
    };
    match decided {
        Decision::Made { seq, .. } if seq <= received => Step::Render(seq),
        Decision::Made { seq, .. } => Step::Wait(Waiting::Commands(seq)),
        Decision::Gone | Decision::Open => Step::Overtaken,
    }
}

/// Whether the leader in slot `me`, which has published a block, has to wake the follower for it.
/// When the play cursor moves next, both are woken anyway; a follower that will still be further
/// ahead of it by then than it waits for a leader that is silent can render the block with the
/// next. So the leader, and the blocks that it owes, cost nothing for being followed.
///
/// # Real-time
/// Yes: a few loads.
#[must_use]
pub fn follower_is_needed(stage: &Stage<'_>, me: Slot) -> bool {
    let format = stage.format();
    let moved = stage.cursor().0.saturating_add(1 + stage.burst());
    let least = moved.saturating_add(patience_blocks(stage.lead()));
    format.freewheel || stage.slot(me.other()).frontier().0 < least
}

const fn unchanged(applied: Seq) -> Decision {
    Decision::Made {
        seq: applied,
        sealed: false,
    }
}

/// Whether the worker has begun on the block and is still in it.
fn stuck_in(worker: &SlotWords<'_>, block: BlockIndex) -> bool {
    let breadcrumb = worker.breadcrumb();
    breadcrumb.block == block && matches!(breadcrumb.phase, Phase::Applying | Phase::Rendering)
}

/// Takes the commands after `applied` out of a block that nobody has published, and holds them
/// back. Returns what holds for the block then.
///
/// # Real-time
/// Yes: three compare-and-swaps.
#[must_use]
pub fn withdraw(stage: &Stage<'_>, block: BlockIndex, seq: Seq, applied: Seq) -> Decision {
    // Held first: whoever decides the next block must not take them in again.
    let held = stage.hold(applied);
    if stage.revise(block, seq, applied) {
        return unchanged(applied);
    }
    let decided = stage.decision(block, applied);
    // Whoever has withdrawn them at the same time found them held already: this hold is for both.
    let withdrawn = matches!(decided, Decision::Made { seq, .. } if seq == applied);
    if held && !withdrawn {
        stage.lift(applied);
    }
    decided
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        stage::{AudioFormat, Breadcrumb, STAGE_WORDS},
        sync::{AtomicU64, heap},
    };

    fn stage(words: &[AtomicU64]) -> Stage<'_> {
        let format = AudioFormat {
            rate_hz: 48_000,
            block_frames: 64,
            channels: 2,
            lead_blocks: 8,
            freewheel: false,
        };
        Stage::create(words, &format).unwrap()
    }

    #[test]
    fn the_follower_waits_for_the_leader_but_not_beyond_the_deadline() {
        let words = heap(STAGE_WORDS);
        let stage = stage(&words);
        let block = BlockIndex(5);
        let step = |stage: &Stage<'_>| super::step(stage, Slot::One, block, Seq(1), Seq(3));
        assert_eq!(step(&stage), Step::Wait(Waiting::Leader));
        stage.set_cursor(BlockIndex(2));
        assert_eq!(
            step(&stage),
            Step::Render(Seq(1)),
            "block 5 is due in three blocks; nobody has touched the commands yet"
        );
    }

    #[test]
    fn commands_that_the_leader_is_stuck_with_are_withdrawn_and_held() {
        let words = heap(STAGE_WORDS);
        let stage = stage(&words);
        let block = BlockIndex(5);
        let leader = |received| super::step(&stage, Slot::Zero, block, Seq(1), received);
        let follower = || super::step(&stage, Slot::One, block, Seq(1), Seq(7));
        assert_eq!(leader(Seq(7)), Step::Render(Seq(7)));
        assert_eq!(follower(), Step::Wait(Waiting::Leader));
        stage.set_cursor(BlockIndex(2));
        assert_eq!(follower(), Step::Render(Seq(1)));
        assert_eq!(stage.held(), Some(Seq(1)));
        assert!(!stage.seal(block, Seq(7)), "the leader is overruled");
        assert!(stage.seal(block, Seq(1)));
        let next = |me| super::step(&stage, me, block.next(), Seq(1), Seq(7));
        assert_eq!(next(Slot::Zero), Step::Render(Seq(1)), "held");
        stage.lift(Seq(1));
        let later = super::step(&stage, Slot::Zero, BlockIndex(7), Seq(1), Seq(7));
        assert_eq!(later, Step::Render(Seq(7)));
    }

    #[test]
    fn what_the_leader_has_sealed_is_not_withdrawn() {
        let words = heap(STAGE_WORDS);
        let stage = stage(&words);
        let block = BlockIndex(5);
        let leader = super::step(&stage, Slot::Zero, block, Seq(1), Seq(7));
        assert_eq!(leader, Step::Render(Seq(7)));
        assert!(stage.seal(block, Seq(7)));
        stage.set_cursor(BlockIndex(5));
        let follower = super::step(&stage, Slot::One, block, Seq(1), Seq(7));
        assert_eq!((follower, stage.held()), (Step::Render(Seq(7)), None));
        assert_eq!(
            withdraw(&stage, block, Seq(7), Seq(1)),
            Decision::Made {
                seq: Seq(7),
                sealed: true
            }
        );
        assert_eq!(stage.held(), None);
    }

    #[test]
    fn a_leader_that_may_have_died_of_a_block_is_waited_for_longer() {
        let words = heap(STAGE_WORDS);
        let stage = stage(&words);
        let block = BlockIndex(5);
        let leader = super::step(&stage, Slot::Zero, block, Seq(1), Seq(1));
        assert_eq!(leader, Step::Render(Seq(1)));
        stage.slot(Slot::Zero).drop_breadcrumb(Breadcrumb {
            block,
            phase: Phase::Rendering,
            module: 2,
            command: Seq(1),
        });
        let follower = || super::step(&stage, Slot::One, block, Seq(1), Seq(1));
        stage.set_cursor(BlockIndex(3));
        assert_eq!(follower(), Step::Wait(Waiting::Leader));
        stage.set_cursor(BlockIndex(4));
        assert_eq!(follower(), Step::Render(Seq(1)));
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
    fn the_leader_wakes_a_follower_that_cannot_wait_for_the_cursor() {
        let words = heap(STAGE_WORDS);
        let stage = stage(&words);
        let needed = |frontier| {
            let at = BlockIndex(frontier);
            stage.slot(Slot::One).advance(at, Seq(0));
            follower_is_needed(&stage, Slot::Zero)
        };
        stage.set_cursor(BlockIndex(100));
        // Half the lead of 8 is the least that it may be ahead of the next cursor.
        assert!(needed(104));
        assert!(!needed(105));
        stage.raise_burst(2);
        assert!(needed(106));
        assert!(!needed(107));
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
