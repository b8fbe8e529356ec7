//! The command log is missing, replaced by another file, or damaged. Whichever process dies then, the music
//! goes on, commands are accepted, and a new segment begins with the state that the workers play. The log
//! renders the music again, bit by bit.

use std::{fs, os::unix::fs::FileExt, path::PathBuf, thread::sleep, time::Duration};

use anyhow::Result;
use common::message::{Fault, SIGKILL, Service, Target};
use integration_tests::{
    ear,
    patches::thousand,
    random::Random,
    stack::{Recording, Stack, number, text},
};

const SUPERVISOR: Target = Target::Service(Service::Supervisor);

fn log(stack: &Stack) -> PathBuf {
    stack.paths().command_log()
}

fn put_another_there(stack: &Stack) -> Result<()> {
    fs::remove_file(log(stack))?;
    Ok(fs::write(log(stack), "no log\n".repeat(5_000))?)
}

fn wait_for_a_new_segment(stack: &Stack) -> Result<()> {
    stack.wait_for_patiently("a new segment", |s| {
        s["log"]["state"] == "ok" && s["log"]["segment"].as_u64() > Some(0)
    })
}

/// The recording, what the log renders of it (perhaps only its end), and how many samples of that differ.
fn compared(stack: &Stack, recording: &Recording) -> Result<(Vec<f32>, Vec<f32>, usize)> {
    let played = ear::read_wav(&recording.wav)?;
    let (rendered, _) = stack.rendered(&recording.wav, &[])?;
    let start = played.len() - rendered.len();
    let differing = ear::differing(&played[start..], &rendered);
    Ok((played, rendered, differing))
}

/// Damages the log, kills the supervisor if `kills` says so, then kills leaders while commands come in.
fn goes_on_without(what: &str, kills: bool, harm: impl Fn(&Stack) -> Result<()>) -> Result<()> {
    let (stack, recording) = Stack::start_wav(&[])?;
    stack.wait_protected()?;
    stack.steady_tone()?;
    let mut random = Random::seeded(99);
    for _ in 0..50 {
        stack.change_something(&mut random)?;
    }
    stack.osc_send("/mod/filter/cutoff", Some(4_000.0))?;
    stack.osc_send("/mod/sine/freq", Some(440.0))?;
    sleep(Duration::from_millis(100));
    harm(&stack)?;
    if kills {
        let _ = stack.inject(Fault::Signal(SIGKILL), SUPERVISOR);
    }
    wait_for_a_new_segment(&stack)?;
    for _ in 0..3 {
        stack.wait_for_patiently("protection", |s| s["state"] == "protected")?;
        stack.osc_send("/mod/filter/cutoff", Some(4_000.0))?;
        stack.kill(Target::Leader)?;
        stack.wait_protected_anew()?;
    }
    let _ = stack.inject(Fault::Signal(SIGKILL), SUPERVISOR);
    stack.wait_for_patiently("protection", |s| s["state"] == "protected")?;
    stack.osc_send("/mod/sine/freq", Some(440.0))?;
    sleep(Duration::from_millis(100));
    let concealed = number(&stack.status()?, "/audio/concealed_blocks")?;
    let patch = text(&stack.verb(&["patch", "show"])?.stdout);
    stack.end()?;
    let (played, rendered, differing) = compared(&stack, &recording)?;
    println!(
        "FIGURE {what}: samples that differ {differing} of {} ({} played); blocks concealed {concealed}",
        rendered.len(),
        played.len(),
    );
    assert!(patch.contains("4000"), "the values last set: {patch}");
    assert!(rendered.len() > 12_000, "{} rendered", rendered.len());
    assert_eq!((differing, concealed), (0, 0));
    Ok(())
}

#[test]
fn a_log_that_was_moved_away() -> Result<()> {
    for kills in [false, true] {
        let what = format!("log moved away, supervisor killed: {kills}");
        goes_on_without(&what, kills, |stack| {
            Ok(fs::rename(log(stack), log(stack).with_extension("away"))?)
        })?;
    }
    Ok(())
}

