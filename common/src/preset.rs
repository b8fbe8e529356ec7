//! Presets of modules: the requests at `/preset/…`. They contain names; the supervisor, which holds the
//! patch in force, translates them into events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::units::FrameIndex;

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Preset {
    /// Save the present values of the parameters.
    Save {
        /// The module's name.
        module: String,
        /// The preset's name.
        name: String,
    },
    /// Set the module to a preset, or to a mixture of two.
    Morph {
        /// The module's name.
        module: String,
        /// The presets' names; both the same for a single preset.
        between: (String, String),
        /// 0 is the first preset, 1 the second.
        position: f32,
        /// Duration in milliseconds; `None`: that of an ordinary parameter change.
        ms: Option<f32>,
        /// The frame; `None`: as soon as possible.
        at: Option<FrameIndex>,
    },
}

/// A saved preset, as in the command log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedPreset {
    /// The module's name.
    pub module: String,
    /// The preset's name.
    pub name: String,
    /// Values by parameter name; a parameter that is missing has its default.
    pub values: BTreeMap<String, f32>,
}
