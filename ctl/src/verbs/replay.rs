//! `understudy replay`: an instance's command log rendered again, to a WAV file, or to one for each module
//! that is heard.
//!
//! A stem is what one module brings into `out`, through the level of `out` and the fades of the last stage:
//! the same log, rendered with no other cable into `out`. All stems are rendered side by side with the mix;
//! what no single module has made (the step between two patches that is smoothed away, a block that is
//! muted) goes into a file of its own where there is any, so that all files add up to the mix.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use common::stage::Shape;
use engine::replay::{self, Replay, ReplayError};
use platform::{paths::Paths, samples::Samples};
use serde_json::json;

use crate::{Context, failure::Failure, output};

/// A sum that is nearer to the mix than this is the mix.
const NEAR: f32 = 1e-6;
/// The file of what no single module has made; no module's name has a space.
const REST: &str = "rest of the mix";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// An instance's name or a command log file [default: the instance]
    #[arg(value_name = "INSTANCE|LOG")]
    source: Option<String>,
    /// The WAV file to write, 32-bit float
    #[arg(short, long, value_name = "OUT.wav", required_unless_present = "stems")]
    output: Option<PathBuf>,
    /// Write a WAV file for each module with a cable into "out", named after it; they add up to the mix
    #[arg(long, value_name = "DIR")]
    stems: Option<PathBuf>,
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
    let bytes = fs::read(&path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let played = |e: ReplayError| wrong(e.to_string());
    let mut replay = Replay::new(&bytes, find(&path)).map_err(played)?;
    let shape = replay.shape();
    let create = |path: &PathBuf| output::Wav::create(path, shape.rate_hz, shape.channels);
    let mut wav = args.output.as_ref().map(create).transpose()?;
    let mut stems = match &args.stems {
        Some(folder) => Some(Stems::begin(folder, &path, &bytes, shape)?),
        None => None,
    };
    let mut block = vec![0.0; shape.block_samples()];
    let begun = Instant::now();
    while replay.next(&mut block).map_err(played)? {
        if let Some(stems) = &mut stems {
            stems.next(&block).map_err(played)?;
        }
        if let Some(wav) = &mut wav {
            wav.add(&block);
        }
    }
    let (blocks, commands) = (replay.blocks(), replay.commands());
    wav.map_or(Ok(()), output::Wav::finish)?;
    let written = stems.map_or(Ok(Vec::new()), Stems::finish)?;
    let frames = blocks * u64::from(shape.block_frames);
    let pace = output::pace(frames, shape.rate_hz, begun);
    let mut files: Vec<String> = args
        .output
        .iter()
        .map(|p| p.display().to_string())
        .collect();
    files.extend(written.iter().map(|p| p.display().to_string()));
    if context.json {
        output::value(&json!({
            "log": path.display().to_string(), "output": args.output,
            "stems": written, "frames": frames, "blocks": blocks, "commands": commands,
            "rate": shape.rate_hz, "channels": shape.channels, "times_real_time": pace,
        }));
    } else {
        output::line(&format!(
            "replayed {commands} commands, {blocks} blocks, {frames} frames, {pace} times as fast as real time, to {}",
            files.join(", ")
        ));
    }
    Ok(())
}

fn find(log: &Path) -> Box<common::sample::Find<'static>> {
    let samples = Samples::beside(log);
    Box::new(move |id| samples.find(id))
}

/// All stems of a log, on their way.
struct Stems {
    stems: Vec<Stem>,
    block: Vec<f32>,
    /// What is missing to the mix, its file, and whether it is more than rounding.
    rest: Vec<f32>,
    rest_wav: output::Wav,
    rest_path: PathBuf,
    has_rest: bool,
}

struct Stem {
    replay: Replay,
    wav: output::Wav,
    path: PathBuf,
}

impl Stems {
    fn begin(folder: &Path, log: &Path, bytes: &[u8], shape: Shape) -> Result<Self, Failure> {
        let wrong = |e: ReplayError| Failure::no(format!("{}: {e}", log.display()));
        fs::create_dir_all(folder)
            .map_err(|e| Failure::no(format!("cannot make {}: {e}", folder.display())))?;
        let rest_path = folder.join(format!("{REST}.wav"));
        let stem = |id: String| {
            let replay = Replay::alone(bytes, find(log), &id).map_err(wrong)?;
            let path = folder.join(format!("{id}.wav"));
            let wav = output::Wav::create(&path, shape.rate_hz, shape.channels)?;
            Ok(Stem { replay, wav, path })
        };
        let ids = replay::heard(bytes).map_err(wrong)?;
        let stems: Vec<Stem> = ids.into_iter().map(stem).collect::<Result<_, Failure>>()?;
        Ok(Self {
            stems,
            block: vec![0.0; shape.block_samples()],
            rest: vec![0.0; shape.block_samples()],
            rest_wav: output::Wav::create(&rest_path, shape.rate_hz, shape.channels)?,
            rest_path,
            has_rest: false,
        })
    }

    /// The next block of each, beside that of the mix.
    fn next(&mut self, mix: &[f32]) -> Result<(), ReplayError> {
        self.rest.copy_from_slice(mix);
        for stem in &mut self.stems {
            stem.replay.next(&mut self.block)?;
            stem.wav.add(&self.block);
            for (rest, sample) in self.rest.iter_mut().zip(&self.block) {
                *rest -= sample;
            }
        }
        self.rest_wav.add(&self.rest);
        self.has_rest |= self.rest.iter().any(|rest| rest.abs() > NEAR);
        Ok(())
    }

    /// Completes the files; returns which there are.
    fn finish(self) -> Result<Vec<PathBuf>, Failure> {
        let mut paths = Vec::new();
        for stem in self.stems {
            stem.wav.finish()?;
            paths.push(stem.path);
        }
        self.rest_wav.finish()?;
        if self.has_rest {
            paths.push(self.rest_path);
        } else {
            let _ = fs::remove_file(self.rest_path);
        }
        Ok(paths)
    }
}
