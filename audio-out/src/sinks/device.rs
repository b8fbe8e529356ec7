//! Plays on a sound device, and follows changes of the device.
//!
//! Only a dead device is reopened, not a device that is not ready yet or has an xrun. A device is dead if it requests no
//! sound for 5 s, or if it reports its loss and requests none for 200 ms. While a device requests sound, it is alive,
//! regardless of the errors that it reports. Separate threads open and close streams, since a stopped sound server may
//! block both forever. The music continues at the block where it stopped.

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use common::tape::Tape;
use platform::shared::Shared;

use super::{
    Sink,
    hosts::Wish,
    signs::Signs,
    stream::{self, Open},
    watch::Watch,
};

/// The first pause between two attempts to open the device; the pause grows up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// The time limit of the first attempt.
const OPENS: Duration = Duration::from_secs(8);
/// A device that reports its loss may only have been moved. After this time without a request for sound it is dead.
const GONE: Duration = Duration::from_millis(200);
/// The time without a request for sound after which the sink no longer counts as playing.
const ASLEEP: Duration = Duration::from_millis(600);
/// The time without a request for sound after which the device is dead. Longer than 2 s, since a newly started sound
/// server was seen to pause for 2 s between its first two buffers.
const DEAD: Duration = Duration::from_secs(5);

/// A sound device.
pub struct Device {
    shared: Shared,
    tape: Tape<'static>,
    wish: Wish,
    signs: Arc<Signs>,
    open: Option<Open>,
    /// The result of a thread that opens the device.
    opening: Option<Receiver<Result<Open>>>,
    watch: Option<Watch>,
    name: String,
    /// The error of the last attempt to reopen the device.
    trouble: String,
    retry_at: Instant,
    pause: Duration,
    /// The highest count of requests so far, and the time of its last change.
    seen: (u64, Instant),
    /// Whether the device has taken a second of sound.
    plays: bool,
    /// The end of the previous stream, until the next one plays.
    silent_since: Option<Instant>,
}

impl Device {
    /// Opens the device with this name, or the default one, and starts to play.
    ///
    /// # Errors
    /// If there is no such device, or the device does not support the rate or channels of the instance.
    pub fn open(shared: &Shared, tape: Tape<'static>, wish: Option<&str>) -> Result<Self> {
        let mut device = Self {
            shared: *shared,
            tape,
            wish: Wish::new(wish),
            signs: Arc::default(),
            open: None,
            opening: None,
            watch: None,
            name: wish.unwrap_or("default").into(),
            trouble: String::new(),
            retry_at: Instant::now(),
            pause: PAUSE,
            seen: (0, Instant::now()),
            plays: false,
            silent_since: None,
        };
        device.begin_to_open();
        let opening = device.opening.take();
        let opened = opening.map(|opening| opening.recv_timeout(OPENS));
        match opened {
            Some(Ok(opened)) => device.opened(opened?),
            Some(Err(RecvTimeoutError::Timeout)) => {
                return Err(anyhow!(
                    "the sound server does not answer (expected an answer in {} s); restart it",
                    OPENS.as_secs()
                ));
            }
            Some(Err(RecvTimeoutError::Disconnected)) | None => {
                return Err(anyhow!(
                    "the device cannot be opened: a thread could not be started"
                ));
            }
        }
        Ok(device)
    }

    /// Starts a thread that opens the device, once no callback of the old stream is running.
    fn begin_to_open(&mut self) {
        let Some(stream) = self.signs.next_stream() else {
            return;
        };
        let (tell, told) = mpsc::channel();
        let (shared, tape, wish) = (self.shared, self.tape, self.wish.clone());
        let (signs, silent_since) = (Arc::clone(&self.signs), self.silent_since);
        let started = thread::Builder::new().name("open".into()).spawn(move || {
            let opened = stream::open(&shared, tape, &wish, &signs, stream, silent_since);
            // After a timeout the receiver is dropped, and the stream is dropped here.
            let _ = tell.send(opened);
        });
        self.opening = started.is_ok().then_some(told);
    }

    fn opened(&mut self, open: Open) {
        self.name.clone_from(&open.name);
        self.wish.keep(open.host);
        self.watch = Watch::over(open.host, self.wish.name(), &open.device);
        self.open = Some(open);
        self.shared.stage.set_has_device();
        self.trouble.clear();
        self.seen = (0, Instant::now());
        self.plays = false;
    }

