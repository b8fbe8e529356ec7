//! A stack of real processes, started as a user starts it, with its files in a folder of its own.

mod remains;
mod wait;

pub use remains::{Recording, Remains};

use std::{
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use common::{
    command::{self},
    command_log::{self, Record},
    message::{Answer, Fault, Request, SIGKILL, SIGSTOP, Target},
};
use platform::{control, paths::Paths, samples::FOLDER, shared::Shared};
use rosc::{OscBundle, OscMessage, OscPacket, OscTime, OscType};
use serde_json::Value;
use tempfile::TempDir;

use crate::{ear, random::Random};

/// The faults that tests inject into a service, one after the other.
pub const AILMENTS: [Fault; 7] = [
    Fault::Hang,
    Fault::Signal(SIGSTOP),
    Fault::MuteControl,
    Fault::DropControl,
    Fault::Segv,
    Fault::Panic,
    Fault::Exit(3),
];

/// A running instance; stopped when dropped.
pub struct Stack {
    /// The folder of the instance's files.
    pub folder: TempDir,
    paths: Paths,
    osc: String,
    socket: UdpSocket,
    /// How many worker kills [`Self::wait_protected`] has to find replaced.
    killed: AtomicU64,
}

/// The folder of the programs under test: the parent of the test's own folder.
///
/// # Panics
/// When the programs have not been built.
#[must_use]
pub fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("UNDERSTUDY_PROGRAMS") {
        return folder.into();
    }
    let own = std::env::current_exe().expect("the test knows where it is");
    let folder = own
        .ancestors()
        .nth(2)
        .expect("target/PROFILE/deps/TEST")
        .to_path_buf();
    assert!(
        folder.join("understudy").exists(),
        "build the programs first: cargo build --release"
    );
    folder
}

impl Stack {
    /// Starts an instance with those options and a temporary folder of its own.
    ///
    /// # Errors
    /// When the instance does not start.
    pub fn start(options: &[&str]) -> Result<Self> {
        Self::start_in(TempDir::new()?, options, &[])
    }

    /// Starts an instance with its files in `folder` and additional environment variables.
    ///
    /// # Errors
    /// When the instance does not start.
    pub fn start_in(
        folder: TempDir,
        options: &[&str],
        environment: &[(&str, String)],
    ) -> Result<Self> {
        // A test that sets no lead does not test how late this machine wakes a thread.
        let in_time = !options.contains(&"--freewheel") && !options.contains(&"--lead");
        let output = understudy(folder.path())
            .args([
                "up",
                "--detach",
                "--instance",
                "test",
                "--osc",
                "127.0.0.1:0",
            ])
            .args(options)
            .args(in_time.then_some(["--lead", "48"]).into_iter().flatten())
            .envs(environment.iter().map(|(k, v)| (k, v)))
            .output()?;
        if !output.status.success() {
            bail!(
                "up failed: {}{}",
                text(&output.stdout),
                text(&output.stderr)
            );
        }
        let paths = Paths {
            instance: "test".into(),
            runtime: folder.path().join("run/understudy/test"),
            state: folder.path().join("state/understudy/test"),
        };
        let mut stack = Self {
            folder,
            paths,
            osc: String::new(),
            socket: UdpSocket::bind("127.0.0.1:0")?,
            killed: AtomicU64::new(0),
        };
        let status = stack.status()?;
        // The status names the port that the system has assigned.
        stack.osc = status["osc"].as_str().unwrap_or_default().to_owned();
        Ok(stack)
    }

    /// Starts an instance that plays into a WAV file, in a folder that is removed when the returned
    /// recording is dropped.
    ///
    /// # Errors
    /// When the instance does not start.
    pub fn start_wav(options: &[&str]) -> Result<(Self, Recording)> {
        let recording = Recording::in_folder(TempDir::new()?);
        let sink = format!("wav:{}", recording.wav.display());
        let stack = Self::start(&[&["--sink", &sink], options].concat())?;
        Ok((stack, recording))
    }

