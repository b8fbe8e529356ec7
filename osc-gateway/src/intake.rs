//! The rules that admit a datagram to the inbox or refuse it, before the datagram is copied or decoded.
//!
//! There are three rules, the same for every sender. Each sender has a *rate* ([`Rates`]). Each sender has a
//! *share*: it may hold as much of the backlog as is free, so that one more sender always finds room. A sender
//! that is refused again and again is *filtered*: the kernel refuses its datagrams before they take room in
//! the socket's queue, except for a few that show its rate; once that has fallen, the sender is admitted
//! again. `drain` applies these rules, tests call them directly; this file uses no socket and no clock. Any
//! future listener (TCP, a console) uses the same rules, keyed by the peer's address.
//!
//! # Source
//! The share: A. K. Choudhury, E. L. Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet
//! Switches", IEEE/ACM Transactions on Networking 6 (2), 1998, with a factor of 1.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use common::inbox::FILTERED_MAX;
use platform::filter::PASSED;

use crate::rate::Rates;

/// The rate limit of one sender, in messages per second; also the total limit of all filtered senders that are
/// admitted again.
pub const MESSAGES_A_SECOND: u32 = 120_000;
/// The burst of a sender: the messages of this time may arrive at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The divisor of all shares while the kernel's queue fills up: the flooding senders must be found before the queue
/// is full.
const CROWD: usize = 256;
/// Refused messages within a [`TICK`] after which a sender is filtered.
const FILTER_AFTER: u64 = 64;
/// The period of [`Intake::tick`] while a sender is refused.
pub const TICK: Duration = Duration::from_millis(100);
/// Ticks without a message of a filtered sender after which the sender counts as quiet.
const QUIET_TICKS: u32 = 2;
/// The wait of a filtered sender that is not quiet; it doubles each time the sender is filtered, up to 32-fold.
const PENALTY: Duration = Duration::from_millis(200);
const PENALTY_DOUBLINGS: u32 = 5;
/// The time after which an offender that keeps within its limits is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(10);
/// The least time between two reports to an offender.
const TOLD: Duration = Duration::from_secs(1);
/// The limit of tracked offenders; further senders are refused without a report.
const OFFENDERS_MAX: usize = 1_024;

/// The decision on a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Admit the datagram.
    Admit,
    /// Refuse the datagram. With a number, report to the sender approximately how many messages were refused.
    Refuse(Option<u64>),
}

/// The available room.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// The free words of the backlog.
    pub free_words: usize,
    /// The kernel's queue fills up.
    pub crowded: bool,
}

/// A sender that was refused recently.
#[derive(Debug, Default)]
struct Offender {
    /// The kernel refuses the sender at least until this time.
    filtered: Option<Duration>,
    /// How often the sender was filtered.
    times: u32,
    /// Messages of the sender in this tick: refused ones, or ones that the filter passed.
    seen: u64,
    quiet_ticks: u32,
    last: Duration,
    told: Option<Duration>,
    untold: u64,
}

/// See the file's head.
#[derive(Debug)]
pub struct Intake {
    rates: Rates,
    /// The words of the backlog that each sender holds.
    held: BTreeMap<SocketAddr, usize>,
    offenders: BTreeMap<SocketAddr, Offender>,
    filtered: usize,
    changed: bool,
    /// The messages admitted since the last tick, and the time of that tick.
    admitted: u64,
    ticked: Duration,
}

impl Intake {
    /// Starts with the senders that a predecessor had filtered.
    #[must_use]
    pub fn new(filtered: impl IntoIterator<Item = SocketAddr>) -> Self {
        let mut intake = Self {
            rates: Rates::new(MESSAGES_A_SECOND),
            held: BTreeMap::new(),
            offenders: BTreeMap::new(),
            filtered: 0,
            changed: true,
            admitted: 0,
            ticked: Duration::ZERO,
        };
        for sender in filtered {
            intake.filter(sender, Duration::ZERO);
        }
        intake
    }

    /// Judges a datagram by its messages and the words that it would take.
    pub fn judge(
        &mut self,
        sender: SocketAddr,
        messages: u32,
        words: usize,
        room: Room,
        now: Duration,
    ) -> Verdict {
        let held = self.held.get(&sender).copied().unwrap_or(0);
        let share = match room.crowded {
            true => room.free_words / CROWD,
            false => room.free_words,
        };
        let offender = self.offenders.get(&sender);
        let filtered = offender.is_some_and(|offender| offender.filtered.is_some());
        if !filtered && held + words <= share && self.rates.allow(sender, now, AT_ONCE) {
            // The further messages of a bundle are charged afterwards.
            self.rates.charge(sender, messages.saturating_sub(1), now);
            self.admitted += u64::from(messages);
            self.holds(sender, words);
            return Verdict::Admit;
        }
        self.refuse(sender, u64::from(messages), now)
    }

