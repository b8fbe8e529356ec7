//! The supervisor's rule: what to do about a failure, in two phases.
//!
//! Phase 1 changes the preference word and nothing else. Phase 2, the clean-up, is bound to the
//! epoch that phase 1 made: only after audio-out has acknowledged it is the failed worker killed
//! and a replacement started in its slot, with a new incarnation. A failure during a clean-up is
//! just another failure with its own epoch. A seat's life:
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
//! `step(event, now) → actions`, without clock or I/O.

use common::{
    stage::Preference,
    units::{Epoch, Incarnation, Slot},
};

use crate::restart::Record;

/// A worker that has not proven itself by then is given up: start-up grace and limit in one.
pub const READY_WITHIN_US: u64 = 5_000_000;
/// An acknowledgement that takes longer than this does not come: audio-out hangs or has no device.
/// The clean-up may go on then, since no ring is ever cleared.
const ACKNOWLEDGE_WITHIN_US: u64 = 1_000_000;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Time has passed.
    Tick,
    /// The worker has ended; `own_making` unless somebody else killed it.
    Died {
        /// Which seat.
        slot: Slot,
        /// Which life.
        incarnation: Incarnation,
        /// It crashed, panicked or left by itself.
        own_making: bool,
    },
    /// The worker lives but does not do its work: it hangs, is stopped, reads nothing, diverges.
    Failed {
        /// Which seat.
        slot: Slot,
        /// Which life.
        incarnation: Incarnation,
        /// Nobody else stopped it, and it was no single bit.
        own_making: bool,
    },
    /// The worker's checksums have proven it.
    Proven {
        /// Which seat.
        slot: Slot,
        /// Which life.
        incarnation: Incarnation,
    },
    /// Somebody wants the worker in the seat replaced, or the pause before the next one cut short.
    Restart(Slot),
    /// What the preference word says now. audio-out changes it too, and may have been faster than a
    /// `Prefer`: the word is right, always.
    Preference(Preference),
    /// audio-out has acted on the epoch; also said while there is no audio-out to act.
    Acknowledged(Epoch),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Phase 1: change the preference word, if it still says `from`.
    Prefer {
        /// The word as it was when this was decided.
        from: Preference,
        /// The slot to be preferred.
        to: Slot,
    },
    /// Phase 2: end the worker that failed.
    Kill(Slot, Incarnation),
    /// Phase 2: start a worker in the seat.
    Spawn(Slot, Incarnation),
}

/// What is in a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seat {
    /// Nobody; a worker is started at that time, in microseconds.
    Vacant {
        /// When.
        at_us: u64,
    },
    /// A worker that has not proven itself yet.
    Starting {
        /// Its life.
        incarnation: Incarnation,
        /// Given up at that time, in microseconds.
        until_us: u64,
    },
    /// A worker whose checksums have proven it.
    Ready {
        /// Its life.
        incarnation: Incarnation,
    },
    /// A worker that failed; nothing is touched before the epoch is acknowledged.
    Condemned {
        /// Its life.
        incarnation: Incarnation,
        /// The epoch that has to be acknowledged.
        epoch: Epoch,
        /// It still has to be killed.
        alive: bool,
        /// The pause before its successor, in microseconds.
        pause_us: u64,
        /// No longer waited for at that time, in microseconds.
        until_us: u64,
    },
    /// A worker that was killed and has not ended yet.
    Dying {
        /// Its life.
        incarnation: Incarnation,
        /// The pause before its successor, in microseconds.
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
    /// Takes over what is there: living workers are kept, and have to prove themselves anew.
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

    /// What is in the seat.
    #[must_use]
    pub const fn seat(&self, slot: Slot) -> Seat {
        self.seats[slot.index()]
    }

    /// The preference as last seen.
    #[must_use]
    pub const fn preference(&self) -> Preference {
        self.preference
    }

    /// A leader plays and a proven follower stands by.
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

    /// Who sits in the seat and may still be running.
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

    /// Gives workers that have not proven themselves yet all their time anew: the machine is too slow for
    /// the music.
    pub fn be_patient(&mut self, now_us: u64) {
        for seat in &mut self.seats {
            if let Seat::Starting { until_us, .. } = seat {
                *until_us = now_us + READY_WITHIN_US;
            }
        }
    }

    /// Takes in one event and says what is to be done, in order.
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

    /// A worker has failed: phase 1, if it was preferred; phase 2 waits for the epoch in force then.
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

    /// Phase 1: if the preferred worker has failed, or its seat is empty, and there is a better one,
    /// that is preferred, and a clean-up is bound to the epoch of this switch.
    fn prefer_better(&mut self, now_us: u64, actions: &mut Vec<Action>) {
        let from = self.preference;
        let sits = |seat: Seat| matches!(seat, Seat::Starting { .. } | Seat::Ready { .. });
        let left = match self.seats[from.slot.index()] {
            Seat::Condemned { .. } => true,
            // Nobody will sit there for a while.
            Seat::Vacant { at_us } => at_us > now_us,
            Seat::Starting { .. } | Seat::Ready { .. } | Seat::Dying { .. } => false,
        };
        // One that is not proven yet is still better than one that failed, and is to be ended.
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

    /// The word is right: a clean-up that waits for an epoch that did not come to be waits for the
    /// one that did.
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

    /// What is due in the seat by now.
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
