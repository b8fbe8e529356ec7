//! What a user may ask of the music, after names have become numbers.
//!
//! An `Event` is small and `Copy`, so that it crosses into the render thread by value. A `Command`
//! is what the log keeps and what is broadcast to every worker: an event, or a whole patch.

use serde::{Deserialize, Serialize};

/// One change to the running graph, applied at the start of a block.
///
/// Modules and parameters are numbered by the patch in force: a module by its place in the patch,
/// a parameter by its place in the description of the module's type.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// Set a parameter; the engine smooths it.
    Param {
        /// Place of the module in the patch.
        module: u16,
        /// Place of the parameter in the module's type.
        param: u16,
        /// The new value, finite and in the parameter's range, in its unit.
        value: f32,
    },
    /// Open or close a module's gate.
    Gate {
        /// Place of the module in the patch.
        module: u16,
        /// 0 is off; above 0, up to 1, is on with that velocity.
        level: f32,
    },
    /// Let the engine play (`true`) or fade it out and keep it silent (`false`).
    Run(bool),
    /// Leave a module out from now on, since a worker has died of it: its first input goes straight
    /// to its outputs. The next patch tries it again.
    Bypass(u16),
}

/// One accepted command: what the log keeps, what every worker receives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// A small change to the running graph.
    Event(Event),
    /// Play this patch from now on: a patch file's JSON text, already found good.
    Patch(String),
}
