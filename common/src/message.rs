//! What processes say to each other: one enum a direction.
//!
//! Over ipc-channel between the supervisor and its peers (`To…`, `From…`), as JSON lines between
//! the supervisor's control socket and whoever asks (`Request`, `Answer`), and as one packet each
//! between the launcher and the supervisor (`ToLauncher`, `FromLauncher`).

use serde::{Deserialize, Serialize};

use crate::{
    command::{Command, Event, SequenceControl},
    edit::{Drafted, Edit},
    preset::Preset,
    recording::Wish,
    units::{FrameIndex, Incarnation, Seq, Slot},
};

/// A process of the stack, by the name that people type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Service {
    /// `supervisor`
    Supervisor,
    /// `osc-gateway`
    OscGateway,
    /// `audio-out`
    AudioOut,
    /// `recorder`
    Recorder,
    /// `midi-in`
    MidiIn,
    /// `link-in`
    LinkIn,
    /// `worker:0`, `worker:1`
    Worker(Slot),
    /// `trial`: the worker that plays for nobody; started when there is something to find out.
    Trial,
}

impl Service {
    /// The name of its program.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Supervisor => "understudy-supervisor",
            Self::OscGateway => "understudy-osc-gateway",
            Self::AudioOut => "understudy-audio-out",
            Self::Recorder => "understudy-recorder",
            Self::MidiIn => "understudy-midi-in",
            Self::LinkIn => "understudy-link-in",
            Self::Worker(_) | Self::Trial => "understudy-worker",
        }
    }
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Supervisor => f.write_str("supervisor"),
            Self::OscGateway => f.write_str("osc-gateway"),
            Self::AudioOut => f.write_str("audio-out"),
            Self::Recorder => f.write_str("recorder"),
            Self::MidiIn => f.write_str("midi-in"),
            Self::LinkIn => f.write_str("link-in"),
            Self::Worker(slot) => write!(f, "worker:{slot}"),
            Self::Trial => f.write_str("trial"),
        }
    }
}

/// Whom a restart or a fault is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// This process.
    Service(Service),
    /// The worker whose ring is preferred.
    Leader,
    /// The other worker.
    Follower,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "supervisor" => Self::Service(Service::Supervisor),
            "osc-gateway" => Self::Service(Service::OscGateway),
            "audio-out" => Self::Service(Service::AudioOut),
            "recorder" => Self::Service(Service::Recorder),
            "midi-in" => Self::Service(Service::MidiIn),
            "link-in" => Self::Service(Service::LinkIn),
            "worker:0" => Self::Service(Service::Worker(Slot::Zero)),
            "worker:1" => Self::Service(Service::Worker(Slot::One)),
            "leader" => Self::Leader,
            "follower" => Self::Follower,
            _ => {
                return Err(format!(
                    "no service \"{text}\" (expected one of supervisor, osc-gateway, audio-out, recorder, midi-in, link-in, worker:0, worker:1, leader, follower)"
                ));
            }
        })
    }
}

/// The longest that [`Fault::Slow`] makes a block take, in milliseconds: whoever wants more wants `hang`.
pub const SLOW_MS_MAX: f64 = 1_000_000.0;

/// A fault to inject.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fault {
    /// A signal from outside: SIGKILL, SIGTERM, SIGSTOP, SIGCONT.
    Signal(i32),
    /// A real segmentation fault in the real-time thread.
    Segv,
    /// `abort()` in the real-time thread.
    Abort,
    /// A panic in the real-time thread.
    Panic,
    /// The process exits with that code.
    Exit(i32),
    /// The real-time thread spins for ever.
    Hang,
    /// Each block takes that many microseconds longer.
    Slow(u32),
    /// Its output turns NaN.
    Nan,
    /// One bit of one sample in its next block is flipped.
    Flip,
    /// It stops reading its control channel.
    MuteControl,
    /// It closes its control channel.
    DropControl,
    /// It allocates until it may not.
    Oom,
}

/// What a process says with its exit code, a worker where nothing else is said.
pub mod exit {
    /// It cannot catch up any more.
    pub const OVERTAKEN: i32 = 70;
    /// It was so slow with a block that the other worker has decided otherwise.
    pub const OVERRULED: i32 = 72;
    /// A supervisor: it cannot take over what it finds just now; the next one is to try again.
    pub const CANNOT_TAKE_OVER: i32 = 73;
}

/// SIGKILL on Linux.
pub const SIGKILL: i32 = 9;
/// SIGTERM on Linux.
pub const SIGTERM: i32 = 15;
/// SIGCONT on Linux.
pub const SIGCONT: i32 = 18;
/// SIGSTOP on Linux.
pub const SIGSTOP: i32 = 19;
/// SIGXCPU on Linux: the kernel ends a process whose real-time thread spins.
pub const SIGXCPU: i32 = 24;

