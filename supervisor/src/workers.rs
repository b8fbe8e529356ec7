//! Watching the workers: do they get on, do they agree, do they listen? Facts for `failover`.

use std::time::{Duration, Instant};

use common::{
    stage::Stage,
    units::{BlockIndex, Incarnation, Slot},
};
use failover::audit::{Audit, Findings};
use platform::shared::Shared;

/// A worker that has work and does none for so long hangs. Far above any wake-up that comes late.
const HANG: Duration = Duration::from_millis(400);

/// A worker that has been behind what is played for so long, while the other one was not, is too
/// slow: it protects nobody.
const LAG: Duration = Duration::from_millis(400);

/// The watch over one seat.
pub struct Watch {
    slot: Slot,
    incarnation: Incarnation,
    audit: Audit,
    frontier: BlockIndex,
    moved: Instant,
    behind_since: Option<Instant>,
}

impl Watch {
    /// Begins to watch that life of the worker in `slot`.
    pub fn new(slot: Slot, incarnation: Incarnation) -> Self {
        Self {
            slot,
            incarnation,
            audit: Audit::new(slot, incarnation),
            frontier: BlockIndex(0),
            moved: Instant::now(),
            behind_since: None,
        }
    }

    /// Whom it watches.
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Whatever it did not do so far is not held against it.
    pub fn forgive(&mut self) {
        self.moved = Instant::now();
        self.behind_since = None;
    }

    /// What its checksums say.
    pub fn audit(&mut self, shared: &Shared) -> Findings {
        self.audit.look(&shared.stage, &shared.rings)
    }

    /// Whether it has work and does none.
    pub fn hangs(&mut self, stage: &Stage<'_>) -> bool {
        let seat = stage.slot(self.slot);
        let frontier = seat.frontier();
        if seat.incarnation() != self.incarnation
            || frontier != self.frontier
            || frontier >= stage.horizon()
        {
            self.frontier = frontier;
            self.moved = Instant::now();
        }
        self.moved.elapsed() > HANG
    }

    /// Whether it is too slow: behind what is played, and the other one is not. Without a clock
    /// nobody is.
    pub fn lags(&mut self, stage: &Stage<'_>) -> bool {
        let (seat, other) = (stage.slot(self.slot), stage.slot(self.slot.other()));
        let cursor = stage.cursor();
        let behind = seat.incarnation() == self.incarnation
            && seat.frontier() < cursor
            && other.frontier() >= cursor;
        if !behind || stage.shape().freewheel {
            self.behind_since = None;
            return false;
        }
        self.behind_since.get_or_insert_with(Instant::now).elapsed() > LAG
    }
}
