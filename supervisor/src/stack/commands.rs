//! Commands: numbered and written down, then broadcast to every worker; outcomes to the gateway.

use common::{
    limits::COMMANDS_PER_MESSAGE,
    message::{Introduction, Numbered, Outcome, Submission, ToGateway, ToWorker},
    units::{Seq, Slot},
};
use failover::switch::Seat;

use super::Stack;

impl Stack {
    pub(super) fn submit(&mut self, who: &Introduction, submissions: Vec<(u64, Submission)>) {
        let mut outcomes = Vec::with_capacity(submissions.len());
        let mut events = Vec::new();
        let mut tokens = Vec::new();
        for (token, submission) in submissions {
            match submission {
                Submission::Event { generation, event } if generation == self.music.generation => {
                    events.push(event);
                    tokens.push(token);
                }
                Submission::Event { .. } => outcomes.push((token, Outcome::Stale)),
                Submission::Sync => {
                    let seq = Seq(self.music.log.seq().0 + events.len() as u64);
                    self.syncs.push((token, seq));
                }
                Submission::Status => {
                    outcomes.push((token, Outcome::Text(self.status().to_string())))
                }
            }
        }
        if !events.is_empty() {
            match self.music.accept(&events) {
                Ok(numbered) => {
                    self.counts.accepted += numbered.len() as u64;
                    outcomes.extend(
                        tokens
                            .iter()
                            .zip(&numbered)
                            .map(|(t, n)| (*t, Outcome::Accepted(n.seq))),
                    );
                    self.broadcast(&numbered);
                }
                Err(why) => {
                    self.counts.rejected += tokens.len() as u64;
                    outcomes.extend(
                        tokens
                            .iter()
                            .map(|t| (*t, Outcome::Refused(format!("not accepted: {why}")))),
                    );
                }
            }
        }
        outcomes.sort_by_key(|(token, _)| *token);
        // Tokens are the gateway's own: one that has been replaced meanwhile must not be answered.
        if !outcomes.is_empty()
            && self.peers.get(who.service, who.pid).is_some()
            && let Some(gateway) = self.peers.gateway()
        {
            let _ = gateway.send(ToGateway::Outcomes(outcomes));
        }
    }

    /// Sends commands to every worker, whatever its state.
    pub(super) fn broadcast(&mut self, numbered: &[Numbered]) {
        for slot in Slot::ALL {
            let Some(link) = self.peers.worker(slot) else {
                continue;
            };
            let sent = numbered
                .chunks(COMMANDS_PER_MESSAGE)
                .try_for_each(|chunk| link.send(ToWorker::Commands(chunk.to_vec())));
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
        let done: Vec<_> = self
            .syncs
            .extract_if(.., |(_, seq)| *seq <= applied)
            .collect();
        let outcomes: Vec<_> = done
            .into_iter()
            .map(|(token, _)| (token, Outcome::Synced))
            .collect();
        if !outcomes.is_empty()
            && let Some(gateway) = self.peers.gateway()
        {
            let _ = gateway.send(ToGateway::Outcomes(outcomes));
        }
    }
}
