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
