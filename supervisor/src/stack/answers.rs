//! The requests at the control socket and their answers.

use std::time::{Duration, Instant};

use common::{
    message::{Answer, Fault, Request, SIGKILL, SIGSTOP, SIGTERM, Service, Target, ToAudio},
    stage::AudioState,
    units::Slot,
};
use failover::judge::{Judge, Observation};
use platform::harm;
use serde_json::json;
use tokio::sync::oneshot;

use super::{Stack, Waiting, recording::Asker, services};
use crate::{roster, status};

/// A fault waits for a service whose restart is due within this time.
const SOON: Duration = Duration::from_secs(1);

impl Stack {
    pub(super) fn asked(&mut self, request: Request, answer: oneshot::Sender<Answer>) {
        let answered = match request {
            Request::Status => Answer::Ok(self.status()),
            Request::Restart(target) => return self.restart(target, answer),
            Request::Inject(fault, target) => self.inject(fault, target),
            Request::PatchShow => {
                Answer::Ok(serde_json::from_str(&self.music.patch_json()).unwrap_or_default())
            }
            Request::PatchLoad(json) => self.load(&json, false),
            Request::PatchForce(json) => self.load(&json, true),
            Request::Modules => Answer::Ok(self.show_modules()),
            Request::Record(wish) => return self.record(&wish, Asker::Person(answer)),
            Request::RecordStatus => Answer::Ok(self.show_recording()),
            Request::Link(_) => Answer::No("links are offered by the control socket".into()),
        };
        let _ = answer.send(answered);
    }

    fn load(&mut self, json: &str, forced: bool) -> Answer {
        let stage = self.shared.stage;
        match self.music.load(json, &stage, forced) {
            Ok((numbered, note)) => {
                self.broadcast_patch(&numbered);
                let note = note.map(|note| format!("loaded; {note}"));
                Answer::Ok(note.unwrap_or_else(|| "loaded".into()).into())
            }
            Err(why) => Answer::No(format!("{why:#}")),
        }
    }

    fn resolve(&self, target: Target) -> Service {
        let leader = self.shared.stage.preference().slot;
        match target {
            Target::Service(service) => service,
            Target::Leader => Service::Worker(leader),
            Target::Follower => Service::Worker(leader.other()),
        }
    }

    /// Checks that the instance has a service.
    ///
    /// # Errors
    /// If the instance was started without the service; the text names the option.
    fn is_part(&self, service: Service) -> Result<(), String> {
        if service == Service::Supervisor || roster::services(&self.options).any(|s| s == service) {
            return Ok(());
        }
        let how = match service {
            Service::MidiIn => "; start the instance with --midi PORT",
            Service::LinkIn => "; start the instance with --link",
            _ => "",
        };
        Err(format!("{service} does not run in this instance{how}"))
    }

    fn restart(&mut self, target: Target, answer: oneshot::Sender<Answer>) {
        let service = self.resolve(target);
        if service == Service::Supervisor {
            let _ = answer.send(Answer::Ok("the launcher restarts the supervisor".into()));
            self.ended = true;
            return;
        }
        if let Err(why) = self.is_part(service) {
            let _ = answer.send(Answer::No(why));
            return;
        }
        let Some(process) = self.peers.processes.get(&service) else {
            // The service waits for its next start: start it now.
            match service {
                Service::Worker(slot) => self.judge(Observation::Restart(slot)),
                _ => self.start_now(service),
            }
            self.waiting.push(Waiting {
                service,
                old_pid: 0,
                answer,
            });
            return;
        };
        let old_pid = process.pid;
        match service {
            Service::Worker(slot) => {
                if !self.protected() {
                    let why = "a worker cannot be restarted while the other worker is not ready; see `understudy status`";
                    let _ = answer.send(Answer::No(why.into()));
                    return;
                }
                self.history.failed(slot, "restart", Some(Instant::now()));
                self.judge(Observation::Restart(slot));
                self.history.answered(slot);
                self.history.leave(&self.shared.stage);
            }
            Service::AudioOut => {
                if let Some(audio) = self.peers.audio() {
                    let _ = audio.send(ToAudio::Finish);
                }
            }
            _ => drop(self.peers.signal(service, SIGTERM)),
        }
        self.waiting.push(Waiting {
            service,
            old_pid,
            answer,
        });
    }

    pub(super) fn answer_restarts(&mut self) {
        let protected = self.protected();
        let (peers, waiting) = (&self.peers, &mut self.waiting);
        let back = |w: &mut Waiting| {
            let process = peers
                .processes
                .get(&w.service)
                .filter(|p| p.pid != w.old_pid);
            process.is_some_and(|p| p.up || (matches!(w.service, Service::Worker(_)) && protected))
        };
        for done in waiting.extract_if(.., back) {
            let _ = done.answer.send(Answer::Ok(
                format!("{} is ready again", done.service).into(),
            ));
        }
    }

