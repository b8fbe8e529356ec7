//! Measurements that a busy machine may spoil: they are printed, and asserted only where no clock
//! decides.
//!
//! `./bench.sh` runs these tests alone, on a machine that does nothing else.

use std::{
    net::UdpSocket,
    process::{Child, Command},
    time::{Duration, Instant},
};

use anyhow::Result;
use common::{message::SIGKILL, stage::Stage, units::Slot};
use engine::patch::Patch;
use integration_tests::{
    ear::percentile,
    patches::{large_patch, thousand},
    stack::{Stack, datagram, number, workers},
    surgeon::Stopped,
};
use platform::pidfd;

#[test]
fn start_processor_time_and_memory() -> Result<()> {
    let mut starts = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let stack = Stack::start(&["--sink", "null"])?;
        starts.push(begun.elapsed().as_secs_f64());
        drop(stack);
    }
    starts.sort_by(f64::total_cmp);
    println!(
        "FIGURE `up --detach` to sound possible: median {:.3} s, worst {:.3} s",
        starts[2], starts[4]
    );
    let stack = Stack::start(&["--sink", "null"])?;
    stack.wait_protected()?;
    stack.osc_send("/test", None)?;
    std::thread::sleep(Duration::from_secs(1));
    let launcher = stack.launcher()?;
    let status = stack.status()?;
    let services = status["services"].as_array().into_iter().flatten();
    let mut pids: Vec<u64> = services.filter_map(|s| s["pid"].as_u64()).collect();
    pids.push(launcher.into());
    let before: f64 = pids.iter().map(|pid| cpu_seconds(*pid)).sum();
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs(10));
    let used = pids.iter().map(|pid| cpu_seconds(*pid)).sum::<f64>() - before;
    println!(
        "FIGURE processor time of the whole stack: {:.2} % of one core",
        used / begun.elapsed().as_secs_f64() * 100.0
    );
    for service in workers(&status) {
        let kib = service["rss_kib"].as_u64().unwrap_or(u64::MAX);
        println!(
            "FIGURE resident memory of {}: {:.1} MiB",
            service["name"],
            kib as f64 / 1024.0
        );
        assert!(kib < 12 * 1024);
    }
    Ok(())
}

/// Rounds of measuring the cost of protection: each with a follower, with a stopped follower, and
/// without one.
const ROUNDS: usize = 10;
/// How often in each round the follower is stopped and continued, to measure the leader's block time.
const PAUSES: usize = 40;

/// What the second worker costs: with the default patch, with many modules, and with a patch whose
/// checkpoints are large.
#[test]
#[ignore = "a benchmark of the machine: ./bench.sh"]
fn the_cost_of_protection() -> Result<()> {
    cost_of_protection("the default patch", &Patch::default_patch().to_json())?;
    cost_of_protection("1,000 modules", &thousand(0).to_string())?;
    cost_of_protection("16 MiB of state", &large_patch().to_string())
}

/// Microseconds per block.
struct Cost {
    /// Processor time of the leader's render thread, of the follower's render thread, and of all threads
    /// of both workers.
    leader: f64,
    follower: f64,
    both: f64,
}

