//! Monitors audio-out, the gateway, the recorder and the MIDI input: restarts them with growing pauses, and kills
//! processes that do not read their control channel.

use std::time::{Duration, Instant};

use common::{
    message::{Ending, SIGKILL, Service, ServiceKind, ToAudio, ToGateway, ToService, ToWorker},
    stage::{AudioState, Stage},
    units::{BlockIndex, Incarnation, Slot},
};
use failover::{judge::Observation, restart::Record, switch::Seat};
use platform::say;

use super::{Stack, verdicts};
use crate::{event::PeerLink, log::Trouble, roster};

/// The time after which a peer that reads no messages has failed.
const TAKES_NOTHING: Duration = Duration::from_millis(250);
/// The period of pings, by which a peer shows that it reads its channel, and the limit of its silence.
pub const PING: Duration = Duration::from_millis(250);
const SILENT: Duration = Duration::from_millis(1_500);
/// The time limit for the first link of a process; opening a device takes seconds.
const COMES: Duration = Duration::from_secs(15);
/// The time limit for a running process to link to a new supervisor, which takes milliseconds.
const RELINKS: Duration = Duration::from_secs(2);
/// The time after which a play cursor that does not move despite available blocks is stuck.
const STUCK: Duration = Duration::from_millis(1_000);

/// The least time for which the play cursor may stand still before the state is `silent`: two bursts of a device.
const STILL: Duration = Duration::from_millis(250);
/// The time after which a service that is not ready causes a complaint.
const STARTS: Duration = Duration::from_secs(2);

/// The time since the play cursor last moved.
pub fn still_for(stage: &Stage<'_>) -> Duration {
    Duration::from_nanos(platform::realtime::monotonic_ns().saturating_sub(stage.moved_at()))
}

/// The time for which the play cursor may stand still.
pub fn still_max(stage: &Stage<'_>) -> Duration {
    let format = stage.format();
    let block = f64::from(format.block_frames) / f64::from(format.rate_hz);
    STILL.max(Duration::from_secs_f64(
        2.0 * block * (stage.burst() + 1) as f64,
    ))
}

/// The state of a service other than a worker.
#[derive(Default)]
pub struct Care {
    record: Record,
    /// The time of the next start.
    respawn: Option<Instant>,
    /// The cause of the last restart.
    cause: String,
    /// Whether the cause belongs to the current process.
    explained: bool,
}

impl Care {
    /// Whether a restart is due.
    pub const fn is_due(&self) -> bool {
        self.respawn.is_some()
    }
}

/// The state of the play cursor.
pub struct Cursor {
    block: BlockIndex,
    moved: Instant,
    /// The time since when audio-out has been away, and the length of the last gap.
    away: Option<Instant>,
    gap_ms: Option<f64>,
    /// The number of gaps caused by the device, and the length of the last one.
    device_gaps: (u64, Option<Duration>),
}

impl Cursor {
    pub fn new() -> Self {
        Self {
            block: BlockIndex(0),
            moved: Instant::now(),
            away: None,
            gap_ms: None,
            device_gaps: (0, None),
        }
    }

    /// The length of the last gap in milliseconds, caused by an absence of audio-out or by the device.
    pub const fn gap_ms(&self) -> Option<f64> {
        self.gap_ms
    }

    /// Resets the hang timer after an absence of the supervisor.
    pub fn forgive(&mut self) {
        self.moved = Instant::now();
    }

    fn look(&mut self, stage: &Stage<'_>) {
        let milliseconds = |gap: Duration| (gap.as_secs_f64() * 1e4).round() / 10.0;
        let gaps = (stage.audio_counters().device_gaps, stage.last_device_gap());
        if gaps != self.device_gaps {
            self.device_gaps = gaps;
            self.gap_ms = gaps.1.map(milliseconds);
        }
        let block = stage.cursor();
        if block == self.block {
            return;
        }
        (self.block, self.moved) = (block, Instant::now());
        if let Some(away) = self.away.take() {
            self.gap_ms = Some(milliseconds(away.elapsed()));
        }
    }
}

impl Stack {
    /// Handles the end of a process other than a worker.
    pub(super) fn service_gone(&mut self, service: Service, ending: Ending) {
        let now_us = self.now_us();
        let own_making = verdicts::death(ending) != failover::blame::Death::Outside;
        let care = self.care.entry(service).or_default();
        let pause_us = care.record.failed(now_us, own_making);
        care.respawn = Some(Instant::now() + Duration::from_micros(pause_us));
        // A reported cause is more specific than the exit status.
        if !std::mem::take(&mut care.explained) || !own_making {
            care.cause = ending.to_string();
        }
        say::line(
            "supervisor",
            &format!("{service} has ended ({ending}) and is restarted"),
        );
        if service == Service::AudioOut {
            self.cursor.away.get_or_insert_with(Instant::now);
        }
        self.start_services();
    }

