//! Processor time: what work costs, whoever else uses the machine.
//!
//! Time by the wall counts what other processes take away; this does not. What it cannot leave out
//! is that they share caches and execution units; so everything is measured several times, in turn
//! with what it is compared to, and the best of each counts.

use std::fs;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// What this process has used so far, user and system, in seconds.
pub fn own() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What all children that have been waited for have used, in seconds; exact to a few hundredths.
///
/// # Errors
/// Where there is no `/proc`.
pub fn children() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
    // The name of the program, in brackets, may hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> = fields
        .split_whitespace()
        .skip(13)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    Ok(ticks.iter().sum::<f64>() / rustix::param::clock_ticks_per_second() as f64)
}

/// The seconds that some work takes of the processor.
pub fn of<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let begun = own();
    let result = work();
    (result, own() - begun)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_costs_nothing_and_work_does() {
        let pause = std::time::Duration::from_millis(50);
        let ((), waiting) = of(|| std::thread::sleep(pause));
        let begun = std::time::Instant::now();
        let ((), working) = of(|| while begun.elapsed() < pause {});
        assert!(waiting < working, "{waiting}, {working}");
    }

    #[test]
    fn the_time_of_children_grows() {
        let before = children().unwrap();
        let work = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let status = std::process::Command::new("sh").args(["-c", work]).status();
        assert!(status.unwrap().success());
        assert!(children().unwrap() > before);
    }
}
