//! audio-out, the gateway, recorder and MIDI input, and whether everybody listens: started again with growing pauses,
//! ended when they hang.

use std::time::{Duration, Instant};

use common::{
    message::{Ending, SIGKILL, Service, ToAudio, ToGateway, ToService, ToWorker},
    stage::AudioState,
    units::{BlockIndex, Incarnation, Slot},
};
use failover::{restart::Record, switch::Seat};
use platform::say;

use super::{Stack, inquest};
use crate::event::PeerLink;

/// A peer that takes nothing for so long is a failed peer.
const TAKES_NOTHING: Duration = Duration::from_millis(250);
/// How often a peer has to show that it reads its channel, and how long it may be silent.
pub const PING: Duration = Duration::from_millis(250);
const SILENT: Duration = Duration::from_millis(1_500);
/// A process that has not come to talk for so long does not come; opening a device takes seconds.
const COMES: Duration = Duration::from_secs(15);
/// One that has been there before links again within milliseconds, when a new supervisor has come.
const RELINKS: Duration = Duration::from_secs(2);
/// A play cursor that does not move for so long, though there is something to play, is stuck.
const STUCK: Duration = Duration::from_millis(1_000);

/// How a service fares that is no worker.
#[derive(Default)]
pub struct Care {
    record: Record,
    /// When it is started again.
    respawn: Option<Instant>,
    /// Why it had to be started again the last time.
    cause: String,
}

impl Care {
    /// Whether it is to be started again.
    pub const fn is_due(&self) -> bool {
        self.respawn.is_some()
    }
}

/// What is known of the play cursor.
pub struct Cursor {
    block: BlockIndex,
    moved: Instant,
    /// Since when audio-out has been away, and for how long it was the last time.
    away: Option<Instant>,
    gap_ms: Option<f64>,
}

impl Cursor {
    pub fn new() -> Self {
        Self {
            block: BlockIndex(0),
            moved: Instant::now(),
            away: None,
            gap_ms: None,
        }
    }

    /// How long nothing was played when audio-out was away the last time, in milliseconds.
    pub const fn gap_ms(&self) -> Option<f64> {
        self.gap_ms
    }

    /// Whatever it did not do is not held against it.
    pub fn forgive(&mut self) {
        self.moved = Instant::now();
    }

    fn look(&mut self, block: BlockIndex) {
        if block == self.block {
            return;
        }
        (self.block, self.moved) = (block, Instant::now());
        if let Some(away) = self.away.take() {
            self.gap_ms = Some((away.elapsed().as_secs_f64() * 1e4).round() / 10.0);
        }
    }
}

impl Stack {
    /// A process that is no worker has ended.
    pub(super) fn service_gone(&mut self, service: Service, ending: Ending) {
        let now_us = self.now_us();
        let own_making = inquest::death(ending) != failover::blame::Death::Outside;
        let care = self.care.entry(service).or_default();
        let pause_us = care.record.failed(now_us, own_making);
        care.respawn = Some(Instant::now() + Duration::from_micros(pause_us));
        if care.cause.is_empty() || !own_making {
            care.cause = ending.to_string();
        }
        say::line(
            "supervisor",
            &format!("{service} has ended ({ending}); it is started again"),
        );
        if service == Service::AudioOut {
            self.cursor.away.get_or_insert_with(Instant::now);
        }
        self.start_services();
    }

    /// A service says that it can do its work, or why not.
    pub(super) fn service_up(&mut self, service: Service) {
        let now_us = self.now_us();
        let care = self.care.entry(service).or_default();
        care.record.ready(now_us);
        care.cause.clear();
    }

    pub(super) fn service_failed(&mut self, service: Service, why: &str) {
        self.care.entry(service).or_default().cause = why.into();
    }

    /// Starts it at once, whatever pause was to come.
    pub(super) fn start_now(&mut self, service: Service) {
        self.care.entry(service).or_default().respawn = Some(Instant::now());
        self.start_services();
    }

    pub(super) fn start_services(&mut self) {
        if self.finishing.is_some() {
            return;
        }
        let due = |care: &mut Care| {
            let due = care.respawn.is_some_and(|at| at <= Instant::now());
            due.then(|| care.respawn = None).is_some()
        };
        let services: Vec<Service> = self
            .care
            .iter_mut()
            .filter_map(|(service, care)| due(care).then_some(*service))
            .collect();
        for service in services {
            self.spawn(service, Incarnation::default());
        }
    }

