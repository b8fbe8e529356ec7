//! The sound systems, their devices, and which of them `--sink` means.
//!
//! PipeWire, PulseAudio, JACK, ALSA, in this order, each through its own cpal host, as far as this program
//! was built with it. PipeWire and JACK are asked only if their server's socket exists: cpal remembers for
//! ever that PipeWire was absent, and libjack writes complaints to standard error.

use std::{
    collections::BTreeSet,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use cpal::{
    Device, Host, HostId,
    traits::{DeviceTrait, HostTrait},
};
use serde_json::{Value, json};

/// Between two tries to reach a sound server.
const AGAIN: Duration = Duration::from_millis(150);
/// How long a sound server may take to answer.
const ANSWERS: Duration = Duration::from_secs(4);

/// A device that was looked for and found.
pub struct Found {
    /// Its sound system.
    pub host: HostId,
    /// The device.
    pub device: Device,
    /// As it is shown.
    pub name: String,
}

/// What `--sink` asks for: any device, a sound system's default device, or a device by name.
#[derive(Clone)]
pub struct Wish {
    text: Option<String>,
    /// The sound system that has played before; the others are no longer tried.
    kept: Option<HostId>,
}

impl Wish {
    /// The device of that name, or the default one.
    pub fn new(text: Option<&str>) -> Self {
        Self {
            text: text.map(Into::into),
            kept: None,
        }
    }

    /// From now on with this sound system only.
    pub fn keep(&mut self, host: HostId) {
        self.kept = Some(host);
    }

    /// The name that was asked for, if it is one device's and not a sound system's.
    pub fn name(&self) -> Option<&str> {
        self.text.as_deref().filter(|text| system(text).is_none())
    }

    /// All devices that it may mean, best first: one of each available sound system. A sound system that does
    /// not answer is asked again for a while if a device was asked for by name: it may have it.
    pub fn find(&self) -> Result<Vec<Found>> {
        let begun = Instant::now();
        loop {
            let look = self.look();
            if !look.found.is_empty() {
                return Ok(look.found);
            }
            if self.text.is_none() || !look.unanswered || begun.elapsed() > ANSWERS {
                return Err(self.not_found(&look));
            }
            thread::sleep(AGAIN);
        }
    }

    fn look(&self) -> Look {
        let mut look = Look::default();
        let text = self.text.as_deref();
        let whole = text.and_then(system);
        let only = self.kept.or(whole).or_else(|| text.and_then(system_of));
        for id in hosts().filter(|id| only.is_none_or(|only| only == *id)) {
            let host = match ask(id) {
                Ok(host) => host,
                Err(why) => {
                    look.unanswered = true;
                    look.troubles.push(format!("{}: {why}", id.name()));
                    continue;
                }
            };
            let device = match text {
                Some(name) if whole.is_none() => named(&host, name, &mut look.others),
                _ => Ok(host.default_output_device()),
            };
            match device {
                Ok(Some(device)) => look.found.push(Found {
                    host: id,
                    name: shown(&device),
                    device,
                }),
                Ok(None) => look
                    .troubles
                    .push(format!("{}: it is not there", id.name())),
                Err(why) => {
                    look.unanswered = true;
                    look.troubles.push(format!("{}: {why}", id.name()));
                }
            }
        }
        look
    }

    fn not_found(&self, look: &Look) -> anyhow::Error {
        let troubles = look.troubles.join("; ");
        match self.text.as_deref() {
            Some(name) if system(name).is_none() && self.kept.is_none() && !look.unanswered => {
                let others = Vec::from_iter(look.others.iter().map(String::as_str)).join(", ");
                anyhow!(
                    "no device \"{name}\" (expected one of those that `understudy devices` lists: {others})"
                )
            }
            Some(name) => anyhow!("no device \"{name}\" ({troubles})"),
            None => anyhow!("there is no device ({troubles})"),
        }
    }
}

/// What a look at the sound systems has found.
#[derive(Default)]
struct Look {
    found: Vec<Found>,
    /// The names of devices that were not meant.
    others: BTreeSet<String>,
    /// What is wrong with each sound system, and whether one of them did not answer.
    troubles: Vec<String>,
    unanswered: bool,
}

/// The sound system of that name, where this program was built with it.
fn system(name: &str) -> Option<HostId> {
    let mut all = cpal::ALL_HOSTS.iter().copied();
    all.find(|id| id.name().eq_ignore_ascii_case(name))
}

/// The sound system of a device that is named with it, `pulseaudio:usb`.
fn system_of(name: &str) -> Option<HostId> {
    system(name.split_once(':')?.0)
}

/// The sound systems that are there.
fn hosts() -> impl Iterator<Item = HostId> {
    cpal::ALL_HOSTS
        .iter()
        .copied()
        .filter(|id| shows_itself(*id))
}

/// Asks it; a server that has just been started may hang up at first.
fn ask(id: HostId) -> Result<Host, cpal::Error> {
    let again = |_| {
        thread::sleep(AGAIN);
        cpal::host_from_id(id)
    };
    cpal::host_from_id(id).or_else(again).or_else(again)
}

/// Whether it is worth asking.
fn shows_itself(host: HostId) -> bool {
    match host.name() {
        "PipeWire" => pipewire_socket(),
        "JACK" => jack_socket(),
        _ => true,
    }
}

/// Where cpal looks for PipeWire's socket.
fn pipewire_socket() -> bool {
    let folder = |name| std::env::var_os(name).map(PathBuf::from);
    let runtime = folder("XDG_RUNTIME_DIR");
    let above = runtime
        .as_deref()
        .and_then(Path::parent)
        .map(Path::to_path_buf);
    [folder("PIPEWIRE_RUNTIME_DIR"), runtime, above]
        .into_iter()
        .flatten()
        .any(|folder| folder.join("pipewire-0").exists())
}

/// Where a JACK server listens: `/dev/shm/jack_NAME_USER_0`, or without the user.
fn jack_socket() -> bool {
    let server = std::env::var("JACK_DEFAULT_SERVER").unwrap_or_else(|_| "default".into());
    let start = format!("jack_{server}_");
    let entries = std::fs::read_dir("/dev/shm")
        .into_iter()
        .flatten()
        .flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&start))
        .any(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()))
}

