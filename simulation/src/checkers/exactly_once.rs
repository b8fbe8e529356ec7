//! Exactly once: every accepted command is in the log once and in order, and only poison is in quarantine.

use super::Violation;
use crate::{log::Log, music::Nature};

/// Compares the log with the commands that the sender was told to be accepted.
///
/// # Errors
/// If a command is missing, doubled or out of order, or a harmless one is in quarantine, or a module was
/// bypassed without cause.
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
