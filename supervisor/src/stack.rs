//! The stack as its supervisor sees it: each event goes to `failover::judge`, whose actions are carried out at once. One
//! thread; no function here waits for another process.

mod absence;
mod answers;
mod commands;
mod costs;
mod findings;
mod launcher;
mod lead;
mod overload;
mod recording;
mod services;
mod verdicts;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use common::{
    inbox::Inbox,
    message::{
        Answer, Ending, Fault, FromPeer, Introduction, Request, SIGKILL, Service, ServiceKind,
        ToAudio, ToLauncher, ToWorker,
    },
    options::Options,
    stage::{AudioFormat, AudioState, Tallies},
    tape::Tape,
    units::{Incarnation, Slot},
};
use failover::{
    judge::{Judge, Observation},
    switch::Supervision,
};
use platform::{living, paths::Paths, say, shared::Shared};
use tokio::sync::oneshot;

use self::{
    absence::Absence,
    commands::Syncing,
    findings::Findings,
    launcher::Wanted,
    lead::Ahead,
    overload::Overload,
    recording::Asked,
    services::{Care, Cursor},
    verdicts::Failure,
};
use crate::{
    event::{Incoming, PeerLink},
    history::History,
    launcher::ToLauncherSocket,
    music::Music,
    peers::{Cpu, Peers},
    roster,
};

/// The longest period of reading the shared words.
pub const IDLE_TICK: Duration = Duration::from_millis(8);
/// The initial lead with and without real-time priority, measured with blocks of 128 frames at 48 kHz.
const LEAD_REALTIME: u32 = 4;
const LEAD_PLAIN: u32 = 8;
/// The period of logging the played block.
const PROGRESS: Duration = Duration::from_secs(1);
/// The time limit for audio-out and the recorder to write their remaining sound.
const FINISH: Duration = Duration::from_secs(2);

/// A client that waits for the end of a restart.
struct Waiting {
    service: Service,
    old_pid: u32,
    answer: oneshot::Sender<Answer>,
}

/// Why the stack cannot be started or taken over.
pub enum Refusal {
    /// No process plays: the instance cannot be started.
    NothingBegun(anyhow::Error),
    /// Processes of the instance keep playing, but their shared memory or log cannot be taken over now.
    MusicGoesOn(anyhow::Error),
}

/// The stack.
pub struct Stack {
    options: Options,
    paths: Paths,
    launcher: ToLauncherSocket,
    parent: launcher::Parent,
    shared: Shared,
    format: AudioFormat,
    music: Music,
    judge: Option<Judge>,
    /// The failure in progress.
    failure: Failure,
    peers: Peers,
    start: Instant,
    absence: Absence,
    last_tick: Instant,
    last_ping: Instant,
    last_progress: Instant,
    sink: String,
    inbox: Inbox<'static>,
    tape: Tape<'static>,
    tallies: Tallies,
    history: History,
    own_cpu: Cpu,
    /// Requests that came before the living processes were known.
    early: Vec<(Request, oneshot::Sender<Answer>)>,
    syncs: Vec<Syncing>,
    /// The gateway that has submitted a stale event, by its process id, and the generation that it knew.
    overtaken: Option<(u32, u64)>,
    /// The clients that wait for the recorder.
    asked: Vec<Asked>,
    waiting: Vec<Waiting>,
    care: BTreeMap<Service, Care>,
    cursor: Cursor,
    ahead: Ahead,
    overload: Overload,
    /// The faults for services that are starting.
    faults: Vec<(Service, Fault)>,
    announced: bool,
    /// Whether another supervisor has begun the run.
    adopted: bool,
    finishing: Option<Instant>,
    ended: bool,
    findings: Findings,
}

