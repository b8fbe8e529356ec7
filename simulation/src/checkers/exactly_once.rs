//! Every accepted command is in the log exactly once and in order; only poison is left out.

use super::Violation;
use crate::{log::Log, music::Nature};

/// Checks the log against what the source was told to be accepted.
///
/// # Errors
/// When a command is missing, doubled or out of order, or an innocent one was left out.
pub fn check(log: &Log, acknowledged: u64, poison_can_be: bool) -> Result<(), Violation> {
    let mut last = 0;
    for (seq, command) in log.commands() {
        if log.quarantined(seq)
            && !matches!(
                command.nature,
                Nature::CrashOnApply
                    | Nature::HangOnApply
                    | Nature::CrashOnRender
                    | Nature::CrashLater(_)
            )
        {
            return Err(format!("command {seq} is harmless and was left out"));
        }
        if matches!(command.nature, Nature::Bypass(_)) {
            if !poison_can_be {
                return Err(format!(
                    "command {seq} bypasses a module that harmed nobody"
                ));
            }
            continue;
        }
        if command.submission_id != last + 1 {
            return Err(format!(
                "command {seq} has submission_id {}, {} was next",
                command.submission_id,
                last + 1
            ));
        }
        last = command.submission_id;
    }
    if last < acknowledged {
        return Err(format!(
            "{acknowledged} commands were acknowledged, {last} are in the log"
        ));
    }
    Ok(())
}