    /// Handles the report of a service that it is ready.
    pub(super) fn service_up(&mut self, service: Service) {
        let now_us = self.now_us();
        let care = self.care.entry(service).or_default();
        care.record.ready(now_us);
    }

    pub(super) fn service_failed(&mut self, service: Service, why: &str) {
        self.explain(service, why);
    }

    fn explain(&mut self, service: Service, why: &str) {
        let care = self.care.entry(service).or_default();
        (care.cause, care.explained) = (why.into(), true);
    }

    /// Starts a service at once, without its pause.
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

    /// The time until the next start of a service, if it waits for one.
    pub(super) fn next_try(&self, service: Service) -> Option<Duration> {
        if let Service::Worker(slot) = service {
            return match self.supervision()?.seat(slot) {
                Seat::Vacant { at_us } => Some(Duration::from_micros(
                    at_us.saturating_sub(self.present_us()),
                )),
                _ => None,
            };
        }
        let at = self.care.get(&service)?.respawn?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// The complaint about a service that does not keep running.
    fn service_complaint(&self, service: Service) -> Option<String> {
        if let Some(pause) = self.next_try(service) {
            return Some(format!(
                "{service} fails repeatedly ({}); next start in {:.1} s; `understudy restart {service}` starts it at once",
                self.why_failing(service),
                pause.as_secs_f64()
            ));
        }
        if matches!(service, Service::Worker(_)) {
            return None;
        }
        let care = self.care.get(&service);
        let failures = care.map_or(0, |care| care.record.failures());
        let process = self.peers.processes.get(&service);
        let up = process.is_some_and(|process| process.up);
        let well = care.is_none_or(|care| care.record.is_well(self.present_us()));
        match process {
            _ if failures > 0 && !(up && well) => Some(format!(
                "{service} does not keep running ({failures} times in a row; the last cause: {})",
                self.why_failing(service)
            )),
            Some(process) if !up && process.since.elapsed() > STARTS => Some(format!(
                "{service} is not ready after {:.0} s",
                process.since.elapsed().as_secs_f64()
            )),
            _ => None,
        }
    }

    /// The cause of the last restart of a service.
    fn why_failing(&self, service: Service) -> String {
        match service {
            Service::Worker(slot) => format!(
                "{} times in a row; the last cause: {}",
                self.supervision().map_or(0, |s| s.failures(slot)),
                self.history.last_cause(slot)
            ),
            _ => self
                .care
                .get(&service)
                .map(|care| care.cause.clone())
                .unwrap_or_default(),
        }
    }

    /// All complaints with their remedies, one line each.
    pub(super) fn complaints(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for service in roster::services(&self.options) {
            lines.extend(self.service_complaint(service));
        }
        let stage = self.shared.stage;
        let still = still_for(&stage);
        if stage.playing() && still > still_max(&stage) {
            lines.push(format!(
                "nothing has been played for {:.1} s: the play cursor stands still at block {}",
                still.as_secs_f64(),
                stage.cursor()
            ));
        }
        if let Some(Trouble { since, why, .. }) = self.music.log.trouble() {
            lines.push(format!(
                "the command log cannot be written ({why}; for {:.0} s so far): commands are refused, and the music cannot be rendered again; restore {}",
                since.elapsed().as_secs_f64(),
                self.paths.command_log().display()
            ));
        }
        if let Some(why) = self.music.log.refused_by_disk() {
            lines.push(format!(
                "the end of the command log is not on the disk ({why}): a power cut would lose it, and /sync is not answered until it is"
            ));
        }
        lines.extend(self.music.log.refused_by_archive());
        if !self.paths.control_socket().exists() {
            lines.push(format!(
                "{} is missing: the launcher restores it as soon as possible",
                self.paths.runtime.display()
            ));
        }
        lines.extend(self.launcher_complaint());
        lines.extend(self.recording_complaint());
        if self.shared.stage.audio_state() == AudioState::Waiting {
            lines.push(format!("nothing is played: {}", self.sink));
        }
        if let Some(module) = self.muted() {
            lines.push(format!(
                "the output is muted: the module {module} outputs invalid samples (NaN, infinite or above +36 dB)"
            ));
        }
        lines
    }

    /// Kills processes that do not read their control channel, unless the supervisor itself was absent; `pinging` sends a
    /// ping to all peers.
    pub(super) fn look_after_peers(&mut self, pinging: bool) {
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
            if is_deaf {
                deaf.push((*service, process.incarnation));
            }
        }
        // Without the control socket no process can link, so an unlinked process has not failed.
        if !deaf.is_empty() && !self.paths.control_socket().exists() {
            deaf.retain(|(service, _)| {
                self.peers
                    .processes
                    .get(service)
                    .is_some_and(|process| process.link.is_some())
            });
        }
        let judges = self.judges();
        for (service, incarnation) in deaf.into_iter().filter(|_| judges) {
            match service.kind() {
                ServiceKind::Worker(slot) => self.judge(Observation::Deaf(slot, incarnation)),
                ServiceKind::Audio | ServiceKind::Gateway | ServiceKind::Watched => {
                    self.end_service(service, "its control channel is not read");
                }
                ServiceKind::Supervisor | ServiceKind::Trial => {}
            }
        }
        self.look_at_cursor();
    }

