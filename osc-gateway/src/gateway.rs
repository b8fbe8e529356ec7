//! The gateway without its sockets: datagrams and the supervisor's words in, replies and batches out.
//!
//! `receive` drives it; tests drive it by hand. Before the first patch is known datagrams wait in
//! the inbox; while the supervisor is away they are understood by the last patch, kept, and
//! understood again when the next one comes.

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

/// Seconds that a time tag may be ahead, at the most: more is a clock that is wrong.
const AHEAD_S_MAX: u64 = 3_600;
/// Bytes of a list reply's names, so that it fits one unfragmented packet.
const LIST_BYTES: usize = 1_000;

/// See the file's head.
#[derive(Debug, Default)]
pub struct Gateway {
    sessions: Sessions,
    namespace: Option<Namespace>,
    /// The supervisor at the other end has told its patch.
    current: bool,
    /// What time tags mean, the time by the clock on the wall, and frames a second.
    timing: Option<Timing>,
    now: u64,
    rate_hz: u32,
    outbox: Vec<Addressed>,
    rejected: u64,
    complaint: Option<String>,
}

impl Gateway {
    /// Whether it knows names, without which nothing can be understood.
    #[must_use]
    pub const fn ready(&self) -> bool {
        self.namespace.is_some()
    }

    /// Time tags mean this from now on, which is that time by the clock on the wall; `None` if nobody knows:
    /// then everything comes in at once.
    pub const fn keep_time(&mut self, timing: Option<Timing>, now: u64, rate_hz: u32) {
        (self.timing, self.now, self.rate_hz) = (timing, now, rate_hz);
    }

    /// The frame of a message's time tag, if it has one that waits.
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
                "its time tag is {ahead_s} s ahead; at most {AHEAD_S_MAX} s are right, by this machine's clock"
            ));
        }
        Ok(Some(frame))
    }

    /// The datagram of that ticket, higher than all before it, from that sender.
    pub fn datagram(&mut self, ticket: u64, sender: SocketAddr, bytes: &[u8]) {
        self.sessions.begin(ticket);
        let Some(namespace) = self.namespace.take() else {
            let why = "the engine is not up yet; send this again later";
            self.refuse_unread(sender, bytes, why.into());
            return;
        };
        self.take_in(sender, bytes, &namespace);
        self.namespace = Some(namespace);
    }

    /// Whether that datagram, the newest, waits for an outcome.
    #[must_use]
    pub fn waits(&self, ticket: u64) -> bool {
        self.sessions.waits(ticket)
    }

    /// Refuses a datagram for what its messages do not matter for.
    pub fn refuse_unread(&mut self, sender: SocketAddr, bytes: &[u8], why: String) {
        self.refuse(sender, address_of(bytes), why);
    }

    /// Messages of that sender were refused and counted before they came here, the last one with these
    /// first bytes.
    pub fn tell_flood(&mut self, sender: SocketAddr, bytes: &[u8], why: String) {
        self.complaint = Some(format!("refused from {sender}: {why}"));
        if !is_reply(&address_of(bytes)) {
            self.tell_refused(sender, bytes, why);
        }
    }

    /// What a datagram asked for was accepted, and is left out after all.
    pub fn tell_refused(&mut self, sender: SocketAddr, bytes: &[u8], why: String) {
        self.outbox.push(Addressed {
            to: sender,
            reply: Reply::Fail(address_of(bytes), why),
        });
    }

    /// The oldest ticket whose events have not all had their outcome.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        self.sessions.oldest()
    }

    /// The patch in force is this one now.
    pub fn patch(&mut self, namespace: Namespace) {
        self.current = true;
        let replies = self.sessions.patched(&namespace);
        self.rejected += self.sessions.take_unresolved();
        self.outbox.extend(replies);
        self.namespace = Some(namespace);
    }

    /// What became of submissions.
    pub fn outcomes(&mut self, outcomes: Vec<(u64, Outcome)>) {
        let Some(namespace) = &mut self.namespace else {
            return;
        };
        for (token, outcome) in outcomes {
            if let (Outcome::Accepted(_), Some((id, control))) =
                (&outcome, self.sessions.control(token))
            {
                namespace.follow(id, control);
            }
            self.outbox
                .extend(self.sessions.outcome(token, outcome, namespace));
        }
        self.rejected += self.sessions.take_unresolved();
    }

    /// The supervisor is gone, with all that it had not answered.
    pub fn link_broke(&mut self) {
        self.current = false;
        self.sessions.broken();
    }

    /// What to submit next; tell [`Self::submitted`] when it is on its way.
    #[must_use]
    pub fn batch(&self) -> Vec<(u64, Submission)> {
        match &self.namespace {
            Some(namespace) if self.current => self.sessions.batch(namespace.generation),
            _ => Vec::new(),
        }
    }

    /// The batch is on its way.
    pub fn submitted(&mut self, batch: &[(u64, Submission)]) {
        self.sessions.sent(batch);
    }

    /// Replies to send.
    pub fn replies(&mut self) -> Vec<Addressed> {
        std::mem::take(&mut self.outbox)
    }

    /// Datagrams and messages refused since this was last asked.
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

    /// Whether something could not be sent yet.
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
            return Err("this is a reply, not a request".into());
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
        let all = addresses::OF_MODULES.iter().chain(&addresses::FIXED);
        let rows = all.map(|(address, takes)| vec![(*address).into(), (*takes).into()]);
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

    /// A reply for each row, each with its number, from 1, and how many there are; 0 of 0 if there is none.
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

/// The same, at that frame if it is something that happens at one.
fn timed(mut submission: Submission, frame: Option<FrameIndex>) -> Submission {
    if let Submission::Preset(Preset::Morph { at, .. }) | Submission::Control { at, .. } =
        &mut submission
    {
        *at = frame;
    }
    submission
}

/// The address that a refusal of those bytes is told under.
fn address_of(bytes: &[u8]) -> String {
    decode::address_of(bytes).unwrap_or("/").to_owned()
}
