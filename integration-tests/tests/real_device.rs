//! A real device path: cpal plays through ALSA on PulseAudio's null sink, `parec` records what was
//! played, workers are killed, and the ear finds no break.

use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use common::message::Target;
use integration_tests::{
    ear,
    stack::{Stack, number},
};

/// A sound server of the test's own; stopped when dropped.
struct Server {
    process: Child,
}

impl Server {
    fn start(folder: &Path) -> Result<Self> {
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
            if folder.join("socket").exists() {
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

#[test]
fn twenty_kills_through_a_device_cannot_be_heard() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path())?;
    let address = format!("unix:{}", folder.path().join("socket").display());
    let environment = [
        ("PULSE_SERVER", address.clone()),
        (
            "ALSA_CONFIG_PATH",
            format!(
                "/usr/share/alsa/alsa.conf:{}",
                folder.path().join("asoundrc").display()
            ),
        ),
    ];
    let stack = Stack::start_in(tempfile::tempdir()?, &["--sink", "device"], &environment)?;
    stack.osc_send("/test", None)?;
    std::thread::sleep(Duration::from_millis(700));
    let mut recorder = Command::new("parec")
        .args([
            "--device=vout.monitor",
            "--format=float32le",
            "--rate=48000",
            "--channels=2",
        ])
        .env("PULSE_SERVER", &address)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut sound = recorder.stdout.take().context("parec has an output")?;
    let listener = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = sound.read_to_end(&mut bytes);
        bytes
    });
    std::thread::sleep(Duration::from_millis(300));
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
    recorder.kill()?;
    recorder.wait()?;
    let bytes = listener
        .join()
        .map_err(|_| anyhow::anyhow!("the listener failed"))?;
    let samples: Vec<f32> = bytes
        .chunks_exact(8)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    // parec begins with silence until its stream is connected.
    let start = samples
        .iter()
        .position(|s| s.abs() > 0.05)
        .unwrap_or(samples.len())
        + 480;
    let heard = samples.get(start..).unwrap_or_default();
    let breaks = ear::breaks(heard, 440.0, 48_000.0);
    println!(
        "FIGURE kills 20 through {}: breaks {}, samples heard {}, underruns {}, concealed {}, device burst {} blocks",
        status["audio"]["sink"],
        breaks.len(),
        heard.len(),
        status["audio"]["underruns"],
        status["audio"]["concealed_blocks"],
        status["audio"]["device_burst_blocks"]
    );
    println!("{}", stack.log());
    drop(stack);
    drop(server);
    assert!(
        heard.len() > 48_000 && ear::peak(heard) > 0.3,
        "there was a tone"
    );
    assert!(breaks.is_empty(), "breaks at {breaks:?}");
    assert_eq!(number(&status, "/audio/underruns")?, 0);
    Ok(())
}
