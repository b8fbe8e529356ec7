//! Waiting for a stack: until it is as wanted, by what its status says.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use common::message::Request;
use serde_json::Value;

use super::{Stack, number, replaced};

impl Stack {
    /// Waits until a leader plays and a proven follower stands by.
    ///
    /// # Errors
    /// When that takes longer than a machine under load may take.
    pub fn wait_protected(&self) -> Result<()> {
        self.wait_for("state protected", |status| {
            status["state"] == "protected"
                && replaced(status) >= self.killed.load(Ordering::Relaxed)
        })
    }

    /// Waits until both workers are ready again after a kill of one that was ready: the killed one's
    /// successor counts from nothing where the supervisor is a new one.
    ///
    /// # Errors
    /// When that takes longer than a machine under load may take.
    pub fn wait_protected_anew(&self) -> Result<()> {
        std::thread::sleep(Duration::from_millis(30));
        self.wait_for("state protected", |status| status["state"] == "protected")
    }

    /// Waits until what was sent so far has been played, which takes as long as the lead.
    ///
    /// # Errors
    /// When the sound does not go on.
    pub fn wait_played(&self) -> Result<()> {
        let cursor = |status: &Value| number(status, "/audio/play_cursor").unwrap_or(0);
        let status = self.status()?;
        let last = cursor(&status) + 2 * number(&status, "/lead")?;
        self.wait_for("what was sent", |status| cursor(status) >= last)
    }

    /// As [`Self::wait_for`], where the supervisor itself may be away meanwhile.
    ///
    /// # Errors
    /// When that takes longer than a machine under load may take.
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

    /// Waits until both workers are ready, whoever was killed just now.
    ///
    /// # Errors
    /// When that takes longer than a machine under load may take.
    pub fn wait_protected_patiently(&self) -> Result<()> {
        std::thread::sleep(Duration::from_millis(30));
        self.wait_for_patiently("state protected", |status| status["state"] == "protected")
    }

    /// Waits until both workers live and are ready, and that is no old news.
    ///
    /// # Errors
    /// When that takes longer than a machine under load may take.
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

    /// Waits until the status is as wished.
    ///
    /// # Errors
    /// When that takes longer than a machine under load may take.
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