impl Stack {
    /// Begins a run, or takes over an existing one. A run begins only if there was none and no process plays: shared
    /// memory that living processes have mapped is never recreated.
    ///
    /// # Errors
    /// If shared memory or the log cannot be used.
    pub fn begin(options: &Options, launcher: ToLauncherSocket) -> Result<Self, Refusal> {
        let paths = Paths::of(&options.instance).map_err(|e| Refusal::NothingBegun(e.into()))?;
        let refusal = |why: anyhow::Error| match living::any_plays(&paths) {
            true => Refusal::MusicGoesOn(why),
            false => Refusal::NothingBegun(why),
        };
        let (shared, mut music, (found, left_out), adopted) = match Shared::open(&options.instance)
        {
            Ok(shared) => {
                let taken = Music::adopt(&paths, shared.stage.format());
                let taken = taken.context("the command log cannot be used");
                let (music, found) = taken.map_err(refusal)?;
                (shared, music, found, true)
            }
            Err(why) if why.is_absence() && !living::any_plays(&paths) => {
                let begun = begin_fresh(options, &paths);
                let (shared, music) = begun.map_err(Refusal::NothingBegun)?;
                (shared, music, Default::default(), false)
            }
            Err(why) => return Err(refusal(why.into())),
        };
        music.log.keep(options);
        let rest = platform::shared::inbox(&options.instance).and_then(|inbox| {
            let tape = platform::shared::tape(&options.instance, &shared.stage.format())?;
            Ok((inbox, tape))
        });
        let (inbox, tape) = rest.map_err(|why| refusal(why.into()))?;
        let said = launcher.say(&ToLauncher::List);
        let said = said.and_then(|()| launcher.say(&ToLauncher::Alive));
        said.map_err(|why| refusal(why.into()))?;
        let now = Instant::now();
        (shared.stage).count_start(Service::Supervisor, std::process::id());
        Ok(Self {
            options: options.clone(),
            paths,
            launcher,
            parent: launcher::Parent::default(),
            format: shared.stage.format(),
            shared,
            music,
            judge: None,
            failure: Failure::default(),
            peers: Peers::default(),
            start: now,
            absence: Absence::new(),
            last_tick: now,
            last_ping: now,
            last_progress: now,
            sink: options.sink.clone(),
            inbox,
            tape,
            tallies: shared.stage.tallies(),
            history: History::recall(&shared.stage),
            own_cpu: Cpu::default(),
            early: Vec::new(),
            syncs: Vec::new(),
            overtaken: None,
            asked: Vec::new(),
            waiting: Vec::new(),
            care: BTreeMap::new(),
            cursor: Cursor::new(),
            ahead: Ahead::new(options, &shared.stage),
            overload: Overload::default(),
            faults: Vec::new(),
            announced: false,
            adopted,
            finishing: None,
            ended: false,
            findings: Findings::recall(&found, left_out),
        })
    }

    /// Whether the stack has ended.
    pub const fn ended(&self) -> bool {
        self.ended
    }

    /// Whether the shared words must be read often.
    pub fn busy(&self) -> bool {
        !self.protected()
            || !self.announced
            || !self.syncs.is_empty()
            || !self.waiting.is_empty()
            || !self.asked.is_empty()
            || self.finishing.is_some()
            || self.format.freewheel
    }

    fn protected(&self) -> bool {
        self.supervision().is_some_and(Supervision::protected)
    }

    /// The supervision of the slots, once the launcher has listed the living processes.
    fn supervision(&self) -> Option<&Supervision> {
        self.judge.as_ref().map(Judge::supervision)
    }

    /// Handles one event.
    pub fn handle(&mut self, event: Incoming) {
        self.notice_absence();
        match event {
            Incoming::Tick => self.tick(),
            Incoming::Launcher(news) => self.hear_launcher(news),
            Incoming::LauncherGone => self.launcher_gone("the launcher has ended".into()),
            Incoming::LauncherCame => self.launcher_came(),
            Incoming::NoLauncher(why) => {
                self.launcher_gone(format!("no launcher can be started ({why})"));
            }
            Incoming::Linked(who, link) => self.linked(&who, link),
            Incoming::Said(who, said) => self.hear_peer(&who, said),
            Incoming::Unlinked(who) => self.unlinked(&who),
            Incoming::Asked(request, answer) if self.adopted && self.judge.is_none() => {
                self.early.push((request, answer));
            }
            Incoming::Asked(request, answer) => self.asked(request, answer),
        }
        if self.last_tick.elapsed() >= IDLE_TICK {
            self.tick();
        }
    }

    // ---- time, and processes ----

    /// The microseconds since the start without absences, by which all waits for other processes count.
    fn now_us(&mut self) -> u64 {
        self.notice_absence();
        self.present_us()
    }

    /// The same at the last check.
    fn present_us(&self) -> u64 {
        self.absence.present(self.start).as_micros() as u64
    }

    fn spawn(&mut self, service: Service, incarnation: Incarnation) {
        self.ask_for(Wanted {
            service,
            incarnation,
            args: roster::arguments(&self.options, service, incarnation),
        });
    }

    fn spawn_trial(&mut self, incarnation: Incarnation, task: String) {
        let mut args = vec!["--instance".into(), self.options.instance.clone()];
        args.extend(["--task".into(), task]);
        args.extend(["--incarnation".into(), incarnation.to_string()]);
        self.ask_for(Wanted {
            service: Service::Trial,
            incarnation,
            args,
        });
    }

