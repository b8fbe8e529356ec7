//! The link to the supervisor, held for as long as there is one: linked → broken → linked again.
//!
//! ipc-channel's receive blocks, so one thread waits on it and hands everything to the async side
//! through a bounded queue. Faults that need a whole thread or process are carried out here.

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
    link::{self, LinkReceiver, LinkSender},
    paths::Paths,
};
use tokio::sync::mpsc;

/// A supervisor is back within a second or the stack is gone; an orphan must not stay.
const GIVE_UP: Duration = Duration::from_secs(60);
/// How often it is seen that the sending end has failed while the receiving end has not.
const LOOK: Duration = Duration::from_secs(1);

/// What the thread has to tell.
pub enum News {
    /// There is a link; the flag ends it from this side.
    Up(LinkSender<FromPeer>, Arc<AtomicBool>),
    /// The supervisor said something.
    Said(ToGateway),
    /// The link is gone; a new one is being sought.
    Down,
    /// No supervisor came; the reason of the last try.
    GivenUp(String),
}

/// Seeks the supervisor of that instance, now and whenever it is lost.
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
            // Closed before the async side hears of it, so that the supervisor sees it too.
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
        match link::connect::<ToGateway>(paths, introduction) {
            Ok(link) => return Ok(link),
            Err(error) if start.elapsed() > GIVE_UP => return Err(error.to_string()),
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// Hands on what the supervisor says until the link ends.
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

/// The rest harms the thread that serves datagrams.
fn harmful_here(fault: Fault) -> bool {
    !matches!(
        fault,
        Fault::Hang | Fault::Slow(_) | Fault::Nan | Fault::Flip | Fault::Signal(_)
    )
}

fn harm_now(fault: Fault) {
    harm::inflict(fault);
    if fault == Fault::MuteControl {
        // Neither reads nor closes, for ever.
        loop {
            thread::park();
        }
    }
}
