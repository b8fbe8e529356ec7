//! The running processes, their start times and their links.

use std::{collections::BTreeMap, fs, os::fd::OwnedFd, time::Instant};

use common::{
    message::{Child, Fault, Service, ToAudio, ToGateway, ToService, ToWorker},
    stage::SlotWords,
    units::{Incarnation, Slot},
};
use platform::{
    ipc_link::{LinkError, LinkSender},
    pidfd,
};

use crate::event::PeerLink;

/// A process.
pub struct Process {
    pub pid: u32,
    pub incarnation: Incarnation,
    pub since: Instant,
    /// Whether the process has reported that it is ready.
    pub up: bool,
    pub link: Option<PeerLink>,
    /// The time since when the link has been broken.
    pub unlinked: Option<Instant>,
    /// The time of the last sign that the process reads its channel.
    pub heard: Instant,
    handle: Option<OwnedFd>,
    cpu: Cpu,
    /// The nanoseconds spent on blocks and the number of blocks, for `status`.
    blocks: (u64, u64),
}

/// All processes.
#[derive(Default)]
pub struct Peers {
    pub processes: BTreeMap<Service, Process>,
}

impl Peers {
    /// Adds a process that was started or found.
    pub fn add(&mut self, child: Child) {
        let now = Instant::now();
        let process = Process {
            pid: child.pid,
            incarnation: child.incarnation,
            since: now,
            up: false,
            link: None,
            unlinked: None,
            heard: now,
            handle: pidfd::open(child.pid).ok(),
            cpu: Cpu::default(),
            blocks: (0, 0),
        };
        self.processes.insert(child.service, process);
    }

    /// The process of a service, if it still has this process id.
    pub fn get(&mut self, service: Service, pid: u32) -> Option<&mut Process> {
        self.processes
            .get_mut(&service)
            .filter(|process| process.pid == pid)
    }

    /// The incarnation of the process of a service.
    pub fn incarnation(&self, service: Service) -> Option<Incarnation> {
        self.processes
            .get(&service)
            .map(|process| process.incarnation)
    }

    /// Whether the process is stopped (by SIGSTOP or a debugger).
    pub fn stopped(&self, service: Service) -> bool {
        let Some(process) = self.processes.get(&service) else {
            return false;
        };
        platform::process::look(process.pid).is_some_and(|seen| seen.is_stopped())
    }

    /// The link to a worker, if it is linked.
    pub fn worker(&self, slot: Slot) -> Option<&LinkSender<ToWorker>> {
        match self.link(Service::Worker(slot))? {
            PeerLink::Worker(link) => Some(link),
            _ => None,
        }
    }

    /// The link to audio-out, if it is linked.
    pub fn audio(&self) -> Option<&LinkSender<ToAudio>> {
        match self.link(Service::AudioOut)? {
            PeerLink::Audio(link) => Some(link),
            _ => None,
        }
    }

    /// The link to the gateway, if it is linked.
    pub fn gateway(&self) -> Option<&LinkSender<ToGateway>> {
        match self.link(Service::OscGateway)? {
            PeerLink::Gateway(link) => Some(link),
            _ => None,
        }
    }

    fn link(&self, service: Service) -> Option<&PeerLink> {
        self.processes.get(&service)?.link.as_ref()
    }

    /// Whether a fault can be injected into the service now: it runs, and is linked if it must execute the fault itself.
    pub fn can_take(&self, service: Service, fault: Fault) -> bool {
        let process = self.processes.get(&service);
        let itself = service == Service::Supervisor;
        itself || process.is_some_and(|p| matches!(fault, Fault::Signal(_)) || p.link.is_some())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If the process does not exist.
    pub fn signal(&self, service: Service, signal: i32) -> std::io::Result<()> {
        let handle = self
            .processes
            .get(&service)
            .and_then(|process| process.handle.as_ref());
        pidfd::signal(
            handle.ok_or_else(|| std::io::Error::other(format!("{service} is not running")))?,
            signal,
        )
    }
}

impl Process {
    /// Sends a fault for the process to execute.
    ///
    /// # Errors
    /// If the process is not linked.
    pub fn inject(&self, fault: Fault) -> Result<(), LinkError> {
        match self.link.as_ref().ok_or(LinkError::Broken)? {
            PeerLink::Worker(link) => link.send(ToWorker::Inject(fault)),
            PeerLink::Audio(link) => link.send(ToAudio::Inject(fault)),
            PeerLink::Gateway(link) => link.send(ToGateway::Inject(fault)),
            PeerLink::Service(link) => link.send(ToService::Inject(fault)),
        }
    }