    // ---- deaths ----

    /// A process has ended.
    fn gone(&mut self, service: Service, incarnation: Incarnation, pid: u32, ending: Ending) {
        let since = self.history.shown(service);
        let known = pid == 0 || self.peers.get(service, pid).is_some();
        if pid != 0 && known {
            self.peers.processes.remove(&service);
        }
        match service.kind() {
            ServiceKind::Supervisor => {}
            ServiceKind::Worker(slot) => self.worker_gone(slot, incarnation, ending, since),
            ServiceKind::Trial => self.trial_gone(incarnation, ending),
            ServiceKind::Audio if self.finishing.is_some() => self.conclude(),
            // The end of a process with a successor: an earlier supervisor has handled it.
            _ if !known && self.is_coming(service) => {}
            ServiceKind::Audio | ServiceKind::Gateway | ServiceKind::Watched => {
                self.service_gone(service, ending);
            }
        }
    }

    fn worker_gone(
        &mut self,
        slot: Slot,
        incarnation: Incarnation,
        ending: Ending,
        since: Option<Instant>,
    ) {
        let seat = self.shared.stage.slot(slot);
        let mut text = format!("worker:{slot} (incarnation {incarnation}) has ended: {ending}");
        if let Some(message) = seat
            .panic_message()
            .filter(|_| seat.incarnation() == incarnation)
        {
            text = format!("{text}; panic message: {}", message.replace('\n', " "));
        }
        say::line("supervisor", &text);
        let cause = ending.to_string();
        self.failure = Failure { cause, since };
        let death = verdicts::death(ending);
        self.judge(Observation::Died(slot, incarnation, death));
    }

    // ---- the shared words ----

    fn tick(&mut self) {
        let since = self.last_tick.elapsed();
        self.last_tick = Instant::now();
        let stage = self.shared.stage;
        if !stage.playing() && stage.audio_state() == AudioState::Waiting {
            self.absence.excuse(since);
        }
        let pinging = self.last_ping.elapsed() >= services::PING;
        if pinging {
            self.last_ping = Instant::now();
            self.ask_launcher();
        }
        if self.judge.is_none() {
            return;
        }
        let judges = self.judges();
        let plays = self.peers.processes.contains_key(&Service::AudioOut);
        self.look_at_load();
        self.judge(Observation::Look { judges, plays });
        self.look_for_mutes();
        self.look_ahead();
        let frontier = Slot::ALL
            .map(|slot| stage.slot(slot).frontier())
            .into_iter()
            .max();
        // The log remembers the error; the next call tries again.
        let _ = self.music.log.collect(&stage, frontier.unwrap_or_default());
        let idle = self.judge.as_ref().is_some_and(Judge::tries_nothing) && stage.held().is_none();
        let both = self.protected();
        let idle = idle && self.finishing.is_none();
        (self.music).look_after_log(&self.options, &self.shared, idle, both);
        self.look_after_peers(pinging);
        self.answer_syncs();
        self.answer_restarts();
        self.answer_recordings();
        self.start_services();
        self.announce();
        if self.last_progress.elapsed() >= PROGRESS {
            self.last_progress = Instant::now();
            self.music.log.look_after(stage.cursor());
            platform::heap::give_back();
        }
        stage.set_tallies(self.tallies);
        self.look_after_end();
    }

    /// Finishes once audio-out has ended, by itself or by force, so that the log ends at the last played block.
    fn look_after_end(&mut self) {
        let Some(since) = self.finishing else {
            return;
        };
        if !self.peers.processes.contains_key(&Service::AudioOut) {
            self.conclude();
        } else if since.elapsed() > FINISH {
            let _ = self.peers.signal(Service::AudioOut, SIGKILL);
        }
    }

    fn announce(&mut self) {
        let up = |service| self.peers.processes.get(&service).is_some_and(|p| p.up);
        // A device counts as playing once it has taken a second of sound.
        if self.announced
            || !self.shared.stage.playing()
            || self.shared.stage.audio_state() != AudioState::Playing
            || self.sink_waits()
            || !up(Service::AudioOut)
            || !up(Service::OscGateway)
        {
            return;
        }
        self.announced = true;
        let AudioFormat {
            rate_hz,
            block_frames,
            lead_blocks,
            ..
        } = self.format;
        let lead_ms = f64::from(lead_blocks * block_frames) * 1000.0 / f64::from(rate_hz);
        self.tell_launcher(&ToLauncher::Ready(format!(
            "the instance \"{}\" plays: {rate_hz} Hz, blocks of {block_frames} frames, lead {lead_blocks} blocks ({lead_ms:.1} ms), OSC at {}, sink {}",
            self.options.instance, self.options.osc, self.sink
        )));
    }

