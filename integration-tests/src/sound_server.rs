//! Sound servers without a sound card, one for each test: PulseAudio and PipeWire with null sinks, JACK with
//! its dummy driver. The sound system of the machine itself is not touched.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::stack::{Stack, text, understudy};

/// The kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PulseAudio. What it plays can be recorded.
    PulseAudio,
    /// PipeWire with WirePlumber and PipeWire's own PulseAudio server. What it plays can be recorded.
    PipeWire,
    /// JACK.
    Jack,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::PulseAudio, Self::PipeWire, Self::Jack];

    /// The name that a stack gives the server.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PulseAudio => "PulseAudio",
            Self::PipeWire => "PipeWire",
            Self::Jack => "JACK",
        }
    }
}

/// A running server; stopped when dropped.
pub struct Server {
    /// The kind of server.
    pub kind: Kind,
    folder: PathBuf,
    processes: Vec<Child>,
}

/// The folder of a server, which outlives the server.
pub struct Place {
    folder: TempDir,
    kind: Kind,
}

impl Place {
    /// Creates the folder.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn new(kind: Kind) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir_all(folder.path().join("server"))?;
        // PulseAudio lets every client in, but expects a cookie of this length.
        std::fs::write(folder.path().join("cookie"), [0; 256])?;
        Ok(Self { folder, kind })
    }

    /// Starts the server with a null sink `vout` at that rate.
    ///
    /// # Errors
    /// When the server does not start.
    pub fn serve(&self, rate: u32) -> Result<Server> {
        let mut server = Server {
            kind: self.kind,
            folder: self.folder.path().into(),
            processes: Vec::new(),
        };
        match self.kind {
            Kind::PulseAudio => server.start_pulseaudio(rate)?,
            Kind::PipeWire => server.start_pipewire()?,
            Kind::Jack => server.start_jack(rate)?,
        }
        Ok(server)
    }

    /// Starts a stack that finds that server, and ALSA without a card.
    ///
    /// # Errors
    /// When the stack does not start.
    pub fn stack(&self, options: &[&str]) -> Result<Stack> {
        let environment = environment(self.kind, self.folder.path());
        Stack::start_in(tempfile::tempdir()?, options, &environment)
    }

    /// Runs the command line so that it finds that server.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn understudy(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = understudy(self.folder.path());
        let environment = environment(self.kind, self.folder.path());
        Ok(command.envs(environment).args(arguments).output()?)
    }
}

/// The name of this test's JACK server.
fn jack_name() -> String {
    format!("understudy-{}", std::process::id())
}

/// The environment in which a stack finds that server and no other.
fn environment(kind: Kind, folder: &Path) -> Vec<(&'static str, String)> {
    let inside = |name: &str| folder.join(name).display().to_string();
    let (mut pulseaudio, mut pipewire, mut jack) =
        ("nowhere", inside("nowhere"), "nowhere".to_owned());
    match kind {
        Kind::PulseAudio => pulseaudio = "server/pulse/native",
        Kind::PipeWire => pipewire = inside("server"),
        Kind::Jack => jack = jack_name(),
    }
    vec![
        ("PULSE_SERVER", format!("unix:{}", inside(pulseaudio))),
        ("PULSE_COOKIE", inside("cookie")),
        ("PIPEWIRE_RUNTIME_DIR", pipewire),
        ("JACK_DEFAULT_SERVER", jack),
        ("JACK_NO_START_SERVER", "1".into()),
    ]
}