    /// Starts the test tone and waits until it is steady; returns a frame from which on it is.
    ///
    /// # Errors
    /// When the stack does not answer.
    pub fn steady_tone(&self) -> Result<usize> {
        self.osc_send("/test", None)?;
        std::thread::sleep(Duration::from_millis(400));
        Ok(number(&self.status()?, "/audio/play_cursor")? as usize * 128)
    }

    /// The OSC address of the instance.
    #[must_use]
    pub fn osc(&self) -> &str {
        &self.osc
    }

    /// Runs a verb of the command line on this instance.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn verb(&self, arguments: &[&str]) -> Result<Output> {
        Ok(understudy(self.folder.path())
            .args(arguments)
            .args(["--instance", "test"])
            .output()?)
    }

    /// Sends a request to the supervisor.
    ///
    /// # Errors
    /// When there is no answer, or the supervisor refuses.
    pub fn ask(&self, request: &Request) -> Result<Value> {
        self.ask_within(request, Duration::from_secs(20))
    }

    /// Sends a request to the supervisor and waits at most `limit` for the answer.
    ///
    /// # Errors
    /// When there is no answer, or the supervisor refuses.
    pub fn ask_within(&self, request: &Request, limit: Duration) -> Result<Value> {
        match control::ask(&self.paths, request, limit)? {
            Answer::Ok(value) => Ok(value),
            Answer::No(why) => bail!("{request:?}: {why}"),
        }
    }

    /// The status of the instance.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn status(&self) -> Result<Value> {
        self.ask(&Request::Status)
    }

    /// Injects a fault.
    ///
    /// # Errors
    /// When the supervisor refuses.
    pub fn inject(&self, fault: Fault, target: Target) -> Result<()> {
        self.ask(&Request::Inject(fault, target)).map(|_| ())
    }

    /// Kills a worker with SIGKILL; [`Self::wait_protected`] then waits for its replacement.
    ///
    /// # Errors
    /// When the supervisor refuses.
    pub fn kill(&self, target: Target) -> Result<()> {
        // A worker that was replaced earlier for another reason must not count as the replacement of
        // this one.
        let replaced = replaced(&self.status()?);
        self.inject(Fault::Signal(SIGKILL), target)?;
        self.killed.fetch_max(replaced, Ordering::Relaxed);
        self.killed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Adds workers that were killed by other means to those that must be replaced.
    pub fn expect_replacements(&self, count: u64) {
        self.killed.fetch_add(count, Ordering::Relaxed);
    }

    /// Sends an OSC message with one float, or without arguments.
    ///
    /// # Errors
    /// When the datagram cannot be sent.
    pub fn osc_send(&self, address: &str, value: Option<f32>) -> Result<()> {
        self.raw_send(&datagram(address, value))
    }

    /// Sends a datagram of any content.
    ///
    /// # Errors
    /// When the datagram cannot be sent.
    pub fn raw_send(&self, bytes: &[u8]) -> Result<()> {
        self.socket.send_to(bytes, &self.osc)?;
        Ok(())
    }

    /// The replies to `address` that have arrived at the socket of [`Self::osc_send`], as text; bytes
    /// that are not text are replaced.
    #[must_use]
    pub fn replies(&self, address: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut buffer = [0; 8_192];
        let _ = self.socket.set_nonblocking(true);
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let text = text(&buffer[..length]);
            if text.starts_with(address) {
                found.push(text);
            }
        }
        let _ = self.socket.set_nonblocking(false);
        found
    }

    /// The process id of the instance's launcher, the parent of its processes.
    ///
    /// # Errors
    /// When there is no lock.
    pub fn launcher(&self) -> Result<u32> {
        self.named_in_lock(0)
    }

    /// The process id of the launcher that began the instance. It is part of the names of the
    /// segments.
    ///
    /// # Errors
    /// When there is no lock.
    pub fn first_launcher(&self) -> Result<u32> {
        self.named_in_lock(1)
    }

    fn named_in_lock(&self, place: usize) -> Result<u32> {
        let lock = std::fs::read_to_string(self.paths.lock())?;
        let named = lock.split_whitespace().nth(place);
        Ok(named.context("the lock names nobody")?.parse()?)
    }

    /// The shared memory of the instance, for observation.
    ///
    /// # Errors
    /// When the shared memory cannot be opened.
    pub fn shared(&self) -> Result<Shared> {
        Ok(Shared::open_of("test", self.first_launcher()?)?)
    }

    /// The process id of a service, by its name in the status.
    ///
    /// # Errors
    /// When there is no such service.
    pub fn pid(&self, service: &str) -> Result<u32> {
        let status = self.status()?;
        let mut services = status["services"].as_array().into_iter().flatten();
        let found = services.find(|s| s["name"] == service);
        let pid = found.and_then(|s| s["pid"].as_u64());
        Ok(pid.with_context(|| format!("no {service} in {status:#}"))? as u32)
    }

    /// Changes one of four parameters of the default patch, chosen at random.
    ///
    /// # Errors
    /// When the message cannot be sent.
    pub fn change_something(&self, random: &mut Random) -> Result<()> {
        match random.below(4) {
            0 => self.osc_send("/mod/sine/freq", Some(100.0 + random.below(2_000) as f32)),
            1 => self.osc_send(
                "/mod/filter/cutoff",
                Some(200.0 + random.below(8_000) as f32),
            ),
            2 => self.osc_send("/gate/adsr", Some(random.below(2) as f32)),
            _ => self.osc_send("/mod/sine/gain", Some(random.below(100) as f32 / 100.0)),
        }
    }

    /// The commands with a number above `last` in all segments of the log that exist, each once.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn commands_after(&self, mut last: u64) -> Result<Vec<(u64, command::Command)>> {
        // Opened first: a segment that is closed from now on is this one.
        let current = std::fs::File::open(self.paths.command_log())?;
        let closed = platform::segments::closed(&self.paths);
        // The oldest segment may be deleted meanwhile.
        let opened = closed.iter().map(|c| std::fs::File::open(&c.path));
        let closed: Vec<_> = opened.flatten().collect();
        let mut found = Vec::new();
        for file in closed.into_iter().chain([current]) {
            let mut reader = command_log::Reader::without_arenas(std::io::BufReader::new(file));
            while let Some((_, record)) = reader.next()? {
                // A closed segment also holds commands that are part of the next segment's state.
                if let Record::Command { seq, command, .. } = record
                    && seq.0 > last
                {
                    last = seq.0;
                    found.push((seq.0, command));
                }
            }
        }
        Ok(found)
    }

    /// Renders the log of the run again, into a file beside `beside`. Returns the samples and the
    /// output of `replay`.
    ///
    /// # Errors
    /// When `replay` fails.
    pub fn rendered(&self, beside: &Path, more: &[&str]) -> Result<(Vec<f32>, Value)> {
        let again = beside.with_file_name("again.wav");
        let output = ["replay", "--json", "-o", &again.display().to_string()];
        let output = self.verb(&[&output[..], more].concat())?;
        let told = text(&output.stdout);
        if !output.status.success() {
            bail!("replay failed: {told}{}", text(&output.stderr));
        }
        Ok((ear::read_wav(&again)?, serde_json::from_str(&told)?))
    }

    /// The paths of the instance.
    #[must_use]
    pub const fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The text log of the instance.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.paths.text_log()).unwrap_or_default()
    }

    /// Stops the instance with `down`.
    ///
    /// # Errors
    /// When the instance does not stop.
    pub fn end(&self) -> Result<()> {
        let output = self.verb(&["down"])?;
        if !output.status.success() {
            bail!(
                "down failed: {}{}",
                text(&output.stdout),
                text(&output.stderr)
            );
        }
        Ok(())
    }

    /// Stops the instance with `down`; keeps copies of its logs and recordings.
    ///
    /// # Errors
    /// When the instance does not stop.
    pub fn down(self) -> Result<Remains> {
        self.end()?;
        let command_log = self.paths.command_log();
        let folder = tempfile::tempdir()?;
        let remains = Remains {
            command_log: folder.path().join("commands.log"),
            _folder: folder,
        };
        std::fs::copy(command_log, &remains.command_log)?;
        for closed in platform::segments::closed(&self.paths) {
            let name = closed.path.file_name().unwrap_or_default();
            std::fs::copy(&closed.path, remains._folder.path().join(name))?;
        }
        let kept = self.paths.samples();
        for file in kept.read_dir().into_iter().flatten().flatten() {
            let copy = remains._folder.path().join(FOLDER);
            std::fs::create_dir_all(&copy)?;
            std::fs::copy(file.path(), copy.join(file.file_name()))?;
        }
        // Tests that have removed the folder have no recordings.
        let _ = std::fs::rename(self.paths.recordings(), remains.recordings());
        Ok(remains)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = self.verb(&["down"]);
        if std::thread::panicking() {
            println!("--- log of the instance ---\n{}", self.log());
        }
    }
}

