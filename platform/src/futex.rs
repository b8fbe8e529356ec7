//! A doorbell between processes: sleep until a shared word changes.
//!
//! A doorbell, not a condition: whoever wakes looks again, and never sleeps without a time-out.
//! Shared futexes, since private ones do not wake across processes.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

#[cfg(target_endian = "big")]
compile_error!("the futex word is the low half of a 64-bit word: little-endian only");

/// Sleeps until `word` no longer has the value `seen`, at most for `timeout`.
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

/// Changes `word` and wakes all who sleep at it.
///
/// # Real-time
/// Yes: the one system call that may be made there; it does not block.
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
