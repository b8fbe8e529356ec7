//! The trials: a worker that nobody hears tries what may be poison, or acts as the referee.
//!
//! It starts from a checkpoint and renders what the workers rendered. One case is under way at a time; the
//! others wait:
//!
//! ```text
//!   commands held ──▶ try them ──▶ passed: lift the hold
//!                      ▲  │ └────▶ died or hung at a command: quarantine it
//!                      │  │               │
//!                      └──│───────────────┘
//!                         └──────▶ died in a module before the first suspect: bypass it and try again
//!   checksums differ ──▶ render the block a third time ──▶ replace the worker whose checksum is different
//! ```
//!
//! `step(now, event) → actions`, without clock or I/O.

use std::collections::VecDeque;

use common::units::{BlockIndex, Incarnation, Seq, Slot};

/// A trial without progress for this long, in microseconds, hangs, or the machine does.
pub const TRIAL_US: u64 = 1_500_000;
/// How often a trial without a result is started, at most: a kill from outside says nothing about the case.
const TRIES: u32 = 3;
/// Commands that passed a trial and are suspected again this many times in a row are quarantined all the
/// same. Fewer times, the cause may have been a slow worker.
const AGAIN: u32 = 3;
/// Cases that wait, at most; further cases are dropped.
const WAITING: usize = 8;

/// Up to four modules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modules([Option<u16>; 4]);

impl Modules {
    /// These modules and one more; `None` if it is among them already, or there is no room.
    #[must_use]
    pub fn with(mut self, module: u16) -> Option<Self> {
        if self.0.contains(&Some(module)) {
            return None;
        }
        let free = self.0.iter_mut().find(|place| place.is_none())?;
        *free = Some(module);
        Some(self)
    }

    /// Each of the modules.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.into_iter().flatten()
    }
}

/// The question for a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Does one of the commands above `after` kill the worker that applies it? All held commands are tried.
    Commands {
        /// The commands up to here are good; those above are held.
        after: Seq,
        /// The last suspect.
        last: Seq,
        /// Modules that kill even without the commands.
        bypassing: Modules,
    },
    /// The replicas differ in a block: which of them is wrong?
    Differing {
        /// The block.
        block: BlockIndex,
        /// The checksum of each slot's worker.
        sums: [u64; 2],
        /// The incarnation of each slot's worker.
        workers: [Incarnation; 2],
        /// The worker to replace if the referee cannot tell: the follower.
        doubtful: Slot,
    },
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It completed its task; a referee has computed this checksum.
    Passed(Option<u64>),
    /// It crashed at this command, or, with all commands up to this one applied, in this module.
    Died(Seq, u16),
    /// It was killed from outside or could not be started.
    Outside,
}

/// What the trials are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Time has passed.
    Tick,
    /// A new case.
    Open(Case),
    /// The trial under way has reached this command.
    At(Seq),
    /// A trial has ended.
    Ended(Incarnation, End),
    /// The held commands are harmless: the worker that was stuck with them was stopped or killed from outside.
    Harmless,
}

/// What the supervisor has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a trial.
    Start(Incarnation, Case),
    /// Kill the trial.
    End(Incarnation),
    /// Quarantine this command.
    Quarantine(Seq),
    /// Lift the hold above this number.
    Lift(Seq),
    /// Lift the hold above this number, and bypass these modules, which kill without the commands.
    LiftBypassing(Seq, Modules),
    /// Replace this worker: it was wrong in this block.
    Replace(Slot, Incarnation, BlockIndex),
}

#[derive(Clone, Copy, Debug)]
struct Running {
    case: Case,
    life: Incarnation,
    until_us: u64,
    at: Seq,
    tries: u32,
    /// The last command that this case has quarantined. A trial that dies at it again dies of something else.
    quarantined: Seq,
}

/// The trials of an instance.
#[derive(Clone, Debug)]
pub struct Trials {
    running: Option<Running>,
    waiting: VecDeque<Case>,
    next_life: Incarnation,
    /// The last suspect that has passed a trial.
    passed: Seq,
    /// How often in a row commands that had passed were suspected again.
    again: u32,
}

impl Trials {
    /// No case yet; incarnations are numbered from `next_life`.
    #[must_use]
    pub const fn new(next_life: Incarnation) -> Self {
        Self {
            running: None,
            waiting: VecDeque::new(),
            next_life,
            passed: Seq(0),
            again: 0,
        }
    }

