//! The simulated supervisor. It asks the judge and carries out one action at a time, so that it may die
//! between any two. Its successor takes over what it left.

use std::collections::VecDeque;

use common::units::{Incarnation, Seq, Slot};
use failover::{
    blame::Death,
    judge::{Action, Cause, Found, Judge, Observation, Scene},
    lead::Lead,
    switch::{Fact, Seat},
};

use crate::{
    music::{Command, Nature},
    sabotage::Sabotage,
    world::{Event, News, World},
};

/// Time after which a worker that does not read its link is reported, in microseconds.
const DEAF_US: u64 = 100_000;
/// Upper limit of the lead, in blocks.
const LEAD_MAX: u32 = 64;

/// A step that the supervisor will take.
#[derive(Clone, Copy, Debug)]
enum Todo {
    Judge(Action),
    Append(u64),
    Broadcast(u64),
    Accept(u64),
}

/// A supervisor process.
#[derive(Debug)]
pub struct Supervisor {
    life: u64,
    judge: Judge,
    lead: Lead,
    todo: VecDeque<Todo>,
    /// The time since which a worker has not read its link.
    deaf_us: [Option<u64>; 2],
    /// The last arrival time on each worker's link: messages stay in order.
    arrives_us: [u64; 2],
}

impl Supervisor {
    /// Whether the supervisor has ordered the end of this worker, which may still be starting.
    pub fn condemns(&self, slot: Slot, life: Incarnation) -> bool {
        let seat = self.judge.supervision().seat(slot);
        matches!(seat, Seat::Dying { incarnation, .. } if incarnation == life)
    }

    /// Whether this supervisor sees both workers ready.
    pub fn protected(&self) -> bool {
        self.judge.supervision().protected()
    }
}

const fn hear(event: Observation) -> Todo {
    Todo::Judge(Action::Then(event))
}

/// Whether a step changes no shared word that another process acts on.
const fn looks_only(todo: &Todo) -> bool {
    use Observation::{LookAt, LookAtHeld, LookAtTrials, ShowProtected, Switch, Try};
    let Todo::Judge(Action::Then(event)) = todo else {
        return false;
    };
    matches!(
        event,
        LookAt(_) | LookAtTrials | LookAtHeld | ShowProtected | Switch(..) | Try(_)
    )
}

