//! The clients in `examples` that need no other program play on a stack. No message is refused, and there
//! is sound.
//!
//! The clients in SuperCollider and Pure Data are not run, since they need these programs.

use std::{ffi::OsString, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use integration_tests::{
    ear,
    stack::{Stack, number, programs, text},
};

/// A peak below this value counts as silence.
const HEARD: f32 = 0.05;

fn project() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Runs a client on a stack that plays that patch; returns what the client printed.
fn play(patch: &str, client: impl Fn(&Stack) -> Result<Command>) -> Result<String> {
    let patch = project().join("patches").join(patch).display().to_string();
    let (stack, recording) = Stack::start_wav(&["--patch", &patch])?;
    let output = client(&stack)?.output()?;
    let told = text(&output.stdout) + &text(&output.stderr);
    ensure!(output.status.success(), "{}: {told}", output.status);
    stack.wait_played()?;
    let rejected = number(&stack.status()?, "/commands/rejected")?;
    stack.end()?;
    let peak = ear::peak(&ear::read_wav(&recording.wav)?);
    println!("peak {peak:.2}");
    assert!(peak > HEARD, "the peak is {peak}");
    assert_eq!(rejected, 0, "{told}");
    Ok(told)
}

#[test]
fn the_python_client_plays() -> Result<()> {
    let told = play("pad.json", |stack| {
        let (host, port) = stack.osc().rsplit_once(':').context("an address")?;
        let mut command = Command::new("python3");
        command
            .arg(project().join("examples/play.py"))
            .args([host, port]);
        Ok(command)
    })?;
    assert_eq!(told, "", "nothing was refused");
    Ok(())
}

#[test]
fn the_shell_script_plays() -> Result<()> {
    let told = play("default.json", |stack| {
        let mut path = OsString::from(programs());
        path.push(":");
        path.push(std::env::var_os("PATH").context("no PATH")?);
        let mut command = Command::new("sh");
        command
            .arg(project().join("examples/play.sh"))
            .env("PATH", path)
            .env("XDG_RUNTIME_DIR", stack.folder.path().join("run"))
            .env("XDG_STATE_HOME", stack.folder.path().join("state"))
            .env("UNDERSTUDY_INSTANCE", "test");
        Ok(command)
    })?;
    assert_eq!(told.matches("/seq/list.reply").count(), 2, "{told}");
    Ok(())
}
