//! The command line of Understudy: a file per verb.
//!
//! It uses only what any other program could: the control socket, OSC, the logs, and the engine
//! for what needs no stack. It decides nothing about the sound. Exit codes: 0 done, 1 the stack
//! answered no, 2 wrong usage, 3 no such instance running.
#![forbid(unsafe_code)]

mod asking;
mod cli;
mod failure;
mod launcher;
mod osc;
mod output;
mod patch_file;
mod script;
mod verbs;

use std::process::ExitCode;

use clap::Parser;
use platform::paths::Paths;

use crate::{cli::Verb, failure::Failure};

/// What every verb gets.
pub(crate) struct Context {
    /// The places of the instance that is meant.
    pub(crate) paths: Paths,
    /// One JSON value on standard output, nothing else.
    pub(crate) json: bool,
}

/// Does what the command line asks for.
#[must_use]
pub fn run() -> ExitCode {
    let cli = cli::Cli::parse();
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
        Verb::Status => verbs::status::run(context),
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
    }
}
