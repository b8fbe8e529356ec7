//! Watches which device PulseAudio plays on: the default device may change, a named one may come back.
//!
//! The server moves a stream by itself, when the default device changes or its device is unplugged, and
//! tells its clients so, but cpal does not pass that on. PipeWire does the same for its default device, ends
//! a stream whose named device goes, and says so through the stream's errors; a JACK server has one device;
//! ALSA's device is the one that was opened. So a thread asks only PulseAudio, once a second, through one
//! connection that it keeps: cpal's host leaks a thread for each connection.

use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use cpal::{HostId, traits::HostTrait};

use super::hosts::{is_meant, shown};

const PERIOD: Duration = Duration::from_secs(1);

/// What has changed.
pub struct News {
    /// The device that the sound goes to now.
    pub name: String,
    /// The named device has come back: the stream should be opened on it.
    pub returned: bool,
}

/// A thread that watches; it ends when this is dropped.
pub struct Watch {
    told: Receiver<News>,
    _stop: Sender<()>,
}

impl Watch {
    /// Watches a sound system where that is needed; `wish` is the device that was asked for, `name` the one
    /// that plays.
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

    /// What has changed since the last time, if anything has.
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
