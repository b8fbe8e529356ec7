//! What must hold, whatever goes wrong: a file each, asked after each event or at the end.

pub mod exactly_once;
pub mod hitless;
pub mod liveness;
pub mod one_history;
pub mod rings;

/// What was found to be wrong.
pub type Violation = String;
