//! The pause before a failed process is started again: none, unless the process keeps failing.
//!
//! A process that was ready and is then killed from outside is replaced at once, however often: such a
//! death says nothing about the process. A process that crashes, exits or never becomes ready is
//! retried with growing pauses. The retries never stop and never form a tight loop. `status` shows
//! `degraded` meanwhile.

/// Failures in a row that are answered without a pause.
const FREE: u32 = 2;
/// The first pause, in microseconds; each further failure doubles it.
const PAUSE_US: u64 = 20_000;
/// The longest pause, in microseconds.
const PAUSE_MAX_US: u64 = 5_000_000;
/// A process that has been ready for this long, in microseconds, is forgiven its earlier failures.
const FORGIVE_US: u64 = 10_000_000;

/// The failures of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    failures: u32,
    ready_since_us: Option<u64>,
}

impl Record {
    /// The process has become ready.
    pub fn ready(&mut self, now_us: u64) {
        self.ready_since_us = Some(now_us);
    }

    /// The process has ended or was given up. `own_making`: nothing outside killed it. Returns the pause
    /// before the next start, in microseconds.
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

    /// Whether the process has at most two failures in a row, or has been ready long enough to be forgiven.
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
