//! The messages between processes: one enum per direction.
//!
//! `To…` and `From…` pass over ipc-channel between the supervisor and its peers. `Request` and `Answer` are
//! JSON lines between a client and the supervisor's control socket. `ToLauncher` and `FromLauncher` are one
//! packet each between launcher and supervisor.

use serde::{Deserialize, Serialize};

pub use crate::service::{Service, ServiceKind, Target};
use crate::{
    command::{Command, Event, SequenceControl},
    edit::{Drafted, Edit},
    preset::Preset,
    recording::Wish,
    units::{FrameIndex, Incarnation, Seq},
};

/// The longest delay of [`Fault::Slow`], in milliseconds; for more there is [`Fault::Hang`].
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
    /// The process exits with this code.
    Exit(i32),
    /// The real-time thread spins for ever.
    Hang,
    /// Each block takes this many microseconds longer.
    Slow(u32),
    /// The worker's output turns into NaN.
    Nan,
    /// One bit of one sample in the worker's next block is flipped.
    Flip,
    /// The process stops reading its link.
    MuteControl,
    /// The process closes its link.
    DropControl,
    /// The process allocates memory until the kernel or a limit ends it.
    Oom,
}

/// Exit codes with a meaning; those of a worker unless stated otherwise.
pub mod exit {
    /// The worker cannot catch up any more.
    pub const OVERTAKEN: i32 = 70;
    /// The worker was so slow with a block that the decision was revised meanwhile.
    pub const OVERRULED: i32 = 72;
    /// A supervisor cannot take over at present; its successor should retry.
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
/// SIGXCPU on Linux: the kernel sends it when a real-time thread spins.
pub const SIGXCPU: i32 = 24;

/// Every fault by its name. What stands behind a colon is an argument; the values of such faults are examples.
const FAULTS: [(&str, Fault); 15] = [
    ("kill", Fault::Signal(SIGKILL)),
    ("term", Fault::Signal(SIGTERM)),
    ("segv", Fault::Segv),
    ("abort", Fault::Abort),
    ("panic", Fault::Panic),
    ("exit:CODE", Fault::Exit(0)),
    ("stop", Fault::Signal(SIGSTOP)),
    ("cont", Fault::Signal(SIGCONT)),
    ("hang", Fault::Hang),
    ("slow:MS", Fault::Slow(0)),
    ("nan", Fault::Nan),
    ("flip", Fault::Flip),
    ("mute-control", Fault::MuteControl),
    ("drop-control", Fault::DropControl),
    ("oom", Fault::Oom),
];

impl Fault {
    /// The names of all faults, with the names of their arguments.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FAULTS.into_iter().map(|(name, _)| name)
    }
}

impl std::str::FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, argument) = text
            .split_once(':')
            .map_or((text, None), |(n, a)| (n, Some(a)));
        let given = argument.unwrap_or_default();
        let known = |(listed, _): &&(&str, Self)| listed.split(':').next() == Some(name);
        let Some((_, fault)) = FAULTS.iter().find(known) else {
            let names: Vec<&str> = Self::names().collect();
            let names = names.join(", ");
            return Err(format!("no fault \"{name}\" (expected one of {names})"));
        };
        match (fault, argument) {
            (Self::Exit(_), _) => {
                let code = given.parse::<u8>().map_err(|_| {
                    format!("exit:CODE got \"{given}\" (expected an integer from 0 to 255)")
                })?;
                Ok(Self::Exit(code.into()))
            }
            (Self::Slow(_), _) => {
                let ms = given.parse::<f64>().ok();
                let ms = ms
                    .filter(|ms| (0.0..=SLOW_MS_MAX).contains(ms))
                    .ok_or_else(|| {
                        format!("slow:MS got \"{given}\" (expected 0 to {SLOW_MS_MAX})")
                    })?;
                Ok(Self::Slow((ms * 1000.0) as u32))
            }
            (_, Some(extra)) => Err(format!(
                "the fault {name} has the argument \"{extra}\" (expected none)"
            )),
            (fault, None) => Ok(*fault),
        }
    }
}

/// A command with its sequence number and its place in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbered {
    /// The sequence number.
    pub seq: Seq,
    /// The place of its record in the log, in bytes.
    pub offset: u64,
    /// The place of the record after it.
    pub next_offset: u64,
    /// The command.
    pub command: Command,
}

/// Supervisor → worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// Accepted commands, in order and without gaps.
    Commands(Vec<Numbered>),
    /// Carry out a fault.
    Inject(Fault),
    /// The sequence number of the last command in the log, in case a message was missed.
    Newest(Seq),
    /// Answer with `Pong`: shows that the link is read.
    Ping,
}

/// Supervisor → audio-out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToAudio {
    /// Write what is left and exit.
    Finish,
    /// Answer with `Pong`.
    Ping,
    /// Carry out a fault.
    Inject(Fault),
}

/// Supervisor → a service that needs nothing else from it: recorder, MIDI input, Link input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToService {
    /// Answer with `Pong`.
    Ping,
    /// Carry out a fault.
    Inject(Fault),
}

