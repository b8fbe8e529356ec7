//! Hangs, slowness and wrong results: a worker that stops, spins, is slow or computes wrong samples
//! cannot be heard, and is the one that is replaced.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use common::message::{Fault, SIGSTOP, Target};
use integration_tests::{
    ear,
    random::Random,
    stack::{Stack, count_of, number, workers},
};
use serde_json::Value;

/// The process ids of the workers in both slots.
fn pids(status: &Value) -> Vec<u64> {
    workers(status).filter_map(|w| w["pid"].as_u64()).collect()
}

/// One flipped bit of one sample, in either worker: the referee finds the worker.
#[test]
fn a_flipped_bit_is_found_and_the_right_one_replaced() -> Result<()> {
    let flips = count_of("UNDERSTUDY_FLIPS", 100);
    let stack = Stack::start(&["--sink", "null"])?;
    let mut random = Random::seeded(5);
    stack.wait_protected()?;
    stack.steady_tone()?;
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..flips {
        stack.wait_for("protection", |s| s["state"] == "protected")?;
        let before = stack.status()?;
        let leader = number(&before, "/leader")? as usize;
        let (target, slot) = match random.below(2) {
            0 => (Target::Leader, leader),
            _ => (Target::Follower, 1 - leader),
        };
        stack.inject(Fault::Flip, target)?;
        let old = pids(&before);
        stack.wait_for("a replacement", |s| {
            s["state"] == "protected" && pids(s).len() == 2 && pids(s) != old
        })?;
        let new = pids(&stack.status()?);
        match new[slot] != old[slot] && new[1 - slot] == old[1 - slot] {
            true => right += 1,
            false => wrong += 1,
        }
    }
    let status = stack.status()?;
    println!(
        "FIGURE single flipped bits {flips}: found and the right one replaced {right}, the wrong one {wrong}, counted when played {}, concealed {}",
        status["divergences"], status["audio"]["concealed_blocks"]
    );
    assert_eq!((right, wrong), (flips, 0), "{}", stack.log());
    assert_eq!(number(&status, "/divergences")?, flips);
    assert_eq!(number(&status, "/audio/concealed_blocks")?, 0);
    Ok(())
}

/// SIGSTOP for 1 µs to 5 s, or a spinning render thread: the block is in the other ring.
#[test]
fn a_leader_that_is_stopped_or_hangs_cannot_be_heard() -> Result<()> {
    let times = count_of("UNDERSTUDY_STOPS", 60);
    let (stack, recording) = Stack::start_wav(&[])?;
    let mut random = Random::seeded(6);
    stack.wait_protected()?;
    let steady = stack.steady_tone()?;
    let mut hangs = 0;
    for _ in 0..times {
        stack.wait_for("protection", |s| s["state"] == "protected")?;
        sleep(Duration::from_micros(random.below(6_000)));
        let before = stack.status()?;
        let leader = number(&before, "/leader")? as usize;
        let pid = *pids(&before).get(leader).context("a leader")?;
        if random.below(8) == 0 {
            hangs += 1;
            stack.inject(Fault::Hang, Target::Leader)?;
            stack.wait_for("a replacement", |s| !pids(s).contains(&pid))?;
            continue;
        }
        stack.inject(Fault::Signal(SIGSTOP), Target::Leader)?;
        // 1 µs to 5 s, evenly over the powers of ten. If the worker is replaced earlier, the wait
        // ends.
        let us = 10_f64.powf(random.below(1_000) as f64 / 1_000.0 * 6.7) as u64;
        let until = Instant::now() + Duration::from_micros(us);
        while Instant::now() < until && alive(pid) {
            sleep(Duration::from_micros((us / 4).clamp(1, 20_000)));
        }
        thaw(pid);
    }
    stack.wait_for("protection", |s| s["state"] == "protected")?;
    sleep(Duration::from_millis(200));
    let status = stack.status()?;
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    let left = recording.left_from(steady)?;
    let breaks = ear::breaks(&left, 440.0, 48_000.0).len();
    println!(
        "FIGURE leader stopped (1 µs to 5 s) or hung {times} times ({hangs} hung): concealed {}, breaks {breaks}, samples that differ {differing} of {compared}",
        status["audio"]["concealed_blocks"]
    );
    assert_eq!(number(&status, "/audio/concealed_blocks")?, 0);
    assert_eq!((breaks, differing), (0, 0));
    Ok(())
}

fn alive(pid: u64) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

fn thaw(pid: u64) {
    let _ = std::process::Command::new("kill")
        .args(["-CONT", &pid.to_string()])
        .stderr(std::process::Stdio::null())
        .status();
}

/// NaN in the leader, and a worker that takes 20 ms for a block: neither is heard, both are
/// replaced, and the preference does not go back and forth.
#[test]
fn who_puts_out_nan_or_dawdles_is_replaced() -> Result<()> {
    let (stack, recording) = Stack::start_wav(&[])?;
    stack.wait_protected()?;
    let steady = stack.steady_tone()?;
    for (fault, target) in [
        (Fault::Nan, Target::Leader),
        (Fault::Nan, Target::Follower),
        (Fault::Slow(20_000), Target::Leader),
        (Fault::Slow(20_000), Target::Follower),
    ] {
        stack.wait_for("protection", |s| s["state"] == "protected")?;
        let before = pids(&stack.status()?);
        stack.inject(fault, target)?;
        stack.wait_for("a replacement", |s| {
            s["state"] == "protected" && pids(s) != before
        })?;
        let now = pids(&stack.status()?);
        assert_eq!(
            now.iter().filter(|pid| before.contains(pid)).count(),
            1,
            "{fault:?}: one of two is replaced"
        );
    }
    sleep(Duration::from_millis(200));
    let status = stack.status()?;
    let (_, differing) = stack.down()?.compare(&recording.wav)?;
    let breaks = ear::breaks(&recording.left_from(steady)?, 440.0, 48_000.0).len();
    println!(
        "FIGURE NaN and slowness, leader and follower: breaks {breaks}, concealed {}, switches {}, samples that differ {differing}",
        status["audio"]["concealed_blocks"],
        status["switches"].as_array().map_or(0, Vec::len)
    );
    assert_eq!((breaks, differing), (0, 0));
    Ok(())
}
