//! The playback thread of sinks without a device: by the machine's clock, or without a clock.
//!
//! `null` is this thread alone; `wav` writes the blocks that the thread leaves on the tape.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use common::tape::Tape;
use platform::{realtime, shared::Shared};

use super::{Playback, Sink};

/// The pause between blocks without a clock while only one worker is ready, so that the replacement gets a processor
/// and can catch up.
const UNPROTECTED_PAUSE: Duration = Duration::from_micros(400);

/// How long a restarted clock waits for the workers.
const LEAD_PATIENCE: Duration = Duration::from_millis(200);

/// A thread that takes block after block.
pub struct Timed {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Timed {
    /// Starts the thread; without a clock, it plays only while `has_room` returns true.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(
        shared: &Shared,
        tape: Tape<'static>,
        has_room: impl Fn() -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, shared) = (Arc::clone(&stop), *shared);
        let thread = thread::Builder::new().name("play".into()).spawn(move || {
            // Without a clock playback is not urgent and must not starve other threads.
            let _ = !shared.stage.format().freewheel && realtime::ask_priority(8);
            realtime::flush_denormals();
            let mut playback = Playback::new(&shared, tape);
            let stopped = || stopped.load(Ordering::Relaxed);
            if shared.stage.format().freewheel {
                freewheel(&shared, &mut playback, has_room, stopped);
            } else {
                keep_time(&shared, &mut playback, stopped);
            }
        })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Stops the thread after the current block.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn freewheel(
    shared: &Shared,
    playback: &mut Playback,
    has_room: impl Fn() -> bool,
    stopped: impl Fn() -> bool,
) {
    while !stopped() {
        if !has_room() {
            thread::sleep(UNPROTECTED_PAUSE);
            continue;
        }
        if !playback.take(false) {
            playback.wait(Duration::from_millis(5));
        }
        if !shared.stage.protected() {
            thread::sleep(UNPROTECTED_PAUSE);
        }
    }
}

fn keep_time(shared: &Shared, playback: &mut Playback, stopped: impl Fn() -> bool) {
    let block_time = Duration::from_nanos(shared.stage.format().block_ns());
    let mut due = Instant::now();
    while !stopped() {
        // A delay of more than the lead means that the process, or the whole machine, was stopped. Playback restarts
        // with a full lead, as at the start of an instance, since the workers may wake later.
        let late_max = block_time * shared.stage.lead().saturating_sub(1).max(1);
        let now = Instant::now();
        if now < due {
            thread::sleep(due - now);
        } else if now - due > late_max {
            while !playback.has_lead() && now.elapsed() < LEAD_PATIENCE && !stopped() {
                thread::sleep(block_time);
            }
            due = Instant::now();
        }
        playback.take(true);
        due += block_time;
    }
}

/// The sink `null`: plays in real time and discards the sound.
pub struct Null {
    timed: Timed,
    description: String,
}

impl Null {
    /// Starts playback.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn open(shared: &Shared, tape: Tape<'static>, description: String) -> io::Result<Self> {
        Ok(Self {
            timed: Timed::start(shared, tape, || true)?,
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
