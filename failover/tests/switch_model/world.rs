//! The small world of the model: two workers, audio-out and the supervisor over the shared words, and each
//! step that one of them can take.

use std::{cell::RefCell, sync::atomic::Ordering};

use common::{
    stage::{AudioFormat, Breadcrumb, DECISION, Phase, STAGE_WORDS, Stage},
    sync::{AtomicU64, heap},
    units::{BlockIndex, Epoch, Incarnation, Seq, Slot},
};
use failover::{
    blame::Death,
    blame::{self, Verdict},
    decide::{self, Step},
    switch::{Action, Fact, Seat, Supervision},
};

pub const BLOCKS: u64 = 2;
/// Applied before the first block.
const FIRST: Seq = Seq(1);
/// A harmless command and a deadly one, received together.
pub const GOOD: Seq = Seq(2);
const POISON: Seq = Seq(3);
/// Longer than all pauses, shorter than all time limits.
const LATER_US: u64 = 500_000;
/// All words that change in a world of so few blocks.
const LIVE: usize = DECISION + BLOCKS as usize + 1;

/// The sound of a block: a mask of the commands that took effect before it, and one for each earlier block.
pub type Sound = Vec<u8>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    Decide,
    Apply(Seq),
    Seal(Seq),
    Publish(Seq),
    Advance(Seq),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    pub life: Incarnation,
    pub at: At,
    pub block: BlockIndex,
    pub applied: Seq,
    pub sound: Sound,
    pub frozen: bool,
    /// How the worker ended (an index of `DEATHS`), until the supervisor knows.
    pub dead: Option<u8>,
    pub gone: bool,
}

/// Violations of the invariants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wrongs {
    pub two_sounds: bool,
    pub out_of_order: bool,
    pub early_clean_up: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub words: Vec<(u16, u64)>,
    pub workers: [Worker; 2],
    pub rings: [[Option<Sound>; BLOCKS as usize]; 2],
    /// The sound of each block as a worker rendered it and sealed its decision.
    pub published: [Option<Sound>; BLOCKS as usize],
    pub played: u8,
    pub supervision: Supervision,
    pub received: Seq,
    /// The suspects of the trial under way: the commands above the first number, up to the second.
    pub trial: Option<(Seq, Seq)>,
    /// The epoch of the last switch away from each slot.
    pub left_at: [Epoch; 2],
    pub crashes: u8,
    pub frozen_once: bool,
    pub killed_by_poison: u8,
    pub wrongs: Wrongs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    Work(Slot),
    Crash(Slot),
    Freeze(Slot),
    Thaw(Slot),
    Receive,
    Play,
    NoticeDeath(Slot),
    NoticeHang(Slot),
    Prove(Slot),
    Look,
    Wait,
    EndTrial,
    OpenUnexplained,
}

pub const MOVES: [Move; 19] = [
    Move::Work(Slot::Zero),
    Move::Work(Slot::One),
    Move::Crash(Slot::Zero),
    Move::Crash(Slot::One),
    Move::Freeze(Slot::Zero),
    Move::Freeze(Slot::One),
    Move::Thaw(Slot::Zero),
    Move::Thaw(Slot::One),
    Move::Receive,
    Move::Play,
    Move::NoticeDeath(Slot::Zero),
    Move::NoticeDeath(Slot::One),
    Move::NoticeHang(Slot::Zero),
    Move::NoticeHang(Slot::One),
    Move::Prove(Slot::Zero),
    Move::Prove(Slot::One),
    Move::Look,
    Move::EndTrial,
    Move::OpenUnexplained,
];

const DEATHS: [Death; 3] = [Death::Outside, Death::OwnMaking, Death::Overruled];

thread_local! {
    static WORDS: RefCell<Vec<AtomicU64>> = RefCell::new(heap(STAGE_WORDS));
}

