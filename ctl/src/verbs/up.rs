//! `understudy up`: checks the options, starts the launcher, shows a live status line.
//!
//! All errors in the options are found here, before a process is started. Ctrl-C stops the whole stack cleanly;
//! with `--detach` the verb returns and the stack keeps running.

use std::{
    io::IsTerminal,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::builder::FalseyValueParser;
use common::{
    limits::{
        BLOCK_FRAMES_MAX, BLOCK_FRAMES_MIN, CHANNELS_MAX, LEAD_BLOCKS_MAX, LEAD_MAX_MS,
        RATE_HZ_MAX, RATE_HZ_MIN,
    },
    message::Service,
    options::{Bytes, Keep, Options, Seconds},
    units::{BlockIndex, FIRST_BLOCK_MAX, FIRST_NUMBER_MAX, First},
};
use engine::{
    Config,
    cost::{self, Costs},
    patch::Patch,
};
use platform::living;
use rustix::{fs::Access, process::Pid};
use serde_json::{Value, json};

use crate::{
    Context, asking,
    failure::Failure,
    launcher, output,
    patch_file::{self, Shelf},
    verbs::{
        down,
        status::{minutes, played_seconds},
    },
};

const STATUS_PERIOD: Duration = Duration::from_millis(500);
/// The time limit for the start of another launcher.
const NEXT_LAUNCHER: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Play to this sink: auto, device[:NAME], wav:PATH or null
    #[arg(long, default_value = "auto", env = "UNDERSTUDY_SINK")]
    pub(crate) sink: String,
    /// Render as fast as possible, without a clock (only with the sinks wav and null)
    #[arg(long, env = "UNDERSTUDY_FREEWHEEL", value_parser = FalseyValueParser::new())]
    pub(crate) freewheel: bool,
    /// Return once the stack is ready, and leave it running
    #[arg(long, env = "UNDERSTUDY_DETACH", value_parser = FalseyValueParser::new())]
    pub(crate) detach: bool,
    /// Receive OSC at this address or host name and port; port 0 selects a free port
    #[arg(
        long,
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:5005",
        env = "UNDERSTUDY_OSC",
        value_parser = platform::reach::resolve
    )]
    pub(crate) osc: SocketAddr,
    /// Receive MIDI: auto for the first port, part of a port's name, virtual for a port that other programs
    /// connect to, or file:PATH for a pipe
    #[arg(long, value_name = "PORT", env = "UNDERSTUDY_MIDI")]
    pub(crate) midi: Option<String>,
    /// Send MIDI notes to this module
    #[arg(
        long,
        value_name = "ID",
        default_value = "keys",
        env = "UNDERSTUDY_MIDI_TO"
    )]
    pub(crate) midi_to: String,
    /// Follow the tempo, start and stop of an Ableton Link session (a build with Link: `./launch.sh --link`)
    #[arg(long, env = "UNDERSTUDY_LINK", value_parser = FalseyValueParser::new())]
    pub(crate) link: bool,
    /// Set the sample rate in Hz
    #[arg(long, value_name = "HZ", default_value_t = 48_000, env = "UNDERSTUDY_RATE",
        value_parser = clap::value_parser!(u32).range(i64::from(RATE_HZ_MIN)..=i64::from(RATE_HZ_MAX)))]
    pub(crate) rate: u32,
    /// Set the block size in frames
    #[arg(long, value_name = "FRAMES", default_value_t = 128, env = "UNDERSTUDY_BLOCK",
        value_parser = clap::value_parser!(u32).range(i64::from(BLOCK_FRAMES_MIN)..=i64::from(BLOCK_FRAMES_MAX)))]
    pub(crate) block: u32,
    /// Render this many blocks ahead of playback. auto starts with 4 blocks (8 without real-time priority), adds one
    /// for each late or nearly late block, and removes one after ten minutes without any
    #[arg(
        long,
        value_name = "auto|BLOCKS",
        default_value = "auto",
        env = "UNDERSTUDY_LEAD"
    )]
    pub(crate) lead: Lead,
    /// Limit --lead auto to this many milliseconds
    #[arg(long, value_name = "MS", default_value_t = LEAD_MAX_MS, env = "UNDERSTUDY_LEAD_MAX",
        value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) lead_max: u32,
    /// Set the number of audio channels
    #[arg(long, value_name = "N", default_value_t = 2, env = "UNDERSTUDY_CHANNELS",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(CHANNELS_MAX)))]
    pub(crate) channels: u32,
    /// Start with this patch file [default: a built-in patch of sine, adsr, filter and out]
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "resume",
        env = "UNDERSTUDY_PATCH"
    )]
    pub(crate) patch: Option<PathBuf>,
    /// Start with the last patch, parameters and state of the instance
    #[arg(long, env = "UNDERSTUDY_RESUME", value_parser = FalseyValueParser::new())]
    pub(crate) resume: bool,
    /// Keep this much of the command log: SIZE (1GiB), TIME of music (7d), or all
    #[arg(
        long,
        value_name = "SIZE|TIME|all",
        default_value = "1GiB",
        env = "UNDERSTUDY_KEEP"
    )]
    pub(crate) keep: Keep,
    /// Run this shell command before an older segment is deleted, with the file's path as the last argument; the
    /// segment is deleted after the command has succeeded within ten minutes
    #[arg(long, value_name = "CMD", env = "UNDERSTUDY_ARCHIVE")]
    pub(crate) archive: Option<String>,
    /// Start a new segment of the command log after this many bytes
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64MiB",
        env = "UNDERSTUDY_SEGMENT_SIZE"
    )]
    pub(crate) segment_size: Bytes,
    /// Start a new segment of the command log after this much music
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1h",
        env = "UNDERSTUDY_SEGMENT_AGE"
    )]
    pub(crate) segment_age: Seconds,
    /// Set the number of the first block (for tests)
    #[arg(long, hide = true, value_name = "BLOCK", default_value_t = 0, env = "UNDERSTUDY_FIRST_BLOCK",
        value_parser = clap::value_parser!(u64).range(..=FIRST_BLOCK_MAX))]
    pub(crate) first_block: u64,
    /// Set the number after which all other counters begin (for tests)
    #[arg(long, hide = true, value_name = "NUMBER", default_value_t = 0, env = "UNDERSTUDY_FIRST_NUMBER",
        value_parser = clap::value_parser!(u64).range(..=FIRST_NUMBER_MAX))]
    pub(crate) first_number: u64,
}

