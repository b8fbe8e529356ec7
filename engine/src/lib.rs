//! The sound: patch, graph, modules. Pure: no IPC, no operating system, no clock.
//!
//! The samples are a function of patch, events and block number; all state of all modules lies in
//! one flat arena of plain data, so that a checkpoint is a memory copy and a replica that starts
//! from it goes on to the very bit.
#![forbid(unsafe_code)]

pub mod catalog;
mod engine;
mod master;
mod math;
mod module;
mod modules;
pub mod patch;
pub mod replay;
mod schedule;
pub mod score;
mod smooth;

pub use engine::{Config, Engine, RestoreError};