impl World<'_> {
    pub(crate) fn supervisor_lives(&self, life: u64) -> bool {
        self.supervisor.as_ref().is_some_and(|s| s.life == life)
    }

    /// Starts a supervisor; it takes over what its predecessor left.
    pub(crate) fn supervisor_starts(&mut self) {
        self.supervisors += 1;
        let life = self.supervisors;
        let living = match self.broken(Sabotage::NoAdoption) && life > 1 {
            true => [None, None],
            false => Slot::ALL.map(|slot| {
                let there = self.workers[slot.index()].as_ref().map(|w| w.life);
                there.or(self.spawning[slot.index()])
            }),
        };
        let trial = self.trial.as_ref().map(|run| run.life);
        trial.into_iter().for_each(|life| self.trial_killed(life));
        self.news.clear();
        let found = Found {
            living,
            trial,
            own: self.log.bypasses().collect(),
            left_out: self.log.left_out().collect(),
            ..Found::default()
        };
        self.supervisor = Some(Supervisor {
            life,
            judge: Judge::adopt(self.clock.now_us(), &self.stage, found),
            lead: Lead::new(
                self.stage.format().lead_blocks,
                LEAD_MAX,
                self.stage.late_blocks(),
                self.clock.now_us(),
            ),
            todo: VecDeque::from([hear(Observation::Switch(Fact::Tick, Cause::Start))]),
            deaf_us: [None, None],
            arrives_us: [0, 0],
        });
        self.clock.after(10, Event::Todo(life));
        self.clock.after(300, Event::Tick(life));
        // Every worker links again and learns how far the log is. The gateway submits again what has no outcome.
        for slot in Slot::ALL {
            if let Some(worker) = self.workers[slot.index()].as_ref() {
                let delay = 100 + self.dice.below(3_000);
                self.clock.after(delay, Event::ReadLog(slot, worker.life));
            }
        }
        self.gateway.linked = false;
        let delay = 100 + self.dice.below(3_000);
        self.clock.after(delay, Event::Resubmit(self.gateway.life));
    }

    fn todo(&mut self, todos: impl IntoIterator<Item = Todo>) {
        let Some(supervisor) = self.supervisor.as_mut() else {
            return;
        };
        let idle = supervisor.todo.is_empty();
        supervisor.todo.extend(todos);
        if idle && !supervisor.todo.is_empty() {
            let life = supervisor.life;
            let delay = 1 + self.dice.below(10);
            self.clock.after(delay, Event::Todo(life));
        }
    }

    /// Puts these steps before all others.
    fn todo_first(&mut self, todos: Vec<Todo>) {
        if let Some(supervisor) = self.supervisor.as_mut() {
            todos
                .into_iter()
                .rev()
                .for_each(|t| supervisor.todo.push_front(t));
        }
    }

    pub(crate) fn do_next(&mut self, life: u64) {
        let before = self.stage.protected();
        // A look without consequences takes no time: no process could observe the end of that step.
        while let Some(todo) = self.next_todo() {
            self.tell(|| format!("supervisor: {todo:?}"));
            let left = self.todos_left();
            self.execute(todo);
            if !(looks_only(&todo) && self.todos_left() == left) {
                break;
            }
        }
        if !before && self.stage.protected() {
            self.protected_now();
        }
        if self.todos_left() > 0 {
            let delay = 1 + self.dice.below(10);
            self.clock.after(delay, Event::Todo(life));
        }
    }

    fn next_todo(&mut self) -> Option<Todo> {
        self.supervisor.as_mut()?.todo.pop_front()
    }

    fn todos_left(&self) -> usize {
        self.supervisor.as_ref().map_or(0, |s| s.todo.len())
    }

    fn execute(&mut self, todo: Todo) {
        match todo {
            Todo::Judge(action) => self.act(action),
            Todo::Append(submission_id) => {
                let nature = self.gateway.natures.get(&submission_id).copied();
                let nature = nature.unwrap_or(Nature::Good);
                self.log.append(Command {
                    submission_id,
                    nature,
                });
            }
            Todo::Broadcast(from) => self.broadcast(from),
            Todo::Accept(submission_id) => {
                let delay = 20 + self.dice.below(300);
                self.clock
                    .after(delay, Event::Accepted(self.gateway.life, submission_id));
            }
        }
    }

    fn judge(&mut self, event: Observation) {
        let now = self.clock.now_us();
        let Some(supervisor) = self.supervisor.as_mut() else {
            return;
        };
        let workers = &self.workers;
        let scene = Scene {
            stage: self.stage,
            rings: &self.rings,
            newest: self.log.last(),
            stopped: &|slot| workers[slot.index()].as_ref().is_some_and(|w| w.stopped),
        };
        let actions = supervisor.judge.step(now, &scene, event);
        self.todo_first(actions.into_iter().map(Todo::Judge).collect());
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Then(event) => self.judge(event),
            // A worker that is still starting is killed once it runs.
            Action::Kill(slot, life) => {
                let there = self.workers[slot.index()].as_ref();
                if there.is_some_and(|worker| worker.life == life) {
                    self.worker_dies(slot, Death::Outside);
                }
            }
            Action::Spawn(slot, life) => {
                if self.workers[slot.index()].is_some() || self.spawning[slot.index()].is_some() {
                    self.wrong(format!("two workers in slot {slot}"));
                }
                self.spawning[slot.index()] = Some(life);
                let delay = 700 + self.dice.below(2_000);
                self.clock.after(delay, Event::Spawned(slot, life));
            }
            Action::StartTrial(life, case) => self.trial_starts(life, case),
            Action::EndTrial(life) => self.trial_killed(life),
            Action::Bypass(bypass) => {
                let nature = Nature::Bypass(bypass.module);
                let seq = self.log.append(Command {
                    submission_id: 0,
                    nature,
                });
                let bypassed = hear(Observation::Bypassed(bypass, seq));
                self.todo_first(vec![bypassed, Todo::Broadcast(seq.0)]);
            }
            Action::Quarantine(seq) => {
                self.log.quarantine(seq);
                self.todo_first(vec![hear(Observation::LeftOut(seq, seq))]);
            }
            // Simulated workers look often enough without a wake-up, and there is nobody to report to.
            Action::Wake
            | Action::Switched(..)
            | Action::Failed(..)
            | Action::Proven(_)
            | Action::Held(..) => {}
        }
    }

    // ---- commands ----

    pub(crate) fn submitted(&mut self, submission_id: u64) {
        let Some(supervisor) = self.supervisor.as_ref() else {
            return;
        };
        let appending = supervisor.todo.iter().filter_map(|todo| match todo {
            Todo::Append(submission_id) => Some(*submission_id),
            _ => None,
        });
        let newest = appending.max().unwrap_or(0).max(self.log.submission_id());
        let from = self.log.last().0 + 1;
        if submission_id <= newest && !self.broken(Sabotage::NoTokens) {
            self.todo([Todo::Accept(submission_id)]);
        } else if self.broken(Sabotage::BroadcastBeforeLog) {
            self.todo([
                Todo::Broadcast(from),
                Todo::Accept(submission_id),
                Todo::Append(submission_id),
            ]);
        } else {
            self.todo([
                Todo::Append(submission_id),
                Todo::Broadcast(from),
                Todo::Accept(submission_id),
            ]);
        }
    }

    fn broadcast(&mut self, from: u64) {
        let (now, last) = (self.clock.now_us(), self.log.last().0);
        let early = self.broken(Sabotage::BroadcastBeforeLog);
        for slot in Slot::ALL {
            let leads = self.stage.preference().slot == slot;
            let Some(worker) = self.workers[slot.index()].as_ref() else {
                continue;
            };
            if self.broken(Sabotage::LeaderOnly) && !leads {
                continue;
            }
            let event = Event::Deliver(
                slot,
                worker.life,
                from,
                last.max(if early { from } else { 0 }),
            );
            let delay = 10 + self.dice.below(400);
            let Some(supervisor) = self.supervisor.as_mut() else {
                return;
            };
            let arrives = (now + delay).max(supervisor.arrives_us[slot.index()]);
            supervisor.arrives_us[slot.index()] = arrives;
            self.clock.after(arrives - now, event);
        }
    }

    // ---- deaths ----

    pub(crate) fn hear_news(&mut self, life: u64) {
        if self.supervisor.as_ref().is_some_and(|s| !s.todo.is_empty()) {
            self.clock.after(5, Event::News(life));
            return;
        }
        match self.news.pop_front() {
            Some(News::Died(slot, who, death)) => {
                let death = self.alleged(slot, who, death);
                self.todo([hear(Observation::Died(slot, who, death))]);
            }
            Some(News::TrialEnded(who, end)) => {
                self.todo([hear(Observation::TrialEnded(who, end))])
            }
            None => {}
        }
    }

    /// The cause of a death as the judge is told. Under [`Sabotage::BlamesWithoutCause`], the new commands
    /// are blamed and quarantined without a trial.
    fn alleged(&mut self, slot: Slot, who: Incarnation, death: Death) -> Death {
        let seat = self.stage.slot(slot);
        let (after, last) = (seat.applied(), seat.breadcrumb().command);
        let blamed = self.broken(Sabotage::BlamesWithoutCause)
            && seat.incarnation() == who
            && seat.breadcrumb().block == seat.frontier()
            && last > after;
        if !blamed {
            return death;
        }
        for seq in (after.0 + 1..=last.0).map(Seq) {
            self.stage.quarantine(seq);
            self.log.quarantine(seq);
        }
        Death::OwnMaking
    }

    // ---- the shared words ----

    pub(crate) fn tick(&mut self, life: u64) {
        let delay = 300 + self.dice.below(700);
        self.clock.after(delay, Event::Tick(life));
        if self.supervisor.as_ref().is_none_or(|s| !s.todo.is_empty()) {
            return;
        }
        let (now, lead, late) = (
            self.clock.now_us(),
            self.stage.lead(),
            self.stage.late_blocks(),
        );
        if let Some(supervisor) = self.supervisor.as_mut() {
            self.stage.set_lead(supervisor.lead.step(now, lead, late));
        }
        let plays = self.audio_lives();
        let mut todos = vec![hear(Observation::Look {
            judges: true,
            plays,
        })];
        todos.extend(Slot::ALL.into_iter().filter_map(|slot| self.unproven(slot)));
        todos.extend(Slot::ALL.into_iter().filter_map(|slot| self.deaf(slot)));
        self.todo(todos);
    }

    /// Under [`Sabotage::ReadyWithoutProof`], reports a worker as proven once it exists.
    fn unproven(&self, slot: Slot) -> Option<Todo> {
        let seat = self.supervisor.as_ref()?.judge.supervision().seat(slot);
        match seat {
            Seat::Starting { incarnation, .. }
                if self.broken(Sabotage::ReadyWithoutProof)
                    && self.stage.slot(slot).incarnation() == incarnation =>
            {
                let proven = Fact::Proven { slot, incarnation };
                Some(hear(Observation::Switch(proven, Cause::Proven)))
            }
            _ => None,
        }
    }

    fn deaf(&mut self, slot: Slot) -> Option<Todo> {
        let now = self.clock.now_us();
        let worker = self.workers[slot.index()].as_ref();
        let silent = worker.filter(|w| w.mute || w.stopped).map(|w| w.life);
        let since = &mut self.supervisor.as_mut()?.deaf_us[slot.index()];
        *since = silent.map(|_| since.unwrap_or(now));
        let deaf = since.is_some_and(|since| now > since + DEAF_US);
        let who = silent.filter(|_| deaf)?;
        Some(hear(Observation::Deaf(slot, who)))
    }
}
