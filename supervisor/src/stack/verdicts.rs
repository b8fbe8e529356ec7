//! Carries out the actions of the judge: starts and kills processes, logs and sends commands, writes log lines.

use std::time::Instant;

use common::{
    command_log::Found,
    message::{Ending, SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Service, ToGateway, exit},
    stage::{Phase, Preference},
    units::{Incarnation, Seq, Slot},
};
use failover::{
    blame::Bypass,
    blame::Death,
    judge::{Action, Cause, Observation, Scene},
    trial::{Case, End},
};
use platform::say;

use super::Stack;

/// The cause of a replacement, and the time of the injected fault, if any.
#[derive(Default)]
pub struct Failure {
    pub cause: String,
    pub since: Option<Instant>,
}

/// The end of a process in the terms of `blame`.
pub fn death(ending: Ending) -> Death {
    match ending {
        Ending::Signal(SIGKILL | SIGTERM | SIGSTOP | SIGCONT) => Death::Outside,
        Ending::Unseen => Death::Unseen,
        Ending::Exit(exit::OVERRULED) => Death::Overruled,
        Ending::Signal(_) | Ending::Exit(_) => Death::OwnMaking,
    }
}

impl Stack {
    /// Passes an event to the judge and carries out the resulting actions.
    pub(super) fn judge(&mut self, event: Observation) {
        let now_us = self.now_us();
        let Some(judge) = self.judge.as_mut() else {
            return;
        };
        let scene = Scene {
            stage: self.shared.stage,
            rings: &self.shared.rings,
            newest: self.music.log.seq(),
            stopped: &|slot| self.peers.stopped(Service::Worker(slot)),
        };
        let actions = judge.step(now_us, &scene, event);
        (self.tallies.divergences, self.tallies.differing_at) = judge.differed();
        for action in actions {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Then(event) => self.judge(event),
            Action::Kill(slot, incarnation) => {
                let text = format!("worker:{slot} (incarnation {incarnation}) is killed");
                say::line("supervisor", &text);
                let _ = self.peers.signal(Service::Worker(slot), SIGKILL);
            }
            Action::Spawn(slot, incarnation) => self.spawn(Service::Worker(slot), incarnation),
            Action::StartTrial(life, case) => self.start_trial(life, case),
            Action::EndTrial(life) => {
                if self.peers.incarnation(Service::Trial) == Some(life) {
                    let _ = self.peers.signal(Service::Trial, SIGKILL);
                }
            }
            Action::Bypass(bypass) => self.bypass(bypass),
            Action::Quarantine(seq) => self.quarantine(seq),
            Action::Wake => self.shared.wake_workers(),
            Action::Switched(from, now, cause) => self.switched(from, now, cause),
            Action::Failed(slot, incarnation, cause) => self.failed(slot, incarnation, cause),
            Action::Proven(slot) => {
                self.history.ready(slot);
                self.history.leave(&self.shared.stage);
            }
            Action::Held(block, after, last) => {
                let first = after.next();
                let text = format!(
                    "the worker died in block {block} with the new commands {first} to {last}, which are held for a trial"
                );
                say::line("supervisor", &text);
            }
        }
    }

    /// Handles a change of the preference, by the supervisor or audio-out.
    fn switched(&mut self, from: Slot, now: Preference, cause: Cause) {
        self.shared.wake_workers();
        let Preference { epoch, slot } = now;
        let (cause, since) = match cause {
            Cause::Death => (self.failure.cause.clone(), self.failure.since),
            cause if cause.is_failure() => (cause.to_string(), self.failure.since),
            cause => (cause.to_string(), None),
        };
        let text = format!("epoch {epoch}: worker:{slot} is preferred ({cause})");
        say::line("supervisor", &text);
        let block = self.shared.stage.cursor();
        self.history.switched(from, now, block, &cause, since);
        self.history.answered(from);
        self.history.leave(&self.shared.stage);
    }

    /// Handles the failure of a worker. The end of a process has been logged before.
    fn failed(&mut self, slot: Slot, incarnation: Incarnation, cause: Cause) {
        if cause != Cause::Death {
            let text = format!("worker:{slot} (incarnation {incarnation}) is replaced: {cause}");
            say::line("supervisor", &text);
            self.failure = Failure {
                cause: cause.to_string(),
                since: self.history.shown(Service::Worker(slot)),
            };
        }
        let Failure { cause, since } = &self.failure;
        self.history.failed(slot, cause, *since);
        self.history.answered(slot);
        self.history.leave(&self.shared.stage);
    }

