//! The first promise at its worst moment: a worker is killed at the instant when its new twin is
//! first reported as ready, and no other worker has the music.
//!
//! `UNDERSTUDY_KILLS` is the number of kills (default 200).

use std::{
    hint::spin_loop,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use common::{
    message::SIGKILL,
    units::{Incarnation, Slot},
};
use integration_tests::{
    random::Random,
    stack::{Stack, number},
};
use platform::pidfd;

#[test]
fn a_worker_killed_as_its_twin_is_called_ready_leaves_every_sample_as_it_was() -> Result<()> {
    let kills: u64 = std::env::var("UNDERSTUDY_KILLS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(200);
    let (stack, recording) = Stack::start_wav(&["--freewheel", "--channels", "1"])?;
    let shared = stack.shared()?;
    let stage = shared.stage;
    let launcher = stack.launcher()?;
    let mut random = Random::seeded(5);
    stack.osc_send("/gate/adsr", Some(1.0))?;
    stack.wait_protected()?;
    // The first kill makes the other worker the elder one.
    let mut elder = Slot::One;
    let younger = pidfd::open(stack.pid(&format!("worker:{}", elder.other()))?)?;
    let mut gone = stage.slot(elder.other()).incarnation();
    pidfd::signal(&younger, SIGKILL)?;
    let (mut kill, mut left) = (0, 0);
    while kill < kills {
        let elders = worker(launcher, elder, stage.slot(elder).incarnation());
        stack.change_something(&mut random)?;
        let limit = Instant::now() + Duration::from_secs(20);
        // Wait until a new worker is in the other seat and is reported as ready.
        while stage.slot(elder.other()).incarnation() == gone || !stage.protected() {
            ensure!(Instant::now() < limit, "not ready again after {kill} kills");
            spin_loop();
        }
        gone = stage.slot(elder).incarnation();
        match elders.and_then(|elders| Ok(pidfd::signal(&elders, SIGKILL)?)) {
            Ok(()) => kill += 1,
            // The worker has exited by itself: too slow with a block in freewheel, it was
            // overruled.
            Err(_) => left += 1,
        }
        ensure!(left < kills, "too many have left by themselves");
        elder = elder.other();
    }
    stack.expect_replacements(kills + 1);
    stack.wait_protected()?;
    let status = stack.status()?;
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    println!(
        "FIGURE killed as the twin was called ready {kills} times: samples compared {compared}, differing {differing}, concealed {}; left by themselves {left}",
        status["audio"]["concealed_blocks"]
    );
    assert_eq!(differing, 0);
    assert_eq!(number(&status, "/audio/concealed_blocks")?, 0);
    Ok(())
}

/// A handle of the launcher's worker in that slot with that incarnation.
fn worker(launcher: u32, slot: Slot, life: Incarnation) -> Result<std::os::fd::OwnedFd> {
    let wanted = format!("--slot\0{slot}\0--incarnation\0{life}\0");
    let processes = std::fs::read_dir("/proc")?.flatten();
    let pid = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent = stat
                .rsplit_once(") ")
                .and_then(|(_, s)| s.split(' ').nth(1));
            String::from_utf8_lossy(&command).contains(&wanted)
                && parent.is_some_and(|parent| parent == launcher.to_string())
        });
    Ok(pidfd::open(pid.context("no such worker")?)?)
}