/// The lead: how far ahead of playback the workers render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lead {
    Auto,
    Blocks(u32),
}

impl FromStr for Lead {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let blocks = text.parse().ok();
        match blocks.filter(|blocks| (1..=LEAD_BLOCKS_MAX).contains(&u64::from(*blocks))) {
            Some(blocks) => Ok(Self::Blocks(blocks)),
            None if text == "auto" => Ok(Self::Auto),
            None => Err(format!(
                "expected auto or a number of blocks from 1 to {LEAD_BLOCKS_MAX}"
            )),
        }
    }
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let (options, patch) = options(context, args)?;
    platform::paths::owner_only();
    if let Some(text) = platform::reach::warning(&args.osc) {
        output::warning(&text);
    }
    // From here on a signal requests a clean stop, so that no partial stack is left behind.
    let stop = stop_flag()?;
    let (child, text) = launcher::start(&context.paths, &options, patch.as_deref(), &stop)?;
    if context.json {
        let ready = json!({
            "instance": options.instance, "launcher": child.id(), "ready": text,
        });
        output::value(&ready);
    } else {
        output::line(&text);
    }
    if args.detach {
        return Ok(());
    }
    stay(context, child, &stop)
}

/// A flag that SIGINT, SIGTERM and SIGHUP set.
fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, stop.clone())
            .map_err(|e| Failure::no(format!("cannot register a signal handler: {e}")))?;
    }
    Ok(stop)
}

