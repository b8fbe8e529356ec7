//! The content of one segment of a log, with this program's numbering.

use std::collections::BTreeSet;

use common::{
    command::Command,
    command_log::{self, Catalogue, Head, Reach, Record},
    stage::AudioFormat,
    units::{BlockIndex, Seq},
};

use super::ReplayError;
use crate::{
    catalog::{self, ModuleType},
    patch::Patch,
};

/// How many own parameters a type had in logs before the given version. Since version 6 the log itself says
/// so.
const OWN_PARAMS: [(u32, &str, u16); 2] = [(4, "out", 1), (4, "sampler", 7)];

/// The content of one segment.
pub(super) struct Part {
    pub(super) version: u32,
    /// The writer's catalogue, if it knew other types.
    pub(super) other: Option<Box<Catalogue>>,
    pub(super) format: AudioFormat,
    pub(super) patch: String,
    /// The patch with the values last set; empty if it was just loaded.
    pub(super) values: String,
    /// Empty if the patch was just loaded.
    pub(super) arena: Vec<u8>,
    pub(super) block: BlockIndex,
    pub(super) seq: Seq,
    pub(super) commands: std::vec::IntoIter<(Seq, Command)>,
    pub(super) decisions: std::iter::Peekable<std::vec::IntoIter<(BlockIndex, Seq)>>,
    /// Commands in quarantine, which are left out.
    pub(super) quarantined: BTreeSet<Seq>,
    /// The segment's number in the run.
    pub(super) number: u64,
    pub(super) reach: Reach,
    /// How many of its bytes were read, and how many there are.
    pub(super) read: (u64, u64),
}

impl Part {
    /// Reads the records of a segment, which may be in several pieces: its beginning, and what follows.
    pub(super) fn read(pieces: &[&[u8]]) -> Result<Self, ReplayError> {
        let Head { version, format } = command_log::head(pieces.first().unwrap_or(&&[][..]))?;
        let (mut commands, mut decisions) = (Vec::new(), Vec::new());
        let mut part = Self {
            version,
            other: None,
            format,
            patch: String::new(),
            values: String::new(),
            arena: Vec::new(),
            block: BlockIndex(0),
            seq: Seq(0),
            commands: Vec::new().into_iter(),
            decisions: Vec::new().into_iter().peekable(),
            quarantined: BTreeSet::new(),
            number: 0,
            reach: Reach::default(),
            read: (0, 0),
        };
        // A segment without its state is damaged; logs of older versions need not have one.
        let mut has_state = version < 5;
        for bytes in pieces {
            let mut records = command_log::records(bytes);
            for (_, record) in records.by_ref() {
                part.reach.take(&record);
                match record {
                    Record::Catalogue(found) => {
                        let is_other = found.types != catalog::catalogue().types;
                        part.other = is_other.then_some(found);
                    }
                    Record::Segment(known) => {
                        (part.block, part.seq) = (known.block, known.seq);
                        (part.number, part.values) = (known.number, known.patch);
                    }
                    Record::Command {
                        seq,
                        command: Command::Patch(json) | Command::Edited(json),
                        ..
                    } if part.patch.is_empty() => {
                        part.patch = json;
                        part.seq = part.seq.max(seq);
                    }
                    Record::Command { seq, command, .. } => commands.push((seq, command)),
                    Record::Decision { block, seq } => decisions.push((block, seq)),
                    Record::State { block, arena, .. } if block == part.block => {
                        (part.arena, has_state) = (arena, true);
                    }
                    Record::Quarantine { seq } => drop(part.quarantined.insert(seq)),
                    Record::State { .. }
                    | Record::Head { .. }
                    | Record::Progress { .. }
                    | Record::Ended
                    | Record::Found(_) => {}
                }
            }
            part.read.0 += records.offset();
            part.read.1 += bytes.len() as u64;
        }
        if part.patch.is_empty() || !has_state {
            return Err(ReplayError::NoPatch);
        }
        part.commands = commands.into_iter();
        part.decisions = decisions.into_iter().peekable();
        Ok(part)
    }

    /// Whether the whole segment was read, so that nothing is torn or damaged.
    pub(super) const fn is_whole(&self) -> bool {
        self.read.0 == self.read.1
    }

    /// The patch with the values that were set where the segment begins.
    pub(super) fn with_values(&self, patch: Patch) -> Result<Patch, ReplayError> {
        if self.values.is_empty() {
            return Ok(patch);
        }
        Ok(patch.with_values_of(&Patch::from_log(&self.values)?))
    }

    /// Checks that the states in the segment, for that patch, mean to this program what they meant to the
    /// writer.
    pub(super) fn fits(&self, patch: &Patch) -> Result<(), ReplayError> {
        let Some(writer) = self.other.as_ref().filter(|_| !self.arena.is_empty()) else {
            return Ok(());
        };
        let own = catalog::catalogue();
        let other = patch
            .modules
            .iter()
            .find(|module| writer.find(&module.kind) != own.find(&module.kind));
        match other {
            Some(module) => Err(ReplayError::OtherBuild {
                what: format!(
                    "the state in the log is of another \"{}\" than this program has",
                    module.kind
                ),
                writer: writer.clone(),
            }),
            None => Ok(()),
        }
    }

    /// This program's number for a parameter of the log; `None` if there is none of that name. A type's own
    /// parameters come before their amounts. So if a type has gained parameters, the numbers of its amounts
    /// have grown by as many.
    pub(super) fn renumbered(&self, kind: &ModuleType, param: u16) -> Option<u16> {
        let own = kind.own_params();
        let Some(writer) = &self.other else {
            let before = OWN_PARAMS
                .iter()
                .find(|(until, name, _)| self.version < *until && *name == kind.name);
            return Some(match before {
                Some((.., before)) if param >= *before => param + own.len() as u16 - before,
                _ => param,
            });
        };
        let then = &writer.find(kind.name)?.params;
        let (at, is_amount) = match usize::from(param).checked_sub(then.len()) {
            None => (usize::from(param), false),
            Some(at) => (at, true),
        };
        let name = then.get(at)?;
        let now = own.iter().position(|p| p.name == *name)?;
        Some((now + if is_amount { own.len() } else { 0 }) as u16)
    }
}
