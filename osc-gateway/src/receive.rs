//! The loop that serves: datagrams, news of the supervisor, and what is due to be told.
//!
//! One task, no locks. Each turn takes what has arrived into the inbox, works through it up to a
//! bound, and then flushes: batches to the supervisor, replies to senders, log lines at most so
//! often. What is safe in the command log is freed from the inbox, in order. It waits on nothing but
//! its three sources; a full link, inbox or socket means trying again, not waiting.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use common::{
    inbox::Inbox,
    message::{Fault, FromPeer, ToGateway},
    stage::Stage,
};
use platform::{
    inbox,
    link::{LinkError, LinkSender},
};
use tokio::{io::Interest, net::UdpSocket, sync::mpsc};

use crate::{
    gateway::Gateway,
    namespace::Namespace,
    rate::Rates,
    reply::{self, Reply},
    sessions,
    supervisor::News,
};

/// Datagrams in a turn, at the most: the supervisor's words must not starve.
const TURN: u64 = 256;
/// Messages of one sender in a second, at the most; the others' share is theirs.
const MESSAGES_A_SECOND: u32 = 120_000;
/// The time whose messages a sender may send at once, and how much of it while the kernel's queue is
/// fuller than [`CROWDED`]: then whoever sends more than it may has filled it, and gives way before
/// everybody's datagrams are dropped.
const AT_ONCE: Duration = Duration::from_secs(1);
const AT_ONCE_IN_A_CROWD: Duration = Duration::from_millis(250);
const CROWDED: f32 = 0.25;
/// Refusals that one sender is told of in a second; all are counted.
const FAILS_A_SECOND: u32 = 200;
/// A log line this often at the most.
const LOG: Duration = Duration::from_millis(500);
/// What could not be sent is tried again after this.
const AGAIN: Duration = Duration::from_millis(20);
/// Failures of the socket in a row after which it is beyond hope.
const FAILURES: u32 = 1_000;

/// Why the gateway cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket fails again and again.
    #[error("the OSC socket cannot be read: {0}")]
    Socket(#[from] io::Error),
    /// Nobody to serve.
    #[error("no supervisor: {0}; start the stack with `understudy up`")]
    Alone(String),
}

/// Serves until the supervisor is gone for good.
///
/// # Errors
/// When it cannot go on; the process should end.
pub async fn serve(
    socket: UdpSocket,
    inbox: Inbox<'static>,
    stage: Stage<'static>,
    mut news: mpsc::Receiver<News>,
) -> Result<(), ServeError> {
    inbox::count_drops(&socket)?;
    inbox::hold(&inbox);
    let found = inbox.adopt();
    let mut server = Server {
        gateway: Gateway::default(),
        inbox,
        stage,
        next: inbox.head(),
        link: None,
        patch_parts: String::new(),
        messages: Rates::new(MESSAGES_A_SECOND),
        at_once: AT_ONCE,
        fails: Rates::new(FAILS_A_SECOND),
        start: Instant::now(),
        logged: Instant::now(),
        unlogged: 0,
        line: None,
        slow: Duration::ZERO,
        failures: 0,
    };
    if inbox.tail() > inbox.head() {
        server.log(format!(
            "{} datagrams are not done with; {found} of them had just been received",
            inbox.tail() - inbox.head()
        ));
    }
    loop {
        tokio::select! {
            arrived = news.recv() => match arrived {
                Some(arrived) => server.news(arrived)?,
                None => return Err(ServeError::Alone("the link's thread has ended".into())),
            },
            ready = socket.readable(), if server.has_room() => {
                ready?;
                server.receive(&socket)?;
            }
            () = tokio::time::sleep(AGAIN), if server.has_leftovers() => {}
        }
        server.work();
        server.flush(&socket);
        server.free();
    }
}

struct Server {
    gateway: Gateway,
    inbox: Inbox<'static>,
    stage: Stage<'static>,
    /// The next ticket to be worked on.
    next: u64,
    link: Option<(LinkSender<FromPeer>, Arc<AtomicBool>)>,
    /// Of a patch whose text has not come whole yet.
    patch_parts: String,
    messages: Rates,
    at_once: Duration,
    /// Refusals that senders are told of.
    fails: Rates,
    start: Instant,
    logged: Instant,
    unlogged: u64,
    line: Option<String>,
    slow: Duration,
    failures: u32,
}