/// Checks the options and the initial patch.
fn options(context: &Context, args: &Args) -> Result<(Options, Option<String>), Failure> {
    let sink = check_sink(&args.sink)?;
    if args.freewheel && !(sink.starts_with("wav:") || sink == "null") {
        return Err(Failure::usage(format!(
            "--freewheel is not possible with the sink \"{sink}\", which has a clock (expected --sink wav:PATH or --sink null)"
        )));
    }
    if args.link {
        check_link()?;
    }
    let read = args.patch.as_deref().map(|path| {
        let config = Config {
            rate_hz: args.rate,
            block_frames: args.block,
            channels: args.channels,
        };
        let shelf = Shelf::of_instance(context.paths.samples());
        let (text, patch) = patch_file::read(path, config, &shelf)?;
        if !args.freewheel {
            tell_load(path, patch, config);
        }
        if let Some(wav) = sink.strip_prefix("wav:") {
            let sources = shelf.sources();
            let read = [path]
                .into_iter()
                .chain(sources.iter().map(PathBuf::as_path));
            output::keep_apart(Path::new(wav), read)?;
        }
        Ok(text)
    });
    let patch = read.transpose()?;
    let options = Options {
        instance: context.paths.instance.clone(),
        sink,
        freewheel: args.freewheel,
        osc: args.osc.to_string(),
        midi: args.midi.clone().map(|port| (port, args.midi_to.clone())),
        link: args.link,
        rate_hz: args.rate,
        block_frames: args.block,
        lead_blocks: match args.lead {
            Lead::Auto => None,
            Lead::Blocks(blocks) => Some(blocks),
        },
        lead_max_ms: args.lead_max,
        channels: args.channels,
        patch: patch.is_some(),
        resume: args.resume,
        segment: (args.segment_size, args.segment_age),
        keep: args.keep,
        archive: args.archive.clone(),
        first: First {
            block: BlockIndex(args.first_block),
            number: args.first_number,
        },
    };
    Ok((options, patch))
}

/// Warns if the predicted load of the initial patch is near or above one core. Nothing has been measured on this
/// machine yet, so nothing is refused.
fn tell_load(path: &Path, patch: Patch, config: Config) {
    let predicted = patch.checked();
    let predicted = predicted.map_or(0.0, |patch| Costs::default().predict(&patch, config));
    if predicted > cost::TOLD_PERCENT {
        let said = cost::said(predicted);
        output::warning(&format!("{}: {said} of one core", path.display()));
    }
}

/// Checks a sink, and makes the path of a WAV file absolute.
pub(crate) fn check_sink(sink: &str) -> Result<String, Failure> {
    match sink.split_once(':') {
        None if matches!(sink, "auto" | "device" | "null") => Ok(sink.to_owned()),
        Some(("device", name)) if !name.is_empty() => Ok(sink.to_owned()),
        Some(("wav", path)) if !path.is_empty() => check_wav(path),
        _ => Err(Failure::usage(format!(
            "the sink \"{sink}\" is unknown (expected auto, device, device:NAME, wav:PATH or null)"
        ))),
    }
}

/// Checks that `link-in` was built with Link; its own error text says how to build it.
fn check_link() -> Result<(), Failure> {
    let name = Service::LinkIn.program();
    let cannot = |why: std::io::Error| Failure::no(format!("cannot start {name}: {why}"));
    let program = std::env::current_exe().map_err(cannot)?;
    let mut command = Command::new(program.with_file_name(name));
    let output = command.arg("--version").output().map_err(cannot)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::usage(said.trim()))
}

fn check_wav(path: &str) -> Result<String, Failure> {
    let no = |what: String| Failure::no(format!("cannot write {path}: {what}"));
    let whole = std::path::absolute(path).map_err(|e| no(e.to_string()))?;
    if whole.is_dir() || path.ends_with('/') {
        return Err(no("it is a folder (expected a file)".into()));
    }
    output::no_pipe(&whole)?;
    let folder = whole.parent().unwrap_or(Path::new("/"));
    if !folder.is_dir() {
        return Err(no(format!(
            "there is no folder {} (expected an existing folder)",
            folder.display()
        )));
    }
    let place = if whole.exists() { &whole } else { folder };
    if let Err(error) = rustix::fs::access(place, Access::WRITE_OK) {
        return Err(no(format!("{}: {error}", place.display())));
    }
    match whole.to_str() {
        Some(text) => Ok(format!("wav:{text}")),
        None => Err(no("the path is not UTF-8 (expected UTF-8)".into())),
    }
}