impl std::str::FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, argument) = text
            .split_once(':')
            .map_or((text, None), |(n, a)| (n, Some(a)));
        let given = argument.unwrap_or_default();
        let fault = match name {
            "exit" => {
                let code = given.parse::<u8>().map_err(|_| {
                    format!("exit:CODE got \"{given}\" (expected an integer from 0 to 255)")
                })?;
                return Ok(Self::Exit(code.into()));
            }
            "slow" => {
                let ms = given.parse::<f64>().ok();
                let ms = ms
                    .filter(|ms| (0.0..=SLOW_MS_MAX).contains(ms))
                    .ok_or_else(|| {
                        format!("slow:MS got \"{given}\" (expected 0 to {SLOW_MS_MAX})")
                    })?;
                return Ok(Self::Slow((ms * 1000.0) as u32));
            }
            "kill" => Self::Signal(SIGKILL),
            "term" => Self::Signal(SIGTERM),
            "stop" => Self::Signal(SIGSTOP),
            "cont" => Self::Signal(SIGCONT),
            "segv" => Self::Segv,
            "abort" => Self::Abort,
            "panic" => Self::Panic,
            "hang" => Self::Hang,
            "nan" => Self::Nan,
            "flip" => Self::Flip,
            "mute-control" => Self::MuteControl,
            "drop-control" => Self::DropControl,
            "oom" => Self::Oom,
            _ => {
                return Err(format!(
                    "no fault \"{name}\" (expected one of kill, term, segv, abort, panic, exit:CODE, stop, cont, hang, slow:MS, nan, flip, mute-control, drop-control, oom)"
                ));
            }
        };
        match argument {
            Some(extra) => Err(format!(
                "the fault {name} has the argument \"{extra}\" (expected none)"
            )),
            None => Ok(fault),
        }
    }
}

/// A command with its number and its place in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbered {
    /// Its number.
    pub seq: Seq,
    /// Where its record stands in the log, in bytes.
    pub offset: u64,
    /// Where the record after it will stand.
    pub next_offset: u64,
    /// What it does.
    pub command: Command,
}

/// Supervisor → worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// Accepted commands, in order, none left out.
    Commands(Vec<Numbered>),
    /// Do yourself this harm.
    Inject(Fault),
    /// The commands up to this number are in the log, should one have been missed.
    Newest(Seq),
    /// To be answered with `Pong`: shows that the channel is read.
    Ping,
}

/// Supervisor → audio-out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToAudio {
    /// Write out what is left and exit.
    Finish,
    /// To be answered with `Pong`.
    Ping,
    /// Do yourself this harm.
    Inject(Fault),
}

/// Supervisor → a service that needs no more of it: recorder, MIDI input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToService {
    /// To be answered with `Pong`.
    Ping,
    /// Do yourself this harm.
    Inject(Fault),
}

/// Supervisor → gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToGateway {
    /// A part of the text of the patch that follows, where that is too long for one message.
    PatchPart(String),
    /// The patch in force; numbers in events refer to it.
    Patch {
        /// Grows with each patch.
        generation: u64,
        /// Its JSON text; what follows the parts.
        json: String,
    },
    /// What became of submissions: submission id and outcome.
    Outcomes(Vec<(u64, Outcome)>),
    /// A command that was accepted under that submission id is left out after all; to be told to its sender.
    Quarantined(u64, String),
    /// To be answered with `Pong`.
    Ping,
    /// Do yourself this harm.
    Inject(Fault),
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// It has this number and will be applied.
    Accepted(Seq),
    /// The same, and something that whoever asked should know.
    Noted(Seq, String),
    /// It was meant for a patch that is no longer in force: resolve it again.
    Stale,
    /// Everything up to the number has been applied by every ready worker.
    Synced,
    /// What was asked for, as JSON.
    Text(String),
    /// It will not be done, and why.
    Refused(String),
}

/// What the gateway hands in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Submission {
    /// An event, resolved against the patch of that generation.
    Event {
        /// The patch's generation.
        generation: u64,
        /// What to do.
        event: Event,
        /// At which frame; as soon as can be, if none is given.
        at: Option<FrameIndex>,
    },
    /// A sequence is started, stopped or set; by its name, so that it may follow the edit that makes it.
    Control {
        /// The sequence's name.
        id: String,
        /// What to do.
        control: SequenceControl,
        /// At which frame; as soon as can be, if none is given.
        at: Option<FrameIndex>,
    },
    /// A change of the patch, by itself.
    Edit(Edit),
    /// A change of the patch that waits for [`Submission::Commit`], or an end to all that wait.
    Draft(Drafted),
    /// The changes that wait, all at once.
    Commit {
        /// Even where what comes of them is predicted to be too much for the machine.
        forced: bool,
    },
    /// Keep a preset, or set a module to one.
    Preset(Preset),
    /// The names of the presets, of that module or of all.
    Presets(Option<String>),
    /// Say when everything submitted before this has been applied.
    Sync,
    /// The same as `understudy status --json`.
    Status,
    /// Record, or do so no more.
    Record(Wish),
    /// The same as `understudy record status --json`.
    RecordStatus,
}

