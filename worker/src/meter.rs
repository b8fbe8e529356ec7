//! Measures how long each module takes, by reading the clock between modules, in a few blocks and for a few
//! modules at a time.
//!
//! The render thread calls the meter whenever the engine goes on to another module. Results go to the stage.
//! REAL-TIME: the clock is read without a system call, at most 258 times in one block of 16; a block that is cut
//! for events adds a reading per cut. A large patch, or a loop that is rendered frame by frame, is measured over
//! several blocks, so that no block becomes much longer. A block that was interrupted by other programs counts
//! but little.

use common::{limits::MODULES_MAX, stage::Costs};

/// One block of `EVERY` is measured.
const EVERY: u64 = 16;
/// How many module calls are measured in one block. The next measured block continues with the following calls.
const CALLS: usize = 256;
/// How many blocks of a new engine are not measured, since its code and data are not in the caches yet.
const COLD: u64 = 64;
/// How many rounds a mean takes to follow a change by two thirds: slowly upwards, quickly downwards, since only
/// a higher measurement may contain the time of other programs.
const ROUNDS_UP: f32 = 8.0;
const ROUNDS_DOWN: f32 = 2.0;
/// How many rounds pass before results are published.
const UNTOLD: u64 = 1;
/// A measurement of more than this multiple of the mean contains the time of other programs. It counts as the
/// multiple.
const SPIKE: f32 = 4.0;
/// The least mean to which `SPIKE` is applied. Below, the clock is too coarse to tell a spike.
const COARSE_NS: f32 = 200.0;
/// The index of the time outside all modules. A module's index is its place in the patch plus one.
const REST: usize = 0;

/// Measures one slot's modules; see the head of this file.
pub struct Meter {
    costs: Costs<'static>,
    /// How long a reading of the clock takes.
    clock_ns: u64,
    /// The fingerprint of the measured engine, and its number of modules.
    fingerprint: u64,
    modules: usize,
    blocks: u64,
    /// Whether this block is measured.
    measures: bool,
    /// How many module calls this block had so far, and the first call that is measured.
    calls: usize,
    first: usize,
    /// The index of the present call, and when it began.
    at: Option<(usize, u64)>,
    /// Nanoseconds in this round, by index, and the number of blocks measured in it.
    round: Vec<u64>,
    round_blocks: u64,
    /// Completed rounds of this engine.
    rounds: u64,
    /// Nanoseconds per block, by index; 0 before the first measurement.
    means: Vec<f32>,
}

impl Meter {
    /// Creates a meter that writes to `costs`. Clears what a predecessor has left there.
    pub fn new(costs: Costs<'static>, clock: fn() -> u64) -> Self {
        costs.clear();
        let pairs = (0..64).map(|_| (clock(), clock()));
        let clock_ns = pairs.map(|(one, two)| two.saturating_sub(one)).min();
        Self {
            costs,
            clock_ns: clock_ns.unwrap_or(0),
            fingerprint: 0,
            modules: 0,
            blocks: 0,
            measures: false,
            calls: 0,
            first: 0,
            at: None,
            round: vec![0; 1 + MODULES_MAX],
            round_blocks: 0,
            rounds: 0,
            means: vec![0.0; 1 + MODULES_MAX],
        }
    }

    /// A block begins, rendered by the engine with that fingerprint and `modules` modules.
    ///
    /// # Real-time
    /// Yes; linear in the modules if the engine has changed.
    pub fn begin(&mut self, fingerprint: u64, modules: usize, now_ns: u64) {
        if self.fingerprint != fingerprint {
            self.costs.clear();
            self.fingerprint = fingerprint;
            self.modules = modules.min(MODULES_MAX);
            self.means.fill(0.0);
            self.round.fill(0);
            (self.blocks, self.rounds) = (0, 0);
            self.end_round();
        }
        self.measures = self.blocks >= COLD && self.blocks.is_multiple_of(EVERY);
        self.blocks += 1;
        self.calls = 0;
        self.at = self.measures.then_some((REST, now_ns));
    }

    /// A module's call begins; `None` stands for time outside all modules.
    ///
    /// # Real-time
    /// Yes; constant time.
    pub fn call(&mut self, module: Option<u16>, clock: fn() -> u64) {
        if !self.measures {
            return;
        }
        let place = match module {
            None => Some(REST),
            Some(module) => {
                let call = self.calls;
                self.calls += 1;
                let is_now = (self.first..self.first + CALLS).contains(&call);
                is_now.then_some(1 + usize::from(module))
            }
        };
        if place.is_some() || self.at.is_some() {
            let now_ns = clock();
            self.charge(now_ns);
            self.at = place.map(|place| (place, now_ns));
        }
    }

    /// The block is done.
    ///
    /// # Real-time
    /// Yes; linear in the modules at the end of a round.
    pub fn end(&mut self, now_ns: u64) {
        if !self.measures {
            return;
        }
        self.charge(now_ns);
        self.at = None;
        self.round_blocks += 1;
        self.first += CALLS;
        if self.calls <= self.first {
            self.publish();
            self.end_round();
        }
    }

    fn charge(&mut self, now_ns: u64) {
        let Some((place, since_ns)) = self.at else {
            return;
        };
        if let Some(sum) = self.round.get_mut(place) {
            *sum += now_ns
                .saturating_sub(since_ns)
                .saturating_sub(self.clock_ns);
        }
    }

