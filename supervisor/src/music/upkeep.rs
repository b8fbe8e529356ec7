//! The upkeep of the command log: the next segment when one is due, and a state from time to time. A thread without a
//! deadline prepares both.

use std::{
    sync::mpsc::{self, Receiver, TryRecvError},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use common::options::{Bytes, Options, Seconds};
use platform::shared::Shared;

use super::Music;
use crate::closing::{Prepared, What};

/// A segment or a state file that is being created, or is complete and waits.
pub enum Making {
    Preparing(What, Receiver<Result<Option<Prepared>>>),
    Prepared(Box<Prepared>),
}

/// The delay after a failed segment.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// The period of state files, and the length of the ledger that also causes one: they limit what a resumed instance
/// renders and what a new supervisor reads.
const STATE_EVERY: Duration = Duration::from_secs(10);
const LEDGER_BYTES: u64 = 512 << 10;

impl Music {
    /// Starts a new segment of the log if the current one is too long, too old or lost, and writes state files
    /// regularly. `idle`: no command is held or tried; `both`: two workers play and must agree on the state.
    pub fn look_after_log(&mut self, options: &Options, shared: &Shared, idle: bool, both: bool) {
        match self.making.take() {
            None if idle => {
                if let Some(what) = self.what_is_due(options, shared) {
                    let (told, prepared) = mpsc::channel();
                    let order = self.log.order(what, shared, both);
                    thread::spawn(move || drop(told.send(order.prepare())));
                    self.making = Some(Making::Preparing(what, prepared));
                }
            }
            None => {}
            Some(Making::Preparing(what, prepared)) => match prepared.try_recv() {
                Ok(Ok(Some(prepared))) => self.making = Some(Making::Prepared(Box::new(prepared))),
                Ok(Ok(None)) => self.made(what),
                Ok(Err(why)) => self.cannot_make(what, &why),
                Err(TryRecvError::Empty) => self.making = Some(Making::Preparing(what, prepared)),
                Err(TryRecvError::Disconnected) => self.made(what),
            },
            Some(Making::Prepared(prepared)) if !idle => self.made(prepared.what),
            Some(Making::Prepared(mut prepared)) => match self.log.change(&mut prepared) {
                Ok(true) => {
                    self.made(prepared.what);
                    self.tried = None;
                }
                Ok(false) => self.making = Some(Making::Prepared(prepared)),
                Err(why) => self.cannot_make(prepared.what, &why.into()),
            },
        }
    }

    fn what_is_due(&self, options: &Options, shared: &Shared) -> Option<What> {
        let waits = self.tried.is_some_and(|tried| tried.elapsed() < TRY_AGAIN);
        if !waits && self.is_over(options, shared) {
            return Some(What::Segment);
        }
        // Without a ledger the next supervisor reads the whole segment.
        let is_long = self
            .log
            .ledger_length()
            .is_none_or(|bytes| bytes > LEDGER_BYTES);
        let elapsed = self.left_state.elapsed();
        let due = elapsed >= STATE_EVERY || is_long && elapsed >= STATE_EVERY / 10;
        due.then_some(What::State)
    }

    fn made(&mut self, what: What) {
        match what {
            What::Segment => self.tried = Some(Instant::now()),
            What::State => self.left_state = Instant::now(),
        }
    }

    fn cannot_make(&mut self, what: What, why: &anyhow::Error) {
        self.made(what);
        // A failed state file is retried later; the log names the reason of a lasting failure.
        if what == What::Segment {
            let text = format!("the command log continues in the same segment: {why:#}");
            platform::say::line("supervisor", &text);
        }
    }

    /// Writes the final state of the music, or the last one before, so that little remains to be rendered on resume.
    pub fn leave_state(&mut self, shared: &Shared) {
        let order = self.log.order(What::State, shared, false);
        // On failure an older state file exists.
        let _ = order.leave_state(shared.stage.cursor());
    }

    /// Whether the segment in progress must be closed, or is lost.
    fn is_over(&self, options: &Options, shared: &Shared) -> bool {
        let (bytes, blocks) = self.log.grown();
        let (Bytes(most), Seconds(oldest)) = options.segment;
        let format = shared.stage.format();
        let seconds = blocks * u64::from(format.block_frames) / u64::from(format.rate_hz);
        bytes >= most || seconds >= oldest || self.log.wants_segment()
    }
}
