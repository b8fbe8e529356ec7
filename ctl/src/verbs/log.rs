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
    /// Follow the log and print lines as they are added
    #[arg(short, long)]
    follow: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let path = context.paths.text_log();
    if context.json {
        if args.follow {
            return Err(Failure::not_with_json("--follow"));
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

/// The text from offset `from` on, and the offset of its end. Reads from the start if the file was truncated.
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
            "cannot read the log {}: {e}; an instance creates the log when it starts",
            path.display()
        ))
    })
}
