//! Words and layouts that two or more processes of Understudy agree on.
//!
//! The crate is a leaf: it calls no operating system, takes no decision and contains no `unsafe`. It
//! defines what the shared words mean. `platform` maps them; `failover` draws conclusions from them.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod command;
pub mod command_log;
pub mod edit;
pub mod inbox;
pub mod layout;
pub mod limits;
pub mod message;
pub mod midi;
pub mod options;
pub mod pitch;
pub mod preset;
pub mod recording;
pub mod ring;
pub mod sample;
mod service;
pub mod stage;
pub mod sync;
pub mod tape;
pub mod time_tag;
pub mod units;
