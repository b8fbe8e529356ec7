//! The words of a slot: its worker's incarnation, frontier, breadcrumb, load and panic message.

use super::SLOT_WORDS;
use crate::{
    layout,
    sync::{AtomicU64, Ordering},
    units::{BlockIndex, Incarnation, Seq},
};

// Indices of the words of a slot.
const INCARNATION: usize = 0;
const FRONTIER: usize = 1;
const APPLIED: usize = 2;
const BREADCRUMB: usize = 3;
const BREADCRUMB_MODULE: usize = 4;
const NOTES: usize = 5;
const BREADCRUMB_COMMAND: usize = 6;
const MUTED: usize = 7;
const VERDICT: usize = 8;
const VERDICT_SUM: usize = 9;
const BEGAN: usize = 10;
const SPENT: usize = 11;
const PEAK: usize = 12;
const BLOCKS: usize = 13;
const REMOVED: usize = 14;
const LIMITED_SAMPLES: usize = 15;
const CLOSEST: usize = 16;
const MEAN: usize = 17;
const PANIC_MESSAGE: usize = 24;
/// Most bytes of a panic message.
pub const PANIC_MESSAGE_BYTES: usize = (SLOT_WORDS - PANIC_MESSAGE - 1) * 8;

/// Blocks after which a peak has decayed to about a third.
const PEAK_LASTS: u64 = 1_024;
/// Blocks after which the mean has followed a change by about two thirds.
const MEAN_LASTS: u64 = 8;

/// What a worker is doing within a block, for the blame if it dies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Between blocks.
    Idle = 0,
    /// Applying the commands that are new in this block.
    Applying = 1,
    /// Rendering a module.
    Rendering = 2,
    /// Writing the block into its ring.
    Publishing = 3,
    /// Copying the arena.
    Checkpointing = 4,
    /// Carrying out an injected fault: no command or module is to blame.
    Harming = 5,
}

/// What a worker is about to do: left before each step that could kill it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breadcrumb {
    /// The block.
    pub block: BlockIndex,
    /// The phase within the block.
    pub phase: Phase,
    /// The module, while rendering.
    pub module: u16,
    /// While applying, the present command; otherwise the last one applied.
    pub command: Seq,
}

/// The words of a slot; written only by the worker in it.
#[derive(Clone, Copy, Debug)]
pub struct SlotWords<'a> {
    words: &'a [AtomicU64],
}

impl<'a> SlotWords<'a> {
    /// Wraps the words of one slot.
    pub(super) const fn over(words: &'a [AtomicU64]) -> Self {
        Self { words }
    }

    /// Sets the frontier at the start of a run: nothing is rendered before this block.
    pub(super) fn begin_at(&self, block: BlockIndex) {
        self.words[FRONTIER].store(block.0, Ordering::Relaxed);
    }

    /// A new worker takes the seat, and clears the words of its predecessor.
    pub fn take_seat(&self, incarnation: Incarnation, frontier: BlockIndex, applied: Seq) {
        for word in &self.words[BREADCRUMB..] {
            word.store(0, Ordering::Relaxed);
        }
        self.words[FRONTIER].store(frontier.0, Ordering::Relaxed);
        self.words[APPLIED].store(applied.0, Ordering::Relaxed);
        self.words[INCARNATION].store(incarnation.0, Ordering::Release);
    }

