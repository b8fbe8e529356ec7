//! Everything that was asked for and has no outcome yet, and who wants to hear of it.
//!
//! Tokens only grow and are the order of arrival: the ticket of the datagram, and a place in it, so
//! that a gateway that is started anew submits the same under the same token, and the supervisor
//! knows what it has taken already. A submission is unsent, then sent, then gone
//! with its outcome; `Stale` and a broken link make it unsent again, under its old token. So that
//! nothing overtakes: while something resolved against another patch is still out, nothing is
//! sent, and a sync whose sender's earlier events had to be sent again is sent again itself.
//! Everything is bounded; what does not fit is refused, never forgotten.

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

/// Submissions without an outcome, at the most: a supervisor that is being replaced must not make
/// us forget, one that never comes back must not make us grow.
pub const PENDING_MAX: usize = 16_384;
/// Of these, one sender's at the most: there is room for the others, however much it sends.
pub const PENDING_PER_SENDER_MAX: usize = PENDING_MAX / 2;
/// Bits of a token that tell the place in the datagram; a datagram has bytes for far fewer messages,
/// and patterns reach a bounded number of parameters each.
const INDEX_BITS: u32 = 16;
/// Senders whose `/notify 1` is remembered, at the most; the one longest silent is forgotten.
pub const LISTENERS_MAX: usize = 256;

/// What is asked of the supervisor.
#[derive(Clone, Debug)]
pub enum Work {
    /// A change of the sound, perhaps at a frame.
    Event(Resolved, Option<FrameIndex>),
    /// A change of the patch, or of what is recorded: names, which mean the same in any patch; and that a
    /// value was clamped.
    Edit(Submission, Option<String>),
    /// Say when all before it is applied; the sender's number.
    Sync(i32),
    /// The status as JSON.
    Status,
    /// What is recorded, as JSON.
    RecordStatus,
    /// The names of presets, as JSON.
    Presets(Option<String>),
}

/// The ticket of the datagram that a token belongs to.
#[must_use]
pub const fn ticket_of(token: u64) -> u64 {
    token >> INDEX_BITS
}

#[derive(Debug)]
struct Pending {
    group: u64,
    sender: SocketAddr,
    work: Kept,
}

/// As `Work`, with the generation that an event was resolved against.
#[derive(Debug)]
enum Kept {
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

/// What one message has set off; answered when all of it has an outcome.
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
    /// How many sent events were resolved against which generation.
    out: BTreeMap<u64, usize>,
    /// The supervisor called this generation stale and has not told the next one.
    overtaken: Option<u64>,
    groups: BTreeMap<u64, Group>,
    /// How much of what is pending is whose.
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

    /// Notes that a sender is still there; whether it wants `/done`.
    pub fn heard(&mut self, sender: SocketAddr) -> bool {
        self.clock += 1;
        let clock = self.clock;
        self.listeners
            .get_mut(&sender)
            .map(|seen| *seen = clock)
            .is_some()
    }

    /// Events that mean nothing in a newer patch, since this was last asked.
    pub fn take_unresolved(&mut self) -> u64 {
        std::mem::take(&mut self.unresolved)
    }

    /// Submissions without an outcome.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether nothing is without an outcome.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether something waits to be sent.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// What is admitted from now on comes from the datagram of that ticket.
    pub fn begin(&mut self, ticket: u64) {
        self.next = self.next.max(ticket << INDEX_BITS | 1);
    }

