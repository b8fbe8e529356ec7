//! After the faults stop there is always progress again: the cursor moves, both workers get ready,
//! what was accepted is applied.

use super::Violation;

/// What is looked at a while after the last fault.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Blocks played in the last stretch.
    pub blocks: u64,
    /// Both workers are ready.
    pub protected: bool,
    /// Commands accepted, and commands in the last block.
    pub accepted: u64,
    /// See `accepted`.
    pub applied: u64,
    /// Commands are held back.
    pub held: bool,
}

/// Checks it.
///
/// # Errors
/// When something does not get on.
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
