//! The world: the state of a simulated stack, its queue of events, and the faults inflicted on it.

use std::collections::{BTreeMap, VecDeque};

use common::{
    ring::{Ring, ring_words},
    stage::{AudioFormat, STAGE_WORDS, Stage},
    sync::{AtomicU64, heap},
    units::{BlockIndex, Incarnation, Seq, Slot},
};
use failover::{
    blame::Death,
    merge::{Merger, Taken},
};

use crate::{
    checkers::{Violation, exactly_once, hitless, liveness, one_history::OneHistory, rings::Rings},
    clock::{Clock, Dice},
    faults::{Fault, Plan},
    log::Log,
    music::{BLOCK_FRAMES, Nature, State},
    sabotage::Sabotage,
    supervisor::Supervisor,
    trial::TrialRun,
    worker::Worker,
};

/// Microseconds per block, as at 48 kHz with 128 frames.
pub const BLOCK_US: u64 = 2_667;
/// The sequence number of the patch that every run starts with.
pub const FIRST: Seq = Seq(1);
/// Time limit for liveness after the last fault, and the interval between two checks, in microseconds.
const SETTLED_US: u64 = 20_000_000;
const WATCH_US: u64 = 20_000;
/// Most events of a run; more indicate an endless loop.
const EVENTS_MAX: u64 = 3_000_000;

/// An event. It names the life of its process, so that an event of a process that has ended is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// audio-out of this life has to play a block.
    Audio(u64),
    /// A new audio-out starts.
    AudioStart,
    /// The supervisor of this life looks at the shared words.
    Tick(u64),
    /// The supervisor of this life takes its next step.
    Todo(u64),
    /// The launcher's oldest message reaches the supervisor of this life.
    News(u64),
    /// A submission reaches the supervisor: the supervisor's life, the gateway's life, the submission id.
    Submit(u64, u64, u64),
    /// The gateway of this life learns that this submission id is accepted.
    Accepted(u64, u64),
    /// The launcher starts another supervisor.
    SupervisorStart,
    /// A user sends a command.
    Source,
    /// The gateway of this life submits again what has no outcome.
    Resubmit(u64),
    /// The worker's render thread takes its next step.
    Worker(Slot, Incarnation),
    /// Commands reach a worker: the first and the last number.
    Deliver(Slot, Incarnation, u64, u64),
    /// A worker reads the log.
    ReadLog(Slot, Incarnation),
    /// The launcher has started a worker.
    Spawned(Slot, Incarnation),
    /// A stopped worker continues.
    Thaw(Slot, Incarnation),
    /// The trial takes its next step.
    Trial(Incarnation),
    /// The next fault is due.
    Fault,
    /// Check liveness; end the run if all is well.
    Check,
}

/// A message of the launcher.
#[derive(Clone, Copy, Debug)]
pub enum News {
    /// A worker has ended.
    Died(Slot, Incarnation, Death),
    /// A trial has ended.
    TrialEnded(Incarnation, failover::trial::End),
}

/// The words of the shared segments.
#[derive(Debug)]
pub struct Memory {
    stage: Vec<AtomicU64>,
    rings: [Vec<AtomicU64>; 2],
}

