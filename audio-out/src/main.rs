//! audio-out: owns the sink and merges the two rings.
//!
//! audio-out takes each block from the preferred ring, otherwise from the other ring, so it does not depend on a report
//! of a worker's death. The control thread communicates; the sink's thread plays, and writes the played blocks to the
//! tape.
#![forbid(unsafe_code)]

mod control;
mod faults;
mod playback;
mod played;
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

/// The audio output of an Understudy instance. The launcher starts this program.
#[derive(Parser)]
struct Arguments {
    /// List the devices as JSON, for `understudy devices`, and exit.
    #[arg(long, exclusive = true)]
    devices: bool,
    /// Serve this instance.
    #[arg(long, default_value = "default")]
    instance: String,
    /// Play to this sink: auto, device, device:NAME, wav:PATH or null.
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
    let tape = shared::tape(&arguments.instance, &shared.stage.format())?;
    let _ = shared.lock();
    if !shm::lock(tape.all_words()) {
        shm::touch(tape.all_words(), true);
    }
    faults::arm();
    played::complete(&tape, &shared);
    control::serve(&paths, &shared, tape, &arguments.sink)
}