/// Whoever is linked → supervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromPeer {
    /// A gateway's submissions, in order, each with its submission id.
    Submit {
        /// The generation of the patch that the gateway knows.
        generation: u64,
        /// The submissions.
        submissions: Vec<(u64, Submission)>,
    },
    /// Where the sound goes now, as it is shown in `status`.
    Sink(String),
    /// It can do its work: the gateway listens, the sink is open.
    Up,
    /// It cannot do its work and exits; one clear line.
    Fatal(String),
    /// Something for the log.
    Note(String),
    /// The answer to `Ping`.
    Pong,
}

/// The first thing a peer says at the control socket: give me a link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Introduction {
    /// Who asks.
    pub service: Service,
    /// Its process.
    pub pid: u32,
    /// Its life, if it is a worker; else 0.
    pub incarnation: Incarnation,
}

/// What can be asked at the control socket, one JSON line each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A peer wants its link: the answer names an ipc-channel one-shot server.
    Link(Introduction),
    /// The stack's status.
    Status,
    /// A planned restart; answered when it is back and ready.
    Restart(Target),
    /// One fault, now.
    Inject(Fault, Target),
    /// The running patch with the current parameter values.
    PatchShow,
    /// Play this patch.
    PatchLoad(String),
    /// Play this patch, even where it is predicted to be too much for the machine.
    PatchForce(String),
    /// What each module of the patch in force costs.
    Modules,
    /// Record, or do so no more.
    Record(Wish),
    /// What is recorded, or was last.
    RecordStatus,
}

/// What the control socket answers, one JSON line each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done; the text or JSON that was asked for.
    Ok(serde_json::Value),
    /// No, and why.
    No(String),
}

/// Supervisor → launcher.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToLauncher {
    /// Start this process.
    Spawn {
        /// Which.
        service: Service,
        /// Its life, if it is a worker; else 0.
        incarnation: Incarnation,
        /// Its command line after the program's name.
        args: Vec<String>,
    },
    /// Which children are there?
    List,
    /// Sound can be made: tell whoever waits for `up`.
    Ready(String),
    /// The stack cannot start; tell whoever waits for `up`, and end.
    Failed(String),
    /// All is written; the rest may be ended.
    Finished,
    /// It is not stuck; said several times a second.
    Alive,
}

/// A child of the launcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// What it is.
    pub service: Service,
    /// Its life, if it is a worker; else 0.
    pub incarnation: Incarnation,
    /// Its process.
    pub pid: u32,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// By itself, with that code.
    Exit(i32),
    /// By that signal.
    Signal(i32),
    /// Nobody knows how: its launcher was gone, and only a parent is told.
    Unseen,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit {code}"),
            Self::Signal(SIGXCPU) => {
                f.write_str("signal 24: a real-time thread ran on without a pause")
            }
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unseen => f.write_str("unseen, since its launcher had ended before"),
        }
    }
}

/// Launcher → supervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromLauncher {
    /// Started as asked.
    Spawned(Child),
    /// It could not be started.
    SpawnFailed(Service, Incarnation, String),
    /// It ended.
    Died(Child, Ending),
    /// The children that are there.
    Children(Vec<Child>),
    /// It is not stuck; the answer to the supervisor's [`ToLauncher::Alive`].
    Alive,
    /// End the stack in good order.
    Stop,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_fault_takes_has_a_range() {
        for (text, fault) in [
            ("exit:0", Fault::Exit(0)),
            ("exit:255", Fault::Exit(255)),
            ("slow:0", Fault::Slow(0)),
            ("slow:0.5", Fault::Slow(500)),
            ("slow:1000000", Fault::Slow(1_000_000_000)),
        ] {
            assert_eq!(text.parse(), Ok(fault), "{text}");
        }
        for text in [
            "exit", "exit:", "exit:-1", "exit:256", "exit:300", "exit:3.5", "exit:x",
        ] {
            let why = text.parse::<Fault>().unwrap_err();
            assert!(why.contains("0 to 255"), "{why}");
        }
        for text in [
            "slow",
            "slow:",
            "slow:-1",
            "slow:1000001",
            "slow:99999999999999999999",
            "slow:inf",
            "slow:nan",
        ] {
            let why = text.parse::<Fault>().unwrap_err();
            assert!(why.contains("0 to 1000000"), "{why}");
        }
        assert!("kill:9".parse::<Fault>().is_err() && "".parse::<Fault>().is_err());
    }
}
