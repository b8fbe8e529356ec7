//! The state that a supervisor needs to continue a log: read from one segment, in one pass, in memory that does not
//! depend on the segment's length.
//!
//! The account holds the patch at the end of the segment, the counters, and the findings about commands that kill workers.

use std::{
    collections::BTreeSet,
    io::{self, Read},
};

use anyhow::{Context, Result};
use common::{
    command::{Command, Event},
    command_log::{Found, Preamble, Reach, Reader, Record},
    edit::Drafted,
    units::{BlockIndex, Seq},
};
use engine::patch::{Checked, Draft, Patch};

/// See the file's head.
pub struct Account {
    /// The preamble of the segment.
    pub preamble: Preamble,
    /// The length of all whole records, in bytes.
    pub length: u64,
    /// The last command's number, and the highest submission id.
    pub seq: Seq,
    pub submission_id: u64,
    /// The decisions below this block are known; the last of them is `decided`.
    pub next_block: BlockIndex,
    pub decided: Seq,
    pub reach: Reach,
    pub edited: Option<Edited>,
    pub standing: Standing,
    pub findings: Vec<Found>,
    /// The quarantined commands that the segment contains.
    pub left_out: BTreeSet<Seq>,
    /// Whether the account contains a command that a later record quarantines.
    is_wrong: bool,
}

/// The last edit of the patch.
#[derive(Clone, Copy)]
pub struct Edited {
    pub seq: Seq,
    /// The first block that contains the edit for certain.
    pub block: Option<BlockIndex>,
}

impl Edited {
    /// Records a decision.
    pub fn decided(&mut self, block: BlockIndex, seq: Seq) {
        if self.block.is_none() && seq >= self.seq {
            self.block = Some(block);
        }
    }
}

impl Account {
    /// The account of a whole segment. `open` opens the segment at its start; if a record quarantines an earlier
    /// command, the segment is read again.
    ///
    /// # Errors
    /// If the segment cannot be read, or its beginning is damaged.
    pub fn of<R: Read>(open: impl Fn() -> io::Result<R>) -> Result<Self> {
        Self::up_to(Seq(u64::MAX), open)
    }

    /// As [`Self::of`], for the state after the commands up to `last`.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn up_to<R: Read>(last: Seq, open: impl Fn() -> io::Result<R>) -> Result<Self> {
        let mut left_out = BTreeSet::new();
        loop {
            let mut reader = Reader::without_arenas(open()?);
            let preamble = Preamble::read(&mut reader)?;
            let mut account = Self::beginning(preamble.context(DAMAGED)?, left_out);
            while let Some((_, record)) = reader.next()? {
                account.take(record, last);
            }
            account.length = reader.offset();
            if !account.is_wrong {
                account.standing.settle();
                return Ok(account);
            }
            left_out = account.left_out;
        }
    }

    fn beginning(preamble: Preamble, left_out: BTreeSet<Seq>) -> Self {
        let known = &preamble.segment;
        Self {
            length: preamble.bytes,
            seq: known.seq,
            submission_id: known.submission_id,
            next_block: known.block,
            decided: known.seq,
            reach: Reach::beginning(known.played),
            edited: known.edited.map(|(seq, block)| Edited { seq, block }),
            standing: Standing::beginning(&preamble),
            findings: known.findings.clone(),
            preamble,
            left_out,
            is_wrong: false,
        }
    }

    fn take(&mut self, record: Record, last: Seq) {
        self.reach.take(&record);
        match record {
            Record::Command {
                seq,
                submission_id,
                command,
            } if seq <= last => {
                self.seq = seq;
                self.submission_id = self.submission_id.max(submission_id);
                if let Command::Edited(_) = command {
                    self.edited = Some(Edited { seq, block: None });
                }
                self.standing.add(command, !self.left_out.contains(&seq));
            }
            // Earlier decisions are contained in the state.
            Record::Decision { block, seq } if block >= self.next_block && seq <= last => {
                (self.next_block, self.decided) = (block.next(), seq);
                self.edited.iter_mut().for_each(|e| e.decided(block, seq));
            }
            Record::Progress { block } => self.next_block = self.next_block.max(block),
            Record::Quarantine { seq } => {
                self.is_wrong |= self.left_out.insert(seq) && seq <= self.seq;
            }
            Record::Found(found) if found.seq() <= last && !self.findings.contains(&found) => {
                self.findings.push(found);
            }
            _ => {}
        }
    }
}

/// Why a segment cannot be used.
pub const DAMAGED: &str = "the beginning of the command log is damaged, or another build wrote it";

/// The patch and its values at a place in a log.
pub struct Standing {
    /// The patch, with its current values.
    pub patch: Patch,
    /// The patch in the form of the log, and its text.
    pub playing: Checked,
    pub text: String,
    pub draft: Draft,
    /// The number of patches so far, including withdrawn ones.
    pub generation: u64,
    /// Values that `patch` does not have yet, by module and parameter: most of a log sets the same few parameters
    /// repeatedly.
    set: Vec<Vec<Option<f32>>>,
}

impl Standing {
    fn beginning(preamble: &Preamble) -> Self {
        let known = &preamble.segment;
        let default = || Patch::default_patch().checked().expect("it is good");
        let playing = Checked::from_log(&preamble.patch.0).unwrap_or_else(|_| default());
        let patch = Patch::from_log(&known.patch);
        let mut draft = Draft::default();
        known
            .drafts
            .iter()
            .for_each(|e| draft.push(e.clone(), None));
        Self {
            patch: patch.unwrap_or_else(|_| playing.patch().settled()),
            playing,
            text: preamble.patch.0.clone(),
            draft,
            generation: known.generation,
            set: Vec::new(),
        }
    }

    fn add(&mut self, command: Command, good: bool) {
        match command {
            Command::Patch(json) | Command::Edited(json) => {
                // A withdrawn patch counts twice: the gateway has resolved messages against it.
                self.generation += if good { 1 } else { 2 };
                if let Ok(read) = Checked::from_log(&json)
                    && good
                {
                    self.set.clear();
                    self.patch = read.patch().settled();
                    self.playing = read;
                    self.text = json;
                }
            }
            Command::Event(event) | Command::At { event, .. } if good => self.apply(&event),
            Command::Event(_) | Command::At { .. } => {}
            Command::SavePreset(kept) if good => {
                (self.patch).keep(&kept.module, &kept.name, kept.values);
            }
            Command::SavePreset(_) => {}
            Command::Draft(Drafted::Edit(edit)) => self.draft.push(edit, None),
            Command::Draft(Drafted::Abort) => self.draft.clear(),
        }
    }

    fn apply(&mut self, event: &Event) {
        let (Event::Param {
            module,
            param,
            value,
        }
        | Event::Ramp {
            module,
            param,
            value,
            ..
        }) = *event
        else {
            return self.patch.apply(event);
        };
        let (module, param) = (usize::from(module), usize::from(param));
        if module < self.patch.modules.len() && value.is_finite() {
            let of_module = at_least(&mut self.set, module);
            *at_least(of_module, param) = Some(value);
        }
    }

    /// Writes the pending values into the patch.
    fn settle(&mut self) {
        for (module, values) in self.set.drain(..).enumerate() {
            for (param, value) in values.into_iter().enumerate() {
                if let Some(value) = value {
                    self.patch.set_param(module as u16, param as u16, value);
                }
            }
        }
    }
}

/// The entry at an index; extends the list if necessary.
fn at_least<T: Default>(list: &mut Vec<T>, place: usize) -> &mut T {
    if list.len() <= place {
        list.resize_with(place + 1, T::default);
    }
    &mut list[place]
}
