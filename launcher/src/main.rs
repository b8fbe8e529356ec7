//! The launcher: the parent of all processes and the owner of the bound sockets. It restarts the supervisor whenever
//! the supervisor ends; the supervisor restarts the launcher.
//!
//! The launcher holds all state that must outlive the other processes, and avoids anything that can fail: one thread,
//! one poll loop, no mapped shared memory, no sound, no decision. `understudy up` leaves it running.
#![forbid(unsafe_code)]

mod children;
mod state;

use std::{io::Write, process::ExitCode};

use common::options::{Options, Started, VARIABLE};
use platform::{fd, paths};

fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        println!(
            "understudy-launcher takes no arguments; `understudy up` starts it and passes \
             the options in {VARIABLE}"
        );
        return ExitCode::from(2);
    }
    // Before any descriptor is opened, in this process and in every child.
    fd::close_strangers(&[
        fd::READY,
        fd::CONTROL,
        fd::OSC,
        fd::LAUNCHER,
        fd::SUPERVISOR,
        fd::LOCK,
    ]);
    paths::owner_only();
    let mut waiting = fd::inherited(fd::READY).ok().map(std::fs::File::from);
    let mut tell = |started: Started| {
        if let Some(mut pipe) = waiting.take() {
            let _ = writeln!(
                pipe,
                "{}",
                serde_json::to_string(&started).unwrap_or_default()
            );
        }
    };
    let text = std::env::var(VARIABLE).unwrap_or_default();
    let options: Options = match serde_json::from_str(&text) {
        Ok(options) => options,
        Err(why) => {
            tell(Started::Failed(format!(
                "{VARIABLE} holds no valid options ({why}); use `understudy up`"
            )));
            return ExitCode::FAILURE;
        }
    };
    match state::LauncherState::open(&options) {
        Ok(state) => {
            state.run(&mut tell);
            ExitCode::SUCCESS
        }
        Err(why) => {
            tell(Started::Failed(why.to_string()));
            ExitCode::FAILURE
        }
    }
}
