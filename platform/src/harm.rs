//! Real faults, inflicted on the own process on request: an injected fault must not be an
//! imitation.

use common::message::Fault;

/// Inflicts `fault` on this process if it is a crash, an exit, exhausted memory or a signal. Does
/// nothing for the other faults; those are the caller's.
pub fn inflict(fault: Fault) {
    match fault {
        Fault::Segv => segmentation_fault(),
        Fault::Abort => std::process::abort(),
        Fault::Panic => panic!("injected: a panic"),
        Fault::Exit(code) => exit_now(code),
        Fault::Oom => out_of_memory(),
        Fault::Signal(signal) => signal_self(signal),
        _ => {}
    }
}

/// Causes a real segmentation fault: writes to an address where nothing is mapped.
fn segmentation_fault() -> ! {
    // SAFETY: none, on purpose: the write ends the process with SIGSEGV, which is what was asked.
    unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
    std::process::abort()
}

/// Sends this process a signal.
fn signal_self(signal: i32) {
    // SAFETY: plain system calls; what the signal does is what was asked.
    unsafe { libc::kill(libc::getpid(), signal) };
}

/// Ends the process at once, without clean-up, as `_exit` does.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Lets the process map at most 16 MiB more than now, and allocates until an allocation fails.
fn out_of_memory() -> ! {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let mapped = pages
        .and_then(|t| t.split(' ').next()?.parse::<u64>().ok())
        .unwrap_or(65_536);
    let bytes = mapped * 4096 + (16 << 20);
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    // SAFETY: a plain system call with a live parameter block.
    unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(vec![1; 1 << 20]);
    }
}
