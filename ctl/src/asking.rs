//! Requests to the supervisor. Its refusals become exit codes.

use std::{
    thread,
    time::{Duration, Instant},
};

use common::message::{Answer, Request};
use platform::{
    control::{self, ControlError},
    paths::Paths,
};
use serde_json::Value;

use crate::failure::Failure;

/// Outlasts the replacement of a supervisor.
pub(crate) const USUAL: Duration = Duration::from_secs(5);

/// Sends one request and returns the answer.
pub(crate) fn ask(paths: &Paths, request: &Request, timeout: Duration) -> Result<Value, Failure> {
    match control::ask(paths, request, timeout) {
        Ok(Answer::Ok(value)) => Ok(value),
        Ok(Answer::No(text)) => Err(Failure::no(text)),
        Err(error @ ControlError::NotRunning(_)) => Err(Failure::absent(error.to_string())),
        Err(error) => Err(Failure::no(error.to_string())),
    }
}

/// The status, as `status --json` prints it.
pub(crate) fn status(paths: &Paths) -> Result<Value, Failure> {
    ask(paths, &Request::Status, USUAL)
}

/// The entry of a service in a status.
pub(crate) fn service<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    let services = status["services"].as_array()?;
    services.iter().find(|service| service["name"] == name)
}

/// Polls the status until `wanted` holds; false after `timeout`.
pub(crate) fn wait_for(paths: &Paths, timeout: Duration, wanted: impl Fn(&Value) -> bool) -> bool {
    let start = Instant::now();
    loop {
        if status(paths).is_ok_and(|status| wanted(&status)) {
            return true;
        }
        if start.elapsed() >= timeout {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
