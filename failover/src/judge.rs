//! The judge: the rule that holds all conclusions of the supervisor.
//!
//! It drives the other rules: `switch` (which worker is preferred, which is replaced), `watch` (which
//! worker hangs, lags or differs), `blame` (what is kept from the survivor) and `trial` (what is poison,
//! which worker is wrong). The supervisor's process reports observations and carries out the actions: it
//! starts and kills processes, writes the command log, sends messages and prints lines. The simulation does
//! the same under its own clock.
//!
//! `step(now, scene, event) → actions`. The scene holds the shared words. A step reads them and makes at
//! most one logical change, as `decide` does. A change that must follow is another action
//! ([`Action::Then`]), so the supervisor may die between any two. The caller carries out the actions in
//! order, and the consequences of each action before the next action.

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

/// What the judge reads in a step.
pub struct Scene<'a> {
    /// The shared words.
    pub stage: Stage<'a>,
    /// The rings of both slots.
    pub rings: &'a [Ring<'a>; 2],
    /// The last command in the log.
    pub newest: Seq,
    /// Whether the worker in a slot is stopped from outside (SIGSTOP, a debugger).
    pub stopped: &'a dyn Fn(Slot) -> bool,
}

/// Why a worker is replaced, or the preference changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The supervisor has started.
    Start,
    /// The worker has ended.
    Death,
    /// The worker has work and makes no progress.
    Hangs,
    /// The worker is behind the play cursor, and the other one is not.
    Slow,
    /// The worker does not read its link.
    Deaf,
    /// The worker has published a block with invalid samples.
    Nonsense,
    /// The referee's checksum of the block differs from the worker's.
    Refereed,
    /// A user has asked for it.
    Restart,
    /// A worker has proven itself.
    Proven,
    /// audio-out has switched: a due block was in the other ring only.
    NotThere,
    /// A pause or a time limit has ended.
    CleanUp,
}

/// What the judge is told. The second half are follow-ups that the judge orders itself, through [`Action::Then`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Time to read the shared words.
    Look {
        /// The supervisor has been present long enough to judge a silent process.
        judges: bool,
        /// An audio-out runs that can acknowledge an epoch.
        plays: bool,
    },
    /// A worker has ended.
    Died(Slot, Incarnation, Death),
    /// A worker does not read its link.
    Deaf(Slot, Incarnation),
    /// A user wants the worker in the slot replaced, or the pause before the next start skipped.
    Restart(Slot),
    /// A trial has ended.
    TrialEnded(Incarnation, trial::End),
    /// [`Action::Bypass`] is in the log, as this command.
    Bypassed(Bypass, Seq),
    /// [`Action::Quarantine`] is in the log: the commands from the first to the last are in quarantine.
    LeftOut(Seq, Seq),

    /// A fact for the switch.
    Switch(switch::Fact, Cause),
    /// A report for the trials.
    Try(trial::Report),
    /// Phase 1 of a switch.
    Prefer {
        /// The preference at the time of the conclusion.
        from: Preference,
        /// The slot to prefer.
        to: Slot,
        /// Why.
        cause: Cause,
    },
    /// Find out what the worker died of.
    Blame(Slot, Incarnation, Death),
    /// Check the worker in the slot: progress, lag, checksums.
    LookAt(Slot),
    /// Check the trial under way.
    LookAtTrials,
    /// Check whether commands are held, and for how long.
    LookAtHeld,
    /// Publish whether both workers are ready.
    ShowProtected,
    /// Lift the hold above this number.
    Lift(Seq),
    /// Quarantine this command, unless a worker has applied it.
    LeaveOut(Seq),
    /// Bypass this module at the frontier.
    BypassHere(u16),
    /// Distrust the blocks that this worker has published from this block on, and replace the worker.
    /// audio-out plays a distrusted block only if the other ring lacks it.
    Distrust(Slot, Incarnation, BlockIndex),
}

