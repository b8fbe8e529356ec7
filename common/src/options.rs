//! What an instance was started with: read once by `understudy up`, handed down unchanged.

use serde::{Deserialize, Serialize};

/// The variable in which all processes of an instance find the options, as JSON.
pub const VARIABLE: &str = "UNDERSTUDY_OPTIONS";

/// The options of a start, checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// The instance's name.
    pub instance: String,
    /// `auto`, `device`, `device:NAME`, `wav:PATH` (absolute) or `null`.
    pub sink: String,
    /// No clock.
    pub freewheel: bool,
    /// ADDR:PORT to listen at.
    pub osc: String,
    /// The port that MIDI comes from, and the module that its notes go to, if it is listened to.
    pub midi: Option<(String, String)>,
    /// Whether an Ableton Link session is followed.
    pub link: bool,
    /// Frames a second.
    pub rate_hz: u32,
    /// Frames in a block.
    pub block_frames: u32,
    /// Blocks of lead; without one, what the machine's real-time priority allows.
    pub lead_blocks: Option<u32>,
    /// Channels of sound.
    pub channels: u32,
    /// Start with the patch that lies among the instance's files, checked; else with the default patch.
    pub patch: bool,
    /// Start where the instance last was.
    pub resume: bool,
}

/// What the launcher tells whoever waits in `understudy up`, as one JSON line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Started {
    /// Sound can be made; what to tell the user.
    Ready(String),
    /// It cannot start, and why.
    Failed(String),
}