    /// Publishes the means, after all calls of a block have been measured.
    fn publish(&mut self) {
        let places = self.round.iter().zip(&mut self.means);
        for (place, (sum, mean)) in places.enumerate().take(1 + self.modules) {
            // The time outside modules is measured in every block of the round.
            let blocks = if place == REST { self.round_blocks } else { 1 };
            *mean = follow(*mean, *sum as f32 / blocks.max(1) as f32);
            match place.checked_sub(1) {
                Some(module) => self.costs.set(module, mean.round() as u64),
                None => self.costs.set_rest(mean.round() as u64),
            }
        }
        self.rounds += 1;
        if self.rounds > UNTOLD {
            self.costs.tell(self.fingerprint);
        }
    }

    fn end_round(&mut self) {
        self.round[..=self.modules].fill(0);
        self.round_blocks = 0;
        self.first = 0;
    }
}

/// The mean after one more measurement.
fn follow(mean: f32, measured: f32) -> f32 {
    if mean == 0.0 {
        return measured;
    }
    let most = SPIKE * mean.max(COARSE_NS);
    let rounds = if measured < mean {
        ROUNDS_DOWN
    } else {
        ROUNDS_UP
    };
    mean + (measured.min(most) - mean) / rounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        stage::{AudioFormat, STAGE_WORDS, Stage},
        sync::heap,
        units::Slot,
    };
    use std::cell::Cell;

    thread_local! {
        static NOW: Cell<u64> = const { Cell::new(0) };
    }

    fn now() -> u64 {
        NOW.get()
    }

    /// How many blocks pass until results are published, for a patch whose calls fit into one block.
    const TOLD: u64 = COLD + 2 * EVERY;

    fn pass(ns: u64) {
        NOW.set(NOW.get() + ns);
    }

    fn meter() -> (Meter, Costs<'static>) {
        let words = Vec::leak(heap(STAGE_WORDS));
        let format = AudioFormat {
            rate_hz: 48_000,
            block_frames: 128,
            channels: 2,
            lead_blocks: 4,
            freewheel: false,
        };
        let costs = Stage::create(words, &format).unwrap().costs(Slot::Zero);
        (Meter::new(costs, now), costs)
    }

    /// Renders `count` blocks. Each module has a number of calls, and a duration of each call in nanoseconds.
    fn blocks(meter: &mut Meter, count: u64, fingerprint: u64, modules: &[(usize, u64)]) {
        for _ in 0..count {
            meter.begin(fingerprint, modules.len(), now());
            pass(1_000);
            let calls = modules.iter().map(|(calls, _)| *calls).max().unwrap_or(0);
            for call in 0..calls {
                for (module, (calls, ns)) in modules.iter().enumerate() {
                    if call < *calls {
                        meter.call(Some(module as u16), now);
                        pass(*ns);
                    }
                }
            }
            meter.call(None, now);
            pass(500);
            meter.end(now());
        }
    }

    #[test]
    fn each_module_is_charged_for_its_turn_and_the_rest_for_the_rest() {
        let (mut meter, costs) = meter();
        blocks(&mut meter, TOLD, 7, &[(1, 300), (1, 20), (0, 0)]);
        let read = costs.read(7, 3).unwrap();
        assert_eq!((read.rest_ns, read.module_ns), (1_500, vec![300, 20, 0]));
    }

    #[test]
    fn many_turns_are_measured_over_several_blocks() {
        let (mut meter, costs) = meter();
        let modules = [(1, 5_000), (1_000, 10), (400, 7)];
        blocks(&mut meter, COLD + 11 * EVERY, 7, &modules);
        assert_eq!(costs.read(7, 3), None, "1401 calls take 6 blocks, twice");
        blocks(&mut meter, EVERY, 7, &modules);
        let read = costs.read(7, 3).unwrap();
        assert_eq!(read.rest_ns, 1_500);
        assert_eq!(read.module_ns, [5_000, 10_000, 2_800]);
    }

    #[test]
    fn another_patch_has_another_table() {
        let (mut meter, costs) = meter();
        blocks(&mut meter, TOLD, 7, &[(1, 300), (1, 20)]);
        blocks(&mut meter, COLD + EVERY, 8, &[(1, 40)]);
        assert_eq!(costs.read(8, 1), None, "told after the second round");
        blocks(&mut meter, EVERY, 8, &[(1, 40)]);
        assert_eq!(costs.read(7, 2), None);
        assert_eq!(costs.read(8, 1).unwrap().module_ns, [40]);
    }

    #[test]
    fn a_spike_counts_little_and_a_change_is_followed() {
        let (mut meter, costs) = meter();
        blocks(&mut meter, COLD + 10 * EVERY, 7, &[(1, 1_000)]);
        blocks(&mut meter, EVERY, 7, &[(1, 1_000_000)]);
        let ns = costs.read(7, 1).unwrap().module_ns[0];
        assert!((1_300..1_400).contains(&ns), "{ns}");
        blocks(&mut meter, 40 * EVERY, 7, &[(1, 3_000)]);
        let ns = costs.read(7, 1).unwrap().module_ns[0];
        assert!((2_900..3_000).contains(&ns), "{ns}");
        blocks(&mut meter, 6 * EVERY, 7, &[(1, 1_000)]);
        let ns = costs.read(7, 1).unwrap().module_ns[0];
        assert!((1_000..1_100).contains(&ns), "{ns}");
    }
}
