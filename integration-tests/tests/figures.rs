//! Figures that a machine under load may spoil: printed, and asserted only where no clock decides.
//!
//! `./bench.sh` runs these alone, on a machine that does nothing else.

use std::{
    process::{Child, Command},
    time::{Duration, Instant},
};

use anyhow::Result;
use integration_tests::stack::{Stack, number, workers};

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

/// Processor time of a process, all threads, in seconds.
fn cpu_seconds(pid: u64) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let read =
        |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("schedstat")).ok();
    let ns: u64 = tasks
        .filter_map(read)
        .filter_map(|t| t.split(' ').next()?.parse::<u64>().ok())
        .sum();
    ns as f64 / 1e9
}

/// Processes that do nothing but use the processor; ended when dropped.
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

/// Underruns in ten seconds beside four busy processes, by lead, with and without priority.
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