impl Memory {
    /// Zeroed words.
    #[must_use]
    pub fn new() -> Self {
        let ring = || heap(ring_words(BLOCK_FRAMES as usize));
        Self {
            stage: heap(STAGE_WORDS),
            rings: [ring(), ring()],
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Events that happened.
    pub events: u64,
    /// Blocks played.
    pub blocks: u64,
    /// Faults that were inflicted.
    pub faults: u64,
    /// The first invariant that was broken, if any.
    pub violation: Option<Violation>,
}

/// The gateway, and the user who sends commands.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub life: u64,
    /// The gateway has a link, and has submitted again what was open.
    pub linked: bool,
    /// Submission ids without an outcome, in order.
    pub open: VecDeque<u64>,
    next: u64,
    pub natures: BTreeMap<u64, Nature>,
    poison: VecDeque<Nature>,
    pub acknowledged: u64,
    /// The last arrival time on the link: messages stay in order.
    arrives_us: u64,
}

/// A whole stack in one thread.
pub struct World<'m> {
    pub(crate) plan: Plan,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) dice: Dice,
    pub(crate) clock: Clock<Event>,
    pub(crate) stage: Stage<'m>,
    pub(crate) rings: [Ring<'m>; 2],
    pub(crate) log: Log,
    pub(crate) workers: [Option<Worker>; 2],
    /// The workers that are being started.
    pub(crate) spawning: [Option<Incarnation>; 2],
    /// Two per slot; `None`: not complete.
    pub(crate) checkpoints: [[Option<(BlockIndex, Seq, State)>; 2]; 2],
    pub(crate) supervisor: Option<Supervisor>,
    pub(crate) supervisors: u64,
    pub(crate) news: VecDeque<News>,
    pub(crate) trial: Option<TrialRun>,
    pub(crate) gateway: Gateway,
    pub(crate) history: OneHistory,
    pub(crate) cells: Rings,
    audio: Option<Merger>,
    audio_life: u64,
    samples: Vec<f32>,
    next_fault: usize,
    done_us: Option<u64>,
    blocks_before: u64,
    violation: Option<Violation>,
    finished: bool,
    trace: bool,
}

/// Runs a plan, with all other chance from the seed.
///
/// # Panics
/// Never: the memory is large enough.
#[must_use]
pub fn run(seed: u64, plan: Plan, sabotage: Option<Sabotage>, trace: bool) -> Outcome {
    let memory = Memory::new();
    let format = AudioFormat {
        rate_hz: (u64::from(BLOCK_FRAMES) * 1_000_000).div_ceil(BLOCK_US) as u32,
        block_frames: BLOCK_FRAMES,
        channels: 1,
        lead_blocks: plan.lead_blocks,
        freewheel: false,
    };
    let stage = Stage::create(&memory.stage, &format).expect("the stage fits");
    let ring = |slot: usize| Ring::create(&memory.rings[slot], BLOCK_FRAMES as usize);
    let rings = [ring(0), ring(1)].map(|ring| ring.expect("the ring fits"));
    let mut world = World {
        plan,
        sabotage,
        dice: Dice::new(seed ^ 0x5eed),
        clock: Clock::new(),
        stage,
        rings,
        log: Log::default(),
        workers: [None, None],
        spawning: [None, None],
        checkpoints: Default::default(),
        supervisor: None,
        supervisors: 0,
        news: VecDeque::new(),
        trial: None,
        gateway: Gateway {
            life: 1,
            linked: false,
            open: VecDeque::new(),
            next: 1,
            natures: BTreeMap::new(),
            poison: VecDeque::new(),
            acknowledged: 0,
            arrives_us: 0,
        },
        history: OneHistory::default(),
        cells: Rings::default(),
        audio: None,
        audio_life: 0,
        samples: vec![0.0; BLOCK_FRAMES as usize],
        next_fault: 0,
        done_us: None,
        blocks_before: 0,
        violation: None,
        finished: false,
        trace,
    };
    world.clock.after(0, Event::SupervisorStart);
    world.clock.after(0, Event::AudioStart);
    world.clock.after(1_000, Event::Source);
    let first = world.plan.faults.first().map_or(0, |(us, _)| *us);
    world.clock.after(40_000 + first, Event::Fault);
    if world.plan.faults.is_empty() {
        world.done_us = Some(60_000);
        world.clock.after(60_000, Event::Check);
    }
    let events = world.go();
    Outcome {
        events,
        blocks: world.history.blocks() as u64,
        faults: world.next_fault as u64,
        violation: world.violation,
    }
}

