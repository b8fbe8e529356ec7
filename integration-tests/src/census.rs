//! Counts the resources that an instance holds: descriptors, threads, segments, zombies, memory. A count
//! that grows shows a leak.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use anyhow::Result;

use crate::stack::Stack;

/// Descriptors and threads that the supervisor has open while it answers requests. A leak with each of
/// hundreds of failovers is far larger.
const COMING_AND_GOING: u64 = 4;

/// The supervisor returns unused memory to the system every second.
const GIVEN_BACK: Duration = Duration::from_millis(1_500);

/// How much the allocator's memory varies: after each thousand of 5,000 failovers the supervisor had 1,744,
/// 1,788, 1,988, 1,840 and 1,404 KiB, and once 320 KiB more after 400 failovers. A leak shows above that;
/// the smaller the leak, the more failovers are needed.
const NOISE_KIB: u64 = 512;

/// The counts at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Open descriptors, by service; the launcher is included.
    pub descriptors: BTreeMap<String, usize>,
    /// Resident anonymous memory in KiB, by service.
    pub memory_kib: BTreeMap<String, u64>,
    /// Process ids, by service.
    pub pids: BTreeMap<String, u64>,
    /// Threads, by service.
    pub threads: BTreeMap<String, usize>,
    /// Segments in shared memory.
    pub segments: usize,
    /// Children of the launcher that have ended and have not been reaped.
    pub zombies: usize,
}

/// The child processes of a process, and their states.
pub fn children(parent: u32) -> impl Iterator<Item = (u32, String)> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(move |entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut words = rest.split(' ');
        let (state, own) = (words.next()?.to_owned(), words.next()?.parse::<u32>().ok()?);
        (own == parent).then_some((pid, state))
    })
}

impl Census {
    /// Counts the resources of a running stack.
    ///
    /// # Errors
    /// When the stack does not answer.
    pub fn of(stack: &Stack) -> Result<Self> {
        let launcher = stack.launcher()?;
        let status = stack.status()?;
        let services = status["services"].as_array().into_iter().flatten();
        let mut pids: BTreeMap<String, u64> = services
            .filter_map(|s| Some((s["name"].as_str()?.to_owned(), s["pid"].as_u64()?)))
            .collect();
        pids.insert("launcher".into(), launcher.into());
        // Wait until the supervisor has returned the memory that the answer took.
        thread::sleep(GIVEN_BACK);
        let mut census = Self::default();
        for (name, pid) in pids {
            let count =
                |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
            census.descriptors.insert(name.clone(), count("fd"));
            census.threads.insert(name.clone(), count("task"));
            let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
            let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
            census.memory_kib.insert(name.clone(), kib.unwrap_or(0));
            census.pids.insert(name, pid);
        }
        let prefix = format!("understudy.{}.", stack.first_launcher()?);
        let names = fs::read_dir("/dev/shm")?.flatten();
        census.segments = names
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .count();
        census.zombies = children(launcher).filter(|(_, state)| state == "Z").count();
        Ok(census)
    }

    /// What has grown since `before`, one line each: descriptors, threads, segments, zombies. Memory is
    /// compared for processes that have lived all the time, and may grow by a hundredth plus the noise.
    #[must_use]
    pub fn grown_since(&self, before: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut grown = |what: &str, name: &str, before: u64, now: u64, allowed: u64| {
            if now > before + allowed {
                lines.push(format!("{what} of {name}: {before}, then {now}"));
            }
        };
        let maps = [
            ("descriptors", &before.descriptors, &self.descriptors),
            ("threads", &before.threads, &self.threads),
        ];
        for (what, then, now) in maps {
            for (name, count) in now {
                let then = then.get(name).copied().unwrap_or(0);
                grown(what, name, then as u64, *count as u64, COMING_AND_GOING);
            }
        }
        for (name, kib) in &self.memory_kib {
            let then = before.memory_kib.get(name).copied().unwrap_or(0);
            if before.pids.get(name) != self.pids.get(name) {
                continue;
            }
            grown("memory in KiB", name, then, *kib, then / 100 + NOISE_KIB);
        }
        grown(
            "segments",
            "the instance",
            before.segments as u64,
            self.segments as u64,
            0,
        );
        grown(
            "zombies",
            "the launcher",
            before.zombies as u64,
            self.zombies as u64,
            0,
        );
        lines
    }
}