    /// The worker in the slot.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        Incarnation(self.words[INCARNATION].load(Ordering::Acquire))
    }

    /// Declares all blocks below `frontier` rendered, with the commands up to `applied`.
    pub fn advance(&self, frontier: BlockIndex, applied: Seq) {
        self.words[APPLIED].store(applied.0, Ordering::Relaxed);
        // SYNC: frontier (writer): the decision of every block below it is made
        self.words[FRONTIER].store(frontier.0, Ordering::Release);
    }

    /// The next block that the worker will render.
    #[must_use]
    pub fn frontier(&self) -> BlockIndex {
        // SYNC: frontier (reader)
        BlockIndex(self.words[FRONTIER].load(Ordering::Acquire))
    }

    /// The last command applied.
    #[must_use]
    pub fn applied(&self) -> Seq {
        Seq(self.words[APPLIED].load(Ordering::Relaxed))
    }

    /// Notes the time at which the worker begins a block ([`super::Stage::elapsed_blocks`]).
    pub fn begin(&self, elapsed_blocks: u64) {
        self.words[BEGAN].store(elapsed_blocks, Ordering::Relaxed);
    }

    /// When the worker began its present block, or took its seat.
    #[must_use]
    pub fn began(&self) -> u64 {
        self.words[BEGAN].load(Ordering::Relaxed)
    }

    /// Notes the margin of a published block, in microseconds, and the second of the monotonic clock in
    /// which it was published.
    pub fn published_before(&self, margin_us: u32, second: u32) {
        let (noted, least) = self.closest();
        let least = match noted == second {
            true => least.min(margin_us),
            false => margin_us,
        };
        let both = u64::from(second) << 32 | u64::from(least);
        self.words[CLOSEST].store(both, Ordering::Relaxed);
    }

    /// The last second of the monotonic clock in which this worker published a block first, and the
    /// smallest margin in that second, in microseconds.
    #[must_use]
    pub fn closest(&self) -> (u32, u32) {
        let word = self.words[CLOSEST].load(Ordering::Relaxed);
        ((word >> 32) as u32, word as u32)
    }

    /// Adds the nanoseconds that a block took, from its beginning to its publication.
    pub fn took(&self, ns: u64) {
        let spent = self.spent_ns().wrapping_add(ns);
        self.words[SPENT].store(spent, Ordering::Relaxed);
        self.words[BLOCKS].store(self.blocks() + 1, Ordering::Relaxed);
        let fading = self.peak_ns() - self.peak_ns().div_ceil(PEAK_LASTS);
        self.words[PEAK].store(fading.max(ns), Ordering::Relaxed);
        let mean = self.mean_ns();
        let mean = mean - mean / MEAN_LASTS + ns / MEAN_LASTS;
        self.words[MEAN].store(mean, Ordering::Relaxed);
    }

    /// Blocks that the worker has published since it took its seat.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.words[BLOCKS].load(Ordering::Relaxed)
    }

    /// Nanoseconds that these blocks took in all.
    #[must_use]
    pub fn spent_ns(&self) -> u64 {
        self.words[SPENT].load(Ordering::Relaxed)
    }

    /// Mean nanoseconds of the last few blocks.
    #[must_use]
    pub fn mean_ns(&self) -> u64 {
        self.words[MEAN].load(Ordering::Relaxed)
    }

    /// Peak nanoseconds of a block; the peak decays to a third within a thousand blocks.
    #[must_use]
    pub fn peak_ns(&self) -> u64 {
        self.words[PEAK].load(Ordering::Relaxed)
    }

    /// Leaves a breadcrumb.
    pub fn drop_breadcrumb(&self, breadcrumb: Breadcrumb) {
        self.words[BREADCRUMB_MODULE].store(breadcrumb.module.into(), Ordering::Relaxed);
        self.words[BREADCRUMB_COMMAND].store(breadcrumb.command.0, Ordering::Relaxed);
        self.words[BREADCRUMB].store(
            breadcrumb.block.0 << 4 | breadcrumb.phase as u64,
            Ordering::Release,
        );
    }

    /// The last breadcrumb.
    #[must_use]
    pub fn breadcrumb(&self) -> Breadcrumb {
        let word = self.words[BREADCRUMB].load(Ordering::Acquire);
        let phase = match word & 15 {
            1 => Phase::Applying,
            2 => Phase::Rendering,
            3 => Phase::Publishing,
            4 => Phase::Checkpointing,
            5 => Phase::Harming,
            _ => Phase::Idle,
        };
        let module = self.words[BREADCRUMB_MODULE].load(Ordering::Relaxed) as u16;
        Breadcrumb {
            block: BlockIndex(word >> 4),
            phase,
            module,
            command: Seq(self.words[BREADCRUMB_COMMAND].load(Ordering::Relaxed)),
        }
    }

    /// Sets the module whose output had to be muted in the last block, if any.
    pub fn set_muted(&self, module: Option<u16>) {
        self.words[MUTED].store(module.map_or(0, |m| u64::from(m) + 1), Ordering::Relaxed);
    }

    /// See [`Self::set_muted`].
    #[must_use]
    pub fn muted(&self) -> Option<u16> {
        let word = self.words[MUTED].load(Ordering::Relaxed);
        word.checked_sub(1).map(|module| module as u16)
    }

    /// Publishes what the safety stage removes: the largest gain reduction of the last seconds (0 to 1),
    /// the number of samples beyond the ceiling so far, and the present DC.
    pub fn set_removed(&self, limited: f32, samples: u64, dc: f32) {
        let both = u64::from(dc.to_bits()) << 32 | u64::from(limited.to_bits());
        self.words[REMOVED].store(both, Ordering::Relaxed);
        self.words[LIMITED_SAMPLES].store(samples, Ordering::Relaxed);
    }

    /// See [`Self::set_removed`].
    #[must_use]
    pub fn removed(&self) -> (f32, u64, f32) {
        let both = self.words[REMOVED].load(Ordering::Relaxed);
        let samples = self.words[LIMITED_SAMPLES].load(Ordering::Relaxed);
        let (limited, dc) = (both as u32, (both >> 32) as u32);
        (f32::from_bits(limited), samples, f32::from_bits(dc))
    }

    /// The result of a referee: the right checksum of the block.
    pub fn give_verdict(&self, block: BlockIndex, sum: u64) {
        self.words[VERDICT_SUM].store(sum, Ordering::Relaxed);
        // SYNC: verdict (writer)
        self.words[VERDICT].store(block.0 + 1, Ordering::Release);
    }

    /// See [`Self::give_verdict`].
    #[must_use]
    pub fn verdict(&self) -> Option<(BlockIndex, u64)> {
        // SYNC: verdict (reader)
        let block = self.words[VERDICT].load(Ordering::Acquire).checked_sub(1)?;
        Some((
            BlockIndex(block),
            self.words[VERDICT_SUM].load(Ordering::Relaxed),
        ))
    }

    /// Sets bits for what the machine granted: 1 real-time priority, 2 locked memory.
    pub fn set_notes(&self, notes: u64) {
        self.words[NOTES].store(notes, Ordering::Relaxed);
    }

    /// See [`Self::set_notes`].
    #[must_use]
    pub fn notes(&self) -> u64 {
        self.words[NOTES].load(Ordering::Relaxed)
    }

    /// Leaves a panic message. The panic hook calls this, so it must not fail.
    pub fn write_panic_message(&self, text: &str) {
        layout::store_text(&self.words[PANIC_MESSAGE..], text);
    }

    /// The panic message, if the worker left one.
    #[must_use]
    pub fn panic_message(&self) -> Option<String> {
        let text = layout::load_text(&self.words[PANIC_MESSAGE..]);
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        stage::{STAGE_WORDS, Stage, tests::FORMAT},
        sync::heap,
        units::Slot,
    };

    #[test]
    fn what_was_removed_is_read_back() {
        let words = heap(STAGE_WORDS);
        let slot = Stage::create(&words, &FORMAT).unwrap().slot(Slot::One);
        assert_eq!(slot.removed(), (0.0, 0, 0.0));
        slot.set_removed(0.75, 1 << 40, 0.25);
        assert_eq!(slot.removed(), (0.75, 1 << 40, 0.25));
    }

    #[test]
    fn a_peak_is_shown_at_once_and_fades() {
        let words = heap(STAGE_WORDS);
        let slot = Stage::create(&words, &FORMAT).unwrap().slot(Slot::One);
        slot.took(1_000_000);
        assert_eq!(slot.peak_ns(), 1_000_000);
        for _ in 0..PEAK_LASTS {
            slot.took(10);
        }
        assert_eq!(slot.spent_ns(), 1_000_000 + 10 * PEAK_LASTS);
        assert!(
            (360_000..370_000).contains(&slot.peak_ns()),
            "{}",
            slot.peak_ns()
        );
        for _ in 0..20 * PEAK_LASTS {
            slot.took(10);
        }
        assert_eq!(slot.peak_ns(), 10);
    }

    #[test]
    fn the_smallest_margin_of_a_second_is_kept() {
        let words = heap(STAGE_WORDS);
        let slot = Stage::create(&words, &FORMAT).unwrap().slot(Slot::One);
        for (margin, second, kept) in [(900, 7, 900), (400, 7, 400), (500, 7, 400), (800, 8, 800)] {
            slot.published_before(margin, second);
            assert_eq!(slot.closest(), (second, kept));
        }
    }

    #[test]
    fn a_panic_message_is_read_back_and_cut_to_its_room() {
        let words = heap(STAGE_WORDS);
        let slot = Stage::create(&words, &FORMAT).unwrap().slot(Slot::One);
        assert_eq!(slot.panic_message(), None);
        slot.write_panic_message(&"x".repeat(5_000));
        assert_eq!(slot.panic_message().unwrap().len(), PANIC_MESSAGE_BYTES);
    }
}