/// The entry of a service in a status, by its name.
#[must_use]
pub fn service<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    let mut services = status["services"].as_array().into_iter().flatten();
    services.find(|s| s["name"] == name)
}

/// The entries of the workers in a status.
pub fn workers(status: &Value) -> impl Iterator<Item = &Value> {
    let services = status["services"].as_array().into_iter().flatten();
    services.filter(|s| s["name"].as_str().is_some_and(|n| n.starts_with("worker")))
}

/// How many times workers have been restarted, by a status.
fn replaced(status: &Value) -> u64 {
    workers(status).filter_map(|s| s["restarts"].as_u64()).sum()
}

/// A command `understudy` whose files are in `folder`.
#[must_use]
pub fn understudy(folder: &Path) -> Command {
    let mut command = Command::new(programs().join("understudy"));
    command
        .env("XDG_RUNTIME_DIR", folder.join("run"))
        .env("XDG_STATE_HOME", folder.join("state"))
        .current_dir(folder);
    command
}

/// An OSC message with one float, or without arguments, as a datagram.
#[must_use]
pub fn datagram(address: &str, value: Option<f32>) -> Vec<u8> {
    let mut bytes = padded(address);
    match value {
        Some(value) => {
            bytes.extend(padded(",f"));
            bytes.extend(value.to_be_bytes());
        }
        None => bytes.extend(padded(",")),
    }
    bytes
}

