//! The one parser of `/proc/PID/stat`: name, state and start of a process.

use std::{fs, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// Positions in the line, counted from the first word after the name.
const STATE: usize = 0;
const STARTED: usize = 19;

/// A process at the moment when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The program's name, shortened by the kernel.
    pub name: String,
    state: char,
    /// When the process was started, in clock ticks since the machine was started.
    started: u64,
}

/// Reads a process's state; `None` if there is no such process.
#[must_use]
pub fn look(pid: u32) -> Option<Seen> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `PID (NAME) STATE …`. The name may hold any character; it ends at the last bracket.
fn parse(line: &str) -> Option<Seen> {
    let (_, rest) = line.split_once('(')?;
    let (name, rest) = rest.rsplit_once(')')?;
    let word = |place| rest.split_whitespace().nth(place);
    Some(Seen {
        name: name.to_owned(),
        state: word(STATE)?.chars().next()?,
        started: word(STARTED)?.parse().ok()?,
    })
}

impl Seen {
    /// Whether the process has not ended. A zombie has ended, even if its parent never asks for its
    /// exit status.
    #[must_use]
    pub const fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    /// Whether SIGSTOP or a debugger has stopped the process.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    /// The time since its start.
    #[must_use]
    pub fn age(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        let up = Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32);
        let started = self.started as f64 / rustix::param::clock_ticks_per_second() as f64;
        up.saturating_sub(Duration::from_secs_f64(started))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_is_read() {
        let line = "7 (a) R (b c) Z 1 7 7 0 -1 4 0 0 0 0 1 2 0 0 20 0 1 0 4242 0 0";
        let seen = parse(line).unwrap();
        assert_eq!((seen.name.as_str(), seen.started), ("a) R (b c", 4242));
        assert!(!seen.lives() && !seen.is_stopped());
        assert_eq!(parse("7 (a"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_process_lives_grows_older_and_is_dead_before_it_is_reaped() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let young = look(child.id()).unwrap();
        assert!(
            young.lives()
                && young.age() < look(std::process::id()).unwrap().age() + Duration::from_secs(1)
        );
        child.kill().unwrap();
        while look(child.id()).is_some_and(|seen| seen.lives()) {
            std::thread::yield_now();
        }
        assert!(look(child.id()).is_some(), "a zombie");
        child.wait().unwrap();
        assert_eq!(look(child.id()), None);
    }
}
