//! The verbs and the global options of the command line. The file of each verb defines the verb's arguments.

use std::sync::LazyLock;

use clap::{Parser, Subcommand};

use crate::verbs;

/// The version and the catalogue of the engine, which distinguishes builds of one version: see
/// [`engine::catalog::catalogue`].
fn version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| engine::catalog::catalogue().to_string());
    &TEXT
}

/// Understudy, a modular synthesizer that keeps playing when its processes die.
#[derive(Parser)]
#[command(
    name = "understudy",
    version = version(),
    after_help = "Exit codes: 0 success, 1 failed or refused, 2 wrong usage, 3 instance not running"
)]
pub(crate) struct Cli {
    /// Select the instance by name, if several run on one machine [default: default; for demo: demo]
    #[arg(long, global = true, value_name = "NAME", env = "UNDERSTUDY_INSTANCE")]
    pub(crate) instance: Option<String>,
    /// Write one JSON value to standard output, and nothing else
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Start the stack and show a live status line; Ctrl-C stops the stack
    Up(verbs::up::Args),
    /// Stop the stack cleanly
    Down,
    /// Show the state of the stack
    Status(verbs::status::Args),
    /// List the sound devices that --sink accepts
    Devices,
    /// Restart a service and wait until it is ready again
    Restart(verbs::restart::Args),
    /// Inject a fault, or run a fault script
    Inject(verbs::inject::Args),
    /// Send one OSC message, or a score, and show the replies
    Send(verbs::send::Args),
    /// List the module types and their parameters
    Modules(verbs::modules::Args),
    /// Show, load or save the running patch
    Patch(verbs::patch::Args),
    /// Record the played sound to a file
    Record(verbs::record::Args),
    /// Bind MIDI controllers to parameters, or silence all sound
    Midi(verbs::midi::Args),
    /// Render a patch and a score to a WAV file without a running stack
    Render(verbs::render::Args),
    /// Render a command log again, sample-identical to the played sound
    Replay(verbs::replay::Args),
    /// Show the instance's log
    Log(verbs::log::Args),
    /// Play a short piece, kill workers meanwhile, and count the samples that differ
    Demo(verbs::demo::Args),
    /// Write the man pages of all verbs
    #[command(hide = true)]
    Man(verbs::man::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use common::message::{Fault, Target};

    const REFERENCE: &str = include_str!("../../docs/reference/command_line.md");

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }

    /// The reference lists exactly the names that the parser accepts, and has a row for each fault.
    #[test]
    fn faults_and_targets_are_listed_whole() {
        let faults: Vec<_> = Fault::names().collect();
        let targets: Vec<_> = Target::names().collect();
        for all in [&faults, &targets] {
            let listed = format!("`{}`", all.join(" "));
            assert!(REFERENCE.contains(&listed), "{listed}");
        }
        let rows = REFERENCE.lines().filter(|line| line.starts_with("| `"));
        let rows: Vec<_> = rows.filter_map(|line| line.split(" | ").next()).collect();
        for fault in faults {
            let name = format!("`{fault}`");
            assert!(rows.iter().any(|row| row.contains(&name)), "{name}");
        }
    }
}
