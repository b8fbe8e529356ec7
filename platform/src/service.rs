//! A service that the supervisor only looks after: a thread that talks to it for as long as the one that
//! works gets on, and has harm done to that one on request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    harm,
    ipc_link::{self, LinkReceiver, LinkSender},
    paths::Paths,
};
use common::{
    message::{Fault, FromPeer, Introduction, Service, ToService},
    units::Incarnation,
};

type Link = (LinkSender<FromPeer>, LinkReceiver<ToService>);

/// Pause between two tries to find a supervisor.
const AGAIN: Duration = Duration::from_millis(50);
/// How often it is seen that a link is broken.
const LOOK: Duration = Duration::from_millis(250);
/// How long it stays away when it is told to drop its link: longer than anybody waits for it.
const GONE: Duration = Duration::from_secs(3_600);

/// What the two threads tell each other.
#[derive(Default)]
pub struct Signs {
    /// Turns of the thread that works.
    beat: AtomicU64,
    hang: AtomicBool,
    slow_us: AtomicU32,
}

impl Signs {
    /// Called by the thread that works, in each turn, at least four times a second: it gets on, and acts out
    /// what was requested.
    pub fn act(&self) {
        self.beat.fetch_add(1, Ordering::Relaxed);
        while self.hang.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        let slow_us = self.slow_us.load(Ordering::Relaxed);
        if slow_us > 0 {
            thread::sleep(Duration::from_micros(slow_us.into()));
        }
    }
}

/// Starts to work, and serves until it is ended.
///
/// # Errors
/// When the machine gives no thread.
pub fn serve(
    paths: &Paths,
    service: Service,
    work: impl FnOnce(&Signs) + Send + 'static,
) -> std::io::Result<()> {
    let signs = Arc::new(Signs::default());
    let told = Arc::clone(&signs);
    thread::Builder::new()
        .name("work".into())
        .spawn(move || work(&told))?;
    let mut link: Option<Link> = None;
    let mut beat = u64::MAX;
    loop {
        let Some((sender, receiver)) = link.as_ref() else {
            link = connect(paths, service);
            match &link {
                Some((sender, _)) => drop(sender.send(FromPeer::Up)),
                None => thread::sleep(AGAIN),
            }
            continue;
        };
        match receiver.recv_for(LOOK) {
            Ok(None) => {}
            Ok(Some(ToService::Ping)) => {
                let now = signs.beat.load(Ordering::Relaxed);
                if now != beat {
                    let _ = sender.send(FromPeer::Pong);
                }
                beat = now;
            }
            Ok(Some(ToService::Inject(Fault::MuteControl))) => loop {
                thread::park();
            },
            Ok(Some(ToService::Inject(Fault::DropControl))) => {
                link = None;
                thread::sleep(GONE);
            }
            Ok(Some(ToService::Inject(Fault::Hang))) => {
                signs.hang.store(true, Ordering::Relaxed);
            }
            Ok(Some(ToService::Inject(Fault::Slow(us)))) => {
                signs.slow_us.store(us, Ordering::Relaxed);
            }
            Ok(Some(ToService::Inject(fault))) => harm::inflict(fault),
            Err(_) => link = None,
        }
    }
}

fn connect(paths: &Paths, service: Service) -> Option<Link> {
    let introduction = Introduction {
        service,
        pid: std::process::id(),
        incarnation: Incarnation::default(),
    };
    ipc_link::connect(paths, introduction).ok()
}
