//! A whole stack in one thread under a virtual clock: the production rules of `failover`, over rings on the
//! heap, with faults of every kind between any two steps.
//!
//! `world` holds the state and the queue of events. `worker`, `supervisor` and `trial` are the processes.
//! `faults` derives from a seed what goes wrong, and when. `music` is a stand-in for the engine in which
//! the effect of every command is visible. `checkers` check the invariants after each event or at the end.
//! `sabotage` breaks one thing on purpose, to show that the checkers find it. The crate never uses
//! `platform`.
#![forbid(unsafe_code)]

pub mod checkers;
pub mod clock;
pub mod faults;
pub mod log;
pub mod music;
pub mod sabotage;
mod supervisor;
mod trial;
mod worker;
pub mod world;
