//! The client of the control socket: sends the supervisor one JSON line and reads one JSON line
//! back.
//!
//! The launcher holds the listening socket. A request that arrives while the supervisor is being
//! replaced therefore waits for the next supervisor and is not refused.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use common::message::{Answer, Request};

use crate::paths::Paths;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nothing listens at the control socket.
    #[error("no instance \"{0}\" is running; start it with `understudy up --instance {0}`")]
    NotRunning(String),
    /// The connection broke, or the time-out passed.
    #[error("the supervisor did not answer: {0}")]
    NoAnswer(io::Error),
}

/// Sends one request and waits for its answer.
///
/// # Errors
/// When no instance is running, or no answer comes within `timeout`.
pub fn ask(paths: &Paths, request: &Request, timeout: Duration) -> Result<Answer, ControlError> {
    let stream = UnixStream::connect(paths.control_socket())
        .map_err(|_| ControlError::NotRunning(paths.instance.clone()))?;
    exchange(stream, request, timeout).map_err(ControlError::NoAnswer)
}

fn exchange(mut stream: UnixStream, request: &Request, timeout: Duration) -> io::Result<Answer> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    // A supervisor that turns the connection away writes the reason first. So the answer is read
    // even if writing the request failed.
    let put = stream.write_all(line.as_bytes());
    let mut answer = String::new();
    let read = BufReader::new(stream).read_line(&mut answer);
    if answer.is_empty() {
        put?;
        read?;
        return Err(io::Error::other("the connection was closed"));
    }
    read?;
    Ok(serde_json::from_str(&answer)?)
}
