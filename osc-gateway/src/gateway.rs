//! The gateway without its sockets: datagrams and messages of the supervisor in, replies and batches out.
//!
//! `receive` drives this state; tests drive it directly. Datagrams wait in the inbox until the first patch is known.
//! While the supervisor is away, they are resolved against the last patch, held, and resolved again against the
//! next one.

use std::net::SocketAddr;

use common::{
    message::{Outcome, Submission},
    preset::Preset,
    time_tag::Timing,
    units::FrameIndex,
};
use rosc::OscType;

use crate::{
    decode::{self, Message},
    namespace::{Action, Budget, Namespace, addresses},
    reply::{Addressed, Reply, is_reply},
    sessions::{Sessions, Work},
};

/// The limit of a time tag, in seconds from now: a larger distance means a wrong clock.
const AHEAD_S_MAX: u64 = 3_600;
/// Bytes of the names in a list reply, so that the reply fits one unfragmented packet.
const LIST_BYTES: usize = 1_000;

/// See the file's head.
#[derive(Debug, Default)]
pub struct Gateway {
    sessions: Sessions,
    namespace: Option<Namespace>,
    /// The connected supervisor has sent its patch.
    current: bool,
    /// The mapping from time tags to frames, the current wall-clock time, and the sample rate.
    timing: Option<Timing>,
    now: u64,
    rate_hz: u32,
    outbox: Vec<Addressed>,
    rejected: u64,
    complaint: Option<String>,
}

impl Gateway {
    /// Whether a patch is known; without its names no message can be resolved.
    #[must_use]
    pub const fn ready(&self) -> bool {
        self.namespace.is_some()
    }

    /// Sets the mapping from time tags to frames, with the current wall-clock time. Without a mapping (`None`) all
    /// messages take effect at once.
    pub const fn keep_time(&mut self, timing: Option<Timing>, now: u64, rate_hz: u32) {
        (self.timing, self.now, self.rate_hz) = (timing, now, rate_hz);
    }

    /// The frame of a message's time tag; `None` for a message that takes effect at once.
    fn frame(&self, message: &Message) -> Result<Option<FrameIndex>, String> {
        let (tag, timing) = match (message.time, self.timing) {
            // 1 is "immediately".
            (None | Some(0 | 1), _) | (_, None) => return Ok(None),
            (Some(tag), Some(timing)) => (tag, timing),
        };
        let (frame, now) = (timing.frame(tag), timing.frame(self.now));
        let ahead_s = frame.0.saturating_sub(now.0) / u64::from(self.rate_hz.max(1));
        if ahead_s > AHEAD_S_MAX {
            return Err(format!(
                "the time tag is {ahead_s} s ahead of this machine's clock (expected at most {AHEAD_S_MAX} s)"
            ));
        }
        Ok(Some(frame))
    }

    /// Takes a datagram with its ticket, which must be higher than all earlier ones.
    pub fn datagram(&mut self, ticket: u64, sender: SocketAddr, bytes: &[u8]) {
        self.sessions.begin(ticket);
        let Some(namespace) = self.namespace.take() else {
            let why = "the stack is not ready yet; send the message again later";
            self.refuse_unread(sender, bytes, why.into());
            return;
        };
        self.take_in(sender, bytes, &namespace);
        self.namespace = Some(namespace);
    }

    /// Whether the newest datagram, of the given ticket, waits for an outcome.
    #[must_use]
    pub fn waits(&self, ticket: u64) -> bool {
        self.sessions.waits(ticket)
    }

    /// Refuses a datagram for a reason that does not depend on its messages.
    pub fn refuse_unread(&mut self, sender: SocketAddr, bytes: &[u8], why: String) {
        self.refuse(sender, address_of(bytes), why);
    }

    /// Reports messages that `drain` has refused and counted; `bytes` are the first bytes of the last one.
    pub fn tell_flood(&mut self, sender: SocketAddr, bytes: &[u8], why: String) {
        self.complaint = Some(format!("refused from {sender}: {why}"));
        if !is_reply(&address_of(bytes)) {
            self.tell_refused(sender, bytes, why);
        }
    }