    /// Whether audio-out's last report says that the device does not play yet.
    fn sink_waits(&self) -> bool {
        self.sink.is_empty() || self.sink.starts_with("device:") && self.sink.ends_with(')')
    }

    // ---- peers ----

    fn linked(&mut self, who: &Introduction, link: PeerLink) {
        let newest = self.music.log.seq();
        let patch = self.music.announcement();
        let Some(process) = self.peers.get(who.service, who.pid) else {
            return;
        };
        process.heard = Instant::now();
        match &link {
            // The worker reads the commands from before its link in the log.
            PeerLink::Worker(link) => drop(link.send(ToWorker::Newest(newest))),
            PeerLink::Gateway(link) => patch.into_iter().for_each(|part| drop(link.send(part))),
            PeerLink::Audio(_) | PeerLink::Service(_) => {}
        }
        process.link = Some(link);
        process.unlinked = None;
        self.inject_waiting(who.service);
        if who.service == Service::AudioOut && self.finishing.is_some() {
            self.finish_audio();
        }
    }

    /// Handles a broken link: either the process has died, which the launcher will report, or it cannot be reached.
    fn unlinked(&mut self, who: &Introduction) {
        if let Some(process) = self.peers.get(who.service, who.pid) {
            process.link = None;
            process.unlinked = Some(Instant::now());
        }
    }

    fn hear_peer(&mut self, who: &Introduction, said: FromPeer) {
        match said {
            FromPeer::Submit {
                generation,
                submissions,
            } => self.submit(who, generation, submissions),
            FromPeer::Sink(text) => self.sink = text,
            FromPeer::Note(text) => say::line(&who.service.to_string(), &text),
            FromPeer::Up => {
                if let Some(process) = self.peers.get(who.service, who.pid) {
                    process.up = true;
                }
                self.service_up(who.service);
            }
            FromPeer::Fatal(why) => {
                say::line(&who.service.to_string(), &why);
                self.service_failed(who.service, &why);
                if !self.announced {
                    self.tell_launcher(&ToLauncher::Failed(why));
                }
            }
            FromPeer::Pong => {
                if let Some(process) = self.peers.get(who.service, who.pid) {
                    process.heard = Instant::now();
                }
            }
        }
    }

    // ---- the end ----

    fn finish(&mut self) {
        if self.finishing.is_some() {
            return;
        }
        self.finishing = Some(Instant::now());
        if self.peers.processes.contains_key(&Service::AudioOut) {
            self.finish_audio();
        } else {
            self.conclude();
        }
    }

    /// Tells audio-out to write its remaining sound; an unlinked audio-out is told once it links.
    fn finish_audio(&self) {
        if let Some(audio) = self.peers.audio() {
            let _ = audio.send(ToAudio::Finish);
        }
    }

    /// Ends the run after the end of audio-out. A recording is completed first, within its time limit.
    fn conclude(&mut self) {
        let complete = self.recording_is_complete();
        if self.ended || (!complete && self.finishing.is_some_and(|at| at.elapsed() <= FINISH)) {
            return;
        }
        let stage = self.shared.stage;
        // On failure the log has reported the error.
        let _ = self.music.log.conclude(&stage, stage.cursor());
        self.music.leave_state(&self.shared);
        self.tell_launcher(&ToLauncher::Finished);
        self.ended = true;
    }
}

fn begin_fresh(options: &Options, paths: &Paths) -> Result<(Shared, Music)> {
    let realtime = platform::realtime::priority_available();
    let lead = options
        .lead_blocks
        .unwrap_or(if realtime { LEAD_REALTIME } else { LEAD_PLAIN });
    let format = AudioFormat {
        rate_hz: options.rate_hz,
        block_frames: options.block_frames,
        channels: options.channels,
        lead_blocks: lead,
        freewheel: options.freewheel,
    };
    if !realtime {
        say::line(
            "supervisor",
            "real-time priority is not permitted on this machine (set an rtprio limit to permit it); the lead is longer",
        );
    }
    // The log first: a process that finds the stage also finds the log.
    let (music, arena_bytes) = Music::begin(options, paths, format)?;
    let shared = Shared::create(&options.instance, &format, arena_bytes, options.first)?;
    Ok((shared, music))
}
