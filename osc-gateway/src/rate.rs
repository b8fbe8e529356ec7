//! Rate limits for each sender: a sender that exceeds its limit does not affect the others.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// The limit of tracked senders; beyond it, the sender with the largest remaining allowance is forgotten.
const SENDERS_MAX: usize = 1_024;

/// A rate limit for each sender, by the generic cell rate algorithm (ITU-T I.371): the only state of a sender is the
/// time at which its allowance is full again.
#[derive(Debug)]
pub struct Rates {
    each: Duration,
    whole: BTreeMap<SocketAddr, Duration>,
}

impl Rates {
    /// An allowance of `a_second` (1 or more).
    #[must_use]
    pub fn new(a_second: u32) -> Self {
        Self {
            each: Duration::from_secs(1) / a_second.max(1),
            whole: BTreeMap::new(),
        }
    }

    /// Whether the sender may act once more at `now`, a time since any fixed moment; if so, the action is charged.
    /// `at_once` is the burst: the time whose allowance the sender may use at once.
    pub fn allow(&mut self, sender: SocketAddr, now: Duration, at_once: Duration) -> bool {
        let whole = self.whole.get(&sender).copied().unwrap_or_default();
        let allowed = whole.max(now) + self.each <= now + at_once;
        if allowed {
            self.charge(sender, 1, now);
        }
        allowed
    }

    /// Charges the sender for `count` actions, allowed or not.
    pub fn charge(&mut self, sender: SocketAddr, count: u32, now: Duration) {
        if !self.whole.contains_key(&sender) && self.whole.len() >= SENDERS_MAX {
            let quietest = self.whole.iter().min_by_key(|(_, whole)| **whole);
            if let Some(quietest) = quietest.map(|(sender, _)| *sender) {
                self.whole.remove(&quietest);
            }
        }
        let whole = self.whole.entry(sender).or_default();
        *whole = (*whole).max(now) + self.each * count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sender(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn allowed(rates: &mut Rates, sender: SocketAddr, tries: u32, now: Duration) -> usize {
        (0..tries)
            .filter(|_| rates.allow(sender, now, SECOND))
            .count()
    }

    #[test]
    fn who_goes_beyond_the_rate_waits_and_nobody_else_does() {
        let mut rates = Rates::new(100);
        let now = Duration::from_secs(7);
        assert_eq!(allowed(&mut rates, sender(1), 1_000, now), 100);
        assert_eq!(allowed(&mut rates, sender(2), 50, now), 50);
        let later = now + Duration::from_millis(100);
        assert_eq!(allowed(&mut rates, sender(1), 1_000, later), 10);
        // A bundle of many is paid for afterwards.
        rates.charge(sender(2), 200, later);
        assert_eq!(allowed(&mut rates, sender(2), 10, later), 0);
        let long = later + Duration::from_secs(60);
        assert_eq!(allowed(&mut rates, sender(1), 1_000, long), 100);
    }

    #[test]
    fn less_may_be_allowed_at_once() {
        let mut rates = Rates::new(100);
        let (now, quarter) = (SECOND, SECOND / 4);
        let tries = |rates: &mut Rates, now| {
            (0..100)
                .filter(|_| rates.allow(sender(1), now, quarter))
                .count()
        };
        assert_eq!(tries(&mut rates, now), 25);
        assert_eq!(tries(&mut rates, now + quarter), 25);
        // Who has used up more than that already waits until it is made good.
        assert_eq!(allowed(&mut rates, sender(1), 200, now + quarter), 75);
        assert_eq!(tries(&mut rates, now + 3 * quarter), 0);
    }

    #[test]
    fn the_number_of_senders_is_bounded_and_the_busiest_is_not_forgotten() {
        let mut rates = Rates::new(100);
        let now = Duration::from_secs(1);
        assert_eq!(allowed(&mut rates, sender(1), 200, now), 100);
        for port in 2..5_000 {
            assert!(rates.allow(sender(port), now, SECOND));
        }
        assert_eq!(rates.whole.len(), SENDERS_MAX);
        assert!(!rates.allow(sender(1), now, SECOND));
    }
}
