//! Kills a process at an exact place: a worker at an instruction of its render thread, or a process at the entry
//! to or the return from a system call.

use std::{collections::BTreeSet, fs, os::fd::OwnedFd, time::Duration};

use anyhow::{Context, Result, bail};
use common::{
    message::{SIGCONT, SIGKILL, SIGSTOP},
    stage::{Phase, SlotWords},
    units::BlockIndex,
};
use platform::{
    pidfd,
    trace::{self, Stop, Until},
};

/// A process all of whose threads are stopped; continued when dropped.
pub struct Stopped(OwnedFd);

impl Stopped {
    /// Stops the process and waits until all its threads have stopped.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn stop(pid: u32) -> Result<Self> {
        let handle = pidfd::open(pid)?;
        pidfd::signal(&handle, SIGSTOP)?;
        let stopped = Self(handle);
        while threads(pid)?.any(|(_, stat)| !matches!(state(&stat), Some('T' | 't' | 'Z'))) {
            std::thread::yield_now();
        }
        Ok(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = pidfd::signal(&self.0, SIGCONT);
    }
}

/// The threads of a process, each with the content of its `stat` file.
fn threads(pid: u32) -> Result<impl Iterator<Item = (u32, String)>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))?;
    Ok(tasks.flatten().filter_map(|task| {
        let thread = task.file_name().to_str()?.parse().ok()?;
        Some((thread, fs::read_to_string(task.path().join("stat")).ok()?))
    }))
}

fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The address of the program's first byte in the process.
fn program_start(pid: u32) -> Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let own = maps.lines().find(|line| line.contains("understudy-worker"));
    let start = own.and_then(|line| line.split_once('-'));
    let start = start.context("no worker's program in the process")?.0;
    Ok(u64::from_str_radix(start, 16)?)
}

/// The offset in the program of the first instruction in a phase.
#[derive(Clone, Copy)]
pub struct Entry(u64);

/// A worker whose render thread is stopped and traced by the calling thread; killed when dropped.
pub struct Patient {
    handle: OwnedFd,
    thread: u32,
    program: u64,
}

impl Patient {
    /// Attaches to the worker's render thread and stops it.
    ///
    /// # Errors
    /// When tracing is not allowed.
    pub fn hold(pid: u32) -> Result<Self> {
        let render = threads(pid)?.find(|(_, stat)| stat.contains("(render)"));
        let patient = Self {
            handle: pidfd::open(pid)?,
            thread: render.context("no render thread")?.0,
            program: program_start(pid)?,
        };
        trace::seize(patient.thread, false)?;
        trace::interrupt(patient.thread)?;
        while patient.wait()? != Stop::Standing {
            patient.go(Until::Something)?;
        }
        Ok(patient)
    }

    fn wait(&self) -> Result<Stop> {
        Ok(trace::wait(Some(self.thread))?.1)
    }

    fn go(&self, until: Until) -> Result<()> {
        Ok(trace::go(self.thread, until, 0)?)
    }

    /// Executes one instruction.
    ///
    /// # Errors
    /// When the worker is gone.
    pub fn step(&self) -> Result<()> {
        loop {
            self.go(Until::OneInstruction)?;
            match self.wait()? {
                Stop::Trap => return Ok(()),
                Stop::Ended => bail!("it has ended by itself"),
                _ => {}
            }
        }
    }

    /// Executes instructions until the phase begins; returns where that is.
    ///
    /// # Errors
    /// When the worker is gone.
    pub fn find(&self, seat: &SlotWords<'_>, phase: Phase) -> Result<Entry> {
        let mut before = seat.breadcrumb();
        loop {
            self.step()?;
            let now = seat.breadcrumb();
            if now.phase == phase && now.phase != before.phase {
                return Ok(Entry(trace::instruction(self.thread)? - self.program));
            }
            before = now;
        }
    }

    /// Runs until the phase begins in a block that `wished` accepts; returns the block.
    ///
    /// # Errors
    /// When the worker is gone.
    pub fn run_to(
        &self,
        entry: Entry,
        seat: &SlotWords<'_>,
        phase: Phase,
        wished: impl Fn(BlockIndex) -> bool,
    ) -> Result<BlockIndex> {
        let address = self.program + entry.0;
        loop {
            let byte = trace::exchange_byte(self.thread, address, trace::BREAKPOINT)?;
            self.go(Until::Something)?;
            loop {
                match self.wait()? {
                    Stop::Trap => break,
                    Stop::Ended => bail!("it has ended by itself"),
                    _ => self.go(Until::Something)?,
                }
            }
            trace::exchange_byte(self.thread, address, byte)?;
            trace::set_instruction(self.thread, address)?;
            let breadcrumb = seat.breadcrumb();
            if breadcrumb.phase == phase && wished(breadcrumb.block) {
                return Ok(breadcrumb.block);
            }
            self.step()?;
        }
    }
}