    fn refuse(&mut self, sender: SocketAddr, messages: u64, now: Duration) -> Verdict {
        if !self.offenders.contains_key(&sender) && self.offenders.len() >= OFFENDERS_MAX {
            return Verdict::Refuse(None);
        }
        let offender = self.offenders.entry(sender).or_default();
        offender.seen += messages;
        offender.last = now;
        // Each message that the filter passes stands for those that it refuses.
        let each = match offender.filtered {
            Some(_) => u64::from(PASSED),
            None => 1,
        };
        offender.untold += messages * each;
        let due = offender.told.is_none_or(|told| now >= told + TOLD);
        let tell = due.then(|| std::mem::take(&mut offender.untold));
        if due {
            offender.told = Some(now);
        }
        if offender.filtered.is_none() && offender.seen >= FILTER_AFTER {
            self.filter(sender, now);
        }
        Verdict::Refuse(tell)
    }

    fn filter(&mut self, sender: SocketAddr, now: Duration) {
        if self.filtered >= FILTERED_MAX {
            return;
        }
        let offender = self.offenders.entry(sender).or_default();
        let penalty = PENALTY * (1 << offender.times.min(PENALTY_DOUBLINGS));
        offender.filtered = Some(now + penalty);
        offender.times += 1;
        (offender.seen, offender.quiet_ticks, offender.last) = (0, 0, now);
        self.filtered += 1;
        self.changed = true;
    }

    /// Adds words of the backlog to a sender's account.
    pub fn holds(&mut self, sender: SocketAddr, words: usize) {
        *self.held.entry(sender).or_default() += words;
    }

    /// Removes freed words from a sender's account.
    pub fn freed(&mut self, sender: SocketAddr, words: usize) {
        if let Some(held) = self.held.get_mut(&sender) {
            *held = held.saturating_sub(words);
            if *held == 0 {
                self.held.remove(&sender);
            }
        }
    }

    /// Whether a sender is refused, so that [`Self::tick`] must be called.
    #[must_use]
    pub fn watches(&self) -> bool {
        !self.offenders.is_empty()
    }

