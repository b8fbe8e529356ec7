//! The allocator of a process that runs for months.

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
