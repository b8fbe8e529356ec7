//! The supervisor's rule for a failure: a switch in two phases.
//!
//! Phase 1 changes the preference word and nothing else. Phase 2, the clean-up, belongs to the epoch that
//! phase 1 has made: once audio-out has acknowledged that epoch, the failed worker is killed and a
//! replacement with a new incarnation is started in its slot. A failure during a clean-up is an ordinary
//! failure with an epoch of its own. The life of a seat:
//!
//! ```text
//!            spawn                proven            fails
//!   Vacant ────────▶ Starting ────────────▶ Ready ─────────▶ Condemned(epoch)
//!     ▲                  │ never ready, fails                     │ acknowledged
//!     │                  └───────────────▶ Condemned ◀────────────┤
//!     │                     dead                                  ▼ alive: kill
//!     └──────────────────────────────────────────────────────── Dying
//! ```
//!
//! `step(now, event) → actions`, without clock or I/O.

use common::{
    stage::Preference,
    units::{Epoch, Incarnation, Slot},
};

use crate::restart::Record;

/// A worker that has not proven itself within this time, in microseconds, is given up. Covers start-up as well.
pub const READY_WITHIN_US: u64 = 5_000_000;
/// How long a clean-up waits for its acknowledgement, in microseconds. A later one never comes: audio-out
/// hangs or has no device. The clean-up is safe without it, since no ring is ever cleared.
const ACKNOWLEDGE_WITHIN_US: u64 = 1_000_000;

/// What the switch is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Time has passed.
    Tick,
    /// The worker has ended.
    Died {
        /// The worker's seat.
        slot: Slot,
        /// The worker's incarnation.
        incarnation: Incarnation,
        /// The worker crashed, panicked or exited; nothing outside killed it.
        own_making: bool,
    },
    /// The worker lives but fails: it hangs, is stopped, does not read its link, or its blocks are wrong.
    Failed {
        /// The worker's seat.
        slot: Slot,
        /// The worker's incarnation.
        incarnation: Incarnation,
        /// Nothing outside stopped the worker, and the fault was not a single wrong block.
        own_making: bool,
    },
    /// Checksums have proven the worker.
    Proven {
        /// The worker's seat.
        slot: Slot,
        /// The worker's incarnation.
        incarnation: Incarnation,
    },
    /// A user wants the worker in the seat replaced, or the pause before the next start skipped.
    Restart(Slot),
    /// The present preference word. audio-out changes the word too, and may do so before a `Prefer` takes
    /// effect: the word is always right.
    Preference(Preference),
    /// audio-out has acted on the epoch. Also reported while no audio-out runs.
    Acknowledged(Epoch),
}

/// What the supervisor has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Phase 1: change the preference word if it still equals `from`.
    Prefer {
        /// The preference at the time of the conclusion.
        from: Preference,
        /// The slot to prefer.
        to: Slot,
    },
    /// Phase 2: kill the failed worker.
    Kill(Slot, Incarnation),
    /// Phase 2: start a worker in the seat.
    Spawn(Slot, Incarnation),
}

/// The state of a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seat {
    /// No worker; the next one is started at `at_us`.
    Vacant {
        /// Time of the next start, in microseconds.
        at_us: u64,
    },
    /// A worker that has not proven itself yet.
    Starting {
        /// The worker's incarnation.
        incarnation: Incarnation,
        /// Time at which the worker is given up, in microseconds.
        until_us: u64,
    },
    /// A worker that checksums have proven.
    Ready {
        /// The worker's incarnation.
        incarnation: Incarnation,
    },
    /// A worker that has failed; it and its ring stay as they are until the epoch is acknowledged.
    Condemned {
        /// The worker's incarnation.
        incarnation: Incarnation,
        /// The epoch that must be acknowledged.
        epoch: Epoch,
        /// The process still runs and must be killed.
        alive: bool,
        /// The pause before the replacement is started, in microseconds.
        pause_us: u64,
        /// Time at which the wait for the acknowledgement ends, in microseconds.
        until_us: u64,
    },
    /// A worker that was killed and has not ended yet.
    Dying {
        /// The worker's incarnation.
        incarnation: Incarnation,
        /// The pause before the replacement is started, in microseconds.
        pause_us: u64,
    },
}

