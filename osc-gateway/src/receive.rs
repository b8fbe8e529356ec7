//! The loop that serves: datagrams, news of the supervisor, and what is due to be told.
//!
//! One task, no locks. Each turn takes what has arrived, up to a bound, and then flushes: batches
//! to the supervisor, replies to senders, counts and log lines at most so often. It waits on
//! nothing but its three sources; a full link or socket means trying again, not waiting.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use common::message::{Fault, FromPeer, ToGateway};
use platform::link::{LinkError, LinkSender};
use tokio::{net::UdpSocket, sync::mpsc};

use crate::{gateway::Gateway, namespace::Namespace, reply, supervisor::News};

/// Datagrams in a turn, at the most: the supervisor's words must not starve.
const TURN: usize = 256;
/// Refusals are reported this often at the most.
const REPORT: Duration = Duration::from_millis(100);
/// A log line this often at the most.
const LOG: Duration = Duration::from_millis(500);
/// What could not be sent is tried again after this.
const AGAIN: Duration = Duration::from_millis(20);
/// Failures of the socket in a row after which it is beyond hope.
const FAILURES: u32 = 1_000;
/// No UDP datagram is longer: what is too long is seen as such.
const BUFFER: usize = 65_536;

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
pub async fn serve(socket: UdpSocket, mut news: mpsc::Receiver<News>) -> Result<(), ServeError> {
    let mut server = Server {
        gateway: Gateway::default(),
        link: None,
        reported: Instant::now(),
        logged: Instant::now(),
        unlogged: 0,
        line: None,
        slow: Duration::ZERO,
        failures: 0,
        buffer: vec![0; BUFFER],
    };
    loop {
        tokio::select! {
            arrived = news.recv() => match arrived {
                Some(arrived) => server.news(arrived)?,
                None => return Err(ServeError::Alone("the link's thread has ended".into())),
            },
            ready = socket.readable() => {
                ready?;
                server.receive(&socket)?;
            }
            () = tokio::time::sleep(AGAIN), if server.has_leftovers() => {}
        }
        server.flush(&socket);
    }
}

struct Server {
    gateway: Gateway,
    link: Option<(LinkSender<FromPeer>, Arc<AtomicBool>)>,
    reported: Instant,
    logged: Instant,
    unlogged: u64,
    line: Option<String>,
    slow: Duration,
    failures: u32,
    buffer: Vec<u8>,
}

impl Server {
    fn receive(&mut self, socket: &UdpSocket) -> Result<(), ServeError> {
        for _ in 0..TURN {
            match socket.try_recv_from(&mut self.buffer) {
                Ok((length, sender)) => {
                    self.failures = 0;
                    if !self.slow.is_zero() {
                        std::thread::sleep(self.slow);
                    }
                    let bytes = self.buffer.get(..length).unwrap_or_default();
                    self.gateway.datagram(sender, bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    // A reply that reached nobody can come back as an error of the next read.
                    self.failures += 1;
                    if self.failures > FAILURES {
                        return Err(error.into());
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn news(&mut self, news: News) -> Result<(), ServeError> {
        match news {
            News::Up(link, ended) => {
                self.link = Some((link, ended));
                self.tell(FromPeer::Up);
            }
            News::Down => self.lost(),
            News::GivenUp(why) => return Err(ServeError::Alone(why)),
            News::Said(ToGateway::Outcomes(outcomes)) => self.gateway.outcomes(outcomes),
            News::Said(ToGateway::Patch { generation, json }) => {
                match Namespace::of_patch(generation, &json) {
                    Ok(namespace) => self.gateway.patch(namespace),
                    Err(why) => {
                        let line =
                            format!("patch {generation} has no names for the gateway: {why}");
                        self.log(line);
                        self.gateway.patch(Namespace {
                            generation,
                            modules: Vec::new(),
                        });
                    }
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
        for addressed in self.gateway.replies() {
            // A sender that does not read its replies loses them; nobody else waits for it.
            drop(socket.try_send_to(&reply::encode(addressed.reply), addressed.to));
        }
        if let Some(complaint) = self.gateway.complaint() {
            self.log(complaint);
        }
        let rejected = self.gateway.rejected();
        if rejected > 0
            && self.reported.elapsed() >= REPORT
            && self.tell(FromPeer::Rejected(rejected))
        {
            self.gateway.reported(rejected);
            self.reported = Instant::now();
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
            && (self.gateway.has_unsent() || self.gateway.rejected() > 0 || self.line.is_some())
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
