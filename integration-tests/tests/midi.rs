//! MIDI in, by a pipe that stands for a port: notes, controllers that are learnt, and a MIDI input that is
//! killed.

use std::{fs::OpenOptions, io::Write, process::Command, time::Duration};

use anyhow::{Result, ensure};
use common::message::{Fault, Request, SIGKILL, Service, Target};
use integration_tests::{
    ear,
    stack::{Stack, number},
};

const KEYS: &str = r#"{"version": 1, "modules": [{"id": "keys", "type": "midi_in"},
    {"id": "filter", "type": "filter"}, {"id": "out", "type": "out"}],
    "cables": [{"from": "keys.gate", "to": "out"}]}"#;

#[test]
fn a_keyboard_is_played_on_while_its_input_is_killed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [patch, pipe] = ["keys.json", "port"].map(|name| folder.path().join(name));
    std::fs::write(&patch, KEYS)?;
    ensure!(Command::new("mkfifo").arg(&pipe).status()?.success());
    let (patch, port) = (
        patch.display().to_string(),
        format!("file:{}", pipe.display()),
    );
    let (stack, recording) =
        Stack::start_wav(&["--channels", "1", "--patch", &patch, "--midi", &port])?;
    stack.wait_for("the MIDI input", ready)?;
    // Opened for both, so that it stays while nobody reads.
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
            stack.inject(Fault::Signal(SIGKILL), Target::Service(Service::MidiIn))?;
            stack.wait_for("another MIDI input", ready)?;
        }
        keyboard.write_all(&[0x90, 40 + note, 64 + note])?;
        wait(1)?;
        std::thread::sleep(Duration::from_millis(20));
        keyboard.write_all(&[0x80, 40 + note, 0])?;
        wait(1)?;
        std::thread::sleep(Duration::from_millis(20));
    }
    // The next controller that moves turns the filter from then on, whoever dies.
    let output = stack.verb(&["midi", "learn", "filter", "cutoff"])?;
    ensure!(output.status.success(), "{output:?}");
    let wrong = stack.verb(&["midi", "learn", "filter", "cutof"])?;
    ensure!(!wrong.status.success());
    std::thread::sleep(Duration::from_millis(500));
    keyboard.write_all(&[0xB2, 21, 127])?;
    wait(1)?;
    stack.inject(Fault::Signal(SIGKILL), Target::Service(Service::MidiIn))?;
    stack.wait_for("another MIDI input", ready)?;
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

fn ready(status: &serde_json::Value) -> bool {
    let mut services = status["services"].as_array().into_iter().flatten();
    services.any(|service| service["name"] == "midi-in" && service["state"] == "ready")
}
