//! `--resume` after the worst case: every process killed at once, and the tail of the log torn. Acknowledged
//! commands are restored. A torn record is dropped with a line in the text log, and never prevents a start.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use common::{
    command,
    command_log::{self, Preamble, Reader, Record},
};
use integration_tests::{
    ear,
    random::Random,
    stack::{count_of, text, understudy},
};
use serde_json::Value;

const INSTANCE: &str = "resumed";

/// Runs the command line, which must print one JSON value.
fn run(folder: &Path, arguments: &[&str]) -> Result<Value> {
    let output = understudy(folder)
        .args(arguments)
        .args(["--json", "--instance", INSTANCE])
        .output()?;
    let told = text(&output.stdout);
    ensure!(
        output.status.success(),
        "{arguments:?}: {told}{}{}",
        text(&output.stderr),
        log(folder)
    );
    Ok(serde_json::from_str(&told).unwrap_or_default())
}

fn log(folder: &Path) -> String {
    let path = format!("state/understudy/{INSTANCE}/understudy.log");
    fs::read_to_string(folder.join(path)).unwrap_or_default()
}

fn up(folder: &Path, port: u16, sink: &str) -> Result<()> {
    let osc = format!("127.0.0.1:{port}");
    // The lead of all tests with a device's timing: see `Stack::start_in`.
    run(
        folder,
        &[
            "up", "--detach", "--sink", sink, "--osc", &osc, "--lead", "48", "--resume",
        ],
    )
    .map(|_| ())
}

/// Sends SIGKILL to all processes of the instance.
fn kill_all(folder: &Path) -> Result<()> {
    let status = run(folder, &["status"])?;
    let services = status["services"].as_array().into_iter().flatten();
    let mut pids: Vec<String> = services.map(|s| s["pid"].to_string()).collect();
    let parent = |pid: &String| -> Option<String> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(stat.rsplit_once(") ")?.1.split(' ').nth(1)?.to_owned())
    };
    let launcher = pids.first().and_then(parent).context("a launcher")?;
    pids.push(launcher);
    // Launcher, supervisor, gateway, two workers, audio-out, recorder.
    ensure!(pids.len() == 7, "{pids:?}");
    // Stopped first: otherwise a process could start another one between two kills.
    for signal in ["-STOP", "-KILL"] {
        let sent = Command::new("kill").arg(signal).args(&pids).status()?;
        ensure!(sent.success(), "{signal}");
    }
    let there = |pid: &String| Path::new(&format!("/proc/{pid}/status")).exists();
    for _ in 0..500 {
        if !pids.iter().any(there) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("{pids:?} live on")
}

/// The value of a parameter of the patch in force.
fn value(folder: &Path, module: &str, param: &str) -> Result<f64> {
    let patch = run(folder, &["patch", "show"])?;
    let modules = patch["modules"].as_array().into_iter().flatten();
    let mut named = modules.filter(|m| m["id"] == module);
    let found = named.next().and_then(|m| m["params"][param].as_f64());
    found.with_context(|| format!("no {module}.{param} in {patch}"))
}

