//! Watches the device on which PulseAudio plays: the default device may change, a named device may return.
//!
//! The server moves a stream when the default device changes or the stream's device is unplugged, and tells its clients,
//! but cpal does not report this. PipeWire does the same for its default device, ends a stream whose named device
//! disappears, and reports that as an error of the stream; a JACK server has one device; ALSA's device is the one that
//! was opened. So a thread queries only PulseAudio, once a second, through one permanent connection: cpal's host leaks a
//! thread for each connection.

use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use cpal::{HostId, traits::HostTrait};

use super::hosts::{is_meant, shown};

const PERIOD: Duration = Duration::from_secs(1);

/// A change of the device.
pub struct News {
    /// The device that plays now.
    pub name: String,
    /// Whether the named device has returned, so that a stream should be opened on it.
    pub returned: bool,
}

/// The handle of the watching thread; dropping it ends the thread.
pub struct Watch {
    told: Receiver<News>,
    _stop: Sender<()>,
}

impl Watch {
    /// Watches a sound system if necessary; `wish` is the requested device, `name` the one that plays.
    pub fn over(host: HostId, wish: Option<&str>, name: &str) -> Option<Self> {
        if host.name() != "PulseAudio" {
            return None;
        }
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = mpsc::channel();
        let (wish, name) = (wish.map(String::from), name.to_owned());
        let watch = move || watch(host, wish.as_deref(), name, &tell, &stopped);
        let thread = thread::Builder::new().name("watch".into()).spawn(watch);
        thread.is_ok().then_some(Self { told, _stop: stop })
    }

    /// The change since the last call, if any.
    pub fn news(&self) -> Option<News> {
        self.told.try_iter().last()
    }
}

fn watch(
    id: HostId,
    wish: Option<&str>,
    mut playing: String,
    tell: &Sender<News>,
    stopped: &Receiver<()>,
) {
    let Ok(host) = cpal::host_from_id(id) else {
        return;
    };
    let mut there = true;
    while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
        let wished = wish.map(|wish| {
            let mut devices = host.output_devices().into_iter().flatten();
            devices.any(|device| is_meant(&device, wish))
        });
        let returned = wished == Some(true) && !there;
        there = wished.unwrap_or(true);
        if wished == Some(true) && !returned {
            continue;
        }
        let default = host.default_output_device().map(|device| shown(&device));
        let Some(name) = default else { continue };
        if returned || name != playing {
            playing.clone_from(&name);
            if tell.send(News { name, returned }).is_err() {
                return;
            }
        }
    }
}
