//! `understudy render`: a patch and a score to a WAV file, in one process, without a stack.

use std::path::PathBuf;

use common::{
    command::Event,
    limits::{BLOCK_FRAMES_MAX, BLOCK_FRAMES_MIN, CHANNELS_MAX, RATE_HZ_MAX, RATE_HZ_MIN},
};
use engine::{
    Config, Engine,
    catalog::{self, ModuleType, Param},
    patch::Patch,
    score::{self, Line},
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
    /// Frames in a block; events come in at the start of the block that holds their time
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
    let mut events = Vec::new();
    for line in &lines {
        let resolved = resolve(&patch, line)
            .map_err(|e| named(&args.score, format!("line {}: {e}", line.number)))?;
        if let Some(note) = resolved.note {
            eprintln!("{}: line {}: {note}", args.score.display(), line.number);
        }
        let frame = line.seconds * f64::from(args.rate);
        events.push(((frame / f64::from(args.block)) as u64, resolved.event));
    }
    let frames = (args.seconds * f64::from(args.rate)).round() as u64;
    let mut wav = output::Wav::create(&args.output, args.rate, args.channels)?;
    let mut events = events.into_iter().peekable();
    let mut samples = vec![0.0; config.block_samples()];
    for block in 0..frames.div_ceil(args.block.into()) {
        while let Some((_, event)) = events.next_if(|(at, _)| *at <= block) {
            engine.apply(&event);
        }
        engine.render(&mut samples, &mut |_| {});
        let left = (frames - block * u64::from(args.block)).min(args.block.into());
        wav.add(&samples[..left as usize * args.channels as usize]);
    }
    wav.finish()?;
    let late = events.count();
    if late > 0 {
        eprintln!("{late} events lie after the end and were not played");
    }
    if context.json {
        output::value(&json!({
            "output": args.output.display().to_string(), "frames": frames,
            "rate": args.rate, "channels": args.channels, "events": lines.len() - late,
        }));
    } else {
        output::line(&format!(
            "rendered {frames} frames, {} events, to {}",
            lines.len() - late,
            args.output.display()
        ));
    }
    Ok(())
}

/// An event, and what the user should know about it.
#[derive(Debug, PartialEq)]
struct Resolved {
    event: Event,
    note: Option<String>,
}

fn resolve(patch: &Patch, line: &Line) -> Result<Resolved, String> {
    let parts: Vec<&str> = line.address.split('/').skip(1).collect();
    let quiet = |event| Ok(Resolved { event, note: None });
    match (parts.as_slice(), line.args.as_slice()) {
        (["engine", "start"], []) => quiet(Event::Run(true)),
        (["engine", "stop"], []) => quiet(Event::Run(false)),
        (["gate", id], [value]) => {
            let (module, kind) = module(patch, id)?;
            if !kind.takes_gate {
                return Err(format!(
                    "the module \"{id}\" is of type {} and takes no gate",
                    kind.name
                ));
            }
            let level = match value.as_str() {
                "true" => 1.0,
                "false" => 0.0,
                text => number(text)?,
            };
            let near = level.clamp(0.0, 1.0);
            let note = (near != level).then(|| format!("{level} is out of 0 to 1: {near} is used"));
            let event = Event::Gate {
                module,
                level: near,
            };
            Ok(Resolved { event, note })
        }
        (["mod", id, name], [value]) => {
            let (module, kind) = module(patch, id)?;
            let index = kind.param_index(name).ok_or_else(|| {
                let names: Vec<_> = kind.params.iter().map(|p| p.name).collect();
                format!(
                    "the module \"{id}\" of type {} has no parameter \"{name}\"; it has {}",
                    kind.name,
                    names.join(", ")
                )
            })?;
            let param = &kind.params[usize::from(index)];
            let (value, note) = accept(param, value)?;
            let event = Event::Param {
                module,
                param: index,
                value,
            };
            Ok(Resolved { event, note })
        }
        (["engine", "start" | "stop"], _) => Err(format!("{} takes no argument", line.address)),
        (["gate", _] | ["mod", _, _], args) => Err(format!(
            "{} takes one value, got {}",
            line.address,
            args.len()
        )),
        _ => Err(format!(
            "\"{}\" cannot be rendered; there are /mod/ID/PARAM VALUE, /gate/ID VALUE, /engine/start, /engine/stop",
            line.address
        )),
    }
}

fn module(patch: &Patch, id: &str) -> Result<(u16, ModuleType), String> {
    let index = patch.module_index(id).ok_or_else(|| {
        let ids: Vec<_> = patch.modules.iter().map(|m| m.id.as_str()).collect();
        format!("no module \"{id}\"; there are {}", ids.join(", "))
    })?;
    let kind = &patch.modules[usize::from(index)].kind;
    let kind = catalog::find(kind).ok_or_else(|| format!("no module type \"{kind}\""))?;
    Ok((index, kind.to_owned()))
}

fn accept(param: &Param, text: &str) -> Result<(f32, Option<String>), String> {
    if let Some(choice) = param.choices.iter().position(|choice| *choice == text) {
        return Ok((choice as f32, None));
    }
    let wanted = number(text)?;
    let value = param
        .accept(wanted)
        .ok_or_else(|| format!("{text} is no finite number"))?;
    let note = (value != wanted).then(|| {
        format!(
            "{} {wanted} is not in {} to {}: {value} is used",
            param.name, param.min, param.max
        )
    });
    Ok((value, note))
}

fn number(text: &str) -> Result<f32, String> {
    let number = text.parse::<f32>().ok().filter(|n| n.is_finite());
    number.ok_or_else(|| format!("\"{text}\" is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve_text(text: &str) -> Result<Resolved, String> {
        let lines = score::parse(text).unwrap();
        resolve(&Patch::default_patch(), &lines[0])
    }

    #[test]
    fn addresses_become_events() {
        let found = resolve_text("0 /gate/adsr 1").unwrap();
        let gate = Event::Gate {
            module: 1,
            level: 1.0,
        };
        assert_eq!((found.event, found.note), (gate, None));
        let found = resolve_text("0 /mod/filter/cutoff 1e9").unwrap();
        assert!(found.note.unwrap().contains("20000 is used"));
        assert!(matches!(
            found.event,
            Event::Param {
                module: 2,
                value: 20_000.0,
                ..
            }
        ));
    }

    #[test]
    fn wrong_addresses_say_what_would_be_right() {
        for (text, what) in [
            ("0 /mod/sin/freq 1", "there are sine, adsr"),
            ("0 /mod/sine/freqq 1", "it has freq"),
            ("0 /mod/sine/freq x", "\"x\" is no number"),
            ("0 /mod/sine/freq nan", "\"nan\" is no number"),
            ("0 /mod/sine/freq", "takes one value, got 0"),
            ("0 /gate/sine 1", "takes no gate"),
            ("0 /seq/start a", "cannot be rendered"),
        ] {
            let error = resolve_text(text).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
