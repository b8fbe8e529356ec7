//! The command line's shape; each verb's own arguments stand with the verb.

use std::sync::LazyLock;

use clap::{Parser, Subcommand};

use crate::verbs;

/// The version, and what tells apart builds of the same one: see [`engine::catalog::catalogue`].
fn version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| engine::catalog::catalogue().to_string());
    &TEXT
}

/// Understudy, a modular synthesizer that plays on when its processes die.
#[derive(Parser)]
#[command(
    name = "understudy",
    version = version(),
    after_help = "Exit codes: 0 done, 1 the stack answered no, 2 wrong usage, 3 no such instance running."
)]
pub(crate) struct Cli {
    /// Which stack is meant, where several run on one machine [default: default]
    #[arg(long, global = true, value_name = "NAME", env = "UNDERSTUDY_INSTANCE")]
    pub(crate) instance: Option<String>,
    /// One JSON value on standard output, nothing else
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Start the stack and stay with a live status line; Ctrl-C stops it
    Up(verbs::up::Args),
    /// Stop the stack cleanly
    Down,
    /// Show how the stack does
    Status(verbs::status::Args),
    /// List the sound devices that --sink can name
    Devices,
    /// Restart a service as planned; returns when it is back and ready
    Restart(verbs::restart::Args),
    /// Do harm: one fault now, or a script of faults in time
    Inject(verbs::inject::Args),
    /// Send one OSC message and show the reply
    Send(verbs::send::Args),
    /// Show the module types with every parameter
    Modules(verbs::modules::Args),
    /// Show, load or save the running patch
    Patch(verbs::patch::Args),
    /// Record what is played into a file
    Record(verbs::record::Args),
    /// Bind MIDI controllers to parameters, or silence everything
    Midi(verbs::midi::Args),
    /// Render a patch and a score to a WAV file, without a stack
    Render(verbs::render::Args),
    /// Render an instance's command log again, equal to what was played
    Replay(verbs::replay::Args),
    /// Show the instance's log
    Log(verbs::log::Args),
    /// Play a short piece, kill workers all through it, say what differed
    Demo(verbs::demo::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use common::message::{Fault, Target};

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }

    /// What the help and the README list is what is understood: the error of a wrong name lists that.
    #[test]
    fn faults_and_targets_are_listed_whole() {
        let names = |list: &str| -> Vec<String> {
            list.replace(" or ", ", ")
                .split(", ")
                .map(str::to_owned)
                .collect()
        };
        let understood = |told: String| names(told.split_once("there are ").unwrap().1);
        let faults = understood("no".parse::<Fault>().unwrap_err());
        let targets = understood("no".parse::<Target>().unwrap_err());
        let cli = super::Cli::command();
        for (verb, argument, all) in [
            ("inject", "fault", &faults),
            ("inject", "target", &targets),
            ("restart", "service", &targets),
        ] {
            let mut arguments = cli.find_subcommand(verb).unwrap().get_arguments();
            let argument = arguments.find(|a| a.get_id() == argument).unwrap();
            assert_eq!(
                names(&argument.get_help().unwrap().to_string()),
                *all,
                "{verb}"
            );
            let listed = format!("`{}`", all.join(" "));
            assert!(
                include_str!("../../README.md").contains(&listed),
                "{listed}"
            );
        }
    }
}