#[test]
fn all_killed_at_once_and_all_that_was_acknowledged_is_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let mut random = Random::seeded(11);
    let port = 18_000 + (std::process::id() % 1_000) as u16;
    let wav = folder.join("out.wav");
    let sink = format!("wav:{}", wav.display());
    let rounds = count_of("UNDERSTUDY_RESUMES", 8);
    let mut expected = None;
    for round in 0..rounds {
        up(folder, port, &sink)?;
        if let Some((freq, cutoff)) = expected {
            let found = (
                value(folder, "sine", "freq")?,
                value(folder, "filter", "cutoff")?,
            );
            assert_eq!(found, (freq, cutoff), "round {round}");
        }
        let (freq, cutoff) = (
            (300 + random.below(300)) as f64,
            (500 + random.below(4_000)) as f64,
        );
        run(folder, &["send", "/gate/adsr", "1"])?;
        run(folder, &["send", "/mod/sine/freq", &freq.to_string()])?;
        run(folder, &["send", "/mod/filter/cutoff", &cutoff.to_string()])?;
        // Killed before any of it is played, which takes as long as the lead. In the last round, killed during
        // the sound.
        let sounds = if round + 1 == rounds { 300 } else { 0 };
        std::thread::sleep(Duration::from_millis(sounds + random.below(60)));
        kill_all(folder)?;
        expected = Some((freq, cutoff));
    }
    // The last run ends normally: the log renders what was played, beginning with the resumed state.
    up(folder, port, &sink)?;
    std::thread::sleep(Duration::from_millis(300));
    let left = fs::read_dir("/dev/shm")?.count();
    run(folder, &["down"])?;
    let again = folder.join("again.wav");
    run(folder, &["replay", "-o", &again.display().to_string()])?;
    let (heard, rendered) = (ear::read_wav(&wav)?, ear::read_wav(&again)?);
    let differing = ear::differing(&heard, &rendered);
    println!(
        "FIGURE all seven processes killed at once {rounds} times, resumed: all values back; samples that differ {} of {}; names in /dev/shm while it ran {left}",
        differing,
        heard.len()
    );
    assert_eq!((heard.len(), differing), (rendered.len(), 0));
    assert!(heard.len() > 9_600);
    assert!(
        heard[0].abs() + heard[64].abs() > 0.0,
        "it goes on sounding"
    );
    Ok(())
}

#[test]
fn a_torn_tail_is_dropped_and_never_a_refusal_to_start() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let port = 19_000 + (std::process::id() % 1_000) as u16;
    let command_log = folder.join(format!("state/understudy/{INSTANCE}/commands.log"));
    let state = folder.join(format!("state/understudy/{INSTANCE}"));
    up(folder, port, "null")?;
    for freq in 0..30 {
        let freq = (400 + freq).to_string();
        run(folder, &["send", "/mod/sine/freq", &freq])?;
    }
    kill_all(folder)?;
    let whole = fs::read(&command_log)?;
    let preamble = Preamble::read(&mut Reader::new(&whole[..]))?;
    let preamble = preamble.context("a beginning")?.bytes as usize;
    let mut random = Random::seeded(12);
    let tries = count_of("UNDERSTUDY_TEARS", 12);
    let mut torn = 0;
    for tear in 0..tries {
        let mut bytes = whole.clone();
        let cut = match tear {
            0 => 0,
            1 => 3,
            _ => bytes.len() - random.below(bytes.len() as u64 / 2) as usize,
        };
        bytes.truncate(cut);
        match random.below(3) {
            0 => bytes.extend([0; 4_096]),
            1 => bytes.extend((0..97).map(|_| random.below(256) as u8)),
            _ => {}
        }
        let mut expected = 440.0;
        let mut records = command_log::records(&bytes);
        for (_, record) in records.by_ref() {
            if let Record::Command {
                command: command::Command::Event(command::Event::Param { value, .. }),
                ..
            } = record
            {
                expected = f64::from(value);
            }
        }
        let is_torn = records.offset() < bytes.len() as u64;
        fs::write(&command_log, &bytes)?;
        for file in fs::read_dir(&state)?.flatten() {
            if file.file_name().to_string_lossy().starts_with("commands.0") {
                fs::remove_file(file.path())?;
            }
        }
        let _ = fs::remove_file(folder.join(format!("state/understudy/{INSTANCE}/understudy.log")));
        up(folder, port, "null")?;
        assert_eq!(value(folder, "sine", "freq")?, expected, "cut at {cut}");
        let said = log(folder);
        if is_torn && cut > preamble {
            torn += 1;
            assert!(said.contains("torn record"), "{said}");
        }
        run(folder, &["down"])?;
    }
    println!(
        "FIGURE logs cut or torn {tries} ({torn} in mid-record): started {tries}, values as in the last whole record"
    );
    assert!(torn > 0);
    Ok(())
}
