//! Starts and ends the launcher's process.

use std::{
    fs::{self, OpenOptions},
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use common::{
    message::{Answer, Request},
    options::{Options, Started, VARIABLE},
};
use platform::{
    control::{self, ControlError},
    fd, limits, living,
    paths::Paths,
};
use rustix::{
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Signal, kill_process},
};

use crate::{failure::Failure, output};

/// Longer than opening any device takes.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// The duration of a start after which the user is told what the stack waits for; also the polling period.
const TELL: Duration = Duration::from_secs(2);
/// The launcher kills processes that do not end well before this limit.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts a launcher, optionally with a patch, and waits until the stack is ready. Returns the launcher and its ready
/// message. `stop` ends the wait.
pub(crate) fn start(
    paths: &Paths,
    options: &Options,
    patch: Option<&str>,
    stop: &AtomicBool,
) -> Result<(Child, String), Failure> {
    let asked = control::ask(paths, &Request::Status, Duration::from_secs(2));
    if living::launcher(paths).is_some() || !matches!(asked, Err(ControlError::NotRunning(_))) {
        return Err(Failure::no(format!(
            "the instance \"{0}\" is already running; stop it with `understudy down --instance {0}` or choose another name",
            paths.instance
        )));
    }
    limits::check().map_err(|e| Failure::no(e.to_string()))?;
    paths.make().map_err(|e| Failure::no(e.to_string()))?;
    if let Some(patch) = patch {
        let path = paths.first_patch();
        fs::write(&path, patch)
            .map_err(|e| Failure::no(format!("cannot write {}: {e}", path.display())))?;
    }
    let (mut child, pipe) = spawn(paths, options)?;
    let log = paths.text_log();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(fs::File::from(pipe)).read_line(&mut line);
        let started = match read {
            Ok(bytes) if bytes > 0 => serde_json::from_str::<Started>(&line).ok(),
            _ => None,
        };
        // After a timeout the receiver is gone.
        let _ = tell.send(started);
    });
    let begun = Instant::now();
    let mut waiting = Waiting::default();
    loop {
        waiting.tell(paths, begun);
        match told.recv_timeout(Duration::from_millis(50)) {
            Ok(Some(Started::Ready(text))) => return Ok((child, text)),
            Ok(Some(Started::Failed(text))) => {
                let _ = child.wait();
                return Err(Failure::no(text));
            }
            Ok(None) | Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::no(format!(
                    "the launcher ended before the stack was ready: see {}",
                    log.display()
                )));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let stopped = stop.load(Ordering::Relaxed);
        if stopped || begun.elapsed() > START_TIMEOUT {
            let pid = Pid::from_child(&child);
            let _ = end(pid, || matches!(child.try_wait(), Ok(Some(_))));
            return Err(Failure::no(if stopped {
                "stopped before the stack was ready".to_owned()
            } else {
                format!(
                    "the stack was not ready after {} s{}: see {}",
                    START_TIMEOUT.as_secs(),
                    waiting.what(),
                    log.display()
                )
            }));
        }
    }
}

/// What the starting stack waits for; printed for the user.
#[derive(Default)]
struct Waiting {
    what: String,
    asked: Duration,
}

impl Waiting {
    /// Asks the stack once the start takes longer than usual; prints the answer whenever it changes.
    fn tell(&mut self, paths: &Paths, begun: Instant) {
        if begun.elapsed() < self.asked + TELL {
            return;
        }
        self.asked = begun.elapsed();
        let Ok(Answer::Ok(status)) = control::ask(paths, &Request::Status, TELL) else {
            return;
        };
        let sink = status["audio"]["sink"].as_str().unwrap_or_default();
        // The text of a missing device ends with the reason in brackets. So does that of `null`, for which nothing
        // waits.
        let waits = sink.starts_with("device:") && sink.ends_with(')');
        if waits && self.what != sink {
            sink.clone_into(&mut self.what);
            output::warning(&format!("waiting for the sink {sink}"));
        }
    }

    fn what(&self) -> String {
        match self.what.as_str() {
            "" => String::new(),
            what => format!(", waiting for the sink {what}"),
        }
    }
}

fn spawn(paths: &Paths, options: &Options) -> Result<(Child, std::os::fd::OwnedFd), Failure> {
    let no = |what: &str, e: &dyn std::fmt::Display| Failure::no(format!("{what}: {e}"));
    let program = std::env::current_exe()
        .map_err(|e| no("cannot find this program's folder", &e))?
        .with_file_name(living::LAUNCHER);
    let log = paths.text_log();
    let cannot_log = |e| no(&format!("cannot write {}", log.display()), &e);
    let out = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .map_err(cannot_log)?;
    let also = out.try_clone().map_err(cannot_log)?;
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| no("cannot make a pipe", &e))?;
    let json = serde_json::to_string(options).map_err(|e| no("cannot write the options", &e))?;
    // The launcher starts its own session; doing so here would need unsafe code.
    let mut command = Command::new(&program);
    command
        .env(VARIABLE, json)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(also);
    let child = fd::spawn_with(&mut command, &[(fd::READY, &write)]);
    drop(write);
    let child = child.map_err(|e| {
        no(
            &format!(
                "cannot start {} (expected beside this program)",
                program.display()
            ),
            &e,
        )
    })?;
    Ok((child, read))
}

/// Asks a launcher to end its stack and waits until the launcher has ended; `gone` may reap it.
pub(crate) fn end(pid: Pid, mut gone: impl FnMut() -> bool) -> Result<(), Failure> {
    let number = pid.as_raw_nonzero().get();
    if let Err(error) = kill_process(pid, Signal::TERM)
        && error != rustix::io::Errno::SRCH
    {
        return Err(Failure::no(format!(
            "cannot signal the launcher {number}: {error}"
        )));
    }
    let begun = Instant::now();
    while !gone() && living::is_launcher(number.unsigned_abs()) {
        if begun.elapsed() > STOP_TIMEOUT {
            return Err(Failure::no(format!(
                "the launcher {number} has not ended after {} s; look at `understudy log`, then end it with `kill -9 {number}`",
                STOP_TIMEOUT.as_secs()
            )));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
