//! The recorder: writes what audio-out has really played into a file.
//!
//! It reads the tape and nothing else of the music; nobody waits for it. What it is to record and how far
//! it has come stand on the tape, so it may be killed at any time, and the next one goes on with the very
//! next frame. Its control thread talks; the thread that records does all the rest.
#![forbid(unsafe_code)]

mod file;
mod flac_file;
mod reel;

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt};

use anyhow::Result;
use clap::Parser;
use common::message::Service;
use platform::{confine, paths::Paths, say, service, shared};

/// The recorder of an Understudy instance; started by its launcher.
#[derive(Parser)]
struct Arguments {
    /// The instance.
    #[arg(long)]
    instance: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let paths = Paths::of(&arguments.instance)?;
    let shape = shared::stage(&arguments.instance)?.shape();
    let tape = shared::tape(&arguments.instance, &shape)?;
    let folder = paths.recordings();
    // If it cannot be made, a recording says why it cannot begin.
    let _ = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder);
    let confined = confine::recorder(&folder);
    confined
        .skipped()
        .for_each(|net| say::line("recorder", &net));
    let reel = reel::Reel::new(tape, shape, folder);
    service::serve(&paths, Service::Recorder, move |signs| reel.run(signs))?;
    Ok(())
}
