//! The packets of the launcher, and the reconciliation with another launcher, whose list of processes may differ from
//! the supervisor's.

use common::{
    message::{Child, Ending, FromLauncher, SIGKILL, Service, ToLauncher},
    units::Incarnation,
};
use failover::{
    judge::{Cause, Found, Judge, Observation},
    switch::{Fact, Seat},
};
use platform::{living, say};

use super::{Stack, services::Care};
use crate::roster;

/// The number of unanswered requests after which a launcher counts as hanging; one is sent every 250 ms. A count, not a
/// time: a supervisor that was stopped has sent none. A low number, since meanwhile no process is restarted; killing a
/// slow launcher costs no more than starting another.
const UNANSWERED: u32 = 4;

/// A process to be started.
pub struct Wanted {
    pub service: Service,
    pub incarnation: Incarnation,
    pub args: Vec<String>,
}

/// The state of the launcher.
#[derive(Default)]
pub struct Parent {
    /// The unanswered requests since the last answer.
    silent: u32,
    /// The processes that were requested and are not started yet.
    asked: Vec<Wanted>,
    /// The requests to the earlier launcher with an unknown result.
    unanswered: Vec<Wanted>,
    /// Why there is no launcher.
    missing: Option<String>,
}

impl Stack {
    pub(super) fn tell_launcher(&self, what: &ToLauncher) {
        if let Err(why) = self.launcher.say(what)
            && !matches!(what, ToLauncher::Alive)
        {
            say::line(
                "supervisor",
                &format!("the launcher cannot be reached: {why}"),
            );
        }
    }

    /// Sends a sign of life to the launcher and requests one.
    pub(super) fn ask_launcher(&mut self) {
        self.tell_launcher(&ToLauncher::Alive);
        self.parent.silent += 1;
        if self.parent.silent > UNANSWERED {
            self.parent.silent = 0;
            say::line("supervisor", "the launcher hangs and is killed");
            living::end_launcher(&self.paths);
        }
    }

    /// Records the loss of the launcher: no process can be started.
    pub(super) fn launcher_gone(&mut self, why: String) {
        say::line("supervisor", &format!("{why}; another launcher is started"));
        self.parent.missing = Some(why);
    }

    /// Handles a new launcher, which does not know the requests to the earlier one.
    pub(super) fn launcher_came(&mut self) {
        let mut unanswered = std::mem::take(&mut self.parent.unanswered);
        unanswered.append(&mut self.parent.asked);
        self.parent.unanswered = unanswered;
        self.parent.silent = 0;
        self.tell_launcher(&ToLauncher::List);
    }

    /// The complaint about a missing launcher.
    pub(super) fn launcher_complaint(&self) -> Option<String> {
        let why = self.parent.missing.as_ref()?;
        Some(format!(
            "{why}: the music continues, but no process can be restarted before another launcher runs"
        ))
    }

    pub(super) fn hear_launcher(&mut self, news: FromLauncher) {
        match news {
            FromLauncher::Alive => self.parent.silent = 0,
            FromLauncher::Children(children) if self.judge.is_none() => {
                self.begin_supervision(&children);
            }
            FromLauncher::Children(children) => {
                self.parent.missing = None;
                self.compare(&children);
            }
            FromLauncher::Spawned(child) => self.spawned(child),
            FromLauncher::SpawnFailed(service, incarnation, why) => {
                self.parent.answered(service, incarnation);
                say::line("supervisor", &format!("{service} cannot be started: {why}"));
                self.gone(service, incarnation, 0, Ending::Exit(127));
            }
            FromLauncher::Died(child, ending) => {
                self.gone(child.service, child.incarnation, child.pid, ending);
            }
            FromLauncher::Stop => self.finish(),
        }
    }

    fn begin_supervision(&mut self, children: &[Child]) {
        let mut found = Found {
            own: self.findings.own.clone(),
            left_out: std::mem::take(&mut self.findings.left_out),
            differed: (self.tallies.divergences, self.tallies.differing_at),
            before: Incarnation(self.options.first.number),
            ..Found::default()
        };
        for child in children
            .iter()
            .filter(|child| child.service != Service::Supervisor)
        {
            self.add_process(*child);
            if child.service == Service::Trial {
                // A trial of an earlier supervisor; it is repeated.
                let _ = self.peers.signal(Service::Trial, SIGKILL);
                found.trial = Some(child.incarnation);
            } else if let Service::Worker(slot) = child.service {
                found.living[slot.index()] = Some(child.incarnation);
            } else if let Some(process) = self.peers.get(child.service, child.pid) {
                process.up = self.adopted;
            }
        }
        let now_us = self.now_us();
        self.judge = Some(Judge::adopt(now_us, &self.shared.stage, found));
        self.judge(Observation::Switch(Fact::Tick, Cause::Start));
        for service in roster::without_workers(&self.options) {
            // An earlier supervisor may have handled the death of this process.
            if !self.is_coming(service) {
                self.spawn(service, Incarnation::default());
            }
        }
        for (request, answer) in std::mem::take(&mut self.early) {
            self.asked(request, answer);
        }
    }

