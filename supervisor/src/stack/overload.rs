//! An overload of the machine by the patch (`failover::load`): it is reported, and no process is ended for it.

use std::time::{Duration, Instant};

use failover::load::overloaded;

use super::Stack;

/// The duration after which a high load counts as an overload.
const LASTS: Duration = Duration::from_millis(200);
/// The time after an overload within which late blocks are attributed to it.
const ECHO: Duration = Duration::from_millis(300);

/// The state of the overload.
#[derive(Default)]
pub struct Overload {
    since: Option<Instant>,
    last: Option<Instant>,
}

impl Overload {
    /// Whether the machine is overloaded.
    pub fn lasts(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= LASTS)
    }

    /// Whether the machine is overloaded or was so recently.
    pub fn is_near(&self) -> bool {
        self.last.is_some_and(|last| last.elapsed() < ECHO)
    }
}

impl Stack {
    /// Updates the overload; the judge then waits for a worker that is late for the same reason as the other.
    pub(super) fn look_at_load(&mut self) {
        if !overloaded(&self.shared.stage) {
            self.overload.since = None;
            return;
        }
        let now = Instant::now();
        self.overload.since.get_or_insert(now);
        self.overload.last = Some(now);
    }
}
