//! A line for the log: standard error, which the launcher has led into the instance's log file.

use std::{
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

/// Writes a line, with the time of day (UTC) and who says it. A log that cannot be written is no
/// reason to die.
pub fn line(who: &str, text: &str) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let (s, ms) = (now.as_secs(), now.subsec_millis());
    let (h, m, s) = (s / 3600 % 24, s / 60 % 60, s % 60);
    let _ = writeln!(
        std::io::stderr(),
        "{h:02}:{m:02}:{s:02}.{ms:03} {who}: {text}"
    );
}
