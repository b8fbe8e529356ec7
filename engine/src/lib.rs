//! The sound: patch, graph, modules. Pure: no IPC, no operating system, no clock.
//!
//! The samples are a function of patch, events and block number. The state of all modules lies in
//! one flat arena of plain data. So a checkpoint is a memory copy, and a replica that starts from
//! it continues with the same bits.
#![forbid(unsafe_code)]

mod bandlimited;
mod cables;
pub mod catalog;
mod changes;
pub mod cost;
mod engine;
mod event_queue;
mod gather;
mod lanes;
mod lookahead;
mod loops;
mod master;
mod math;
mod module;
mod modules;
mod params;
pub mod patch;
mod plan;
pub mod replay;
mod safety;
mod schedule;
pub mod score;
mod sequencer;
mod smooth;
mod stretch;

#[cfg(test)]
mod bench;

pub use engine::{Config, Engine, RestoreError};
pub use safety::Removed;
