//! The first promise, place by place. A worker is killed at each named point of a block's life, in its
//! first blocks and later, as leader and as follower. A replacement is killed at the entry to and the
//! return from each of its system calls, from its start until it is ready.
//!
//! With `UNDERSTUDY_EVERY=1` the test kills at every door of a system call; by default at every
//! seventh.

use anyhow::Result;
use integration_tests::{
    random::Random,
    stack::{Recording, Stack, number},
};
use tempfile::TempDir;

const POINTS: [&str; 7] = [
    "applied",
    "rendered",
    "sealed",
    "proved",
    "published",
    "advanced",
    "checkpointed",
];

/// Ends the stack; returns how many samples were compared, how many differ, and how many blocks were
/// concealed.
fn outcome(stack: Stack, recording: &Recording) -> Result<(usize, usize, u64)> {
    let concealed = number(&stack.status()?, "/audio/concealed_blocks")?;
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    Ok((compared, differing, concealed))
}

#[test]
fn a_worker_killed_at_each_named_point_leaves_every_sample_as_it_was() -> Result<()> {
    let mut random = Random::seeded(6);
    let (mut kills, mut compared, mut wrong) = (0, 0, Vec::new());
    for point in POINTS {
        for nth in [1, 2, 9, 50] {
            // A leader writes no checkpoint while it has a follower.
            for life in [1, 2]
                .into_iter()
                .filter(|l| point != "checkpointed" || *l == 2)
            {
                let failpoint = format!("{point}#{nth}=kill@{life}");
                let recording = Recording::in_folder(TempDir::new()?);
                let sink = format!("wav:{}", recording.wav.display());
                let stack = Stack::start_in(
                    TempDir::new()?,
                    &["--sink", &sink, "--freewheel", "--channels", "1"],
                    &[("UNDERSTUDY_FAILPOINTS", failpoint.clone())],
                )?;
                stack.osc_send("/gate/adsr", Some(1.0))?;
                for _ in 0..10 {
                    stack.change_something(&mut random)?;
                }
                stack.expect_replacements(1);
                stack.wait_ready()?;
                let found = outcome(stack, &recording)?;
                kills += 1;
                compared += found.0;
                if (found.1, found.2) != (0, 0) {
                    wrong.push((failpoint, found));
                }
            }
        }
    }
    println!("FIGURE killed at {kills} named places: samples compared {compared}, wrong {wrong:?}");
    assert!(wrong.is_empty());
    Ok(())
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_replacement_killed_at_each_of_its_system_calls_leaves_every_sample_as_it_was() -> Result<()> {
    use common::{message::SIGKILL, units::Slot};
    use integration_tests::surgeon::kill_newborn_at_door;
    use platform::pidfd;

    let every = std::env::var("UNDERSTUDY_EVERY")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(7);
    let (stack, recording) = Stack::start_wav(&["--freewheel", "--channels", "1"])?;
    let stage = stack.shared()?.stage;
    let launcher = stack.launcher()?;
    let mut random = Random::seeded(7);
    stack.osc_send("/gate/adsr", Some(1.0))?;
    let (mut kills, mut after_ready, mut again) = (0, 0, 0);
    for nth in (1..).step_by(every) {
        stack.wait_ready()?;
        stack.change_something(&mut random)?;
        let slot = Slot::ALL[kills % 2];
        let Ok(handle) = pidfd::open(stack.pid(&format!("worker:{slot}"))?) else {
            continue; // it has exited by itself after it was overruled
        };
        let before = stage.slot(slot).incarnation();
        let mut ready = false;
        // A worker that has just exited by itself is replaced too.
        let provoke = || drop(pidfd::signal(&handle, SIGKILL));
        let killed = kill_newborn_at_door(launcher, nth, provoke, || {
            ready |= stage.slot(slot).incarnation() != before && stage.protected();
        });
        match killed {
            Ok(()) => (kills, again) = (kills + 1, 0),
            // In freewheel a worker that is too slow with a block is overruled and exits by itself.
            Err(why) if again < 20 => {
                println!("again: {why}");
                again += 1;
            }
            Err(why) => return Err(why),
        }
        after_ready += usize::from(ready);
        if after_ready * every >= 50 {
            break;
        }
    }
    stack.wait_ready()?;
    let (compared, differing, concealed) = outcome(stack, &recording)?;
    println!(
        "FIGURE killed at every {every} of the doors of a replacement's system calls: kills {kills}, of them {after_ready} when it was ready, samples compared {compared}, differing {differing}, concealed {concealed}"
    );
    assert_eq!((differing, concealed), (0, 0));
    assert!(kills > 10, "it makes system calls");
    Ok(())
}