/// Supervisor → gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToGateway {
    /// A part of the JSON text of the next `Patch`, if the text is too long for one message.
    PatchPart(String),
    /// The patch in force, to which numbers in events refer.
    Patch {
        /// The patch's generation; it grows with each patch.
        generation: u64,
        /// The JSON text, or the rest of it after the parts.
        json: String,
    },
    /// The outcomes of submissions, by submission id.
    Outcomes(Vec<(u64, Outcome)>),
    /// An accepted command was quarantined; tell the sender of this submission id why.
    Quarantined(u64, String),
    /// Answer with `Pong`.
    Ping,
    /// Carry out a fault.
    Inject(Fault),
}

/// The outcome of a submission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// The command is accepted under this sequence number and will be applied.
    Accepted(Seq),
    /// As `Accepted`, with a note for the sender.
    Noted(Seq, String),
    /// The submission refers to a patch that is no longer in force: resolve it again.
    Stale,
    /// Every ready worker has applied all commands submitted before.
    Synced,
    /// The requested information, as JSON.
    Text(String),
    /// The submission is refused, and why.
    Refused(String),
}

/// A request by the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Submission {
    /// An event, resolved against the patch of this generation.
    Event {
        /// The patch's generation.
        generation: u64,
        /// The event.
        event: Event,
        /// The frame; `None`: as soon as possible.
        at: Option<FrameIndex>,
    },
    /// Controls a sequence. The sequence has its name here, so that the request may follow the edit that creates it.
    Control {
        /// The sequence's name.
        id: String,
        /// The action.
        control: SequenceControl,
        /// The frame; `None`: as soon as possible.
        at: Option<FrameIndex>,
    },
    /// A single edit of the patch.
    Edit(Edit),
    /// An edit that waits for [`Submission::Commit`], or the end of all waiting edits.
    Draft(Drafted),
    /// Commits all waiting edits together.
    Commit {
        /// Commit even if the predicted load is too high for the machine.
        forced: bool,
    },
    /// Saves a preset, or sets a module to one.
    Preset(Preset),
    /// Asks for the names of the presets of this module, or of all modules.
    Presets(Option<String>),
    /// Asks to be told when everything submitted before has been applied.
    Sync,
    /// Asks for the answer of `understudy status --json`.
    Status,
    /// Starts or stops a recording.
    Record(Wish),
    /// Asks for the answer of `understudy record status --json`.
    RecordStatus,
}

/// A linked peer → supervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromPeer {
    /// Submissions of the gateway, in order, each with its submission id.
    Submit {
        /// The generation of the patch that the gateway knows.
        generation: u64,
        /// The submissions.
        submissions: Vec<(u64, Submission)>,
    },
    /// The sink in use, for `status`.
    Sink(String),
    /// The peer is operational: the gateway listens, the sink is open.
    Up,
    /// The peer cannot work and exits; the text is one line.
    Fatal(String),
    /// A line for the text log.
    Note(String),
    /// The answer to `Ping`.
    Pong,
}

/// The first message of a peer at the control socket: a request for a link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Introduction {
    /// The peer.
    pub service: Service,
    /// Its process id.
    pub pid: u32,
    /// The incarnation of a worker; otherwise 0.
    pub incarnation: Incarnation,
}

/// A request at the control socket, one JSON line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A peer requests its link. The answer names an ipc-channel one-shot server.
    Link(Introduction),
    /// The stack's status.
    Status,
    /// A planned restart. The answer comes when the process is ready again.
    Restart(Target),
    /// Inject one fault now.
    Inject(Fault, Target),
    /// The patch in force with the present parameter values.
    PatchShow,
    /// Load this patch.
    PatchLoad(String),
    /// Load this patch even if the predicted load is too high for the machine.
    PatchForce(String),
    /// The cost of each module of the patch in force.
    Modules,
    /// Start or stop a recording.
    Record(Wish),
    /// The state of the present or last recording.
    RecordStatus,
}

/// An answer of the control socket, one JSON line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done, with the text or JSON that was requested.
    Ok(serde_json::Value),
    /// Refused, and why.
    No(String),
}

/// Supervisor → launcher.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToLauncher {
    /// Start a process.
    Spawn {
        /// The service.
        service: Service,
        /// The incarnation of a worker; otherwise 0.
        incarnation: Incarnation,
        /// The command line after the program's name.
        args: Vec<String>,
    },
    /// List the children.
    List,
    /// The instance can make sound: report this text to `understudy up`.
    Ready(String),
    /// The stack cannot start: report this text to `understudy up`, and exit.
    Failed(String),
    /// Everything is written: end the remaining processes.
    Finished,
    /// The supervisor is not stuck; sent several times a second.
    Alive,
}

/// A child process of the launcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// The service.
    pub service: Service,
    /// The incarnation of a worker; otherwise 0.
    pub incarnation: Incarnation,
    /// The process id.
    pub pid: u32,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// It exited with this code.
    Exit(i32),
    /// It was killed by this signal.
    Signal(i32),
    /// Unknown: the launcher that was its parent had ended, and only a parent is told.
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
    /// The process was started.
    Spawned(Child),
    /// The process could not be started, and why.
    SpawnFailed(Service, Incarnation, String),
    /// The child has ended.
    Died(Child, Ending),
    /// The present children.
    Children(Vec<Child>),
    /// The launcher is not stuck; the answer to [`ToLauncher::Alive`].
    Alive,
    /// Stop the stack in good order.
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
