//! Why it is hitless: the three rules side by side, pure.
//!
//! `decide`: what a worker may do next. `merge`: what audio-out plays. `switch`: what the
//! supervisor does about a failure, in two phases. Beside them `keep` (who keeps the checkpoints?),
//! `audit` (do the replicas agree?), `blame` and `trial` (what did a worker die of, who of two is
//! wrong?), `restart` (how soon again?). No clock, no I/O, no operating system: time comes in with each
//! event, the shared words may lie in a mapping or on the heap, so that tests and simulations drive the
//! rules that the processes run.
#![forbid(unsafe_code)]

pub mod audit;
pub mod blame;
pub mod decide;
pub mod keep;
pub mod merge;
pub mod restart;
pub mod switch;
pub mod trial;
