//! The cost of each module of the patch: a table per slot, a word per module.
//!
//! The worker in the slot measures the costs and writes them. The supervisor reads them for `status` and to
//! predict the cost of an edit. A table belongs to one engine, known by its fingerprint; a reader with
//! another fingerprint gets nothing.

use super::{COSTS, Stage};
use crate::{
    limits::MODULES_MAX,
    sync::{AtomicU64, Ordering, fence},
    units::Slot,
};

// Written by the worker: the fingerprint of the engine; 0 while there is no table. First value 0.
const OF: usize = 0;
// Written by the worker: nanoseconds per block outside all modules.
const REST: usize = 1;
// Written by the worker: nanoseconds per block of each module, by its index in the patch.
const EACH: usize = 2;
const SLOT_WORDS: usize = (EACH + MODULES_MAX).next_multiple_of(8);
pub(super) const COSTS_WORDS: usize = 2 * SLOT_WORDS;

/// Average nanoseconds that the parts of a block take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockCosts {
    /// Everything outside the modules: commands, the safety stage, publication.
    pub rest_ns: u64,
    /// Each module, by its index in the patch.
    pub module_ns: Vec<u64>,
}

impl BlockCosts {
    /// The whole block.
    #[must_use]
    pub fn total_ns(&self) -> u64 {
        self.rest_ns + self.module_ns.iter().sum::<u64>()
    }
}

/// The table of a slot.
#[derive(Clone, Copy, Debug)]
pub struct Costs<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Stage<'a> {
    /// The costs that the worker in the slot measures.
    #[must_use]
    pub fn costs(&self, slot: Slot) -> Costs<'a> {
        let start = COSTS + slot.index() * SLOT_WORDS;
        Costs {
            words: &self.words[start..start + SLOT_WORDS],
        }
    }
}

impl Costs<'_> {
    /// Invalidates the table until the next call of [`Self::tell`]. Written by the worker.
    ///
    /// # Real-time
    /// Yes; constant time.
    pub fn clear(&self) {
        self.words[OF].store(0, Ordering::Relaxed);
        // SYNC: costs cleared (writer): a reader that sees a new number sees that there is no table
        fence(Ordering::Release);
    }

    /// Sets the cost of a block outside its modules. Written by the worker.
    ///
    /// # Real-time
    /// Yes; constant time.
    pub fn set_rest(&self, ns: u64) {
        self.words[REST].store(ns, Ordering::Relaxed);
    }

    /// Sets the cost of a module; an index beyond the largest patch is ignored. Written by the worker.
    ///
    /// # Real-time
    /// Yes; constant time.
    pub fn set(&self, module: usize, ns: u64) {
        if let Some(word) = self.words.get(EACH + module) {
            word.store(ns, Ordering::Relaxed);
        }
    }

    /// Declares the table complete, for the engine with this fingerprint. Written by the worker.
    ///
    /// # Real-time
    /// Yes; constant time.
    pub fn tell(&self, fingerprint: u64) {
        // SYNC: costs (writer)
        self.words[OF].store(fingerprint, Ordering::Release);
    }

    /// The table of this many modules, if it belongs to the engine with this fingerprint.
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
