//! The allocator's behaviour in processes that run for months, and large allocations.

/// Makes the C library use one heap for all threads. By default each thread gets a heap of its own. In
/// a process whose threads come and go with its peers, these heaps would keep growing. Meant for
/// processes in which few threads allocate at the same time. Call this function before any thread is
/// started.
pub fn one_arena() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: a plain call that sets one number of the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Returns free pages of the allocator to the system. This takes a while: call it now and then, in a
/// process that is not on the audio path.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: a plain call; what is allocated stays where it is.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Size in bytes from which on large pages pay off.
const LARGE: usize = 4 << 20;

/// Returns `words` zeroed words. From 4 MiB on, they lie in large pages, where the system has them,
/// and are mapped at once. That takes about eight page faults instead of thousands, each of which
/// takes microseconds.
#[must_use]
pub fn zeroed(words: usize) -> Vec<u64> {
    let zeroed = vec![0; words];
    #[cfg(target_os = "linux")]
    if words * 8 >= LARGE {
        let bytes = crate::shm::pages(&zeroed);
        // SAFETY: the pages lie within the allocation and hold nothing but plain words, and advice
        // changes no content. Without advice, or where the system does not know it, the pages are
        // mapped one by one.
        unsafe {
            libc::madvise(bytes.start as *mut _, bytes.len(), libc::MADV_HUGEPAGE);
            libc::madvise(
                bytes.start as *mut _,
                bytes.len(),
                libc::MADV_POPULATE_WRITE,
            );
        }
    }
    zeroed
}
