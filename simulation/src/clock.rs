//! Virtual time and seeded chance: the only sources of time and chance in a simulation.

use std::{cmp::Reverse, collections::BinaryHeap};

/// A queue of events, ordered by time; events of the same time come out in the order in which they were scheduled.
#[derive(Debug)]
pub struct Clock<E> {
    now_us: u64,
    next: u64,
    queue: BinaryHeap<Reverse<(u64, u64, E)>>,
}

impl<E: Ord> Clock<E> {
    /// A clock at time 0, without events.
    #[must_use]
    pub fn new() -> Self {
        Self {
            now_us: 0,
            next: 0,
            queue: BinaryHeap::new(),
        }
    }

    /// The present time: microseconds since the beginning.
    #[must_use]
    pub const fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Schedules an event this many microseconds from now.
    pub fn after(&mut self, us: u64, event: E) {
        self.next += 1;
        self.queue
            .push(Reverse((self.now_us + us, self.next, event)));
    }

    /// Takes the next event and advances the clock to its time.
    pub fn pop(&mut self) -> Option<E> {
        let Reverse((at, _, event)) = self.queue.pop()?;
        self.now_us = at;
        Some(event)
    }
}

impl<E: Ord> Default for Clock<E> {
    fn default() -> Self {
        Self::new()
    }
}

/// A pseudorandom number generator.
///
/// # Source
/// splitmix64: Sebastiano Vigna, 2015, <https://prng.di.unimi.it/splitmix64.c>.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// A generator: the same seed gives the same numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % limit.max(1)
    }

    /// A number from `low` up to, not including, `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low)
    }

    /// True with a probability of 1 in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// The finishing function of splitmix64: a good hash of one number.
#[must_use]
pub const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
