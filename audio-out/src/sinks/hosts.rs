//! The sound systems, their devices, and the devices that `--sink` names.
//!
//! PipeWire, PulseAudio, JACK and ALSA, in this order, each through its own cpal host, if this program was built with
//! it. PipeWire and JACK are queried only if their server's socket exists: cpal remembers forever that PipeWire was
//! absent, and libjack writes errors to standard error.

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

/// The pause between two attempts to reach a sound server.
const AGAIN: Duration = Duration::from_millis(150);
/// The time limit for an answer of a sound server.
const ANSWERS: Duration = Duration::from_secs(4);

/// A device that was found.
pub struct Found {
    /// The sound system.
    pub host: HostId,
    /// The device.
    pub device: Device,
    /// The displayed name.
    pub name: String,
}

/// The device that `--sink` requests: any device, a sound system's default device, or a device by name.
#[derive(Clone)]
pub struct Wish {
    text: Option<String>,
    /// The sound system that has played before; no other is tried any more.
    kept: Option<HostId>,
}

impl Wish {
    /// A wish for the device with this name, or for the default one.
    pub fn new(text: Option<&str>) -> Self {
        Self {
            text: text.map(Into::into),
            kept: None,
        }
    }

    /// Restricts the wish to this sound system.
    pub fn keep(&mut self, host: HostId) {
        self.kept = Some(host);
    }

    /// The requested name, if it is that of a device and not of a sound system.
    pub fn name(&self) -> Option<&str> {
        self.text.as_deref().filter(|text| system(text).is_none())
    }

    /// All devices that match the wish, best first: one of each available sound system. For a device by name, a sound
    /// system that does not answer is queried again for a while, since it may have the device.
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
                    .push(format!("{}: the device is missing", id.name())),
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
            None => anyhow!("no device found ({troubles})"),
        }
    }
}

/// The result of a query of the sound systems.
#[derive(Default)]
struct Look {
    found: Vec<Found>,
    /// The names of devices that do not match.
    others: BTreeSet<String>,
    /// The problem of each sound system, and whether one of them did not answer.
    troubles: Vec<String>,
    unanswered: bool,
}

/// The sound system with this name, if this program was built with it.
fn system(name: &str) -> Option<HostId> {
    let mut all = cpal::ALL_HOSTS.iter().copied();
    all.find(|id| id.name().eq_ignore_ascii_case(name))
}

/// The sound system in the name of a device, as in `pulseaudio:usb`.
fn system_of(name: &str) -> Option<HostId> {
    system(name.split_once(':')?.0)
}

/// The available sound systems.
fn hosts() -> impl Iterator<Item = HostId> {
    cpal::ALL_HOSTS
        .iter()
        .copied()
        .filter(|id| shows_itself(*id))
}

/// Connects to a sound system; a newly started server may refuse at first.
fn ask(id: HostId) -> Result<Host, cpal::Error> {
    let again = |_| {
        thread::sleep(AGAIN);
        cpal::host_from_id(id)
    };
    cpal::host_from_id(id).or_else(again).or_else(again)
}

/// Whether the sound system appears to run.
fn shows_itself(host: HostId) -> bool {
    match host.name() {
        "PipeWire" => pipewire_socket(),
        "JACK" => jack_socket(),
        _ => true,
    }
}

/// Whether PipeWire's socket exists where cpal looks for it.
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

/// Whether a JACK server's socket exists: `/dev/shm/jack_NAME_USER_0`, or without the user.
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

/// The host's device with this name or identifier; collects the names of the others.
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

/// Whether the wish is the device's name, or its identifier with or without that of the sound system.
pub fn is_meant(device: &Device, wish: &str) -> bool {
    let identified = device.id().is_ok_and(|id| {
        let id = id.to_string();
        id == wish || id.split_once(':').is_some_and(|(_, id)| id == wish)
    });
    identified || shown(device) == wish
}

/// The displayed name of a device.
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
