//! How soon a failed process is started again: at once, unless it keeps failing.
//!
//! A death from outside says nothing about the process, so one that had been ready is replaced at
//! once, however often. What dies of itself, or never gets ready, is tried again with growing
//! pauses, without end but never in a tight loop; the state shown meanwhile is `degraded`.

/// Failures in a row that are answered at once.
const FREE: u32 = 2;
/// The first pause, doubled with each further failure.
const PAUSE_US: u64 = 20_000;
/// The longest pause.
const PAUSE_MAX_US: u64 = 5_000_000;
/// A process that has been well for so long has put its failures behind it.
const FORGIVE_US: u64 = 10_000_000;

/// The record of one seat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    failures: u32,
    ready_since_us: Option<u64>,
}

impl Record {
    /// It has become ready.
    pub fn ready(&mut self, now_us: u64) {
        self.ready_since_us = Some(now_us);
    }

    /// It has ended or was given up; returns the pause before the next try, in microseconds.
    pub fn failed(&mut self, now_us: u64, own_making: bool) -> u64 {
        let well = self
            .ready_since_us
            .take()
            .map(|since| now_us.saturating_sub(since));
        match well {
            Some(_) if !own_making => self.failures = 0,
            Some(well_us) if well_us >= FORGIVE_US => self.failures = 1,
            _ => self.failures += 1,
        }
        if self.failures <= FREE {
            return 0;
        }
        (PAUSE_US << (self.failures - FREE - 1).min(16)).min(PAUSE_MAX_US)
    }

    /// Whether it has not failed but once or twice lately, or is up for long enough to be forgiven.
    #[must_use]
    pub fn is_well(&self, now_us: u64) -> bool {
        let well_us = self
            .ready_since_us
            .map(|since| now_us.saturating_sub(since));
        self.failures <= FREE || well_us.is_some_and(|well_us| well_us >= FORGIVE_US)
    }

    /// Failures in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_from_outside_are_answered_at_once_for_ever() {
        let mut record = Record::default();
        for now in 0..1_000 {
            record.ready(now);
            assert_eq!(record.failed(now, false), 0);
        }
    }

    #[test]
    fn a_crash_loop_gets_slower_but_never_stops() {
        let mut record = Record::default();
        let pauses: Vec<u64> = (0..30).map(|now| record.failed(now, true)).collect();
        assert_eq!(&pauses[..4], &[0, 0, PAUSE_US, 2 * PAUSE_US]);
        assert_eq!(pauses[29], PAUSE_MAX_US);
        record.ready(100);
        assert_eq!(record.failed(100 + FORGIVE_US, true), 0);
    }
}
