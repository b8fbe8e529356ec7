//! A whole stack in one thread, under a virtual clock: the rules of `failover` as the processes run
//! them, over rings on the heap, with faults of every kind between any two steps.
//!
//! `world` holds what there is and the queue of what happens next; `worker`, `supervisor` and `trial`
//! are the processes; `faults` says what goes wrong and when, from a seed; `music` is a stand-in for
//! the engine in which every command shows; `checkers` look after each event. Nothing here touches
//! `platform`. `sabotage` breaks one thing on purpose, so that it is seen that the checkers find it.
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
