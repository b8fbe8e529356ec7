//! audio-out: owns the sound card, or what stands for it; merges the two rings.
//!
//! It takes block after block from the preferred ring, else from the other: it needs nobody to
//! tell it that a worker is gone. Its control thread talks; the sink's thread plays, and leaves what it
//! has played on the tape.
#![forbid(unsafe_code)]

mod control;
mod faults;
mod played;
mod player;
mod sinks;

use anyhow::Result;
use clap::Parser;
use platform::{
    paths::Paths,
    shared::{self, Shared},
    shm,
};

#[cfg(debug_assertions)]
#[global_allocator]
static ALLOCATOR: platform::realtime::AllocDisabler = platform::realtime::AllocDisabler;

/// The audio output of an Understudy instance; started by its launcher.
#[derive(Parser)]
struct Arguments {
    /// List the devices as JSON, for `understudy devices`; play nothing.
    #[arg(long, exclusive = true)]
    devices: bool,
    /// The instance.
    #[arg(long, default_value = "default")]
    instance: String,
    /// auto, device, device:NAME, wav:PATH or null.
    #[arg(long, default_value = "auto")]
    sink: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.devices {
        println!("{}", sinks::devices());
        return Ok(());
    }
    let paths = Paths::of(&arguments.instance)?;
    let shared = Shared::open(&arguments.instance)?;
    let tape = shared::tape(&arguments.instance, &shared.stage.shape())?;
    let _ = shared.lock();
    if !shm::lock(tape.all_words()) {
        shm::touch(tape.all_words(), true);
    }
    faults::arm();
    played::complete(&tape, &shared);
    control::serve(&paths, &shared, tape, &arguments.sink)
}
