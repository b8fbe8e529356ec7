//! Descriptors that the launcher passes to its children. An environment variable names the number
//! of each.

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

/// The OSC socket, for the gateway. The supervisor holds a copy for the next launcher.
pub const OSC: &str = "UNDERSTUDY_OSC_FD";
/// The listening control socket, for the supervisor.
pub const CONTROL: &str = "UNDERSTUDY_CONTROL_FD";
/// The supervisor's end of the packet socket between launcher and supervisor.
pub const LAUNCHER: &str = "UNDERSTUDY_LAUNCHER_FD";
/// The launcher's end of the packet socket, for a launcher that takes over.
pub const SUPERVISOR: &str = "UNDERSTUDY_SUPERVISOR_FD";
/// The instance's lock. The supervisor holds a copy for the next launcher.
pub const LOCK: &str = "UNDERSTUDY_LOCK_FD";
/// The pipe to the waiting `understudy up`, for the launcher.
pub const READY: &str = "UNDERSTUDY_READY_FD";

/// Closes every descriptor except the first three and those that the variables `but` name.
/// Descriptors that a careless parent has left open reach neither this process nor its children.
///
/// Call this function first in `main`, before anything is opened.
pub fn close_strangers(but: &[&str]) {
    let number = |variable: &&str| std::env::var(variable).ok()?.parse::<u32>().ok();
    let mut kept: Vec<u32> = but.iter().filter_map(number).filter(|n| *n >= 3).collect();
    kept.sort_unstable();
    let close = |first: u32, last: u32| {
        if first <= last {
            // SAFETY: this process has not opened anything yet, so no code in it owns, or will use,
            // a descriptor in the range.
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

/// Starts a process that inherits these descriptors. Each variable holds the number of its
/// descriptor.
///
/// Two threads must not call this function at the same time: every process that is started
/// meanwhile inherits the descriptors too.
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

/// Reserves `count` descriptors until the returned value is dropped.
///
/// # Errors
/// When fewer than `count` descriptors are free; the operating system's error.
pub fn reserve(count: usize) -> std::io::Result<Vec<OwnedFd>> {
    let open = |_| Ok(fcntl_dupfd_cloexec(std::io::stdin(), 3)?);
    (0..count).map(open).collect()
}

/// Checks that `count` more descriptors can be opened.
///
/// # Errors
/// As [`reserve`].
pub fn are_free(count: usize) -> std::io::Result<()> {
    reserve(count).map(drop)
}

/// Creates the packet socket between launcher and supervisor; returns both ends.
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

/// Takes the descriptor that the variable names. Call this function once for each variable.
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
    // SAFETY: the descriptor is open and was handed down for this purpose alone, and nothing else
    // in this process has taken it.
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
