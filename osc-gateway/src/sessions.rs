//! The submissions without an outcome, and the senders that want a reply.
//!
//! Submission ids grow in the order of arrival. A submission id consists of the ticket of the datagram and an index in it, so a
//! restarted gateway submits the same change under the same submission id, and the supervisor recognizes changes that it has
//! already taken. A submission is unsent, then sent, then removed with its outcome; `Stale` and a broken link make
//! it unsent again, under its old submission id. Two rules preserve the order: while a command that was sent under an
//! earlier patch is without an outcome, nothing is sent; and a sync is sent again if earlier commands of its sender
//! were sent again. Everything is bounded; submissions beyond a limit are refused, never forgotten.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use common::{
    command::{Event, SequenceControl},
    limits::COMMANDS_PER_MESSAGE,
    message::{Outcome, Submission},
    units::FrameIndex,
};

use crate::{
    decode::Message,
    namespace::{Namespace, Resolved},
    reply::{Addressed, Reply},
};

/// The limit of submissions without an outcome: enough for the replacement of a supervisor, bounded if no supervisor
/// returns.
pub const PENDING_MAX: usize = 16_384;
/// The limit for one sender: the other half remains for all others.
pub const PENDING_PER_SENDER_MAX: usize = PENDING_MAX / 2;
/// The bits of a submission id for the index in the datagram; a datagram has bytes for far fewer messages, and each pattern
/// matches a bounded number of parameters.
const INDEX_BITS: u32 = 16;
/// The limit of senders whose `/notify 1` is remembered; the sender with the oldest message is forgotten.
pub const LISTENERS_MAX: usize = 256;

/// A request to the supervisor.
#[derive(Clone, Debug)]
pub enum Work {
    /// A change of the sound, optionally at a frame.
    Event(Resolved, Option<FrameIndex>),
    /// A change of the patch or of the recording, by names, which are valid in any patch; with a note if a value was
    /// clamped.
    Edit(Submission, Option<String>),
    /// A request to reply once all earlier events are applied; the sender's number.
    Sync(i32),
    /// The status as JSON.
    Status,
    /// The state of the recording as JSON.
    RecordStatus,
    /// The names of presets, as JSON.
    Presets(Option<String>),
}

/// The ticket of the datagram that a submission id belongs to.
#[must_use]
pub const fn ticket_of(submission_id: u64) -> u64 {
    submission_id >> INDEX_BITS
}

#[derive(Debug)]
struct Pending {
    group: u64,
    sender: SocketAddr,
    work: PendingWork,
    /// The generation under which it was sent, while a command of it has no outcome.
    sent_under: Option<u64>,
}

/// A `Work` with the generation that an event was resolved against.
#[derive(Debug)]
enum PendingWork {
    Event {
        message: Message,
        event: Event,
        at: Option<FrameIndex>,
        generation: u64,
    },
    Edit(Submission),
    Sync(i32),
    Status,
    RecordStatus,
    Presets(Option<String>),
}

impl PendingWork {
    /// Whether its outcome follows at once and its order matters. A recording waits for the recorder.
    const fn is_command(&self) -> bool {
        match self {
            Self::Event { .. } => true,
            Self::Edit(submission) => !matches!(submission, Submission::Record(_)),
            Self::Sync(_) | Self::Status | Self::RecordStatus | Self::Presets(_) => false,
        }
    }
}

