//! The link to the supervisor: connects it, and connects again after a break.
//!
//! ipc-channel's receive blocks, so one thread waits for it and forwards all messages to the async side through a
//! bounded queue. Faults that need a whole thread or process are executed here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use common::{
    message::{Fault, FromPeer, Introduction, Service, ToGateway},
    units::Incarnation,
};
use platform::{
    harm,
    ipc_link::{self, LinkReceiver, LinkSender},
    paths::Paths,
};
use tokio::sync::mpsc;

/// A supervisor returns within a second unless the stack has ended; an orphaned gateway must end too.
const GIVE_UP: Duration = Duration::from_secs(60);
/// The period of checking whether only the sending end has failed.
const LOOK: Duration = Duration::from_secs(1);

/// A report of the thread.
pub enum News {
    /// The link is up; the flag ends it from this side.
    Up(LinkSender<FromPeer>, Arc<AtomicBool>),
    /// A message of the supervisor.
    Said(ToGateway),
    /// The link is broken; the thread is connecting again.
    Down,
    /// No supervisor has appeared; the error of the last attempt.
    GivenUp(String),
}

/// Connects to the supervisor of the instance, now and after each break.
#[must_use]
pub fn follow(paths: Paths) -> mpsc::Receiver<News> {
    let (news, out) = mpsc::channel(64);
    let failed = news.clone();
    let started = thread::Builder::new().spawn(move || {
        loop {
            let (sender, receiver) = match connect(&paths) {
                Ok(link) => link,
                Err(why) => {
                    drop(news.blocking_send(News::GivenUp(why)));
                    return;
                }
            };
            let ended = Arc::new(AtomicBool::new(false));
            if news
                .blocking_send(News::Up(sender, Arc::clone(&ended)))
                .is_err()
            {
                return;
            }
            forward(&receiver, &news, &ended);
            // Close the receiver before the async side is told, so that the supervisor sees the break too.
            drop(receiver);
            if news.blocking_send(News::Down).is_err() {
                return;
            }
        }
    });
    if let Err(why) = started {
        let _ = failed.try_send(News::GivenUp(why.to_string()));
    }
    out
}

fn connect(paths: &Paths) -> Result<(LinkSender<FromPeer>, LinkReceiver<ToGateway>), String> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        let introduction = Introduction {
            service: Service::OscGateway,
            pid: std::process::id(),
            incarnation: Incarnation(0),
        };
        match ipc_link::connect::<ToGateway>(paths, introduction) {
            Ok(link) => return Ok(link),
            Err(error) if start.elapsed() > GIVE_UP => return Err(error.to_string()),
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// Forwards the messages of the supervisor until the link ends.
fn forward(receiver: &LinkReceiver<ToGateway>, news: &mpsc::Sender<News>, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        match receiver.recv_for(LOOK) {
            Ok(None) => {}
            Ok(Some(ToGateway::Inject(Fault::DropControl))) | Err(_) => return,
            Ok(Some(ToGateway::Inject(fault))) if harmful_here(fault) => harm_now(fault),
            Ok(Some(said)) => {
                if news.blocking_send(News::Said(said)).is_err() {
                    return;
                }
            }
        }
    }
}

/// Whether the fault is executed on this thread; all other faults are executed on the serving thread.
fn harmful_here(fault: Fault) -> bool {
    !matches!(
        fault,
        Fault::Hang | Fault::Slow(_) | Fault::Nan | Fault::Flip | Fault::Signal(_)
    )
}

fn harm_now(fault: Fault) {
    harm::inflict(fault);
    if fault == Fault::MuteControl {
        // Neither read nor close the link, forever.
        loop {
            thread::park();
        }
    }
}
