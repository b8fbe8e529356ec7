//! The thread that plays where no device does: by the machine's clock, or without one.
//!
//! `null` is this thread alone; `wav` gets each block of it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use common::{tape::Tape, units::BlockIndex};
use platform::{realtime, shared::Shared};

use super::{Player, Sink};

/// Without a clock: pause between blocks while only one worker is ready, so that the replacement
/// gets a processor and a chance to catch up.
const UNPROTECTED_PAUSE: Duration = Duration::from_micros(400);

/// A thread that takes block after block.
pub struct Timed {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Timed {
    /// Starts it; `accept` is given what is played and the block after it, and says whether it took it.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn start(
        shared: &Shared,
        tape: Tape<'static>,
        mut accept: impl FnMut(&[f32], BlockIndex) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, shared) = (Arc::clone(&stop), *shared);
        let thread = thread::Builder::new().name("play".into()).spawn(move || {
            // Without a clock nothing is urgent, and it must not starve the rest.
            let _ = !shared.stage.shape().freewheel && realtime::ask_priority(8);
            realtime::flush_denormals();
            let mut player = Player::new(&shared, tape);
            let stopped = || stopped.load(Ordering::Relaxed);
            if shared.stage.shape().freewheel {
                freewheel(&shared, &mut player, &mut accept, stopped);
            } else {
                keep_time(&shared, &mut player, &mut accept, stopped);
            }
        })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Stops it after the block that it is in.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn freewheel(
    shared: &Shared,
    player: &mut Player,
    accept: &mut impl FnMut(&[f32], BlockIndex) -> bool,
    stopped: impl Fn() -> bool,
) {
    while !stopped() {
        match player.take(false) {
            Some((block, next)) => {
                // The block is played: it is handed over even if the end has come meanwhile.
                while !accept(block, next) {
                    thread::sleep(UNPROTECTED_PAUSE);
                }
            }
            None => player.wait(Duration::from_millis(5)),
        }
        if !shared.stage.protected() {
            thread::sleep(UNPROTECTED_PAUSE);
        }
    }
}

fn keep_time(
    shared: &Shared,
    player: &mut Player,
    accept: &mut impl FnMut(&[f32], BlockIndex) -> bool,
    stopped: impl Fn() -> bool,
) {
    let shape = shared.stage.shape();
    let block_ns = u64::from(shape.block_frames) * 1_000_000_000 / u64::from(shape.rate_hz);
    let block_time = Duration::from_nanos(block_ns);
    // A clock that was late by more than the lead is set anew, as a device would have dropped out.
    let late_max = block_time * shape.lead_blocks.saturating_sub(1).max(1);
    let mut due = Instant::now();
    while !stopped() {
        let now = Instant::now();
        if now < due {
            thread::sleep(due - now);
        } else if now - due > late_max {
            due = now;
        }
        if let Some((block, next)) = player.take(true) {
            let _ = accept(block, next);
        }
        due += block_time;
    }
}

/// Plays in time, to nobody.
pub struct Null {
    timed: Timed,
    description: String,
}

impl Null {
    /// Starts to play.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn open(shared: &Shared, tape: Tape<'static>, description: String) -> io::Result<Self> {
        Ok(Self {
            timed: Timed::start(shared, tape, |_, _| true)?,
            description,
        })
    }
}

impl Sink for Null {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn finish(self: Box<Self>) {
        self.timed.stop();
    }
}
