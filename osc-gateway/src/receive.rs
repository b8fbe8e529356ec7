//! The serving loop: datagrams, messages of the supervisor, and reports of `drain`.
//!
//! One task, no locks. Each iteration processes the datagrams that `drain` has admitted to the inbox, up to a bound,
//! and then flushes: batches to the supervisor, replies to senders, log lines at a limited rate. Datagrams whose
//! commands are in the command log are freed from the inbox, in order. The loop waits only for its three sources; a
//! full link or socket is tried again later.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
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
    ipc_link::{LinkError, LinkSender},
    realtime,
};
use tokio::sync::mpsc;

use crate::{
    drain::{Drain, Drained},
    gateway::Gateway,
    intake::MESSAGES_A_SECOND,
    namespace::Namespace,
    rate::Rates,
    reply::{self, Reply},
    sessions,
    supervisor::News,
};

/// The limit of datagrams in an iteration: messages of the supervisor must not starve.
const TURN: u64 = 256;
/// The limit of processed datagrams that are not freed yet; further datagrams wait in the inbox.
const IN_FLIGHT: u64 = 512;
/// The limit of reported refusals, per second and sender, also as a burst; all refusals are counted.
const FAILS_A_SECOND: u32 = 200;
const FAILS_AT_ONCE: Duration = Duration::from_secs(1);
/// The least time between two log lines.
const LOG: Duration = Duration::from_millis(500);
/// The delay before a failed send is tried again.
const AGAIN: Duration = Duration::from_millis(20);

/// The errors that end the gateway.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket fails repeatedly.
    #[error("the OSC socket cannot be read: {0}")]
    Socket(#[from] io::Error),
    /// The supervisor cannot be reached.
    #[error("the supervisor is unreachable: {0}; start the stack with `understudy up`")]
    Alone(String),
}