impl World<'_> {
    fn go(&mut self) -> u64 {
        let mut events = 0;
        while let Some(event) = self.clock.pop() {
            events += 1;
            if self.trace {
                println!("{:>10} µs  {event:?}", self.clock.now_us());
            }
            self.happen(event);
            if let Some((at, fault)) = self.plan.at_event
                && at == events
            {
                self.tell(|| format!("FAULT {fault:?}"));
                self.inflict(fault);
            }
            let preference = self.stage.preference();
            let seen = self.history.prefers(preference);
            self.demand(seen);
            if events > EVENTS_MAX {
                self.wrong("something goes round and round".into());
            }
            if self.violation.is_some() || self.finished {
                break;
            }
        }
        events
    }

    /// Records a broken invariant, if it is the first.
    pub(crate) fn wrong(&mut self, what: Violation) {
        let at = self.clock.now_us();
        self.violation.get_or_insert(format!("{what} (at {at} µs)"));
    }

    pub(crate) fn demand(&mut self, checked: Result<(), Violation>) {
        if let Err(what) = checked {
            self.wrong(what);
        }
    }

    pub(crate) fn broken(&self, what: Sabotage) -> bool {
        self.sabotage == Some(what)
    }

    /// Prints a line of the trace.
    pub(crate) fn tell(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>10} µs      {}", self.clock.now_us(), text());
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Audio(life) if life == self.audio_life => self.play(),
            Event::AudioStart => self.audio_starts(),
            Event::SupervisorStart => self.supervisor_starts(),
            Event::Tick(life) if self.supervisor_lives(life) => self.tick(life),
            Event::Todo(life) if self.supervisor_lives(life) => self.do_next(life),
            Event::News(life) if self.supervisor_lives(life) => self.hear_news(life),
            Event::Submit(life, gateway, submission_id)
                if self.supervisor_lives(life) && gateway == self.gateway.life =>
            {
                self.submitted(submission_id);
            }
            Event::Accepted(gateway, submission_id) if gateway == self.gateway.life => {
                self.gateway.open.retain(|open| *open != submission_id);
                self.gateway.acknowledged = self.gateway.acknowledged.max(submission_id);
            }
            Event::Source => self.source(),
            Event::Resubmit(life) if life == self.gateway.life => self.submit_all(),
            Event::Worker(slot, life) => self.worker_steps(slot, life),
            Event::Deliver(slot, life, first, last) => self.deliver(slot, life, first, last),
            Event::ReadLog(slot, life) => self.reads_log(slot, life),
            Event::Spawned(slot, life) => self.worker_starts(slot, life),
            Event::Thaw(slot, life) => self.thaw(slot, life),
            Event::Trial(life) => self.trial_steps(life),
            Event::Fault => self.fault(),
            Event::Check => self.check(),
            // Events of processes that have ended.
            Event::Audio(_)
            | Event::Tick(_)
            | Event::Todo(_)
            | Event::News(_)
            | Event::Submit(..)
            | Event::Accepted(..)
            | Event::Resubmit(_) => {}
        }
    }

    // ---- audio-out ----

    pub(crate) const fn audio_lives(&self) -> bool {
        self.audio.is_some()
    }

    fn audio_starts(&mut self) {
        self.audio_life += 1;
        self.audio = Some(Merger::new(&self.stage, self.stage.cursor()));
        self.clock.after(100, Event::Audio(self.audio_life));
    }

    fn play(&mut self) {
        let Some(merger) = self.audio.as_mut() else {
            return;
        };
        let jitter = self.dice.below(600);
        self.clock
            .after(BLOCK_US - 300 + jitter, Event::Audio(self.audio_life));
        if !self.stage.playing() {
            // Start-up grace, as in audio-out.
            let leader = self.stage.slot(self.stage.preference().slot);
            if leader.frontier() < self.stage.horizon() {
                self.stage.acknowledge(self.stage.preference().epoch);
                return;
            }
            self.stage.set_playing();
        }
        let before = merger.block();
        if self.sabotage == Some(Sabotage::LatestWins) {
            let newest = Slot::ALL
                .map(|s| self.stage.slot(s).frontier())
                .into_iter()
                .max();
            let newest = BlockIndex(newest.unwrap_or_default().0.saturating_sub(1));
            *merger = Merger::new(&self.stage, newest.max(before));
        }
        let block = merger.block();
        self.stage.set_taken_at(self.clock.now_us() * 1_000);
        let taken = merger.take(&self.stage, &self.rings, true, &mut self.samples);
        let left_out = merger.block() > block;
        let played = match taken {
            // The fade after a gap changes the samples: compare those in the ring.
            Taken::From(slot) => {
                let mut whole = vec![0.0; BLOCK_FRAMES as usize];
                let ring = &self.rings[slot.index()];
                let _ = ring.read(block, &mut whole);
                self.history.played(block, &whole)
            }
            Taken::Concealed if left_out => self.history.played(block, &[]),
            Taken::Concealed | Taken::Missing => Ok(()),
        };
        self.tell(|| format!("audio-out: block {block} {taken:?}"));
        self.demand(played);
    }

    // ---- the gateway ----

    fn source(&mut self) {
        if self
            .done_us
            .is_some_and(|at| self.clock.now_us() > at + WATCH_US)
        {
            return;
        }
        let submission_id = self.gateway.next;
        self.gateway.next += 1;
        let nature = self.gateway.poison.pop_front().unwrap_or(Nature::Good);
        self.gateway.natures.insert(submission_id, nature);
        self.gateway.open.push_back(submission_id);
        if self.gateway.linked {
            self.submit(submission_id);
        }
        let pause = self.plan.command_us / 2 + self.dice.below(self.plan.command_us);
        self.clock.after(pause, Event::Source);
    }

    fn submit(&mut self, submission_id: u64) {
        let now = self.clock.now_us();
        let delay = 20 + self.dice.below(300);
        let arrives = (now + delay).max(self.gateway.arrives_us);
        self.gateway.arrives_us = arrives;
        let event = Event::Submit(self.supervisors, self.gateway.life, submission_id);
        self.clock.after(arrives - now, event);
    }

    /// Submits everything without an outcome, in order, to the present supervisor.
    pub(crate) fn submit_all(&mut self) {
        self.gateway.linked = true;
        for submission_id in self.gateway.open.clone() {
            self.submit(submission_id);
        }
    }

    // ---- faults ----

    /// Both workers have just become ready: the next fault may be planned for this instant.
    pub(crate) fn protected_now(&mut self) {
        if self.plan.at_the_instant && self.next_fault > 0 {
            self.clock.after(0, Event::Fault);
        }
    }

    fn fault(&mut self) {
        let Some((_, fault)) = self.plan.faults.get(self.next_fault).copied() else {
            return;
        };
        let well = |w: &Option<Worker>| w.as_ref().is_some_and(|w| !w.harmed && !w.stopped);
        let healthy = self.workers.iter().all(well)
            && self.supervisor.as_ref().is_some_and(Supervisor::protected);
        // The referee needs most of the lead to find which of two differing blocks is wrong.
        let in_time = !matches!(fault, Fault::Flip(_)) || self.lead_is_there();
        if self.plan.within_model && !(healthy && in_time) {
            self.clock.after(300, Event::Fault);
            return;
        }
        self.next_fault += 1;
        self.tell(|| format!("FAULT {fault:?}"));
        self.inflict(fault);
        match self.plan.faults.get(self.next_fault) {
            Some((us, _)) => self.clock.after(*us, Event::Fault),
            None => {
                self.done_us = Some(self.clock.now_us());
                self.clock.after(WATCH_US, Event::Check);
            }
        }
    }

    /// Whether both workers are ahead of the play cursor by most of the lead.
    fn lead_is_there(&self) -> bool {
        let most = u64::from(self.stage.lead()) * 3 / 4;
        let enough = self.stage.cursor().0 + most;
        Slot::ALL
            .iter()
            .all(|slot| self.stage.slot(*slot).frontier().0 >= enough)
    }

    fn inflict(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(slot) => self.worker_dies(slot, Death::Outside),
            Fault::KillBoth => {
                self.worker_dies(Slot::Zero, Death::Outside);
                self.worker_dies(Slot::One, Death::Outside);
            }
            Fault::Crash(slot) => {
                if let Some(worker) = self.workers[slot.index()].as_mut() {
                    (worker.crash, worker.harmed) = (true, true);
                }
            }
            Fault::Stop(slot, us) => {
                if let Some(worker) = self.workers[slot.index()].as_mut() {
                    worker.stopped = true;
                    let life = worker.life;
                    self.clock.after(us, Event::Thaw(slot, life));
                }
            }
            Fault::Hang(slot) => self.with(slot, |worker| worker.hang = true),
            Fault::Slow(slot, us) => self.with(slot, |worker| worker.slow_us = us),
            Fault::Nan(slot) => self.with(slot, |worker| worker.nan = true),
            Fault::Flip(slot) => self.with(slot, |worker| worker.flip = true),
            Fault::Mute(slot) => self.with(slot, |worker| worker.mute = true),
            Fault::KillSupervisor => {
                if self.supervisor.take().is_some() {
                    let delay = 500 + self.dice.below(6_000);
                    self.clock.after(delay, Event::SupervisorStart);
                }
            }
            Fault::KillGateway => {
                self.gateway.life += 1;
                self.gateway.linked = false;
                let delay = 500 + self.dice.below(5_000);
                self.clock.after(delay, Event::Resubmit(self.gateway.life));
            }
            Fault::KillAudio => {
                if self.audio.take().is_some() {
                    self.audio_life += 1;
                    let delay = 500 + self.dice.below(20_000);
                    self.clock.after(delay, Event::AudioStart);
                }
            }
            Fault::Poison(nature) => self.gateway.poison.push_back(nature),
        }
    }

    fn with(&mut self, slot: Slot, harm: impl FnOnce(&mut Worker)) {
        if let Some(worker) = self.workers[slot.index()].as_mut() {
            worker.harmed = true;
            harm(worker);
        }
    }

    // ---- the end ----

    fn check(&mut self) {
        let Some(done_us) = self.done_us else {
            return;
        };
        let blocks = self.history.blocks() as u64;
        let leader = self.stage.preference().slot;
        let seen = liveness::Seen {
            blocks: blocks - self.blocks_before,
            protected: self.stage.protected() && self.supervisor.is_some(),
            accepted: self.log.last().0,
            applied: self.stage.slot(leader).applied().0,
            held: self.stage.held().is_some(),
        };
        self.blocks_before = blocks;
        let quiet = self.clock.now_us() > done_us + 2 * WATCH_US
            && self.gateway.open.is_empty()
            && self.gateway.poison.is_empty();
        let well = liveness::check(seen);
        if !(quiet && well.is_ok()) {
            if self.clock.now_us() > done_us + SETTLED_US {
                self.demand(well);
                self.wrong("commands have no outcome".into());
            }
            self.clock.after(WATCH_US, Event::Check);
            return;
        }
        self.finished = true;
        let poison = |f: &(u64, Fault)| matches!(f.1, Fault::Poison(_));
        let poison_can_be = self.plan.fragile_at.is_some() || self.plan.faults.iter().any(poison);
        let nonsense = self
            .plan
            .faults
            .iter()
            .any(|f| matches!(f.1, Fault::Nan(_)));
        let counted = exactly_once::check(&self.log, self.gateway.acknowledged, poison_can_be);
        // With a short lead, a flipped block may be played before the referee has a result.
        let flip = |f: &(u64, Fault)| matches!(f.1, Fault::Flip(_));
        let flips = !self.plan.within_model && self.plan.faults.iter().any(flip);
        let same = self
            .history
            .check(&self.log, self.plan.fragile_at, nonsense, flips);
        self.demand(counted);
        self.demand(same);
        if self.plan.within_model {
            let concealed = self.stage.audio_counters().concealed_blocks;
            self.demand(hitless::check(concealed));
        }
    }
}
