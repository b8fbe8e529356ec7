//! The command log of the simulated stack: commands and quarantine, in memory.

use std::collections::BTreeSet;

use common::units::Seq;

use crate::{
    music::{Command, Nature},
    world::FIRST,
};

/// The command log; it outlives every process.
#[derive(Debug, Default)]
pub struct Log {
    commands: Vec<Command>,
    quarantined: BTreeSet<Seq>,
}

impl Log {
    /// The sequence number of the last command.
    #[must_use]
    pub const fn last(&self) -> Seq {
        Seq(FIRST.0 + self.commands.len() as u64)
    }

    /// The command with this number.
    #[must_use]
    pub fn command(&self, seq: Seq) -> Option<Command> {
        let index = seq.0.checked_sub(FIRST.0 + 1)?;
        self.commands.get(index as usize).copied()
    }

    /// All commands with their numbers.
    pub fn commands(&self) -> impl Iterator<Item = (Seq, Command)> {
        let numbered = self.commands.iter().enumerate();
        numbered.map(|(index, command)| (Seq(FIRST.0 + 1 + index as u64), *command))
    }

    /// The highest submission id.
    #[must_use]
    pub fn submission_id(&self) -> u64 {
        self.commands
            .iter()
            .map(|c| c.submission_id)
            .max()
            .unwrap_or(0)
    }

    /// Appends a command and returns its number.
    pub fn append(&mut self, command: Command) -> Seq {
        self.commands.push(command);
        self.last()
    }

    /// The numbers of the supervisor's own commands.
    pub fn bypasses(&self) -> impl Iterator<Item = Seq> {
        let own = |(_, command): &(Seq, Command)| matches!(command.nature, Nature::Bypass(_));
        self.commands().filter(own).map(|(seq, _)| seq)
    }

    /// The numbers of the commands in quarantine.
    pub fn left_out(&self) -> impl Iterator<Item = Seq> {
        self.quarantined.iter().copied()
    }

    /// Whether a command is in quarantine.
    #[must_use]
    pub fn quarantined(&self, seq: Seq) -> bool {
        self.quarantined.contains(&seq)
    }

    /// Quarantines a command.
    pub fn quarantine(&mut self, seq: Seq) {
        self.quarantined.insert(seq);
    }
}
