//! Descriptors that the launcher hands down: by number, in an environment variable.

use std::{
    net::UdpSocket,
    os::{
        fd::{FromRawFd, OwnedFd, RawFd},
        unix::net::UnixListener,
    },
};

/// The OSC socket, for the gateway.
pub const OSC: &str = "UNDERSTUDY_OSC_FD";
/// The listening control socket, for the supervisor.
pub const CONTROL: &str = "UNDERSTUDY_CONTROL_FD";
/// The packet socket to the launcher, for the supervisor.
pub const LAUNCHER: &str = "UNDERSTUDY_LAUNCHER_FD";
/// The pipe to whoever waits in `up`, for the launcher.
pub const READY: &str = "UNDERSTUDY_READY_FD";

/// Closes every descriptor but the first three and the one that the variable names: what a careless
/// parent had open is nobody's business here, nor in any child.
///
/// Call it first of all in `main`, before anything is opened.
pub fn close_strangers(but: &str) {
    let kept: Option<u32> = std::env::var(but).ok().and_then(|v| v.parse().ok());
    let close = |first: u32, last: u32| {
        if first <= last {
            // SAFETY: nothing has been opened by this process yet, so that nobody here owns, or
            // will use, a descriptor in the range.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    };
    match kept {
        Some(kept) if kept >= 3 => {
            close(3, kept - 1);
            close(kept.saturating_add(1), u32::MAX);
        }
        _ => close(3, u32::MAX),
    }
}

/// Takes the descriptor named by the variable; call it once for each.
///
/// # Errors
/// When the variable is missing or names no open descriptor.
pub fn inherited(variable: &str) -> std::io::Result<OwnedFd> {
    let explain = || {
        std::io::Error::other(format!(
            "{variable} names no descriptor; start this program with `understudy up`"
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
    rustix::io::fcntl_setfd(&taken, rustix::io::FdFlags::CLOEXEC)?;
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