/// The submissions of one message; the message is answered once all of them have an outcome.
#[derive(Debug)]
struct Group {
    sender: SocketAddr,
    address: String,
    notes: Vec<(String, String)>,
    refused: Option<String>,
    left: usize,
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct Sessions {
    next: u64,
    pending: BTreeMap<u64, Pending>,
    unsent: BTreeSet<u64>,
    /// The number of sent commands without an outcome, by the generation under which they were sent: until those of an
    /// older one have theirs, nothing is sent, since it would overtake those that come back stale.
    out: BTreeMap<u64, usize>,
    /// The generation that the supervisor has called stale; the next one is not known yet.
    overtaken: Option<u64>,
    groups: BTreeMap<u64, Group>,
    /// The number of pending submissions of each sender.
    per_sender: BTreeMap<SocketAddr, usize>,
    listeners: BTreeMap<SocketAddr, u64>,
    clock: u64,
    unresolved: u64,
}

impl Sessions {
    /// Remembers whether a sender wants `/done`.
    pub fn notify(&mut self, sender: SocketAddr, wanted: bool) {
        if !wanted {
            self.listeners.remove(&sender);
            return;
        }
        self.clock += 1;
        if !self.listeners.contains_key(&sender) && self.listeners.len() >= LISTENERS_MAX {
            let silent = self
                .listeners
                .iter()
                .min_by_key(|(_, seen)| **seen)
                .map(|(who, _)| *who);
            if let Some(silent) = silent {
                self.listeners.remove(&silent);
            }
        }
        self.listeners.insert(sender, self.clock);
    }

    /// Records a sign of life of a sender; returns whether the sender wants `/done`.
    pub fn heard(&mut self, sender: SocketAddr) -> bool {
        self.clock += 1;
        let clock = self.clock;
        self.listeners
            .get_mut(&sender)
            .map(|seen| *seen = clock)
            .is_some()
    }

    /// The number of events that a newer patch cannot resolve, since the last call.
    pub fn take_unresolved(&mut self) -> u64 {
        std::mem::take(&mut self.unresolved)
    }

    /// Submissions without an outcome.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether all submissions have an outcome.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether a submission waits to be sent.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Sets the ticket of the datagram whose messages are admitted next.
    pub fn begin(&mut self, ticket: u64) {
        self.next = self.next.max(ticket << INDEX_BITS | 1);
    }

    /// The ticket of the oldest datagram with an event that has no outcome yet. Requests for an answer are not
    /// counted: they are lost with this process, and their senders ask again.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        let event =
            |p: &Pending| matches!(p.work, PendingWork::Event { .. } | PendingWork::Edit(_));
        let mut events = self.pending.iter().filter(|(_, pending)| event(pending));
        events
            .next()
            .map(|(submission_id, _)| ticket_of(*submission_id))
    }

    /// The control of a sequence that was submitted under `submission_id`.
    #[must_use]
    pub fn control(&self, submission_id: u64) -> Option<(&str, SequenceControl)> {
        match &self.pending.get(&submission_id)?.work {
            PendingWork::Edit(Submission::Control { id, control, .. }) => Some((id, *control)),
            _ => None,
        }
    }

    /// Whether the newest datagram, of the given ticket, waits for an outcome.
    #[must_use]
    pub fn waits(&self, ticket: u64) -> bool {
        self.pending.range(ticket << INDEX_BITS..).next().is_some()
    }

    /// Admits the actions of one message, all or none.
    ///
    /// # Errors
    /// If a limit is reached.
    pub fn admit(
        &mut self,
        sender: SocketAddr,
        address: &str,
        generation: u64,
        works: Vec<Work>,
    ) -> Result<(), String> {
        if self.pending.len() + works.len() > PENDING_MAX {
            return Err(format!(
                "busy: {PENDING_MAX} changes wait for the supervisor; send the message again later"
            ));
        }
        if works.is_empty() {
            return Ok(());
        }
        let own = self.per_sender.get(&sender).copied().unwrap_or(0);
        if own + works.len() > PENDING_PER_SENDER_MAX {
            return Err(format!(
                "too fast: {PENDING_PER_SENDER_MAX} changes of this sender wait; send slower, or wait for /synced"
            ));
        }
        *self.per_sender.entry(sender).or_default() += works.len();
        let group = self.next;
        let mut notes = Vec::new();
        let left = works.len();
        for work in works {
            let submission_id = self.next;
            self.next += 1;
            let work = match work {
                Work::Event(
                    Resolved {
                        message,
                        event,
                        note,
                    },
                    at,
                ) => {
                    notes.extend(note.map(|note| (message.address.clone(), note)));
                    PendingWork::Event {
                        message,
                        event,
                        at,
                        generation,
                    }
                }
                Work::Edit(edit, note) => {
                    notes.extend(note.map(|note| (address.to_owned(), note)));
                    PendingWork::Edit(edit)
                }
                Work::Sync(number) => PendingWork::Sync(number),
                Work::Status => PendingWork::Status,
                Work::RecordStatus => PendingWork::RecordStatus,
                Work::Presets(module) => PendingWork::Presets(module),
            };
            self.pending.insert(
                submission_id,
                Pending {
                    group,
                    sender,
                    work,
                    sent_under: None,
                },
            );
            self.unsent.insert(submission_id);
        }
        let address = address.to_owned();
        self.groups.insert(
            group,
            Group {
                sender,
                address,
                notes,
                refused: None,
                left,
            },
        );
        Ok(())
    }

