//! The judge: what the supervisor concludes from deaths, from the shared words and from trials.
//!
//! It drives the rules beside it: `switch` (who is preferred and replaced), `watch` (who hangs, lags or
//! differs), `blame` (what is kept away from the survivor) and `trial` (what is poison, who is wrong).
//! The supervisor's process tells it what has happened and carries out what it says: it starts and
//! ends processes, writes the log, sends, and speaks. The simulation does the same under its own clock.
//!
//! `step(now, scene, event) → actions`. The shared words belong to the scene: a step reads them and makes one
//! change at the most, as `decide` does. What has to come after that is an action, too
//! ([`Action::Then`]), so that the supervisor may die between any two. Actions are carried out in order, and what
//! one of them leads to before the next.

mod trials;

use common::{
    limits::QUARANTINE_KEPT,
    ring::Ring,
    stage::{Preference, Stage},
    units::{BlockIndex, Incarnation, Seq, Slot},
};

use crate::{
    blame::{self, Bypass, Death},
    load::overloaded,
    merge::read_sane,
    switch::{self, Seat, Supervision},
    trial::{self, Case, Trials},
    watch::Watch,
};

/// What there is to be seen.
pub struct Scene<'a> {
    /// The shared words.
    pub stage: Stage<'a>,
    /// The rings of both slots.
    pub rings: &'a [Ring<'a>; 2],
    /// The last command in the log.
    pub newest: Seq,
    /// Whether somebody has stopped the worker in that slot (SIGSTOP, a debugger).
    pub stopped: &'a dyn Fn(Slot) -> bool,
}

/// Why a worker is replaced, or a preference changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The supervisor has begun.
    Start,
    /// The worker has ended.
    Death,
    /// It has work and does none.
    Hangs,
    /// It is behind what is played, and the other one is not.
    Slow,
    /// It does not read its channel.
    Deaf,
    /// It has published a block that is no sound.
    Nonsense,
    /// The referee has rendered the block otherwise.
    Refereed,
    /// Somebody wants it.
    Restart,
    /// A worker has proven itself.
    Proven,
    /// audio-out has switched, since a due block was in the other ring only.
    NotThere,
    /// A pause or a limit is over.
    CleanUp,
}

/// What has happened. The second half is what the judge tells itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It is time to look at the shared words.
    Look {
        /// The supervisor has been there for long enough to judge who was silent.
        judges: bool,
        /// There is an audio-out that can acknowledge an epoch.
        plays: bool,
    },
    /// A worker has ended.
    Died(Slot, Incarnation, Death),
    /// A worker does not read its channel.
    Deaf(Slot, Incarnation),
    /// Somebody wants the worker in that slot replaced, or the pause before the next one cut short.
    Restart(Slot),
    /// A trial has ended.
    TrialEnded(Incarnation, trial::End),
    /// [`Action::Bypass`] is in the log, as that command.
    Bypassed(Bypass, Seq),
    /// [`Action::Quarantine`] is in the log: the commands from the first to the last are left out.
    LeftOut(Seq, Seq),

    /// Something for the rule of the switch.
    Switch(switch::Fact, Cause),
    /// Something for the rule of trials.
    Try(trial::Report),
    /// Phase 1.
    Prefer {
        /// The word as it was when this was decided.
        from: Preference,
        /// The slot to be preferred.
        to: Slot,
        /// Why.
        cause: Cause,
    },
    /// What did the worker die of?
    Blame(Slot, Incarnation, Death),
    /// How does the worker in that slot fare?
    LookAt(Slot),
    /// How do the trials fare?
    LookAtTrials,
    /// What is held, and for how long?
    LookAtHeld,
    /// Tell everybody whether two workers are ready.
    ShowProtected,
    /// Let in what is held above that number.
    Lift(Seq),
    /// Leave that command out, unless it has been taken in.
    LeaveOut(Seq),
    /// Bypass that module where the music stands.
    BypassHere(u16),
    /// What that worker has published from that block on is played only if nobody else has it; and
    /// it is replaced.
    Distrust(Slot, Incarnation, BlockIndex),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take this in, before the actions after it.
    Then(Observation),
    /// End a worker.
    Kill(Slot, Incarnation),
    /// Start a worker in that slot.
    Spawn(Slot, Incarnation),
    /// Start the worker that plays for nobody.
    StartTrial(Incarnation, Case),
    /// End it.
    EndTrial(Incarnation),
    /// Write a bypass into the log, answer with [`Observation::Bypassed`], then send it to all workers. Where it
    /// cannot be written, do nothing.
    Bypass(Bypass),
    /// Write into the log that this command is left out, and whatever was meant for it alone; answer with
    /// [`Observation::LeftOut`], even where it cannot be written: whoever comes to it dies.
    Quarantine(Seq),
    /// Wake the workers.
    Wake,
    /// Say that the preference has changed from that slot to this, whoever changed it.
    Switched(Slot, Preference, Cause),
    /// Say that a worker has failed and is replaced.
    Failed(Slot, Incarnation, Cause),
    /// Say that a worker has proven itself.
    Proven(Slot),
    /// Say that the new commands above the first number up to the second are held: a worker has died
    /// of them, perhaps.
    Held(BlockIndex, Seq, Seq),
}

