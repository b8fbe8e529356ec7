//! The source of MIDI: a port of the machine, a virtual port that other programs connect to, or a pipe.
//!
//! The thread waits for a missing port. Opening, loss and return of the port are each reported once.

use std::{fs::File, io::Read, thread, time::Duration};

use anyhow::{Context, Result, bail};
use midir::{Ignore, MidiInput, MidiInputConnection, os::unix::VirtualInput};
use platform::realtime;

/// An event of a port.
pub enum Heard<'a> {
    /// The port has opened, with its name.
    Opened(&'a str),
    /// The arrival of bytes as an NTP timestamp, and the bytes.
    Bytes(u64, &'a [u8]),
    /// The port is missing, and why.
    Missing(&'a str),
}

/// The receiver of port events.
pub trait Ear: Clone + Send + 'static {
    /// Handles an event at once.
    fn hear(&self, heard: Heard<'_>);
}

/// The name of this program's ports.
const NAME: &str = "understudy";
/// The period of searching for a missing port.
const LOOK: Duration = Duration::from_millis(250);
/// The period of checking an open port: the longest delay between its loss and the release of its keys.
const WATCH: Duration = Duration::from_millis(50);

/// Passes on the events of a port, forever; waits for a missing port.
pub fn listen(port: &str, ear: &impl Ear) {
    loop {
        let outcome = match port.split_once(':') {
            Some(("file", path)) => pipe(path, ear),
            _ => real(port, ear),
        };
        match outcome {
            Ok(()) => ear.hear(Heard::Missing("the port is gone")),
            Err(why) => ear.hear(Heard::Missing(&format!("{why:#}"))),
        }
        thread::sleep(LOOK);
    }
}

fn input() -> Result<MidiInput> {
    let mut input = MidiInput::new(NAME).context("the machine has no ALSA sequencer")?;
    // Receive the clock, but ignore system exclusive and active sensing messages.
    input.ignore(Ignore::SysexAndActiveSense);
    Ok(input)
}

/// Passes on the events of a port until its loss.
fn real(wanted: &str, ear: &impl Ear) -> Result<()> {
    let input = input()?;
    let to = ear.clone();
    let hand_on = move |_: u64, bytes: &[u8], (): &mut ()| {
        to.hear(Heard::Bytes(realtime::monotonic_ntp(), bytes));
    };
    if wanted == "virtual" {
        let open = input.create_virtual(NAME, hand_on, ());
        let _open: MidiInputConnection<()> = open.map_err(|why| anyhow::anyhow!("{why}"))?;
        ear.hear(Heard::Opened(NAME));
        loop {
            thread::park();
        }
    }
    let name = |port| input.port_name(port).unwrap_or_default();
    let ports = input.ports();
    let fits = |name: &str| match wanted {
        // Never select the machine's loopback port.
        "auto" => !name.contains("Midi Through"),
        part => name.to_lowercase().contains(&part.to_lowercase()),
    };
    let Some(port) = ports.iter().find(|port| fits(&name(port))) else {
        let names: Vec<String> = ports.iter().map(name).collect();
        bail!("no such port (expected one of {names:?})");
    };
    let (id, name) = (port.id(), name(port));
    let open = input.connect(port, NAME, hand_on, ());
    let _open: MidiInputConnection<()> = open.map_err(|why| anyhow::anyhow!("{why}"))?;
    ear.hear(Heard::Opened(&name));
    let looking = self::input()?;
    while looking.ports().iter().any(|port| port.id() == id) {
        thread::sleep(WATCH);
    }
    Ok(())
}

/// Passes on the bytes of a pipe until no program has it open.
fn pipe(path: &str, ear: &impl Ear) -> Result<()> {
    let mut file = File::open(path).with_context(|| format!("cannot open {path}"))?;
    ear.hear(Heard::Opened(path));
    // Bytes that are read but not handled are lost with this process; unread ones wait in the pipe.
    let mut bytes = [0; 16];
    loop {
        let length = file.read(&mut bytes)?;
        if length == 0 {
            return Ok(());
        }
        let bytes = bytes.get(..length).unwrap_or_default();
        ear.hear(Heard::Bytes(realtime::monotonic_ntp(), bytes));
    }
}
