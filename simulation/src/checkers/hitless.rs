//! Hitless: within the fault model nothing is audible, so no block is ever concealed.

use super::Violation;

/// Checks a run in which each fault waited until both workers were ready.
///
/// # Errors
/// If a block was concealed.
pub fn check(concealed: u64) -> Result<(), Violation> {
    match concealed {
        0 => Ok(()),
        blocks => Err(format!(
            "{blocks} blocks were concealed, within the fault model"
        )),
    }
}
