//! The watch over one worker: does it get on, does it keep up, do its checksums agree?
//!
//! Time is microseconds that the supervisor was there itself: whatever a worker did not do while nobody
//! could look is not held against it.

use common::{
    ring::Ring,
    stage::{Breadcrumb, Stage},
    units::{BlockIndex, Incarnation, Slot},
};

use crate::{
    audit::{Audit, Findings},
    load::overloaded,
};

/// A worker that has work and does none for so long hangs. Far above any wake-up that comes late.
pub const HANG_US: u64 = 400_000;
/// A worker that has been behind what is played for so long, while the other one was not, is too slow:
/// it protects nobody.
pub const LAG_US: u64 = 400_000;

/// The watch over that life of the worker in a slot.
#[derive(Clone, Debug)]
pub struct Watch {
    slot: Slot,
    incarnation: Incarnation,
    audit: Audit,
    frontier: BlockIndex,
    breadcrumb: Option<Breadcrumb>,
    moved_us: u64,
    behind_us: Option<u64>,
}

impl Watch {
    /// Begins to watch.
    #[must_use]
    pub const fn new(slot: Slot, incarnation: Incarnation, now_us: u64) -> Self {
        Self {
            slot,
            incarnation,
            audit: Audit::new(slot, incarnation),
            frontier: BlockIndex(0),
            breadcrumb: None,
            moved_us: now_us,
            behind_us: None,
        }
    }

    /// Whom it watches.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Whatever the worker did not do so far is not held against it.
    pub const fn forgive(&mut self, now_us: u64) {
        self.moved_us = now_us;
        self.behind_us = None;
    }

    /// What its checksums say.
    pub fn audit(&mut self, stage: &Stage<'_>, rings: &[Ring<'_>; 2]) -> Findings {
        self.audit.look(stage, rings)
    }

    /// Whether it has work and does none; one that goes from module to module works, however slowly.
    pub fn hangs(&mut self, now_us: u64, stage: &Stage<'_>) -> bool {
        let seat = stage.slot(self.slot);
        let (frontier, breadcrumb) = (seat.frontier(), Some(seat.breadcrumb()));
        if seat.incarnation() != self.incarnation
            || (frontier, breadcrumb) != (self.frontier, self.breadcrumb)
            || frontier >= stage.horizon()
        {
            (self.frontier, self.breadcrumb, self.moved_us) = (frontier, breadcrumb, now_us);
        }
        now_us > self.moved_us + HANG_US
    }

    /// Whether it is too slow: behind what is played, and the other one is not. Without a clock
    /// nobody is, nor where the music is too much for both.
    pub fn lags(&mut self, now_us: u64, stage: &Stage<'_>) -> bool {
        let (seat, other) = (stage.slot(self.slot), stage.slot(self.slot.other()));
        let cursor = stage.cursor();
        let behind = seat.incarnation() == self.incarnation
            && seat.frontier() < cursor
            && other.frontier() >= cursor
            && !stage.format().freewheel
            && !overloaded(stage);
        self.behind_us = behind.then(|| self.behind_us.unwrap_or(now_us));
        self.behind_us.is_some_and(|since| now_us > since + LAG_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        stage::{AudioFormat, STAGE_WORDS},
        sync::heap,
        units::Seq,
    };

    const LIFE: Incarnation = Incarnation(3);

    /// The worker in slot 1, which has rendered nothing yet, with a lead of 8.
    fn watched(freewheel: bool, test: impl FnOnce(Stage<'_>, Watch)) {
        let format = AudioFormat {
            rate_hz: 48_000,
            block_frames: 16,
            channels: 1,
            lead_blocks: 8,
            freewheel,
        };
        let words = heap(STAGE_WORDS);
        let stage = Stage::create(&words, &format).unwrap();
        stage.slot(Slot::One).take_seat(LIFE, BlockIndex(0), Seq(0));
        test(stage, Watch::new(Slot::One, LIFE, 0));
    }

    #[test]
    fn one_that_has_work_and_does_none_hangs_and_one_that_waits_for_the_cursor_does_not() {
        watched(false, |stage, mut watch| {
            assert!(!watch.hangs(1, &stage));
            assert!(!watch.hangs(HANG_US + 1, &stage));
            assert!(watch.hangs(HANG_US + 2, &stage));
            stage.slot(Slot::One).advance(BlockIndex(8), Seq(0));
            assert!(!watch.hangs(HANG_US + 3, &stage));
            assert!(!watch.hangs(9 * HANG_US, &stage), "it is at the horizon");
            stage.set_cursor(BlockIndex(1));
            assert!(!watch.hangs(10 * HANG_US, &stage));
            assert!(watch.hangs(11 * HANG_US, &stage));
        });
    }

    #[test]
    fn one_that_has_not_taken_its_seat_yet_does_not_hang() {
        watched(false, |stage, _| {
            let mut next = Watch::new(Slot::One, LIFE.next(), 0);
            assert!(!next.hangs(2 * HANG_US, &stage));
            stage
                .slot(Slot::One)
                .take_seat(LIFE.next(), BlockIndex(0), Seq(0));
            assert!(!next.hangs(3 * HANG_US, &stage));
            assert!(next.hangs(4 * HANG_US, &stage));
        });
    }

    #[test]
    fn one_that_is_behind_for_long_while_the_other_is_not_lags_but_never_without_a_clock() {
        for freewheel in [false, true] {
            watched(freewheel, |stage, mut watch| {
                stage.set_cursor(BlockIndex(4));
                assert!(!watch.lags(0, &stage), "the other one is behind too");
                assert!(!watch.lags(2 * LAG_US, &stage));
                stage.slot(Slot::Zero).advance(BlockIndex(5), Seq(0));
                assert!(!watch.lags(2 * LAG_US, &stage));
                assert_eq!(watch.lags(3 * LAG_US + 1, &stage), !freewheel);
                stage.slot(Slot::One).advance(BlockIndex(4), Seq(0));
                assert!(!watch.lags(9 * LAG_US, &stage), "it has caught up");
            });
        }
    }

    #[test]
    fn what_is_forgiven_counts_from_then_on() {
        watched(false, |stage, mut watch| {
            stage.set_cursor(BlockIndex(4));
            stage.slot(Slot::Zero).advance(BlockIndex(5), Seq(0));
            assert!(!watch.lags(0, &stage));
            assert!(!watch.hangs(0, &stage));
            watch.forgive(HANG_US);
            assert!(!watch.hangs(2 * HANG_US, &stage) && !watch.lags(2 * LAG_US, &stage));
            assert!(watch.hangs(2 * HANG_US + 1, &stage));
            assert!(watch.lags(3 * LAG_US + 1, &stage));
        });
    }
}