    /// What is not as it should be, and what to do about it, a line each.
    pub(super) fn complaints(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let left = |at: Instant| at.saturating_duration_since(Instant::now()).as_secs_f64();
        for (service, care) in &self.care {
            if let Some(at) = care.respawn {
                lines.push(format!(
                    "{service} keeps failing ({}); next try in {:.1} s; `understudy restart {service}` tries at once",
                    care.cause,
                    left(at)
                ));
            }
        }
        for slot in Slot::ALL {
            let Some(supervision) = self.supervision.as_ref() else {
                break;
            };
            if let Seat::Vacant { at_us } = supervision.seat(slot) {
                lines.push(format!(
                    "worker:{slot} keeps failing ({} times in a row; the last time: {}); next try in {:.1} s; `understudy restart worker:{slot}` tries at once",
                    supervision.failures(slot),
                    self.history.last_cause(slot),
                    at_us.saturating_sub(self.now_us()) as f64 / 1e6
                ));
            }
        }
        lines.extend(self.launcher_complaint());
        lines.extend(self.recording_complaint());
        if self.shared.stage.audio_state() == AudioState::Waiting {
            lines.push(format!("nothing is played: {}", self.sink));
        }
        if let Some(module) = self.muted() {
            lines.push(format!(
                "the output is muted: module {module} puts out what is no sound"
            ));
        }
        lines
    }

    /// Ends whoever does not listen, unless there was no time to listen to them (`judges`); `pinging`
    /// asks everybody to show that they do.
    pub(super) fn look_after_peers(&mut self, pinging: bool, judges: bool) {
        let mut deaf = Vec::new();
        for (service, process) in &self.peers.processes {
            let is_deaf = match &process.link {
                Some(link) => {
                    let stalled = if pinging { link.ping() } else { link.stalled() };
                    stalled > TAKES_NOTHING || process.heard.elapsed() > SILENT
                }
                None => match process.unlinked {
                    Some(at) => at.elapsed() > TAKES_NOTHING,
                    None => {
                        let opens = !process.up && !matches!(service, Service::Worker(_));
                        process.since.elapsed() > if opens { COMES } else { RELINKS }
                    }
                },
            };
            if is_deaf && judges {
                deaf.push((*service, process.incarnation));
            }
        }
        for (service, incarnation) in deaf {
            match service {
                Service::Worker(slot) => self.deaf(slot, incarnation),
                Service::AudioOut
                | Service::OscGateway
                | Service::Recorder
                | Service::MidiIn
                | Service::LinkIn => {
                    self.end_service(service, "it does not read its control channel");
                }
                Service::Supervisor | Service::Trial => {}
            }
        }
        self.look_at_cursor();
    }

    /// A worker that does not take commands is a failed one.
    fn deaf(&mut self, slot: Slot, incarnation: Incarnation) {
        let works = self.supervision.as_ref().map(|s| s.seat(slot));
        if works == Some(Seat::Ready { incarnation }) {
            self.fail(
                slot,
                incarnation,
                true,
                "it does not read its control channel",
            );
        }
    }

    /// An audio-out that plays nothing though there is something to play hangs.
    fn look_at_cursor(&mut self) {
        let stage = self.shared.stage;
        self.cursor.look(stage.cursor());
        let there = |slot: &Slot| stage.slot(*slot).frontier() > stage.cursor();
        let plays = self
            .peers
            .processes
            .get(&Service::AudioOut)
            .is_some_and(|p| p.up)
            && stage.audio_state() == AudioState::Playing;
        // Without a clock, it may wait for the recorder.
        let waits = stage.shape().freewheel && !self.tape.has_room();
        if !plays || waits || !stage.playing() || !Slot::ALL.iter().any(there) {
            self.cursor.moved = Instant::now();
        } else if self.cursor.moved.elapsed() > STUCK {
            self.cursor.moved = Instant::now();
            self.end_service(
                Service::AudioOut,
                "it plays nothing though there is something",
            );
        }
    }

    fn end_service(&mut self, service: Service, cause: &str) {
        if self.finishing.is_some() {
            return;
        }
        say::line("supervisor", &format!("{service} is ended: {cause}"));
        self.care.entry(service).or_default().cause = cause.into();
        if service == Service::AudioOut {
            self.cursor.away.get_or_insert_with(Instant::now);
        }
        if let Some(process) = self.peers.processes.get_mut(&service) {
            // Once is enough.
            (process.heard, process.since, process.unlinked) =
                (Instant::now(), Instant::now(), None);
        }
        let _ = self.peers.signal(service, SIGKILL);
    }
}

impl PeerLink {
    /// Asks for a `Pong`; how long the other end has taken nothing.
    fn ping(&self) -> Duration {
        // A broken link shows by itself, as `unlinked`.
        match self {
            Self::Worker(link) => drop(link.send(ToWorker::Ping)),
            Self::Audio(link) => drop(link.send(ToAudio::Ping)),
            Self::Gateway(link) => drop(link.send(ToGateway::Ping)),
            Self::Service(link) => drop(link.send(ToService::Ping)),
        }
        self.stalled()
    }

    fn stalled(&self) -> Duration {
        match self {
            Self::Worker(link) => link.stalled(),
            Self::Audio(link) => link.stalled(),
            Self::Gateway(link) => link.stalled(),
            Self::Service(link) => link.stalled(),
        }
    }
}