    /// The next submissions to send, in order; empty if nothing may be sent now.
    #[must_use]
    pub fn batch(&self, generation: u64) -> Vec<(u64, Submission)> {
        if self.overtaken == Some(generation) || self.out.keys().any(|out| *out != generation) {
            return Vec::new();
        }
        let submission = |submission_id: &u64| {
            let submission = match &self.pending.get(submission_id)?.work {
                PendingWork::Event {
                    event,
                    at,
                    generation,
                    ..
                } => Submission::Event {
                    generation: *generation,
                    event: *event,
                    at: *at,
                },
                PendingWork::Edit(edit) => edit.clone(),
                PendingWork::Sync(_) => Submission::Sync,
                PendingWork::Status => Submission::Status,
                PendingWork::RecordStatus => Submission::RecordStatus,
                PendingWork::Presets(module) => Submission::Presets(module.clone()),
            };
            Some((*submission_id, submission))
        };
        self.unsent
            .iter()
            .filter_map(submission)
            .take(COMMANDS_PER_MESSAGE)
            .collect()
    }

    /// Marks a batch as sent under that generation.
    pub fn sent(&mut self, batch: &[(u64, Submission)], generation: u64) {
        for (submission_id, _) in batch {
            self.unsent.remove(submission_id);
            if let Some(pending) = self.pending.get_mut(submission_id)
                && pending.work.is_command()
            {
                pending.sent_under = Some(generation);
                *self.out.entry(generation).or_default() += 1;
            }
        }
    }

    /// After a broken link: marks all submissions without an outcome as unsent.
    pub fn broken(&mut self) {
        self.unsent = self.pending.keys().copied().collect();
        for pending in self.pending.values_mut() {
            pending.sent_under = None;
        }
        self.out.clear();
        self.overtaken = None;
    }

    /// After a change of the patch: resolves the unsent submissions again.
    pub fn patched(&mut self, namespace: &Namespace) -> Vec<Addressed> {
        self.overtaken = None;
        let unsent: Vec<u64> = self.unsent.iter().copied().collect();
        unsent
            .into_iter()
            .filter_map(|submission_id| self.resolve_again(submission_id, namespace))
            .collect()
    }

