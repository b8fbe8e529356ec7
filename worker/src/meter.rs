//! How long each module takes: the clock is read between two modules, in a few blocks, for a few modules.
//!
//! Used by the render thread, which calls it wherever the engine goes on to another module; what is measured
//! goes to the stage. REAL-TIME: it reads the clock without a system call, at most 258 times in one block
//! of 16, beside the calls of a block that is cut for events. What a loop needs that is rendered frame by frame,
//! or a large patch, is measured in several blocks: so no block is much longer for it. A block in which the
//! machine did something else in between counts but little.

use common::{limits::MODULES_MAX, stage::Costs};

/// One block of so many is measured.
const EVERY: u64 = 16;
/// Calls of modules that are measured in one block; the next block that is measured goes on with the next.
const CALLS: usize = 256;
/// Blocks of a new engine that are not measured: nothing of it is in the caches yet.
const COLD: u64 = 64;
/// Rounds after which a mean has followed by two thirds: of what is dearer, and of what is cheaper, since only
/// the former may be something else's time.
const ROUNDS_UP: f32 = 8.0;
const ROUNDS_DOWN: f32 = 2.0;
/// Rounds that are measured before anything is told.
const UNTOLD: u64 = 1;
/// What is so many times its mean is something else's time: it counts as so much.
const SPIKE: f32 = 4.0;
/// Below this the clock is too coarse to call anything a spike.
const COARSE_NS: f32 = 200.0;
/// The place of what is no module's; a module's is one more than its place in the patch.
const REST: usize = 0;

/// See the file's head.
pub struct Meter {
    costs: Costs<'static>,
    /// What it takes to read the clock.
    clock_ns: u64,
    /// The engine that is measured, and its modules.
    fingerprint: u64,
    modules: usize,
    blocks: u64,
    /// This block is measured.
    measures: bool,
    /// Turns so far in this block; the first that is measured.
    calls: usize,
    first: usize,
    /// Which module is called, and since when.
    at: Option<(usize, u64)>,
    /// Nanoseconds in this round, by place, and the blocks in which it has been measured.
    round: Vec<u64>,
    round_blocks: u64,
    /// Rounds of this engine.
    rounds: u64,
    /// Nanoseconds of a block, by place; 0 before the first.
    means: Vec<f32>,
}

impl Meter {
    /// Writes to that table; whatever is there is of a predecessor.
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

    /// A block begins, of the engine with that fingerprint and so many modules.
    ///
    /// # Real-time
    /// Yes; linear in the modules where the engine is another.
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

    /// A module's call begins; without one, what is no module's.
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

    /// All calls of a block have been measured.
    fn publish(&mut self) {
        let places = self.round.iter().zip(&mut self.means);
        for (place, (sum, mean)) in places.enumerate().take(1 + self.modules) {
            // The rest is measured in each block.
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

/// The mean after another measurement.
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

    /// Blocks until something is told of a patch whose calls fit into one.
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

    /// Blocks in which each module has so many calls, of so many nanoseconds each.
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
