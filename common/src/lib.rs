//! Words and layouts that two or more processes of Understudy agree on.
//!
//! A leaf: it knows no operating system, takes no decision and holds no `unsafe`. What the words
//! mean is here; who maps them is `platform`; what follows from them is `failover`.
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
pub mod stage;
pub mod sync;
pub mod tape;
pub mod time_tag;
pub mod units;
