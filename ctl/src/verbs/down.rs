//! `understudy down`: stops the stack cleanly and waits until all its processes have ended.

use std::time::{Duration, Instant};

use common::message::Service;
use platform::living;
use rustix::process::Pid;
use serde_json::json;

use crate::{Context, failure::Failure, launcher, output};

/// The time limit of the stop, including the start of another launcher.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(context: &Context) -> Result<(), Failure> {
    let name = &context.paths.instance;
    end(context)?;
    if context.json {
        output::value(&json!({ "instance": name, "stopped": true }));
    } else {
        output::line(&format!("stopped the instance \"{name}\""));
    }
    Ok(())
}

/// Stops the stack through its launcher. If the launcher was killed, the supervisor starts another, which gets the
/// request. If both are dead, the remaining processes are ended directly.
pub(crate) fn end(context: &Context) -> Result<(), Failure> {
    let (paths, name) = (&context.paths, &context.paths.instance);
    let mut there = false;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(pid) = living::launcher(paths).and_then(to_pid) {
            there = true;
            launcher::end(pid, || false)?;
        }
        let left = living::of(paths);
        if left.is_empty() {
            break;
        }
        if !left.iter().any(|l| l.child.service == Service::Supervisor) {
            there |= living::end_all(paths) > 0;
            let _ = std::fs::remove_dir_all(&paths.runtime);
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    match (there, begun.elapsed() < PATIENCE) {
        (true, true) => Ok(()),
        (false, true) => Err(Failure::absent(format!(
            "the instance \"{name}\" is not running: nothing to stop"
        ))),
        (_, false) => Err(Failure::no(format!(
            "the instance \"{name}\" has not ended in time; see `understudy log --instance {name}`"
        ))),
    }
}

fn to_pid(pid: u32) -> Option<Pid> {
    Pid::from_raw(pid.try_into().ok()?)
}
