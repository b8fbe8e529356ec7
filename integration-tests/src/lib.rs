//! Shared by the integration tests: a stack of real processes, real kills, an independent ear.
#![forbid(unsafe_code)]

pub mod census;
pub mod damage;
pub mod ear;
pub mod faulty_disk;
pub mod fuzz;
pub mod patches;
pub mod random;
pub mod sound_server;
pub mod stack;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod surgeon;
