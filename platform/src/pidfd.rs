//! Process handles (pidfds). Unlike a process id, a handle never comes to mean another process.

use std::{os::fd::OwnedFd, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal},
};

/// Opens a handle, which becomes readable when the process has ended.
///
/// # Errors
/// When there is no such process.
pub fn open(pid: u32) -> std::io::Result<OwnedFd> {
    let pid = to_pid(pid)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Sends a signal through the handle.
///
/// # Errors
/// When the process has been reaped or belongs to another user.
pub fn signal(handle: &OwnedFd, signal: i32) -> std::io::Result<()> {
    let signal = Signal::from_named_raw(signal)
        .ok_or_else(|| std::io::Error::other(format!("no signal {signal}")))?;
    Ok(rustix::process::pidfd_send_signal(handle, signal)?)
}

/// Waits until the process has ended; false if it still runs after `patience`.
#[must_use]
pub fn ended(handle: &OwnedFd, patience: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: patience.as_secs() as i64,
        tv_nsec: patience.subsec_nanos().into(),
    };
    let mut fds = [PollFd::new(handle, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&timeout)), Ok(1))
}

fn to_pid(pid: u32) -> std::io::Result<Pid> {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| std::io::Error::other(format!("{pid} is not a process id")))
}
