//! Waits until the status of a stack meets a condition.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use common::message::Request;
use serde_json::Value;

use super::{Stack, number, replaced};

impl Stack {
    /// Waits until a leader plays and a proven follower is ready, and all killed workers have been
    /// replaced.
    ///
    /// # Errors
    /// When that takes longer than it may take on a busy machine.
    pub fn wait_protected(&self) -> Result<()> {
        self.wait_for("state protected", |status| {
            status["state"] == "protected"
                && replaced(status) >= self.killed.load(Ordering::Relaxed)
        })
    }

    /// As [`Self::wait_protected`], where the supervisor may have been replaced: a new supervisor
    /// counts replacements from 0, so they are not counted.
    ///
    /// # Errors
    /// When that takes longer than it may take on a busy machine.
    pub fn wait_protected_anew(&self) -> Result<()> {
        std::thread::sleep(Duration::from_millis(30));
        self.wait_for("state protected", |status| status["state"] == "protected")
    }

    /// Waits until everything sent so far has been played, which takes as long as the lead.
    ///
    /// # Errors
    /// When the sound does not go on.
    pub fn wait_played(&self) -> Result<()> {
        let cursor = |status: &Value| number(status, "/audio/play_cursor").unwrap_or(0);
        let status = self.status()?;
        let last = cursor(&status) + 2 * number(&status, "/lead")?;
        self.wait_for("what was sent", |status| cursor(status) >= last)
    }

    /// As [`Self::wait_for`], while the supervisor may be away.
    ///
    /// # Errors
    /// When that takes longer than it may take on a busy machine.
    pub fn wait_for_patiently(
        &self,
        what: &str,
        mut wish: impl FnMut(&Value) -> bool,
    ) -> Result<()> {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.ask_within(&Request::Status, Duration::from_millis(500));
            if status.is_ok_and(|status| wish(&status)) {
                return Ok(());
            }
            if Instant::now() > limit {
                bail!("waited in vain for {what}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until both workers are ready, whichever process was killed before.
    ///
    /// # Errors
    /// When that takes longer than it may take on a busy machine.
    pub fn wait_protected_patiently(&self) -> Result<()> {
        std::thread::sleep(Duration::from_millis(30));
        self.wait_for_patiently("state protected", |status| status["state"] == "protected")
    }

    /// Waits until both workers are ready, and checks that their processes live, since the status
    /// may be old.
    ///
    /// # Errors
    /// When that takes longer than it may take on a busy machine.
    pub fn wait_ready(&self) -> Result<()> {
        let lives = |service: &str| {
            // A zombie has no command line.
            let pid = self.pid(service).unwrap_or_default();
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
        };
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            self.wait_protected()?;
            if lives("worker:0") && lives("worker:1") {
                return Ok(());
            }
            if Instant::now() > limit {
                bail!("two workers are not ready\n{}", self.log());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Waits until the status meets the condition `wish`.
    ///
    /// # Errors
    /// When that takes longer than it may take on a busy machine.
    pub fn wait_for(&self, what: &str, mut wish: impl FnMut(&Value) -> bool) -> Result<()> {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.status()?;
            if wish(&status) {
                return Ok(());
            }
            if Instant::now() > limit {
                bail!("waited in vain for {what}: {status:#}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_micros(300));
        }
    }
}
