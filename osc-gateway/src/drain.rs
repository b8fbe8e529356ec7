//! The thread that does nothing but empty the socket's queue. `intake` decides whether a datagram is admitted
//! to the inbox's backlog or refused; nothing is decoded here.
//!
//! So the queue is emptied faster than it fills, whatever the serving loop does. The thread has a low
//! real-time priority if granted, below everything that plays. After a busy period it pauses, so that it never
//! occupies a processor. It holds no lock. It reaches the serving loop through the inbox, a wake, and a
//! bounded queue of refusals.

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

/// How full the kernel's queue is, 0 to 1, from where on senders' shares shrink.
const CROWDED: f32 = 0.4;
/// After so long without a pause the thread pauses: it takes four fifths of a processor at the most.
const BUSY: Duration = Duration::from_millis(4);
const PAUSE: Duration = Duration::from_millis(1);
/// Refusals that wait to be reported to their senders, at the most; further ones are only counted.
const TOLD_MAX: usize = 256;
/// Failures of the socket in a row after which the thread gives up.
const FAILURES: u32 = 1_000;
/// Bytes that show whether a packet is a bundle, and bytes that hold its address.
const KIND_BYTES: usize = 8;
const ADDRESS_BYTES: usize = 128;

/// What the thread tells the serving loop.
pub enum Drained {
    /// About so many messages of that sender were refused; the last one began with these bytes.
    Refused(SocketAddr, Vec<u8>, u64),
    /// The socket cannot be read.
    Failed(io::Error),
}

/// The thread, which ends with this value.
pub struct Drain {
    /// Woken when something was admitted.
    pub arrived: Arc<Notify>,
    /// What it has to say.
    pub said: mpsc::Receiver<Drained>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drain {
    /// Starts to empty that socket, after a predecessor that may have been killed. Returns how many
    /// datagrams that one had received and not judged, too.
    ///
    /// # Errors
    /// When the system gives no thread.
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
    /// All tickets below it are known to be freed.
    freed: u64,
    /// The kernel's counts, as they were last seen: of this socket, of all.
    dropped: u32,
    overflows: Option<u64>,
    /// There is a filter before the socket.
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
                    // A reply that reached nobody can come back as an error of the next read.
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
                inbox::wait(&self.socket, TICK);
                busy = Instant::now();
            } else if busy.elapsed() > BUSY {
                thread::sleep(PAUSE);
                busy = Instant::now();
            }
        }
    }

    /// Judges what lies in the staging.
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

    /// How many messages a datagram in the staging holds; only bundles are looked at.
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

    /// Admits quiet senders again, and counts what the kernel dropped and refused.
    fn watch(&mut self) {
        if self.watched.elapsed() < TICK {
            return;
        }
        self.watched = Instant::now();
        self.intake.tick(self.start.elapsed());
        let dropped = inbox::queue(&self.socket).dropped;
        let more = u64::from(dropped.wrapping_sub(self.dropped));
        self.dropped = dropped;
        // Looked at each time, so that what other sockets have dropped long ago is not counted here.
        let overflows = inbox::overflows();
        let before = std::mem::replace(&mut self.overflows, overflows);
        if more == 0 {
            return;
        }
        // The filter refused the rest: datagrams that no socket of this machine dropped for want of room.
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
        // Noted before it is set: a filter that no successor knows of would never be removed.
        let words: Vec<_> = senders.iter().copied().map(inbox::to_words).collect();
        self.inbox.set_filtered(&words);
        // Without a filter they are refused here.
        self.refuses = filter::set(&self.socket, &senders).is_ok() && !senders.is_empty();
    }
}
