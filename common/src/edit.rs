//! Edits: changes of a patch's structure and sequences, by names. Requested at `/patch/…`.
//!
//! An edit changes the text of the patch in force (`engine::patch::Patch::edit`). The result is checked as
//! a whole and accepted like any other patch, so an edit is valid or changes nothing.

use serde::{Deserialize, Serialize};

/// One edit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Edit {
    /// Creates a module of this type; every parameter has its default.
    Create {
        /// The module's name.
        id: String,
        /// The module's type.
        kind: String,
    },
    /// Removes a module and its cables.
    Remove {
        /// The module's name.
        id: String,
    },
    /// Creates a cable.
    Connect {
        /// An output: `id` or `id.port`.
        from: String,
        /// An input: `id` or `id.port`.
        to: String,
        /// The cable is part of a loop and delays its signal by one frame.
        frame: bool,
    },
    /// Removes a cable.
    Disconnect {
        /// As in [`Edit::Connect`].
        from: String,
        /// As in [`Edit::Connect`].
        to: String,
    },
    /// Changes sequences or saved patterns; no module changes.
    Sequence(SequenceEdit),
}

/// An edit of sequences or saved patterns: requested at `/seq/…` and `/pattern/…`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SequenceEdit {
    /// Creates a sequence.
    Create {
        /// The sequence's name.
        id: String,
        /// Whether it starts, with the next bar of the playing sequences, or at once if none plays.
        running: bool,
        /// Settings that differ from the defaults.
        settings: Vec<Setting>,
    },
    /// Changes a sequence, which keeps its position.
    Change {
        /// The sequence's name.
        id: String,
        /// The settings to change.
        settings: Vec<Setting>,
    },
    /// Removes a sequence.
    Remove {
        /// The sequence's name.
        id: String,
    },
    /// Saves the pattern of a sequence under a name, replacing any earlier one.
    Save {
        /// The sequence.
        id: String,
        /// The pattern's name.
        name: String,
    },
    /// Gives a sequence a saved pattern.
    Load {
        /// The sequence.
        id: String,
        /// The pattern's name.
        name: String,
    },
    /// Deletes a saved pattern.
    Forget {
        /// The pattern's name.
        name: String,
    },
}

/// One setting of a sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Setting {
    /// The pattern, as text.
    Pattern(String),
    /// Steps until the pattern repeats; 0: as many as its text has.
    Steps(u32),
    /// Tempo in beats per minute.
    Bpm(f32),
    /// Steps in a whole note.
    Division(u32),
    /// Delay of every second step, as a fraction of a step, 0 to 0.75.
    Swing(f32),
    /// Steps by which the pattern is rotated to the right.
    Rotate(i32),
    /// Probability of a hit, 0 to 1, per step; the list repeats.
    Probability(Vec<f32>),
    /// Repeats of a hit within its step, 1 to 8, per step; the list repeats.
    Ratchet(Vec<u32>),
    /// Names or numbers of notes, one per hit; the list repeats.
    Notes(Vec<String>),
    /// A parameter lane: one value per step; the list repeats. An empty list removes the lane.
    Lane(String, Vec<f32>),
    /// Adds a module that the sequence plays.
    Target {
        /// What the sequence does to the module.
        role: Role,
        /// The module.
        module: String,
        /// The parameter, for [`Role::Param`].
        param: Option<String>,
    },
    /// Stops playing this module.
    Unassign(String),
    /// Saved patterns, each for a number of bars; the list repeats. Empty: the sequence's own pattern.
    Chain(Vec<(String, u32)>),
    /// The seed of the sequence's random numbers.
    Seed(u32),
}

/// What a sequence does to a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Opens and closes the module's gate.
    Gate,
    /// Plays notes on the module.
    Note,
    /// Sets a parameter from the lane of the same name.
    Param,
}

/// A change of the edits that are collected until their commit. An instance has one collection, since a
/// sender of single datagrams may have a new address each time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Drafted {
    /// Adds an edit.
    Edit(Edit),
    /// Discards all collected edits.
    Abort,
}