/// The supervisor's view of both seats.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Supervision {
    seats: [Seat; 2],
    records: [Record; 2],
    preference: Preference,
    acknowledged: Epoch,
    next_incarnation: Incarnation,
}

impl Supervision {
    /// Starts from the present state: living workers stay and have to prove themselves again.
    #[must_use]
    pub fn adopt(
        now_us: u64,
        preference: Preference,
        living: [Option<Incarnation>; 2],
        next_incarnation: Incarnation,
    ) -> Self {
        let seats = living.map(|worker| match worker {
            Some(incarnation) => Seat::Starting {
                incarnation,
                until_us: now_us + READY_WITHIN_US,
            },
            None => Seat::Vacant { at_us: now_us },
        });
        let acknowledged = Epoch(0);
        Self {
            seats,
            records: [Record::default(); 2],
            preference,
            acknowledged,
            next_incarnation,
        }
    }

    /// The state of the seat.
    #[must_use]
    pub const fn seat(&self, slot: Slot) -> Seat {
        self.seats[slot.index()]
    }

    /// The preference last seen.
    #[must_use]
    pub const fn preference(&self) -> Preference {
        self.preference
    }

    /// Whether both workers are ready.
    #[must_use]
    pub fn protected(&self) -> bool {
        self.seats
            .iter()
            .all(|seat| matches!(seat, Seat::Ready { .. }))
    }

    /// Failures in a row of the seat's workers.
    #[must_use]
    pub const fn failures(&self, slot: Slot) -> u32 {
        self.records[slot.index()].failures()
    }

    /// The incarnation in the seat whose process may still run.
    #[must_use]
    pub const fn living(&self, slot: Slot) -> Option<Incarnation> {
        match self.seats[slot.index()] {
            Seat::Vacant { .. } | Seat::Condemned { alive: false, .. } => None,
            Seat::Starting { incarnation, .. }
            | Seat::Ready { incarnation }
            | Seat::Condemned { incarnation, .. }
            | Seat::Dying { incarnation, .. } => Some(incarnation),
        }
    }

    /// Restarts the time limit of all workers that have not proven themselves yet: the machine is too slow
    /// for the patch.
    pub fn be_patient(&mut self, now_us: u64) {
        for seat in &mut self.seats {
            if let Seat::Starting { until_us, .. } = seat {
                *until_us = now_us + READY_WITHIN_US;
            }
        }
    }