    // ---- poison ----

    fn bypass(&mut self, bypass: Bypass) {
        let Bypass { block, module, .. } = bypass;
        let Ok((numbered, found)) = self.music.bypass(module, block) else {
            return;
        };
        let seq = self.music.log.seq();
        self.judge(Observation::Bypassed(bypass, seq));
        self.broadcast(&numbered);
        let name = self.music.module_name(module);
        let text = format!("module {name} is bypassed from block {block} on: a worker died in it");
        say::line("supervisor", &text);
        self.findings.add(&found);
    }

    /// Quarantines a command; for a patch, also the commands that were resolved against it.
    fn quarantine(&mut self, seq: Seq) {
        let Some(found) = self.music.find(seq) else {
            // Quarantine the command even if the log cannot be read.
            return self.judge(Observation::LeftOut(seq, seq));
        };
        let last = match found.is_patch {
            true => self.music.log.seq(),
            false => seq,
        };
        // The log first: a replay would apply a command that is quarantined only on the stage.
        let what = found.text;
        if let Err(why) = self.music.quarantine(seq, last, &what) {
            let text = format!("the command log cannot be written: {why}");
            say::line("supervisor", &text);
        }
        self.judge(Observation::LeftOut(seq, last));
        let text = format!("command {seq} ({what}) kills the worker that applies it: quarantined");
        say::line("supervisor", &text);
        if found.is_patch {
            self.announce_patch();
        }
        if let Some(gateway) = self.peers.gateway() {
            let why = format!("quarantined: {what} killed the worker that applied it");
            let _ = gateway.send(ToGateway::Quarantined(found.submission_id, why));
        }
        self.findings.add(&Found::LeftOut { seq, what });
    }

    // ---- trials ----

    fn start_trial(&mut self, life: Incarnation, case: Case) {
        let task = match case {
            Case::Commands {
                after, bypassing, ..
            } => {
                let modules: Vec<String> = bypassing.iter().map(|m| m.to_string()).collect();
                let last = self.music.log.seq();
                format!("commands:{after}:{last}:{}", modules.join(","))
            }
            Case::Differing { block, .. } => format!("referee:{block}"),
        };
        let text = format!("trial (incarnation {life}) is started: {task}");
        say::line("supervisor", &text);
        self.spawn_trial(life, task);
    }

    /// The trial has ended.
    pub(super) fn trial_gone(&mut self, incarnation: Incarnation, ending: Ending) {
        let seat = self.shared.stage.trial();
        let (own, breadcrumb) = (seat.incarnation() == incarnation, seat.breadcrumb());
        let end = match ending {
            Ending::Exit(0) => End::Passed(seat.verdict().filter(|_| own).map(|(_, sum)| sum)),
            // The trial itself has failed.
            Ending::Exit(1) => End::Outside,
            ending
                if death(ending) == Death::OwnMaking && own && breadcrumb.phase != Phase::Idle =>
            {
                End::Died(breadcrumb.command, breadcrumb.module)
            }
            _ => End::Outside,
        };
        let text = format!("trial (incarnation {incarnation}) has ended: {ending}, {end:?}");
        say::line("supervisor", &text);
        self.judge(Observation::TrialEnded(incarnation, end));
    }

    // ---- mutes ----

    pub(super) fn look_for_mutes(&mut self) {
        let stage = self.shared.stage;
        let muted = stage.slot(stage.preference().slot).muted();
        if muted != self.findings.muted {
            self.findings.muted = muted;
            let text = match muted {
                Some(module) => format!(
                    "the output is muted: the module {} outputs invalid samples (NaN, infinite or above +36 dB)",
                    self.music.module_name(module)
                ),
                None => "the output is no longer muted".into(),
            };
            say::line("supervisor", &text);
        }
    }

    /// The module whose output is currently muted.
    pub(super) fn muted(&self) -> Option<String> {
        Some(self.music.module_name(self.findings.muted?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_worker_does_itself_is_of_its_own_making() {
        for signal in [SIGKILL, SIGTERM, SIGSTOP, SIGCONT] {
            assert_eq!(death(Ending::Signal(signal)), Death::Outside);
        }
        for own in [
            Ending::Signal(6),
            Ending::Signal(11),
            Ending::Exit(0),
            Ending::Exit(127),
        ] {
            assert_eq!(death(own), Death::OwnMaking);
        }
        assert_eq!(death(Ending::Exit(exit::OVERRULED)), Death::Overruled);
        assert_eq!(death(Ending::Unseen), Death::Unseen);
    }
}
