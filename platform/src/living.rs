//! Finds the living processes of an instance by their environment and command line, for programs that cannot
//! ask the instance's launcher.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use common::{
    message::{Child, SIGKILL, Service},
    options::{Options, VARIABLE},
    units::{Incarnation, Slot},
};

use crate::{log_end, paths::Paths, pidfd, process, shared::LAUNCHER_PID, shm};

/// The environment variable whose value all processes of an instance share with no other process.
pub const MARK: &str = "TMPDIR";

/// A living process of an instance.
pub struct Living {
    /// Its service, incarnation and process id.
    pub child: Child,
    /// The instance's options, as JSON.
    pub options: String,
    /// The process id of the launcher that began the instance.
    pub first_launcher: u32,
}

/// How many characters of a process's name the kernel keeps.
const NAME_CHARS: usize = 15;
/// A child that a launcher was starting when it died runs its own program after this time at the latest.
const BORN: Duration = Duration::from_millis(100);
/// The launcher's program.
pub const LAUNCHER: &str = "understudy-launcher";

/// The process id of the instance's launcher, while it lives.
///
/// The lock names the launcher. A stale lock may name an unrelated process, so the process's name is
/// checked. Without a lock, the launcher is found by its environment.
#[must_use]
pub fn launcher(paths: &Paths) -> Option<u32> {
    let text = fs::read_to_string(paths.lock()).unwrap_or_default();
    let named = text
        .split_whitespace()
        .next()
        .and_then(|pid| pid.parse().ok());
    named
        .filter(|pid| is_launcher(*pid))
        .or_else(|| nameless_launcher(paths))
}

/// Finds the instance's launcher by its environment, for an instance whose lock was removed.
#[must_use]
pub fn nameless_launcher(paths: &Paths) -> Option<u32> {
    let own = std::process::id();
    let mut launchers = processes().filter(|pid| *pid != own && is_launcher(*pid));
    launchers.find(|pid| {
        let started_for = paths_of(*pid);
        started_for.is_some_and(|theirs| theirs.runtime == paths.runtime)
    })
}

