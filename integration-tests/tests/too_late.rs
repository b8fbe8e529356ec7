//! A machine that gives the workers no processor time for a while: audible at first, then no more.
//!
//! `UNDERSTUDY_STALLS` is the number of stalls, `UNDERSTUDY_STALL_EVERY_MS` the time between them.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use common::message::{SIGCONT, SIGSTOP};
use integration_tests::stack::{Stack, count_of, number, workers};
use platform::pidfd;

/// How long nothing is rendered in a stall.
const STALL: Duration = Duration::from_millis(30);
/// A stall that took longer than this is not counted: the test itself was given no processor time.
const STALL_AT_MOST: Duration = Duration::from_micros(30_700);

#[test]
fn a_lead_that_was_too_short_is_not_too_short_again() -> Result<()> {
    let stalls = count_of("UNDERSTUDY_STALLS", 20);
    let every = Duration::from_millis(count_of("UNDERSTUDY_STALL_EVERY_MS", 400));
    // A machine that wakes threads late needs some blocks more than the stalls require.
    let limit_ms = count_of("UNDERSTUDY_LEAD_MAX_MS", 48).to_string();
    let options = ["--sink", "null", "--lead", "auto", "--lead-max", &limit_ms];
    let stack = Stack::start(&options)?;
    stack.wait_protected()?;
    let before = number(&stack.status()?, "/lead")?;
    let pids = workers(&stack.status()?)
        .map(|worker| worker["pid"].as_u64().context("no pid"))
        .collect::<Result<Vec<_>>>()?;
    let handles = pids
        .iter()
        .map(|pid| Ok(pidfd::open(*pid as u32)?))
        .collect::<Result<Vec<_>>>()?;
    let to_all = |signal| -> Result<()> {
        let sent = handles.iter().map(|worker| pidfd::signal(worker, signal));
        Ok(sent.collect::<std::io::Result<()>>()?)
    };
    let (mut after_third, mut longer, mut underruns) = (0, 0, 0);
    for stall in 1..=stalls {
        sleep(every);
        let begun = Instant::now();
        to_all(SIGSTOP)?;
        sleep(STALL - begun.elapsed());
        to_all(SIGCONT)?;
        let took = begun.elapsed();
        sleep(Duration::from_millis(100));
        let now = number(&stack.status()?, "/audio/underruns")?;
        match stall > 3 {
            true if took <= STALL_AT_MOST => after_third += now - underruns,
            true => longer += 1,
            false => {}
        }
        underruns = now;
    }
    let status = stack.status()?;
    println!(
        "FIGURE stalls of {} ms, {stalls} of them: underruns {underruns}, after the third stall {after_third} (and {longer} stalls that took longer); concealed blocks {}, lead {before} then {} blocks (at most {limit_ms} ms), closest to a deadline {} ms",
        STALL.as_millis(),
        status["audio"]["concealed_blocks"],
        status["lead"],
        status["closest_deadline_ms"]
    );
    assert!(underruns > 0, "the stalls were stalls");
    assert!(number(&status, "/lead")? > before);
    assert_eq!(status["lead_auto"], true);
    assert!(status["closest_deadline_ms"].as_f64().is_some());
    assert!(longer + 3 < stalls, "a stall was no longer than meant");
    assert_eq!(after_third, 0);
    Ok(())
}

#[test]
fn a_fixed_lead_stays_what_it_is() -> Result<()> {
    let stack = Stack::start(&["--sink", "null", "--lead", "2"])?;
    stack.wait_protected()?;
    for worker in workers(&stack.status()?) {
        let pid = worker["pid"].as_u64().context("no pid")? as u32;
        pidfd::signal(&pidfd::open(pid)?, SIGSTOP)?;
        sleep(STALL);
        pidfd::signal(&pidfd::open(pid)?, SIGCONT)?;
    }
    sleep(Duration::from_millis(50));
    let status = stack.status()?;
    assert_eq!(
        (number(&status, "/lead")?, &status["lead_auto"]),
        (2, &false.into())
    );
    Ok(())
}
