//! Everything that was played is in the command log, however the run ends.

use std::{fs, thread::sleep, time::Duration};

use anyhow::Result;
use common::message::{SIGKILL, Target};
use integration_tests::{
    census::Census,
    random::Random,
    stack::{Recording, Remains, Stack, count_of},
    surgeon::Stopped,
};
use platform::pidfd;
use serde_json::Value;

/// The processes of a stack, its launcher last.
fn processes(stack: &Stack) -> Result<Vec<u32>> {
    let launcher = stack.launcher()?;
    let others = Census::of(stack)?.pids.into_values().map(|pid| pid as u32);
    Ok(others
        .filter(|p| *p != launcher)
        .chain([launcher])
        .collect())
}

fn stop(pids: &[u32]) -> Result<Vec<Stopped>> {
    pids.iter().map(|pid| Stopped::stop(*pid)).collect()
}

/// Blocks at the end of what was played that the log does not render; the rest has to be equal.
fn missing(remains: &Remains, recording: &Recording) -> Result<usize> {
    let mut rendered = Vec::new();
    let shape = remains.replay(|block| rendered.extend_from_slice(block))?;
    let played = integration_tests::ear::read_wav(&recording.wav)?;
    let differing = rendered.iter().zip(&played).filter(|(r, p)| r != p).count();
    assert_eq!(differing, 0, "samples that differ of {}", played.len());
    Ok(played.len().saturating_sub(rendered.len()) / shape.block_samples())
}

#[test]
fn a_run_that_is_ended_after_a_pause_of_all_processes_is_in_the_log_to_its_last_block() -> Result<()>
{
    let runs = count_of("UNDERSTUDY_RUNS", 8);
    let mut random = Random::seeded(16);
    let (mut lacking, mut concealed) = (0, 0);
    for _ in 0..runs {
        let (stack, recording) = Stack::start_wav(&[])?;
        stack.wait_protected()?;
        stack.steady_tone()?;
        let all = processes(&stack)?;
        for _ in 0..3 {
            let stopped = stop(&all)?;
            sleep(Duration::from_millis(5 + random.below(700)));
            drop(stopped);
            sleep(Duration::from_millis(random.below(60)));
        }
        if random.below(2) == 0 {
            stack.kill(Target::Leader)?;
            stack.change_something(&mut random)?;
        }
        concealed += stack.status()?["audio"]["concealed_blocks"]
            .as_u64()
            .unwrap_or(0);
        lacking += missing(&stack.down()?, &recording)?;
    }
    println!(
        "FIGURE {runs} runs ended after three pauses of all processes: blocks missing from the replay {lacking}, concealed {concealed}"
    );
    assert_eq!((lacking, concealed), (0, 0));
    Ok(())
}

/// A supervisor that cannot write the end, and an audio-out that cannot be told of it.
#[test]
fn whoever_is_stopped_when_a_run_is_ended_the_log_has_its_last_block() -> Result<()> {
    let runs = count_of("UNDERSTUDY_RUNS", 1);
    let mut lacking = 0;
    for _ in 0..runs {
        for service in ["supervisor", "audio-out"] {
            let (stack, recording) = Stack::start_wav(&[])?;
            stack.wait_protected()?;
            stack.steady_tone()?;
            let stopped = Stopped::stop(stack.pid(service)?)?;
            stack.osc_send("/mod/sine/freq", Some(330.0))?;
            sleep(Duration::from_millis(300));
            lacking += missing(&stack.down()?, &recording)?;
            drop(stopped);
        }
    }
    println!(
        "FIGURE {} runs ended with a service stopped: blocks missing from the replay {lacking}",
        2 * runs
    );
    assert_eq!(lacking, 0);
    Ok(())
}

#[test]
fn a_run_of_which_every_process_is_killed_is_in_the_log_to_its_last_block() -> Result<()> {
    let runs = count_of("UNDERSTUDY_RUNS", 4);
    let mut random = Random::seeded(17);
    let mut lacking = 0;
    for run in 0..runs {
        let (stack, _recording) = Stack::start_wav(&[])?;
        stack.wait_protected()?;
        stack.steady_tone()?;
        if run % 2 == 1 {
            stack.change_something(&mut random)?;
            // Supervisors that never get as far as to write down how far it was played.
            for _ in 0..3 {
                sleep(Duration::from_millis(500));
                let supervisor = pidfd::open(stack.pid("supervisor")?)?;
                pidfd::signal(&supervisor, SIGKILL)?;
            }
        }
        sleep(Duration::from_millis(random.below(1_200)));
        let shared = stack.shared()?;
        let all = processes(&stack)?;
        let stopped = stop(&all)?;
        for pid in &all {
            let handle = pidfd::open(*pid)?;
            pidfd::signal(&handle, SIGKILL)?;
            assert!(pidfd::ended(&handle, Duration::from_secs(2)));
        }
        drop(stopped);
        let played = shared.stage.cursor().0;
        let output = stack.folder.path().join("again.wav");
        let answer = stack.verb(&["replay", "--json", "-o", &output.display().to_string()])?;
        let told = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(
            told.contains("had no end"),
            "an unclean end is told: {told}"
        );
        let answer: Value = serde_json::from_slice(&answer.stdout)?;
        let rendered = answer["blocks"].as_u64().unwrap_or(0);
        lacking += played.saturating_sub(rendered);
        assert!(rendered <= played, "{rendered} blocks of {played}");
        fs::remove_file(output)?;
        // Clears away what the dead have left.
        drop(stack.verb(&["up", "--detach", "--sink", "null", "--osc", stack.osc()])?);
    }
    println!(
        "FIGURE {runs} runs ended by SIGKILL to every process: blocks missing from the replay {lacking}"
    );
    assert_eq!(lacking, 0);
    Ok(())
}
