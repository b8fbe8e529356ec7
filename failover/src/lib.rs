//! The failover rules: pure functions that make the death of a worker inaudible.
//!
//! Three rules are the core. `decide`: what a worker does next. `merge`: what audio-out plays. `switch`:
//! what the supervisor does about a failure, in two phases. The other rules support them:
//!
//! - `checkpointing`: which worker writes checkpoints. `lead`: how far ahead workers render.
//! - `load`: whether the patch needs more than the machine has. `audit`: whether the replicas agree.
//! - `watch`: whether a worker makes progress. `restart`: the pause before a failed process is started again.
//! - `blame`: what a worker died of, and how the survivor is protected from it.
//! - `trial`: which suspect kills workers, and which of two differing workers is wrong.
//!
//! `judge` combines them into all conclusions of the supervisor. The crate reads no clock, does no I/O and
//! makes no system call. Each event carries the time. The shared words may lie in a mapping or on the heap,
//! so tests and simulations run the same rules as the processes.
#![forbid(unsafe_code)]

pub mod audit;
pub mod blame;
pub mod checkpointing;
pub mod decide;
pub mod judge;
pub mod lead;
pub mod load;
pub mod merge;
pub mod restart;
pub mod switch;
pub mod trial;
pub mod watch;