    /// Why the stream is dead, if it is.
    fn dead(&mut self) -> Option<String> {
        let asked = self.signs.asked();
        if asked != self.seen.0 {
            self.seen = (asked, Instant::now());
            return None;
        }
        // A hanging callback is a fault of this program; the supervisor detects it by the play cursor.
        if self.signs.busy() {
            return None;
        }
        let quiet = self.seen.1.elapsed();
        match self.signs.gone() {
            true if quiet > GONE => Some("is gone".into()),
            _ if quiet > DEAD => Some(format!("has not requested sound for {} s", DEAD.as_secs())),
            _ => None,
        }
    }

    /// Drops the stream in a thread, since that may take long; the device is then reopened.
    fn let_go(&mut self, pause: Duration) {
        self.signs.shut_out();
        self.silent_since.get_or_insert(self.seen.1);
        let open = self.open.take();
        let watch = self.watch.take();
        let _ = thread::Builder::new()
            .name("close".into())
            .spawn(move || drop((open, watch)));
        (self.pause, self.retry_at) = (PAUSE, Instant::now() + pause);
    }

    /// Reopens the device when it is due; returns a line for the log.
    fn open_again(&mut self) -> Option<String> {
        let Some(opening) = &self.opening else {
            if Instant::now() >= self.retry_at {
                self.begin_to_open();
            }
            return None;
        };
        match opening.try_recv() {
            Err(TryRecvError::Empty) => None,
            Ok(Ok(open)) => {
                self.opening = None;
                self.opened(open);
                Some(format!("the device {} is open again", self.name))
            }
            Ok(Err(why)) => {
                self.opening = None;
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                self.retry_at = Instant::now() + self.pause;
                let why = format!("{why:#}");
                let news = why != self.trouble;
                self.trouble = why;
                news.then(|| {
                    format!(
                        "the device {} cannot be opened: {}",
                        self.name, self.trouble
                    )
                })
            }
            Err(TryRecvError::Disconnected) => {
                self.opening = None;
                None
            }
        }
    }

    /// The state of the device for `status`, if it does not play.
    fn state(&self) -> Option<String> {
        if self.open.is_none() {
            let why = match self.trouble.as_str() {
                "" => String::new(),
                why => format!(": {why}"),
            };
            return Some(format!("gone; waiting for its return{why}"));
        }
        if self.asleep() {
            return Some("the device requests no sound; waiting for it".into());
        }
        (!self.plays).then(|| "open; waiting until the device has taken a second of sound".into())
    }

    fn asleep(&self) -> bool {
        self.seen.1.elapsed() > ASLEEP && !self.signs.busy()
    }
}

impl Sink for Device {
    fn describe(&self) -> String {
        match self.state() {
            Some(state) => format!("device:{} ({state})", self.name),
            None => format!("device:{}", self.name),
        }
    }

    fn plays(&self) -> bool {
        self.open.is_some() && self.plays && !self.asleep()
    }

    fn look_after(&mut self) -> Option<String> {
        if self.open.is_none() {
            return self.open_again();
        }
        let dead = self.dead();
        let taken = self.signs.frames();
        self.plays |= taken >= u64::from(self.shared.stage.format().rate_hz);
        if taken > 0 {
            // The new stream has counted the gap.
            self.silent_since = None;
        }
        let open = self.open.as_mut()?;
        if let Some(what) = dead {
            let errors = open.errors.line(true);
            self.let_go(PAUSE);
            let why = errors.map(|errors| format!(" ({errors})"));
            return Some(format!(
                "the device {} {what}{}; it will be reopened when it returns",
                self.name,
                why.unwrap_or_default()
            ));
        }
        if let Some(errors) = open.errors.line(false) {
            return Some(format!("the device {}: {errors}", self.name));
        }
        let news = self.watch.as_ref().and_then(Watch::news)?;
        if news.returned {
            self.let_go(Duration::ZERO);
            return Some(format!(
                "the device {} has returned; playback moves to it",
                self.name
            ));
        }
        self.name = stream::through(&news.name, open.host);
        Some(format!("playback has moved to {}", self.name))
    }

    fn finish(self: Box<Self>) {
        self.signs.shut_out();
        let open = self.open;
        let (tell, told) = mpsc::channel();
        let _ = thread::Builder::new().name("close".into()).spawn(move || {
            drop(open);
            let _ = tell.send(());
        });
        // Do not wait for a stopped sound server.
        let _ = told.recv_timeout(Duration::from_millis(500));
    }
}
