//! `understudy replay`: an instance's command log rendered again, to a WAV file.

use std::path::{Path, PathBuf};

use engine::replay::Replay;
use platform::{paths::Paths, samples::Samples};
use serde_json::json;

use crate::{Context, failure::Failure, output};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// An instance's name or a command log file [default: the instance]
    #[arg(value_name = "INSTANCE|LOG")]
    source: Option<String>,
    /// The WAV file to write, 32-bit float
    #[arg(short, long, value_name = "OUT.wav")]
    output: PathBuf,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let path = match args.source.as_deref() {
        None => context.paths.command_log(),
        Some(text) if text.contains(['/', '.']) || Path::new(text).is_file() => text.into(),
        Some(name) => Paths::of(name)
            .map_err(|e| Failure::usage(e.to_string()))?
            .command_log(),
    };
    let wrong = |what: String| Failure::no(format!("{}: {what}", path.display()));
    let samples = Samples::beside(&path);
    let bytes = std::fs::read(&path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let mut replay = Replay::new(&bytes, Box::new(move |id| samples.find(id)))
        .map_err(|e| wrong(e.to_string()))?;
    let shape = replay.shape();
    let mut wav = output::Wav::create(&args.output, shape.rate_hz, shape.channels)?;
    let mut block = vec![0.0; shape.block_samples()];
    while replay.next(&mut block).map_err(|e| wrong(e.to_string()))? {
        wav.add(&block);
    }
    let (blocks, commands) = (replay.blocks(), replay.commands());
    wav.finish()?;
    let frames = blocks * u64::from(shape.block_frames);
    if context.json {
        output::value(&json!({
            "log": path.display().to_string(), "output": args.output.display().to_string(),
            "frames": frames, "blocks": blocks, "commands": commands,
            "rate": shape.rate_hz, "channels": shape.channels,
        }));
    } else {
        output::line(&format!(
            "replayed {} commands, {} blocks, {frames} frames to {}",
            commands,
            blocks,
            args.output.display()
        ));
    }
    Ok(())
}