/// Copies the state's words to the stage, lets `act` change them, and copies them back.
fn on_stage<T>(state: &mut Vec<(u16, u64)>, act: impl FnOnce(&Stage<'_>) -> T) -> T {
    WORDS.with_borrow(|words| {
        words[..LIVE]
            .iter()
            .for_each(|w| w.store(0, Ordering::Relaxed));
        for (place, value) in state.iter() {
            words[*place as usize].store(*value, Ordering::Relaxed);
        }
        let result = act(&Stage::open(words).expect("the header is among the words"));
        let live = words[..LIVE].iter().map(|w| w.load(Ordering::Relaxed));
        state.clear();
        state.extend((0..).zip(live).filter(|(_, value)| *value != 0));
        result
    })
}

impl Worker {
    fn new(life: Incarnation) -> Self {
        Self {
            life,
            at: At::Decide,
            block: BlockIndex(0),
            applied: FIRST,
            sound: Sound::new(),
            frozen: false,
            dead: None,
            gone: false,
        }
    }

    fn runs(&self) -> bool {
        !self.gone && !self.frozen
    }
}

impl World {
    pub fn new() -> Self {
        let lives = [Incarnation(1), Incarnation(2)];
        let words = heap(STAGE_WORDS);
        let format = AudioFormat {
            rate_hz: 48_000,
            block_frames: 64,
            channels: 1,
            lead_blocks: 2,
            freewheel: false,
        };
        let stage = Stage::create(&words, &format).unwrap();
        for (slot, life) in Slot::ALL.into_iter().zip(lives) {
            stage.slot(slot).take_seat(life, BlockIndex(0), FIRST);
        }
        let seats = lives.map(Some);
        let mut supervision = Supervision::adopt(0, stage.preference(), seats, Incarnation(3));
        for (slot, incarnation) in Slot::ALL.into_iter().zip(lives) {
            supervision.step(0, Fact::Proven { slot, incarnation });
        }
        let live = words[..LIVE].iter().map(|w| w.load(Ordering::Relaxed));
        Self {
            words: (0..).zip(live).filter(|(_, value)| *value != 0).collect(),
            workers: lives.map(Worker::new),
            rings: Default::default(),
            published: Default::default(),
            played: 0,
            supervision,
            received: FIRST,
            trial: None,
            left_at: [Epoch(0); 2],
            crashes: 0,
            frozen_once: false,
            killed_by_poison: 0,
            wrongs: Wrongs::default(),
        }
    }

    /// One step of a worker; false if it can only wait.
    fn work(&mut self, slot: Slot) -> bool {
        let (worker, received) = (&mut self.workers[slot.index()], self.received);
        let (block, applied) = (worker.block, worker.applied);
        let breadcrumb = |stage: &Stage<'_>, phase, command| {
            stage.slot(slot).drop_breadcrumb(Breadcrumb {
                block,
                phase,
                module: 0,
                command,
            });
        };
        let mut death = None;
        match worker.at {
            At::Decide if block.0 >= BLOCKS => return false,
            At::Decide => {
                let step = on_stage(&mut self.words, |stage| {
                    decide::step(stage, slot, block, applied, received)
                });
                match step {
                    Step::Render(seq) => worker.at = At::Apply(seq),
                    Step::Wait(_) => return false,
                    Step::Overtaken => death = Some(Death::Overruled),
                }
            }
            At::Apply(seq) => {
                let mut mask = 0;
                on_stage(&mut self.words, |stage| {
                    breadcrumb(stage, Phase::Applying, applied);
                    for command in (applied.0 + 1..=seq.0).map(Seq) {
                        breadcrumb(stage, Phase::Applying, command);
                        if stage.quarantined(command) {
                            continue;
                        }
                        if command == POISON {
                            death = Some(Death::OwnMaking);
                            return;
                        }
                        mask |= 1 << command.0;
                    }
                    breadcrumb(stage, Phase::Rendering, seq);
                });
                worker.sound.push(mask);
                worker.at = At::Seal(seq);
                self.killed_by_poison += u8::from(death.is_some());
            }
            At::Seal(seq) => {
                let sealed = on_stage(&mut self.words, |stage| {
                    breadcrumb(stage, Phase::Publishing, seq);
                    stage.seal(block, seq)
                });
                worker.at = At::Publish(seq);
                death = (!sealed).then_some(Death::Overruled);
            }
            At::Publish(seq) => {
                let cursor = on_stage(&mut self.words, |stage| stage.cursor());
                let cell = &mut self.rings[slot.index()][block.0 as usize];
                // Compare even if the block is not published: both replicas must have rendered the same.
                let known = &mut self.published[block.0 as usize];
                self.wrongs.two_sounds |= known.as_ref().is_some_and(|k| *k != worker.sound);
                *known = Some(worker.sound.clone());
                if block >= cursor && cell.is_none() {
                    *cell = Some(worker.sound.clone());
                }
                worker.at = At::Advance(seq);
            }
            At::Advance(seq) => {
                (worker.block, worker.applied, worker.at) = (block.next(), seq, At::Decide);
                on_stage(&mut self.words, |stage| {
                    stage.slot(slot).advance(block.next(), seq);
                    breadcrumb(stage, Phase::Idle, seq);
                });
            }
        }
        if let Some(death) = death {
            self.die(slot, death);
        }
        true
    }

    fn die(&mut self, slot: Slot, death: Death) {
        let worker = &mut self.workers[slot.index()];
        // Everything in the worker's own memory is lost.
        *worker = Worker {
            gone: true,
            dead: DEATHS.iter().position(|d| *d == death).map(|d| d as u8),
            ..Worker::new(worker.life)
        };
    }

    /// audio-out's rule for one due block.
    fn play(&mut self) -> bool {
        let before = self.words.clone();
        let rings = &self.rings;
        let played = on_stage(&mut self.words, |stage| {
            let (preference, block) = (stage.preference(), stage.cursor());
            let slots = [preference.slot, preference.slot.other()];
            let has = |slot: &Slot| {
                let cell = rings[slot.index()].get(block.0 as usize);
                cell.is_some_and(Option::is_some)
            };
            let taken = slots.into_iter().find(has);
            stage.acknowledge(preference.epoch);
            let slot = taken?;
            if slot != preference.slot {
                let _ = stage.switch(preference, slot);
            }
            stage.set_cursor(block.next());
            Some((block, slot))
        });
        if let Some((block, slot)) = played {
            self.wrongs.out_of_order |= block.0 != u64::from(self.played);
            self.played += 1;
            let other = self.rings[slot.other().index()][block.0 as usize].as_ref();
            let own = self.rings[slot.index()][block.0 as usize].as_ref();
            self.wrongs.two_sounds |= other.is_some() && other != own;
        }
        self.words != before
    }

    /// Carries out the actions that the switch returns for a fact.
    fn supervise(&mut self, now_us: u64, event: Fact) {
        for action in self.supervision.step(now_us, event) {
            match action {
                Action::Prefer { from, to } => {
                    let switched = on_stage(&mut self.words, |stage| stage.switch(from, to));
                    if let Some(switched) = switched {
                        self.left_at[from.slot.index()] = switched.epoch;
                    }
                }
                Action::Kill(slot, life) => {
                    self.check_clean_up(slot);
                    if self.workers[slot.index()].life == life && !self.workers[slot.index()].gone {
                        self.die(slot, Death::Outside);
                    }
                }
                Action::Spawn(slot, life) => {
                    self.check_clean_up(slot);
                    self.workers[slot.index()] = Worker::new(life);
                    on_stage(&mut self.words, |stage| {
                        stage.slot(slot).take_seat(life, BlockIndex(0), FIRST);
                    });
                }
            }
        }
    }

    fn check_clean_up(&mut self, slot: Slot) {
        let acknowledged = on_stage(&mut self.words, |stage| stage.acknowledged());
        self.wrongs.early_clean_up |= acknowledged < self.left_at[slot.index()];
    }

    /// Blames, and does what the judge does about the verdict. A trial may take any number of steps.
    fn blame(&mut self, slot: Slot, death: Death) {
        let life = self.workers[slot.index()].life;
        let trial = on_stage(&mut self.words, |stage| {
            match blame::examine(stage, slot, life, death, |_| false) {
                Verdict::Held { after, last, .. } => Some((after, last)),
                Verdict::Harmless(held) => {
                    let _ = stage.lift(held);
                    None
                }
                Verdict::Nothing | Verdict::Bypass(_) => None,
            }
        });
        self.trial = self.trial.or(trial);
    }

    fn notice(&mut self, slot: Slot, death: Death) {
        self.blame(slot, death);
        let incarnation = self.workers[slot.index()].life;
        self.supervise(
            0,
            Fact::Died {
                slot,
                incarnation,
                own_making: death == Death::OwnMaking,
            },
        );
    }

    pub fn after(&self, action: Move) -> Option<Self> {
        let mut next = self.clone();
        let allowed = match action {
            Move::Work(slot) => next.workers[slot.index()].runs() && next.work(slot),
            Move::Crash(slot) => {
                let may = !next.workers[slot.index()].gone;
                next.crashes += 1;
                next.die(slot, Death::Outside);
                may
            }
            Move::Freeze(slot) => {
                let may = !next.frozen_once && !next.workers[slot.index()].gone;
                next.frozen_once = true;
                next.workers[slot.index()].frozen = true;
                may
            }
            Move::Thaw(slot) => std::mem::take(&mut next.workers[slot.index()].frozen),
            Move::Receive => std::mem::replace(&mut next.received, POISON) < POISON,
            Move::Play => next.play(),
            Move::NoticeDeath(slot) => match next.workers[slot.index()].dead.take() {
                Some(death) => {
                    next.notice(slot, DEATHS[death as usize]);
                    true
                }
                None => false,
            },
            Move::NoticeHang(slot) => {
                let incarnation = next.workers[slot.index()].life;
                let may = next.workers[slot.index()].frozen
                    && next.supervision.seat(slot) == (Seat::Ready { incarnation });
                if may {
                    next.blame(slot, Death::Outside);
                    let own_making = false;
                    next.supervise(
                        0,
                        Fact::Failed {
                            slot,
                            incarnation,
                            own_making,
                        },
                    );
                }
                may
            }
            Move::Prove(slot) => next.prove(slot),
            Move::Look => {
                let (seen, acknowledged) = on_stage(&mut next.words, |stage| {
                    (stage.preference(), stage.acknowledged())
                });
                next.supervise(0, Fact::Preference(seen));
                next.supervise(0, Fact::Acknowledged(acknowledged));
                next != *self
            }
            Move::Wait => {
                next.supervise(LATER_US, Fact::Tick);
                next != *self
            }
            Move::EndTrial => match next.trial.take() {
                Some((after, last)) => {
                    on_stage(&mut next.words, |stage| {
                        if last >= POISON && !stage.quarantined(POISON) {
                            stage.quarantine(POISON);
                        }
                        let _ = stage.lift(after);
                    });
                    true
                }
                None => false,
            },
            Move::OpenUnexplained => {
                let held = on_stage(&mut next.words, |stage| stage.held());
                let case = held.map(|held| (held, next.received));
                let may = next.trial.is_none() && case.is_some();
                next.trial = next.trial.or(case);
                may
            }
        };
        allowed.then_some(next)
    }

    /// The audit, in a world where equal sounds are visible: the worker lives and has caught up.
    fn prove(&mut self, slot: Slot) -> bool {
        let worker = &self.workers[slot.index()];
        let (incarnation, block) = (worker.life, worker.block);
        let starting = matches!(self.supervision.seat(slot), Seat::Starting { incarnation: who, .. } if who == incarnation);
        if !starting || worker.gone {
            return false;
        }
        let level = on_stage(&mut self.words, |stage| {
            let ahead = stage.slot(slot.other()).frontier();
            block >= ahead.min(stage.horizon()).min(BlockIndex(BLOCKS)) && block >= stage.cursor()
        });
        if level {
            self.supervise(0, Fact::Proven { slot, incarnation });
        }
        level
    }
}
