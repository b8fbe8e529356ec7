//! The command log holds everything that was played, however the run ends.

use std::{fs, path::Path, thread::sleep, time::Duration};

use anyhow::{Context, Result, ensure};
use common::{
    command_log::{self, Record},
    message::Target,
};
use integration_tests::{
    census::Census,
    damage::kill,
    ear,
    random::Random,
    stack::{Recording, Remains, Stack, count_of, text},
    surgeon::Stopped,
};
use serde_json::Value;

/// The processes of a stack; the launcher is the last one.
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

/// How many blocks at the end of the recording the log does not render; all others must be equal.
fn missing(remains: &Remains, recording: &Recording) -> Result<usize> {
    let mut rendered = Vec::new();
    let format = remains.replay(|block| rendered.extend_from_slice(block))?;
    let played = ear::read_wav(&recording.wav)?;
    let differing = rendered.iter().zip(&played).filter(|(r, p)| r != p).count();
    assert_eq!(differing, 0, "samples that differ of {}", played.len());
    Ok(played.len().saturating_sub(rendered.len()) / format.block_samples())
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

/// A supervisor that cannot write the end of the log, or an audio-out that cannot be told of the end.
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

/// Stops every process, then sends SIGKILL to all.
fn kill_all(all: &[u32]) -> Result<()> {
    let stopped = stop(all)?;
    for pid in all {
        kill(*pid)?;
    }
    drop(stopped);
    Ok(())
}

/// How many blocks `replay` renders, and its messages.
fn replayed(stack: &Stack, output: &Path) -> Result<(u64, String)> {
    let answer = stack.verb(&["replay", "--json", "-o", &output.display().to_string()])?;
    let told = text(&answer.stderr);
    ensure!(answer.status.success(), "{told}");
    let answer: Value = serde_json::from_slice(&answer.stdout)?;
    Ok((answer["blocks"].as_u64().unwrap_or(0), told))
}

/// Shared memory is lost with the processes: only the files on the disk are left.
#[test]
fn a_run_that_a_power_cut_has_ended_is_rendered_to_its_last_decision() -> Result<()> {
    let runs = count_of("UNDERSTUDY_RUNS", 3);
    let mut random = Random::seeded(18);
    let (mut lacking, mut differing, mut samples, mut gained) = (0, 0, 0, 0);
    for _ in 0..runs {
        let (stack, recording) = Stack::start_wav(&["--channels", "1"])?;
        stack.wait_protected()?;
        stack.steady_tone()?;
        let all = processes(&stack)?;
        for _ in 0..30 + random.below(60) {
            stack.change_something(&mut random)?;
            sleep(Duration::from_millis(10));
        }
        let first = stack.first_launcher()?;
        kill_all(&all)?;
        // A process that maps a segment keeps it, so this process must not map any.
        for file in fs::read_dir("/dev/shm")?.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name.starts_with(&format!("understudy.{first}.")) {
                fs::remove_file(file.path())?;
            }
        }
        let bytes = fs::read(stack.paths().command_log())?;
        let (mut progress, mut decided) = (0, 0);
        for (_, record) in command_log::records(&bytes) {
            match record {
                Record::Progress { block } => progress = block.0,
                Record::Decision { block, .. } => decided = block.0 + 1,
                _ => {}
            }
        }
        let output = stack.folder.path().join("again.wav");
        let (rendered, told) = replayed(&stack, &output)?;
        assert!(
            told.contains("the end of the run is missing"),
            "an unclean end is told: {told}"
        );
        lacking += decided.max(progress).saturating_sub(rendered);
        gained += rendered.saturating_sub(progress);
        assert!(rendered <= decided.max(progress), "{rendered} blocks");
        // The header of the interrupted WAV file is up to a second old, so the file's length
        // counts.
        let played = fs::read(&recording.wav)?;
        let again = ear::read_wav(&output)?;
        let data = played.windows(4).position(|four| four == b"data");
        let played = &played[data.context("no data")? + 8..];
        let heard = played
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b));
        for (heard, rendered) in heard.zip(&again) {
            samples += 1;
            differing += u64::from(heard.to_bits() != rendered.to_bits());
        }
        let frames = command_log::head(&bytes)?.format.block_frames;
        assert_eq!(again.len() as u64, rendered * u64::from(frames));
        fs::remove_file(output)?;
        // The instance is resumed at the block that `replay` rendered last.
        let up = ["up", "--detach", "--resume", "--sink", "null", "--osc"];
        let up = stack.verb(&[&up[..], &[stack.osc()]].concat())?;
        assert!(up.status.success(), "{}", text(&up.stderr));
        let resumed = format!("it is resumed at its last decision, block {rendered}");
        assert!(stack.log().contains(&resumed), "{}", stack.log());
    }
    println!(
        "FIGURE {runs} runs ended as by a power cut: decided blocks missing from the replay {lacking}, rendered beyond what was last written of how far it was played {gained}; samples that differ {differing} of {samples}"
    );
    assert_eq!((lacking, differing), (0, 0));
    assert!(gained > 0 && samples > 0);
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
            // These supervisors die before they write the play cursor into the log.
            for _ in 0..3 {
                sleep(Duration::from_millis(500));
                kill(stack.pid("supervisor")?)?;
            }
        }
        sleep(Duration::from_millis(random.below(1_200)));
        let shared = stack.shared()?;
        kill_all(&processes(&stack)?)?;
        let played = shared.stage.cursor().0;
        let output = stack.folder.path().join("again.wav");
        let (rendered, told) = replayed(&stack, &output)?;
        assert!(
            told.contains("had no end"),
            "an unclean end is told: {told}"
        );
        lacking += played.saturating_sub(rendered);
        assert!(rendered <= played, "{rendered} blocks of {played}");
        fs::remove_file(output)?;
        // Removes what the dead processes have left.
        drop(stack.verb(&["up", "--detach", "--sink", "null", "--osc", stack.osc()])?);
    }
    println!(
        "FIGURE {runs} runs ended by SIGKILL to every process: blocks missing from the replay {lacking}"
    );
    assert_eq!(lacking, 0);
    Ok(())
}