#[test]
fn a_log_that_was_removed() -> Result<()> {
    for kills in [false, true] {
        let what = format!("log removed, supervisor killed: {kills}");
        goes_on_without(&what, kills, |stack| Ok(fs::remove_file(log(stack))?))?;
    }
    Ok(())
}

#[test]
fn a_log_that_is_another_one() -> Result<()> {
    goes_on_without("a foreign log", true, put_another_there)?;
    goes_on_without("a folder in its place", true, |stack| {
        fs::remove_file(log(stack))?;
        Ok(fs::create_dir(log(stack))?)
    })
}

#[test]
fn a_log_that_is_damaged() -> Result<()> {
    goes_on_without("a log cut in the middle", true, |stack| {
        let file = fs::File::options().write(true).open(log(stack))?;
        let length = file.metadata()?.len();
        Ok(file.set_len(length / 2)?)
    })?;
    goes_on_without("a log whose beginning is damaged", true, |stack| {
        let file = fs::File::options().write(true).open(log(stack))?;
        Ok(file.write_all_at(b"damaged", 9)?)
    })
}

/// A patch that is too long for a message is read from the log; the workers read on in the segment that they
/// hold open.
#[test]
fn a_long_patch_while_another_log_stands_there() -> Result<()> {
    let (stack, recording) = Stack::start_wav(&[])?;
    stack.wait_protected()?;
    let file = recording.wav.with_file_name("thousand.json");
    fs::write(&file, thousand(0).to_string())?;
    let workers = [stack.pid("worker:0")?, stack.pid("worker:1")?];
    put_another_there(&stack)?;
    let told = stack.verb(&["patch", "load", &file.display().to_string()])?;
    assert!(told.status.success(), "{}", text(&told.stderr));
    wait_for_a_new_segment(&stack)?;
    stack.wait_for_patiently("protection", |s| s["state"] == "protected")?;
    let concealed = number(&stack.status()?, "/audio/concealed_blocks")?;
    assert_eq!(
        workers,
        [stack.pid("worker:0")?, stack.pid("worker:1")?],
        "{}",
        stack.log()
    );
    stack.end()?;
    let (_, _, differing) = compared(&stack, &recording)?;
    println!(
        "FIGURE a long patch while a foreign log stands there: concealed {concealed}, differ {differing}"
    );
    assert_eq!((differing, concealed), (0, 0));
    Ok(())
}

#[test]
fn what_cannot_be_read_is_set_aside_by_the_next_run_and_told_by_replay() -> Result<()> {
    let (stack, recording) = Stack::start_wav(&[])?;
    let mut random = Random::seeded(98);
    for _ in 0..200 {
        stack.change_something(&mut random)?;
    }
    // How far the music has been played is logged once a second.
    sleep(Duration::from_millis(1_500));
    let reached = fs::metadata(log(&stack))?.len();
    for _ in 0..200 {
        stack.change_something(&mut random)?;
    }
    stack.end()?;
    let played = ear::read_wav(&recording.wav)?;
    let file = fs::File::options().write(true).open(log(&stack))?;
    let middle = u64::midpoint(reached, file.metadata()?.len());
    file.write_all_at(&[0xff; 8], middle)?;
    let again = recording.wav.with_file_name("damaged.wav");
    let output = stack.verb(&["replay", "-o", &again.display().to_string()])?;
    let told = text(&output.stderr);
    assert!(
        output.status.success() && told.contains("damaged at byte"),
        "{told}"
    );
    let rendered = ear::read_wav(&again)?;
    // The last decision on the disk may be ahead of what was played.
    assert!(rendered.len() > 12_000, "{}", rendered.len());
    assert_eq!(ear::differing(&played, &rendered), 0);
    // A file that does not even begin like a log.
    fs::write(log(&stack), "no log")?;
    let output = stack.verb(&["up", "--detach", "--osc", "127.0.0.1:0", "--sink", "null"])?;
    assert!(output.status.success(), "{}", text(&output.stderr));
    stack.wait_protected()?;
    stack.end()?;
    assert_eq!(fs::read_to_string(stack.paths().set_aside())?, "no log");
    Ok(())
}
