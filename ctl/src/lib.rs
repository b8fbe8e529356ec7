//! The command line of Understudy: a file per verb.
//!
//! The verbs use only public interfaces: the control socket, OSC, the logs, and the engine for verbs that need
//! no stack. They never decide about the sound. Exit codes: 0 success, 1 failed or refused, 2 wrong usage,
//! 3 instance not running.
#![forbid(unsafe_code)]

mod asking;
mod cli;
mod failure;
mod launcher;
mod osc;
mod output;
mod patch_file;
pub mod readers;
mod recording;
mod script;
mod verbs;

use std::process::ExitCode;

use clap::Parser;
use platform::paths::Paths;

use crate::{cli::Verb, failure::Failure};

/// The arguments common to all verbs.
pub(crate) struct Context {
    /// The paths of the selected instance.
    pub(crate) paths: Paths,
    /// Write one JSON value to standard output, and nothing else.
    pub(crate) json: bool,
}

/// Runs the verb that the command line names.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) => return usage(&wrong),
    };
    let json = cli.json;
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if json {
                output::value(&serde_json::json!({ "error": failure.text }));
            }
            eprintln!("understudy: {}", failure.text);
            ExitCode::from(failure.code)
        }
    }
}

/// Prints a usage error, or the requested help. Since parsing has failed, the bare word `--json` anywhere before
/// `--` selects the JSON form.
fn usage(wrong: &clap::Error) -> ExitCode {
    let json = std::env::args_os()
        .take_while(|word| word != "--")
        .any(|word| word == "--json");
    if wrong.use_stderr() && json {
        let text = wrong.to_string();
        let what = text.lines().take_while(|line| !line.starts_with("Usage:"));
        let words: Vec<&str> = what.flat_map(str::split_whitespace).collect();
        let line = words.join(" ");
        let line = line.strip_prefix("error: ").unwrap_or(&line);
        output::value(&serde_json::json!({ "error": line }));
    }
    let _ = wrong.print();
    ExitCode::from(u8::try_from(wrong.exit_code()).unwrap_or(2))
}

fn dispatch(cli: cli::Cli) -> Result<(), Failure> {
    let usual = match cli.verb {
        Verb::Demo(_) => "demo",
        _ => "default",
    };
    let name = cli.instance.as_deref().unwrap_or(usual);
    let context = &Context {
        paths: Paths::of(name).map_err(|e| Failure::usage(e.to_string()))?,
        json: cli.json,
    };
    match cli.verb {
        Verb::Up(args) => verbs::up::run(context, &args),
        Verb::Down => verbs::down::run(context),
        Verb::Status(args) => verbs::status::run(context, &args),
        Verb::Devices => verbs::devices::run(context),
        Verb::Restart(args) => verbs::restart::run(context, &args),
        Verb::Inject(args) => verbs::inject::run(context, &args),
        Verb::Send(args) => verbs::send::run(context, &args),
        Verb::Modules(args) => verbs::modules::run(context, &args),
        Verb::Patch(args) => verbs::patch::run(context, &args),
        Verb::Midi(args) => verbs::midi::run(context, &args),
        Verb::Record(args) => verbs::record::run(context, &args),
        Verb::Render(args) => verbs::render::run(context, &args),
        Verb::Replay(args) => verbs::replay::run(context, &args),
        Verb::Log(args) => verbs::log::run(context, &args),
        Verb::Demo(args) => verbs::demo::run(context, &args),
        Verb::Man(args) => verbs::man::run(context, &args),
    }
}
