//! The invariants, whatever goes wrong: one file each, checked after each event or at the end.

pub mod exactly_once;
pub mod hitless;
pub mod liveness;
pub mod one_history;
pub mod rings;

/// A description of a broken invariant.
pub type Violation = String;