    fn inject(&mut self, fault: Fault, target: Target) -> Answer {
        let service = self.resolve(target);
        let renders = matches!(service, Service::Worker(_));
        if let Err(why) = self.is_part(service) {
            return Answer::No(why);
        }
        let done = match (service, fault) {
            (Service::Supervisor, fault) => return self.inject_here(fault),
            (_, Fault::Nan | Fault::Flip) if !renders => Err(format!(
                "{service} renders no samples (nan and flip are only valid for workers)"
            )),
            _ if !self.peers.can_take(service, fault) => match self.next_try(service) {
                Some(pause) if pause > SOON => Err(format!(
                    "{service} is not running; the next start is in {:.1} s",
                    pause.as_secs_f64()
                )),
                // The service is starting: the fault waits.
                _ => {
                    self.faults.push((service, fault));
                    Ok(())
                }
            },
            (_, Fault::Signal(signal)) => {
                if signal == SIGKILL || signal == SIGTERM || signal == SIGSTOP {
                    self.history.inject(service);
                }
                self.peers
                    .signal(service, signal)
                    .map_err(|why| why.to_string())
            }
            (_, fault) => match self.peers.processes.get(&service) {
                Some(process) => process.inject(fault).map_err(|why| why.to_string()),
                None => Err(format!("{service} is not running")),
            },
        };
        match done {
            Ok(()) => Answer::Ok(service.to_string().into()),
            Err(why) => Answer::No(why),
        }
    }

    /// Injects the faults that wait for a service.
    pub(super) fn inject_waiting(&mut self, service: Service) {
        let peers = &self.peers;
        let due: Vec<Fault> = self
            .faults
            .extract_if(.., |(whom, fault)| {
                *whom == service && peers.can_take(service, *fault)
            })
            .map(|(_, fault)| fault)
            .collect();
        for fault in due {
            let _ = self.inject(fault, Target::Service(service));
        }
    }

    fn inject_here(&self, fault: Fault) -> Answer {
        harm::inflict(fault);
        match fault {
            Fault::Signal(signal) => {
                let own = platform::pidfd::open(std::process::id());
                match own.and_then(|own| platform::pidfd::signal(&own, signal)) {
                    Ok(()) => Answer::Ok("supervisor".into()),
                    Err(why) => Answer::No(why.to_string()),
                }
            }
            Fault::Hang => loop {
                std::hint::spin_loop();
            },
            _ => Answer::No(
                "the supervisor renders no samples and has no control channel of its own".into(),
            ),
        }
    }

    pub(super) fn status(&mut self) -> serde_json::Value {
        let stage = self.shared.stage;
        let Some(supervision) = self.judge.as_ref().map(Judge::supervision) else {
            return json!({ "instance": self.options.instance, "state": "starting" });
        };
        let preference = stage.preference();
        let alive = Slot::ALL
            .into_iter()
            .any(|slot| supervision.living(slot).is_some());
        let heard = alive
            && stage.playing()
            && services::still_for(&stage) < services::still_max(&stage)
            && self.peers.processes.contains_key(&Service::AudioOut)
            && stage.audio_state() != AudioState::Waiting;
        let state = match (supervision.protected(), heard) {
            (_, true) if self.overload.lasts() => "overloaded",
            (true, true) => "protected",
            (false, true) => "degraded",
            _ => "silent",
        };
        let failures = Slot::ALL.map(|slot| supervision.failures(slot));
        let realtime = stage.slot(preference.slot).notes() & 1 != 0;
        let services = status::services(&mut self.peers, supervision, &stage, &mut self.own_cpu);
        let complaints = self.complaints();
        let inbox = self.inbox.counters();
        // The first command is the initial patch.
        let before = self.options.first.number + 1;
        let accepted = self.music.log.seq().0.saturating_sub(before);
        let rejected = inbox.rejected + self.tallies.refused;
        let (quarantined, bypassed) = self.findings.show();
        let applied = stage
            .slot(preference.slot)
            .applied()
            .0
            .saturating_sub(before);
        let (limited_db, limited_samples, dc_removed) =
            status::removed(&stage.slot(preference.slot));
        json!({
            "instance": self.options.instance, "state": state, "osc": self.options.osc,
            "rate": self.format.rate_hz, "block": self.format.block_frames,
            "lead": stage.lead(), "lead_auto": self.ahead.is_auto(),
            "closest_deadline_ms": self.ahead.closest_ms(), "channels": self.format.channels,
            "realtime_priority": realtime,
            "epoch": preference.epoch.0, "leader": preference.slot.index(),
            "services": services,
            "audio": status::audio(&stage, &self.sink, self.cursor.gap_ms()),
            "dearest": self.dearest(),
            "limited_db": limited_db, "limited_samples": limited_samples, "dc_removed": dc_removed,
            "commands": {
                "received": accepted + rejected, "accepted": accepted, "rejected": rejected,
                "applied": applied, "late": self.tallies.late, "datagrams": inbox.received,
                "dropped_by_kernel": inbox.dropped,
            },
            "log": self.music.log.show(),
            "switches": self.history.show_switches(),
            "replacements": self.history.show_replacements(),
            "failures_in_a_row": failures,
            "recording": self.show_recording(),
            "midi": self.options.midi.as_ref().map(|_| status::midi(&self.paths)),
            "divergences": self.tallies.divergences, "complaints": complaints,
            "quarantined": quarantined, "bypassed": bypassed, "muted_by": self.muted(),
        })
    }
}
