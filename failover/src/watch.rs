//! The watch over one worker: does it make progress, does it keep up, do its checksums agree?
//!
//! Times are microseconds during which the supervisor itself was present. A time in which the supervisor
//! could not look does not count against the worker.

use common::{
    ring::Ring,
    stage::{Breadcrumb, Stage},
    units::{BlockIndex, Incarnation, Slot},
};

use crate::{
    audit::{Audit, Findings},
    load::overloaded,
};

/// A worker that has work and makes no progress for this long hangs. Far above any late wake-up.
pub const HANG_US: u64 = 400_000;
/// A worker that has been behind the play cursor for this long, while the other one was not, is too slow:
/// it could not take over.
pub const LAG_US: u64 = 400_000;

/// The watch over one incarnation of the worker in a slot.
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

    /// The incarnation that is watched.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Resets the hang and lag timers, after an absence of the supervisor.
    pub const fn forgive(&mut self, now_us: u64) {
        self.moved_us = now_us;
        self.behind_us = None;
    }

    /// Compares the worker's new checksums with those of the other blocks published.
    pub fn audit(&mut self, stage: &Stage<'_>, rings: &[Ring<'_>; 2]) -> Findings {
        self.audit.look(stage, rings)
    }

    /// Whether the worker has work and makes no progress. A new breadcrumb is progress: a worker that goes
    /// from module to module works, however slowly.
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

    /// Whether the worker is too slow: it is behind the play cursor, and the other worker is not. Always
    /// false in freewheel and under overload.
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

    /// The watch over the worker in slot 1, which has rendered nothing yet; the lead is 8.
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
            assert!(!watch.hangs(9 * HANG_US, &stage), "at the horizon");
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
                assert!(!watch.lags(0, &stage), "both workers are behind");
                assert!(!watch.lags(2 * LAG_US, &stage));
                stage.slot(Slot::Zero).advance(BlockIndex(5), Seq(0));
                assert!(!watch.lags(2 * LAG_US, &stage));
                assert_eq!(watch.lags(3 * LAG_US + 1, &stage), !freewheel);
                stage.slot(Slot::One).advance(BlockIndex(4), Seq(0));
                assert!(!watch.lags(9 * LAG_US, &stage), "the worker has caught up");
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
