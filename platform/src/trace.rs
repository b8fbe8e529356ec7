//! Traces the threads of another process: stops them, and runs them by single instructions or
//! system calls.
//!
//! For tests only: they stop a worker at places that no clock would hit. Each function is one
//! request of ptrace(2); the thread that has seized the other thread must make it. Linux on x86-64.

use std::{io, ptr};

use libc::{c_int, c_uint, c_void, pid_t};

/// Why a traced thread has stopped, or that it has ended. A stopped thread stays stopped until
/// [`go`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// An instruction was executed, or a breakpoint was hit.
    Trap,
    /// The thread enters or leaves a system call.
    SystemCall,
    /// The thread has created a thread or process, which is traced too.
    Born(u32),
    /// The thread has begun to run another program.
    Exec,
    /// The thread was told to stop, or it is new.
    Standing,
    /// A signal is about to be delivered to the thread.
    Signal(i32),
    /// The thread has ended.
    Ended,
}

/// How far a thread may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until any event.
    Something,
    /// Until the next entry to a system call or return from it.
    SystemCall,
    /// For one instruction.
    OneInstruction,
}

fn request(
    request: c_uint,
    thread: u32,
    address: usize,
    data: *mut c_void,
) -> io::Result<libc::c_long> {
    // SAFETY: the requests made here read and write the traced thread. Of this process's memory
    // they touch at most what `data` points at, which the callers keep alive and large enough.
    let result = unsafe { libc::ptrace(request, thread as pid_t, address as *mut c_void, data) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn number(value: usize) -> *mut c_void {
    ptr::without_provenance_mut(value)
}

/// Attaches to a thread without stopping it. If `children` is set, threads and processes that it
/// creates are traced too.
///
/// # Errors
/// When the thread is gone, or tracing is not allowed.
pub fn seize(thread: u32, children: bool) -> io::Result<()> {
    let mut options = libc::PTRACE_O_TRACESYSGOOD;
    if children {
        options |= libc::PTRACE_O_TRACEFORK
            | libc::PTRACE_O_TRACEVFORK
            | libc::PTRACE_O_TRACECLONE
            | libc::PTRACE_O_TRACEEXEC;
    }
    request(libc::PTRACE_SEIZE, thread, 0, number(options as usize)).map(drop)
}

/// Tells a running thread to stop; [`wait`] reports when it has stopped.
///
/// # Errors
/// When the thread is gone.
pub fn interrupt(thread: u32) -> io::Result<()> {
    request(libc::PTRACE_INTERRUPT, thread, 0, number(0)).map(drop)
}

/// Continues a stopped thread, and delivers `signal` unless it is 0.
///
/// # Errors
/// When the thread is gone or not stopped.
pub fn go(thread: u32, until: Until, signal: i32) -> io::Result<()> {
    let how = match until {
        Until::Something => libc::PTRACE_CONT,
        Until::SystemCall => libc::PTRACE_SYSCALL,
        Until::OneInstruction => libc::PTRACE_SINGLESTEP,
    };
    request(how, thread, 0, number(signal as usize)).map(drop)
}

/// Ends the tracing of a stopped thread, which runs on.
///
/// # Errors
/// When the thread is gone or not stopped.
pub fn detach(thread: u32) -> io::Result<()> {
    request(libc::PTRACE_DETACH, thread, 0, number(0)).map(drop)
}

/// Waits until that thread, or any thread that the caller traces, stops or ends.
///
/// # Errors
/// When the caller traces no such thread.
pub fn wait(thread: Option<u32>) -> io::Result<(u32, Stop)> {
    let mut status: c_int = 0;
    let whom = thread.map_or(-1, |thread| thread as pid_t);
    let found = loop {
        // SAFETY: waitpid writes the status to a live local.
        let found =
            unsafe { libc::waitpid(whom, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        if found != -1 {
            break found as u32;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    };
    if !libc::WIFSTOPPED(status) {
        return Ok((found, Stop::Ended));
    }
    let signal = libc::WSTOPSIG(status);
    let stop = match status >> 16 {
        libc::PTRACE_EVENT_STOP => Stop::Standing,
        libc::PTRACE_EVENT_EXEC => Stop::Exec,
        libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
            let mut born: libc::c_ulong = 0;
            let into = (&raw mut born).cast();
            request(libc::PTRACE_GETEVENTMSG, found, 0, into)?;
            Stop::Born(born as u32)
        }
        _ if signal == libc::SIGTRAP | 0x80 => Stop::SystemCall,
        _ if signal == libc::SIGTRAP => Stop::Trap,
        _ => Stop::Signal(signal),
    };
    Ok((found, stop))
}

fn registers(thread: u32) -> io::Result<libc::user_regs_struct> {
    // SAFETY: the structure is plain numbers, for which zero is a value.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    let into = (&raw mut registers).cast();
    request(libc::PTRACE_GETREGS, thread, 0, into)?;
    Ok(registers)
}

/// The address of the next instruction of a stopped thread.
///
/// # Errors
/// When the thread is gone or not stopped.
pub fn instruction(thread: u32) -> io::Result<u64> {
    Ok(registers(thread)?.rip)
}

/// Sets the address of a stopped thread's next instruction.
///
/// # Errors
/// When the thread is gone or not stopped.
pub fn set_instruction(thread: u32, address: u64) -> io::Result<()> {
    let mut registers = registers(thread)?;
    registers.rip = address;
    let from = (&raw mut registers).cast();
    request(libc::PTRACE_SETREGS, thread, 0, from).map(drop)
}

/// Replaces a byte of a stopped thread's program and returns the old byte: sets a breakpoint, or
/// restores the original byte.
///
/// # Errors
/// When the thread is gone or not stopped, or nothing is mapped at the address.
pub fn exchange_byte(thread: u32, address: u64, byte: u8) -> io::Result<u8> {
    let mut word: libc::c_long = 0;
    // SAFETY: the C library's wrapper returns the word, and reports errors by errno, which is zero
    // before the call.
    let peeked = unsafe {
        *libc::__errno_location() = 0;
        libc::ptrace(
            libc::PTRACE_PEEKTEXT,
            thread as pid_t,
            number(address as usize),
            &raw mut word,
        )
    };
    // SAFETY: reads the calling thread's errno.
    if peeked == -1 && unsafe { *libc::__errno_location() } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut bytes = peeked.to_ne_bytes();
    let before = std::mem::replace(&mut bytes[0], byte);
    let word = usize::from_ne_bytes(bytes);
    request(
        libc::PTRACE_POKETEXT,
        thread,
        address as usize,
        number(word),
    )?;
    Ok(before)
}

/// The instruction that is a breakpoint.
pub const BREAKPOINT: u8 = 0xcc;
