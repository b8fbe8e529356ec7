//! The page docs/reference/verbs.md: the verbs and their options as Markdown, from clap's definitions.
//!
//! The page is generated as a whole, so no verb and no option can be missing; a test compares the file with it.

use clap::{Arg, Command};

use crate::output::cell;

const HEAD: &str = "\
# Verbs and options

`understudy man --markdown` prints this page. [command_line.md](command_line.md) explains sinks, lead, command log, scores
and faults. `understudy VERB --help` prints one verb, `understudy --version` the version.
";

/// The page.
pub(super) fn page(mut program: Command) -> String {
    program.build();
    let mut text = format!("{HEAD}\n| verb | effect |\n|---|---|\n");
    for verb in shown(&program) {
        let name = verb.get_name();
        text.push_str(&format!("| [`{name}`](#{name}) | {} |\n", about(verb)));
    }
    text.push_str("\n## Options of every verb\n\n");
    let all = program.get_arguments();
    text.push_str(&table(all.filter(|arg| arg.get_id() != "version")));
    for verb in shown(&program) {
        text.push_str(&section(verb, &format!("## {}", verb.get_name())));
        for part in shown(verb) {
            let name = format!("### {} {}", verb.get_name(), part.get_name());
            text.push_str(&section(part, &name));
        }
    }
    text
}

/// The subcommands that help texts show.
fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
}

fn about(command: &Command) -> String {
    command.get_about().map_or_else(String::new, cell)
}

fn section(command: &Command, heading: &str) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let mut text = format!(
        "\n{heading}\n\n{}.\n\n```text\n{usage}\n```\n",
        about(command)
    );
    let own = command.get_arguments().filter(|arg| !arg.is_global_set());
    let own: Vec<&Arg> = own.filter(|arg| arg.get_id() != "help").collect();
    if own.iter().any(|arg| !arg.is_hide_set()) {
        text.push('\n');
        text.push_str(&table(own));
    }
    text
}

/// A row for each argument that help texts show.
fn table<'a>(arguments: impl IntoIterator<Item = &'a Arg>) -> String {
    let mut text =
        String::from("| argument | effect | default | environment |\n|---|---|---|---|\n");
    for arg in arguments.into_iter().filter(|arg| !arg.is_hide_set()) {
        let short = arg.get_short().filter(|_| arg.get_long().is_some());
        let short = short.map_or_else(String::new, |letter| format!("`-{letter}`, "));
        let name = cell(arg);
        let help = arg.get_help().map_or_else(String::new, cell);
        let defaults = arg.get_default_values().iter();
        let defaults: Vec<String> = defaults
            .filter(|_| arg.get_action().takes_values())
            .map(|value| format!("`{}`", value.display()))
            .collect();
        let variable = arg.get_env();
        let variable = variable.map_or_else(String::new, |name| format!("`{}`", name.display()));
        text.push_str(&format!(
            "| {short}`{name}` | {help} | {} | {variable} |\n",
            defaults.join(", ")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_reference_is_what_the_program_prints() {
        let same =
            include_str!("../../../../docs/reference/verbs.md") == page(crate::cli::Cli::command());
        assert!(
            same,
            "docs/reference/verbs.md differs from the definitions of the command line \
             (expected the output of `cargo run -p understudy-ctl -- man --markdown`)"
        );
    }
}
