//! Changes of a patch's structure, by names: what `/patch/…` asks for.
//!
//! An edit is made to the text of the patch in force (`engine::patch::Patch::edit`); what comes of it is
//! checked whole and taken in like any other patch, so that an edit is good or changes nothing.

use serde::{Deserialize, Serialize};

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Edit {
    /// A new module of that type, every parameter at its default.
    Create {
        /// Its name.
        id: String,
        /// Its type.
        kind: String,
    },
    /// A module goes, with its cables.
    Remove {
        /// Its name.
        id: String,
    },
    /// A new cable.
    Connect {
        /// An output: `id` or `id.port`.
        from: String,
        /// An input: `id` or `id.port`.
        to: String,
        /// It leads back, and what it brings is a frame late.
        frame: bool,
    },
    /// A cable goes.
    Disconnect {
        /// As in [`Edit::Connect`].
        from: String,
        /// As in [`Edit::Connect`].
        to: String,
    },
    /// A change of what is played, which touches no module.
    Sequence(SequenceEdit),
}

/// A change of the sequences and of the patterns that are kept: what `/seq/…` and `/pattern/…` ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SequenceEdit {
    /// A new sequence.
    Create {
        /// Its name.
        id: String,
        /// It begins with the next bar of those that play; at once if none does.
        running: bool,
        /// What is not as it is by itself.
        settings: Vec<Setting>,
    },
    /// A sequence is changed; where it is it stays.
    Change {
        /// Its name.
        id: String,
        /// What changes.
        settings: Vec<Setting>,
    },
    /// A sequence goes.
    Remove {
        /// Its name.
        id: String,
    },
    /// What a sequence plays is kept under a name, instead of what was.
    Save {
        /// The sequence.
        id: String,
        /// The name.
        name: String,
    },
    /// A sequence plays what was kept.
    Load {
        /// The sequence.
        id: String,
        /// The name.
        name: String,
    },
    /// What was kept under that name goes.
    Forget {
        /// The name.
        name: String,
    },
}

/// One thing that can be set of a sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Setting {
    /// Its pattern, as text.
    Pattern(String),
    /// Steps until the pattern begins anew; 0 for as many as its text has.
    Steps(u32),
    /// Beats a minute.
    Bpm(f32),
    /// Steps in a whole note.
    Division(u32),
    /// By which part of a step each second one is late, 0 to 0.75.
    Swing(f32),
    /// Steps by which the pattern is turned to the right.
    Rotate(i32),
    /// How likely a hit is, 0 to 1, for each step, again and again.
    Probability(Vec<f32>),
    /// How often a hit is repeated within its step, 1 to 8, for each step, again and again.
    Ratchet(Vec<u32>),
    /// Names or numbers of notes, one for each hit, again and again.
    Notes(Vec<String>),
    /// A parameter's values, one for each step, again and again; none ends it.
    Lane(String, Vec<f32>),
    /// One more that it plays.
    Target {
        /// What of it.
        role: Role,
        /// The module.
        module: String,
        /// For [`Role::Param`], which.
        param: Option<String>,
    },
    /// It plays that module no longer.
    Unassign(String),
    /// Patterns that are kept, each for so many bars, again and again; none for its own.
    Chain(Vec<(String, u32)>),
    /// What its chances begin with.
    Seed(u32),
}

/// What a sequence does to a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Opens and closes its gate.
    Gate,
    /// Plays notes on it.
    Note,
    /// Sets a parameter, by the lane of the same name.
    Param,
}

/// What happens to the edits that are collected until they are committed. There is one collection for
/// the instance: senders of single datagrams have a new address each time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Drafted {
    /// One more.
    Edit(Edit),
    /// They are forgotten.
    Abort,
}