fn cost_of_protection(what: &str, patch: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("patch.json");
    std::fs::write(&file, patch)?;
    let file = file.display().to_string();
    let options = [
        "--sink", "null", "--block", "64", "--lead", "24", "--patch", &file,
    ];
    let stack = Stack::start(&options)?;
    stack.wait_protected()?;
    let _ = stack.osc_send("/test", None);
    let stage = stack.shared()?.stage;
    let (mut rounds, mut blocks) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        stack.wait_protected()?;
        // Until both checkpoints have been filled for the first time.
        std::thread::sleep(Duration::from_millis(500));
        let leader = stage.preference().slot;
        let pid = |slot: Slot| stack.pid(&format!("worker:{slot}"));
        let (follower_pid, pids) = (pid(leader.other())?, [pid(leader)?, pid(leader.other())?]);
        // No process may start another one for a while, and only the follower may make a difference.
        let watchers = [stack.pid("supervisor")?, stack.launcher()?].map(Stopped::stop);
        let protected = cost(&stage, leader, pids);
        for _ in 0..PAUSES {
            blocks.push(block_time(&stage, leader, follower_pid)?);
        }
        pidfd::signal(&pidfd::open(follower_pid)?, SIGKILL)?;
        std::thread::sleep(Duration::from_millis(100));
        rounds.push((protected, cost(&stage, leader, pids)));
        drop(watchers);
        stack.expect_replacements(1);
    }
    stack.wait_protected()?;
    let middle = |of: &dyn Fn(&Cost, &Cost) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(|(with, alone)| of(with, alone)).collect();
        percentile(&mut all, 0.5)
    };
    let more = |of: &dyn Fn(&Cost, &Cost) -> f64| 100.0 * (middle(of) - 1.0);
    let block = |of: fn(&[f64; 2]) -> f64| {
        let mut all: Vec<f64> = blocks.iter().map(of).collect();
        percentile(&mut all, 0.5)
    };
    println!(
        "FIGURE cost of protection, {what}: the leader's block takes {:.1} µs without a follower, {:.1} µs with one ({:+.1} %), its thread {:.1} and {:.1} µs of processor time ({:+.1} %); two workers take {:.2} times the processor time of one; the follower's thread, which keeps the checkpoints, {:.1} µs ({:+.1} % to the leader's); underruns {}",
        block(|[_, alone]| *alone),
        block(|[with, _]| *with),
        100.0 * (block(|[with, alone]| with / alone) - 1.0),
        middle(&|_, alone| alone.leader),
        middle(&|with, _| with.leader),
        more(&|with, alone| with.leader / alone.leader),
        middle(&|with, alone| with.both / alone.both),
        middle(&|with, _| with.follower),
        more(&|with, _| with.follower / with.leader),
        number(&stack.status()?, "/audio/underruns")?
    );
    Ok(())
}

/// Microseconds from the leader's start on a block until the block is published, averaged over 40 ms:
/// first with the follower, right after that with the follower stopped. The times are short, since the
/// speed of a shared machine varies within seconds by more than the difference to be measured.
fn block_time(stage: &Stage<'_>, leader: Slot, follower: u32) -> Result<[f64; 2]> {
    let seat = stage.slot(leader);
    let mean = || {
        let (blocks, spent) = (seat.blocks(), seat.spent_ns());
        std::thread::sleep(Duration::from_millis(40));
        (seat.spent_ns() - spent) as f64 / 1e3 / (seat.blocks() - blocks) as f64
    };
    let with = mean();
    let stopped = Stopped::stop(follower)?;
    let alone = mean();
    drop(stopped);
    while stage.slot(leader.other()).frontier().0 + 2 < seat.frontier().0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(20));
    Ok([with, alone])
}

/// Measures for 1.1 s: a lone leader writes no checkpoint in that time.
fn cost(stage: &Stage<'_>, leader: Slot, pids: [u32; 2]) -> Cost {
    let [leader_pid, follower_pid] = pids.map(u64::from);
    let seat = stage.slot(leader);
    let look = || {
        let render = |pid| thread_seconds(pid, |name| name == "render");
        let all = cpu_seconds(leader_pid) + cpu_seconds(follower_pid);
        [
            seat.blocks() as f64,
            render(leader_pid),
            render(follower_pid),
            all,
        ]
    };
    let before = look();
    std::thread::sleep(Duration::from_millis(1_100));
    let after = look();
    let each = |n: usize| 1e6 * (after[n] - before[n]) / (after[0] - before[0]);
    Cost {
        leader: each(1),
        follower: each(2),
        both: each(3),
    }
}

/// Processor time of all threads of a process, in seconds.
fn cpu_seconds(pid: u64) -> f64 {
    thread_seconds(pid, |_| true)
}