/// Kills the worker at the instruction where it was stopped.
impl Drop for Patient {
    fn drop(&mut self) {
        let _ = pidfd::signal(&self.handle, SIGKILL);
        while self.wait().is_ok_and(|stop| stop != Stop::Ended) {}
    }
}

/// Kills the next worker that the launcher starts, at the `nth` "door": the entry to or the return from a system
/// call, in any of the worker's threads. `provoke` makes the launcher start a worker; `look` is called at each
/// door.
///
/// # Errors
/// When tracing is not allowed, or the worker has ended by itself before.
pub fn kill_newborn_at_door(
    launcher: u32,
    nth: u64,
    provoke: impl FnOnce(),
    mut look: impl FnMut(),
) -> Result<()> {
    trace::seize(launcher, true)?;
    provoke();
    let mut victim: Option<(u32, OwnedFd)> = None;
    // `newborn`: processes whose program is not known yet. `known`: processes whose program is known; the report
    // of their birth may come later than that.
    let (mut newborn, mut known) = (BTreeSet::new(), BTreeSet::new());
    let (mut doors, mut over) = (0, false);
    loop {
        let (thread, stop) = trace::wait(None)?;
        let own = victim.is_some() && thread != launcher && !newborn.contains(&thread);
        match stop {
            Stop::Ended => {
                newborn.remove(&thread);
                known.insert(thread);
                if victim.as_ref().is_some_and(|(pid, _)| *pid == thread) {
                    over = true;
                    trace::interrupt(launcher)?;
                }
                continue;
            }
            Stop::Born(child) if thread == launcher && !known.contains(&child) => {
                newborn.insert(child);
            }
            Stop::Exec => {
                newborn.remove(&thread);
                known.insert(thread);
                if victim.is_some() || !is_worker(thread) {
                    trace::detach(thread)?;
                    continue;
                }
                victim = Some((thread, pidfd::open(thread)?));
            }
            Stop::SystemCall if own => {
                doors += 1;
                look();
                if let Some((_, handle)) = victim.as_ref().filter(|_| doors == nth) {
                    pidfd::signal(handle, SIGKILL)?;
                }
            }
            Stop::Standing if over && thread == launcher => {
                if newborn.is_empty() {
                    break;
                }
                trace::go(launcher, Until::Something, 0)?;
                std::thread::sleep(Duration::from_millis(1));
                trace::interrupt(launcher)?;
                continue;
            }
            _ => {}
        }
        let until = match own || stop == Stop::Exec {
            true => Until::SystemCall,
            false => Until::Something,
        };
        let signal = match stop {
            Stop::Signal(signal) => signal,
            _ => 0,
        };
        // A thread that was killed meanwhile cannot be continued.
        let _ = trace::go(thread, until, signal);
    }
    trace::detach(launcher)?;
    if doors < nth {
        bail!("it has ended by itself");
    }
    Ok(())
}

/// Kills a process at the `nth` door (see [`kill_newborn_at_door`]). Doors count from when `begun` returns true
/// until `over` does; then the process is killed in any case. Returns whether the process has reached the `nth`
/// door.
///
/// # Errors
/// When tracing is not allowed, or the process has ended by itself before.
pub fn kill_at_door(
    pid: u32,
    nth: u64,
    mut begun: impl FnMut() -> bool,
    mut over: impl FnMut() -> bool,
) -> Result<bool> {
    let handle = pidfd::open(pid)?;
    let held: Vec<u32> = threads(pid)?.map(|(thread, _)| thread).collect();
    for thread in held {
        trace::seize(thread, true)?;
        trace::interrupt(thread)?;
    }
    let (mut doors, mut began, mut killed) = (0, false, false);
    // Until the caller traces no thread any more.
    while let Ok((thread, stop)) = trace::wait(None) {
        if stop == Stop::SystemCall && !killed {
            began |= begun();
            doors += u64::from(began);
            if doors == nth || began && over() {
                pidfd::signal(&handle, SIGKILL)?;
                killed = true;
            }
        }
        let signal = match stop {
            Stop::Signal(signal) => signal,
            _ => 0,
        };
        // A thread that was killed meanwhile cannot be continued.
        let _ = trace::go(thread, Until::SystemCall, signal);
    }
    if !killed {
        bail!("it has ended by itself");
    }
    Ok(doors == nth)
}

fn is_worker(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| String::from_utf8_lossy(&line).contains("understudy-worker"))
}
