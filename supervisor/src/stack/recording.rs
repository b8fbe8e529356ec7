//! Recording: a request is written to the tape, from which the recorder reads it; the client gets its answer once the
//! recorder has acted. All state of recordings is on the tape, so that the next supervisor knows it too.

use std::time::{Duration, Instant, SystemTime};

use common::{
    message::{Answer, Outcome, Service},
    recording::{Wish, file_name, name_by_date},
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::Stack;

/// The time after which a client gets an answer before the recorder has acted: the recorder may wait for its next start,
/// while the tape continues.
const PATIENCE: Duration = Duration::from_secs(3);

/// A client that has requested a recording or its end.
pub enum Asker {
    /// By OSC, under this submission id.
    Gateway(u64),
    /// At the control socket.
    Person(oneshot::Sender<Answer>),
}

/// A client that waits for the recorder.
pub struct Asked {
    asker: Asker,
    take: u64,
    starts: bool,
    since: Instant,
}

impl Stack {
    /// Starts or ends a recording.
    pub(super) fn record(&mut self, wish: &Wish, asker: Asker) {
        let submission_id = match asker {
            Asker::Gateway(submission_id) => Some(submission_id),
            Asker::Person(_) => None,
        };
        if submission_id.is_some_and(|submission_id| submission_id <= self.tape.submission_id()) {
            // Submitted again by a gateway that has not received the outcome.
            return self.answer_asker(asker, Ok(()));
        }
        let starts = matches!(wish, Wish::Start(_));
        let done = match wish {
            Wish::Start(name) => self.start_recording(name.as_deref(), submission_id),
            Wish::Stop => self.end_recording(submission_id),
        };
        match done {
            Ok(take) => self.asked.push(Asked {
                asker,
                take,
                starts,
                since: Instant::now(),
            }),
            Err(why) => self.answer_asker(asker, Err(why)),
        }
    }

    fn start_recording(
        &self,
        name: Option<&str>,
        submission_id: Option<u64>,
    ) -> Result<u64, String> {
        if self.tape.recording() {
            let name = self.tape.order().unwrap_or_default().name;
            return Err(format!(
                "{name} is being recorded; /record/stop or `understudy record stop` ends the recording"
            ));
        }
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let by_date = name_by_date(now.as_secs());
        let (name, _) = file_name(name.unwrap_or(&by_date), self.format.channels)
            .map_err(|why| why.to_string())?;
        let path = self.paths.recordings().join(&name);
        if path.symlink_metadata().is_ok() {
            return Err(format!(
                "{} exists already (expected another name)",
                path.display()
            ));
        }
        self.tape.begin(&name, submission_id);
        Ok(self.tape.order().unwrap_or_default().take)
    }

    fn end_recording(&self, submission_id: Option<u64>) -> Result<u64, String> {
        let order = self.tape.order().unwrap_or_default();
        if !self.tape.recording() {
            return Err(
                "nothing is being recorded; /record/start [NAME] starts a recording".into(),
            );
        }
        if order.to.is_none() {
            self.tape.end(submission_id);
        }
        Ok(order.take)
    }

    /// Answers the clients whose requests the recorder has fulfilled or refused.
    pub(super) fn answer_recordings(&mut self) {
        let tape = self.tape;
        let over = |asked: &mut Asked| {
            let done = match asked.starts {
                true => tape.begun() >= asked.take,
                false => tape.ended() >= asked.take,
            };
            done || asked.since.elapsed() > PATIENCE
        };
        let done: Vec<Asked> = self.asked.extract_if(.., over).collect();
        for asked in done {
            let failed = asked.starts && tape.begun() == asked.take && tape.ended() == asked.take;
            let outcome = match tape.trouble().filter(|_| failed) {
                Some(why) => Err(why),
                None => Ok(()),
            };
            self.answer_asker(asked.asker, outcome);
        }
    }

    fn answer_asker(&mut self, asker: Asker, outcome: Result<(), String>) {
        match asker {
            Asker::Person(answer) => {
                let _ = answer.send(match outcome {
                    Ok(()) => Answer::Ok(self.show_recording()),
                    Err(why) => Answer::No(why),
                });
            }
            Asker::Gateway(submission_id) => {
                self.tallies.refused += u64::from(outcome.is_err());
                let outcome = outcome.map_or_else(Outcome::Refused, |()| {
                    Outcome::Accepted(self.music.log.seq())
                });
                let gateway = self.peers.processes.get(&Service::OscGateway);
                if let Some(pid) = gateway.map(|process| process.pid) {
                    self.tell_gateway(pid, vec![(submission_id, outcome)]);
                }
            }
        }
    }

    /// Whether the current recording is complete after the end of the music.
    pub(super) fn recording_is_complete(&self) -> bool {
        let open = self.tape.recording() && self.tape.order().is_some_and(|o| o.to.is_none());
        if open {
            self.tape.end(None);
        }
        !self.tape.recording()
    }

    /// The state of the current or last recording.
    pub(super) fn show_recording(&self) -> Value {
        let folder = self.paths.recordings();
        let Some(order) = self.tape.order() else {
            return json!({ "recording": false, "folder": folder.display().to_string() });
        };
        let begun = self.tape.begun() == order.take;
        let progress = self.tape.progress();
        let progress = if begun { progress } else { Default::default() };
        let seconds = progress.frames as f64 / f64::from(self.format.rate_hz);
        json!({
            "recording": self.tape.recording(), "folder": folder.display().to_string(),
            "file": folder.join(&order.name).display().to_string(),
            "from_frame": order.from * u64::from(self.format.block_frames),
            "frames": progress.frames, "seconds": (seconds * 1e3).round() / 1e3,
            "bytes": progress.bytes, "missing_frames": progress.missing,
            "trouble": self.tape.trouble().filter(|_| begun),
        })
    }

    /// The complaint about the current recording.
    pub(super) fn recording_complaint(&self) -> Option<String> {
        let begun = |take| self.tape.begun() == take;
        let order = self.tape.order().filter(|_| self.tape.recording())?;
        self.tape.trouble().filter(|_| begun(order.take))
    }
}