impl Server {
    /// Takes what has arrived into the inbox, as long as there is room.
    fn receive(&mut self, socket: &UdpSocket) -> Result<(), ServeError> {
        self.at_once = match inbox::fullness(socket) > CROWDED {
            true => AT_ONCE_IN_A_CROWD,
            false => AT_ONCE,
        };
        let received = socket.try_io(Interest::READABLE, || {
            let mut received = inbox::receive(socket, &self.inbox)?;
            while self.has_room() && received < TURN {
                match inbox::receive(socket, &self.inbox) {
                    Ok(more) => received += more,
                    Err(_) => break,
                }
            }
            Ok(received)
        });
        match received {
            Ok(_) => self.failures = 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                // A reply that reached nobody can come back as an error of the next read.
                self.failures += 1;
                if self.failures > FAILURES {
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.inbox.room() > 0
    }

    /// Works through what is in the inbox, once the names are known.
    fn work(&mut self) {
        let end = self.inbox.tail().min(self.next + TURN);
        let now = self.start.elapsed();
        self.gateway
            .keep_time(self.stage.anchor(), self.stage.shape().rate_hz);
        while self.gateway.ready() && self.next < end {
            if self.inbox.settled(self.next) {
                self.next += 1;
                continue;
            }
            let mut datagram = self.inbox.datagram(self.next);
            if !self.slow.is_zero() {
                std::thread::sleep(self.slow);
            }
            if let Some(dropped) = inbox::dropped(&datagram) {
                self.inbox.note_dropped(dropped);
            }
            // What is too long is refused for its length.
            datagram.bytes.resize(datagram.length, 0);
            if let Some(sender) = inbox::sender(&datagram) {
                self.understand(sender, &datagram.bytes, now);
            }
            self.next += 1;
        }
    }

    /// Frees what is safe in the command log, or needs not be.
    fn free(&mut self) {
        self.inbox.add_rejected(self.gateway.take_rejected());
        let oldest = self.gateway.oldest().unwrap_or(self.next);
        self.inbox.free_below(oldest.min(self.next));
    }

    /// Hands the next datagram on, unless its sender has sent too many.
    fn understand(&mut self, sender: SocketAddr, bytes: &[u8], now: Duration) {
        if self.messages.allow(sender, now, self.at_once) {
            let messages = self.gateway.datagram(self.next, sender, bytes);
            let more = u32::try_from(messages.saturating_sub(1)).unwrap_or(u32::MAX);
            self.messages.charge(sender, more, now);
        } else {
            let why = format!("too fast: {MESSAGES_A_SECOND} messages a second are the limit");
            self.gateway.refuse_unread(sender, bytes, why);
        }
        // Once refused, it stays refused, whoever comes upon it after this process.
        if !self.gateway.waits(self.next) {
            self.inbox.settle(self.next);
        }
    }

    fn news(&mut self, news: News) -> Result<(), ServeError> {
        match news {
            News::Up(link, ended) => {
                self.link = Some((link, ended));
                self.patch_parts.clear();
                self.tell(FromPeer::Up);
            }
            News::Down => self.lost(),
            News::GivenUp(why) => return Err(ServeError::Alone(why)),
            News::Said(ToGateway::Outcomes(outcomes)) => self.gateway.outcomes(outcomes),
            News::Said(ToGateway::PatchPart(part)) => self.patch_parts.push_str(&part),
            News::Said(ToGateway::Patch { generation, json }) => {
                let json = std::mem::take(&mut self.patch_parts) + &json;
                let rate_hz = self.stage.shape().rate_hz;
                match Namespace::of_patch(generation, rate_hz, &json) {
                    Ok(namespace) => self.gateway.patch(namespace),
                    Err(why) => {
                        let line =
                            format!("patch {generation} has no names for the gateway: {why}");
                        self.log(line);
                        self.gateway
                            .patch(Namespace::new(generation, rate_hz, Vec::new()));
                    }
                }
            }
            News::Said(ToGateway::Quarantined(token, why)) => {
                let ticket = sessions::ticket_of(token);
                if let Some(datagram) = self.inbox.recall(ticket)
                    && let Some(sender) = inbox::sender(&datagram)
                {
                    self.gateway.tell_refused(sender, &datagram.bytes, why);
                }
            }
            News::Said(ToGateway::Ping) => drop(self.tell(FromPeer::Pong)),
            News::Said(ToGateway::Inject(fault)) => match fault {
                Fault::Hang => loop {
                    std::hint::spin_loop();
                },
                Fault::Slow(micros) => self.slow = Duration::from_micros(micros.into()),
                other => self.log(format!("the fault {other:?} means nothing to a gateway")),
            },
        }
        Ok(())
    }

    fn flush(&mut self, socket: &UdpSocket) {
        while self.link.is_some() {
            let batch = self.gateway.batch();
            if batch.is_empty() || !self.tell(FromPeer::Submit(batch.clone())) {
                break;
            }
            self.gateway.submitted(&batch);
        }
        let now = self.start.elapsed();
        for addressed in self.gateway.replies() {
            let fails = matches!(addressed.reply, Reply::Fail(..));
            if fails && !self.fails.allow(addressed.to, now, AT_ONCE) {
                continue;
            }
            // A sender that does not read its replies loses them; nobody else waits for it.
            drop(socket.try_send_to(&reply::encode(addressed.reply), addressed.to));
        }
        if let Some(complaint) = self.gateway.complaint() {
            self.log(complaint);
        }
        if self.logged.elapsed() >= LOG
            && let Some(line) = self.line.take()
        {
            let line = match self.unlogged {
                0 | 1 => line,
                more => format!("{line} (and {} more such lines)", more - 1),
            };
            if self.tell(FromPeer::Note(line)) {
                self.logged = Instant::now();
            }
            self.unlogged = 0;
        }
    }

    fn has_leftovers(&self) -> bool {
        self.link.is_some()
            && (self.gateway.has_unsent() || self.line.is_some() || self.next < self.inbox.tail())
    }

    fn log(&mut self, line: String) {
        self.unlogged += 1;
        self.line = Some(line);
    }

    /// Whether the supervisor will get it; a broken link is given up.
    fn tell(&mut self, message: FromPeer) -> bool {
        let Some((link, _)) = &self.link else {
            return false;
        };
        match link.send(message) {
            Ok(()) => true,
            Err(LinkError::Full) => false,
            Err(_) => {
                self.lost();
                false
            }
        }
    }

    fn lost(&mut self) {
        if let Some((_, ended)) = self.link.take() {
            ended.store(true, Ordering::Relaxed);
            self.gateway.link_broke();
        }
    }
}
