//! The disk of the command log is full, missing, or takes five seconds to sync. Commands are refused with the
//! reason, or acknowledged late. The sound does not change, even if the leader dies, and the stack recovers by
//! itself.

use std::{thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use common::message::{Fault, SIGKILL, Service, Target};
use integration_tests::{
    faulty_disk::{SmallDisk, Tampered},
    stack::{Recording, Stack, number, text},
};
use serde_json::Value;
use tempfile::TempDir;

/// Checks that commands are refused with the reason, and that workers killed meanwhile are replaced.
fn refused_and_replaced(stack: &Stack, state: &str, why: &str) -> Result<()> {
    let send = || stack.verb(&["send", "/mod/sine/freq", "333"]);
    stack.wait_for("the log to be in trouble", |status| {
        // Write something, in addition to the decisions and the play cursor; the answer does not matter.
        let _ = send();
        status["log"]["state"] == state
    })?;
    let refused = send()?;
    let told = text(&refused.stderr) + &text(&refused.stdout);
    ensure!(
        refused.status.code() == Some(1) && told.contains(why),
        "{told}"
    );
    let status = stack.status()?;
    ensure!(status["log"]["since_ms"].is_u64(), "{}", status["log"]);
    let complaints = status["complaints"].to_string();
    ensure!(
        complaints.contains("cannot be written") && complaints.contains(why),
        "{complaints}"
    );
    for _ in 0..3 {
        stack.kill(Target::Leader)?;
        stack.wait_protected_patiently()?;
    }
    Ok(())
}

/// Checks that commands are accepted again, and that the log renders all that was played.
fn all_is_well(stack: Stack, recording: &Recording, what: &str) -> Result<()> {
    stack.wait_for("the log to be written again", |status| {
        status["log"]["state"] == "ok" && status["complaints"] == Value::Array(vec![])
    })?;
    let sent = stack.verb(&["send", "/mod/sine/freq", "555"])?;
    ensure!(sent.status.success(), "{}", text(&sent.stderr));
    stack.kill(Target::Leader)?;
    stack.wait_protected_patiently()?;
    stack.wait_played()?;
    let concealed = number(&stack.status()?, "/audio/concealed_blocks")?;
    let (samples, differing) = stack.down()?.compare(&recording.wav)?;
    println!(
        "FIGURE {what}: blocks concealed {concealed}, samples that differ {differing} of {samples}"
    );
    assert_eq!((concealed, differing), (0, 0));
    Ok(())
}

/// Starts a stack whose log lies in that folder.
fn start(folder: TempDir) -> Result<(Stack, Recording)> {
    let recording = Recording::in_folder(tempfile::tempdir()?);
    let sink = format!("wav:{}", recording.wav.display());
    let stack = Stack::start_in(folder, &["--sink", &sink], &[])?;
    stack.wait_protected()?;
    stack.steady_tone()?;
    Ok((stack, recording))
}

#[test]
fn a_full_disk_refuses_commands_and_nothing_is_heard() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state/understudy/test");
    let Some(disk) = SmallDisk::at(&state, 4 << 20)? else {
        println!("not tested here: to mount a small disk takes root");
        return Ok(());
    };
    let (stack, recording) = start(folder)?;
    let ballast = disk.fill()?;
    refused_and_replaced(&stack, "full", "No space left")?;
    // The next supervisor finds the disk still full.
    let _ = stack.inject(Fault::Signal(SIGKILL), Target::Service(Service::Supervisor));
    stack.wait_protected_patiently()?;
    refused_and_replaced(&stack, "full", "No space left")?;
    std::fs::remove_file(ballast)?;
    all_is_well(stack, &recording, "command log on a full disk, room again")?;
    drop(disk);
    Ok(())
}

#[test]
fn a_disk_that_is_gone_refuses_commands_and_nothing_is_heard() -> Result<()> {
    let (stack, recording) = start(tempfile::tempdir()?)?;
    let log = stack.paths().command_log();
    let supervisor = stack.pid("supervisor")?;
    let tampered = Tampered::with(supervisor, "write", "error=EIO", Some(&log))?;
    refused_and_replaced(&stack, "gone", "Input/output error")?;
    drop(tampered);
    all_is_well(
        stack,
        &recording,
        "command log on a disk that is gone, back again",
    )
}

/// `/synced` comes late; commands sent after `/sync` are applied meanwhile.
#[test]
fn a_disk_that_takes_five_seconds_delays_synced_and_nothing_else() -> Result<()> {
    let (stack, recording) = start(tempfile::tempdir()?)?;
    let supervisor = stack.pid("supervisor")?;
    let calls = "fsync,fdatasync";
    let tampered = Tampered::with(supervisor, calls, "delay_enter=5000000", None)?;
    // A system call that was in progress when `strace` attached ends at once.
    sleep(Duration::from_secs(1));
    let client = std::net::UdpSocket::bind("127.0.0.1:0")?;
    client.set_read_timeout(Some(Duration::from_millis(1)))?;
    client.connect(stack.osc())?;
    let applied = |stack: &Stack| number(&stack.status()?, "/commands/applied");
    let before = applied(&stack)?;
    stack.osc_send("/mod/sine/freq", Some(333.0))?;
    client.send(b"/sync\0\0\0,i\0\0\0\0\0\x07")?;
    let mut reply = [0; 256];
    let mut synced = || {
        client
            .recv(&mut reply)
            .is_ok_and(|n| reply[..n].starts_with(b"/synced"))
    };
    let (mut sent, mut kills) = (1, 0);
    for _ in 0..20 {
        ensure!(!synced(), "synced after {sent} commands");
        stack.osc_send("/mod/sine/freq", Some(300.0 + sent as f32))?;
        sent += 1;
        let wanted = before + sent;
        stack.wait_for("the command to be applied", |status| {
            number(status, "/commands/applied").is_ok_and(|n| n >= wanted)
        })?;
        if sent % 7 == 0 {
            stack.kill(Target::Leader)?;
            stack.wait_protected_patiently()?;
            kills += 1;
        }
    }
    let early = synced();
    let mut waited = 0;
    while !synced() {
        waited += 1;
        ensure!(waited < 20_000, "never synced: {}", stack.log());
    }
    println!(
        "FIGURE fsync takes 5 s: {sent} commands applied, {kills} leaders killed before what was asked for first was synced: {}",
        !early
    );
    ensure!(!early, "nothing was delayed");
    drop(tampered);
    all_is_well(stack, &recording, "fsync of the command log takes 5 s")
}
