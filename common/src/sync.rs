//! The only place that names atomics: those of the standard library, or loom's under its model checker.

#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// Zeroed words on the heap: a segment that nothing shares, for tests and simulations.
#[must_use]
pub fn heap(words: usize) -> Vec<AtomicU64> {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}
