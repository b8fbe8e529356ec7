//! The only door to atomics: the standard ones, or loom's when its model checker runs.

#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// Zeroed words on the heap: what a segment is where nothing is shared, as in tests and simulations.
#[must_use]
pub fn heap(words: usize) -> Vec<AtomicU64> {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}
