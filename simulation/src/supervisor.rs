//! The supervisor: the rules asked, and what they say done one thing at a time, so that its death
//! may come between any two. Another one takes over what it left.

use std::collections::VecDeque;

use common::{
    stage::{Decision, SlotWords},
    units::{BlockIndex, Incarnation, Seq, Slot},
};
use failover::{
    audit::Audit,
    blame::{self, Death, Suspect},
    decide,
    merge::read_sane,
    switch::{Action, Event as Fact, Seat, Supervision},
    trial::{self, Case, Modules, Trials},
};

use crate::{
    music::{BLOCK_FRAMES, Command, Nature},
    sabotage::Sabotage,
    world::{Event, News, World},
};

/// A worker that has work and does none for so long hangs; in microseconds.
const HANG_US: u64 = 60_000;
/// One that has been behind what is played for so long, while the other was not, is too slow.
const LAG_US: u64 = 60_000;
/// One that does not read its channel is found out after so long.
const DEAF_US: u64 = 100_000;
/// What is held and that nobody has explained for so long is tried.
const UNEXPLAINED_US: u64 = 200_000;

/// Something that it has decided to do.
#[derive(Clone, Copy, Debug)]
enum Todo {
    Blame(Slot, Incarnation, Death),
    Fact(Fact),
    Act(Action),
    Try(trial::Event),
    DoTrial(trial::Action),
    Append(u64),
    Broadcast(u64),
    Accept(u64),
}

#[derive(Debug)]
struct Watch {
    life: Incarnation,
    audit: Audit,
    frontier: BlockIndex,
    moved_us: u64,
    behind_us: Option<u64>,
    deaf_us: Option<u64>,
}

/// A supervisor process.
#[derive(Debug)]
pub struct Supervisor {
    life: u64,
    supervision: Supervision,
    trials: Trials,
    watches: [Option<Watch>; 2],
    todo: VecDeque<Todo>,
    held_us: Option<u64>,
    own: Vec<Seq>,
    /// Nothing on a link overtakes.
    arrives_us: [u64; 2],
}

impl Supervisor {
    /// That worker is to be ended.
    pub fn condemns(&self, slot: Slot, life: Incarnation) -> bool {
        matches!(self.supervision.seat(slot), Seat::Dying { incarnation, .. } if incarnation == life)
    }

    /// Both workers are ready, as it sees it.
    pub fn protected(&self) -> bool {
        self.supervision.protected()
    }
}