/// The process id of the launcher that began the instance, as the lock names it.
#[must_use]
pub fn first_launcher(paths: &Paths) -> Option<u32> {
    let text = fs::read_to_string(paths.lock()).ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

/// True while that process is a launcher and not a zombie.
#[must_use]
pub fn is_launcher(pid: u32) -> bool {
    process::look(pid).is_some_and(|seen| seen.lives() && seen.name == LAUNCHER[..NAME_CHARS])
}

/// Kills the instance's launcher; the supervisor starts another one.
pub fn end_launcher(paths: &Paths) {
    if let Some(handle) = launcher(paths).and_then(|pid| pidfd::open(pid).ok()) {
        let _ = pidfd::signal(&handle, SIGKILL);
    }
}

/// As [`of`], for a launcher that takes over. First waits, for at most 100 ms, for a child that its
/// predecessor was starting when it died: until it runs its own program, that child looks like a launcher.
#[must_use]
pub fn of_with_unborn(paths: &Paths) -> Vec<Living> {
    let limit = Instant::now() + BORN;
    let unborn = |pid: u32| {
        pid != std::process::id()
            && is_launcher(pid)
            && paths_of(pid).is_some_and(|theirs| theirs.runtime == paths.runtime)
    };
    while processes().any(unborn) && Instant::now() < limit {
        thread::sleep(Duration::from_millis(1));
    }
    of(paths)
}

/// All living processes of the instance except its launcher.
#[must_use]
pub fn of(paths: &Paths) -> Vec<Living> {
    let mark = format!("{MARK}={}", paths.ipc().display());
    let marked = processes().filter(|pid| has(*pid, &mark));
    marked.filter_map(living).collect()
}

/// Whether any process of the instance lives beside launcher and supervisor; also true if that cannot be
/// determined.
#[must_use]
pub fn any_plays(paths: &Paths) -> bool {
    // Without a free descriptor, no process would be found.
    let sees = crate::fd::are_free(1).is_ok() && fs::read_dir("/proc").is_ok();
    let plays = |l: &Living| !matches!(l.child.service, Service::Supervisor);
    !sees || of(paths).iter().any(plays)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The paths of the instance that a launcher was started for. Only the paths are compared, since other
/// options may differ: the first launcher may have been told to take a free port, and its successor is told
/// which port that is.
fn paths_of(pid: u32) -> Option<Paths> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = |name: &str| variable(&environment, name);
    let options: Options = serde_json::from_str(&value(VARIABLE)?).ok()?;
    Paths::within(&options.instance, |name| value(name).map(Into::into)).ok()
}

/// The value of a variable in the content of `environ`.
fn variable(environment: &[u8], name: &str) -> Option<String> {
    let mut variables = environment.split(|b| *b == 0);
    let text = variables.find_map(|v| v.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    String::from_utf8(text?.to_vec()).ok()
}

/// Whether that process was started with that variable, given as `NAME=VALUE`.
fn has(pid: u32, variable: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment
        .split(|b| *b == 0)
        .any(|v| v == variable.as_bytes())
}

/// Kills all processes of the instance, completes its log and removes its shared memory. Returns how many
/// processes were ended.
#[must_use]
pub fn end_all(paths: &Paths) -> usize {
    let mut ended = 0;
    // Repeat until a round finds no process: a process that is being ended may just have started another
    // one.
    loop {
        let found = of(paths);
        if found.is_empty() {
            return ended;
        }
        for Living { child, .. } in &found {
            if let Ok(handle) = pidfd::open(child.pid) {
                let _ = pidfd::signal(&handle, SIGKILL);
                ended += usize::from(pidfd::ended(&handle, Duration::from_secs(2)));
            }
        }
        for Living { first_launcher, .. } in found {
            log_end::complete(paths, first_launcher);
            shm::unlink_all_of(first_launcher);
        }
    }
}

fn living(pid: u32) -> Option<Living> {
    let process = Path::new("/proc").join(pid.to_string());
    let environment = fs::read(process.join("environ")).ok()?;
    let value = |name| variable(&environment, name);
    let line = fs::read(process.join("cmdline")).ok()?;
    let words: Vec<&str> = line
        .split(|b| *b == 0)
        .filter_map(|word| std::str::from_utf8(word).ok())
        .collect();
    let (service, incarnation) = role(&words)?;
    Some(Living {
        child: Child {
            service,
            incarnation,
            pid,
        },
        options: value(VARIABLE)?,
        first_launcher: value(LAUNCHER_PID)?.parse().ok()?,
    })
}

/// The service and incarnation that a command line stands for.
fn role(words: &[&str]) -> Option<(Service, Incarnation)> {
    let program = Path::new(words.first()?).file_name()?.to_str()?;
    let value = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1)?.parse::<u64>().ok()
    };
    let mut all = Service::ALL.into_iter();
    let service = match all.find(|s| s.program() == program)? {
        // Workers and trials run the same program; only a worker has the option `--slot`.
        Service::Worker(_) | Service::Trial => match value("--slot") {
            None => Service::Trial,
            Some(0) => Service::Worker(Slot::Zero),
            Some(_) => Service::Worker(Slot::One),
        },
        service => service,
    };
    let incarnation = value("--incarnation").unwrap_or_default();
    Some((service, Incarnation(incarnation)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_tells_the_role() {
        let recorder = ["./understudy-recorder", "--instance", "x"];
        assert_eq!(role(&recorder), Some((Service::Recorder, Incarnation(0))));
        let worker = [
            "/a/b/understudy-worker",
            "--slot",
            "1",
            "--incarnation",
            "7",
        ];
        let expected = Some((Service::Worker(Slot::One), Incarnation(7)));
        assert_eq!(role(&worker), expected);
        let trial = ["understudy-worker", "--task", "x", "--incarnation", "3"];
        assert_eq!(role(&trial), Some((Service::Trial, Incarnation(3))));
        assert_eq!(role(&["understudy-launcher"]), None);
        assert_eq!(role(&["sleep", "1"]), None);
        assert_eq!(role(&[]), None);
    }
}
