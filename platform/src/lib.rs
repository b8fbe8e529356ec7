//! The operating system, and all `unsafe` of Understudy.
//!
//! Thin: each file wraps one facility of the operating system, words its errors for a person, and
//! takes no decisions. Linux is the main platform; where a facility is missing elsewhere, its error
//! says so.

pub mod confine;
pub mod control;
pub mod fd;
pub mod filter;
pub mod futex;
pub mod harm;
pub mod heap;
pub mod inbox;
pub mod ipc_link;
pub mod kept;
pub mod limits;
pub mod living;
pub mod log_end;
pub mod open;
pub mod osc_client;
pub mod paths;
pub mod pidfd;
pub mod process;
pub mod reach;
pub mod realtime;
pub mod samples;
pub mod say;
pub mod segments;
pub mod service;
pub mod shared;
pub mod shm;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod trace;
pub mod wav_file;
