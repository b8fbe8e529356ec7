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
pub enum Event {
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
    pub fn step(&mut self, now_us: u64, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Tick => {}
            Event::Preference(seen) => self.obey(now_us, seen, &mut actions),
            Event::Acknowledged(epoch) => self.acknowledged = self.acknowledged.max(epoch),
            Event::Proven { slot, incarnation } => self.proven(now_us, slot, incarnation),
            Event::Died {
                slot,
                incarnation,
                own_making,
            } => {
                self.died(now_us, slot, incarnation, own_making, &mut actions);
            }
            Event::Failed {
                slot,
                incarnation,
                own_making,
            } => {
                if self.working(slot) == Some(incarnation) {
                    self.condemn(now_us, slot, incarnation, true, own_making, &mut actions);
                }
            }
            Event::Restart(slot) => {
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
mod tests {
    use super::*;

    const FIRST: Incarnation = Incarnation(1);
    const SECOND: Incarnation = Incarnation(2);
    const THIRD: Incarnation = Incarnation(3);
    const START: Preference = Preference {
        epoch: Epoch(0),
        slot: Slot::Zero,
    };

    fn died(slot: Slot, incarnation: Incarnation) -> Event {
        Event::Died {
            slot,
            incarnation,
            own_making: false,
        }
    }

    /// Slot 0 leads, slot 1 stands by, both proven.
    fn protected() -> Supervision {
        let mut state = Supervision::adopt(0, START, [Some(FIRST), Some(SECOND)], THIRD);
        state.step(
            0,
            Event::Proven {
                slot: Slot::Zero,
                incarnation: FIRST,
            },
        );
        state.step(
            0,
            Event::Proven {
                slot: Slot::One,
                incarnation: SECOND,
            },
        );
        assert!(state.protected());
        state
    }

    #[test]
    fn an_empty_house_gets_two_workers_with_lives_of_their_own() {
        let mut state = Supervision::adopt(0, START, [None, None], FIRST);
        let actions = state.step(0, Event::Tick);
        assert_eq!(
            actions,
            [
                Action::Spawn(Slot::Zero, FIRST),
                Action::Spawn(Slot::One, SECOND)
            ]
        );
    }

    #[test]
    fn a_dead_leader_is_replaced_only_after_the_switch_is_acknowledged() {
        let mut state = protected();
        let actions = state.step(1, died(Slot::Zero, FIRST));
        assert_eq!(
            actions,
            [Action::Prefer {
                from: START,
                to: Slot::One
            }]
        );
        assert_eq!(state.step(2, Event::Tick), []);
        assert_eq!(
            state.step(3, Event::Acknowledged(Epoch(0))),
            [],
            "an older epoch"
        );
        let actions = state.step(4, Event::Acknowledged(Epoch(1)));
        assert_eq!(actions, [Action::Spawn(Slot::Zero, THIRD)]);
    }

    #[test]
    fn a_hung_leader_is_killed_only_after_the_switch_is_acknowledged() {
        let mut state = protected();
        let actions = state.step(
            1,
            Event::Failed {
                slot: Slot::Zero,
                incarnation: FIRST,
                own_making: true,
            },
        );
        assert_eq!(
            actions,
            [Action::Prefer {
                from: START,
                to: Slot::One
            }]
        );
        let actions = state.step(2, Event::Acknowledged(Epoch(1)));
        assert_eq!(actions, [Action::Kill(Slot::Zero, FIRST)]);
        assert_eq!(
            state.step(3, died(Slot::Zero, FIRST)),
            [Action::Spawn(Slot::Zero, THIRD)]
        );
    }

    #[test]
    fn a_second_death_during_the_clean_up_waits_for_its_own_epoch() {
        let mut state = protected();
        state.step(1, died(Slot::Zero, FIRST));
        assert_eq!(state.step(2, died(Slot::One, SECOND)), []);
        let actions = state.step(3, Event::Acknowledged(Epoch(1)));
        let fourth = Incarnation(4);
        assert_eq!(
            actions,
            [
                Action::Spawn(Slot::Zero, THIRD),
                Action::Spawn(Slot::One, fourth)
            ]
        );
    }

    #[test]
    fn an_unproven_standby_is_preferred_to_a_failed_leader_which_is_ended_after_that() {
        let mut state = protected();
        state.step(1, died(Slot::One, SECOND));
        assert_eq!(state.living(Slot::One), Some(THIRD));
        let failed = Event::Failed {
            slot: Slot::Zero,
            incarnation: FIRST,
            own_making: true,
        };
        let to_the_standby = Action::Prefer {
            from: START,
            to: Slot::One,
        };
        assert_eq!(state.step(2, failed), [to_the_standby]);
        let actions = state.step(3, Event::Acknowledged(Epoch(1)));
        assert_eq!(actions, [Action::Kill(Slot::Zero, FIRST)]);
    }

    #[test]
    fn a_standby_that_never_proves_itself_is_given_up_and_replaced() {
        let mut state = protected();
        state.step(1, died(Slot::One, SECOND));
        assert!(!state.protected());
        assert_eq!(state.step(READY_WITHIN_US, Event::Tick), []);
        let actions = state.step(READY_WITHIN_US + 1, Event::Tick);
        assert_eq!(actions, [Action::Kill(Slot::One, THIRD)]);
        let actions = state.step(READY_WITHIN_US + 2, died(Slot::One, THIRD));
        assert_eq!(actions, [Action::Spawn(Slot::One, Incarnation(4))]);
    }

    #[test]
    fn news_of_an_earlier_life_changes_nothing() {
        let mut state = protected();
        state.step(1, died(Slot::One, SECOND));
        assert_eq!(state.step(2, died(Slot::One, SECOND)), []);
        assert_eq!(
            state.step(
                2,
                Event::Proven {
                    slot: Slot::One,
                    incarnation: SECOND
                }
            ),
            []
        );
        assert!(!state.protected());
    }

    #[test]
    fn a_switch_lost_to_audio_out_does_not_leave_the_clean_up_waiting_for_ever() {
        let mut state = protected();
        let actions = state.step(1, died(Slot::Zero, FIRST));
        assert_eq!(
            actions,
            [Action::Prefer {
                from: START,
                to: Slot::One
            }]
        );
        // audio-out had switched to slot 1 and back meanwhile: epoch 2, slot 0, which is dead.
        let seen = Preference {
            epoch: Epoch(2),
            slot: Slot::Zero,
        };
        let actions = state.step(2, Event::Preference(seen));
        assert_eq!(
            actions,
            [Action::Prefer {
                from: seen,
                to: Slot::One
            }]
        );
        // Or the switch did not come to be at all.
        let seen = Preference {
            epoch: Epoch(2),
            slot: Slot::One,
        };
        assert_eq!(state.step(3, Event::Preference(seen)), []);
        let actions = state.step(4, Event::Acknowledged(Epoch(2)));
        assert_eq!(actions, [Action::Spawn(Slot::Zero, THIRD)]);
    }

    #[test]
    fn whoever_sits_there_is_preferred_to_an_empty_seat() {
        let mut state = Supervision::adopt(0, START, [None, Some(SECOND)], THIRD);
        let crash = |incarnation| Event::Died {
            slot: Slot::Zero,
            incarnation,
            own_making: true,
        };
        state.step(0, Event::Tick);
        (3..6).for_each(|life| drop(state.step(0, crash(Incarnation(life)))));
        assert!(matches!(
            state.seat(Slot::Zero),
            Seat::Vacant { .. } | Seat::Condemned { .. }
        ));
        assert_eq!(state.preference().slot, Slot::One);
    }

    #[test]
    fn a_pause_before_the_next_try_is_cut_short_on_request() {
        let mut state = protected();
        let mut now = 0;
        let mut life = SECOND;
        loop {
            now += 1;
            let crash = Event::Died {
                slot: Slot::One,
                incarnation: life,
                own_making: true,
            };
            match state.step(now, crash).as_slice() {
                [Action::Spawn(Slot::One, next)] => life = *next,
                _ => break,
            }
        }
        assert_eq!(state.step(now + 1, Event::Tick), []);
        let actions = state.step(now + 1, Event::Restart(Slot::One));
        assert_eq!(actions, [Action::Spawn(Slot::One, life.next())]);
    }

    #[test]
    fn a_planned_restart_of_the_leader_switches_first() {
        let mut state = protected();
        let actions = state.step(1, Event::Restart(Slot::Zero));
        assert_eq!(
            actions,
            [Action::Prefer {
                from: START,
                to: Slot::One
            }]
        );
    }
}
