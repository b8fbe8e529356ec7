//! Where MIDI comes from: a port of the machine, one that others connect to, or a pipe that stands for one.

use std::{fs::File, io::Read, sync::mpsc::SyncSender, thread, time::Duration};

use anyhow::{Context, Result, bail};
use midir::{Ignore, MidiInput, MidiInputConnection, os::unix::VirtualInput};
use platform::{realtime, say};

/// When bytes came, as an NTP timestamp, and the bytes.
pub type Heard = (u64, Vec<u8>);

/// Our name among ports.
const NAME: &str = "understudy";
/// How often a port that is missing is looked for, and one that is there is looked after.
const LOOK: Duration = Duration::from_secs(1);

/// Hands on what comes in, for ever; a port that is not there, or goes, is waited for.
pub fn listen(port: &str, heard: &SyncSender<Heard>) {
    let mut told = None;
    loop {
        let outcome = match port.split_once(':') {
            Some(("file", path)) => pipe(path, heard),
            _ => real(port, heard),
        };
        let why = match outcome {
            Ok(()) => format!("\"{port}\" is gone; it is waited for"),
            Err(why) => format!("no MIDI from \"{port}\": {why:#}; it is waited for"),
        };
        if told.as_ref() != Some(&why) {
            say::line("midi-in", &why);
            told = Some(why);
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
fn real(wanted: &str, heard: &SyncSender<Heard>) -> Result<()> {
    let input = input()?;
    if wanted == "virtual" {
        let to = heard.clone();
        let open = input.create_virtual(NAME, move |_, bytes, ()| hand_on(&to, bytes), ());
        let _open: MidiInputConnection<()> = open.map_err(|why| anyhow::anyhow!("{why}"))?;
        say::line("midi-in", "listens at the port \"understudy\"");
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
    let to = heard.clone();
    let open = input.connect(port, NAME, move |_, bytes, ()| hand_on(&to, bytes), ());
    let _open: MidiInputConnection<()> = open.map_err(|why| anyhow::anyhow!("{why}"))?;
    say::line("midi-in", &format!("listens to \"{name}\""));
    let looking = self::input()?;
    while looking.ports().iter().any(|port| port.id() == id) {
        thread::sleep(LOOK);
    }
    Ok(())
}

/// Hands on what is written into a pipe until nobody has it open.
fn pipe(path: &str, heard: &SyncSender<Heard>) -> Result<()> {
    let mut file = File::open(path).with_context(|| format!("cannot open {path}"))?;
    let mut bytes = [0; 1_024];
    loop {
        let length = file.read(&mut bytes)?;
        if length == 0 {
            return Ok(());
        }
        hand_on(heard, bytes.get(..length).unwrap_or_default());
    }
}

/// What finds no room is lost: a flood must not hold up what comes after it.
fn hand_on(heard: &SyncSender<Heard>, bytes: &[u8]) {
    let _ = heard.try_send((realtime::ntp_now(), bytes.to_vec()));
}
