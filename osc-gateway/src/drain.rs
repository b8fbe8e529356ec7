//! The thread that empties the socket's queue. `intake` decides whether a datagram is admitted to the inbox's
//! backlog or refused; nothing is decoded here.
//!
//! A thread of its own empties the queue faster than it fills, independently of the serving loop. The thread has a
//! low real-time priority if granted, below all audio threads. After a busy period it pauses, so that it never
//! occupies a processor. It holds no lock. It reaches the serving loop through the inbox, a wake, and a bounded
//! queue of refusals.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use common::inbox::{Inbox, STAGED};
use platform::{filter, inbox, realtime};
use tokio::sync::{Notify, mpsc};

use crate::{
    decode,
    intake::{Intake, Room, TICK, Verdict},
};

/// The fill level of the kernel's queue, 0 to 1, above which the shares of senders shrink.
const CROWDED: f32 = 0.4;
/// The thread pauses after this time without a pause, so that it uses at most four fifths of a processor.
const BUSY: Duration = Duration::from_millis(4);
const PAUSE: Duration = Duration::from_millis(1);
/// The limit of refusals that wait to be reported to their senders; further refusals are only counted.
const TOLD_MAX: usize = 256;
/// Consecutive failures of the socket after which the thread gives up.
const FAILURES: u32 = 1_000;
/// The bytes that identify a bundle, and the bytes that hold the address.
const KIND_BYTES: usize = 8;
const ADDRESS_BYTES: usize = 128;

/// A report of the thread to the serving loop.
pub enum Drained {
    /// The sender, the first bytes of its last refused message, and the approximate number of refused messages.
    Refused(SocketAddr, Vec<u8>, u64),
    /// The socket cannot be read.
    Failed(io::Error),
}

