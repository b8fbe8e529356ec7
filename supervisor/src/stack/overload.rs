//! Music that needs more than the machine gives (`failover::load`): said, and held against nobody.

use std::time::{Duration, Instant};

use failover::load::overloaded;

use super::Stack;

/// So long, and it is an overload; below it the machine was just busy.
const LASTS: Duration = Duration::from_millis(200);
/// What came late so soon after it came late because of it.
const ECHO: Duration = Duration::from_millis(300);

/// What the supervisor knows of it.
#[derive(Default)]
pub struct Overload {
    since: Option<Instant>,
    last: Option<Instant>,
}

impl Overload {
    /// Whether the music is too much for the machine.
    pub fn lasts(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= LASTS)
    }

    /// Whether it is, or was just now.
    pub fn is_near(&self) -> bool {
        self.last.is_some_and(|last| last.elapsed() < ECHO)
    }
}

impl Stack {
    /// The judge waits for whoever is late for the same reason as the other.
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