impl World<'_> {
    pub(crate) fn supervisor_lives(&self, life: u64) -> bool {
        self.supervisor.as_ref().is_some_and(|s| s.life == life)
    }

    /// A supervisor begins, or takes over what is there.
    pub(crate) fn supervisor_starts(&mut self) {
        self.supervisors += 1;
        let now = self.clock.now_us();
        let lives = match self.broken(Sabotage::NoAdoption) && self.supervisors > 1 {
            true => [None, None],
            false => Slot::ALL.map(|slot| {
                let there = self.workers[slot.index()].as_ref().map(|w| w.life);
                there.or(self.spawning[slot.index()])
            }),
        };
        let seated = Slot::ALL.map(|s| self.stage.slot(s).incarnation());
        let highest = lives
            .iter()
            .flatten()
            .chain(&seated)
            .max()
            .copied()
            .unwrap_or_default();
        self.stage.keep_checkpoints(false);
        let trial = self.stage.trial().incarnation();
        if let Some(run) = self.trial.as_ref() {
            let life = run.life;
            self.trial_killed(life);
        }
        self.news.clear();
        let watch = |life: Option<Incarnation>, slot| life.map(|life| Watch::new(slot, life, now));
        self.supervisor = Some(Supervisor {
            life: self.supervisors,
            supervision: Supervision::adopt(now, self.stage.preference(), lives, highest.next()),
            trials: Trials::new(trial.next()),
            watches: [watch(lives[0], Slot::Zero), watch(lives[1], Slot::One)],
            todo: VecDeque::from([Todo::Fact(Fact::Tick)]),
            held_us: None,
            own: Vec::new(),
            arrives_us: [0, 0],
        });
        let life = self.supervisors;
        self.clock.after(10, Event::Todo(life));
        self.clock.after(300, Event::Tick(life));
        // Everybody links again and hears how far the log is; the gateway hands in what is open.
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

    /// Before what was to be done after this.
    fn todo_first(&mut self, todos: Vec<Todo>) {
        if let Some(supervisor) = self.supervisor.as_mut() {
            todos
                .into_iter()
                .rev()
                .for_each(|t| supervisor.todo.push_front(t));
        }
    }

    pub(crate) fn do_next(&mut self, life: u64) {
        let Some(supervisor) = self.supervisor.as_mut() else {
            return;
        };
        let Some(todo) = supervisor.todo.pop_front() else {
            return;
        };
        self.tell(|| format!("supervisor: {todo:?}"));
        self.execute(todo);
        if self.supervisor.as_ref().is_some_and(|s| !s.todo.is_empty()) {
            let delay = 1 + self.dice.below(10);
            self.clock.after(delay, Event::Todo(life));
        }
    }

    fn execute(&mut self, todo: Todo) {
        let now = self.clock.now_us();
        match todo {
            Todo::Blame(slot, life, death) => self.blame(slot, life, death),
            Todo::Fact(fact) => {
                let actions = self
                    .supervisor
                    .as_mut()
                    .map(|s| s.supervision.step(now, fact));
                let actions = actions.into_iter().flatten().map(Todo::Act).collect();
                self.todo_first(actions);
            }
            Todo::Act(action) => self.act(action),
            Todo::Try(event) => {
                let actions = self.supervisor.as_mut().map(|s| s.trials.step(now, event));
                let actions = actions.into_iter().flatten().map(Todo::DoTrial).collect();
                self.todo_first(actions);
            }
            Todo::DoTrial(action) => self.do_trial(action),
            Todo::Append(token) => {
                let nature = self.gateway.natures.get(&token).copied();
                let nature = nature.unwrap_or(Nature::Good);
                self.log.append(Command { token, nature });
            }
            Todo::Broadcast(from) => self.broadcast(from),
            Todo::Accept(token) => {
                let delay = 20 + self.dice.below(300);
                self.clock
                    .after(delay, Event::Accepted(self.gateway.life, token));
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Prefer { from, to } => {
                if self.stage.switch(from, to).is_none() {
                    let seen = self.stage.preference();
                    self.todo_first(vec![Todo::Fact(Fact::Preference(seen))]);
                }
            }
            // One that is still being started is ended as soon as it is there.
            Action::Kill(slot, life) => {
                let there = self.workers[slot.index()].as_ref();
                if there.is_some_and(|worker| worker.life == life) {
                    self.worker_dies(slot, Death::Outside);
                }
            }
            Action::Spawn(slot, life) => {
                let now = self.clock.now_us();
                if let Some(supervisor) = self.supervisor.as_mut() {
                    supervisor.watches[slot.index()] = Some(Watch::new(slot, life, now));
                }
                if self.workers[slot.index()].is_some() || self.spawning[slot.index()].is_some() {
                    self.wrong(format!("two workers in slot {slot}"));
                }
                self.spawning[slot.index()] = Some(life);
                let delay = 700 + self.dice.below(2_000);
                self.clock.after(delay, Event::Spawned(slot, life));
            }
        }
    }

    // ---- commands ----

    pub(crate) fn submitted(&mut self, token: u64) {
        let Some(supervisor) = self.supervisor.as_ref() else {
            return;
        };
        let appending = supervisor.todo.iter().filter_map(|todo| match todo {
            Todo::Append(token) => Some(*token),
            _ => None,
        });
        let newest = appending.max().unwrap_or(0).max(self.log.token());
        let from = self.log.last().0 + 1;
        if token <= newest && !self.broken(Sabotage::NoTokens) {
            self.todo([Todo::Accept(token)]);
        } else if self.broken(Sabotage::BroadcastBeforeLog) {
            self.todo([
                Todo::Broadcast(from),
                Todo::Accept(token),
                Todo::Append(token),
            ]);
        } else {
            self.todo([
                Todo::Append(token),
                Todo::Broadcast(from),
                Todo::Accept(token),
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
            Some(News::Died(slot, who, death)) => self.heard_of_death(slot, who, death),
            Some(News::TrialEnded(who, end)) => {
                self.todo([Todo::Try(trial::Event::Ended(who, end))]);
            }
            None => {}
        }
    }

    fn works(&self, slot: Slot, life: Incarnation) -> bool {
        let seat = self.supervisor.as_ref().map(|s| s.supervision.seat(slot));
        matches!(seat, Some(Seat::Starting { incarnation, .. } | Seat::Ready { incarnation }) if incarnation == life)
    }

    fn heard_of_death(&mut self, slot: Slot, life: Incarnation, death: Death) {
        let died = Todo::Fact(Fact::Died {
            slot,
            incarnation: life,
            own_making: death != Death::Outside,
        });
        match self.works(slot, life) {
            true => self.todo([Todo::Blame(slot, life, death), died]),
            false => self.todo([died]),
        }
    }

    fn blame(&mut self, slot: Slot, life: Incarnation, death: Death) {
        let (stage, seat) = (self.stage, self.stage.slot(slot));
        if seat.incarnation() != life {
            return;
        }
        let (crumb, applied) = (seat.crumb(), seat.applied());
        let mut suspect = blame::suspect(death, crumb, seat.frontier(), applied);
        if self.broken(Sabotage::BlamesWithoutCause) && crumb.command > applied {
            suspect = blame::suspect(Death::OwnMaking, crumb, seat.frontier(), applied);
            if let Suspect::Commands { after, last, .. } = suspect {
                (after.0 + 1..=last.0).for_each(|seq| self.leave_out(Seq(seq)));
            }
        }
        let own = |world: &Self, seq: u64| {
            world
                .supervisor
                .as_ref()
                .is_some_and(|s| s.own.contains(&Seq(seq)))
        };
        match suspect {
            Suspect::Commands { block, after, last }
                if (after.0 + 1..=last.0).all(|seq| own(self, seq)) =>
            {
                self.bypass(block, crumb.module, after);
            }
            Suspect::Commands { block, after, last } => {
                if self.in_history() > after {
                    return; // the other one has taken them in since
                }
                let decided = match stage.decision(block, after) {
                    Decision::Made { seq, sealed: false } if seq > after => {
                        decide::withdraw(&stage, block, seq, after)
                    }
                    decided => decided,
                };
                match decided {
                    Decision::Made { seq, sealed: true } if seq > after => return,
                    _ => drop(stage.hold(after)),
                }
                let case = Case::Commands {
                    after,
                    last,
                    bypassing: Modules::default(),
                };
                self.todo_first(vec![Todo::Try(trial::Event::Open(case))]);
            }
            Suspect::Module { block, module } => self.bypass(block, module, applied),
            Suspect::Nobody => {
                let stuck = stage.held().filter(|held| crumb.command > *held);
                if let Some(held) = stuck
                    && death != Death::OwnMaking
                {
                    stage.lift(held);
                    self.todo_first(vec![Todo::Try(trial::Event::Harmless)]);
                }
            }
        }
    }

    fn bypass(&mut self, block: BlockIndex, module: u16, applied: Seq) {
        let decided = self.stage.decision(block, applied);
        if matches!(
            decided,
            Decision::Made { sealed: true, .. } | Decision::Gone
        ) {
            return;
        }
        if self.stage.held().is_some() {
            return;
        }
        let from = self.log.last().0 + 1;
        let nature = Nature::Bypass(module);
        let bypass = self.log.append(Command { token: 0, nature });
        if let Some(supervisor) = self.supervisor.as_mut() {
            supervisor.own.push(bypass);
        }
        if let Decision::Made { seq, .. } = decided {
            let _ = self.stage.revise(block, seq, bypass);
        }
        self.todo_first(vec![Todo::Broadcast(from)]);
    }

    // ---- trials ----

    /// The last command that is in a block that is sealed: for good.
    fn in_history(&self) -> Seq {
        let applied = Slot::ALL.map(|slot| self.stage.slot(slot).applied());
        applied.into_iter().max().unwrap_or_default()
    }

    fn leave_out(&mut self, seq: Seq) {
        if seq <= self.in_history() {
            return;
        }
        self.stage.quarantine(seq);
        self.log.quarantine(seq);
    }

    fn do_trial(&mut self, action: trial::Action) {
        match action {
            trial::Action::Start(life, case) => {
                self.stage.keep_checkpoints(true);
                self.trial_starts(life, case);
            }
            trial::Action::End(life) => self.trial_killed(life),
            trial::Action::Quarantine(seq) => self.leave_out(seq),
            trial::Action::Lift(after) => drop(self.stage.lift(after)),
            trial::Action::LiftBypassing(after, modules) => {
                self.stage.lift(after);
                let seats = Slot::ALL.map(|slot| self.stage.slot(slot));
                if let Some(seat) = seats.into_iter().max_by_key(SlotWords::frontier) {
                    for module in modules.iter() {
                        self.bypass(seat.frontier(), module, seat.applied());
                    }
                }
            }
            trial::Action::Replace(slot, incarnation, block) => {
                if self.works(slot, incarnation) {
                    self.stage.distrust(slot, incarnation, block);
                    let failed = Fact::Failed {
                        slot,
                        incarnation,
                        own_making: false,
                    };
                    self.todo_first(vec![Todo::Fact(failed)]);
                }
            }
        }
    }

    fn look_after_trials(&mut self, todos: &mut Vec<Todo>) {
        let (now, stage) = (self.clock.now_us(), self.stage);
        let Some(supervisor) = self.supervisor.as_mut() else {
            return;
        };
        if supervisor.trials.case().is_none() {
            stage.keep_checkpoints(false);
        }
        if let Some(run) = self.trial.as_ref() {
            todos.push(Todo::Try(trial::Event::At(run.at)));
        }
        todos.push(Todo::Try(trial::Event::Tick));
        let Some(held) = stage.held() else {
            supervisor.held_us = None;
            return;
        };
        let since = *supervisor.held_us.get_or_insert(now);
        if supervisor.trials.tries_commands() {
            return;
        }
        let stopped = Slot::ALL.into_iter().any(|slot| {
            let seat = stage.slot(slot);
            let worker = self.workers[slot.index()].as_ref();
            seat.crumb().command > held
                && seat.frontier() == seat.crumb().block
                && worker.is_some_and(|w| w.stopped)
        });
        if stopped {
            stage.lift(held);
        } else if now > since + UNEXPLAINED_US {
            let (after, last) = (held, self.log.last());
            todos.push(Todo::Try(trial::Event::Open(Case::Commands {
                after,
                last,
                bypassing: Modules::default(),
            })));
        }
    }

    // ---- the shared words ----

    pub(crate) fn tick(&mut self, life: u64) {
        let delay = 300 + self.dice.below(700);
        self.clock.after(delay, Event::Tick(life));
        if self.supervisor.as_ref().is_none_or(|s| !s.todo.is_empty()) {
            return;
        }
        let preference = self.stage.preference();
        let acknowledged = match self.audio_lives() {
            true => self.stage.acknowledged(),
            false => preference.epoch,
        };
        let mut todos = vec![
            Todo::Fact(Fact::Preference(preference)),
            Todo::Fact(Fact::Acknowledged(acknowledged)),
        ];
        for slot in Slot::ALL {
            self.look_at(slot, &mut todos);
        }
        self.look_after_trials(&mut todos);
        let protected = self
            .supervisor
            .as_ref()
            .is_some_and(|s| s.supervision.protected());
        if protected && !self.stage.protected() {
            self.protected_now();
        }
        self.stage.set_protected(protected);
        self.todo(todos);
    }

    fn look_at(&mut self, slot: Slot, todos: &mut Vec<Todo>) {
        let (now, stage) = (self.clock.now_us(), self.stage);
        let unproven = self.broken(Sabotage::ReadyWithoutProof);
        let worker = self.workers[slot.index()].as_ref();
        let (stopped, mute) = worker.map_or((false, false), |w| (w.stopped, w.mute));
        let rings = self.rings;
        let Some(supervisor) = self.supervisor.as_mut() else {
            return;
        };
        let Some(watch) = supervisor.watches[slot.index()].as_mut() else {
            return;
        };
        let incarnation = watch.life;
        let findings = watch.audit.look(&stage, &rings);
        let (hangs, lags) = (
            watch.hangs(&stage, slot, now),
            watch.lags(&stage, slot, now),
        );
        let deaf = watch.deaf(mute || stopped, now);
        let failed = |own_making| {
            Todo::Fact(Fact::Failed {
                slot,
                incarnation,
                own_making,
            })
        };
        let leads = supervisor.supervision.preference().slot == slot;
        let exists = stage.slot(slot).incarnation() == incarnation;
        match supervisor.supervision.seat(slot) {
            Seat::Starting { .. } if findings.ready || (unproven && exists) => {
                todos.push(Todo::Fact(Fact::Proven { slot, incarnation }));
            }
            seat @ (Seat::Starting { .. } | Seat::Ready { .. })
                if !leads && findings.differing_at.is_some() =>
            {
                let block = findings.differing_at.unwrap_or_default();
                let proven = matches!(seat, Seat::Ready { .. });
                self.diverged(slot, block, proven, todos);
            }
            Seat::Starting { .. } | Seat::Ready { .. } if hangs => {
                let death = if stopped {
                    Death::Outside
                } else {
                    Death::OwnMaking
                };
                if stopped || self.hangs_by_the_music(slot) {
                    todos.push(Todo::Blame(slot, incarnation, death));
                }
                todos.push(failed(!stopped));
            }
            Seat::Ready { .. } if lags || deaf => todos.push(failed(true)),
            _ => {}
        }
    }

    fn hangs_by_the_music(&self, slot: Slot) -> bool {
        let [mine, other] = [slot, slot.other()].map(|slot| self.stage.slot(slot));
        let (crumb, twin) = (mine.crumb(), other.crumb());
        crumb.command > mine.applied()
            || (crumb.block, crumb.module, crumb.phase) == (twin.block, twin.module, twin.phase)
    }

    fn diverged(&mut self, follower: Slot, block: BlockIndex, proven: bool, todos: &mut Vec<Todo>) {
        let Some(supervisor) = self.supervisor.as_ref() else {
            return;
        };
        let mut samples = vec![0.0; BLOCK_FRAMES as usize];
        let leader = follower.other();
        let mut sane = |slot| read_sane(&self.rings, slot, block, &mut samples);
        if !sane(leader) && sane(follower) {
            let writer = self.rings[leader.index()]
                .published(block)
                .map(|p| p.incarnation);
            let watch = supervisor.watches[leader.index()].as_ref();
            if let Some(watch) = watch.filter(|watch| writer == Some(watch.life)) {
                todos.push(Todo::Fact(Fact::Failed {
                    slot: leader,
                    incarnation: watch.life,
                    own_making: true,
                }));
            }
            return;
        }
        if !proven || supervisor.trials.compares() {
            return;
        }
        let proof = |slot: Slot| {
            let ring = &self.rings[slot.index()];
            ring.proof(block).or_else(|| ring.published(block))
        };
        if let (Some(zero), Some(one)) = (proof(Slot::Zero), proof(Slot::One)) {
            todos.push(Todo::Try(trial::Event::Open(Case::Differing {
                block,
                sums: [zero.sum, one.sum],
                workers: [zero.incarnation, one.incarnation],
                doubtful: follower,
            })));
        }
    }
}

impl Watch {
    const fn new(slot: Slot, life: Incarnation, now_us: u64) -> Self {
        Self {
            life,
            audit: Audit::new(slot, life),
            frontier: BlockIndex(0),
            moved_us: now_us,
            behind_us: None,
            deaf_us: None,
        }
    }

    fn hangs(&mut self, stage: &common::stage::Stage<'_>, slot: Slot, now: u64) -> bool {
        let seat = stage.slot(slot);
        let frontier = seat.frontier();
        if seat.incarnation() != self.life
            || frontier != self.frontier
            || frontier >= stage.horizon()
        {
            (self.frontier, self.moved_us) = (frontier, now);
        }
        now > self.moved_us + HANG_US
    }

    fn lags(&mut self, stage: &common::stage::Stage<'_>, slot: Slot, now: u64) -> bool {
        let (seat, other) = (stage.slot(slot), stage.slot(slot.other()));
        let cursor = stage.cursor();
        let behind = seat.incarnation() == self.life
            && seat.frontier() < cursor
            && other.frontier() >= cursor;
        let since = behind.then(|| self.behind_us.unwrap_or(now));
        self.behind_us = since;
        since.is_some_and(|since| now > since + LAG_US)
    }

    fn deaf(&mut self, silent: bool, now: u64) -> bool {
        let since = silent.then(|| self.deaf_us.unwrap_or(now));
        self.deaf_us = since;
        since.is_some_and(|since| now > since + DEAF_US)
    }
}
