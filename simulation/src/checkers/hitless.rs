//! Within the fault model nothing is heard: no block is ever played in place of one that was not
//! there.

use super::Violation;

/// Checks a run in which each fault waited until both workers were ready.
///
/// # Errors
/// When something was concealed.
pub fn check(concealed: u64) -> Result<(), Violation> {
    match concealed {
        0 => Ok(()),
        blocks => Err(format!(
            "{blocks} blocks were concealed, within the fault model"
        )),
    }
}