/// What it knows.
#[derive(Debug)]
pub struct Judge {
    supervision: Supervision,
    trials: Trials,
    watches: [Option<Watch>; 2],
    /// The supervisor's own commands: bypasses.
    own: Vec<Seq>,
    /// Since when commands are held, in microseconds.
    held_since_us: Option<u64>,
    /// Until when checkpoints are kept for a trial, in microseconds; 0 if they are not.
    keep_until_us: u64,
    divergences: u64,
    /// The last block whose difference was counted: both watches may come upon it.
    differing_at: BlockIndex,
}

/// What a judge finds when it takes over.
#[derive(Debug, Default)]
pub struct Found {
    /// Who lives in the slots, or is being started.
    pub living: [Option<Incarnation>; 2],
    /// The last trial that was started, if it still runs.
    pub trial: Option<Incarnation>,
    /// The supervisor's own commands in the log.
    pub own: Vec<Seq>,
    /// The commands that are left out, as the log says, in order.
    pub left_out: Vec<Seq>,
    /// Blocks in which the replicas differed so far, and the last of them.
    pub differed: (u64, BlockIndex),
    /// All lives have higher numbers.
    pub before: Incarnation,
}

impl Judge {
    /// Takes over what is there: living workers are kept, and have to prove themselves anew. What the log says to
    /// be left out is left out, though the supervisor before may have died before it could say so.
    #[must_use]
    pub fn adopt(now_us: u64, stage: &Stage<'_>, found: Found) -> Self {
        let seated = Slot::ALL.map(|slot| stage.slot(slot).incarnation());
        let lives = found.living.into_iter().flatten().chain(seated);
        let next = lives.max().unwrap_or_default().max(found.before).next();
        let trial = stage
            .trial()
            .incarnation()
            .max(found.trial.unwrap_or_default())
            .max(found.before);
        stage.freeze_checkpoints(false);
        let newest = found.left_out.len().saturating_sub(QUARANTINE_KEPT);
        for seq in &found.left_out[newest..] {
            if !stage.quarantined(*seq) {
                stage.quarantine(*seq);
            }
        }
        let watch = |slot: Slot| Some(Watch::new(slot, found.living[slot.index()]?, now_us));
        Self {
            supervision: Supervision::adopt(now_us, stage.preference(), found.living, next),
            trials: Trials::new(trial.next()),
            watches: Slot::ALL.map(watch),
            own: found.own,
            held_since_us: None,
            keep_until_us: 0,
            divergences: found.differed.0,
            differing_at: found.differed.1,
        }
    }

    /// Who sits where, and who is preferred.
    #[must_use]
    pub const fn supervision(&self) -> &Supervision {
        &self.supervision
    }

    /// Blocks in which the replicas differed, and the last of them.
    #[must_use]
    pub const fn differed(&self) -> (u64, BlockIndex) {
        (self.divergences, self.differing_at)
    }

    /// Whether nothing is tried.
    #[must_use]
    pub fn tries_nothing(&self) -> bool {
        self.trials.case().is_none()
    }

    /// Whether that worker sits there and has not been given up yet.
    #[must_use]
    pub fn works(&self, slot: Slot, who: Incarnation) -> bool {
        let seat = self.supervision.seat(slot);
        matches!(seat, Seat::Starting { incarnation, .. } | Seat::Ready { incarnation } if incarnation == who)
    }