/// The handle of the thread; dropping it ends the thread.
pub struct Drain {
    /// Notified when a datagram was admitted.
    pub arrived: Arc<Notify>,
    /// The reports of the thread.
    pub said: mpsc::Receiver<Drained>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drain {
    /// Starts the thread on a socket, possibly after a predecessor that was killed. Also returns the number of
    /// datagrams that the predecessor had received but not judged.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub fn start(socket: UdpSocket, inbox: Inbox<'static>) -> io::Result<(Self, usize)> {
        socket.set_nonblocking(true)?;
        let arrived = Arc::new(Notify::new());
        let stop = Arc::new(AtomicBool::new(false));
        let (say, said) = mpsc::channel(TOLD_MAX);
        let filtered = inbox.filtered().into_iter().map(inbox::from_words);
        let mut drainer = Drainer {
            intake: Intake::new(filtered),
            freed: inbox.head(),
            dropped: inbox::queue(&socket).dropped,
            overflows: inbox::overflows(),
            refuses: false,
            start: Instant::now(),
            watched: Instant::now(),
            socket,
            inbox,
            say,
        };
        for ticket in inbox.head()..inbox.tail() {
            if let Some(sender) = inbox::sender(&inbox.name_of(ticket)) {
                drainer.intake.holds(sender, inbox.words_of(ticket));
            }
        }
        let found = inbox.adopt();
        let count = found.len();
        drainer.take(found.into_iter());
        let (wake, ends) = (Arc::clone(&arrived), Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("drain".into())
            .spawn(move || drainer.run(&wake, &ends))?;
        let drain = Self {
            arrived,
            said,
            stop,
            thread: Some(thread),
        };
        Ok((drain, count))
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Drainer {
    socket: UdpSocket,
    inbox: Inbox<'static>,
    intake: Intake,
    /// All tickets below this one are freed.
    freed: u64,
    /// The last known counts of the kernel: of this socket, and of all sockets.
    dropped: u32,
    overflows: Option<u64>,
    /// A filter is attached to the socket.
    refuses: bool,
    start: Instant,
    watched: Instant,
    say: mpsc::Sender<Drained>,
}

impl Drainer {
    fn run(mut self, wake: &Notify, stop: &AtomicBool) {
        let _ = realtime::ask_priority(1);
        let mut failures = 0;
        let mut busy = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            self.refresh_filter();
            let received = match inbox::receive(&self.socket, &self.inbox) {
                Ok((first, count)) => {
                    failures = 0;
                    self.take(first..first + count);
                    wake.notify_one();
                    count
                }
                Err(error) => {
                    // An undeliverable reply can cause an error of the next read.
                    failures = match error.kind() {
                        io::ErrorKind::WouldBlock => 0,
                        _ => failures + 1,
                    };
                    if failures > FAILURES {
                        let _ = self.say.blocking_send(Drained::Failed(error));
                        return;
                    }
                    0
                }
            };
            self.watch();
            if received < STAGED {
                self.refresh_filter();
                let begun = Instant::now();
                inbox::wait(&self.socket, TICK);
                // A wait that returns at once is no pause.
                if begun.elapsed() > realtime::PAUSE {
                    busy = Instant::now();
                }
            }
            if busy.elapsed() > BUSY {
                thread::sleep(PAUSE);
                busy = Instant::now();
            }
        }
    }

    /// Judges the datagrams in the staging area.
    fn take(&mut self, serials: impl Iterator<Item = u64>) {
        let now = self.start.elapsed();
        let crowded = inbox::queue(&self.socket).fullness > CROWDED;
        self.note_freed();
        for serial in serials {
            let length = self.inbox.staged_length(serial).unwrap_or(0);
            let words = Inbox::words_for(length);
            let room = Room {
                free_words: self.inbox.free_words(),
                crowded,
            };
            let Some(sender) = inbox::sender(&self.inbox.staged_name(serial)) else {
                self.inbox.pass_over(serial);
                continue;
            };
            let messages = self.messages(serial);
            match self.intake.judge(sender, messages, words, room, now) {
                Verdict::Admit => self.inbox.admit(serial),
                Verdict::Refuse(told) => {
                    if let Some(count) = told {
                        let bytes = self.inbox.staged_bytes(serial, ADDRESS_BYTES);
                        let _ = self.say.try_send(Drained::Refused(sender, bytes, count));
                    }
                    self.inbox.add_refused(messages.into());
                    self.inbox.pass_over(serial);
                }
            }
        }
    }

    /// The number of messages in a datagram of the staging area; only bundles are examined.
    fn messages(&self, serial: u64) -> u32 {
        match decode::is_bundle(&self.inbox.staged_bytes(serial, KIND_BYTES)) {
            true => decode::count(&self.inbox.staged_bytes(serial, usize::MAX)),
            false => 1,
        }
    }

    fn note_freed(&mut self) {
        let head = self.inbox.head();
        while self.freed < head {
            if let Some(sender) = inbox::sender(&self.inbox.name_of(self.freed)) {
                self.intake.freed(sender, self.inbox.words_of(self.freed));
            }
            self.freed += 1;
        }
    }

    /// Admits quiet senders again, and counts the datagrams that the kernel dropped and refused.
    fn watch(&mut self) {
        if self.watched.elapsed() < TICK {
            return;
        }
        self.watched = Instant::now();
        self.intake.tick(self.start.elapsed());
        let dropped = inbox::queue(&self.socket).dropped;
        let more = u64::from(dropped.wrapping_sub(self.dropped));
        self.dropped = dropped;
        // Read each time, so that earlier drops of other sockets are not counted here.
        let overflows = inbox::overflows();
        let before = std::mem::replace(&mut self.overflows, overflows);
        if more == 0 {
            return;
        }
        // The filter refused the rest: datagrams that no socket of this machine dropped because of a full queue.
        let lost = match (overflows, before) {
            (Some(now), Some(before)) => more.min(now.saturating_sub(before)),
            _ if self.refuses => 0,
            _ => more,
        };
        self.inbox.add_dropped(lost);
        self.inbox.add_refused(more - lost);
    }

    fn refresh_filter(&mut self) {
        let Some(senders) = self.intake.filter_changed() else {
            return;
        };
        // Record the filter before setting it: a successor would never remove an unrecorded filter.
        let words: Vec<_> = senders.iter().copied().map(inbox::to_words).collect();
        self.inbox.set_filtered(&words);
        // Without a filter this thread refuses the datagrams.
        self.refuses = filter::set(&self.socket, &senders).is_ok() && !senders.is_empty();
    }
}
