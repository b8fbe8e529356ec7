//! Descriptors that the launcher hands down: by number, in an environment variable.

use std::{
    net::UdpSocket,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixListener,
    },
    process::{Child, Command},
};

use rustix::{
    io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd},
    net::{AddressFamily, SocketFlags, SocketType},
};

/// The OSC socket, for the gateway, and for the supervisor to keep.
pub const OSC: &str = "UNDERSTUDY_OSC_FD";
/// The listening control socket, for the supervisor.
pub const CONTROL: &str = "UNDERSTUDY_CONTROL_FD";
/// The packet socket to the launcher, for the supervisor.
pub const LAUNCHER: &str = "UNDERSTUDY_LAUNCHER_FD";
/// The launcher's end of the packet socket, for a launcher that takes over.
pub const SUPERVISOR: &str = "UNDERSTUDY_SUPERVISOR_FD";
/// The instance's lock, for the supervisor to keep.
pub const LOCK: &str = "UNDERSTUDY_LOCK_FD";
/// The pipe to whoever waits in `up`, for the launcher.
pub const READY: &str = "UNDERSTUDY_READY_FD";

/// Closes every descriptor but the first three and those that the variables name: what a careless
/// parent had open is nobody's business here, nor in any child.
///
/// Call it first of all in `main`, before anything is opened.
pub fn close_strangers(but: &[&str]) {
    let number = |variable: &&str| std::env::var(variable).ok()?.parse::<u32>().ok();
    let mut kept: Vec<u32> = but.iter().filter_map(number).filter(|n| *n >= 3).collect();
    kept.sort_unstable();
    let close = |first: u32, last: u32| {
        if first <= last {
            // SAFETY: nothing has been opened by this process yet, so that nobody here owns, or
            // will use, a descriptor in the range.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    };
    let mut first = 3;
    for kept in kept {
        close(first, kept - 1);
        first = kept.saturating_add(1);
    }
    close(first, u32::MAX);
}

/// Starts a process that inherits these descriptors, each under the number that its variable names.
///
/// Not for two threads at once: what is handed down is open to every process started meanwhile.
///
/// # Errors
/// When the operating system refuses.
pub fn spawn_with(command: &mut Command, handed: &[(&str, &OwnedFd)]) -> std::io::Result<Child> {
    for (variable, descriptor) in handed {
        command.env(variable, descriptor.as_raw_fd().to_string());
        fcntl_setfd(descriptor, FdFlags::empty())?;
    }
    let started = command.spawn();
    for (_, descriptor) in handed {
        fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
    }
    started
}

/// Keeps so many descriptors free until what is returned is dropped.
///
/// # Errors
/// When there are not so many, and what the operating system says.
pub fn reserve(count: usize) -> std::io::Result<Vec<OwnedFd>> {
    let open = |_| Ok(fcntl_dupfd_cloexec(std::io::stdin(), 3)?);
    (0..count).map(open).collect()
}

/// Whether so many more descriptors can be opened.
///
/// # Errors
/// As [`reserve`].
pub fn are_free(count: usize) -> std::io::Result<()> {
    reserve(count).map(drop)
}

/// A packet socket for launcher and supervisor, an end for each.
///
/// # Errors
/// When the operating system refuses.
pub fn packet_pair() -> std::io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Takes the descriptor named by the variable; call it once for each.
///
/// # Errors
/// When the variable is missing or names no open descriptor.
pub fn inherited(variable: &str) -> std::io::Result<OwnedFd> {
    let explain = || {
        std::io::Error::other(format!(
            "{variable} is not a descriptor; start this program with `understudy up`"
        ))
    };
    let number: RawFd = std::env::var(variable)
        .ok()
        .and_then(|v| v.parse().ok())
        .ok_or_else(explain)?;
    // SAFETY: F_GETFD only asks whether the number is open.
    if number < 3 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(explain());
    }
    // SAFETY: it is open, handed down for this purpose alone, and nobody else in this process
    // has taken it.
    let taken = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&taken, FdFlags::CLOEXEC)?;
    Ok(taken)
}

/// The UDP socket named by the variable.
///
/// # Errors
/// As [`inherited`].
pub fn inherited_udp(variable: &str) -> std::io::Result<UdpSocket> {
    inherited(variable).map(Into::into)
}

/// The listening socket named by the variable.
///
/// # Errors
/// As [`inherited`].
pub fn inherited_listener(variable: &str) -> std::io::Result<UnixListener> {
    inherited(variable).map(Into::into)
}