    /// The case under way.
    #[must_use]
    pub fn case(&self) -> Option<Case> {
        self.running.map(|running| running.case)
    }

    /// The incarnation of the trial under way.
    #[must_use]
    pub fn life(&self) -> Option<Incarnation> {
        self.running.map(|running| running.life)
    }

    /// Whether a case of commands is under way or waits.
    #[must_use]
    pub fn tries_commands(&self) -> bool {
        let mut cases = self.case().into_iter().chain(self.waiting.iter().copied());
        cases.any(|case| !is_differing(case))
    }

    /// Whether a case of differing replicas is under way or waits.
    #[must_use]
    pub fn compares(&self) -> bool {
        let mut cases = self.case().into_iter().chain(self.waiting.iter().copied());
        cases.any(is_differing)
    }

    /// Handles one event and returns the actions, in order.
    pub fn step(&mut self, now_us: u64, event: Report) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Report::Tick => self.tick(now_us, &mut actions),
            Report::Open(case) => self.open(case, &mut actions),
            Report::At(seq) => {
                let suspect = |r: &Running| match r.case {
                    Case::Commands { after, .. } => seq > after.max(r.at),
                    Case::Differing { .. } => false,
                };
                if let Some(running) = self.running.as_mut().filter(|r| suspect(r)) {
                    running.at = seq;
                    running.until_us = now_us + TRIAL_US;
                }
            }
            Report::Ended(life, end) => self.ended(now_us, life, end, &mut actions),
            Report::Harmless => self.harmless(&mut actions),
        }
        if self.running.is_none()
            && let Some(case) = self.waiting.pop_front()
        {
            self.start(now_us, case, 1, Seq(0), &mut actions);
        }
        actions
    }

    fn open(&mut self, case: Case, actions: &mut Vec<Action>) {
        if let Case::Commands { after, last, .. } = case {
            if self.tries_commands() {
                return;
            }
            self.again = if last <= self.passed {
                self.again + 1
            } else {
                0
            };
            if self.again >= AGAIN {
                // The commands passed their trials and have killed again and again: one of them is poison.
                (after.0 + 1..=last.0).for_each(|seq| actions.push(Action::Quarantine(Seq(seq))));
                actions.push(Action::Lift(after));
                return;
            }
        } else if self.compares() {
            return;
        }
        if self.waiting.len() < WAITING {
            self.waiting.push_back(case);
        }
    }

    fn start(
        &mut self,
        now_us: u64,
        case: Case,
        tries: u32,
        quarantined: Seq,
        actions: &mut Vec<Action>,
    ) {
        let life = self.next_life;
        self.next_life = life.next();
        self.running = Some(Running {
            case,
            life,
            until_us: now_us + TRIAL_US,
            at: Seq(0),
            tries,
            quarantined,
        });
        actions.push(Action::Start(life, case));
    }

    fn tick(&mut self, now_us: u64, actions: &mut Vec<Action>) {
        let Some(running) = self.running.filter(|r| now_us >= r.until_us) else {
            return;
        };
        actions.push(Action::End(running.life));
        let end = match running.at {
            Seq(0) => End::Outside,
            at => End::Died(at, 0),
        };
        self.ended(now_us, running.life, end, actions);
    }

    fn ended(&mut self, now_us: u64, life: Incarnation, end: End, actions: &mut Vec<Action>) {
        let Some(running) = self.running.filter(|r| r.life == life) else {
            return;
        };
        self.running = None;
        if self.settled(now_us, running, end, actions) {
            return;
        }
        if running.tries < TRIES {
            let tries = running.tries + 1;
            return self.start(now_us, running.case, tries, running.quarantined, actions);
        }
        actions.push(match running.case {
            Case::Commands { after, .. } => Action::Lift(after),
            Case::Differing {
                block,
                workers,
                doubtful,
                ..
            } => Action::Replace(doubtful, workers[doubtful.index()], block),
        });
    }

    /// Acts on the end of a trial, if it settles the case. Returns whether it does.
    fn settled(
        &mut self,
        now_us: u64,
        running: Running,
        end: End,
        actions: &mut Vec<Action>,
    ) -> bool {
        match (running.case, end) {
            (
                Case::Commands {
                    after,
                    last,
                    bypassing,
                },
                End::Passed(_),
            ) => {
                self.passed = self.passed.max(last);
                actions.push(match bypassing == Modules::default() {
                    true => Action::Lift(after),
                    false => Action::LiftBypassing(after, bypassing),
                });
            }
            (case @ Case::Commands { after, .. }, End::Died(seq, _))
                if seq > after.max(running.quarantined) =>
            {
                actions.push(Action::Quarantine(seq));
                self.start(now_us, case, 1, seq, actions);
            }
            (
                Case::Differing {
                    block,
                    sums,
                    workers,
                    doubtful,
                },
                End::Passed(Some(right)),
            ) => {
                let wrong = |slot: &Slot| sums[slot.index()] != right;
                let mut found: Vec<Slot> = Slot::ALL.into_iter().filter(wrong).collect();
                if found.len() == 2 {
                    // Three different results: the referee may have started from a wrong checkpoint.
                    found = vec![doubtful];
                }
                let replace = |slot: Slot| Action::Replace(slot, workers[slot.index()], block);
                actions.extend(found.into_iter().map(replace));
            }
            (
                Case::Commands {
                    after,
                    last,
                    bypassing,
                },
                End::Died(seq, module),
            ) if seq <= after => match bypassing.with(module) {
                Some(bypassing) => {
                    let case = Case::Commands {
                        after,
                        last,
                        bypassing,
                    };
                    self.start(now_us, case, 1, running.quarantined, actions);
                }
                None => actions.push(Action::Lift(after)),
            },
            _ => return false,
        }
        true
    }

    fn harmless(&mut self, actions: &mut Vec<Action>) {
        self.waiting
            .retain(|case| !matches!(case, Case::Commands { .. }));
        if let Some(Running {
            case: Case::Commands { after, .. },
            life,
            ..
        }) = self.running
        {
            self.running = None;
            actions.push(Action::End(life));
            actions.push(Action::Lift(after));
        }
    }
}

