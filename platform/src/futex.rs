//! Waiting for a change of a word in shared memory, across processes: the two operations behind a
//! doorbell.
//!
//! A wake-up says nothing about what has changed: the thread that wakes checks its condition again,
//! and every wait has a time-out. The futexes are shared ones, since private ones do not wake
//! threads of other processes.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

#[cfg(target_endian = "big")]
compile_error!("the futex word is the low half of a 64-bit word: little-endian only");

/// Waits until `word` differs from `seen`, for at most `timeout`. May return early.
pub fn wait(word: &AtomicU64, seen: u64, timeout: Duration) {
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: FUTEX_WAIT reads four bytes at an aligned, mapped address (the low half of the
    // word) and the timespec, both alive for the call; any outcome is as good as a wake-up.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr().cast::<u32>(),
            libc::FUTEX_WAIT,
            seen as u32,
            &raw const timeout,
        );
    }
}

/// Adds 1 to `word` and wakes all threads that wait at it.
///
/// # Real-time
/// Yes. The futex is the only system call that real-time code may make; waking does not block.
pub fn wake(word: &AtomicU64) {
    word.fetch_add(1, Ordering::Release);
    // SAFETY: FUTEX_WAKE does not touch the memory; the address is mapped.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr().cast::<u32>(),
            libc::FUTEX_WAKE,
            i32::MAX,
        );
    }
}
