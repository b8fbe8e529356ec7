//! What each module of the patch costs: a table for each slot, a word a module.
//!
//! The worker in the slot measures and writes it; the supervisor reads it for `status` and to predict what an
//! edit will cost. A table is of one engine, by its fingerprint: of another patch's table nothing is read.

use super::{COSTS, Stage};
use crate::{
    limits::MODULES_MAX,
    sync::{AtomicU64, Ordering, fence},
    units::Slot,
};

// Written by the worker: the engine's fingerprint, 0 while there is no table; first value 0.
const OF: usize = 0;
// Written by the worker: nanoseconds of a block that are no module's.
const REST: usize = 1;
// Written by the worker: nanoseconds of a block, for each module by its place in the patch.
const EACH: usize = 2;
const SLOT_WORDS: usize = (EACH + MODULES_MAX).next_multiple_of(8);
pub(super) const COSTS_WORDS: usize = 2 * SLOT_WORDS;

/// Nanoseconds that parts of a block take, on average.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockCosts {
    /// All that is no module's: commands, the last stage, publication.
    pub rest_ns: u64,
    /// Each module, by its place in the patch.
    pub module_ns: Vec<u64>,
}

impl BlockCosts {
    /// The whole block.
    #[must_use]
    pub fn total_ns(&self) -> u64 {
        self.rest_ns + self.module_ns.iter().sum::<u64>()
    }
}

/// A slot's table.
#[derive(Clone, Copy, Debug)]
pub struct Costs<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Stage<'a> {
    /// What the worker in that slot measures of its modules.
    #[must_use]
    pub fn costs(&self, slot: Slot) -> Costs<'a> {
        let start = COSTS + slot.index() * SLOT_WORDS;
        Costs {
            words: &self.words[start..start + SLOT_WORDS],
        }
    }
}

impl Costs<'_> {
    /// There is no table until the next is [`Self::tell`]-ed. Written by the worker.
    ///
    /// # Real-time
    /// Yes; constant time.
    pub fn clear(&self) {
        self.words[OF].store(0, Ordering::Relaxed);
        // SYNC: costs cleared (writer): who sees a new number sees that there is no table
        fence(Ordering::Release);
    }

    /// Sets what the rest of a block takes. Written by the worker.
    ///
    /// # Real-time
    /// Yes; constant time.
    pub fn set_rest(&self, ns: u64) {
        self.words[REST].store(ns, Ordering::Relaxed);
    }

    /// Sets what a module takes; one that no patch can have is ignored. Written by the worker.
    ///
    /// # Real-time
    /// Yes; constant time.
    pub fn set(&self, module: usize, ns: u64) {
        if let Some(word) = self.words.get(EACH + module) {
            word.store(ns, Ordering::Relaxed);
        }
    }

    /// All numbers are there, of that engine. Written by the worker.
    ///
    /// # Real-time
    /// Yes; constant time.
    pub fn tell(&self, fingerprint: u64) {
        // SYNC: costs (writer)
        self.words[OF].store(fingerprint, Ordering::Release);
    }

    /// The table, if it is that engine's, of so many modules.
    #[must_use]
    pub fn read(&self, fingerprint: u64, modules: usize) -> Option<BlockCosts> {
        // SYNC: costs (reader)
        if self.words[OF].load(Ordering::Acquire) != fingerprint {
            return None;
        }
        let get = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let costs = BlockCosts {
            rest_ns: get(&self.words[REST]),
            module_ns: self
                .words
                .get(EACH..EACH + modules)?
                .iter()
                .map(get)
                .collect(),
        };
        // SYNC: costs cleared (reader)
        fence(Ordering::Acquire);
        (self.words[OF].load(Ordering::Relaxed) == fingerprint).then_some(costs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        stage::{STAGE_WORDS, tests::FORMAT},
        sync::heap,
    };

    #[test]
    fn a_table_is_read_by_who_asks_for_its_patch_only() {
        let words = heap(STAGE_WORDS);
        let stage = Stage::create(&words, &FORMAT).unwrap();
        let costs = stage.costs(Slot::One);
        assert_eq!(costs.read(7, 2), None);
        costs.set_rest(5);
        costs.set(0, 10);
        costs.set(1, 20);
        costs.set(MODULES_MAX + 100, 30);
        costs.tell(7);
        let read = costs.read(7, 2).unwrap();
        assert_eq!((read.rest_ns, &read.module_ns[..]), (5, &[10, 20][..]));
        assert_eq!(read.total_ns(), 35);
        assert_eq!(costs.read(8, 2), None);
        assert_eq!(stage.costs(Slot::Zero).read(7, 2), None);
        costs.clear();
        assert_eq!(costs.read(7, 2), None);
    }

    #[test]
    fn the_largest_patch_has_a_place_for_each_module() {
        let words = heap(STAGE_WORDS);
        let stage = Stage::create(&words, &FORMAT).unwrap();
        for (slot, ns) in [(Slot::Zero, 3), (Slot::One, 4)] {
            (0..MODULES_MAX).for_each(|module| stage.costs(slot).set(module, ns));
            stage.costs(slot).tell(9);
        }
        let costs = stage.costs(Slot::Zero).read(9, MODULES_MAX).unwrap();
        assert_eq!(costs.total_ns(), 3 * MODULES_MAX as u64);
    }
}
