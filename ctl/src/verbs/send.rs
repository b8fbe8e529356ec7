//! `understudy send`: sends one OSC message, or a score in real time, then `/sync`; shows the replies.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use common::time_tag;
use engine::score;
use platform::realtime;
use rosc::OscMessage;
use serde_json::{Value, json};

use crate::{Context, asking, failure::Failure, osc, output};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The OSC address, such as /mod/sine/freq
    #[arg(required_unless_present = "score")]
    address: Option<String>,
    /// The arguments: integers, numbers, true or false; anything else is sent as a string
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    args: Vec<String>,
    /// Send the lines of a score in real time instead; each line is SECONDS ADDRESS ARG…
    #[arg(long, value_name = "FILE", conflicts_with = "address")]
    score: Option<PathBuf>,
}

/// How long before its time a line of a score is sent.
const AHEAD: Duration = Duration::from_millis(50);

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let address = args.address.as_deref().unwrap_or("/");
    if !address.starts_with('/') {
        return Err(Failure::usage(format!(
            "\"{address}\" is not an OSC address (expected a leading /, such as /mod/sine/freq)"
        )));
    }
    let osc = osc::Osc::open(&asking::status(&context.paths)?)?;
    match &args.score {
        Some(file) => play(&osc, file)?,
        None => osc.send(
            address,
            args.args.iter().map(|a| osc::argument(a)).collect(),
        )?,
    }
    finish(context, &osc)
}

/// Shows the replies until everything that was sent has been applied.
pub(crate) fn finish(context: &Context, osc: &osc::Osc) -> Result<(), Failure> {
    let replies = osc.sync()?;
    if !replies.synced && replies.messages.is_empty() {
        return Err(Failure::no(format!(
            "{} has not replied within {} s: see `understudy status` and `understudy log`",
            osc.address(),
            osc::REPLY_TIMEOUT.as_secs()
        )));
    }
    let failed = replies.messages.iter().find(|m| m.addr == "/fail");
    if context.json {
        let list: Vec<Value> = replies.messages.iter().map(value).collect();
        output::value(&json!({ "replies": list, "synced": replies.synced }));
        if failed.is_some() {
            // The JSON value has been written; returning an error would write a second one.
            std::process::exit(1);
        }
        return Ok(());
    }
    for message in replies.messages.iter().filter(|m| m.addr != "/fail") {
        output::line(&line(message));
    }
    if let Some(message) = failed {
        return Err(Failure::no(line(message)));
    }
    Ok(())
}

/// Sends the lines of a score, each a little before its time and with a time tag, so that it takes effect at its
/// exact frame.
fn play(osc: &osc::Osc, file: &Path) -> Result<(), Failure> {
    let lines = score::parse(&output::read_text(file)?)
        .map_err(|e| Failure::no(format!("{}: {e}", file.display())))?;
    let begins = realtime::ntp_now().wrapping_add(ntp_of(AHEAD));
    let start = Instant::now();
    for line in lines {
        let at = Duration::try_from_secs_f64(line.seconds)
            .map_err(|e| Failure::no(format!("{}: line {}: {e}", file.display(), line.number)))?;
        thread::sleep(at.saturating_sub(start.elapsed()));
        let args = line.args.iter().map(|arg| osc::argument(arg)).collect();
        osc.send_at(begins.wrapping_add(ntp_of(at)), &line.address, args)?;
    }
    thread::sleep(AHEAD);
    Ok(())
}

/// A duration in NTP units of 2^-32 s.
fn ntp_of(span: Duration) -> u64 {
    time_tag::ntp(span.as_secs(), span.subsec_nanos()).wrapping_sub(time_tag::ntp(0, 0))
}

fn line(message: &OscMessage) -> String {
    let args = message.args.iter().map(osc::plain);
    let words: Vec<String> = std::iter::once(message.addr.clone()).chain(args).collect();
    words.join(" ")
}

fn value(message: &OscMessage) -> Value {
    let args: Vec<Value> = message.args.iter().map(osc::value).collect();
    json!({ "address": message.addr, "args": args })
}