    fn add_process(&mut self, child: Child) {
        self.peers.add(child);
        self.shared.stage.count_start(child.service, child.pid);
    }

    /// Whether a process of the service runs, is requested, or will be.
    pub(super) fn is_coming(&self, service: Service) -> bool {
        let Parent {
            asked, unanswered, ..
        } = &self.parent;
        self.peers.processes.contains_key(&service)
            || asked.iter().chain(unanswered).any(|w| w.service == service)
            || self.care.get(&service).is_some_and(Care::is_due)
    }

    /// Requests the start of a process.
    pub(super) fn ask_for(&mut self, wanted: Wanted) {
        self.tell_launcher(&ToLauncher::Spawn {
            service: wanted.service,
            incarnation: wanted.incarnation,
            args: wanted.args.clone(),
        });
        self.parent.asked.push(wanted);
    }

    /// Handles the start of a process.
    fn spawned(&mut self, child: Child) {
        if self.parent.answered(child.service, child.incarnation) {
            self.add_process(child);
            self.inject_waiting(child.service);
            self.end_if_condemned(child);
        }
    }

    /// Kills a worker that was condemned before it started.
    fn end_if_condemned(&self, child: Child) {
        let Service::Worker(slot) = child.service else {
            return;
        };
        let seat = self.supervision().map(|s| s.seat(slot));
        if matches!(seat, Some(Seat::Dying { incarnation, .. }) if incarnation == child.incarnation)
        {
            let _ = self.peers.signal(child.service, SIGKILL);
        }
    }

    /// Reconciles the known processes with those that another launcher has found.
    fn compare(&mut self, found: &[Child]) {
        let is_found = |pid: u32| found.iter().any(|child| child.pid == pid);
        let processes = self.peers.processes.iter();
        let missing: Vec<Child> = processes
            .filter(|(_, process)| !is_found(process.pid))
            .map(|(service, process)| Child {
                service: *service,
                incarnation: process.incarnation,
                pid: process.pid,
            })
            .collect();
        let unanswered = std::mem::take(&mut self.parent.unanswered);
        for child in missing {
            self.gone(child.service, child.incarnation, child.pid, Ending::Unseen);
        }
        for wanted in unanswered {
            let is_wanted = |child: &&Child| {
                (child.service, child.incarnation) == (wanted.service, wanted.incarnation)
            };
            match found.iter().find(is_wanted) {
                Some(child) => {
                    self.parent.asked.push(wanted);
                    self.spawned(*child);
                }
                None => self.ask_for(wanted),
            }
        }
    }
}

impl Parent {
    /// Whether the process was requested; removes the request.
    fn answered(&mut self, service: Service, incarnation: Incarnation) -> bool {
        let asked = [&mut self.asked, &mut self.unanswered];
        asked.into_iter().any(|list| {
            let is_it = |w: &Wanted| (w.service, w.incarnation) == (service, incarnation);
            let place = list.iter().position(is_it);
            place.map(|place| list.remove(place)).is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(service: Service, life: u64) -> Wanted {
        Wanted {
            service,
            incarnation: Incarnation(life),
            args: Vec::new(),
        }
    }

    #[test]
    fn a_process_is_taken_once_and_only_if_that_life_of_it_was_asked_for() {
        let mut parent = Parent::default();
        parent.asked.push(wanted(Service::Trial, 4));
        assert!(!parent.answered(Service::Trial, Incarnation(3)));
        assert!(!parent.answered(Service::Recorder, Incarnation(4)));
        assert!(parent.answered(Service::Trial, Incarnation(4)));
        assert!(!parent.answered(Service::Trial, Incarnation(4)));
    }

    #[test]
    fn what_the_launcher_before_was_asked_for_may_still_be_answered() {
        let mut parent = Parent::default();
        parent.unanswered.push(wanted(Service::AudioOut, 0));
        parent.asked.push(wanted(Service::AudioOut, 0));
        assert!(parent.answered(Service::AudioOut, Incarnation(0)));
        assert_eq!((parent.asked.len(), parent.unanswered.len()), (0, 1));
        assert!(parent.answered(Service::AudioOut, Incarnation(0)));
    }
}
