//! Absences of the supervisor itself (it was stopped, or the whole machine was): silence of other processes meanwhile
//! does not count. No process is judged before all have had time to respond again.

use std::time::{Duration, Instant};

use platform::say;

use super::Stack;

/// A shorter absence cannot make another process appear silent.
const NOTICEABLE: Duration = Duration::from_millis(200);
/// The time for all processes to respond after an absence.
const HEARS_FIRST: Duration = Duration::from_millis(500);

/// The supervisor's record of its own absences.
pub struct Absence {
    /// The time of the last check.
    here: Instant,
    away: Duration,
    judges_from: Instant,
}

impl Absence {
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            here: now,
            away: Duration::ZERO,
            judges_from: now,
        }
    }

    /// The time from `start` to the last check, without absences and excused time.
    pub fn present(&self, start: Instant) -> Duration {
        self.here.duration_since(start).saturating_sub(self.away)
    }

    /// Excludes a time for all processes: before the first block is played, while the stack waits for a device, a worker
    /// can prove no more blocks than the lead.
    pub fn excuse(&mut self, time: Duration) {
        self.away += time;
    }

    /// Checks for an absence; returns its duration if it was long.
    fn look(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let gone = now - self.here;
        self.here = now;
        if gone < NOTICEABLE {
            return None;
        }
        self.away += gone;
        self.judges_from = self.here + HEARS_FIRST;
        Some(gone)
    }
}

impl Stack {
    /// Detects an absence. Call this before any other work, and again before judging a process.
    pub(super) fn notice_absence(&mut self) {
        let Some(gone) = self.absence.look() else {
            return;
        };
        say::line(
            "supervisor",
            &format!(
                "the supervisor was absent for {} ms; silence of other processes meanwhile does not count",
                gone.as_millis()
            ),
        );
    }

    /// Whether the supervisor was present long enough to judge silence; if not, the timers of all peers restart now. If
    /// silence is measured by the wall clock, call this after reading the evidence: the supervisor may have been absent
    /// since it began to read.
    pub(super) fn judges(&mut self) -> bool {
        self.notice_absence();
        let now = self.absence.here;
        if now >= self.absence.judges_from {
            return true;
        }
        for process in self.peers.processes.values_mut() {
            process.heard = now;
            process.unlinked = process.unlinked.map(|_| now);
        }
        self.cursor.forgive();
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An absence whose last check was `ms` milliseconds ago.
    fn looked_before(ms: u64) -> (Absence, Instant) {
        let mut absence = Absence::new();
        let start = absence.here - Duration::from_secs(60);
        absence.here -= Duration::from_millis(ms);
        (absence, start)
    }

    #[test]
    fn a_short_absence_is_not_one_and_counts_for_everybody() {
        let (mut absence, start) = looked_before(20);
        let before = absence.present(start);
        assert!(absence.look().is_none());
        assert!(absence.present(start) >= before + Duration::from_millis(20));
        assert!(absence.here >= absence.judges_from);
    }

    #[test]
    fn a_long_one_counts_for_nobody_and_all_may_speak_before_anybody_is_judged() {
        let (mut absence, start) = looked_before(5_000);
        let before = absence.present(start);
        assert!(
            absence
                .look()
                .is_some_and(|gone| gone >= Duration::from_secs(5))
        );
        assert_eq!(absence.present(start), before);
        assert_eq!(absence.judges_from, absence.here + HEARS_FIRST);
    }

    #[test]
    fn more_time_than_there_was_is_never_excused() {
        let (mut absence, _) = looked_before(0);
        absence.excuse(Duration::from_secs(9));
        assert_eq!(absence.present(absence.here), Duration::ZERO);
    }
}
