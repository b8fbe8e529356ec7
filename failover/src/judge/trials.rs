//! What the judge does about commands and modules that may have killed a worker: it holds the commands,
//! starts trials, quarantines commands and bypasses modules.

use common::{
    stage::{SlotWords, Stage},
    units::{Incarnation, Seq, Slot},
};

use super::{Action, Judge, Observation, Scene, trying};
use crate::{
    blame::{self, Bypass, Death, Verdict},
    trial::{self, Case, Modules},
};

/// Commands that have been held this long without a trial are tried, in microseconds.
const UNEXPLAINED_US: u64 = 1_000_000;
/// Checkpoints stay frozen for a trial at most this long, in microseconds: otherwise a replacement has too
/// much to catch up.
const KEEP_US: u64 = 200_000;

impl Judge {
    /// Keeps what killed the worker from the survivor, before the survivor is preferred.
    pub(super) fn blame(
        &self,
        stage: &Stage<'_>,
        slot: Slot,
        incarnation: Incarnation,
        death: Death,
    ) -> Vec<Action> {
        let is_own = |seq| self.own.contains(&seq);
        match blame::examine(stage, slot, incarnation, death, is_own) {
            Verdict::Nothing => Vec::new(),
            Verdict::Held { block, after, last } => {
                let mut actions = vec![Action::Held(block, after, last)];
                actions.extend(open_commands(after, last));
                actions
            }
            Verdict::Bypass(bypass) => vec![Action::Bypass(bypass)],
            Verdict::Harmless(held) => harmless(held),
        }
    }

    /// Includes the bypass in a block that was decided already. A block that is undecided includes it anyway.
    pub(super) fn bypassed(&mut self, stage: &Stage<'_>, bypass: Bypass, seq: Seq) -> Vec<Action> {
        self.own.push(seq);
        if let Some(decided) = bypass.decided
            && stage.held().is_none()
        {
            let _ = stage.revise(bypass.block, decided, seq);
        }
        Vec::new()
    }

    pub(super) fn look_at_trials(&mut self, now_us: u64, stage: &Stage<'_>) -> Vec<Action> {
        let over = now_us >= self.keep_until_us || self.trials.case().is_none();
        if self.keep_until_us > 0 && over {
            self.keep_until_us = 0;
            stage.freeze_checkpoints(false);
        }
        let seat = stage.trial();
        let mut actions = Vec::new();
        if self.trials.life() == Some(seat.incarnation()) {
            actions.extend(trying(trial::Report::At(seat.breadcrumb().command)));
        }
        actions.extend(trying(trial::Report::Tick));
        actions
    }

    pub(super) fn look_at_held(&mut self, now_us: u64, scene: &Scene<'_>) -> Vec<Action> {
        let Some(held) = scene.stage.held() else {
            self.held_since_us = None;
            return Vec::new();
        };
        let since = *self.held_since_us.get_or_insert(now_us);
        if self.trials.tries_commands() {
            return Vec::new();
        }
        if blame::is_stopped_with(&scene.stage, held, scene.stopped) {
            harmless(held)
        } else if now_us > since + UNEXPLAINED_US {
            open_commands(held, scene.newest)
        } else {
            Vec::new()
        }
    }

    pub(super) fn try_out(
        &mut self,
        now_us: u64,
        stage: &Stage<'_>,
        event: trial::Report,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        for action in self.trials.step(now_us, event) {
            let then = match action {
                trial::Action::Start(life, case) => {
                    self.keep_until_us = now_us + KEEP_US;
                    stage.freeze_checkpoints(true);
                    actions.push(Action::StartTrial(life, case));
                    continue;
                }
                trial::Action::End(life) => {
                    actions.push(Action::EndTrial(life));
                    continue;
                }
                trial::Action::LiftBypassing(after, modules) => {
                    actions.push(Action::Then(Observation::Lift(after)));
                    let here = |module| Action::Then(Observation::BypassHere(module));
                    actions.extend(modules.iter().map(here));
                    continue;
                }
                trial::Action::Quarantine(seq) => Observation::LeaveOut(seq),
                trial::Action::Lift(after) => Observation::Lift(after),
                trial::Action::Replace(slot, incarnation, block) => {
                    Observation::Distrust(slot, incarnation, block)
                }
            };
            actions.push(Action::Then(then));
        }
        actions
    }
}

fn open_commands(after: Seq, last: Seq) -> Vec<Action> {
    trying(trial::Report::Open(Case::Commands {
        after,
        last,
        bypassing: Modules::default(),
    }))
}

/// Lifts commands that have killed nobody. Ends their trial first: it must not blame a command once it is lifted.
fn harmless(held: Seq) -> Vec<Action> {
    let mut actions = trying(trial::Report::Harmless);
    actions.push(Action::Then(Observation::Lift(held)));
    actions
}

pub(super) fn bypass_here(stage: &Stage<'_>, module: u16) -> Vec<Action> {
    let seats = Slot::ALL.map(|slot| stage.slot(slot));
    let furthest = seats.into_iter().max_by_key(SlotWords::frontier);
    let verdict =
        furthest.map(|seat| blame::bypass(stage, seat.frontier(), module, seat.applied()));
    match verdict {
        Some(Verdict::Bypass(bypass)) => vec![Action::Bypass(bypass)],
        _ => Vec::new(),
    }
}