/// What the supervisor has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Pass this observation to the judge before the next action.
    Then(Observation),
    /// Kill a worker.
    Kill(Slot, Incarnation),
    /// Start a worker in the slot.
    Spawn(Slot, Incarnation),
    /// Start a trial.
    StartTrial(Incarnation, Case),
    /// Kill the trial.
    EndTrial(Incarnation),
    /// Write a bypass to the log, report [`Observation::Bypassed`], then send it to all workers. If it
    /// cannot be written, do nothing.
    Bypass(Bypass),
    /// Write the quarantine of this command to the log, with that of all commands resolved against it.
    /// Report [`Observation::LeftOut`] even if the log cannot be written: any worker that applies the
    /// command dies.
    Quarantine(Seq),
    /// Wake the workers.
    Wake,
    /// Report that the preference has changed from this slot to this preference, by supervisor or audio-out.
    Switched(Slot, Preference, Cause),
    /// Report that a worker has failed and is replaced.
    Failed(Slot, Incarnation, Cause),
    /// Report that a worker has proven itself.
    Proven(Slot),
    /// Report that the new commands above the first number up to the second are held: a worker may have
    /// died of them in this block.
    Held(BlockIndex, Seq, Seq),
}

/// The state of the judge.
#[derive(Debug)]
pub struct Judge {
    supervision: Supervision,
    trials: Trials,
    watches: [Option<Watch>; 2],
    /// The supervisor's own commands: bypasses.
    own: Vec<Seq>,
    /// Time since which commands are held, in microseconds.
    held_since_us: Option<u64>,
    /// Time until which checkpoints stay frozen for a trial, in microseconds; 0 if they are not frozen.
    keep_until_us: u64,
    divergences: u64,
    /// The last block whose difference was counted. Both watches may report the same block.
    differing_at: BlockIndex,
}

/// What a judge finds when it takes over.
#[derive(Debug, Default)]
pub struct Found {
    /// The workers in the slots, running or starting.
    pub living: [Option<Incarnation>; 2],
    /// The last trial that was started, if it still runs.
    pub trial: Option<Incarnation>,
    /// The supervisor's own commands in the log.
    pub own: Vec<Seq>,
    /// The commands that the log has in quarantine, in order.
    pub left_out: Vec<Seq>,
    /// The number of blocks in which the replicas differed, and the last of these blocks.
    pub differed: (u64, BlockIndex),
    /// All incarnations are above this number.
    pub before: Incarnation,
}

impl Judge {
    /// Starts from the present state: living workers stay and have to prove themselves again. Quarantines
    /// on the stage what the log has in quarantine, since the previous supervisor may have died between the
    /// two.
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

    /// The state of the seats, and the preference.
    #[must_use]
    pub const fn supervision(&self) -> &Supervision {
        &self.supervision
    }

    /// The number of blocks in which the replicas differed, and the last of these blocks.
    #[must_use]
    pub const fn differed(&self) -> (u64, BlockIndex) {
        (self.divergences, self.differing_at)
    }

    /// Whether no trial is under way.
    #[must_use]
    pub fn tries_nothing(&self) -> bool {
        self.trials.case().is_none()
    }

    /// Whether this worker sits in the slot and has not been given up.
    #[must_use]
    pub fn works(&self, slot: Slot, who: Incarnation) -> bool {
        let seat = self.supervision.seat(slot);
        matches!(seat, Seat::Starting { incarnation, .. } | Seat::Ready { incarnation } if incarnation == who)
    }

    /// Handles one event and returns the actions, in order. `now_us` counts only time in which the
    /// supervisor was present.
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
                // A single wrong block (a flipped bit) is not of the worker's own making.
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
            // Both workers are late for the same reason: extend the start-up limit.
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
                // An unproven worker does not count against the leader, unless the leader's block has
                // invalid samples.
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

    /// The replicas differ. A leader that has published invalid samples is wrong; otherwise the referee decides.
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
                // An earlier incarnation left the block in the ring; it says nothing about this one.
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
            return Vec::new(); // too late to tell; the next differing block will do
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

/// Switches, unless audio-out has switched first; its switch is as good.
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
    /// Whether the cause is the failure of a worker.
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