/// Shows the status line until the stack ends or a signal requests its end.
fn stay(context: &Context, mut child: Child, stop: &AtomicBool) -> Result<(), Failure> {
    let mut shown = StatusLine::new(context.json);
    let mut next = Instant::now();
    // The time since when there has been no launcher; the supervisor starts another.
    let mut missing: Option<Instant> = None;
    while !stop.load(Ordering::Relaxed) {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => {
                shown.end();
                return Ok(());
            }
            Ok(Some(status)) if living::launcher(&context.paths).is_none() => {
                if missing.get_or_insert_with(Instant::now).elapsed() > NEXT_LAUNCHER {
                    shown.end();
                    return Err(Failure::no(format!(
                        "the stack has ended after the death of its launcher ({status}): see {}",
                        context.paths.text_log().display()
                    )));
                }
            }
            _ => missing = None,
        }
        if Instant::now() >= next {
            next = Instant::now() + STATUS_PERIOD;
            if shown.wanted()
                && let Ok(status) = asking::status(&context.paths)
            {
                shown.show(&status);
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
    shown.end();
    if matches!(child.try_wait(), Ok(Some(_))) {
        down::end(context)?;
    } else {
        launcher::end(Pid::from_child(&child), || {
            matches!(child.try_wait(), Ok(Some(_)))
        })?;
    }
    if !context.json {
        output::line("stopped");
    }
    Ok(())
}

/// The status line: on a terminal one line that is overwritten, elsewhere a line for each change.
struct StatusLine {
    silent: bool,
    terminal: bool,
    last: String,
}

impl StatusLine {
    fn new(silent: bool) -> Self {
        Self {
            silent,
            terminal: std::io::stdout().is_terminal(),
            last: String::new(),
        }
    }

    const fn wanted(&self) -> bool {
        !self.silent
    }

    fn show(&mut self, status: &Value) {
        let text = summary(status);
        if self.terminal {
            let played = minutes(played_seconds(status));
            let columns = rustix::termios::tcgetwinsize(std::io::stdout())
                .map_or(0, |size| usize::from(size.ws_col));
            // Some terminals report zero columns.
            let columns = if columns == 0 { 80 } else { columns };
            let all = format!("{played} · {text}");
            let cut: String = all.chars().take(columns - 1).collect();
            output::raw(&format!("\r{cut}\x1b[K"));
        } else if text != self.last {
            output::line(&text);
        }
        self.last = text;
    }

    fn end(&self) {
        if self.terminal && !self.silent && !self.last.is_empty() {
            output::raw("\n");
        }
    }
}

/// The status without the played time, which always changes.
fn summary(status: &Value) -> String {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let switches = status["switches"].as_array().map_or(0, Vec::len) as u64;
    let gaps = match count(&status["audio"]["device_gaps"]) {
        0 => String::new(),
        gaps => format!(" · gaps {gaps}"),
    };
    format!(
        "{} · leader worker:{} · switches {} · underruns {}{gaps} · commands {} · {}",
        status["state"].as_str().unwrap_or("?"),
        status["leader"],
        status["epoch"].as_u64().unwrap_or(switches),
        count(&status["audio"]["underruns"]),
        count(&status["commands"]["accepted"]),
        status["audio"]["sink"].as_str().unwrap_or("?"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lead_is_auto_or_a_number_of_blocks() {
        assert_eq!("auto".parse(), Ok(Lead::Auto));
        assert_eq!("12".parse(), Ok(Lead::Blocks(12)));
        for bad in ["", "0", "65", "-1", "Auto", "4294967297"] {
            assert!(bad.parse::<Lead>().unwrap_err().contains("from 1 to 64"));
        }
    }

    #[test]
    fn sinks_are_checked_and_paths_made_absolute() {
        for good in ["auto", "null", "device", "device:hw:0,0"] {
            assert_eq!(check_sink(good).unwrap(), good);
        }
        for bad in ["", "wav", "wav:", "device:", "speaker", "null:1"] {
            assert_eq!(check_sink(bad).unwrap_err().code, 2, "{bad}");
        }
        let here = std::env::current_dir().unwrap();
        let path = format!("wav:{}", here.join("out.wav").display());
        assert_eq!(check_sink("wav:out.wav").unwrap(), path);
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("no/out.wav");
        let failure = check_sink(&format!("wav:{}", missing.display())).unwrap_err();
        assert!(failure.code == 1 && failure.text.contains("there is no folder"));
        let failure = check_sink(&format!("wav:{}", folder.path().display())).unwrap_err();
        assert!(failure.text.contains("it is a folder"));
    }
}
