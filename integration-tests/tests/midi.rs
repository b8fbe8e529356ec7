//! MIDI input through a named pipe in place of a port: notes, learnt controllers, and kills of the MIDI input.

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, ensure};
use common::message::{Fault, Request, SIGKILL, Service, Target};
use integration_tests::{
    ear,
    stack::{Recording, Stack, number},
};
use tempfile::TempDir;

/// The gate is the output. It is DC, which the safety stage would remove.
const KEYS: &str = r#"{"version": 1, "modules": [{"id": "keys", "type": "midi_in"},
    {"id": "filter", "type": "filter"}, {"id": "out", "type": "out", "params": {"safety": 0}}],
    "cables": [{"from": "keys.gate", "to": "out"}]}"#;

#[test]
fn a_keyboard_is_played_on_while_its_input_is_killed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let pipe = pipe_in(&folder)?;
    let (stack, recording) = start(&folder, &pipe, KEYS, &["--channels", "1"])?;
    // Opened for reading too, so that the pipe stays open while no process reads it.
    let mut keyboard = OpenOptions::new().read(true).write(true).open(&pipe)?;
    let mut applied = 0;
    let mut wait = |count: u64| {
        applied += count;
        stack.wait_for("all of it to be applied", |status| {
            number(status, "/commands/applied").is_ok_and(|n| n >= applied)
        })
    };
    for note in 0..40_u8 {
        if note % 8 == 4 {
            kill_input(&stack)?;
        }
        keyboard.write_all(&[0x90, 40 + note, 64 + note])?;
        wait(1)?;
        std::thread::sleep(Duration::from_millis(20));
        keyboard.write_all(&[0x80, 40 + note, 0])?;
        wait(1)?;
        std::thread::sleep(Duration::from_millis(20));
    }
    // From then on the next controller that moves sets the cutoff, even after kills.
    let output = stack.verb(&["midi", "learn", "filter", "cutoff"])?;
    ensure!(output.status.success(), "{output:?}");
    let wrong = stack.verb(&["midi", "learn", "filter", "cutof"])?;
    ensure!(!wrong.status.success());
    std::thread::sleep(Duration::from_millis(500));
    keyboard.write_all(&[0xB2, 21, 127])?;
    wait(1)?;
    kill_input(&stack)?;
    keyboard.write_all(&[0xB2, 21, 0])?;
    wait(1)?;
    let patch = stack.ask(&Request::PatchShow)?;
    let cutoff = &patch["modules"][1]["params"]["cutoff"];
    ensure!(cutoff.as_f64() == Some(10.0), "{cutoff}");
    let rejected = number(&stack.status()?, "/commands/rejected")?;
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    let heard = ear::read_wav(&recording.wav)?;
    let onsets = heard.windows(2).filter(|w| w[0] == 0.0 && w[1] > 0.0);
    let onsets = onsets.count();
    println!(
        "FIGURE MIDI: 40 keys, the input killed 6 times: {onsets} onsets, {rejected} refused, {differing} of {compared} samples differ from the replay"
    );
    assert_eq!((onsets, rejected, differing), (40, 0, 0));
    Ok(())
}

/// Creates the named pipe that stands for a MIDI port.
fn pipe_in(folder: &TempDir) -> Result<PathBuf> {
    let pipe = folder.path().join("port");
    ensure!(Command::new("mkfifo").arg(&pipe).status()?.success());
    Ok(pipe)
}

/// Starts a stack that plays this patch from this port, and waits until its MIDI input is ready.
fn start(
    folder: &TempDir,
    pipe: &Path,
    patch: &str,
    options: &[&str],
) -> Result<(Stack, Recording)> {
    let file = folder.path().join("patch.json");
    std::fs::write(&file, patch)?;
    let (file, port) = (
        file.display().to_string(),
        format!("file:{}", pipe.display()),
    );
    let playing = [&["--patch", &file, "--midi", &port], options].concat();
    let (stack, recording) = Stack::start_wav(&playing)?;
    stack.wait_for("the MIDI input", ready)?;
    Ok((stack, recording))
}

fn ready(status: &serde_json::Value) -> bool {
    let mut services = status["services"].as_array().into_iter().flatten();
    services.any(|service| service["name"] == "midi-in" && service["state"] == "ready")
}

/// Kills the MIDI input and waits for its successor. Without the wait, the dying process could still take bytes
/// from the pipe.
fn kill_input(stack: &Stack) -> Result<()> {
    let pid = stack.pid("midi-in")?;
    stack.inject(Fault::Signal(SIGKILL), Target::Service(Service::MidiIn))?;
    stack.wait_for("another MIDI input", |status| {
        ready(status) && stack.pid("midi-in").is_ok_and(|now| now != pid)
    })
}

