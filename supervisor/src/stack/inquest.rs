//! What did a worker die of, which of two is wrong? `failover::blame` and `failover::trial` asked,
//! and what they say done: commands withdrawn, modules bypassed, trials held.

use common::{
    command::{Command, Event},
    message::{Ending, SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Service, ToGateway, exit},
    ring::Proof,
    stage::{Decision, Phase, SlotWords},
    units::{BlockIndex, Incarnation, Seq, Slot},
};
use failover::{
    blame::{self, Death, Suspect},
    decide,
    trial::{self, Action, Case, End, Modules},
};
use platform::say;

use super::Stack;
use crate::workers::Watch;

/// Commands that are held and that nobody has explained for so long are tried, in microseconds.
const UNEXPLAINED_US: u64 = 1_000_000;
/// Checkpoints are kept for a trial for so long at the most, in microseconds: who catches up must
/// not have too far to go.
const KEEP_US: u64 = 200_000;

/// How a process ended, as blame sees it.
pub fn death(ending: Ending) -> Death {
    match ending {
        Ending::Signal(SIGKILL | SIGTERM | SIGSTOP | SIGCONT) => Death::Outside,
        Ending::Unseen => Death::Unseen,
        Ending::Exit(exit::OVERRULED) => Death::Overruled,
        Ending::Signal(_) | Ending::Exit(_) => Death::OwnMaking,
    }
}

impl Stack {
    /// A worker has died or hangs: before the survivor is preferred, what killed it is kept away
    /// from it.
    pub(super) fn blame(&mut self, slot: Slot, incarnation: Incarnation, death: Death) {
        let seat = self.shared.stage.slot(slot);
        if seat.incarnation() != incarnation {
            return;
        }
        let crumb = seat.crumb();
        match blame::suspect(death, crumb, seat.frontier(), seat.applied()) {
            // Nothing new but a bypass: another module does harm.
            Suspect::Commands { block, after, last }
                if (after.0 + 1..=last.0).all(|seq| self.findings.is_own(Seq(seq))) =>
            {
                self.bypass(block, crumb.module, after);
            }
            Suspect::Commands { block, after, last } => self.withdraw(block, after, last),
            Suspect::Module { block, module } => self.bypass(block, module, seat.applied()),
            Suspect::Nobody => {
                let stuck = self
                    .shared
                    .stage
                    .held()
                    .is_some_and(|held| crumb.command > held);
                if stuck && death != Death::OwnMaking {
                    self.harmless();
                }
            }
        }
    }

    /// What is held has killed nobody.
    fn harmless(&mut self) {
        if let Some(held) = self.shared.stage.held() {
            self.try_out(trial::Event::Harmless);
            self.lift(held);
        }
    }

