//! `understudy log [-f]`: prints the instance's log, and follows it.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
    thread,
    time::Duration,
};

use serde_json::json;

use crate::{Context, failure::Failure, output};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Go on printing what is added
    #[arg(short, long)]
    follow: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let path = context.paths.text_log();
    if context.json {
        if args.follow {
            return Err(Failure::usage(
                "a log that is followed is not one JSON value; use --json without --follow",
            ));
        }
        let (text, _) = read(&path, 0)?;
        let lines: Vec<&str> = text.lines().collect();
        output::value(&json!(lines));
        return Ok(());
    }
    let mut from = 0;
    loop {
        let (text, next) = read(&path, from)?;
        output::raw(&text);
        from = next;
        if !args.follow {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// What stands from there on, and where it ends; from the start again if the file was cut.
fn read(path: &Path, from: u64) -> Result<(String, u64), Failure> {
    let read = || {
        let mut file = File::open(path)?;
        let from = if file.metadata()?.len() < from {
            0
        } else {
            from
        };
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let next = from + bytes.len() as u64;
        Ok((String::from_utf8_lossy(&bytes).into_owned(), next))
    };
    read().map_err(|e: std::io::Error| {
        Failure::no(format!(
            "no log at {}: {e}; an instance makes it when it starts",
            path.display()
        ))
    })
}
