//! Where MIDI comes from: a port of the machine, one that others connect to, or a pipe that stands for one.
//!
//! A missing port is waited for. Its coming, going and coming back are each reported once.

use std::{fs::File, io::Read, thread, time::Duration};

use anyhow::{Context, Result, bail};
use midir::{Ignore, MidiInput, MidiInputConnection, os::unix::VirtualInput};
use platform::realtime;

/// What a port does.
pub enum Heard<'a> {
    /// It is there, by that name.
    Opened(&'a str),
    /// When bytes came, as an NTP timestamp, and the bytes.
    Bytes(u64, &'a [u8]),
    /// It is not there, any more or yet, and why.
    Missing(&'a str),
}

/// Who is told.
pub trait Ear: Clone + Send + 'static {
    /// Takes it in at once.
    fn hear(&self, heard: Heard<'_>);
}

/// Our name among ports.
const NAME: &str = "understudy";
/// How often a port that is missing is looked for.
const LOOK: Duration = Duration::from_millis(250);
/// How often an open port is checked: after its loss, keys are released no later than this.
const WATCH: Duration = Duration::from_millis(50);

/// Hands on what comes in, for ever; a port that is not there, or goes, is waited for.
pub fn listen(port: &str, ear: &impl Ear) {
    loop {
        let outcome = match port.split_once(':') {
            Some(("file", path)) => pipe(path, ear),
            _ => real(port, ear),
        };
        match outcome {
            Ok(()) => ear.hear(Heard::Missing("it is gone")),
            Err(why) => ear.hear(Heard::Missing(&format!("{why:#}"))),
        }
        thread::sleep(LOOK);
    }
}

fn input() -> Result<MidiInput> {
    let mut input = MidiInput::new(NAME).context("this machine has no ALSA sequencer")?;
    // The clock is heard; what is neither a note nor time is not.
    input.ignore(Ignore::SysexAndActiveSense);
    Ok(input)
}

/// Hands on what comes from a port until it is gone.
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
        // Nobody means the machine's own loop.
        "auto" => !name.contains("Midi Through"),
        part => name.to_lowercase().contains(&part.to_lowercase()),
    };
    let Some(port) = ports.iter().find(|port| fits(&name(port))) else {
        let names: Vec<String> = ports.iter().map(name).collect();
        bail!("there are {names:?}");
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

/// Hands on what is written into a pipe until nobody has it open.
fn pipe(path: &str, ear: &impl Ear) -> Result<()> {
    let mut file = File::open(path).with_context(|| format!("cannot open {path}"))?;
    ear.hear(Heard::Opened(path));
    // Bytes that are read but not taken in die with this process; unread ones wait in the pipe.
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
