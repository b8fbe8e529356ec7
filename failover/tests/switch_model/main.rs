//! A model of the whole switch: every order of the steps of two workers, audio-out and supervisor, with up
//! to two crashes, a freeze of any length, and a command that kills the worker that applies it.
//!
//! stateright explores all states of a small world (two blocks, a lead of two). The model runs the
//! production rules, `blame` among them, over the words that the processes share; it only adds which
//! process takes the next step. A step of a worker ends where another process can see its effect.
#![cfg(not(loom))]

mod world;

use stateright::{Checker, Model, Property};
use world::{BLOCKS, GOOD, MOVES, Move, World};

/// A world, and what may happen in it.
#[derive(Clone, Copy)]
struct Switch {
    crashes: u8,
    freeze: bool,
    commands: bool,
}

impl Model for Switch {
    type State = World;
    type Action = Move;

    fn init_states(&self) -> Vec<World> {
        vec![World::new()]
    }

    fn actions(&self, state: &World, actions: &mut Vec<Move>) {
        if u64::from(state.played) == BLOCKS {
            return;
        }
        let may = |action: &Move| match action {
            Move::Crash(_) => state.crashes < self.crashes,
            Move::Freeze(_) => self.freeze,
            Move::Receive => self.commands,
            _ => true,
        };
        let moves = MOVES.into_iter().filter(may);
        actions.extend(moves.filter(|a| state.after(*a).is_some()));
        if actions.is_empty() && state.after(Move::Wait).is_some() {
            actions.push(Move::Wait);
        }
    }

    fn next_state(&self, state: &World, action: Move) -> Option<World> {
        state.after(action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one block, one sound", |_, w: &World| !w.wrongs.two_sounds),
            Property::always("each block is played once, in order", |_, w: &World| {
                !w.wrongs.out_of_order
            }),
            Property::always("no clean-up before the acknowledgement", |_, w: &World| {
                !w.wrongs.early_clean_up
            }),
            // One exception: a leader is frozen right after it has decided the poison, before its first
            // breadcrumb. It is no suspect then. The worker that is preferred next applies the poison, and
            // so does the frozen one when it thaws.
            Property::always(
                "poison kills one worker, not both",
                |world: &Self, w: &World| w.killed_by_poison <= 1 + u8::from(world.freeze),
            ),
            Property::always("no command is lost or applied twice", |_, w: &World| {
                w.published.iter().flatten().all(|sound| {
                    let times = sound.iter().filter(|mask| *mask & 1 << GOOD.0 != 0).count();
                    times <= 1
                }) && w.workers.iter().all(|worker| {
                    worker.applied < GOOD || worker.sound.iter().any(|m| m & 1 << GOOD.0 != 0)
                })
            }),
            Property::eventually("all is played", |_, w: &World| {
                u64::from(w.played) == BLOCKS
            }),
        ]
    }
}

fn explore(what: &str, world: Switch) {
    let checker = world.checker().threads(2).spawn_bfs().join();
    println!(
        "FIGURE model of the switch, {what}: {} states, {} of them different, {} steps deep",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
}

#[test]
fn a_crash_and_poison_break_nothing() {
    explore(
        "one crash, poison",
        Switch {
            crashes: 1,
            freeze: false,
            commands: true,
        },
    );
}

#[test]
fn two_crashes_break_nothing() {
    explore(
        "two crashes",
        Switch {
            crashes: 2,
            freeze: false,
            commands: false,
        },
    );
}

#[test]
fn a_freeze_and_poison_break_nothing() {
    explore(
        "a freeze, poison",
        Switch {
            crashes: 0,
            freeze: true,
            commands: true,
        },
    );
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes a minute without --release")]
fn two_crashes_and_a_freeze_break_nothing() {
    explore(
        "two crashes, a freeze",
        Switch {
            crashes: 2,
            freeze: true,
            commands: false,
        },
    );
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes a minute without --release")]
fn two_crashes_and_poison_break_nothing() {
    explore(
        "two crashes, poison",
        Switch {
            crashes: 2,
            freeze: false,
            commands: true,
        },
    );
}
