//! Each transition in the life of a seat, and the forbidden ones.

use super::*;

const FIRST: Incarnation = Incarnation(1);
const SECOND: Incarnation = Incarnation(2);
const THIRD: Incarnation = Incarnation(3);
const START: Preference = Preference {
    epoch: Epoch(0),
    slot: Slot::Zero,
};

fn died(slot: Slot, incarnation: Incarnation) -> Fact {
    Fact::Died {
        slot,
        incarnation,
        own_making: false,
    }
}

/// Slot 0 leads, slot 1 follows, both proven.
fn protected() -> Supervision {
    let mut state = Supervision::adopt(0, START, [Some(FIRST), Some(SECOND)], THIRD);
    state.step(
        0,
        Fact::Proven {
            slot: Slot::Zero,
            incarnation: FIRST,
        },
    );
    state.step(
        0,
        Fact::Proven {
            slot: Slot::One,
            incarnation: SECOND,
        },
    );
    assert!(state.protected());
    state
}

#[test]
fn an_empty_instance_gets_two_workers_with_lives_of_their_own() {
    let mut state = Supervision::adopt(0, START, [None, None], FIRST);
    let actions = state.step(0, Fact::Tick);
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
    assert_eq!(state.step(2, Fact::Tick), []);
    assert_eq!(
        state.step(3, Fact::Acknowledged(Epoch(0))),
        [],
        "an older epoch"
    );
    let actions = state.step(4, Fact::Acknowledged(Epoch(1)));
    assert_eq!(actions, [Action::Spawn(Slot::Zero, THIRD)]);
}

#[test]
fn a_hung_leader_is_killed_only_after_the_switch_is_acknowledged() {
    let mut state = protected();
    let actions = state.step(
        1,
        Fact::Failed {
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
    let actions = state.step(2, Fact::Acknowledged(Epoch(1)));
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
    let actions = state.step(3, Fact::Acknowledged(Epoch(1)));
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
    let failed = Fact::Failed {
        slot: Slot::Zero,
        incarnation: FIRST,
        own_making: true,
    };
    let to_the_standby = Action::Prefer {
        from: START,
        to: Slot::One,
    };
    assert_eq!(state.step(2, failed), [to_the_standby]);
    let actions = state.step(3, Fact::Acknowledged(Epoch(1)));
    assert_eq!(actions, [Action::Kill(Slot::Zero, FIRST)]);
}

#[test]
fn a_standby_that_never_proves_itself_is_given_up_and_replaced() {
    let mut state = protected();
    state.step(1, died(Slot::One, SECOND));
    assert!(!state.protected());
    assert_eq!(state.step(READY_WITHIN_US, Fact::Tick), []);
    let actions = state.step(READY_WITHIN_US + 1, Fact::Tick);
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
            Fact::Proven {
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
    // Meanwhile audio-out had switched to slot 1 and back: epoch 2 prefers slot 0, whose worker is dead.
    let seen = Preference {
        epoch: Epoch(2),
        slot: Slot::Zero,
    };
    let actions = state.step(2, Fact::Preference(seen));
    assert_eq!(
        actions,
        [Action::Prefer {
            from: seen,
            to: Slot::One
        }]
    );
    // Or the supervisor's switch failed altogether.
    let seen = Preference {
        epoch: Epoch(2),
        slot: Slot::One,
    };
    assert_eq!(state.step(3, Fact::Preference(seen)), []);
    let actions = state.step(4, Fact::Acknowledged(Epoch(2)));
    assert_eq!(actions, [Action::Spawn(Slot::Zero, THIRD)]);
}

#[test]
fn whoever_sits_there_is_preferred_to_an_empty_seat() {
    let mut state = Supervision::adopt(0, START, [None, Some(SECOND)], THIRD);
    let crash = |incarnation| Fact::Died {
        slot: Slot::Zero,
        incarnation,
        own_making: true,
    };
    state.step(0, Fact::Tick);
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
        let crash = Fact::Died {
            slot: Slot::One,
            incarnation: life,
            own_making: true,
        };
        match state.step(now, crash).as_slice() {
            [Action::Spawn(Slot::One, next)] => life = *next,
            _ => break,
        }
    }
    assert_eq!(state.step(now + 1, Fact::Tick), []);
    let actions = state.step(now + 1, Fact::Restart(Slot::One));
    assert_eq!(actions, [Action::Spawn(Slot::One, life.next())]);
}

#[test]
fn a_planned_restart_of_the_leader_switches_first() {
    let mut state = protected();
    let actions = state.step(1, Fact::Restart(Slot::Zero));
    assert_eq!(
        actions,
        [Action::Prefer {
            from: START,
            to: Slot::One
        }]
    );
}
