//! `understudy down`: ends the stack in good order and waits until it has gone.

use std::time::{Duration, Instant};

use common::message::{Answer, Request};
use platform::control::{self, ControlError};
use serde_json::json;

use crate::{Context, failure::Failure, launcher, output};

/// How long a supervisor may take to end what is left.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(context: &Context) -> Result<(), Failure> {
    let name = &context.paths.instance;
    match launcher::find(&context.paths) {
        Some(pid) => launcher::end(pid, || false)?,
        None => end_orphans(context)?,
    }
    if context.json {
        output::value(&json!({ "instance": name, "stopped": true }));
    } else {
        output::line(&format!("stopped the instance \"{name}\""));
    }
    Ok(())
}

/// The launcher was killed, and the others play on: their supervisor ends them.
fn end_orphans(context: &Context) -> Result<(), Failure> {
    let name = &context.paths.instance;
    let begun = Instant::now();
    let mut there = false;
    while begun.elapsed() < PATIENCE {
        match control::ask(&context.paths, &Request::Stop, PATIENCE) {
            Err(ControlError::NotRunning(_)) if there => return Ok(()),
            Err(ControlError::NotRunning(_)) => {
                return Err(Failure::absent(format!(
                    "no instance \"{name}\" is running: nothing to stop"
                )));
            }
            Ok(Answer::No(why)) => return Err(Failure::no(why)),
            // It ends, and may do so before it has answered.
            Ok(Answer::Ok(_)) | Err(_) => there = true,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(Failure::no(format!(
        "the instance \"{name}\" does not end; see `understudy log --instance {name}`"
    )))
}