    /// Takes in one event and says what is to be done, in order. `now_us` counts the time that the
    /// supervisor was there.
    pub fn step(&mut self, now_us: u64, scene: &Scene<'_>, event: Observation) -> Vec<Action> {
        let stage = &scene.stage;
        match event {
            Observation::Look { judges, plays } => self.look(now_us, stage, judges, plays),
            Observation::Died(slot, incarnation, death) => self.died(slot, incarnation, death),
            Observation::Deaf(slot, incarnation) => match self.supervision.seat(slot) {
                Seat::Ready { incarnation: who } if who == incarnation => {
                    self.fail(slot, incarnation, true, Cause::Deaf)
                }
                _ => Vec::new(),
            },
            Observation::Restart(slot) => switching(switch::Fact::Restart(slot), Cause::Restart),
            Observation::TrialEnded(life, end) => trying(trial::Report::Ended(life, end)),
            Observation::Bypassed(bypass, seq) => self.bypassed(stage, bypass, seq),
            Observation::LeftOut(first, last) => {
                (first.0..=last.0).for_each(|seq| stage.quarantine(Seq(seq)));
                Vec::new()
            }
            Observation::Switch(event, cause) => self.switch(now_us, event, cause),
            Observation::Try(event) => self.try_out(now_us, stage, event),
            Observation::Prefer { from, to, cause } => prefer(stage, from, to, cause),
            Observation::Blame(slot, incarnation, death) => {
                self.blame(stage, slot, incarnation, death)
            }
            Observation::LookAt(slot) => self.look_at(now_us, scene, slot),
            Observation::LookAtTrials => self.look_at_trials(now_us, stage),
            Observation::LookAtHeld => self.look_at_held(now_us, scene),
            Observation::ShowProtected => {
                stage.set_protected(self.supervision.protected());
                Vec::new()
            }
            Observation::Lift(after) if stage.lift(after) => vec![Action::Wake],
            Observation::LeaveOut(seq) if seq > blame::in_history(stage) => {
                vec![Action::Quarantine(seq)]
            }
            Observation::Lift(_) | Observation::LeaveOut(_) => Vec::new(),
            Observation::BypassHere(module) => trials::bypass_here(stage, module),
            Observation::Distrust(slot, incarnation, block) => {
                stage.distrust(slot, incarnation, block);
                // A single bit is nobody's making.
                self.fail(slot, incarnation, false, Cause::Refereed)
            }
        }
    }

    // ---- workers ----

    fn look(&mut self, now_us: u64, stage: &Stage<'_>, judges: bool, plays: bool) -> Vec<Action> {
        if !judges {
            let watches = self.watches.iter_mut().flatten();
            watches.for_each(|watch| watch.forgive(now_us));
        }
        if overloaded(stage) {
            // Whoever is late for the same reason as the other is waited for.
            self.supervision.be_patient(now_us);
        }
        let (known, seen) = (self.supervision.preference(), stage.preference());
        // Without an audio-out nobody reads the rings.
        let acknowledged = if plays {
            stage.acknowledged()
        } else {
            seen.epoch
        };
        let mut actions = Vec::new();
        if seen.epoch > known.epoch {
            actions.push(Action::Switched(known.slot, seen, Cause::NotThere));
        }
        actions.extend(
            [
                Observation::Switch(switch::Fact::Preference(seen), Cause::NotThere),
                Observation::Switch(switch::Fact::Acknowledged(acknowledged), Cause::CleanUp),
                Observation::LookAt(Slot::Zero),
                Observation::LookAt(Slot::One),
                Observation::LookAtTrials,
                Observation::LookAtHeld,
                Observation::ShowProtected,
            ]
            .map(Action::Then),
        );
        actions
    }

