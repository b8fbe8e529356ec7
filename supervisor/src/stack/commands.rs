//! Commands: numbered and written down, then broadcast to every worker; outcomes to the gateway.

use common::{
    command::Command,
    limits::{COMMANDS_PER_MESSAGE, TEXT_BYTES_PER_MESSAGE},
    message::{Introduction, Numbered, Outcome, Service, Submission, ToGateway, ToWorker},
    units::{Seq, Slot},
};
use failover::switch::Seat;

use super::Stack;
use crate::event::PeerLink;

/// A sync that waits: for every ready worker to have applied the commands up to `seq`, and for the disk
/// to hold the log up to `length`, so that what is acknowledged outlives the machine's power too.
pub struct Syncing {
    token: u64,
    seq: Seq,
    length: u64,
}

impl Stack {
    pub(super) fn submit(&mut self, who: &Introduction, submissions: Vec<(u64, Submission)>) {
        let mut outcomes = Vec::with_capacity(submissions.len());
        let (mut events, mut syncs) = (Vec::new(), Vec::new());
        for (token, submission) in submissions {
            match submission {
                // Handed in again by a gateway that did not live to hear the outcome, or that heard
                // of a supervisor's end before it heard the outcome.
                Submission::Event { .. } if token <= self.music.log.token() => {
                    outcomes.push((token, Outcome::Accepted(self.music.log.seq())));
                }
                Submission::Event { generation, event } if generation == self.music.generation => {
                    events.push((token, event));
                }
                Submission::Event { .. } => outcomes.push((token, Outcome::Stale)),
                Submission::Sync => {
                    let seq = Seq(self.music.log.seq().0 + events.len() as u64);
                    syncs.push((token, seq));
                }
                Submission::Status => {
                    outcomes.push((token, Outcome::Text(self.status().to_string())))
                }
            }
        }
        if !events.is_empty() {
            let tokens = events.iter().map(|(token, _)| *token);
            match self.music.accept(&events) {
                Ok(numbered) => {
                    let accepted = numbered.iter().map(|n| Outcome::Accepted(n.seq));
                    outcomes.extend(tokens.zip(accepted));
                    self.broadcast(&numbered);
                }
                Err(why) => {
                    self.refused += events.len() as u64;
                    let refused = format!("not accepted: {why}");
                    outcomes.extend(tokens.map(|t| (t, Outcome::Refused(refused.clone()))));
                }
            }
        }
        let length = self.music.log.length();
        let syncs = syncs
            .into_iter()
            .map(|(token, seq)| Syncing { token, seq, length });
        self.syncs.extend(syncs);
        outcomes.sort_by_key(|(token, _)| *token);
        if !outcomes.is_empty() {
            self.tell_gateway(who.pid, outcomes);
        }
    }

    /// Tokens are the gateway's own: one that has been replaced meanwhile must not be answered. One
    /// that does not take its answers loses its link: it links anew and hands in again what it has
    /// heard nothing of.
    fn tell_gateway(&mut self, pid: u32, outcomes: Vec<(u64, Outcome)>) {
        let Some(process) = self.peers.get(Service::OscGateway, pid) else {
            return;
        };
        let told = match &process.link {
            Some(PeerLink::Gateway(gateway)) => gateway.send(ToGateway::Outcomes(outcomes)),
            _ => return,
        };
        if told.is_err() {
            process.link = None;
        }
    }

    /// Tells the gateway which patch is in force.
    pub(super) fn announce_patch(&self) {
        if let Some(gateway) = self.peers.gateway() {
            for part in self.music.announcement() {
                let _ = gateway.send(part);
            }
        }
    }

    /// Sends commands to every worker, whatever its state.
    pub(super) fn broadcast(&mut self, numbered: &[Numbered]) {
        for slot in Slot::ALL {
            let Some(link) = self.peers.worker(slot) else {
                continue;
            };
            let sent = numbered.chunks(COMMANDS_PER_MESSAGE).try_for_each(|chunk| {
                // What is too long for a message is read from the log.
                let long = |n: &Numbered| {
                    matches!(&n.command, Command::Patch(json) if json.len() > TEXT_BYTES_PER_MESSAGE)
                };
                link.send(match chunk {
                    [.., last] if chunk.iter().any(long) => ToWorker::Newest(last.seq),
                    _ => ToWorker::Commands(chunk.to_vec()),
                })
            });
            // What does not reach it is in the log; a deaf worker is found by its silence.
            let _ = sent;
        }
    }

    pub(super) fn answer_syncs(&mut self) {
        let Some(supervision) = self.supervision.as_ref() else {
            return;
        };
        let ready = Slot::ALL
            .into_iter()
            .filter(|s| matches!(supervision.seat(*s), Seat::Ready { .. }));
        let Some(applied) = ready
            .map(|slot| self.shared.stage.slot(slot).applied())
            .min()
        else {
            return;
        };
        let log = &self.music.log;
        let done: Vec<_> = self
            .syncs
            .extract_if(.., |sync| sync.seq <= applied && log.on_disk(sync.length))
            .collect();
        let outcomes: Vec<_> = done
            .into_iter()
            .map(|sync| (sync.token, Outcome::Synced))
            .collect();
        let gateway = self.peers.processes.get(&Service::OscGateway);
        if let Some(pid) = gateway
            .map(|process| process.pid)
            .filter(|_| !outcomes.is_empty())
        {
            self.tell_gateway(pid, outcomes);
        }
    }
}