impl Server {
    fn command(&self, program: &str) -> Command {
        let server = self.folder.join("server");
        let native = format!("unix:{}", server.join("pulse/native").display());
        let mut command = Command::new(program);
        command
            .env("XDG_RUNTIME_DIR", &server)
            .env("XDG_STATE_HOME", &server)
            .env("XDG_CONFIG_HOME", &server)
            .env("HOME", &self.folder)
            .env("PULSE_SERVER", native)
            .env("JACK_DEFAULT_SERVER", jack_name())
            .env("DBUS_SESSION_BUS_ADDRESS", self.bus())
            .env_remove("PIPEWIRE_RUNTIME_DIR")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn spawn(&mut self, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = self.command(program);
        // With libpulse's own variable set, a server does not start.
        command.args(arguments).env_remove("PULSE_SERVER");
        let started = command.spawn();
        let started =
            started.with_context(|| format!("{program} is needed; ./test.sh installs it"))?;
        self.processes.push(started);
        Ok(())
    }

    fn start_pulseaudio(&mut self, rate: u32) -> Result<()> {
        let folder = self.folder.join("server/pulse");
        std::fs::create_dir_all(&folder)?;
        let socket = folder.join("native");
        let _ = std::fs::remove_file(&socket);
        let listen = format!(
            "module-native-protocol-unix socket={} auth-anonymous=1",
            socket.display()
        );
        let sink =
            format!("module-null-sink sink_name=vout rate={rate} channels=2 format=float32le");
        self.spawn(
            "pulseaudio",
            &[
                "--daemonize=no",
                "--exit-idle-time=-1",
                "--use-pid-file=no",
                "-n",
                "-L",
                &listen,
                "-L",
                &sink,
            ],
        )?;
        self.wait_for_sink("vout")
    }

    /// The address of the test's own D-Bus, without which WirePlumber gives up.
    fn bus(&self) -> String {
        format!("unix:path={}", self.folder.join("server/bus").display())
    }

    fn start_pipewire(&mut self) -> Result<()> {
        let _ = std::fs::remove_file(self.folder.join("server/bus"));
        let address = format!("--address={}", self.bus());
        self.spawn("dbus-daemon", &["--session", "--nofork", &address])?;
        std::thread::sleep(Duration::from_millis(200));
        for program in ["pipewire", "wireplumber", "pipewire-pulse"] {
            self.spawn(program, &[])?;
            std::thread::sleep(Duration::from_millis(200));
        }
        self.wait("the PulseAudio server of PipeWire", || {
            Ok(self.pactl(&["info"]).is_ok())
        })?;
        self.add_sink("vout")
    }

    fn start_jack(&mut self, rate: u32) -> Result<()> {
        let (name, rate) = (jack_name(), rate.to_string());
        let arguments = [
            "-n", &name, "-p", "64", "-r", "-d", "dummy", "-r", &rate, "-p", "256",
        ];
        self.spawn("jackd", &arguments)?;
        self.wait("jackd", || {
            let ports = self.command("jack_lsp").stdout(Stdio::piped()).output()?;
            Ok(text(&ports.stdout).contains("system:playback_1"))
        })
    }

    fn wait(&self, what: &str, mut there: impl FnMut() -> Result<bool>) -> Result<()> {
        for _ in 0..200 {
            if there()? {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("waited in vain for {what}")
    }

    fn wait_for_sink(&self, name: &str) -> Result<()> {
        self.wait(name, || {
            let sinks = self.pactl(&["list", "short", "sinks"]);
            Ok(sinks.is_ok_and(|sinks| sinks.contains(name)))
        })
    }

    /// The output of `pactl` with these arguments.
    ///
    /// # Errors
    /// When `pactl` fails.
    pub fn pactl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command("pactl");
        let output = command
            .args(arguments)
            .stdout(Stdio::piped())
            .output()
            .context("pactl is needed; ./test.sh installs it")?;
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => bail!("pactl {arguments:?}: {}", output.status),
        }
    }

    /// Adds another null sink.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn add_sink(&self, name: &str) -> Result<()> {
        let sink = format!("sink_name={name}");
        self.pactl(&["load-module", "module-null-sink", &sink, "channels=2"])?;
        self.wait_for_sink(name)
    }

    /// Removes a null sink.
    ///
    /// # Errors
    /// When no sink has that name.
    pub fn remove_sink(&self, name: &str) -> Result<()> {
        let modules = self.pactl(&["list", "short", "modules"])?;
        let ours = |line: &&str| line.contains(&format!("sink_name={name}"));
        let module = modules.lines().find(ours).context("no such sink")?;
        let number = module.split_whitespace().next().context("no number")?;
        self.pactl(&["unload-module", number])?;
        Ok(())
    }

    /// The name of the sink on which the stack's stream is played.
    ///
    /// # Errors
    /// When there is no stream.
    pub fn stream_is_on(&self) -> Result<String> {
        let streams = self.pactl(&["list", "short", "sink-inputs"])?;
        let number = streams
            .lines()
            .next()
            .and_then(|line| line.split_whitespace().nth(1))
            .context("no stream")?;
        let sinks = self.pactl(&["list", "short", "sinks"])?;
        let here = |line: &&str| line.split_whitespace().next() == Some(number);
        let sink = sinks.lines().find(here).context("no such sink")?;
        Ok(sink.split_whitespace().nth(1).unwrap_or_default().into())
    }

    /// Stops all processes of the server, or continues them.
    ///
    /// # Errors
    /// When one of them is gone.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        for process in &self.processes {
            kill_process(Pid::from_child(process), signal)?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if self.kind == Kind::Jack {
            // Files that a killed JACK server leaves behind.
            let name = jack_name();
            for entry in std::fs::read_dir("/dev/shm")
                .into_iter()
                .flatten()
                .flatten()
            {
                if entry.file_name().to_string_lossy().contains(&name) {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        }
    }
}

/// Records what a server plays on a null sink.
pub struct Recorder {
    process: Child,
    listener: std::thread::JoinHandle<Vec<u8>>,
}

impl Recorder {
    /// Starts recording.
    ///
    /// # Errors
    /// When `parec` cannot be started.
    pub fn start(server: &Server, sink: &str) -> Result<Self> {
        let mut process = server
            .command("parec")
            .args([
                &format!("--device={sink}.monitor"),
                "--format=float32le",
                "--rate=48000",
                "--channels=2",
                "--latency-msec=20",
            ])
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

    /// The left channel from 10 ms after the first sound on. Before its stream is connected, `parec`
    /// delivers silence.
    ///
    /// # Errors
    /// When `parec` has ended by itself.
    pub fn heard(mut self) -> Result<Vec<f32>> {
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
