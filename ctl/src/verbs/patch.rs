//! `understudy patch show|load|save`: the running patch as JSON.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use common::message::Request;
use engine::{Config, patch::Patch};
use serde_json::{Value, json};

use crate::{
    Context, asking,
    failure::Failure,
    output,
    patch_file::{self, Shelf},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Print the running patch with its current values
    Show,
    /// Replace the running patch with a patch file
    Load {
        /// The patch file
        file: PathBuf,
        /// Load the patch even if its predicted load is above one core
        #[arg(long)]
        force: bool,
    },
    /// Write the running patch to a file
    Save {
        /// The file to write
        file: PathBuf,
    },
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    match &args.what {
        What::Show => {
            output::raw(&running(context)?);
            Ok(())
        }
        What::Load { file, force } => load(context, file, *force),
        What::Save { file } => {
            std::fs::write(file, running(context)?)
                .map_err(|e| Failure::no(format!("cannot write {}: {e}", file.display())))?;
            told(context, "saved", file, None);
            Ok(())
        }
    }
}

/// Prints the operation, the file and the note of the supervisor.
fn told(context: &Context, done: &str, file: &Path, note: Option<&str>) {
    if context.json {
        let mut value = json!({ done: file.display().to_string() });
        if let Some(note) = note {
            value["note"] = note.into();
        }
        output::value(&value);
    } else {
        let note = note.map_or_else(String::new, |note| format!("; {note}"));
        output::line(&format!("{done} {}{note}", file.display()));
    }
}

/// The running patch as the text of a patch file.
fn running(context: &Context) -> Result<String, Failure> {
    let text = match asking::ask(&context.paths, &Request::PatchShow, asking::USUAL)? {
        Value::String(text) => text,
        other => format!("{other:#}\n"),
    };
    Ok(Patch::from_json(&text).map_or(text, |patch| patch.to_json()))
}

fn load(context: &Context, file: &Path, force: bool) -> Result<(), Failure> {
    let status = asking::status(&context.paths)?;
    let number = |name: &str, usual: u32| {
        let found = status[name].as_u64();
        found.and_then(|n| n.try_into().ok()).unwrap_or(usual)
    };
    let config = Config {
        rate_hz: number("rate", 48_000),
        block_frames: number("block", 128),
        channels: number("channels", 2),
    };
    let shelf = Shelf::of_instance(context.paths.samples());
    let (text, _) = patch_file::read(file, config, &shelf)?;
    let request = match force {
        true => Request::PatchForce(text),
        false => Request::PatchLoad(text),
    };
    let answer = asking::ask(&context.paths, &request, asking::USUAL)?;
    let note = answer
        .as_str()
        .and_then(|said| said.strip_prefix("loaded; "));
    told(context, "loaded", file, note);
    Ok(())
}
