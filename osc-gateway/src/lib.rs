//! The OSC gateway: datagrams in, numbered events to the supervisor, replies to the sender.
//!
//! Bytes go down one path: `intake` (is there room, may it send so much?), `decode` (are they OSC at
//! all?), `namespace` (what do the names mean?), `sessions` (what is still without an outcome?), `reply`
//! (what does the sender hear?). `gateway` ties them together without touching a socket; `drain`, `receive`
//! and `supervisor` do the talking. Nothing here can change the sound except through the supervisor.
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