    /// A worker's mean and greatest time for a block since the last call, in nanoseconds; `None` before the first block.
    pub fn block_ns(&mut self, seat: &SlotWords<'_>) -> Option<(f64, f64)> {
        if seat.incarnation() != self.incarnation {
            return None;
        }
        let (spent, blocks) = (seat.spent_ns(), seat.blocks());
        let (before, blocks_before) = std::mem::replace(&mut self.blocks, (spent, blocks));
        let (ns, count) = match blocks.checked_sub(blocks_before) {
            None | Some(0) => (spent, blocks),
            Some(count) => (spent.saturating_sub(before), count),
        };
        (count > 0).then(|| (ns as f64 / count as f64, seat.peak_ns() as f64))
    }

    /// The use of one processor since the last call, in percent.
    pub fn cpu_percent(&mut self) -> f64 {
        self.cpu.percent(self.pid)
    }
}

/// The processor time of a process, for `status`.
#[derive(Default)]
pub struct Cpu {
    /// The processor time and the age of the process at the last reading, in seconds; both 0 at its start.
    before: (f64, f64),
    percent: f64,
}

/// The shortest time over which the use of the processor is meaningful.
const CPU_WINDOW_S: f64 = 0.2;

impl Cpu {
    /// The use of one processor since the last call or the start, in percent; limited to all processors.
    pub fn percent(&mut self, pid: u32) -> f64 {
        let (Some(used), Some(age)) = (cpu_seconds(pid), age_s(pid)) else {
            return self.percent;
        };
        let (used_before, age_before) = self.before;
        if age - age_before >= CPU_WINDOW_S {
            // The time of ended threads is no longer counted.
            let share = (used - used_before).max(0.0) / (age - age_before);
            let most = std::thread::available_parallelism().map_or(1, usize::from) as f64;
            self.percent = (share.min(most) * 1000.0).round() / 10.0;
            self.before = (used, age);
        }
        self.percent
    }
}

/// The time since the start of a process, in seconds.
pub fn age_s(pid: u32) -> Option<f64> {
    Some(platform::process::look(pid)?.age().as_secs_f64())
}

/// The processor time of a process, in seconds.
fn cpu_seconds(pid: u32) -> Option<f64> {
    // Summed in nanoseconds over the threads: the ticks of `stat` are too coarse.
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let total: u64 = tasks
        .flatten()
        .filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        })
        .sum();
    Some(total as f64 / 1e9)
}

/// The resident memory of a process, in KiB.
pub fn rss_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_a_process_that_was_replaced_does_not_find_the_new_one() {
        let mut peers = Peers::default();
        let child = |pid, life| Child {
            service: Service::Worker(Slot::One),
            incarnation: Incarnation(life),
            pid,
        };
        // No process has these numbers: the kernel gives out at most 2^22.
        peers.add(child(4_194_305, 1));
        peers.add(child(4_194_306, 2));
        let service = Service::Worker(Slot::One);
        assert!(peers.get(service, 4_194_305).is_none());
        assert!(peers.get(service, 4_194_306).is_some());
        assert_eq!(peers.incarnation(service), Some(Incarnation(2)));
        assert!(peers.signal(service, 0).is_err() && !peers.stopped(service));
        assert!(peers.can_take(service, Fault::Signal(9)));
        assert!(!peers.can_take(service, Fault::Hang), "it is not linked");
        assert!(!peers.can_take(Service::AudioOut, Fault::Signal(9)));
    }
}
