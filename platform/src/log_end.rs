//! Completes a command log whose supervisor could not write its end. When every process of the instance has
//! ended, the decisions and the play cursor are still in the stage.
//!
//! Used by a program that runs after the instance: a launcher that closes it or begins it anew, `down`,
//! `replay`. The supervisor's program does the writing, so that only one piece of code writes command logs.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use common::message::Service;

use crate::{living, paths::Paths, shared::LAUNCHER_PID};

/// The option of the supervisor's program that completes a log; its value is the instance.
pub const OPTION: &str = "--complete-log";
/// How long the completion may take. Reading a long log takes less.
const PATIENCE: Duration = Duration::from_secs(5);

/// Completes the log of an instance that has no living process, if its stage still exists.
pub fn complete_if_dead(paths: &Paths) {
    if living::launcher(paths).is_none()
        && living::of(paths).is_empty()
        && let Some(first_launcher) = living::first_launcher(paths)
    {
        complete(paths, first_launcher);
    }
}

/// Completes the log of an instance whose processes have all ended. Changes nothing if the stage is gone, or
/// if the log already has its end.
pub fn complete(paths: &Paths, first_launcher: u32) {
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let child = Command::new(program.with_file_name(Service::Supervisor.program()))
        .args([OPTION, &paths.instance])
        .env(LAUNCHER_PID, first_launcher.to_string())
        .env_remove(crate::fd::READY)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        return;
    };
    let begun = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
        }
        thread::sleep(Duration::from_millis(1));
    }
}
