//! The reports of a device's callbacks to the control thread: requests for sound, and errors.
//!
//! Only the newest stream plays. Before another stream is opened, the callbacks of the old one are disabled, even if a
//! stopped sound server calls one of them again later. Errors are queued with their texts and logged at most once a
//! second, each text with its count.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cpal::{Error, ErrorKind};
use rtrb::{Consumer, Producer, RingBuffer};

/// The limit of queued errors; further ones are only counted.
const ERRORS: usize = 64;
/// The least time between two log lines of errors.
const PERIOD: Duration = Duration::from_secs(1);

/// The shared state, written by the callbacks of the newest stream.
#[derive(Default)]
pub struct Signs {
    /// The number of the newest stream. Written by the control thread.
    stream: AtomicU64,
    /// The number of running callbacks: a callback of an old stream may run beside that of the newest one.
    busy: AtomicU32,
    /// The number of requests of the newest stream, and of requested frames.
    asked: AtomicU64,
    frames: AtomicU64,
    /// The number of reported xruns.
    xruns: AtomicU64,
    /// Whether the newest stream has reported the loss of its device or of the connection.
    gone: AtomicBool,
    /// The number of errors that did not fit into the queue.
    more: AtomicU64,
}

impl Signs {
    /// Disables all streams except a new one; returns its number, or `None` while a callback is still running.
    pub fn next_stream(&self) -> Option<u64> {
        let stream = self.shut_out();
        if self.busy() {
            return None;
        }
        self.asked.store(0, Ordering::Relaxed);
        self.frames.store(0, Ordering::Relaxed);
        self.gone.store(false, Ordering::Relaxed);
        Some(stream)
    }

    /// Disables all streams.
    pub fn shut_out(&self) -> u64 {
        self.stream.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Runs a callback of a stream if it is still the newest; otherwise returns false.
    ///
    /// # Real-time
    /// Yes, if `play` is.
    pub fn play(&self, stream: u64, frames: u64, play: impl FnOnce()) -> bool {
        // Store, then load; `next_stream` uses the opposite order, so that at least one sees the other.
        self.busy.fetch_add(1, Ordering::SeqCst);
        let newest = self.stream.load(Ordering::SeqCst) == stream;
        if newest {
            play();
            self.asked.fetch_add(1, Ordering::Relaxed);
            self.frames.fetch_add(frames, Ordering::Relaxed);
        }
        self.busy.fetch_sub(1, Ordering::SeqCst);
        newest
    }

    /// Whether a callback is running.
    pub fn busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst) > 0
    }

    /// The number of requests of the newest stream.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// The number of frames taken by the newest stream.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// The number of reported xruns of all streams.
    pub fn xruns(&self) -> u64 {
        self.xruns.load(Ordering::Relaxed)
    }

    /// Whether the newest stream has reported the loss of its device.
    pub fn gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

/// The callbacks' end of a stream's queue of errors.
pub struct Teller {
    signs: Arc<Signs>,
    stream: u64,
    queue: Producer<Error>,
}

impl Teller {
    /// Queues an error. Errors of a device that is not ready, and xruns, do not mark the device as gone.
    ///
    /// # Real-time
    /// Yes, except for errors that do not fit into the queue, which are dropped (and freed) here.
    pub fn tell(&mut self, error: Error) {
        let gone = matches!(
            error.kind(),
            ErrorKind::DeviceNotAvailable
                | ErrorKind::HostUnavailable
                | ErrorKind::StreamInvalidated
        );
        match error.kind() {
            // The thread requests its priority itself.
            ErrorKind::RealtimeDenied => return,
            ErrorKind::Xrun => {
                self.signs.xruns.fetch_add(1, Ordering::Relaxed);
                return;
            }
            _ => {}
        }
        if gone && self.signs.stream.load(Ordering::SeqCst) == self.stream {
            self.signs.gone.store(true, Ordering::Relaxed);
        }
        if self.queue.push(error).is_err() {
            self.signs.more.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The receiving end of the queue, which makes the log lines.
pub struct Errors {
    signs: Arc<Signs>,
    queue: Consumer<Error>,
    counts: BTreeMap<String, u64>,
    xruns: u64,
    next: Instant,
}

/// Creates the queue of errors of a stream.
pub fn errors(signs: &Arc<Signs>, stream: u64) -> (Teller, Errors) {
    let (producer, consumer) = RingBuffer::new(ERRORS);
    let teller = Teller {
        signs: Arc::clone(signs),
        stream,
        queue: producer,
    };
    let errors = Errors {
        signs: Arc::clone(signs),
        queue: consumer,
        counts: BTreeMap::new(),
        xruns: signs.xruns(),
        next: Instant::now(),
    };
    (teller, errors)
}

impl Errors {
    /// The line to log now: each text with its count; at most once a second, unless `at_once`.
    pub fn line(&mut self, at_once: bool) -> Option<String> {
        while let Ok(error) = self.queue.pop() {
            *self.counts.entry(error.to_string()).or_default() += 1;
        }
        if !at_once && Instant::now() < self.next {
            return None;
        }
        let xruns = self.signs.xruns();
        let mut parts: Vec<String> = std::mem::take(&mut self.counts)
            .into_iter()
            .map(|(text, count)| format!("{text} ({count} times)"))
            .collect();
        match self.signs.more.swap(0, Ordering::Relaxed) {
            0 => {}
            more => parts.push(format!("{more} further errors")),
        }
        if xruns != self.xruns {
            parts.push(format!("xruns ({} times)", xruns - self.xruns));
            self.xruns = xruns;
        }
        if parts.is_empty() {
            return None;
        }
        self.next = Instant::now() + PERIOD;
        Some(parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_stream_plays() {
        let signs = Signs::default();
        let first = signs.next_stream().unwrap();
        assert!(signs.play(first, 384, || {}));
        assert_eq!((signs.asked(), signs.frames()), (1, 384));
        let second = signs.next_stream().unwrap();
        assert!(!signs.play(first, 384, || panic!("the old one plays")));
        assert_eq!(signs.asked(), 0);
        assert!(signs.play(second, 1, || assert_eq!(signs.next_stream(), None)));
    }

    #[test]
    fn nineteen_hundred_errors_are_one_line_and_kill_nothing() {
        let signs = Arc::<Signs>::default();
        let stream = signs.next_stream().unwrap();
        let (mut teller, mut errors) = errors(&signs, stream);
        for _ in 0..1_900 {
            teller.tell(Error::with_message(ErrorKind::BackendError, "I/O error"));
        }
        teller.tell(ErrorKind::Xrun.into());
        teller.tell(ErrorKind::RealtimeDenied.into());
        assert!(!signs.gone());
        let line = errors.line(false).unwrap();
        assert!(
            line.contains("I/O error") && line.contains("(64 times)"),
            "{line}"
        );
        assert!(
            line.contains("1836 further errors") && line.contains("xruns (1 times)"),
            "{line}"
        );
        teller.tell(Error::with_message(ErrorKind::DeviceNotAvailable, "gone"));
        assert!(signs.gone());
        assert_eq!(errors.line(false), None, "once a second");
        assert!(errors.line(true).unwrap().contains("gone (1 times)"));
    }
}