    fn died(&self, slot: Slot, incarnation: Incarnation, death: Death) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.works(slot, incarnation) {
            actions.push(Action::Failed(slot, incarnation, Cause::Death));
            actions.push(Action::Then(Observation::Blame(slot, incarnation, death)));
        }
        let died = switch::Fact::Died {
            slot,
            incarnation,
            own_making: death != Death::Outside,
        };
        actions.extend(switching(died, Cause::Death));
        actions
    }

    fn fail(
        &self,
        slot: Slot,
        incarnation: Incarnation,
        own_making: bool,
        cause: Cause,
    ) -> Vec<Action> {
        if !self.works(slot, incarnation) {
            return Vec::new();
        }
        let failed = switch::Fact::Failed {
            slot,
            incarnation,
            own_making,
        };
        let mut actions = vec![Action::Failed(slot, incarnation, cause)];
        actions.extend(switching(failed, cause));
        actions
    }

    fn switch(&mut self, now_us: u64, event: switch::Fact, cause: Cause) -> Vec<Action> {
        let actions = self.supervision.step(now_us, event).into_iter();
        actions
            .map(|action| match action {
                switch::Action::Prefer { from, to } => {
                    Action::Then(Observation::Prefer { from, to, cause })
                }
                switch::Action::Kill(slot, incarnation) => Action::Kill(slot, incarnation),
                switch::Action::Spawn(slot, incarnation) => {
                    self.watches[slot.index()] = Some(Watch::new(slot, incarnation, now_us));
                    Action::Spawn(slot, incarnation)
                }
            })
            .collect()
    }

    fn look_at(&mut self, now_us: u64, scene: &Scene<'_>, slot: Slot) -> Vec<Action> {
        let stage = &scene.stage;
        let Some(watch) = self.watches[slot.index()].as_mut() else {
            return Vec::new();
        };
        let incarnation = watch.incarnation();
        let findings = watch.audit(stage, scene.rings);
        let (hangs, lags) = (watch.hangs(now_us, stage), watch.lags(now_us, stage));
        let leads = self.supervision.preference().slot == slot;
        match self.supervision.seat(slot) {
            Seat::Starting { .. } if findings.ready => {
                let proven = switch::Fact::Proven { slot, incarnation };
                let mut actions = switching(proven, Cause::Proven);
                actions.push(Action::Proven(slot));
                actions
            }
            seat @ (Seat::Starting { .. } | Seat::Ready { .. })
                if !leads && findings.differing_at.is_some() =>
            {
                let block = findings.differing_at.unwrap_or_default();
                if block > self.differing_at {
                    self.differing_at = block;
                    self.divergences += findings.differing;
                }
                // One that is not proven is no match for the leader, unless that puts out nonsense.
                let proven = matches!(seat, Seat::Ready { .. });
                self.diverged(scene, slot, block, proven)
            }
            Seat::Ready { .. } | Seat::Starting { .. } if hangs => {
                let death = match (scene.stopped)(slot) {
                    true => Death::Outside,
                    false => Death::OwnMaking,
                };
                let mut actions = Vec::new();
                if death == Death::Outside || blame::hangs_by_the_music(stage, slot) {
                    actions.push(Action::Then(Observation::Blame(slot, incarnation, death)));
                }
                actions.extend(self.fail(
                    slot,
                    incarnation,
                    death == Death::OwnMaking,
                    Cause::Hangs,
                ));
                actions
            }
            Seat::Ready { .. } if lags => self.fail(slot, incarnation, true, Cause::Slow),
            _ => Vec::new(),
        }
    }

    /// The replicas differ: whoever published what is no sound is wrong, else the referee decides.
    fn diverged(
        &self,
        scene: &Scene<'_>,
        follower: Slot,
        block: BlockIndex,
        proven: bool,
    ) -> Vec<Action> {
        let mut samples = vec![0.0; scene.stage.format().block_samples()];
        let leader = follower.other();
        let mut sane = |slot| read_sane(scene.rings, slot, block, &mut samples);
        if !sane(leader) && sane(follower) {
            let watch = self.watches[leader.index()].as_ref();
            let writer = scene.rings[leader.index()].published(block);
            return match (watch.map(Watch::incarnation), writer) {
                (Some(who), Some(writer)) if writer.incarnation == who => {
                    self.fail(leader, who, true, Cause::Nonsense)
                }
                // What an earlier life has left in the ring says nothing about this one.
                _ => Vec::new(),
            };
        }
        if !proven || self.trials.compares() {
            return Vec::new();
        }
        let proof = |slot: Slot| {
            let ring = &scene.rings[slot.index()];
            ring.proof(block).or_else(|| ring.published(block))
        };
        let (Some(zero), Some(one)) = (proof(Slot::Zero), proof(Slot::One)) else {
            return Vec::new(); // too late to tell; the next block that differs will do
        };
        trying(trial::Report::Open(Case::Differing {
            block,
            sums: [zero.sum, one.sum],
            workers: [zero.incarnation, one.incarnation],
            doubtful: follower,
        }))
    }
}

fn switching(event: switch::Fact, cause: Cause) -> Vec<Action> {
    vec![Action::Then(Observation::Switch(event, cause))]
}

fn trying(event: trial::Report) -> Vec<Action> {
    vec![Action::Then(Observation::Try(event))]
}

/// audio-out may have been faster; its switch is as good.
fn prefer(stage: &Stage<'_>, from: Preference, to: Slot, cause: Cause) -> Vec<Action> {
    if let Some(now) = stage.switch(from, to) {
        return vec![Action::Switched(from.slot, now, cause)];
    }
    let seen = stage.preference();
    let mut actions = vec![Action::Switched(from.slot, seen, cause)];
    actions.extend(switching(switch::Fact::Preference(seen), cause));
    actions
}

impl Cause {
    /// Whether it is a worker's failure.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        use Cause::{Deaf, Death, Hangs, Nonsense, Refereed, Slow};
        matches!(self, Death | Hangs | Slow | Deaf | Nonsense | Refereed)
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Death => "death",
            Self::Hangs => "hang",
            Self::Slow => "too slow",
            Self::Deaf => "control channel not read",
            Self::Nonsense => "invalid samples",
            Self::Refereed => "wrong samples by the referee",
            Self::Restart => "restart",
            Self::Proven => "proven",
            Self::NotThere => "block missing at its deadline",
            Self::CleanUp => "clean-up",
        })
    }
}