const fn is_differing(case: Case) -> bool {
    matches!(case, Case::Differing { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Incarnation = Incarnation(1);
    const SECOND: Incarnation = Incarnation(2);
    const COMMANDS: Case = Case::Commands {
        after: Seq(4),
        last: Seq(6),
        bypassing: Modules([None; 4]),
    };
    const DIFFERING: Case = Case::Differing {
        block: BlockIndex(9),
        sums: [10, 11],
        workers: [Incarnation(7), Incarnation(8)],
        doubtful: Slot::One,
    };

    fn opened(case: Case) -> Trials {
        let mut trials = Trials::new(FIRST);
        let actions = trials.step(0, Report::Open(case));
        assert_eq!(actions, [Action::Start(FIRST, case)]);
        trials
    }

    #[test]
    fn commands_that_harm_nobody_are_let_in() {
        let mut trials = opened(COMMANDS);
        let actions = trials.step(1, Report::Ended(FIRST, End::Passed(None)));
        assert_eq!(actions, [Action::Lift(Seq(4))]);
        assert_eq!(trials.case(), None);
    }

    #[test]
    fn the_guilty_one_is_quarantined_and_the_others_are_tried_again() {
        let mut trials = opened(COMMANDS);
        let actions = trials.step(1, Report::Ended(FIRST, End::Died(Seq(5), 0)));
        let expected = [Action::Quarantine(Seq(5)), Action::Start(SECOND, COMMANDS)];
        assert_eq!(actions, expected);
        let actions = trials.step(2, Report::Ended(SECOND, End::Passed(None)));
        assert_eq!(actions, [Action::Lift(Seq(4))]);
    }

    #[test]
    fn one_that_dies_at_what_is_left_out_already_does_not_try_for_ever() {
        let mut trials = opened(COMMANDS);
        trials.step(1, Report::Ended(FIRST, End::Died(Seq(5), 0)));
        for life in 2..u64::from(TRIES) + 1 {
            let actions = trials.step(1, Report::Ended(Incarnation(life), End::Died(Seq(5), 0)));
            assert_eq!(actions, [Action::Start(Incarnation(life + 1), COMMANDS)]);
        }
        let last = Incarnation(u64::from(TRIES) + 1);
        let actions = trials.step(1, Report::Ended(last, End::Died(Seq(5), 0)));
        assert_eq!(actions, [Action::Lift(Seq(4))]);
    }

    #[test]
    fn who_dies_without_the_suspects_dies_of_a_module_and_they_are_tried_without_it() {
        let mut trials = opened(COMMANDS);
        let actions = trials.step(1, Report::Ended(FIRST, End::Died(Seq(4), 7)));
        let bypassing = Modules::default().with(7).unwrap();
        let without = Case::Commands {
            after: Seq(4),
            last: Seq(6),
            bypassing,
        };
        assert_eq!(actions, [Action::Start(SECOND, without)]);
        let actions = trials.step(2, Report::Ended(SECOND, End::Died(Seq(5), 0)));
        let third = Incarnation(3);
        let expected = [Action::Quarantine(Seq(5)), Action::Start(third, without)];
        assert_eq!(actions, expected);
        let actions = trials.step(3, Report::Ended(third, End::Passed(None)));
        assert_eq!(actions, [Action::LiftBypassing(Seq(4), bypassing)]);
    }

    #[test]
    fn one_that_hangs_is_guilty_too_unless_it_never_came_to_a_suspect() {
        let mut trials = opened(COMMANDS);
        assert_eq!(trials.step(10, Report::At(Seq(6))), []);
        assert_eq!(trials.step(TRIAL_US + 9, Report::Tick), []);
        let actions = trials.step(TRIAL_US + 10, Report::Tick);
        let expected = [
            Action::End(FIRST),
            Action::Quarantine(Seq(6)),
            Action::Start(SECOND, COMMANDS),
        ];
        assert_eq!(actions, expected);
        let actions = trials.step(3 * TRIAL_US, Report::Tick);
        let again = [Action::End(SECOND), Action::Start(Incarnation(3), COMMANDS)];
        assert_eq!(actions, again);
    }

    #[test]
    fn a_trial_that_is_killed_from_outside_is_repeated_but_not_for_ever() {
        let mut trials = opened(COMMANDS);
        for life in 1..TRIES {
            let life = Incarnation(life.into());
            let actions = trials.step(1, Report::Ended(life, End::Outside));
            assert_eq!(actions, [Action::Start(life.next(), COMMANDS)]);
        }
        let last = Incarnation(TRIES.into());
        let actions = trials.step(1, Report::Ended(last, End::Outside));
        assert_eq!(actions, [Action::Lift(Seq(4))]);
    }

    #[test]
    fn what_was_tried_let_in_and_kills_again_and_again_is_quarantined_whole() {
        let mut trials = opened(COMMANDS);
        for life in 1..AGAIN + 1 {
            let life = Incarnation(life.into());
            trials.step(1, Report::Ended(life, End::Passed(None)));
            if life.0 < u64::from(AGAIN) {
                let actions = trials.step(2, Report::Open(COMMANDS));
                assert_eq!(actions, [Action::Start(life.next(), COMMANDS)]);
            }
        }
        let actions = trials.step(2, Report::Open(COMMANDS));
        let expected = [
            Action::Quarantine(Seq(5)),
            Action::Quarantine(Seq(6)),
            Action::Lift(Seq(4)),
        ];
        assert_eq!(actions, expected);
    }

    #[test]
    fn a_stop_from_outside_ends_the_trial() {
        let mut trials = opened(COMMANDS);
        let actions = trials.step(1, Report::Harmless);
        assert_eq!(actions, [Action::End(FIRST), Action::Lift(Seq(4))]);
        let late = trials.step(2, Report::Ended(FIRST, End::Died(Seq(5), 0)));
        assert_eq!(late, [], "news of an ended trial changes nothing");
    }

    #[test]
    fn the_referee_finds_the_wrong_one_and_a_second_case_waits_for_the_first() {
        let mut trials = opened(COMMANDS);
        assert_eq!(trials.step(1, Report::Open(DIFFERING)), []);
        let actions = trials.step(2, Report::Ended(FIRST, End::Passed(None)));
        assert_eq!(
            actions,
            [Action::Lift(Seq(4)), Action::Start(SECOND, DIFFERING)]
        );
        let actions = trials.step(3, Report::Ended(SECOND, End::Passed(Some(11))));
        assert_eq!(
            actions,
            [Action::Replace(Slot::Zero, Incarnation(7), BlockIndex(9))]
        );
    }

    #[test]
    fn a_referee_that_cannot_tell_has_the_follower_replaced() {
        let mut trials = opened(DIFFERING);
        let actions = trials.step(3, Report::Ended(FIRST, End::Passed(Some(99))));
        assert_eq!(
            actions,
            [Action::Replace(Slot::One, Incarnation(8), BlockIndex(9))]
        );
    }
}