/// The host's device of that name or identifier; the others' names are noted.
fn named(
    host: &Host,
    wish: &str,
    others: &mut BTreeSet<String>,
) -> Result<Option<Device>, cpal::Error> {
    for device in host.output_devices()? {
        if is_meant(&device, wish) {
            return Ok(Some(device));
        }
        others.insert(shown(&device));
    }
    Ok(None)
}

/// Whether the wish is the device's name, or its identifier with or without the sound system's.
pub fn is_meant(device: &Device, wish: &str) -> bool {
    let identified = device.id().is_ok_and(|id| {
        let id = id.to_string();
        id == wish || id.split_once(':').is_some_and(|(_, id)| id == wish)
    });
    identified || shown(device) == wish
}

/// A device as it is shown.
pub fn shown(device: &Device) -> String {
    device.to_string()
}

/// All devices of all sound systems, for `understudy devices`.
pub fn list() -> Value {
    let systems: Vec<Value> = cpal::ALL_HOSTS
        .iter()
        .map(|id| match shows_itself(*id).then(|| ask(*id)) {
            Some(Ok(host)) => {
                let default = host.default_output_device().and_then(|d| d.id().ok());
                let devices = host.output_devices().into_iter().flatten();
                let devices: Vec<Value> = devices
                    .filter_map(|device| {
                        let sink = device.id().ok()?;
                        Some(json!({
                            "sink": format!("device:{sink}"), "name": shown(&device),
                            "default": Some(&sink) == default.as_ref(),
                        }))
                    })
                    .collect();
                json!({ "system": id.name(), "state": "there", "devices": devices })
            }
            Some(Err(why)) => {
                json!({ "system": id.name(), "state": why.to_string(), "devices": [] })
            }
            None => json!({ "system": id.name(), "state": "no server runs", "devices": [] }),
        })
        .collect();
    json!(systems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_system_can_be_asked_for_and_is_no_device() {
        assert_eq!(Wish::new(Some("pulseaudio")).name(), None);
        assert_eq!(Wish::new(Some("alsa")).name(), None);
        assert_eq!(Wish::new(Some("hw:0,0")).name(), Some("hw:0,0"));
        assert_eq!(system_of("hw:0,0"), None);
        let of_alsa = system_of("alsa:hw:0,0").map(|id| id.name());
        assert_eq!(of_alsa, Some("ALSA"));
        assert_eq!(Wish::new(None).name(), None);
    }

    #[test]
    fn pulseaudio_comes_before_alsa() {
        let names: Vec<_> = cpal::ALL_HOSTS.iter().map(HostId::name).collect();
        let place = |name| names.iter().position(|n| *n == name);
        assert!(place("PulseAudio") < place("ALSA"), "{names:?}");
        assert!(place("PulseAudio").is_some());
    }
}
