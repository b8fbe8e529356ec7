//! Liveness: after the last fault there is progress again. The cursor moves, both workers become ready, and
//! accepted commands are applied.

use super::Violation;

/// A sample of the state, some time after the last fault.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Blocks played since the last sample.
    pub blocks: u64,
    /// Both workers are ready.
    pub protected: bool,
    /// The last command in the log.
    pub accepted: u64,
    /// The last command that the leader has applied.
    pub applied: u64,
    /// Commands are held.
    pub held: bool,
}

/// Checks a sample.
///
/// # Errors
/// If something makes no progress.
pub fn check(seen: Seen) -> Result<(), Violation> {
    match seen {
        Seen { blocks: 0, .. } => Err("the sound has stopped for ever".into()),
        Seen {
            protected: false, ..
        } => Err("no standby gets ready any more".into()),
        Seen { held: true, .. } => Err("commands are held for ever".into()),
        Seen {
            accepted, applied, ..
        } if applied < accepted => Err(format!(
            "{accepted} commands were accepted, {applied} are in"
        )),
        _ => Ok(()),
    }
}
