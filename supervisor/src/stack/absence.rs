//! A supervisor that was itself away (stopped, or the whole machine stood still) has no say in who was
//! silent meanwhile: nobody is judged before all have had time to speak again.

use std::time::{Duration, Instant};

use platform::say;

use super::Stack;

/// Away for less than this, nobody can have been taken for one who is silent.
const NOTICEABLE: Duration = Duration::from_millis(200);
/// Time for all to speak again, after it.
const HEARS_FIRST: Duration = Duration::from_millis(500);

/// What the supervisor knows of its own absences.
pub struct Absence {
    /// When it was last seen at work.
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

    /// How long it was away, in all.
    pub const fn away(&self) -> Duration {
        self.away
    }

    /// It is at work; returns how long it had been away, if that was long.
    fn look(&mut self) -> Option<Duration> {
        let gone = self.here.elapsed();
        self.here = Instant::now();
        if gone < NOTICEABLE {
            return None;
        }
        self.away += gone;
        self.judges_from = self.here + HEARS_FIRST;
        Some(gone)
    }
}

impl Stack {
    /// To be asked before everything else that is done.
    pub(super) fn notice_absence(&mut self) {
        let Some(gone) = self.absence.look() else {
            return;
        };
        say::line(
            "supervisor",
            &format!(
                "it was away itself for {} ms; whoever was silent then is forgiven",
                gone.as_millis()
            ),
        );
    }

    /// Whether it was there long enough to tell who is silent; if not, everybody's time begins now.
    pub(super) fn judges(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.absence.judges_from {
            return true;
        }
        for process in self.peers.processes.values_mut() {
            process.heard = now;
            process.unlinked = process.unlinked.map(|_| now);
        }
        for watch in self.watches.iter_mut().flatten() {
            watch.forgive();
        }
        self.cursor.forgive();
        false
    }
}
