//! The worker's rule: which block it renders next, and with which commands.
//!
//! The leader decides a block when it starts to render it. The follower waits until the leader has rendered
//! the block, but at most until a few blocks before the block is due. Workers decide by compare-and-swap on
//! the block's decision word, and the loser of the race obeys the word. A worker that has rendered a block
//! seals the word before it publishes. Split brain is therefore impossible, and a worker that wakes after a
//! minute does no harm.
//!
//! Only one worker touches a command that kills. A follower is never the first to apply a command. If the
//! leader is stuck in a block with new commands, the follower withdraws them from that block and holds them
//! until the supervisor knows what the leader died of.

use common::{
    limits::{DECISIONS, RING_CELLS},
    stage::{Decision, Phase, SlotWords, Stage},
    units::{BlockIndex, Seq, Slot},
};

/// What the worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Render the block with all commands up to this number applied before it.
    Render(Seq),
    /// Wait until the worker's futex word changes.
    Wait(Waiting),
    /// The decision word has been reused for a later block: the worker is too far behind to catch up from here.
    Overtaken,
}

/// What the worker waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The play cursor: the block is at or beyond the horizon.
    Cursor,
    /// The leader: it has not rendered the block yet, and the block is not due soon.
    Leader,
    /// Commands: the decision includes the commands up to this number, and the worker has not received them all.
    Commands(Seq),
    /// The supervisor: it has not logged the earlier decisions yet (only in freewheel).
    Log,
}

/// How many blocks before its deadline the follower stops waiting for the leader to render a block.
#[must_use]
pub fn patience_blocks(lead_blocks: u32) -> u64 {
    u64::from(lead_blocks / 2).max(1)
}

/// As [`patience_blocks`], for a leader whose breadcrumb is inside the block. The leader may have died of
/// the block; the shorter value gives the supervisor time to find out.
const fn patience_in_doubt_blocks(lead_blocks: u32) -> u64 {
    if lead_blocks < 8 {
        1
    } else {
        lead_blocks as u64 / 4
    }
}

/// Blocks of time that a leader has for a block with new commands before the follower withdraws them.
const ITS_TIME_BLOCKS: u64 = 2;
/// As [`ITS_TIME_BLOCKS`], once the music has stopped: a withdrawal then saves nothing, and a leader that
/// has just been started has much to do.
const STANDING_STILL_BLOCKS: u64 = 16;

/// The next step of the worker in slot `me`. The worker stands before `block`, has applied the commands up
/// to `applied` and has received those up to `received`.
///
/// # Real-time
/// Yes: a few loads and at most four compare-and-swaps (one in [`Stage::decide`] that another worker can
/// win, three in [`withdraw`]).
#[must_use]
pub fn step(stage: &Stage<'_>, me: Slot, block: BlockIndex, applied: Seq, received: Seq) -> Step {
    if block >= stage.horizon() {
        return Step::Wait(Waiting::Cursor);
    }
    let format = stage.format();
    // In freewheel the workers could outrun the supervisor's log. With a clock, they must not wait for the log.
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
            // The leader has this time for the block however late the block is.
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

/// Whether the leader in slot `me`, which has just published a block, must wake the follower.
///
/// The next move of the play cursor wakes both workers anyway. If the follower will then still be further
/// ahead of the cursor than [`patience_blocks`], it can render this block together with the next one, and
/// needs no extra wake-up.
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

/// Whether the worker has begun the block and is still applying its commands or rendering it.
fn stuck_in(worker: &SlotWords<'_>, block: BlockIndex) -> bool {
    let breadcrumb = worker.breadcrumb();
    breadcrumb.block == block && matches!(breadcrumb.phase, Phase::Applying | Phase::Rendering)
}

/// Removes the commands after `applied` from a block that nobody has published, and holds them. Returns the
/// decision that is then in force for the block.
///
/// # Real-time
/// Yes: at most three compare-and-swaps.
#[must_use]
pub fn withdraw(stage: &Stage<'_>, block: BlockIndex, seq: Seq, applied: Seq) -> Decision {
    // Hold first: otherwise the worker that decides the next block could include the commands again.
    let held = stage.hold(applied);
    if stage.revise(block, seq, applied) {
        return unchanged(applied);
    }
    let decided = stage.decision(block, applied);
    // If another process withdrew them at the same time, it relies on this hold: keep it for both.
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
            "block 5 is due in three blocks; no worker has touched the commands yet"
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
        // At least half the lead of 8 ahead of the next cursor.
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
