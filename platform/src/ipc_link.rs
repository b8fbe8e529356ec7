//! Links: ipc-channel connections between the supervisor and its peers.
//!
//! A peer asks at the control socket for a one-shot server and hands both ends of the link over in its
//! first message. ipc-channel has no `try_send`, and its send blocks once the receiver stops reading.
//! Therefore each link has a sender thread behind a bounded queue: the caller never waits, and sees for
//! how long the peer has not read.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use common::message::{Answer, FromPeer, Introduction, Request};
use ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    control::{self, ControlError},
    fd,
    paths::Paths,
};

/// How many messages may wait for a peer. The limit is a count, not a queue with preallocated places: such
/// a queue would touch page after page of its own memory as messages pass through, for each link.
const QUEUE: usize = 1_024;
/// How many descriptors a link may need while it is set up. ipc-channel panics if it gets none, so their
/// number is checked before.
const DESCRIPTORS: usize = 12;
/// How long a connection may take. A peer that was given a server's name connects at once or never.
const CONNECT: Duration = Duration::from_secs(2);

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The control socket gave no answer.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The supervisor refused.
    #[error("the supervisor has refused a link: {0}")]
    Refused(String),
    /// ipc-channel failed.
    #[error("no link to the supervisor: {0}")]
    Ipc(#[from] io::Error),
    /// The other end is gone.
    #[error("the link is broken")]
    Broken,
    /// The other end has stopped reading.
    #[error("the link is full: the peer does not read")]
    Full,
}

/// The first message on a link: the peer's introduction, and the two ends that the peer has made for the
/// supervisor.
#[derive(Serialize, Deserialize)]
struct Hail<To>
where
    To: Serialize,
{
    introduction: Introduction,
    to_peer: IpcSender<To>,
    from_peer: IpcReceiver<FromPeer>,
}

/// The sending end of a link; never blocks.
pub struct LinkSender<T> {
    queue: Sender<T>,
    progress: Arc<Progress>,
}

struct Progress {
    start: Instant,
    /// When the send in progress began, in ms since `start`, plus 1; 0 if no send is in progress.
    since_ms: AtomicU64,
    /// How many messages wait.
    waiting: AtomicUsize,
    broken: AtomicBool,
}

impl<T: Serialize + Send + 'static> LinkSender<T> {
    fn over(channel: IpcSender<T>) -> io::Result<Self> {
        let (queue, waiting) = mpsc::channel::<T>();
        let progress = Arc::new(Progress {
            start: Instant::now(),
            since_ms: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        });
        let shared = Arc::clone(&progress);
        thread::Builder::new().spawn(move || {
            while let Ok(message) = waiting.recv() {
                shared.waiting.fetch_sub(1, Ordering::Relaxed);
                let now = shared.start.elapsed().as_millis() as u64 + 1;
                shared.since_ms.store(now, Ordering::Relaxed);
                let sent = channel.send(message);
                shared.since_ms.store(0, Ordering::Relaxed);
                if sent.is_err() {
                    shared.broken.store(true, Ordering::Relaxed);
                    return;
                }
            }
        })?;
        Ok(Self { queue, progress })
    }

    /// Queues a message.
    ///
    /// # Errors
    /// When the other end is gone, or when the queue is full because the other end has stopped reading.
    pub fn send(&self, message: T) -> Result<(), LinkError> {
        if self.progress.broken.load(Ordering::Relaxed) {
            return Err(LinkError::Broken);
        }
        let waiting = &self.progress.waiting;
        if waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(LinkError::Full);
        }
        self.queue.send(message).map_err(|_| LinkError::Broken)
    }

    /// For how long the send in progress has been blocked; zero if no send is in progress.
    #[must_use]
    pub fn stalled(&self) -> Duration {
        match self.progress.since_ms.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self
                .progress
                .start
                .elapsed()
                .saturating_sub(Duration::from_millis(since - 1)),
        }
    }
}

/// The receiving end of a link, for a thread that may block.
pub struct LinkReceiver<T> {
    channel: IpcReceiver<T>,
}

impl<T: DeserializeOwned + Serialize> LinkReceiver<T> {
    /// Waits for the next message.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn recv(&self) -> Result<T, LinkError> {
        self.channel.recv().map_err(|_| LinkError::Broken)
    }

    /// Waits for the next message, for at most `timeout`; `None` if none came.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn recv_for(&self, timeout: Duration) -> Result<Option<T>, LinkError> {
        match self.channel.try_recv_timeout(timeout) {
            Ok(message) => Ok(Some(message)),
            Err(ipc_channel::TryRecvError::Empty) => Ok(None),
            Err(ipc_channel::TryRecvError::IpcError(_)) => Err(LinkError::Broken),
        }
    }
}

/// Connects a peer to the supervisor.
///
/// # Errors
/// When no supervisor answers, the supervisor refuses, or the connection fails. Try again later.
pub fn connect<To>(
    paths: &Paths,
    introduction: Introduction,
) -> Result<(LinkSender<FromPeer>, LinkReceiver<To>), LinkError>
where
    To: Serialize + DeserializeOwned,
{
    let request = Request::Link(introduction.clone());
    let name = match control::ask(paths, &request, CONNECT)? {
        Answer::Ok(serde_json::Value::String(name)) => name,
        Answer::Ok(other) => return Err(LinkError::Refused(format!("no name, but {other}"))),
        Answer::No(why) => return Err(LinkError::Refused(why)),
    };
    fd::are_free(DESCRIPTORS)?;
    let (to_peer, receiver) = ipc::channel::<To>()?;
    let (sender, from_peer) = ipc::channel::<FromPeer>()?;
    let server = IpcSender::<Hail<To>>::connect(name)?;
    server
        .send(Hail {
            introduction,
            to_peer,
            from_peer,
        })
        .map_err(|_| LinkError::Broken)?;
    Ok((
        LinkSender::over(sender)?,
        LinkReceiver { channel: receiver },
    ))
}

/// Offers a link. Returns the name of a one-shot server, and calls `linked` on a thread of its own once
/// the peer has connected. A peer that has not connected after two seconds is given up.
///
/// # Errors
/// When ipc-channel cannot create a server.
pub fn offer<To>(
    linked: impl FnOnce(Introduction, LinkSender<To>, LinkReceiver<FromPeer>) + Send + 'static,
) -> Result<String, LinkError>
where
    To: Serialize + DeserializeOwned + Send + 'static,
{
    fd::are_free(DESCRIPTORS)?;
    let (server, name) = IpcOneShotServer::<Hail<To>>::new()?;
    let (come, seen) = mpsc::channel::<()>();
    let guard_name = name.clone();
    thread::Builder::new().spawn(move || {
        if seen.recv_timeout(CONNECT) == Err(RecvTimeoutError::Timeout) {
            // `accept` has no time-out; a connection without a message makes it return.
            drop(IpcSender::<Hail<To>>::connect(guard_name));
        }
    })?;
    thread::Builder::new().spawn(move || {
        let accepted = server.accept();
        drop(come);
        // If no sender thread can be started, there is no link. The peer finds the link broken and
        // connects again.
        if let Ok((_, hail)) = accepted
            && let Ok(sender) = LinkSender::over(hail.to_peer)
        {
            let receiver = LinkReceiver {
                channel: hail.from_peer,
            };
            linked(hail.introduction, sender, receiver);
        }
    })?;
    Ok(name)
}