    /// Kills an audio-out that plays nothing although blocks are available.
    fn look_at_cursor(&mut self) {
        let stage = self.shared.stage;
        self.cursor.look(&stage);
        let there = |slot: &Slot| stage.slot(*slot).frontier() > stage.cursor();
        let plays = self
            .peers
            .processes
            .get(&Service::AudioOut)
            .is_some_and(|p| p.up)
            && stage.audio_state() == AudioState::Playing;
        // Without a clock audio-out may wait for the recorder.
        let waits = stage.format().freewheel && !self.tape.has_room();
        if !plays || waits || !stage.playing() || !Slot::ALL.iter().any(there) {
            self.cursor.moved = Instant::now();
        } else if self.cursor.moved.elapsed() > STUCK && self.judges() {
            self.cursor.moved = Instant::now();
            self.end_service(
                Service::AudioOut,
                "its play cursor does not move although blocks are available",
            );
        }
    }

    fn end_service(&mut self, service: Service, cause: &str) {
        if self.finishing.is_some() {
            return;
        }
        say::line("supervisor", &format!("{service} is killed: {cause}"));
        self.explain(service, cause);
        if service == Service::AudioOut {
            self.cursor.away.get_or_insert_with(Instant::now);
        }
        if let Some(process) = self.peers.processes.get_mut(&service) {
            // Kill the process only once.
            (process.heard, process.since, process.unlinked) =
                (Instant::now(), Instant::now(), None);
        }
        let _ = self.peers.signal(service, SIGKILL);
    }
}

impl PeerLink {
    /// Requests a `Pong`; returns the time for which the peer has read nothing.
    fn ping(&self) -> Duration {
        // A broken link is reported as `unlinked`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        stage::{AudioFormat, STAGE_WORDS},
        sync::heap,
    };

    fn on_stage(test: impl FnOnce(Stage<'_>, Cursor)) {
        let words = heap(STAGE_WORDS);
        let format = AudioFormat {
            rate_hz: 48_000,
            block_frames: 128,
            channels: 2,
            lead_blocks: 4,
            freewheel: false,
        };
        test(Stage::create(&words, &format).unwrap(), Cursor::new());
    }

    #[test]
    fn the_last_gap_of_the_device_is_shown_until_the_next_and_survives_a_moving_cursor() {
        on_stage(|stage, mut cursor| {
            cursor.look(&stage);
            assert_eq!(cursor.gap_ms(), None);
            stage.add_device_gaps(2, Duration::from_micros(31_460));
            cursor.look(&stage);
            stage.set_cursor(BlockIndex(7));
            cursor.look(&stage);
            assert_eq!(cursor.gap_ms(), Some(31.5));
            // Another one of the same length is still another one, a shorter one is the last.
            stage.add_device_gaps(1, Duration::from_micros(900));
            cursor.look(&stage);
            assert_eq!(cursor.gap_ms(), Some(0.9));
        });
    }

    #[test]
    fn an_absence_of_audio_out_ends_with_the_first_block_that_is_played_and_is_counted_once() {
        on_stage(|stage, mut cursor| {
            cursor.away = Some(Instant::now() - Duration::from_millis(250));
            cursor.look(&stage);
            assert_eq!(cursor.gap_ms(), None, "nothing is played yet");
            stage.set_cursor(BlockIndex(1));
            cursor.look(&stage);
            let gap = cursor.gap_ms();
            assert!(gap.is_some_and(|ms| ms >= 250.0) && cursor.away.is_none());
            stage.set_cursor(BlockIndex(2));
            cursor.look(&stage);
            assert_eq!(cursor.gap_ms(), gap);
        });
    }
}
