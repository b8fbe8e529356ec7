//! The OSC gateway: datagrams in, numbered events to the supervisor, replies to the sender.
//!
//! A datagram takes one path: `intake` (admission by room and rate), `decode` (bytes to OSC messages), `namespace`
//! (names to numbers), `sessions` (submissions without an outcome), `reply` (replies to the sender). `gateway`
//! connects these parts without a socket; `drain`, `receive` and `supervisor` do the I/O. The gateway changes the
//! sound only through the supervisor.
#![forbid(unsafe_code)]

pub mod decode;
pub mod drain;
pub mod gateway;
pub mod intake;
pub mod namespace;
pub mod pattern;
pub mod rate;
pub mod receive;
pub mod reply;
pub mod sessions;
pub mod supervisor;
