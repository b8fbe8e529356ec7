//! A simulated worker. Its control side receives commands. Its render side takes several steps per block,
//! so that a fault can come between any two.

use common::{
    checkpoint::rank,
    limits::CHECKPOINT_BLOCKS,
    ring::{Proof, checksum},
    stage::{Breadcrumb, Phase},
    units::{BlockIndex, Incarnation, Seq, Slot},
};
use failover::{
    blame::Death,
    checkpointing::{WriteCheckpoint, write_checkpoint},
    decide::{self, Step, Waiting},
    lead,
};

use crate::{
    music::{BLOCK_FRAMES, Nature, Rendered, State},
    sabotage::Sabotage,
    world::{BLOCK_US, Event, FIRST, News, World},
};

/// Time to apply a command, in microseconds. Short, since thousands come at once after a long hold.
const APPLIES_US: u64 = 1;

/// The render side's next step within a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Next,
    Apply,
    Render,
    Seal,
    Prove,
    Publish,
    Advance,
    Checkpoint,
    CheckpointEnd,
}

/// A worker process.
#[derive(Debug)]
pub struct Worker {
    pub life: Incarnation,
    at: At,
    block: BlockIndex,
    seq: Seq,
    target: Seq,
    state: State,
    received: Seq,
    wanted: Seq,
    samples: [f32; BLOCK_FRAMES as usize],
    next_checkpoint: usize,
    /// The frontier when the worker began.
    caught_up_at: BlockIndex,
    pub stopped: bool,
    /// A step was due while the worker was stopped.
    due: bool,
    pub hang: bool,
    pub crash: bool,
    pub slow_us: u64,
    pub nan: bool,
    pub flip: bool,
    pub mute: bool,
    /// A fault was inflicted for which the worker will be replaced.
    pub harmed: bool,
    hung: bool,
}

