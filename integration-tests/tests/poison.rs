//! Poison: a command or module that kills or hangs a worker does not kill both workers, and nothing
//! else is lost.

use std::{thread::sleep, time::Duration};

use anyhow::Result;
use common::message::{Fault, Request, SIGKILL, Service, Target};
use integration_tests::{
    ear,
    stack::{Recording, Stack, number, service},
};
use tempfile::TempDir;

/// `q` of `filter`: this value hardly changes a tone below the cutoff.
const POISON: &str = "apply:2.1:0.777";

/// Starts a stack whose workers have those failpoints, with a steady tone; also returns the frame
/// from which on it is steady.
fn poisoned(failpoints: &str) -> Result<(Stack, Recording, usize)> {
    let folder = TempDir::new()?;
    let recording = Recording::in_folder(TempDir::new()?);
    let sink = format!("wav:{}", recording.wav.display());
    let stack = Stack::start_in(
        folder,
        &["--sink", &sink],
        &[("UNDERSTUDY_FAILPOINTS", failpoints.to_owned())],
    )?;
    stack.wait_protected()?;
    let steady = stack.steady_tone()?;
    Ok((stack, recording, steady))
}

/// Ends the stack; returns the breaks in the tone, and how many samples differ from the replay.
fn heard(stack: Stack, recording: &Recording, steady: usize) -> Result<(usize, usize)> {
    sleep(Duration::from_millis(200));
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    assert!(compared > steady);
    let left = recording.left_from(steady)?;
    assert!(ear::peak(&left) > 0.3, "there was a tone");
    Ok((ear::breaks(&left, 440.0, 48_000.0).len(), differing))
}

/// Sends the poison, with good commands before and after it at the same time.
fn send_poison(stack: &Stack) -> Result<()> {
    for (address, value) in [
        ("/mod/adsr/attack", 11.0),
        ("/mod/adsr/decay", 12.0),
        ("/mod/filter/q", 0.777),
        ("/mod/adsr/release", 13.0),
    ] {
        stack.osc_send(address, Some(value))?;
    }
    Ok(())
}

fn value(stack: &Stack, module: usize, param: &str) -> Result<Option<f64>> {
    let patch = stack.ask(&Request::PatchShow)?;
    Ok(patch["modules"][module]["params"][param].as_f64())
}

fn a_poison_command(fault: &str) -> Result<()> {
    let (stack, recording, steady) = poisoned(&format!("{POISON}={fault}"))?;
    let rounds = 10;
    for round in 1..=rounds {
        send_poison(&stack)?;
        stack.wait_for("the quarantine", |s| {
            s["quarantined"]
                .as_array()
                .is_some_and(|q| q.len() == round)
        })?;
        stack.wait_for("everything else", |s| {
            number(s, "/commands/applied").ok() == number(s, "/commands/accepted").ok()
        })?;
        stack.wait_for("protection", |s| s["state"] == "protected")?;
    }
    let status = stack.status()?;
    let fails = stack.replies("/fail");
    assert_eq!(
        fails.len(),
        rounds,
        "each quarantine was told to its sender"
    );
    assert!(
        fails
            .iter()
            .all(|fail| fail.contains("/mod/filter/q") && fail.contains("quarantined"))
    );
    assert_eq!(value(&stack, 1, "attack")?, Some(11.0));
    assert_eq!(value(&stack, 1, "release")?, Some(13.0));
    assert!(value(&stack, 2, "q")?.is_none_or(|q| (q - 0.777).abs() > 1e-3));
    assert_eq!(status["bypassed"].as_array().map(Vec::len), Some(0));
    let lost = rounds * 4 + 2 - number(&status, "/commands/accepted")? as usize;
    let log = stack.log();
    let (breaks, differing) = heard(stack, &recording, steady)?;
    println!(
        "FIGURE poison ({fault}) {rounds} times: breaks {breaks}, concealed {}, samples that differ {differing}, commands lost besides it {lost}",
        status["audio"]["concealed_blocks"]
    );
    assert_eq!((breaks, differing, lost), (0, 0, 0), "{log}");
    Ok(())
}

#[test]
fn a_command_that_crashes_is_quarantined_and_the_others_are_applied() -> Result<()> {
    a_poison_command("segv")
}

#[test]
fn a_command_that_panics_is_quarantined_and_the_others_are_applied() -> Result<()> {
    a_poison_command("panic")
}

#[test]
fn a_command_that_hangs_is_quarantined_and_the_others_are_applied() -> Result<()> {
    a_poison_command("hang")
}

/// A module that crashes in a certain state is bypassed and named, without a crash loop.
#[test]
fn a_module_that_crashes_is_bypassed_and_named() -> Result<()> {
    let (stack, recording, _) = poisoned("render:2:600=segv")?;
    stack.wait_for("the bypass", |s| s["bypassed"][0]["module"] == "\"filter\"")?;
    stack.wait_for("protection", |s| s["state"] == "protected")?;
    sleep(Duration::from_millis(200));
    let status = stack.status()?;
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    println!(
        "FIGURE a module that crashes: concealed {}, samples {compared}, differing {differing}",
        status["audio"]["concealed_blocks"]
    );
    assert_eq!(differing, 0);
    assert_eq!(status["bypassed"].as_array().map(Vec::len), Some(1));
    let left = recording.left_from(0)?;
    assert!(
        ear::peak(&left[left.len() - 4_000..]) > 0.3,
        "the tone goes on"
    );
    Ok(())
}

/// A new supervisor reads in the command log what is in quarantine or bypassed, and lists it as
/// before.
#[test]
fn a_new_supervisor_knows_who_was_quarantined_and_who_bypassed() -> Result<()> {
    let supervisor = Target::Service(Service::Supervisor);
    let failpoints = format!("render:2:600=segv,{POISON}=segv");
    let (stack, _recording, _) = poisoned(&failpoints)?;
    stack.wait_for("the bypass", |s| s["bypassed"][0]["module"] == "\"filter\"")?;
    send_poison(&stack)?;
    stack.wait_for("the quarantine", |s| {
        s["quarantined"][0]["command"].is_u64()
    })?;
    stack.wait_for("everything else", |s| {
        s["state"] == "protected"
            && number(s, "/commands/applied").ok() == number(s, "/commands/accepted").ok()
    })?;
    let (before, pid) = (stack.status()?, stack.pid("supervisor")?);
    // A killed supervisor cannot answer.
    let _ = stack.ask_within(
        &Request::Inject(Fault::Signal(SIGKILL), supervisor),
        Duration::from_millis(300),
    );
    stack.wait_for_patiently("another supervisor", |s| {
        s["state"] == "protected" && service(s, "supervisor").is_some_and(|s| s["pid"] != pid)
    })?;
    let after = stack.status()?;
    for list in ["quarantined", "bypassed"] {
        assert_eq!(after[list], before[list], "{list}");
        assert_eq!(after[list].as_array().map(Vec::len), Some(1), "{list}");
    }
    Ok(())
}