    fn withdraw(&mut self, block: BlockIndex, after: Seq, last: Seq) {
        let stage = self.shared.stage;
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
            // The other one has done it without harm.
            Decision::Made { seq, sealed: true } if seq > after => return,
            _ => drop(stage.hold(after)),
        }
        say::line(
            "supervisor",
            &format!(
                "it died in block {block} with the new commands {} to {last}; they are held and tried",
                after.next()
            ),
        );
        self.try_out(trial::Event::Open(Case::Commands {
            after,
            last,
            bypassing: Modules::default(),
        }));
    }

    /// The last command that is in a block that is sealed: for good.
    fn in_history(&self) -> Seq {
        let applied = Slot::ALL.map(|slot| self.shared.stage.slot(slot).applied());
        applied.into_iter().max().unwrap_or_default()
    }

    fn bypass(&mut self, block: BlockIndex, module: u16, applied: Seq) {
        let stage = self.shared.stage;
        let decided = stage.decision(block, applied);
        if matches!(
            decided,
            Decision::Made { sealed: true, .. } | Decision::Gone
        ) {
            return; // the other one has rendered it
        }
        if stage.held().is_some() {
            return; // what is held must not come in with the bypass
        }
        let Ok(numbered) = self.music.accept_own(Command::Event(Event::Bypass(module))) else {
            return;
        };
        let bypass = self.music.log.seq();
        // Where nobody has decided yet, whoever does will have it in.
        if let Decision::Made { seq, .. } = decided {
            let _ = stage.revise(block, seq, bypass);
        }
        self.broadcast(&numbered);
        let name = self.music.module_name(module);
        let text = format!("module {name} is bypassed from block {block} on: a worker died in it");
        say::line("supervisor", &text);
        self.findings.bypass(bypass, &name, Some(block));
    }

    /// The replicas differ in a block: the referee is asked, unless one of them put out what is no
    /// sound at all.
    pub(super) fn referee(&mut self, follower: Slot, block: BlockIndex) {
        if self.trials.compares() {
            return;
        }
        let proofs = Slot::ALL.map(|slot| {
            let ring = self.shared.rings.get(slot.index())?;
            ring.proof(block).or_else(|| ring.published(block))
        });
        let [Some(zero), Some(one)] = proofs else {
            return; // too late to tell; the next block that differs will do
        };
        self.try_out(trial::Event::Open(Case::Differing {
            block,
            sums: [zero, one].map(|proof: Proof| proof.sum),
            workers: [zero, one].map(|proof: Proof| proof.incarnation),
            doubtful: follower,
        }));
    }

    /// Looks after what is held and tried.
    pub(super) fn look_after_trials(&mut self) {
        let (stage, now_us) = (self.shared.stage, self.now_us());
        if self.findings.keep_until_us > 0
            && (now_us >= self.findings.keep_until_us || self.trials.case().is_none())
        {
            self.findings.keep_until_us = 0;
            stage.keep_checkpoints(false);
        }
        let trial = stage.trial();
        if self.peers.incarnation(Service::Trial) == Some(trial.incarnation()) {
            self.try_out(trial::Event::At(trial.crumb().command));
        }
        self.try_out(trial::Event::Tick);
        self.look_for_mutes();
        let Some(held) = stage.held() else {
            self.findings.held_since_us = None;
            return;
        };
        let since = *self.findings.held_since_us.get_or_insert(now_us);
        if self.trials.tries_commands() {
            return;
        }
        let stuck_and_stopped = Slot::ALL.into_iter().any(|slot| {
            let seat = stage.slot(slot);
            seat.crumb().command > held
                && seat.frontier() == seat.crumb().block
                && self.peers.stopped(Service::Worker(slot))
        });
        if stuck_and_stopped {
            self.harmless();
        } else if now_us > since + UNEXPLAINED_US {
            let (after, last) = (held, self.music.log.seq());
            self.try_out(trial::Event::Open(Case::Commands {
                after,
                last,
                bypassing: Modules::default(),
            }));
        }
    }

    fn look_for_mutes(&mut self) {
        let stage = self.shared.stage;
        let muted = stage.slot(stage.preference().slot).muted();
        if muted != self.findings.muted {
            self.findings.muted = muted;
            let text = match muted {
                Some(module) => format!(
                    "the output is muted: module {} puts out what is no sound",
                    self.music.module_name(module)
                ),
                None => "the output is no longer muted".into(),
            };
            say::line("supervisor", &text);
        }
    }

    /// The module whose output is muted now.
    pub(super) fn muted(&self) -> Option<String> {
        Some(self.music.module_name(self.findings.muted?))
    }

    /// The trial has ended.
    pub(super) fn trial_gone(&mut self, incarnation: Incarnation, ending: Ending) {
        let seat = self.shared.stage.trial();
        let (own, crumb) = (seat.incarnation() == incarnation, seat.crumb());
        let end = match ending {
            Ending::Exit(0) => End::Passed(seat.verdict().filter(|_| own).map(|(_, sum)| sum)),
            // By its main function: it could not be done.
            Ending::Exit(1) => End::Outside,
            ending if death(ending) == Death::OwnMaking && own && crumb.phase != Phase::Idle => {
                End::Died(crumb.command, crumb.module)
            }
            _ => End::Outside,
        };
        say::line(
            "supervisor",
            &format!("trial (life {incarnation}) has ended: {ending}, {end:?}"),
        );
        self.try_out(trial::Event::Ended(incarnation, end));
    }

    pub(super) fn try_out(&mut self, event: trial::Event) {
        let now_us = self.now_us();
        for action in self.trials.step(now_us, event) {
            match action {
                Action::Start(life, case) => self.start_trial(life, case),
                Action::End(life) => {
                    if self.peers.incarnation(Service::Trial) == Some(life) {
                        let _ = self.peers.signal(Service::Trial, SIGKILL);
                    }
                }
                Action::Quarantine(seq) => self.quarantine(seq),
                Action::Lift(after) => self.lift(after),
                Action::LiftBypassing(after, modules) => self.lift_bypassing(after, modules),
                Action::Replace(slot, incarnation, block) => {
                    if self.watches[slot.index()].as_ref().map(Watch::incarnation)
                        == Some(incarnation)
                    {
                        // What it has published stays where it is, but the other ring goes first.
                        self.shared.stage.distrust(slot, incarnation, block);
                        // A single bit is nobody's making.
                        self.fail(
                            slot,
                            incarnation,
                            false,
                            "the referee found that it was wrong",
                        );
                    }
                }
            }
        }
    }

    fn start_trial(&mut self, life: Incarnation, case: Case) {
        self.findings.keep_until_us = self.now_us() + KEEP_US;
        self.shared.stage.keep_checkpoints(true);
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
        say::line(
            "supervisor",
            &format!("trial (life {life}) is started: {task}"),
        );
        self.spawn_trial(life, task);
    }

    /// What is held may come in, without the modules that kill, where the music stands.
    fn lift_bypassing(&mut self, after: Seq, modules: Modules) {
        let stage = self.shared.stage;
        self.lift(after);
        let seats = Slot::ALL.map(|slot| stage.slot(slot));
        if let Some(seat) = seats.into_iter().max_by_key(SlotWords::frontier) {
            for module in modules.iter() {
                self.bypass(seat.frontier(), module, seat.applied());
            }
        }
    }

    fn lift(&mut self, after: Seq) {
        if self.shared.stage.lift(after) {
            self.shared.wake_workers();
        }
    }

    /// Leaves a command out; if it was a patch, all that was meant for it too.
    fn quarantine(&mut self, seq: Seq) {
        if seq <= self.in_history() {
            return;
        }
        let Some(found) = self.music.find(seq) else {
            return;
        };
        let last = match found.is_patch {
            true => self.music.log.seq(),
            false => seq,
        };
        for seq in seq.0..=last.0 {
            self.shared.stage.quarantine(Seq(seq));
        }
        if let Err(why) = self.music.quarantine(seq, last) {
            say::line(
                "supervisor",
                &format!("the command log cannot be written: {why}"),
            );
        }
        let what = found.text;
        let text =
            format!("command {seq} ({what}) kills the worker that applies it; it is left out");
        say::line("supervisor", &text);
        if found.is_patch {
            self.announce_patch();
        }
        if let Some(gateway) = self.peers.gateway() {
            let why = format!("left out: {what} killed the worker that applied it");
            let _ = gateway.send(ToGateway::Quarantined(found.token, why));
        }
        self.findings.quarantine(seq, &what);
    }
}
