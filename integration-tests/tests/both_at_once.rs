//! Beyond the fault model: both workers are killed at once. Nothing is lost. The music continues where
//! it stopped, before the lead is used up where that is possible.

use std::{
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use integration_tests::{
    ear::{self, percentile},
    patches::large_patch,
    random::Random,
    stack::{Recording, Stack, count_of, number, workers},
};
use serde_json::Value;
use tempfile::TempDir;

/// Kills both workers by one call. Returns false if one has just exited by itself: too slow with a
/// block in freewheel, it was overruled.
fn kill_both(status: &Value) -> Result<bool> {
    let pids: Vec<String> = workers(status).map(|s| s["pid"].to_string()).collect();
    let killed = Command::new("kill").arg("-9").args(&pids).output()?;
    Ok(killed.status.success() && pids.len() == 2)
}

/// Kills both workers again and again, with a device's timing or in freewheel, and changes a parameter
/// before each kill.
fn both_killed(options: &[&str], parameter: &str, how: &str, kills: u64) -> Result<()> {
    let (stack, recording) = Stack::start_wav(options)?;
    let mut random = Random::seeded(41);
    let _ = stack.osc_send("/test", None);
    let mut left = 0;
    for _ in 0..kills {
        stack.wait_protected()?;
        stack.osc_send(parameter, Some(200.0 + random.below(500) as f32))?;
        sleep(Duration::from_micros(random.below(9_000)));
        left += u64::from(!kill_both(&stack.status()?)?);
        stack.expect_replacements(2);
    }
    stack.wait_protected()?;
    let status = stack.status()?;
    let concealed = number(&status, "/audio/concealed_blocks")?;
    let log = stack.log();
    assert_eq!(concealed, 0, "{status:#}\n{log}");
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    println!(
        "FIGURE both killed at once {kills} times{how}: concealed {concealed}, samples that differ {differing} of {compared}; one had left by itself {left} times",
    );
    assert!(options.contains(&"--freewheel") || left == 0);
    assert!(10 * left <= kills, "too many have left by themselves");
    assert_eq!(differing, 0);
    Ok(())
}

#[test]
fn both_workers_killed_at_once_in_time_cannot_be_heard() -> Result<()> {
    let kills = count_of("UNDERSTUDY_KILLS", 100);
    // A lead of 8 is enough on a machine that wakes threads in time.
    let lead = count_of("UNDERSTUDY_LEAD", 48).to_string();
    let how = format!(", lead {lead}");
    both_killed(&["--lead", &lead], "/mod/sine/freq", &how, kills)
}

#[test]
fn both_workers_killed_at_once_without_a_clock_leave_every_sample_as_it_was() -> Result<()> {
    let kills = count_of("UNDERSTUDY_KILLS", 100);
    let options = ["--freewheel", "--channels", "1"];
    both_killed(&options, "/mod/sine/freq", " without a clock", kills)
}

/// The checkpoints of a large state are written over several blocks.
#[test]
fn both_workers_killed_at_once_with_a_large_state_leave_every_sample_as_it_was() -> Result<()> {
    let kills = count_of("UNDERSTUDY_KILLS", 100).min(100);
    let folder = TempDir::new()?;
    let patch = folder.path().join("large.json");
    std::fs::write(&patch, large_patch().to_string())?;
    let patch = patch.display().to_string();
    let options = ["--freewheel", "--channels", "1", "--patch", &patch];
    let how = " without a clock, with 16 MiB of state";
    both_killed(&options, "/mod/d7/time", how, kills)
}

/// As above, with a large state to restore and a short lead: measures how long the silence lasts, and
/// checks that nothing is lost.
#[test]
fn both_workers_killed_at_once_with_a_large_state_come_back_soon() -> Result<()> {
    let kills = count_of("UNDERSTUDY_KILLS", 100).min(100);
    let folder = TempDir::new()?;
    let patch = folder.path().join("large.json");
    std::fs::write(&patch, large_patch().to_string())?;
    let recording = Recording::in_folder(TempDir::new()?);
    let sink = format!("wav:{}", recording.wav.display());
    let patch = patch.display().to_string();
    let stack = Stack::start_in(
        folder,
        &["--sink", &sink, "--lead", "8", "--patch", &patch],
        &[],
    )?;
    let mut random = Random::seeded(42);
    let mut silences = Vec::new();
    for _ in 0..kills {
        stack.wait_protected()?;
        // One or two checkpoints later.
        sleep(Duration::from_micros(100_000 + random.below(100_000)));
        let before = stack.status()?;
        ensure!(kill_both(&before)?, "one has left by itself");
        stack.expect_replacements(2);
        stack.wait_protected()?;
        let concealed = |s: &Value| number(s, "/audio/concealed_blocks");
        let blocks = concealed(&stack.status()?)? - concealed(&before)?;
        silences.push(blocks as f64 * 128.0 / 48.0);
    }
    let begun = Instant::now();
    let status = stack.status()?;
    let log = stack.log();
    let remains = stack.down()?;
    let mut rendered = Vec::new();
    remains.replay(|block| rendered.extend_from_slice(block))?;
    let heard = ear::read_wav(&recording.wav)?;
    let (p50, p99) = (
        percentile(&mut silences, 0.5),
        percentile(&mut silences, 0.99),
    );
    println!(
        "FIGURE both killed at once {kills} times with 200 modules and 16 MiB of state, lead 8: silence p50 {p50:.1} ms, p99 {p99:.1} ms; blocks concealed {}; replayed {} samples in {:.1} s",
        status["audio"]["concealed_blocks"],
        rendered.len(),
        begun.elapsed().as_secs_f64()
    );
    let missing = heard.len() - rendered.len();
    let concealed = number(&status, "/audio/concealed_blocks")? as usize;
    assert_eq!(missing, concealed * 256, "all else was played\n{log}");
    Ok(())
}