/// Serves until the supervisor stays away.
///
/// # Errors
/// If the gateway cannot continue; the process should end.
pub async fn serve(
    socket: UdpSocket,
    inbox: Inbox<'static>,
    stage: Stage<'static>,
    mut news: mpsc::Receiver<News>,
) -> Result<(), ServeError> {
    inbox::hold(&inbox);
    let (mut drain, found) = Drain::start(socket.try_clone()?, inbox)?;
    let mut server = Server {
        gateway: Gateway::default(),
        inbox,
        stage,
        next: inbox.head(),
        link: None,
        patch_parts: String::new(),
        fails: Rates::new(FAILS_A_SECOND),
        start: Instant::now(),
        logged: Instant::now(),
        unlogged: 0,
        line: None,
        slow: Duration::ZERO,
    };
    if inbox.tail() > inbox.head() {
        server.log(format!(
            "{} datagrams of the predecessor are unfinished; {found} of them were not judged yet",
            inbox.tail() - inbox.head()
        ));
    }
    loop {
        tokio::select! {
            arrived = news.recv() => match arrived {
                Some(arrived) => server.news(arrived)?,
                None => return Err(ServeError::Alone("the link's thread has ended".into())),
            },
            said = drain.said.recv() => match said {
                Some(Drained::Refused(sender, bytes, count)) => server.flooded(sender, &bytes, count),
                Some(Drained::Failed(why)) => return Err(why.into()),
                None => return Err(io::Error::other("the receiving thread has ended").into()),
            },
            () = drain.arrived.notified() => {}
            () = std::future::ready(()), if server.has_work() => {}
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
    /// The next ticket to process.
    next: u64,
    link: Option<(LinkSender<FromPeer>, Arc<AtomicBool>)>,
    /// The received parts of a patch whose text is not complete yet.
    patch_parts: String,
    /// The rate limit of reported refusals.
    fails: Rates,
    start: Instant,
    logged: Instant,
    unlogged: u64,
    line: Option<String>,
    slow: Duration,
}

impl Server {
    /// Whether a datagram can be processed now.
    fn has_work(&self) -> bool {
        self.gateway.ready() && self.next < self.inbox.tail().min(self.inbox.head() + IN_FLIGHT)
    }

    /// Processes the datagrams in the inbox, once the names are known.
    fn work(&mut self) {
        let in_flight = self.inbox.head() + IN_FLIGHT;
        let end = self.inbox.tail().min(self.next + TURN).min(in_flight);
        self.gateway.keep_time(
            realtime::timing(&self.stage),
            realtime::ntp_now().wrapping_add(self.stage.clock_set_by()),
            self.stage.format().rate_hz,
        );
        while self.gateway.ready() && self.next < end {
            if self.inbox.settled(self.next) {
                self.next += 1;
                continue;
            }
            let mut datagram = self.inbox.datagram(self.next);
            if !self.slow.is_zero() {
                std::thread::sleep(self.slow);
            }
            // `datagram` then refuses an oversized datagram because of its length.
            datagram.bytes.resize(datagram.length, 0);
            if let Some(sender) = inbox::sender(&datagram.name) {
                self.gateway.datagram(self.next, sender, &datagram.bytes);
                // A refused datagram stays refused, also for a successor of this process.
                if !self.gateway.waits(self.next) {
                    self.inbox.settle(self.next);
                }
            }
            self.next += 1;
        }
    }

    /// Frees the datagrams whose commands are in the command log, or that need no command.
    fn free(&mut self) {
        self.inbox.add_rejected(self.gateway.take_rejected());
        let oldest = self.gateway.oldest().unwrap_or(self.next);
        self.inbox.free_below(oldest.min(self.next));
    }

    /// Tells a sender that `drain` has refused `count` of its messages.
    fn flooded(&mut self, sender: SocketAddr, bytes: &[u8], count: u64) {
        let why = format!(
            "too fast: {count} messages were refused (expected at most {MESSAGES_A_SECOND} a second, fewer while the stack is busy)"
        );
        self.gateway.tell_flood(sender, bytes, why);
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
                let rate_hz = self.stage.format().rate_hz;
                match Namespace::of_patch(generation, rate_hz, &json) {
                    Ok(namespace) => self.gateway.patch(namespace),
                    Err(why) => {
                        let line = format!("the gateway cannot read patch {generation}: {why}");
                        self.log(line);
                        self.gateway
                            .patch(Namespace::new(generation, rate_hz, Vec::new()));
                    }
                }
            }
            News::Said(ToGateway::Quarantined(submission_id, why)) => {
                let ticket = sessions::ticket_of(submission_id);
                if let Some(datagram) = self.inbox.recall(ticket)
                    && let Some(sender) = inbox::sender(&datagram.name)
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
                other => self.log(format!(
                    "the fault {other:?} is not supported by the gateway"
                )),
            },
        }
        Ok(())
    }

    fn flush(&mut self, socket: &UdpSocket) {
        while self.link.is_some() {
            let batch = self.gateway.batch();
            let submit = FromPeer::Submit {
                generation: self.gateway.generation(),
                submissions: batch.clone(),
            };
            if batch.is_empty() || !self.tell(submit) {
                break;
            }
            self.gateway.submitted(&batch);
        }
        let now = self.start.elapsed();
        for addressed in self.gateway.replies() {
            let fails = matches!(addressed.reply, Reply::Fail(..));
            if fails && !self.fails.allow(addressed.to, now, FAILS_AT_ONCE) {
                continue;
            }
            // A sender that does not read its replies loses them; the others do not wait.
            drop(socket.send_to(&reply::encode(addressed.reply), addressed.to));
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
        self.link.is_some() && (self.gateway.has_unsent() || self.line.is_some())
    }

    fn log(&mut self, line: String) {
        self.unlogged += 1;
        self.line = Some(line);
    }

    /// Sends a message to the supervisor; false if it was not sent. A broken link is closed.
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