impl World<'_> {
    /// The launcher has started the worker: it restores the best checkpoint and reads the log.
    pub(crate) fn worker_starts(&mut self, slot: Slot, life: Incarnation) {
        self.spawning[slot.index()] = None;
        let frontiers = Slot::ALL.map(|s| self.stage.slot(s).frontier());
        let frontier = frontiers.into_iter().max().unwrap_or_default();
        let checkpoints = self.checkpoints.iter().flatten().flatten();
        let newest = checkpoints.max_by_key(|(block, ..)| rank(*block, frontier));
        let (block, seq, state) =
            newest
                .copied()
                .unwrap_or((BlockIndex(0), FIRST, State::default()));
        self.stage.slot(slot).take_seat(life, block, seq);
        self.stage.slot(slot).begin(self.stage.elapsed_blocks());
        if self.broken(Sabotage::RingCleared) {
            for block in block.0..frontier.0 {
                // To its readers, a cleared ring looks as if its cells held other blocks.
                let samples = [0.0; BLOCK_FRAMES as usize];
                let other = BlockIndex(block + 1_000_000);
                self.rings[slot.index()].publish(other, life, seq, 0, &samples);
                let _ = self.rings[slot.index()].published(BlockIndex(block));
            }
        }
        let received = match self.broken(Sabotage::LeaderOnly) {
            true => seq,
            false => self.log.last(),
        };
        self.workers[slot.index()] = Some(Worker {
            life,
            at: At::Next,
            block,
            seq,
            target: seq,
            state,
            received,
            wanted: seq,
            samples: [0.0; BLOCK_FRAMES as usize],
            next_checkpoint: 0,
            caught_up_at: frontier,
            stopped: false,
            due: false,
            hang: false,
            crash: false,
            slow_us: 0,
            nan: false,
            flip: false,
            mute: false,
            harmed: false,
            hung: false,
        });
        if self
            .supervisor
            .as_ref()
            .is_some_and(|s| s.condemns(slot, life))
        {
            return self.worker_dies(slot, Death::Outside);
        }
        self.clock.after(100, Event::Worker(slot, life));
        // Once linked, the worker reads from the log what it has missed.
        let delay = 200 + self.dice.below(2_000);
        self.clock.after(delay, Event::ReadLog(slot, life));
    }

    /// The worker has ended; the launcher will report it.
    pub(crate) fn worker_dies(&mut self, slot: Slot, death: Death) {
        let Some(worker) = self.workers[slot.index()].take() else {
            return;
        };
        // The checkpoint that was being written is invalid.
        if worker.at == At::CheckpointEnd {
            self.checkpoints[slot.index()][worker.next_checkpoint] = None;
        }
        self.tell(|| {
            let breadcrumb = self.stage.slot(slot).breadcrumb();
            format!(
                "worker {slot} dies ({death:?}) at {:?}: {breadcrumb:?}",
                worker.at
            )
        });
        self.news.push_back(News::Died(slot, worker.life, death));
        let delay = 100 + self.dice.below(3_000);
        self.clock.after(delay, Event::News(self.supervisors));
    }

    fn worker(&mut self, slot: Slot, life: Incarnation) -> Option<&mut Worker> {
        self.workers[slot.index()]
            .as_mut()
            .filter(|w| w.life == life)
    }

    pub(crate) fn thaw(&mut self, slot: Slot, life: Incarnation) {
        if let Some(worker) = self.worker(slot, life) {
            worker.stopped = false;
            if std::mem::take(&mut worker.due) {
                self.clock.after(1, Event::Worker(slot, life));
            }
        }
    }

    pub(crate) fn deliver(&mut self, slot: Slot, life: Incarnation, first: u64, last: u64) {
        let delay = 100 + self.dice.below(10_000);
        let Some(worker) = self.worker(slot, life).filter(|w| !w.mute) else {
            return;
        };
        if first <= worker.received.0 + 1 {
            worker.received = worker.received.max(Seq(last));
        } else if worker.wanted < Seq(last) {
            worker.wanted = Seq(last);
            self.clock.after(delay, Event::ReadLog(slot, life));
        }
    }

    pub(crate) fn reads_log(&mut self, slot: Slot, life: Incarnation) {
        let last = self.log.last();
        if self.broken(Sabotage::LeaderOnly) {
            return;
        }
        if let Some(worker) = self.worker(slot, life) {
            worker.received = worker.received.max(last);
        }
    }

    /// Takes the render thread's next step.
    pub(crate) fn worker_steps(&mut self, slot: Slot, life: Incarnation) {
        let Some(worker) = self.workers[slot.index()]
            .as_mut()
            .filter(|w| w.life == life)
        else {
            return;
        };
        if worker.stopped {
            worker.due = true;
            return;
        }
        if worker.hung {
            return;
        }
        let mut worker = match self.workers[slot.index()].take() {
            Some(worker) => worker,
            None => return,
        };
        let stepped = self.step(slot, &mut worker);
        let slow_us = worker.slow_us;
        self.workers[slot.index()] = Some(worker);
        match stepped {
            Ok(us) => self.clock.after(us + slow_us, Event::Worker(slot, life)),
            Err(Some(death)) => self.worker_dies(slot, death),
            Err(None) => {}
        }
    }

    /// Takes one step. Returns the time until the next, or how the worker died, or `Err(None)` if it hangs.
    fn step(&mut self, slot: Slot, worker: &mut Worker) -> Result<u64, Option<Death>> {
        let (stage, seat) = (self.stage, self.stage.slot(slot));
        let breadcrumb = |worker: &Worker, phase, module| {
            seat.drop_breadcrumb(Breadcrumb {
                block: worker.block,
                phase,
                module,
                command: worker.seq,
            });
        };
        let busy = |world: &mut Self| Ok(2 + world.dice.below(20));
        match worker.at {
            At::Next => {
                let received = worker.received;
                match decide::step(&stage, slot, worker.block, worker.seq, received) {
                    Step::Render(seq) => {
                        worker.target = match self.broken(Sabotage::DecisionIgnored) {
                            true => received,
                            false => seq,
                        };
                        worker.at = At::Apply;
                        seat.begin(stage.elapsed_blocks());
                        breadcrumb(worker, Phase::Applying, 0);
                        busy(self)
                    }
                    Step::Wait(waiting) => {
                        if let Waiting::Commands(seq) = waiting
                            && worker.wanted < seq
                        {
                            worker.wanted = seq;
                            let delay = 50 + self.dice.below(3_000);
                            self.clock.after(delay, Event::ReadLog(slot, worker.life));
                        }
                        // The wake-up, sometimes late. The leader wakes a follower that is needed at once;
                        // otherwise the next move of the play cursor wakes it.
                        let sleeps = waiting == Waiting::Leader
                            && !decide::follower_is_needed(&stage, slot.other());
                        let late = if sleeps { BLOCK_US } else { 300 };
                        Ok(100 + self.dice.below(late))
                    }
                    Step::Overtaken => Err(Some(Death::OwnMaking)),
                }
            }
            At::Apply if worker.seq < worker.target => {
                worker.seq = worker.seq.next();
                breadcrumb(worker, Phase::Applying, 0);
                let Some(command) = self.log.command(worker.seq) else {
                    self.wrong(format!(
                        "command {} was applied and is not in the log",
                        worker.seq
                    ));
                    return Err(None);
                };
                if stage.quarantined(worker.seq) {
                    return Ok(APPLIES_US);
                }
                match command.nature {
                    Nature::CrashOnApply => return Err(Some(Death::OwnMaking)),
                    Nature::HangOnApply => {
                        worker.hung = true;
                        return Err(None);
                    }
                    _ => worker.state.apply(worker.seq, command, worker.block),
                }
                Ok(APPLIES_US)
            }
            At::Apply => {
                worker.at = At::Render;
                breadcrumb(worker, Phase::Rendering, 0);
                busy(self)
            }
            At::Render => self.renders(slot, worker),
            At::Seal => {
                if stage.seal(worker.block, worker.target) {
                    let sealed = self.history.sealed(worker.block, worker.target);
                    self.demand(sealed);
                } else if !self.broken(Sabotage::SealIgnored) {
                    return Err(Some(Death::Overruled));
                }
                worker.at = At::Prove;
                busy(self)
            }
            At::Prove => {
                let sum = checksum(worker.block, worker.target, &worker.samples);
                let proof = Proof {
                    incarnation: worker.life,
                    sum,
                };
                self.rings[slot.index()].prove(worker.block, proof);
                worker.at = At::Publish;
                busy(self)
            }
            At::Publish => {
                self.publishes(slot, worker);
                worker.at = At::Advance;
                busy(self)
            }
            At::Advance => {
                worker.block = worker.block.next();
                seat.advance(worker.block, worker.seq);
                breadcrumb(worker, Phase::Idle, 0);
                worker.at = match self.keeps_checkpoint(slot, worker.block, worker.caught_up_at) {
                    true => At::Checkpoint,
                    false => At::Next,
                };
                busy(self)
            }
            At::Checkpoint => {
                breadcrumb(worker, Phase::Checkpointing, 0);
                self.checkpoints[slot.index()][worker.next_checkpoint] = None;
                worker.at = At::CheckpointEnd;
                Ok(20 + self.dice.below(400))
            }
            At::CheckpointEnd => {
                let whole = (worker.block, worker.seq, worker.state);
                self.checkpoints[slot.index()][worker.next_checkpoint] = Some(whole);
                worker.next_checkpoint ^= 1;
                breadcrumb(worker, Phase::Idle, 0);
                worker.at = At::Next;
                busy(self)
            }
        }
    }

    fn renders(&mut self, slot: Slot, worker: &mut Worker) -> Result<u64, Option<Death>> {
        let seat = self.stage.slot(slot);
        let at = |phase, module| Breadcrumb {
            block: worker.block,
            phase,
            module,
            command: worker.seq,
        };
        let killer = |world: &Self, seq: u64| {
            let seq = Seq(seq);
            let nature = world.log.command(seq).map(|c| c.nature);
            nature == Some(Nature::CrashOnRender) && !world.stage.quarantined(seq)
        };
        let before = seat.applied();
        if (before.0 + 1..=worker.seq.0).any(|seq| killer(self, seq)) {
            seat.drop_breadcrumb(at(Phase::Rendering, 0));
            return Err(Some(Death::OwnMaking));
        }
        match worker.state.render(worker.block, self.plan.fragile_at) {
            Rendered::Sound(samples) => worker.samples = samples,
            Rendered::Death(module) => {
                seat.drop_breadcrumb(at(Phase::Rendering, module));
                return Err(Some(Death::OwnMaking));
            }
        }
        seat.drop_breadcrumb(at(Phase::Harming, 0));
        if worker.crash {
            return Err(Some(Death::OwnMaking));
        }
        if worker.hang {
            worker.hung = true;
            return Err(None);
        }
        if worker.nan {
            worker.samples = [f32::NAN; BLOCK_FRAMES as usize];
        }
        if std::mem::take(&mut worker.flip) {
            worker.samples[3] = f32::from_bits(worker.samples[3].to_bits() ^ 1);
        }
        seat.drop_breadcrumb(Breadcrumb {
            phase: Phase::Publishing,
            ..at(Phase::Publishing, 0)
        });
        worker.at = At::Seal;
        Ok(10 + self.dice.below(60))
    }

    fn publishes(&mut self, slot: Slot, worker: &Worker) {
        let (ring, cursor) = (self.rings[slot.index()], self.stage.cursor());
        let overwrites = self.broken(Sabotage::Overwrites);
        let fresh = ring.published(worker.block).is_none();
        if overwrites || (worker.block >= cursor && fresh) {
            let checked = self.cells.publish(slot, worker.block, cursor);
            self.demand(checked);
            let across = &self.rings[slot.other().index()];
            let now_ns = self.clock.now_us() * 1_000;
            if across.published(worker.block).is_none()
                && lead::margin_ns(&self.stage, worker.block, now_ns)
                    .is_some_and(|margin_ns| margin_ns < self.stage.format().block_ns())
            {
                self.stage.add_close();
            }
            let sum = checksum(worker.block, worker.target, &worker.samples);
            ring.publish(
                worker.block,
                worker.life,
                worker.target,
                sum,
                &worker.samples,
            );
        }
    }

    fn keeps_checkpoint(&self, slot: Slot, block: BlockIndex, frontier: BlockIndex) -> bool {
        let all = self.checkpoints.iter().flatten().flatten();
        let newest = all.map(|(block, ..)| *block).max().unwrap_or_default();
        block.0.is_multiple_of(CHECKPOINT_BLOCKS)
            && write_checkpoint(&self.stage, slot, block, frontier, newest)
                != WriteCheckpoint::Nothing
    }
}