    /// The ticket of the oldest datagram with an event that has no outcome yet. What asks for an
    /// answer only is not counted: it is lost with this process, and asked again by who misses it.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        let event = |p: &Pending| matches!(p.work, Kept::Event { .. } | Kept::Edit(_));
        let mut events = self.pending.iter().filter(|(_, pending)| event(pending));
        events.next().map(|(token, _)| ticket_of(*token))
    }

    /// The control of a sequence that was submitted under that token.
    #[must_use]
    pub fn control(&self, token: u64) -> Option<(&str, SequenceControl)> {
        match &self.pending.get(&token)?.work {
            Kept::Edit(Submission::Control { id, control, .. }) => Some((id, *control)),
            _ => None,
        }
    }

    /// Whether the datagram of that ticket, the newest, waits for an outcome.
    #[must_use]
    pub fn waits(&self, ticket: u64) -> bool {
        self.pending.range(ticket << INDEX_BITS..).next().is_some()
    }

    /// Takes in what one message asks for, all of it or nothing.
    ///
    /// # Errors
    /// When there is no room.
    pub fn admit(
        &mut self,
        sender: SocketAddr,
        address: &str,
        generation: u64,
        works: Vec<Work>,
    ) -> Result<(), String> {
        if self.pending.len() + works.len() > PENDING_MAX {
            return Err(format!(
                "busy: {PENDING_MAX} changes wait for the supervisor; send this again later"
            ));
        }
        if works.is_empty() {
            return Ok(());
        }
        let own = self.per_sender.get(&sender).copied().unwrap_or(0);
        if own + works.len() > PENDING_PER_SENDER_MAX {
            return Err(format!(
                "too fast: {PENDING_PER_SENDER_MAX} changes of yours wait; send slower, or wait for /synced"
            ));
        }
        *self.per_sender.entry(sender).or_default() += works.len();
        let group = self.next;
        let mut notes = Vec::new();
        let left = works.len();
        for work in works {
            let token = self.next;
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
                    Kept::Event {
                        message,
                        event,
                        at,
                        generation,
                    }
                }
                Work::Edit(edit, note) => {
                    notes.extend(note.map(|note| (address.to_owned(), note)));
                    Kept::Edit(edit)
                }
                Work::Sync(number) => Kept::Sync(number),
                Work::Status => Kept::Status,
                Work::RecordStatus => Kept::RecordStatus,
                Work::Presets(module) => Kept::Presets(module),
            };
            self.pending.insert(
                token,
                Pending {
                    group,
                    sender,
                    work,
                },
            );
            self.unsent.insert(token);
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

    /// What to send next, in order; empty when nothing may be sent now.
    #[must_use]
    pub fn batch(&self, generation: u64) -> Vec<(u64, Submission)> {
        if self.overtaken == Some(generation) || self.out.keys().any(|out| *out != generation) {
            return Vec::new();
        }
        let submission = |token: &u64| {
            let submission = match &self.pending.get(token)?.work {
                Kept::Event {
                    event,
                    at,
                    generation,
                    ..
                } => Submission::Event {
                    generation: *generation,
                    event: *event,
                    at: *at,
                },
                Kept::Edit(edit) => edit.clone(),
                Kept::Sync(_) => Submission::Sync,
                Kept::Status => Submission::Status,
                Kept::RecordStatus => Submission::RecordStatus,
                Kept::Presets(module) => Submission::Presets(module.clone()),
            };
            Some((*token, submission))
        };
        self.unsent
            .iter()
            .filter_map(submission)
            .take(COMMANDS_PER_MESSAGE)
            .collect()
    }

    /// That batch is on its way.
    pub fn sent(&mut self, batch: &[(u64, Submission)]) {
        for (token, submission) in batch {
            self.unsent.remove(token);
            if let Submission::Event { generation, .. } = submission {
                *self.out.entry(*generation).or_default() += 1;
            }
        }
    }

    /// The link broke: whatever has no outcome will have to be sent again.
    pub fn broken(&mut self) {
        self.unsent = self.pending.keys().copied().collect();
        self.out.clear();
        self.overtaken = None;
    }

    /// A new patch is in force: what is unsent is resolved again.
    pub fn patched(&mut self, namespace: &Namespace) -> Vec<Addressed> {
        self.overtaken = None;
        let unsent: Vec<u64> = self.unsent.iter().copied().collect();
        unsent
            .into_iter()
            .filter_map(|token| self.resolve_again(token, namespace))
            .collect()
    }

    /// What became of a submission; perhaps its sender is told.
    pub fn outcome(
        &mut self,
        token: u64,
        outcome: Outcome,
        namespace: &Namespace,
    ) -> Option<Addressed> {
        // An outcome for what is gone or unsent belongs to a link that is no more.
        if self.unsent.contains(&token) {
            return None;
        }
        let pending = self.pending.get(&token)?;
        let sender = pending.sender;
        if let Kept::Event { generation, .. } = &pending.work {
            let generation = *generation;
            if let Some(count) = self.out.get_mut(&generation) {
                *count -= 1;
                if *count == 0 {
                    self.out.remove(&generation);
                }
            }
            if outcome == Outcome::Stale {
                self.unsent.insert(token);
                if generation == namespace.generation {
                    self.overtaken = Some(generation);
                    return None;
                }
                return self.resolve_again(token, namespace);
            }
        }
        let reply = match (outcome, &pending.work) {
            (Outcome::Synced, Kept::Sync(number)) => {
                let event = |p: &Pending| {
                    p.sender == sender && matches!(p.work, Kept::Event { .. } | Kept::Edit(_))
                };
                if self
                    .pending
                    .range(..token)
                    .any(|(_, earlier)| event(earlier))
                {
                    self.unsent.insert(token);
                    return None;
                }
                Reply::Synced(*number)
            }
            (Outcome::Text(json), Kept::Status) => Reply::Status(json),
            (Outcome::Text(json), Kept::RecordStatus) => Reply::RecordStatus(json),
            (Outcome::Text(json), Kept::Presets(_)) => Reply::Presets(json),
            (Outcome::Stale, _) => {
                self.unsent.insert(token);
                return None;
            }
            (Outcome::Refused(why), _) => return self.settle(token, Some(why)),
            (Outcome::Noted(_, note), _) => {
                let group = pending.group;
                if let Some(group) = self.groups.get_mut(&group) {
                    group.notes.push((group.address.clone(), note));
                }
                return self.settle(token, None);
            }
            _ => return self.settle(token, None),
        };
        let group = pending.group;
        self.remove(token);
        self.close(group);
        Some(Addressed { to: sender, reply })
    }

    fn resolve_again(&mut self, token: u64, namespace: &Namespace) -> Option<Addressed> {
        let pending = self.pending.get_mut(&token)?;
        let Kept::Event {
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
                self.settle(token, Some(format!("the patch has changed: {why}")))
            }
        }
    }

    /// One submission less; the reply if it was its message's last.
    fn settle(&mut self, token: u64, refused: Option<String>) -> Option<Addressed> {
        self.unsent.remove(&token);
        let id = self.remove(token)?.group;
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

    fn remove(&mut self, token: u64) -> Option<Pending> {
        let pending = self.pending.remove(&token)?;
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
