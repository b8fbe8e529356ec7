//! Lines for the text log, written to standard error, which the launcher has redirected into the
//! instance's log file. Repetitions of a line are counted instead of written.

use std::{
    io::Write,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// After this time, a line that is still being repeated is written once more, with its count.
const AGAIN: Duration = Duration::from_secs(60);

static SAID: Mutex<Repeats> = Mutex::new(Repeats::new());

/// Writes a line with the time of day (UTC) and the process's name. A repetition within a minute is only
/// counted; the count is written before the next line. An error in writing the log is ignored.
pub fn line(who: &str, text: &str) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    for text in said.next(now, &format!("{who}: {text}")) {
        let _ = writeln!(std::io::stderr(), "{} {text}", clock(now));
    }
}

/// The time of day (UTC), to the millisecond.
fn clock(now: Duration) -> String {
    let (s, ms) = (now.as_secs(), now.subsec_millis());
    let (h, m, s) = (s / 3600 % 24, s / 60 % 60, s % 60);
    format!("{h:02}:{m:02}:{s:02}.{ms:03}")
}

/// The last line, and how often it was repeated.
struct Repeats {
    text: String,
    /// When the line was written last, since 1970.
    written: Duration,
    /// How often the line was repeated since then.
    more: u64,
}

impl Repeats {
    const fn new() -> Self {
        Self {
            text: String::new(),
            written: Duration::ZERO,
            more: 0,
        }
    }

    /// The lines to write for `text`.
    fn next(&mut self, now: Duration, text: &str) -> Vec<String> {
        // If the clock was set back, the line is written, as after a minute.
        let soon = now.checked_sub(self.written).is_some_and(|d| d < AGAIN);
        if text == self.text && soon {
            self.more += 1;
            return Vec::new();
        }
        let mut lines = Vec::new();
        if text == self.text {
            let times = self.more + 1;
            lines.push(match times {
                1 => text.to_owned(),
                _ => format!("{text} ({times} times since {})", clock(self.written)),
            });
        } else {
            if self.more > 0 {
                let (last, times) = (&self.text, self.more);
                lines.push(match times {
                    1 => format!("{last} (once more)"),
                    _ => format!("{last} ({times} times more)"),
                });
            }
            text.clone_into(&mut self.text);
            lines.push(text.to_owned());
        }
        (self.written, self.more) = (now, 0);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_said_again_and_again_is_counted() {
        let mut said = Repeats::new();
        let mut at = |seconds, text| said.next(Duration::from_secs(seconds), text);
        assert_eq!(at(100, "full"), ["full"]);
        assert!(at(101, "full").is_empty());
        assert!(at(159, "full").is_empty());
        assert_eq!(at(160, "full"), ["full (3 times since 00:01:40.000)"]);
        assert!(at(161, "full").is_empty());
        assert!(at(162, "full").is_empty());
        assert_eq!(at(163, "room"), ["full (2 times more)", "room"]);
        assert_eq!(at(164, "full"), ["full"]);
        assert!(at(164, "full").is_empty());
        assert_eq!(at(165, "room"), ["full (once more)", "room"]);
        // The clock is set back.
        assert_eq!(at(30, "room"), ["room"]);
        assert_eq!(at(1_000, "room"), ["room"]);
    }
}
