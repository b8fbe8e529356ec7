//! Presets of modules: what `/preset/…` asks for. Names stay names until the supervisor, who holds the
//! patch in force, makes events of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::units::FrameIndex;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Preset {
    /// Keep the values that the parameters have.
    Save {
        /// The module's name.
        module: String,
        /// The preset's.
        name: String,
    },
    /// Set the module to a preset, or between two.
    Morph {
        /// The module's name.
        module: String,
        /// The presets' names; twice the same, if there is but one.
        between: (String, String),
        /// 0 is the first, 1 the second.
        position: f32,
        /// How long it takes, in milliseconds; as long as any change, if none are given.
        ms: Option<f32>,
        /// At which frame; as soon as can be, if none is given.
        at: Option<FrameIndex>,
    },
}

/// A preset to keep, as the log has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedPreset {
    /// The module's name.
    pub module: String,
    /// The preset's.
    pub name: String,
    /// Values by the names of parameters; what is missing is at its default.
    pub values: BTreeMap<String, f32>,
}
