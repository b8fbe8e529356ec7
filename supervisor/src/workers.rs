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

/// The watch over one seat.
pub struct Watch {
    slot: Slot,
    incarnation: Incarnation,
    audit: Audit,
    frontier: BlockIndex,
    moved: Instant,
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
        }
    }

    /// Whom it watches.
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
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
}
