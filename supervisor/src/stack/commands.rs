//! Commands: numbered and logged, then broadcast to every worker; outcomes go to the gateway.

use common::{
    edit::Edit,
    limits::{COMMANDS_PER_MESSAGE, TEXT_BYTES_PER_MESSAGE},
    message::{Introduction, Numbered, Outcome, Service, Submission, ToGateway, ToWorker},
    units::{FrameIndex, Seq, Slot},
};
use failover::switch::Seat;

use super::{Stack, recording::Asker};
use crate::{
    event::PeerLink,
    music::{Timed, Weighed},
};

/// A waiting sync: it is answered once every ready worker has applied the commands up to `seq` and the log is synced
/// to the disk up to `length`, so that acknowledged commands survive a power cut.
pub struct Syncing {
    submission_id: u64,
    seq: Seq,
    length: u64,
}

/// The submissions in progress; those that can be accepted together wait in one of the two lists.
#[derive(Default)]
struct Batch {
    events: Vec<Timed>,
    edits: Vec<(u64, Edit)>,
    outcomes: Vec<(u64, Outcome)>,
}

/// Whether the submission is logged under its submission id.
const fn is_command(submission: &Submission) -> bool {
    use Submission::{Commit, Control, Draft, Edit, Event, Preset};
    matches!(
        submission,
        Event { .. } | Control { .. } | Edit(_) | Draft(_) | Commit { .. } | Preset(_)
    )
}

impl Stack {
    /// Takes the submissions of a gateway that knows the patch of that generation.
    pub(super) fn submit(
        &mut self,
        who: &Introduction,
        known_generation: u64,
        submissions: Vec<(u64, Submission)>,
    ) {
        let mut batch = Batch::default();
        let mut overtaken = self.overtaken == Some((who.pid, known_generation));
        for (submission_id, submission) in submissions {
            let known = submission_id <= self.music.log.submission_id();
            let is_command = is_command(&submission);
            match submission {
                // Submitted again, since the gateway or the supervisor ended before the outcome arrived.
                _ if is_command && known => {
                    let accepted = Outcome::Accepted(self.music.log.seq());
                    batch.outcomes.push((submission_id, accepted));
                }
                // Submissions after a stale one wait with it, until the gateway knows the new patch: otherwise they would
                // overtake it, and with a higher submission id in the log, it would appear as known when it returns.
                _ if is_command && overtaken => {
                    batch.outcomes.push((submission_id, Outcome::Stale));
                }
                Submission::Event {
                    generation,
                    event,
                    at,
                } => {
                    self.take_edits(&mut batch);
                    overtaken = generation != self.music.generation;
                    if overtaken {
                        self.overtaken = Some((who.pid, known_generation));
                    }
                    match overtaken {
                        false => batch.events.push(Timed {
                            submission_id,
                            event,
                            at,
                        }),
                        true => batch.outcomes.push((submission_id, Outcome::Stale)),
                    }
                }
                Submission::Control { id, control, at } => {
                    self.take_edits(&mut batch);
                    match self.music.control(&id, control) {
                        Ok(event) => batch.events.push(Timed {
                            submission_id,
                            event,
                            at,
                        }),
                        Err(why) => {
                            self.tallies.refused += 1;
                            batch.outcomes.push((submission_id, Outcome::Refused(why)));
                        }
                    }
                }
                Submission::Edit(edit) => {
                    self.take_events(&mut batch);
                    batch.edits.push((submission_id, edit));
                }
                Submission::Draft(drafted) => {
                    self.take_all(&mut batch);
                    let numbered = self.music.draft(submission_id, drafted);
                    self.taken(&mut batch, submission_id, numbered.map(|n| (n, None)));
                }
                Submission::Commit { forced } => {
                    self.take_all(&mut batch);
                    let stage = self.shared.stage;
                    let taken = self.music.commit(submission_id, &stage, forced);
                    self.taken(&mut batch, submission_id, taken);
                }
                Submission::Preset(preset) => {
                    self.take_all(&mut batch);
                    let numbered = self.music.preset(submission_id, preset);
                    self.taken(&mut batch, submission_id, numbered.map(|n| (n, None)));
                }
                Submission::Presets(module) => {
                    self.take_all(&mut batch);
                    let names = self.music.presets(module.as_deref());
                    let said =
                        names.map_or_else(|why| Outcome::Refused(why.to_string()), Outcome::Text);
                    batch.outcomes.push((submission_id, said));
                }
                Submission::Sync => {
                    self.take_all(&mut batch);
                    let (seq, length) = (self.music.log.seq(), self.music.log.length());
                    self.syncs.push(Syncing {
                        submission_id,
                        seq,
                        length,
                    });
                }
                Submission::Record(wish) => {
                    self.take_all(&mut batch);
                    self.record(&wish, Asker::Gateway(submission_id));
                }
                Submission::RecordStatus => {
                    let status = Outcome::Text(self.show_recording().to_string());
                    batch.outcomes.push((submission_id, status));
                }
                Submission::Status => {
                    let status = Outcome::Text(self.status().to_string());
                    batch.outcomes.push((submission_id, status));
                }
            }
        }
        self.take_all(&mut batch);
        let mut outcomes = batch.outcomes;
        outcomes.sort_by_key(|(submission_id, _)| *submission_id);
        if !outcomes.is_empty() {
            self.tell_gateway(who.pid, outcomes);
        }
    }

