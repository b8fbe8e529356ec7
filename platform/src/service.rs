//! The frame of a service that the supervisor only watches (recorder, MIDI input, Link). A control thread
//! answers the supervisor as long as the work thread makes progress, and inflicts injected faults on the
//! work thread.

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

/// Pause between two attempts to connect to a supervisor.
const AGAIN: Duration = Duration::from_millis(50);
/// Time-out of one receive on the link.
const LOOK: Duration = Duration::from_millis(250);
/// How long the control thread stays away after an injected `DropControl`: longer than anything waits for
/// it.
const GONE: Duration = Duration::from_secs(3_600);

/// What the control thread and the work thread share.
#[derive(Default)]
pub struct Signs {
    /// How often the work thread has called [`Self::act`].
    beat: AtomicU64,
    hang: AtomicBool,
    slow_us: AtomicU32,
}

impl Signs {
    /// Called by the work thread in each iteration, at least four times a second. Counts the iteration as
    /// progress and performs injected faults.
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

/// Starts the work thread, then serves the supervisor until the process is ended.
///
/// # Errors
/// When the operating system gives no thread.
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
