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