    fn take_all(&mut self, batch: &mut Batch) {
        self.take_events(batch);
        self.take_edits(batch);
    }

    fn take_events(&mut self, batch: &mut Batch) {
        let events = std::mem::take(&mut batch.events);
        if events.is_empty() {
            return;
        }
        let submission_ids = events.iter().map(|timed| timed.submission_id);
        match self.music.accept(&events) {
            Ok(numbered) => {
                let stage = &self.shared.stage;
                let frames = u64::from(self.format.block_frames);
                let coming_in = FrameIndex(stage.horizon().0.saturating_mul(frames));
                let late = |timed: &&Timed| timed.at.is_some_and(|at| at < coming_in);
                self.tallies.late += events.iter().filter(late).count() as u64;
                let accepted = numbered.iter().map(|n| Outcome::Accepted(n.seq));
                batch.outcomes.extend(submission_ids.zip(accepted));
                self.broadcast(&numbered);
            }
            Err(why) => {
                self.tallies.refused += events.len() as u64;
                let refused = Outcome::Refused(format!("not accepted: {why}"));
                batch
                    .outcomes
                    .extend(submission_ids.map(|t| (t, refused.clone())));
            }
        }
    }

    fn take_edits(&mut self, batch: &mut Batch) {
        let edits = std::mem::take(&mut batch.edits);
        if edits.is_empty() {
            return;
        }
        match self.music.edit(&edits) {
            Ok((numbered, outcomes)) => {
                let seq = self.music.log.seq();
                for (submission_id, outcome) in outcomes {
                    self.tallies.refused += u64::from(outcome.is_err());
                    let outcome =
                        outcome.map_or_else(Outcome::Refused, |()| Outcome::Accepted(seq));
                    batch.outcomes.push((submission_id, outcome));
                }
                self.broadcast_patch(&numbered);
            }
            Err(why) => {
                self.tallies.refused += edits.len() as u64;
                let refused = Outcome::Refused(format!("not accepted: {why:#}"));
                let submission_ids = edits.iter().map(|(submission_id, _)| *submission_id);
                batch
                    .outcomes
                    .extend(submission_ids.map(|t| (t, refused.clone())));
            }
        }
    }

    /// Sends the outcome of a submission in progress.
    fn taken(&mut self, batch: &mut Batch, submission_id: u64, taken: anyhow::Result<Weighed>) {
        let outcome = match taken {
            Ok((numbered, note)) => {
                self.broadcast_patch(&numbered);
                let seq = self.music.log.seq();
                note.map_or(Outcome::Accepted(seq), |note| Outcome::Noted(seq, note))
            }
            Err(why) => {
                self.tallies.refused += 1;
                Outcome::Refused(format!("{why:#}"))
            }
        };
        batch.outcomes.push((submission_id, outcome));
    }

    /// Sends commands to every worker, and a patch among them to the gateway.
    pub(super) fn broadcast_patch(&mut self, numbered: &[Numbered]) {
        self.broadcast(numbered);
        if numbered.iter().any(|n| n.command.patch().is_some()) {
            self.announce_patch();
        }
    }

    /// Sends outcomes to the gateway with process id `pid` only, since submission ids belong to one gateway. A gateway that does
    /// not read its answers loses its link; it links again and submits everything without an outcome again.
    pub(super) fn tell_gateway(&mut self, pid: u32, outcomes: Vec<(u64, Outcome)>) {
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

    /// Sends the patch in force to the gateway.
    pub(super) fn announce_patch(&self) {
        if let Some(gateway) = self.peers.gateway() {
            for part in self.music.announcement() {
                let _ = gateway.send(part);
            }
        }
    }

    /// Sends commands to every worker, in any state.
    pub(super) fn broadcast(&mut self, numbered: &[Numbered]) {
        for slot in Slot::ALL {
            let Some(link) = self.peers.worker(slot) else {
                continue;
            };
            let sent = numbered.chunks(COMMANDS_PER_MESSAGE).try_for_each(|chunk| {
                // The worker reads long commands from the log.
                let long = |n: &Numbered| {
                    (n.command.patch()).is_some_and(|json| json.len() > TEXT_BYTES_PER_MESSAGE)
                };
                link.send(match chunk {
                    [.., last] if chunk.iter().any(long) => ToWorker::Newest(last.seq),
                    _ => ToWorker::Commands(chunk.to_vec()),
                })
            });
            // The worker reads lost messages in the log; a worker that does not read is detected by its silence.
            let _ = sent;
        }
    }

    pub(super) fn answer_syncs(&mut self) {
        let Some(supervision) = self.supervision() else {
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
            .map(|sync| (sync.submission_id, Outcome::Synced))
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
