//! The connection to the launcher, and the start of another launcher after its death: the supervisor also holds the
//! descriptors that must outlive the launcher.

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

use crate::event::Incoming;

/// After a launcher with a shorter life the next one starts only after a pause.
const HASTY: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);
/// The longest packet of a launcher; the longest packet lists a handful of processes.
const PACKET_BYTES: usize = 64 * 1024;

/// The socket for packets to the current launcher.
#[derive(Clone)]
pub struct ToLauncherSocket(Arc<Mutex<Arc<OwnedFd>>>);

/// The descriptors for the next launcher.
pub struct LauncherWatch {
    socket: ToLauncherSocket,
    control: OwnedFd,
    osc: OwnedFd,
    lock: OwnedFd,
    /// The launcher, if this process has started it.
    child: Option<Child>,
}

impl ToLauncherSocket {
    /// Sends a packet; never waits.
    ///
    /// # Errors
    /// If there is no launcher, or the launcher does not read its packets.
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

impl LauncherWatch {
    /// Takes the inherited descriptors; `control` is a copy of the control socket.
    ///
    /// # Errors
    /// If a descriptor is missing.
    pub fn inherit(control: OwnedFd) -> Result<Self> {
        let inherited = |variable| fd::inherited(variable).context("a descriptor is missing");
        Ok(Self {
            socket: ToLauncherSocket(Arc::new(Mutex::new(Arc::new(inherited(LAUNCHER)?)))),
            control,
            osc: inherited(OSC)?,
            lock: inherited(LOCK)?,
            child: None,
        })
    }

    /// The socket for packets to the launcher.
    pub fn socket(&self) -> ToLauncherSocket {
        self.socket.clone()
    }

    /// Receives packets of the launcher, and starts another launcher after its end, until the supervisor ends.
    pub fn keep(mut self, events: &mpsc::Sender<Incoming>) {
        while !events.is_closed() {
            let begun = Instant::now();
            self.hear(events);
            let _ = events.blocking_send(Incoming::LauncherGone);
            if let Some(mut child) = self.child.take() {
                let _ = child.wait();
            }
            if begun.elapsed() < HASTY {
                thread::sleep(PAUSE);
            }
            match self.start() {
                Ok(()) => drop(events.blocking_send(Incoming::LauncherCame)),
                Err(why) => drop(events.blocking_send(Incoming::NoLauncher(why.to_string()))),
            }
        }
    }

    /// Converts the packets of the launcher to events until the launcher ends.
    fn hear(&self, events: &mpsc::Sender<Incoming>) {
        let socket = self.socket.get();
        let mut buffer = vec![0; PACKET_BYTES];
        while let Ok((length, _)) =
            rustix::net::recv(&*socket, buffer.as_mut_slice(), RecvFlags::empty())
        {
            let packet = buffer
                .get(..length)
                .and_then(|text| serde_json::from_slice(text).ok());
            match packet {
                Some(packet) => drop(events.blocking_send(Incoming::Launcher(packet))),
                None if length == 0 => return,
                None => say::line("supervisor", "the launcher has sent an invalid packet"),
            }
        }
    }

    /// Starts a launcher, which adopts the processes of the earlier one.
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
