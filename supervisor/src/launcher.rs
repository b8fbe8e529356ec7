//! The way to the launcher, and to another one when it dies: what must outlive it is kept here too.

use std::{
    io,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use common::message::ToLauncher;
use platform::{
    fd::{self, CONTROL, LAUNCHER, LOCK, OSC, SUPERVISOR},
    living, say,
};
use rustix::net::{RecvFlags, SendFlags};
use tokio::sync::mpsc;

use crate::event::Event;

/// A launcher that has lived for less is followed by the next only after a pause.
const HASTY: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);
/// Longest packet of a launcher; the longest lists a handful of processes.
const PACKET_BYTES: usize = 64 * 1024;

/// Where packets for the launcher go; the one that is there now.
#[derive(Clone)]
pub struct ToLauncherSocket(Arc<Mutex<Arc<OwnedFd>>>);

/// What is kept for the next launcher.
pub struct Keeper {
    socket: ToLauncherSocket,
    control: OwnedFd,
    osc: OwnedFd,
    lock: OwnedFd,
    /// The launcher, if it was started from here.
    child: Option<Child>,
}

impl ToLauncherSocket {
    /// Sends a packet; never waits.
    ///
    /// # Errors
    /// When there is no launcher, or it has not read for long.
    pub fn say(&self, packet: &ToLauncher) -> io::Result<()> {
        let text = serde_json::to_vec(packet)?;
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::net::send(&*self.get(), &text, flags)?;
        Ok(())
    }

    fn get(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, socket: OwnedFd) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(socket);
    }
}

impl Keeper {
    /// Takes what the launcher has handed down; `control` is a copy of the control socket.
    ///
    /// # Errors
    /// When something is missing.
    pub fn inherit(control: OwnedFd) -> Result<Self> {
        let inherited = |variable| fd::inherited(variable).context("the launcher hands down more");
        Ok(Self {
            socket: ToLauncherSocket(Arc::new(Mutex::new(Arc::new(inherited(LAUNCHER)?)))),
            control,
            osc: inherited(OSC)?,
            lock: inherited(LOCK)?,
            child: None,
        })
    }

    /// Where packets for the launcher go.
    pub fn socket(&self) -> ToLauncherSocket {
        self.socket.clone()
    }

    /// Hears the launcher, and starts another when it is gone, until the supervisor ends.
    pub fn keep(mut self, events: &mpsc::Sender<Event>) {
        while !events.is_closed() {
            let begun = Instant::now();
            self.hear(events);
            let _ = events.blocking_send(Event::LauncherGone);
            if let Some(mut child) = self.child.take() {
                let _ = child.wait();
            }
            if begun.elapsed() < HASTY {
                thread::sleep(PAUSE);
            }
            match self.start() {
                Ok(()) => drop(events.blocking_send(Event::LauncherCame)),
                Err(why) => drop(events.blocking_send(Event::NoLauncher(why.to_string()))),
            }
        }
    }

    /// Turns its packets into events, until it is gone.
    fn hear(&self, events: &mpsc::Sender<Event>) {
        let socket = self.socket.get();
        let mut buffer = vec![0; PACKET_BYTES];
        while let Ok((length, _)) =
            rustix::net::recv(&*socket, buffer.as_mut_slice(), RecvFlags::empty())
        {
            let packet = buffer
                .get(..length)
                .and_then(|text| serde_json::from_slice(text).ok());
            match packet {
                Some(packet) => drop(events.blocking_send(Event::Launcher(packet))),
                None if length == 0 => return,
                None => say::line(
                    "supervisor",
                    "the launcher said something that is not understood",
                ),
            }
        }
    }

    /// Starts a launcher, which finds the processes of the one before.
    fn start(&mut self) -> io::Result<()> {
        let (ours, launchers) = fd::packet_pair()?;
        let mut command = Command::new(std::env::current_exe()?.with_file_name(living::LAUNCHER));
        command.stdin(Stdio::null());
        let handed = [
            (SUPERVISOR, &launchers),
            (LAUNCHER, &ours),
            (CONTROL, &self.control),
            (OSC, &self.osc),
            (LOCK, &self.lock),
        ];
        self.child = Some(fd::spawn_with(&mut command, &handed)?);
        self.socket.set(ours);
        Ok(())
    }
}