/// A case of held state: its name, the bytes before the kill of the MIDI input, the bytes after it, and the output
/// of `midi_in` with its value while the gate is open. No output means that the gate must be closed. Pitches are
/// in octaves from C4.
type Held = (
    &'static str,
    &'static [u8],
    &'static [u8],
    Option<(&'static str, f32)>,
);

const HELD: [Held; 10] = [
    (
        "pedal",
        &[0xB0, 64, 127, 0x90, 60, 100, 0x80, 60, 0],
        &[0xB0, 64, 0],
        None,
    ),
    ("key", &[0x90, 60, 100], &[0xB0, 123, 0], None),
    ("half a message", &[0x90, 60, 100, 60], &[0], None),
    (
        "bend",
        &[0xE0, 0, 0],
        &[0x90, 60, 100],
        Some(("pitch", -2.0 / 12.0)),
    ),
    (
        "bend range",
        &[0xB0, 101, 0, 100, 0, 6, 12],
        &[0x90, 60, 100, 0xE0, 0, 0],
        Some(("pitch", -1.0)),
    ),
    (
        "selected parameter",
        &[0xB0, 101, 0, 100, 0],
        &[0xB0, 6, 7, 0x90, 60, 100, 0xE0, 0, 0],
        Some(("pitch", -7.0 / 12.0)),
    ),
    (
        "no parameter",
        &[0xB0, 101, 0, 100, 0, 99, 0, 98, 0],
        &[0xB0, 6, 7, 0x90, 60, 100, 0xE0, 0, 0],
        Some(("pitch", -2.0 / 12.0)),
    ),
    (
        "zone",
        &[0xB0, 101, 0, 100, 6, 6, 5],
        &[0x91, 60, 100, 0xE0, 0, 0, 0xE1, 0, 0],
        Some(("pitch", -50.0 / 12.0)),
    ),
    (
        "tuning",
        &[0xB0, 101, 0, 100, 2, 6, 59],
        &[0x90, 60, 100],
        Some(("pitch", -5.0 / 12.0)),
    ),
    (
        "channel pressure",
        &[0xD0, 127],
        &[0x90, 60, 100],
        Some(("pressure", 1.0)),
    ),
];

#[test]
fn what_a_player_holds_outlives_the_midi_input() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let pipe = pipe_in(&folder)?;
    let mut wrong = Vec::new();
    for (what, before, after, expected) in HELD {
        let output = expected.map_or("pitch", |(output, _)| output);
        // The safety stage is off, since the output is a measurement and no sound.
        let patch = format!(
            r#"{{"version": 1, "modules": [{{"id": "keys", "type": "midi_in"}},
            {{"id": "out", "type": "out", "params": {{"safety": 0}}}}],
            "cables": [{{"from": "keys.gate", "to": "out.left"}}, {{"from": "keys.{output}", "to": "out.right"}}]}}"#
        );
        let (stack, recording) = start(&folder, &pipe, &patch, &[])?;
        let mut keyboard = OpenOptions::new().read(true).write(true).open(&pipe)?;
        keyboard.write_all(before)?;
        std::thread::sleep(Duration::from_millis(150));
        kill_input(&stack)?;
        keyboard.write_all(after)?;
        std::thread::sleep(Duration::from_millis(300));
        let (_, differing) = stack.down()?.compare(&recording.wav)?;
        let heard = ear::read_wav(&recording.wav)?;
        let opened = heard.as_chunks::<2>().0.iter().any(|[gate, _]| *gate > 0.5);
        let [gate, value] = heard.as_chunks::<2>().0.last().copied().unwrap_or_default();
        let right = match expected {
            None => opened && gate == 0.0,
            Some((_, expected)) => gate > 0.5 && (value - expected).abs() < 0.001,
        };
        if !right || differing > 0 {
            wrong.push(format!(
                "{what}: gate {gate}, {output} {value}, {differing} differ"
            ));
        }
    }
    println!(
        "FIGURE MIDI input killed between cause and effect, {} states: wrong outcomes {}",
        HELD.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// The keyboard is unplugged while a key is down, and plugged in again.
#[test]
fn a_port_that_goes_lets_its_keys_go_and_is_opened_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let pipe = pipe_in(&folder)?;
    let (stack, recording) = start(&folder, &pipe, KEYS, &["--channels", "1"])?;
    for _ in 0..2 {
        let mut keyboard = OpenOptions::new().write(true).open(&pipe)?;
        keyboard.write_all(&[0x90, 60, 100])?;
        std::thread::sleep(Duration::from_millis(200));
        drop(keyboard);
        std::thread::sleep(Duration::from_millis(200));
    }
    let log = stack.log();
    stack.down()?.compare(&recording.wav)?;
    let heard = ear::read_wav(&recording.wav)?;
    let edges = heard
        .windows(2)
        .filter(|w| (w[0] > 0.5) != (w[1] > 0.5))
        .count();
    println!("FIGURE a port that goes twice with a key down: gates opened and closed {edges} of 4");
    assert_eq!((edges, heard.last().copied()), (4, Some(0.0)), "{log}");
    Ok(())
}
