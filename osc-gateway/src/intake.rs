//! The rules by which a datagram is admitted to the inbox or refused, before it is copied or decoded.
//!
//! There are three rules, the same for every sender. Each sender has a *rate* ([`Rates`]). Each sender has a
//! *share*: it may hold as much of the backlog as is free, so that one more sender always finds room. A sender
//! that is refused again and again is *filtered*: the kernel refuses its datagrams before they take room in
//! the socket's queue, except for a few that show its rate; once that has fallen, the sender is admitted
//! again. `drain` drives these rules, tests drive them by hand; there is no socket and no clock in here. Any
//! future listener (TCP, a console) uses the same rules, by the peer's address.
//!
//! # Source
//! The share: A. K. Choudhury, E. L. Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet
//! Switches", IEEE/ACM Transactions on Networking 6 (2), 1998, with a factor of 1.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use common::inbox::FILTERED_MAX;
use platform::filter::PASSED;

use crate::rate::Rates;

/// Messages a second of one sender, at the most; also of all filtered senders that are admitted again, together.
pub const MESSAGES_A_SECOND: u32 = 120_000;
/// The time whose messages a sender may send at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Everybody's share is divided by this while the kernel's queue fills up: the senders that flood it must be
/// found before it is full.
const CROWD: usize = 256;
/// Refused messages within a [`TICK`] after which a sender is filtered.
const FILTER_AFTER: u64 = 64;
/// How often [`Intake::tick`] is to be called while somebody is refused.
pub const TICK: Duration = Duration::from_millis(100);
/// Ticks without a sign of a filtered sender after which it is quiet.
const QUIET_TICKS: u32 = 2;
/// How long a filtered sender that is not quiet waits; the time doubles each time it is filtered, up to 32-fold.
const PENALTY: Duration = Duration::from_millis(200);
const PENALTY_DOUBLINGS: u32 = 5;
/// An offender that has behaved for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(10);
/// An offender is told so often at the most.
const TOLD: Duration = Duration::from_secs(1);
/// Offenders that are remembered, at the most; further ones are refused without being told.
const OFFENDERS_MAX: usize = 1_024;

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is admitted.
    Admit,
    /// It is refused; with a number, tell the sender that about so many of its messages were.
    Refuse(Option<u64>),
}

/// How much room there is.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Words of the backlog that are free.
    pub free_words: usize,
    /// The kernel's queue fills up.
    pub crowded: bool,
}

/// Who was refused of late.
#[derive(Debug, Default)]
struct Offender {
    /// The kernel refuses it, at least until then.
    filtered: Option<Duration>,
    /// How often it was filtered.
    times: u32,
    /// Messages of it in this tick: refused, or let through by the filter.
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
    /// Words of the backlog that each sender holds.
    held: BTreeMap<SocketAddr, usize>,
    offenders: BTreeMap<SocketAddr, Offender>,
    filtered: usize,
    changed: bool,
    /// Messages admitted since the last tick, and when that was.
    admitted: u64,
    ticked: Duration,
}

impl Intake {
    /// After a predecessor that had these filtered.
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

    /// Judges a datagram that holds so many messages and would take so many words.
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
            // A bundle of many is paid for afterwards.
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
        // What the filter lets through stands for what it does not.
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

    /// So many more words of the backlog are that sender's.
    pub fn holds(&mut self, sender: SocketAddr, words: usize) {
        *self.held.entry(sender).or_default() += words;
    }

    /// So many words of that sender's were freed.
    pub fn freed(&mut self, sender: SocketAddr, words: usize) {
        if let Some(held) = self.held.get_mut(&sender) {
            *held = held.saturating_sub(words);
            if *held == 0 {
                self.held.remove(&sender);
            }
        }
    }

    /// Whether somebody is refused, so that [`Self::tick`] is to be called.
    #[must_use]
    pub fn watches(&self) -> bool {
        !self.offenders.is_empty()
    }

    /// Admits filtered senders again: those that have become quiet, and of those whose rate has fallen as many
    /// as the spare rate allows, the quietest first.
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

    /// Whom the kernel is to refuse, if that has changed since this was last asked.
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

    /// A backlog that nobody works through, while everybody but the last sends as much as it can.
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