    /// Takes the outcome of a submission; returns the reply to its sender, if any.
    pub fn outcome(
        &mut self,
        submission_id: u64,
        outcome: Outcome,
        namespace: &Namespace,
    ) -> Option<Addressed> {
        // An outcome for a removed or unsent submission belongs to an earlier link.
        if self.unsent.contains(&submission_id) {
            return None;
        }
        let pending = self.pending.get_mut(&submission_id)?;
        let sender = pending.sender;
        if let Some(generation) = pending.sent_under.take()
            && let Some(count) = self.out.get_mut(&generation)
        {
            *count -= 1;
            if *count == 0 {
                self.out.remove(&generation);
            }
        }
        let pending = self.pending.get(&submission_id)?;
        if let PendingWork::Event { generation, .. } = pending.work
            && outcome == Outcome::Stale
        {
            self.unsent.insert(submission_id);
            if generation == namespace.generation {
                self.overtaken = Some(generation);
                return None;
            }
            return self.resolve_again(submission_id, namespace);
        }
        let reply = match (outcome, &pending.work) {
            (Outcome::Synced, PendingWork::Sync(number)) => {
                let event = |p: &Pending| {
                    p.sender == sender
                        && matches!(p.work, PendingWork::Event { .. } | PendingWork::Edit(_))
                };
                if self
                    .pending
                    .range(..submission_id)
                    .any(|(_, earlier)| event(earlier))
                {
                    self.unsent.insert(submission_id);
                    return None;
                }
                Reply::Synced(*number)
            }
            (Outcome::Text(json), PendingWork::Status) => Reply::Status(json),
            (Outcome::Text(json), PendingWork::RecordStatus) => Reply::RecordStatus(json),
            (Outcome::Text(json), PendingWork::Presets(_)) => Reply::Presets(json),
            (Outcome::Stale, _) => {
                self.unsent.insert(submission_id);
                return None;
            }
            (Outcome::Refused(why), _) => return self.settle(submission_id, Some(why)),
            (Outcome::Noted(_, note), _) => {
                let group = pending.group;
                if let Some(group) = self.groups.get_mut(&group) {
                    group.notes.push((group.address.clone(), note));
                }
                return self.settle(submission_id, None);
            }
            _ => return self.settle(submission_id, None),
        };
        let group = pending.group;
        self.remove(submission_id);
        self.close(group);
        Some(Addressed { to: sender, reply })
    }

    fn resolve_again(&mut self, submission_id: u64, namespace: &Namespace) -> Option<Addressed> {
        let pending = self.pending.get_mut(&submission_id)?;
        let PendingWork::Event {
            message,
            event,
            generation,
            ..
        } = &mut pending.work
        else {
            return None;
        };
        match namespace.again(message) {
            Ok(resolved) => {
                *event = resolved.event;
                *generation = namespace.generation;
                if let Some(group) = self.groups.get_mut(&pending.group) {
                    group
                        .notes
                        .retain(|(address, _)| *address != resolved.message.address);
                    let address = resolved.message.address;
                    group
                        .notes
                        .extend(resolved.note.map(|note| (address, note)));
                }
                None
            }
            Err(why) => {
                self.unresolved += 1;
                self.settle(submission_id, Some(format!("the patch has changed: {why}")))
            }
        }
    }

    /// Removes a submission; returns the reply after the last one of its message.
    fn settle(&mut self, submission_id: u64, refused: Option<String>) -> Option<Addressed> {
        self.unsent.remove(&submission_id);
        let id = self.remove(submission_id)?.group;
        let group = self.groups.get_mut(&id)?;
        group.refused = group.refused.take().or(refused);
        let group = self.close(id)?;
        let address = group.address;
        let reply = match (group.refused, group.notes.as_slice()) {
            (Some(why), _) => Reply::Fail(address, why),
            (None, []) if self.listeners.contains_key(&group.sender) => Reply::Done(address, None),
            (None, []) => return None,
            (None, [(one, note)]) if *one == address => Reply::Done(address, Some(note.clone())),
            (None, notes) => {
                let each: Vec<String> = notes
                    .iter()
                    .take(8)
                    .map(|(at, note)| format!("{at} {note}"))
                    .collect();
                Reply::Done(address, Some(each.join("; ")))
            }
        };
        Some(Addressed {
            to: group.sender,
            reply,
        })
    }

    fn remove(&mut self, submission_id: u64) -> Option<Pending> {
        let pending = self.pending.remove(&submission_id)?;
        if let Some(count) = self.per_sender.get_mut(&pending.sender) {
            *count -= 1;
            if *count == 0 {
                self.per_sender.remove(&pending.sender);
            }
        }
        Some(pending)
    }

    fn close(&mut self, id: u64) -> Option<Group> {
        let group = self.groups.get_mut(&id)?;
        group.left = group.left.saturating_sub(1);
        if group.left > 0 {
            return None;
        }
        self.groups.remove(&id)
    }
}
