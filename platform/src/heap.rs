//! The allocator of a process that runs for months.

/// What may lie unused at the end of the heap, in bytes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SLACK: libc::c_int = 32 * 1024;

/// Keeps the C library from giving each thread a heap of its own, and has it give back what is not
/// used: in a process whose threads come and go with its peers, those heaps grow apart. For
/// processes that do not allocate from many threads at once; called before any thread is started.
pub fn one_arena() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: plain calls that each set one number of the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, SLACK);
    }
}