    /// Handles one event and returns the actions, in order.
    pub fn step(&mut self, now_us: u64, event: Fact) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Fact::Tick => {}
            Fact::Preference(seen) => self.obey(now_us, seen, &mut actions),
            Fact::Acknowledged(epoch) => self.acknowledged = self.acknowledged.max(epoch),
            Fact::Proven { slot, incarnation } => self.proven(now_us, slot, incarnation),
            Fact::Died {
                slot,
                incarnation,
                own_making,
            } => {
                self.died(now_us, slot, incarnation, own_making, &mut actions);
            }
            Fact::Failed {
                slot,
                incarnation,
                own_making,
            } => {
                if self.working(slot) == Some(incarnation) {
                    self.condemn(now_us, slot, incarnation, true, own_making, &mut actions);
                }
            }
            Fact::Restart(slot) => {
                if let Some(incarnation) = self.working(slot) {
                    self.condemn(now_us, slot, incarnation, true, false, &mut actions);
                } else if let Seat::Vacant { at_us } = &mut self.seats[slot.index()] {
                    *at_us = now_us;
                }
            }
        }
        for slot in Slot::ALL {
            self.advance(now_us, slot, &mut actions);
        }
        self.prefer_better(now_us, &mut actions);
        actions
    }

    const fn working(&self, slot: Slot) -> Option<Incarnation> {
        match self.seats[slot.index()] {
            Seat::Starting { incarnation, .. } | Seat::Ready { incarnation } => Some(incarnation),
            _ => None,
        }
    }

    fn proven(&mut self, now_us: u64, slot: Slot, who: Incarnation) {
        if let Seat::Starting { incarnation, .. } = self.seats[slot.index()]
            && incarnation == who
        {
            self.seats[slot.index()] = Seat::Ready { incarnation };
            self.records[slot.index()].ready(now_us);
        }
    }

    fn died(
        &mut self,
        now_us: u64,
        slot: Slot,
        who: Incarnation,
        own_making: bool,
        actions: &mut Vec<Action>,
    ) {
        match self.seats[slot.index()] {
            Seat::Starting { incarnation, .. } | Seat::Ready { incarnation }
                if incarnation == who =>
            {
                self.condemn(now_us, slot, incarnation, false, own_making, actions);
            }
            Seat::Condemned {
                incarnation,
                ref mut alive,
                ..
            } if incarnation == who => *alive = false,
            Seat::Dying {
                incarnation,
                pause_us,
            } if incarnation == who => {
                self.seats[slot.index()] = Seat::Vacant {
                    at_us: now_us + pause_us,
                };
            }
            _ => {}
        }
    }

    /// A worker has failed. Phase 1 follows if it was preferred. Phase 2 waits for the epoch then in force.
    fn condemn(
        &mut self,
        now_us: u64,
        slot: Slot,
        incarnation: Incarnation,
        alive: bool,
        own_making: bool,
        actions: &mut Vec<Action>,
    ) {
        let pause_us = self.records[slot.index()].failed(now_us, own_making);
        let epoch = self.preference.epoch;
        self.seats[slot.index()] = Seat::Condemned {
            incarnation,
            epoch,
            alive,
            pause_us,
            until_us: now_us + ACKNOWLEDGE_WITHIN_US,
        };
        self.prefer_better(now_us, actions);
    }

    /// Phase 1: if the preferred worker has failed or its seat stays empty, prefers the other worker, if
    /// there is one. Binds the clean-up to the epoch of this switch.
    fn prefer_better(&mut self, now_us: u64, actions: &mut Vec<Action>) {
        let from = self.preference;
        let sits = |seat: Seat| matches!(seat, Seat::Starting { .. } | Seat::Ready { .. });
        let left = match self.seats[from.slot.index()] {
            Seat::Condemned { .. } => true,
            // The seat stays empty until the pause ends.
            Seat::Vacant { at_us } => at_us > now_us,
            Seat::Starting { .. } | Seat::Ready { .. } | Seat::Dying { .. } => false,
        };
        // A worker that has not proven itself yet is better than one that has failed and will be killed.
        if !left || !sits(self.seats[from.slot.other().index()]) {
            return;
        }
        let to = from.slot.other();
        actions.push(Action::Prefer { from, to });
        self.preference = Preference {
            epoch: from.epoch.next(),
            slot: to,
        };
        if let Seat::Condemned { epoch, .. } = &mut self.seats[from.slot.index()] {
            *epoch = self.preference.epoch;
        }
    }

    /// Adopts the preference word. A clean-up that waits for an epoch that never came into force waits for
    /// the present one instead.
    fn obey(&mut self, now_us: u64, seen: Preference, actions: &mut Vec<Action>) {
        if seen == self.preference {
            return;
        }
        self.preference = seen;
        for seat in &mut self.seats {
            if let Seat::Condemned { epoch, .. } = seat {
                *epoch = (*epoch).min(seen.epoch);
            }
        }
        self.prefer_better(now_us, actions);
    }

    /// Does what is due in the seat.
    fn advance(&mut self, now_us: u64, slot: Slot, actions: &mut Vec<Action>) {
        if let Seat::Starting {
            incarnation,
            until_us,
        } = self.seats[slot.index()]
            && now_us >= until_us
        {
            self.condemn(now_us, slot, incarnation, true, true, actions);
        }
        if let Seat::Condemned {
            incarnation,
            epoch,
            alive,
            pause_us,
            until_us,
        } = self.seats[slot.index()]
            && (self.acknowledged >= epoch || now_us >= until_us)
        {
            self.seats[slot.index()] = if alive {
                actions.push(Action::Kill(slot, incarnation));
                Seat::Dying {
                    incarnation,
                    pause_us,
                }
            } else {
                Seat::Vacant {
                    at_us: now_us + pause_us,
                }
            };
        }
        if let Seat::Vacant { at_us } = self.seats[slot.index()]
            && now_us >= at_us
        {
            let incarnation = self.next_incarnation;
            self.next_incarnation = incarnation.next();
            actions.push(Action::Spawn(slot, incarnation));
            self.seats[slot.index()] = Seat::Starting {
                incarnation,
                until_us: now_us + READY_WITHIN_US,
            };
        }
    }
}

#[cfg(test)]
mod tests;