/// A message for a note of the module `keys`, in a bundle with that time tag.
///
/// # Errors
/// When the message cannot be encoded.
pub fn note_at(tag: u64, velocity: i32, ms: f32) -> Result<Vec<u8>> {
    let note = OscMessage {
        addr: "/note/keys".into(),
        args: vec![
            OscType::String("C4".into()),
            velocity.into(),
            OscType::Float(ms),
        ],
    };
    Ok(rosc::encoder::encode(&OscPacket::Bundle(OscBundle {
        timetag: OscTime {
            seconds: (tag >> 32) as u32,
            fractional: tag as u32,
        },
        content: vec![OscPacket::Message(note)],
    }))?)
}

/// An OSC message with texts as arguments.
#[must_use]
pub fn datagram_of(address: &str, texts: &[&str]) -> Vec<u8> {
    let mut bytes = padded(address);
    bytes.extend(padded(&format!(",{}", "s".repeat(texts.len()))));
    bytes.extend(texts.iter().flat_map(|text| padded(text)));
    bytes
}

fn padded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize((bytes.len() / 4 + 1) * 4, 0);
    bytes
}

/// The text that a program has printed.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A number in a status, by its JSON pointer.
///
/// # Errors
/// When there is no such number.
pub fn number(status: &Value, path: &str) -> Result<u64> {
    status
        .pointer(path)
        .and_then(Value::as_u64)
        .with_context(|| format!("no {path} in {status:#}"))
}

/// How many times a test repeats its work: the value of that environment variable, else `usual`.
#[must_use]
pub fn count_of(variable: &str, usual: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(usual)
}
