//! `understudy render`: a patch and a score to a WAV file, in one process, without a stack.

use std::path::PathBuf;

use common::{
    limits::{BLOCK_FRAMES_MAX, BLOCK_FRAMES_MIN, CHANNELS_MAX, RATE_HZ_MAX, RATE_HZ_MIN},
    units::FrameIndex,
};
use engine::{
    Config, Engine,
    score::{self, Line},
};
use osc_gateway::{
    decode::{Message, Value},
    namespace::{Action, Budget, Namespace, Resolved},
};
use serde_json::json;

use crate::{
    Context,
    failure::Failure,
    output,
    patch_file::{self, Shelf},
};

/// Longer files have no room in a WAV's 32-bit length; ten hours at 48 kHz are out of it already.
const WAV_BYTES_MAX: f64 = 4_294_000_000.0;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A patch file
    patch: PathBuf,
    /// What to play: a line each, SECONDS ADDRESS ARG…
    #[arg(long, value_name = "FILE")]
    score: PathBuf,
    /// How long
    #[arg(long, value_name = "S")]
    seconds: f64,
    /// The WAV file to write, 32-bit float
    #[arg(short, long, value_name = "OUT.wav")]
    output: PathBuf,
    /// Frames a second
    #[arg(long, value_name = "HZ", default_value_t = 48_000,
        value_parser = clap::value_parser!(u32).range(i64::from(RATE_HZ_MIN)..=i64::from(RATE_HZ_MAX)))]
    rate: u32,
    /// Frames in a block
    #[arg(long, value_name = "FRAMES", default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(i64::from(BLOCK_FRAMES_MIN)..=i64::from(BLOCK_FRAMES_MAX)))]
    block: u32,
    /// Channels of sound
    #[arg(long, value_name = "N", default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(CHANNELS_MAX)))]
    channels: u32,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let config = Config {
        rate_hz: args.rate,
        block_frames: args.block,
        channels: args.channels,
    };
    let bytes = args.seconds * f64::from(args.rate) * f64::from(args.channels) * 4.0;
    if !(0.0..=WAV_BYTES_MAX).contains(&bytes) {
        return Err(Failure::usage(format!(
            "--seconds {} cannot be rendered; 0 to {:.0} fit a WAV file here",
            args.seconds,
            WAV_BYTES_MAX / f64::from(args.rate * args.channels * 4)
        )));
    }
    let named = |path: &PathBuf, what: String| Failure::no(format!("{}: {what}", path.display()));
    let shelf = Shelf::of_process(context.paths.samples());
    let (_, patch) = patch_file::read(&args.patch, config, &shelf)?;
    let mut engine = Engine::new(&patch, config).map_err(|e| named(&args.patch, e.to_string()))?;
    let lines = score::parse(&output::read_text(&args.score)?)
        .map_err(|e| named(&args.score, e.to_string()))?;
    let names =
        Namespace::of_patch(1, args.rate, &patch.to_json()).map_err(|e| named(&args.patch, e))?;
    let mut events = Vec::new();
    for line in &lines {
        let frame = FrameIndex((line.seconds * f64::from(args.rate)).round() as u64);
        let resolved = resolve(&names, line)
            .map_err(|e| named(&args.score, format!("line {}: {e}", line.number)))?;
        for resolved in resolved {
            if let Some(note) = resolved.note {
                let address = resolved.message.address;
                eprintln!(
                    "{}: line {}: {address} {note}",
                    args.score.display(),
                    line.number
                );
            }
            events.push((frame, resolved.event));
        }
    }
    let frames = (args.seconds * f64::from(args.rate)).round() as u64;
    let mut wav = output::Wav::create(&args.output, args.rate, args.channels)?;
    let count = events.len();
    let mut events = events.into_iter().peekable();
    let mut samples = vec![0.0; config.block_samples()];
    let block_frames = u64::from(args.block);
    for block in 0..frames.div_ceil(block_frames) {
        let end = frames.min((block + 1) * block_frames);
        while let Some((at, event)) = events.next_if(|(at, _)| at.0 < end) {
            engine.apply_at(at, &event);
        }
        engine.render(&mut samples, &mut |_| {});
        let left = end - block * block_frames;
        wav.add(&samples[..left as usize * args.channels as usize]);
    }
    wav.finish()?;
    let late = events.count();
    let played = count - late;
    if late > 0 {
        eprintln!("{late} events lie after the end and were not played");
    }
    if context.json {
        output::value(&json!({
            "output": args.output.display().to_string(), "frames": frames,
            "rate": args.rate, "channels": args.channels, "events": played,
        }));
    } else {
        output::line(&format!(
            "rendered {frames} frames, {} events, to {}",
            played,
            args.output.display()
        ));
    }
    Ok(())
}

/// The events of a line, and what the user should know about them.
fn resolve(names: &Namespace, line: &Line) -> Result<Vec<Resolved>, String> {
    let message = Message {
        address: line.address.clone(),
        args: line.args.iter().map(|arg| value(arg)).collect(),
        time: None,
    };
    let mut budget = Budget::DATAGRAM;
    let actions = names.understand(&message, &mut budget)?;
    let event = |action| match action {
        Action::Event(resolved) => Ok(resolved),
        _ => Err(format!(
            "{} plays nothing: a score has what makes sound",
            line.address
        )),
    };
    actions.into_iter().map(event).collect()
}

/// An argument as OSC would have it.
fn value(text: &str) -> Value {
    let number = |_| text.parse().map(Value::Float);
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => text
            .parse()
            .map(Value::Int)
            .or_else(number)
            .unwrap_or_else(|_| Value::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::command::Event;
    use engine::patch::Patch;

    fn resolve_text(text: &str) -> Result<Vec<Resolved>, String> {
        let names = Namespace::of_patch(1, 48_000, &Patch::default_patch().to_json()).unwrap();
        resolve(&names, &score::parse(text).unwrap()[0])
    }

    #[test]
    fn lines_become_events() {
        let found = resolve_text("0 /gate/adsr true").unwrap().remove(0);
        let gate = Event::Gate {
            module: 1,
            level: 1.0,
        };
        assert_eq!((found.event, found.note), (gate, None));
        let found = resolve_text("0 /mod/filter/cutoff 1e9 50")
            .unwrap()
            .remove(0);
        assert!(found.note.unwrap().contains("clamped to 20000"));
        let ramp = Event::Ramp {
            module: 2,
            param: 0,
            value: 20_000.0,
            ms: 50.0,
        };
        assert_eq!(found.event, ramp);
        let note = resolve_text("0 /note/sine A4 100").unwrap().remove(0).event;
        assert!(matches!(note, Event::Note { pitch: 69.0, .. }));
        assert_eq!(resolve_text("0 /mod/*/gain 0.5").unwrap().len(), 2);
    }

    #[test]
    fn wrong_lines_say_what_would_be_right() {
        for (text, what) in [
            ("0 /mod/sin/freq 1", "did you mean \"sine\"?"),
            ("0 /mod/sine/freq x", "takes one number, got \"x\""),
            ("0 /mod/sine/freq nan", "NaN is refused"),
            ("0 /gate/out 1", "takes no gate"),
            ("0 /sync 1", "plays nothing"),
            ("0 /patch/commit", "plays nothing"),
        ] {
            let error = resolve_text(text).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
