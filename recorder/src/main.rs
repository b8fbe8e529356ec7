//! The recorder: writes the sound that audio-out has played to a file.
//!
//! The recorder reads only the tape; no process waits for it. Its orders and its progress are on the tape, so it may be
//! killed at any time, and the next recorder continues with the next frame. The control thread communicates; the
//! recording thread does everything else.
#![forbid(unsafe_code)]

mod file;
mod flac_file;
mod recording_thread;

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt};

use anyhow::Result;
use clap::Parser;
use common::message::Service;
use platform::{confine, paths::Paths, say, service, shared};

/// The recorder of an Understudy instance. The launcher starts this program.
#[derive(Parser)]
struct Arguments {
    /// Serve this instance.
    #[arg(long)]
    instance: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let paths = Paths::of(&arguments.instance)?;
    let audio_format = shared::stage(&arguments.instance)?.format();
    let tape = shared::tape(&arguments.instance, &audio_format)?;
    let folder = paths.recordings();
    // If the folder cannot be created, the start of a recording reports the error.
    let _ = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder);
    let confined = confine::recorder(&folder);
    confined
        .skipped()
        .for_each(|net| say::line("recorder", &net));
    let thread = recording_thread::RecordingThread::new(tape, audio_format, folder);
    service::serve(&paths, Service::Recorder, move |signs| thread.run(signs))?;
    Ok(())
}