    /// Reports that a command was accepted and then quarantined.
    pub fn tell_refused(&mut self, sender: SocketAddr, bytes: &[u8], why: String) {
        self.outbox.push(Addressed {
            to: sender,
            reply: Reply::Fail(address_of(bytes), why),
        });
    }

    /// The oldest ticket with an event that has no outcome yet.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        self.sessions.oldest()
    }

    /// Sets the patch in force.
    pub fn patch(&mut self, namespace: Namespace) {
        self.current = true;
        let replies = self.sessions.patched(&namespace);
        self.rejected += self.sessions.take_unresolved();
        self.outbox.extend(replies);
        self.namespace = Some(namespace);
    }

    /// Takes the outcomes of submissions.
    pub fn outcomes(&mut self, outcomes: Vec<(u64, Outcome)>) {
        let Some(namespace) = &mut self.namespace else {
            return;
        };
        for (submission_id, outcome) in outcomes {
            if let (Outcome::Accepted(_), Some((id, control))) =
                (&outcome, self.sessions.control(submission_id))
            {
                namespace.follow(id, control);
            }
            self.outbox
                .extend(self.sessions.outcome(submission_id, outcome, namespace));
        }
        self.rejected += self.sessions.take_unresolved();
    }

    /// The link to the supervisor has broken; unanswered submissions will be sent again.
    pub fn link_broke(&mut self) {
        self.current = false;
        self.sessions.broken();
    }

    /// The generation of the patch in force, as far as it is known.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.namespace.as_ref().map_or(0, |names| names.generation)
    }

    /// The next batch to submit; call [`Self::submitted`] once it is sent.
    #[must_use]
    pub fn batch(&self) -> Vec<(u64, Submission)> {
        match self.current {
            true => self.sessions.batch(self.generation()),
            false => Vec::new(),
        }
    }

    /// Marks a batch as sent.
    pub fn submitted(&mut self, batch: &[(u64, Submission)]) {
        self.sessions.sent(batch, self.generation());
    }

    /// Replies to send.
    pub fn replies(&mut self) -> Vec<Addressed> {
        std::mem::take(&mut self.outbox)
    }

    /// The number of datagrams and messages refused since the last call.
    pub fn take_rejected(&mut self) -> u64 {
        std::mem::take(&mut self.rejected)
    }

    /// The last refusal, for the log.
    pub fn complaint(&mut self) -> Option<String> {
        self.complaint.take()
    }

    /// Submissions without an outcome.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.sessions.len()
    }

    /// Whether submissions wait to be sent.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.sessions.has_unsent()
    }

    fn take_in(&mut self, sender: SocketAddr, bytes: &[u8], namespace: &Namespace) {
        let messages = match decode::datagram(bytes) {
            Ok(messages) => messages,
            Err(why) => {
                self.refuse_unread(sender, bytes, why.to_string());
                return;
            }
        };
        let mut budget = Budget::DATAGRAM;
        for message in messages {
            if let Err(why) = self.message(sender, &message, namespace, &mut budget) {
                self.refuse(sender, message.address, why);
            }
        }
    }

    fn message(
        &mut self,
        sender: SocketAddr,
        message: &Message,
        namespace: &Namespace,
        budget: &mut Budget,
    ) -> Result<(), String> {
        if is_reply(&message.address) {
            return Err("the address is that of a reply (expected a request)".into());
        }
        let mut listening = self.sessions.heard(sender);
        let actions = namespace.understand(message, budget)?;
        let at = self.frame(message)?;
        let generation = namespace.generation;
        let mut events = Vec::new();
        let mut alone = Vec::new();
        for action in actions {
            match action {
                Action::Event(resolved) => events.push(Work::Event(resolved, at)),
                Action::Edit(edit, note) => events.push(Work::Edit(timed(edit, at), note)),
                Action::Sync(number) => alone.push(Work::Sync(number)),
                Action::Status => alone.push(Work::Status),
                Action::RecordStatus => alone.push(Work::RecordStatus),
                Action::Presets(module) => alone.push(Work::Presets(module)),
                Action::Notify(wanted) => {
                    self.sessions.notify(sender, wanted);
                    listening = true;
                    self.done(sender, message, listening);
                }
                Action::Schema => {
                    self.schema(sender, namespace);
                    self.done(sender, message, listening);
                }
                Action::List => {
                    self.list(sender, namespace);
                    self.done(sender, message, listening);
                }
                Action::Sequences => {
                    self.rows(sender, "/seq/list.reply", namespace.sequence_rows());
                    self.done(sender, message, listening);
                }
                Action::Patterns => {
                    self.rows(sender, "/pattern/list.reply", namespace.pattern_rows());
                    self.done(sender, message, listening);
                }
            }
        }
        self.sessions
            .admit(sender, &message.address, generation, events)?;
        for work in alone {
            self.sessions
                .admit(sender, &message.address, generation, vec![work])?;
        }
        Ok(())
    }

    fn done(&mut self, to: SocketAddr, message: &Message, wanted: bool) {
        if wanted {
            let reply = Reply::Done(message.address.clone(), None);
            self.outbox.push(Addressed { to, reply });
        }
    }

    fn refuse(&mut self, to: SocketAddr, address: String, why: String) {
        self.rejected += 1;
        self.complaint = Some(format!("refused from {to}: {address}: {why}"));
        if !is_reply(&address) {
            self.outbox.push(Addressed {
                to,
                reply: Reply::Fail(address, why),
            });
        }
    }

    fn schema(&mut self, to: SocketAddr, namespace: &Namespace) {
        let rows = addresses::all()
            .map(|entry| vec![entry.address.into(), entry.takes.into(), entry.does.into()]);
        self.rows(to, "/engine/address.reply", rows.collect());
        for module in namespace.modules() {
            for param in module.params.iter() {
                let reply = Reply::Schema {
                    module: module.id.clone(),
                    kind: module.kind.clone(),
                    param: param.name.clone(),
                    min: param.min,
                    max: param.max,
                    unit: param.unit.clone(),
                    default: param.default,
                };
                self.outbox.push(Addressed { to, reply });
            }
        }
    }

    /// Queues a reply for each row, with its number from 1 and the total; one reply with 0 of 0 for an empty list.
    fn rows(&mut self, to: SocketAddr, address: &'static str, mut rows: Vec<Vec<OscType>>) {
        let count = rows.len() as i32;
        if rows.is_empty() {
            rows.push(Vec::new());
        }
        for (row, number) in rows.into_iter().zip(count.min(1)..) {
            let mut args = vec![number.into(), count.into()];
            args.extend(row);
            let reply = Reply::Row(address, args);
            self.outbox.push(Addressed { to, reply });
        }
    }

    fn list(&mut self, to: SocketAddr, namespace: &Namespace) {
        let mut page = Vec::new();
        let mut bytes = 0;
        for module in namespace.modules() {
            page.push((module.id.clone(), module.kind.clone()));
            bytes += module.id.len() + module.kind.len() + 10;
            if bytes >= LIST_BYTES {
                let reply = Reply::List(std::mem::take(&mut page));
                self.outbox.push(Addressed { to, reply });
                bytes = 0;
            }
        }
        if !page.is_empty() || namespace.modules().is_empty() {
            self.outbox.push(Addressed {
                to,
                reply: Reply::List(page),
            });
        }
    }
}

/// The submission at the given frame, if submissions of its kind have a frame.
fn timed(mut submission: Submission, frame: Option<FrameIndex>) -> Submission {
    if let Submission::Preset(Preset::Morph { at, .. }) | Submission::Control { at, .. } =
        &mut submission
    {
        *at = frame;
    }
    submission
}

/// The address under which a refusal of the bytes is reported.
fn address_of(bytes: &[u8]) -> String {
    decode::address_of(bytes).unwrap_or("/").to_owned()
}
