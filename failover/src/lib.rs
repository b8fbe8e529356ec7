//! Why it is hitless: the three rules side by side, pure.
//!
//! `decide`: what a worker may do next. `merge`: what audio-out plays. `switch`: what the
//! supervisor does about a failure, in two phases. Beside them `keep` (who keeps the checkpoints?), `lead`
//! (how far ahead?), `load` (is the music too much?), `audit` and `watch` (do the replicas agree, do they get on?),
//! `blame` and `trial` (what did a worker die of, what is kept away from the other one, who of two is
//! wrong?), `restart` (how soon again?). `judge` is all that the supervisor concludes, from these. No clock,
//! no I/O, no operating system: time comes in with each
//! event, the shared words may lie in a mapping or on the heap, so that tests and simulations drive the
//! rules that the processes run.
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