    /// Admits filtered senders again: all that have become quiet, and as many with a lower rate as the spare rate
    /// allows, the quietest first.
    pub fn tick(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.ticked).min(FORGOTTEN);
        if elapsed < TICK {
            return;
        }
        self.ticked = now;
        let at_most = (elapsed.as_secs_f64() * f64::from(MESSAGES_A_SECOND)) as u64;
        let mut spare = at_most.saturating_sub(std::mem::take(&mut self.admitted));
        let mut candidates = Vec::new();
        for (sender, offender) in &mut self.offenders {
            let seen = std::mem::take(&mut offender.seen);
            let Some(until) = offender.filtered else {
                continue;
            };
            offender.quiet_ticks = match seen {
                0 => offender.quiet_ticks + 1,
                _ => 0,
            };
            let rate = seen * u64::from(PASSED);
            let waited = now >= until && rate <= at_most / 2;
            if waited || offender.quiet_ticks >= QUIET_TICKS {
                candidates.push((rate, *sender));
            }
        }
        candidates.sort_unstable();
        for (rate, sender) in candidates {
            if rate > spare {
                break;
            }
            spare -= rate;
            if let Some(offender) = self.offenders.get_mut(&sender) {
                offender.filtered = None;
                offender.last = now;
                self.filtered -= 1;
                self.changed = true;
            }
        }
        self.offenders
            .retain(|_, o| o.filtered.is_some() || now < o.last + FORGOTTEN);
    }

    /// The senders that the kernel must refuse, if the list has changed since the last call.
    pub fn filter_changed(&mut self) -> Option<Vec<SocketAddr>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let filtered = |(sender, offender): (&SocketAddr, &Offender)| {
            offender.filtered.is_some().then_some(*sender)
        };
        Some(self.offenders.iter().filter_map(filtered).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: usize = 12;
    const ALL: usize = 1 << 20;

    fn sender(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn room(free_words: usize) -> Room {
        Room {
            free_words,
            crowded: false,
        }
    }

    /// A backlog that is not processed, while all senders but the last send as much as possible.
    fn fill(intake: &mut Intake, floods: u16, now: Duration) -> usize {
        let mut free = ALL;
        for turn in 0..200_000_u32 {
            let who = sender((turn % u32::from(floods)) as u16 + 1);
            if intake.judge(who, 1, WORDS, room(free), now) == Verdict::Admit {
                free -= WORDS;
            }
        }
        free
    }

    #[test]
    fn however_many_flood_there_is_room_for_one_more() {
        for floods in [1, 10, 100, 1_000] {
            let mut intake = Intake::new([]);
            let now = Duration::from_secs(7);
            let free = fill(&mut intake, floods, now);
            // With n of them each holds, and leaves, an n+1st. A rate may have stopped them earlier.
            assert!(
                free + WORDS > ALL / (usize::from(floods) + 1),
                "{floods}: {free}"
            );
            let verdict = intake.judge(sender(9_999), 1, WORDS, room(free), now);
            assert_eq!(verdict, Verdict::Admit);
            let filtered = intake.filter_changed().unwrap();
            assert_eq!(filtered.len(), usize::from(floods).min(FILTERED_MAX));
            assert!(!filtered.contains(&sender(9_999)));
            assert_eq!(intake.filter_changed(), None);
        }
    }

    #[test]
    fn who_is_too_fast_is_filtered_told_now_and_then_and_let_in_once_quiet() {
        let mut intake = Intake::new([]);
        let mut now = Duration::from_secs(7);
        let who = sender(1);
        let (mut admitted, mut refused, mut told) = (0, 0, Vec::new());
        for _ in 0..MESSAGES_A_SECOND + 1_000 {
            match intake.judge(who, 1, WORDS, room(usize::MAX), now) {
                Verdict::Admit => admitted += 1,
                Verdict::Refuse(tell) => {
                    refused += 1;
                    told.extend(tell);
                }
            }
        }
        // A message's time is a whole number of nanoseconds.
        assert!((MESSAGES_A_SECOND..MESSAGES_A_SECOND + 10).contains(&admitted));
        assert_eq!(admitted + refused, MESSAGES_A_SECOND + 1_000);
        assert_eq!(told, [1]);
        assert_eq!(intake.filter_changed(), Some(vec![who]));
        // As loud as before: for each that the filter lets through, it refuses 63.
        for _ in 0..50 {
            now += TICK;
            for _ in 0..200_000 / 10 / PASSED {
                let verdict = intake.judge(who, 1, WORDS, room(ALL), now);
                assert!(matches!(verdict, Verdict::Refuse(_)));
            }
            intake.tick(now);
            assert_eq!(intake.filter_changed(), None);
        }
        // Quiet.
        for _ in 0..QUIET_TICKS {
            assert!(intake.watches());
            now += TICK;
            intake.tick(now);
        }
        assert_eq!(intake.filter_changed(), Some(vec![]));
        // It still holds all that was admitted.
        let verdict = intake.judge(who, 1, WORDS, room(usize::MAX), now);
        assert_eq!(verdict, Verdict::Admit);
        now += FORGOTTEN;
        intake.tick(now);
        assert!(!intake.watches());
    }

    #[test]
    fn of_many_who_are_slower_now_as_many_are_let_in_as_there_is_room_for() {
        let senders: Vec<SocketAddr> = (1..=100).map(sender).collect();
        let mut intake = Intake::new(senders.clone());
        assert_eq!(intake.filter_changed().unwrap().len(), 100);
        // Each sends some 19,200 a second: 120,000 are those of 6.
        let mut now = Duration::ZERO;
        let mut filtered = senders.clone();
        for _ in 0..5 {
            now += TICK;
            for who in &senders {
                let come_through = match filtered.contains(who) {
                    true => 1_920 / PASSED,
                    false => 1_920,
                };
                for _ in 0..come_through {
                    let _ = intake.judge(*who, 1, WORDS, room(ALL), now);
                    intake.freed(*who, WORDS);
                }
            }
            intake.tick(now);
            filtered = intake.filter_changed().unwrap_or(filtered);
        }
        assert_eq!(filtered.len(), 94);
    }

    #[test]
    fn in_a_crowd_everybody_has_less_and_a_quiet_one_enough() {
        let mut intake = Intake::new([]);
        let crowded = Room {
            free_words: ALL,
            crowded: true,
        };
        let mut admitted = 0;
        while intake.judge(sender(1), 1, WORDS, crowded, Duration::ZERO) == Verdict::Admit {
            admitted += 1;
        }
        assert_eq!(admitted, ALL / CROWD / WORDS);
        let quiet = intake.judge(sender(2), 1, WORDS, crowded, Duration::ZERO);
        assert_eq!(quiet, Verdict::Admit);
        intake.freed(sender(1), WORDS);
        let again = intake.judge(sender(1), 1, WORDS, crowded, Duration::ZERO);
        assert_eq!(again, Verdict::Admit);
    }
}