/// Processor time of the threads whose names are `wanted`, in seconds.
fn thread_seconds(pid: u64, wanted: impl Fn(&str) -> bool) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let read = |task: std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let text = || std::fs::read_to_string(task.path().join("schedstat")).ok();
        wanted(name.trim()).then(text)?
    };
    let ns: u64 = tasks
        .filter_map(read)
        .filter_map(|t| t.split(' ').next()?.parse::<u64>().ok())
        .sum();
    ns as f64 / 1e9
}

/// Processes that only use the processor; ended when dropped.
struct Busy(Vec<Child>);

impl Busy {
    fn start(count: usize) -> Result<Self> {
        let spin = || {
            Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .spawn()
        };
        Ok(Self((0..count).map(|_| spin()).collect::<Result<_, _>>()?))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Underruns in ten seconds beside four busy processes, by lead, with and without real-time priority.
#[test]
#[ignore = "a benchmark of the machine: ./bench.sh"]
fn the_lead_that_a_busy_machine_needs() -> Result<()> {
    for (realtime, leads) in [(false, [2, 3, 4, 6, 8]), (true, [1, 2, 3, 4, 6])] {
        for lead in leads {
            let environment = match realtime {
                true => vec![],
                false => vec![("UNDERSTUDY_NO_REALTIME", "1".to_owned())],
            };
            let lead = lead.to_string();
            let options = ["--sink", "null", "--lead", &lead];
            let stack = Stack::start_in(tempfile::tempdir()?, &options, &environment)?;
            stack.wait_protected()?;
            let busy = Busy::start(4)?;
            let before = number(&stack.status()?, "/audio/underruns")?;
            std::thread::sleep(Duration::from_secs(10));
            let status = stack.status()?;
            drop(busy);
            println!(
                "FIGURE 4 busy processes, real-time priority {realtime}, lead {lead} blocks ({:.1} ms): {} underruns in 3750 blocks",
                lead.parse::<f64>()? * 128.0 / 48.0,
                number(&status, "/audio/underruns")? - before
            );
        }
    }
    Ok(())
}

/// How fast messages from one sender are applied: each in a datagram of its own, or 16 in a bundle.
#[test]
#[ignore = "a benchmark of the machine: ./bench.sh"]
fn how_many_messages_a_second_are_applied() -> Result<()> {
    for (each, pace) in [(1, 110_000), (16, 110_000)] {
        let stack = Stack::start(&["--sink", "null"])?;
        stack.wait_protected()?;
        let total = 400_000_u64;
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(stack.osc())?;
        let start = Instant::now();
        let mut sent = 0;
        while sent < total {
            // The number of messages due by now, at an even pace. A sleep takes longer than asked for.
            let due = (start.elapsed().as_secs_f64() * f64::from(pace)) as u64;
            while sent < due.min(total) {
                socket.send(&settings(sent, each))?;
                sent += each;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let sending = start.elapsed().as_secs_f64();
        stack.wait_for_patiently("all of them to be applied", |status| {
            let at = |name: &str| number(status, name).unwrap_or_default();
            at("/commands/applied") + at("/commands/rejected") + at("/commands/dropped_by_kernel")
                >= total
        })?;
        let seconds = start.elapsed().as_secs_f64();
        let status = stack.status()?;
        println!(
            "FIGURE messages {total}, {each} in a datagram: sent at {:.0} a second, applied at {:.0} a second; applied {}, rejected {}, dropped by the kernel {}, underruns {}",
            total as f64 / sending,
            total as f64 / seconds,
            number(&status, "/commands/applied")?,
            number(&status, "/commands/rejected")?,
            number(&status, "/commands/dropped_by_kernel")?,
            number(&status, "/audio/underruns")?,
        );
    }
    Ok(())
}

/// A datagram with `count` messages that set a parameter of the default patch.
fn settings(first: u64, count: u64) -> Vec<u8> {
    let message = |number| datagram("/mod/filter/cutoff", Some(200.0 + (number % 8_000) as f32));
    if count == 1 {
        return message(first);
    }
    let mut bundle = b"#bundle\0\0\0\0\0\0\0\0\x01".to_vec();
    for number in first..first + count {
        let message = message(number);
        bundle.extend((message.len() as u32).to_be_bytes());
        bundle.extend(message);
    }
    bundle
}
