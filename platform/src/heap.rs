//! Memory of a process that runs for months, and memory by the megabyte.

/// Keeps the C library from giving each thread a heap of its own: in a process whose threads come
/// and go with its peers, those heaps grow apart. For processes that do not allocate from many
/// threads at once; called before any thread is started.
pub fn one_arena() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: a plain call that sets one number of the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives the pages that the allocator does not need back to the system. Takes a while: for a process
/// that is on no audio path, now and then.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: a plain call; what is allocated stays where it is.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Bytes from which on an arena is worth large pages.
const LARGE: usize = 4 << 20;

/// So many zeroed words. Many of them lie in large pages, where the system has them, and are there
/// already: some eight first touches instead of thousands, each of which takes microseconds.
#[must_use]
pub fn zeroed(words: usize) -> Vec<u64> {
    let zeroed = vec![0; words];
    #[cfg(target_os = "linux")]
    if words * 8 >= LARGE {
        let bytes = crate::shm::pages(&zeroed);
        // SAFETY: the pages lie within the allocation and hold nothing but plain words; advice changes
        // no content. Without it, or where the system does not know it, the pages come one by one.
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
