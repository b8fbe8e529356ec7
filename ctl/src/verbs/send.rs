//! `understudy send`: one OSC message, then `/sync`; shows what came back.

use rosc::OscMessage;
use serde_json::{Value, json};

use crate::{Context, asking, failure::Failure, osc, output};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// An OSC address, such as /mod/sine/freq
    address: String,
    /// Whole numbers, numbers, true, false; all else is sent as text
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    args: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    if !args.address.starts_with('/') {
        return Err(Failure::usage(format!(
            "\"{}\" is no OSC address; one begins with /, for example /mod/sine/freq",
            args.address
        )));
    }
    let osc = osc::Osc::open(&asking::status(&context.paths)?)?;
    osc.send(
        &args.address,
        args.args.iter().map(|a| osc::argument(a)).collect(),
    )?;
    let replies = osc.sync()?;
    if !replies.synced && replies.messages.is_empty() {
        return Err(Failure::no(format!(
            "no reply from {} within 1 s: see `understudy status` and `understudy log`",
            osc.address()
        )));
    }
    let failed = replies.messages.iter().find(|m| m.addr == "/fail");
    if context.json {
        let list: Vec<Value> = replies.messages.iter().map(value).collect();
        output::value(&json!({ "replies": list, "synced": replies.synced }));
        if failed.is_some() {
            // The value is out already; a second one would break the promise of one.
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

fn line(message: &OscMessage) -> String {
    let args = message.args.iter().map(osc::plain);
    let words: Vec<String> = std::iter::once(message.addr.clone()).chain(args).collect();
    words.join(" ")
}

fn value(message: &OscMessage) -> Value {
    let args: Vec<Value> = message.args.iter().map(osc::value).collect();
    json!({ "address": message.addr, "args": args })
}
