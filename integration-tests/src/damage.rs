//! Shared by the tests that damage an instance: killing, and checking what was printed and what was
//! played.

use std::{fs, process::Output, time::Duration};

use anyhow::{Result, ensure};
use common::message::SIGKILL;
use platform::pidfd;
use serde_json::Value;

use crate::{
    ear,
    stack::{Recording, text},
};

/// Kills a process and waits until it has ended.
///
/// # Errors
/// When there is no such process, or it does not end.
pub fn kill(pid: u32) -> Result<()> {
    let handle = pidfd::open(pid)?;
    pidfd::signal(&handle, SIGKILL)?;
    ensure!(pidfd::ended(&handle, Duration::from_secs(2)), "{pid} lives");
    Ok(())
}

/// The exit code, and the text of both outputs.
#[must_use]
pub fn said(output: &Output) -> (i32, String) {
    let all = text(&output.stdout) + &text(&output.stderr);
    (output.status.code().unwrap_or(-1), all)
}

/// The complaints of a status, as one text.
#[must_use]
pub fn complaints(status: &Value) -> String {
    status["complaints"].to_string()
}

/// Checks that the steady tone of a recording has no break from frame `from` on.
///
/// # Errors
/// Names the frames of the breaks; or the file cannot be read.
pub fn no_breaks(recording: &Recording, from: usize) -> Result<()> {
    let breaks = ear::breaks(&recording.left_from(from)?, 440.0, 48_000.0);
    ensure!(breaks.is_empty(), "breaks at {breaks:?}");
    Ok(())
}

/// The shared-memory segments of the instance that this launcher began, by name.
#[must_use]
pub fn segments_of(launcher: u32) -> Vec<String> {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let names = entries.filter_map(|e| e.file_name().into_string().ok());
    names
        .filter(|n| n.starts_with(&format!("understudy.{launcher}.")))
        .collect()
}
