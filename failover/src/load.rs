//! Overload: the patch needs more time than the machine has.
//!
//! Both workers render the same blocks, so both are too slow. That is no reason to kill one of them or to
//! play the other. Blocks come late, and nothing else may happen. Other processes must still get processor
//! time, so one of the two workers rests at any time. The follower rests first. Once it has fallen behind,
//! it renders without rest; then the leader rests, if it is late anyway, until the follower is near again.

use common::{
    stage::{SlotWords, Stage},
    units::Slot,
};

/// The follower rests while it is at most this many blocks behind the leader.
pub const NEAR_BLOCKS: u64 = 3;
/// The mean time per block is significant after this many blocks.
const BLOCKS_THAT_TELL: u64 = 16;

/// Whether both workers need at least 95 % of a block's duration to render one: the machine is too slow for
/// the patch. A worker with too few blocks for a significant mean is ignored. In freewheel there is no
/// overload.
///
/// # Real-time
/// Yes: a few loads.
#[must_use]
pub fn overloaded(stage: &Stage<'_>) -> bool {
    let format = stage.format();
    let slow = |seat: &SlotWords<'_>| seat.mean_ns() * 20 >= format.block_ns() * 19;
    let tells = |seat: &SlotWords<'_>| seat.blocks() >= BLOCKS_THAT_TELL;
    let seats = Slot::ALL.map(|slot| stage.slot(slot));
    !format.freewheel
        && seats.iter().any(|seat| slow(seat) && tells(seat))
        && seats.iter().all(|seat| slow(seat) || !tells(seat))
}

/// How long the worker in slot `me` rests after a block that took it `took_ns`, in nanoseconds; 0 if it
/// does not rest now. A worker that rests does so for two fifths of its time. With a third, other processes
/// got only 21 to 23 % of a core, since everything else that wakes up takes its share of the rest, too.
///
/// # Real-time
/// Yes: a few loads.
#[must_use]
pub fn rest_ns(stage: &Stage<'_>, me: Slot, took_ns: u64) -> u64 {
    if !overloaded(stage) {
        return 0;
    }
    let leader = stage.preference().slot;
    let [ahead, behind] = [leader, leader.other()].map(|slot| stage.slot(slot).frontier());
    let near = behind.0.saturating_add(NEAR_BLOCKS) >= ahead.0;
    let late = ahead.0 <= stage.cursor().0.saturating_add(1);
    let rests = match me == leader {
        true => !near && late,
        false => near,
    };
    if rests { took_ns * 2 / 3 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        stage::{AudioFormat, STAGE_WORDS},
        sync::heap,
        units::{BlockIndex, Incarnation, Seq},
    };

    const BLOCK_NS: u64 = 1_000_000;

    fn with_stage(test: impl FnOnce(Stage<'_>)) {
        let words = heap(STAGE_WORDS);
        let format = AudioFormat {
            rate_hz: 48_000,
            block_frames: 48,
            channels: 2,
            lead_blocks: 4,
            freewheel: false,
        };
        test(Stage::create(&words, &format).unwrap());
    }

    fn takes(stage: &Stage<'_>, slot: Slot, blocks: u64, ns: u64) {
        (0..blocks).for_each(|_| stage.slot(slot).took(ns));
    }

    fn both_take(stage: &Stage<'_>, blocks: u64, ns: u64) {
        for slot in Slot::ALL {
            takes(stage, slot, blocks, ns);
        }
    }

    #[test]
    fn what_one_worker_alone_is_slow_with_is_no_overload() {
        with_stage(|stage| {
            takes(&stage, Slot::Zero, 100, 2 * BLOCK_NS);
            takes(&stage, Slot::One, 100, BLOCK_NS / 2);
            assert!(!overloaded(&stage));
            takes(&stage, Slot::One, 100, 2 * BLOCK_NS);
            assert!(overloaded(&stage));
            let seat = stage.slot(Slot::One);
            seat.take_seat(Incarnation(7), BlockIndex(0), Seq(0));
            assert!(overloaded(&stage), "a new worker is ignored");
            takes(&stage, Slot::One, 100, BLOCK_NS / 2);
            assert!(!overloaded(&stage));
        });
    }

    #[test]
    fn one_long_block_is_no_overload_but_a_dozen_are() {
        with_stage(|stage| {
            for slot in Slot::ALL {
                takes(&stage, slot, 100, BLOCK_NS / 10);
                takes(&stage, slot, 1, 5 * BLOCK_NS);
            }
            assert!(!overloaded(&stage));
            both_take(&stage, 12, BLOCK_NS * 13 / 10);
            assert!(overloaded(&stage));
            both_take(&stage, 4, BLOCK_NS / 10);
            assert!(!overloaded(&stage));
        });
    }

    #[test]
    fn the_follower_rests_while_it_is_near_and_the_leader_while_it_is_not() {
        with_stage(|stage| {
            let rests = |cursor: u64, leader: u64, follower: u64| {
                stage.set_cursor(BlockIndex(cursor));
                stage.slot(Slot::Zero).advance(BlockIndex(leader), Seq(0));
                stage.slot(Slot::One).advance(BlockIndex(follower), Seq(0));
                Slot::ALL.map(|slot| rest_ns(&stage, slot, 3 * BLOCK_NS) / BLOCK_NS)
            };
            assert_eq!(rests(10, 10, 10), [0, 0]);
            both_take(&stage, 100, 3 * BLOCK_NS);
            assert_eq!(rests(10, 10, 10), [0, 2]);
            assert_eq!(rests(10, 11, 8), [0, 2]);
            assert_eq!(rests(10, 11, 7), [2, 0]);
            assert_eq!(rests(10, 13, 7), [0, 0], "a leader in time does not rest");
        });
    }
}
