//! `understudy man FOLDER`, hidden: the man pages, for those who package Understudy, and docs/reference/verbs.md.
//!
//! Both are generated from clap's definitions, so no verb and no option can be missing.

mod markdown;

use std::{fs, path::PathBuf};

use clap::CommandFactory;
use serde_json::json;

use crate::{Context, cli::Cli, failure::Failure, output};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the man pages into this folder
    #[arg(required_unless_present = "markdown")]
    folder: Option<PathBuf>,
    /// Print the reference of verbs and options as Markdown instead
    #[arg(long, conflicts_with = "folder")]
    markdown: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let Some(folder) = &args.folder else {
        if context.json {
            return Err(Failure::not_with_json("--markdown"));
        }
        output::raw(&markdown::page(Cli::command()));
        return Ok(());
    };
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .map_err(|e| {
            Failure::no(format!(
                "cannot write man pages into {}: {e}",
                folder.display()
            ))
        })?;
    if context.json {
        output::value(&json!({ "folder": folder.display().to_string() }));
    } else {
        output::line(&format!("wrote the man pages into {}", folder.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_man_page_with_its_options() {
        let folder = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(Cli::command(), &folder).unwrap();
        let page = |name: &str| fs::read_to_string(folder.path().join(format!("{name}.1")));
        assert!(page("understudy").is_ok() && page("understudy-patch-load").is_ok());
        for verb in Cli::command().get_subcommands() {
            let page = page(&format!("understudy-{}", verb.get_name()));
            if verb.is_hide_set() {
                assert!(page.is_err(), "{}", verb.get_name());
                continue;
            }
            let page = page.unwrap().replace('\\', "");
            let shown = verb.get_arguments().filter(|arg| !arg.is_hide_set());
            for option in shown.filter_map(|arg| arg.get_long()) {
                assert!(page.contains(&format!("--{option}")), "{option}");
            }
        }
    }
}
