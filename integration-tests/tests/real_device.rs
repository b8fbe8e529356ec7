//! A real device path: cpal plays through ALSA on PulseAudio's null sink, `parec` records what was
//! played. Workers are killed, and the ear finds no break; the sound server is killed, waited for and
//! played to again.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use common::{
    message::{Request, Target},
    recording::Wish,
};
use integration_tests::{
    ear,
    stack::{Stack, number},
};
use serde_json::Value;

/// A sound server of the test's own; stopped when dropped.
struct Server {
    process: Child,
}

impl Server {
    fn start(folder: &Path) -> Result<Self> {
        let _ = std::fs::remove_file(folder.join("socket"));
        std::fs::create_dir_all(folder.join("pulse"))?;
        std::fs::write(
            folder.join("asoundrc"),
            "pcm.!default { type pulse }\nctl.!default { type pulse }\n",
        )?;
        let socket = format!(
            "module-native-protocol-unix socket={} auth-anonymous=1",
            folder.join("socket").display()
        );
        let process = Command::new("pulseaudio")
            .args([
                "--daemonize=no",
                "--exit-idle-time=-1",
                "--use-pid-file=no",
                "-n",
                "-L",
                &socket,
            ])
            .args([
                "-L",
                "module-null-sink sink_name=vout rate=48000 channels=2",
            ])
            .env("XDG_RUNTIME_DIR", folder.join("pulse"))
            .env("HOME", folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("pulseaudio is needed; ./test.sh installs it")?;
        let server = Self { process };
        for _ in 0..200 {
            let sinks = Command::new("pactl")
                .args(["list", "short", "sinks"])
                .env("PULSE_SERVER", address(folder))
                .output()
                .context("pactl is needed; ./test.sh installs it")?;
            if String::from_utf8_lossy(&sinks.stdout).contains("vout") {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        anyhow::bail!("pulseaudio did not start")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where the server in that folder listens.
fn address(folder: &Path) -> String {
    format!("unix:{}", folder.join("socket").display())
}

/// A stack that plays to the server in that folder.
fn stack_at(folder: &Path) -> Result<Stack> {
    let configuration = folder.join("asoundrc");
    let environment = [
        ("PULSE_SERVER", address(folder)),
        (
            "ALSA_CONFIG_PATH",
            format!("/usr/share/alsa/alsa.conf:{}", configuration.display()),
        ),
    ];
    Stack::start_in(tempfile::tempdir()?, &["--sink", "device"], &environment)
}

/// Hears what the server in that folder plays.
struct Recorder {
    process: Child,
    listener: std::thread::JoinHandle<Vec<u8>>,
}

impl Recorder {
    fn start(folder: &Path) -> Result<Self> {
        let mut process = Command::new("parec")
            .args([
                "--device=vout.monitor",
                "--format=float32le",
                "--rate=48000",
                "--channels=2",
            ])
            .env("PULSE_SERVER", address(folder))
            .stdout(Stdio::piped())
            .spawn()?;
        let mut sound = process.stdout.take().context("parec has an output")?;
        let listener = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = sound.read_to_end(&mut bytes);
            bytes
        });
        std::thread::sleep(Duration::from_millis(300));
        Ok(Self { process, listener })
    }

    /// The left channel from where the sound begins: parec begins with silence until its stream is
    /// connected.
    fn heard(mut self) -> Result<Vec<f32>> {
        self.process.kill()?;
        self.process.wait()?;
        let bytes = self.listener.join();
        let bytes = bytes.map_err(|_| anyhow::anyhow!("the listener failed"))?;
        let samples: Vec<f32> = bytes
            .chunks_exact(8)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        let start = samples.iter().position(|s| s.abs() > 0.05);
        let start = start.unwrap_or(samples.len()) + 480;
        Ok(samples.get(start..).unwrap_or_default().to_vec())
    }
}

/// What was heard while twenty workers were killed, and where it broke.
struct Heard {
    /// At the server's end.
    breaks: Vec<usize>,
    /// In what audio-out has handed to the device, by its recording.
    handed: Vec<usize>,
    underruns: u64,
}

fn twenty_kills() -> Result<Heard> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path())?;
    let stack = stack_at(folder.path())?;
    stack.osc_send("/test", None)?;
    std::thread::sleep(Duration::from_millis(700));
    let recorder = Recorder::start(folder.path())?;
    stack.ask(&Request::Record(Wish::Start(Some("handed.wav".into()))))?;
    for kill in 0..20 {
        stack.wait_protected()?;
        std::thread::sleep(Duration::from_millis(53));
        stack.kill(if kill % 2 == 0 {
            Target::Leader
        } else {
            Target::Follower
        })?;
    }
    stack.wait_protected()?;
    std::thread::sleep(Duration::from_millis(500));
    let status = stack.status()?;
    let heard = recorder.heard()?;
    stack.ask(&Request::Record(Wish::Stop))?;
    let log = stack.log();
    let remains = stack.down()?;
    drop(server);
    let handed = ear::read_wav(&remains.recordings().join("handed.wav"))?;
    let handed: Vec<f32> = handed.iter().step_by(2).copied().collect();
    let found = Heard {
        breaks: ear::breaks(&heard, 440.0, 48_000.0),
        handed: ear::breaks(&handed, 440.0, 48_000.0),
        underruns: number(&status, "/audio/underruns")?,
    };
    println!(
        "FIGURE kills 20 through {}: breaks {}, samples heard {}, breaks in what was handed to it {}, samples {}, underruns {}, concealed {}, device burst {} blocks",
        status["audio"]["sink"],
        found.breaks.len(),
        heard.len(),
        found.handed.len(),
        handed.len(),
        found.underruns,
        status["audio"]["concealed_blocks"],
        status["audio"]["device_burst_blocks"]
    );
    println!("{log}");
    for (what, samples) in [("heard", &heard), ("handed over", &handed)] {
        ensure!(
            samples.len() > 48_000 && ear::peak(samples) > 0.3,
            "no tone was {what}"
        );
    }
    Ok(found)
}

/// What the stack hands over never breaks. The sound server has no priority and may drop some of it on a
/// busy machine, so that what arrives at its end has three tries; what is wrong on the way there breaks them all.
#[test]
fn twenty_kills_through_a_device_cannot_be_heard() -> Result<()> {
    for _ in 0..3 {
        let heard = twenty_kills()?;
        assert_eq!((heard.handed, heard.underruns), (vec![], 0));
        if heard.breaks.is_empty() {
            return Ok(());
        }
        println!("the server has dropped something at {:?}", heard.breaks);
    }
    anyhow::bail!("broken three times on the way through the server")
}

#[test]
fn a_sound_server_that_goes_away_is_waited_for() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut server = Server::start(folder.path())?;
    let stack = stack_at(folder.path())?;
    stack.osc_send("/test", None)?;
    stack.wait_protected()?;
    let before = stack.pid("audio-out")?;
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        drop(server);
        let gone = |s: &Value| {
            s["audio"]["sink"]
                .as_str()
                .is_some_and(|s| s.contains("gone"))
        };
        stack.wait_for("the state to say so", |s| s["state"] == "silent" && gone(s))?;
        let stopped = number(&stack.status()?, "/audio/play_cursor")?;
        // A worker may die meanwhile.
        stack.kill(Target::Leader)?;
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(
            number(&stack.status()?, "/audio/play_cursor")?,
            stopped,
            "nothing is played to nobody"
        );
        server = Server::start(folder.path())?;
        stack.wait_for("sound again", |s| s["state"] == "protected" && !gone(s))?;
    }
    let recorder = Recorder::start(folder.path())?;
    std::thread::sleep(Duration::from_millis(1_200));
    let status = stack.status()?;
    let heard = recorder.heard()?;
    let breaks = ear::breaks(&heard, 440.0, 48_000.0);
    println!(
        "FIGURE sound server stopped and started 3 times, a leader killed each time: breaks afterwards {}, samples heard {}, concealed {}",
        breaks.len(),
        heard.len(),
        status["audio"]["concealed_blocks"]
    );
    let after = stack.pid("audio-out")?;
    let log = stack.log();
    drop(stack);
    drop(server);
    assert!(
        heard.len() > 24_000 && ear::peak(&heard) > 0.3,
        "there was a tone\n{log}"
    );
    assert!(breaks.is_empty(), "breaks at {breaks:?}\n{log}");
    assert_eq!(after, before, "the same audio-out");
    Ok(())
}
