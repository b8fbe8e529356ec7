//! The stack as its supervisor sees it: events in, the rule of `failover::switch` asked, what it
//! says done at once. One thread; nothing here waits for anybody.

mod absence;
mod answers;
mod commands;
mod findings;
mod inquest;
mod launcher;
mod recording;
mod replicas;
mod services;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use common::{
    inbox::Inbox,
    message::{
        Answer, Ending, Fault, FromPeer, Introduction, SIGKILL, Service, ToAudio, ToLauncher,
        ToWorker,
    },
    options::Options,
    stage::{Preference, Shape},
    tape::Tape,
    units::{BlockIndex, Incarnation, Slot},
};
use failover::{
    blame::Death,
    switch::{Action, Event as Fact, Supervision},
    trial::Trials,
};
use platform::{paths::Paths, say, shared::Shared};
use tokio::sync::oneshot;

use self::{
    absence::Absence,
    commands::Syncing,
    findings::Findings,
    launcher::Wanted,
    recording::Asked,
    services::{Care, Cursor},
};
use crate::{
    event::{Event, PeerLink},
    history::History,
    launcher::ToLauncherSocket,
    music::Music,
    peers::Peers,
    workers::Watch,
};

/// How often the shared words are looked at, at the least.
pub const CALM: Duration = Duration::from_millis(8);
/// With real-time priority, and without: blocks of 128 frames at 48 kHz, measured.
const LEAD_REALTIME: u32 = 4;
const LEAD_PLAIN: u32 = 8;
/// How often the log is told how far the music has been played.
const PROGRESS: Duration = Duration::from_secs(1);
/// How long audio-out and the recorder may take to write out what is left.
const FINISH: Duration = Duration::from_secs(2);

/// Somebody who waits for a restart to be over.
struct Waiting {
    service: Service,
    old_pid: u32,
    answer: oneshot::Sender<Answer>,
}

/// The stack.
pub struct Stack {
    options: Options,
    paths: Paths,
    launcher: ToLauncherSocket,
    parent: launcher::Parent,
    shared: Shared,
    shape: Shape,
    music: Music,
    supervision: Option<Supervision>,
    watches: [Option<Watch>; 2],
    peers: Peers,
    start: Instant,
    absence: Absence,
    last_tick: Instant,
    last_ping: Instant,
    last_progress: Instant,
    sink: String,
    inbox: Inbox<'static>,
    tape: Tape<'static>,
    /// Commands that could not be written down.
    refused: u64,
    /// Events accepted after the frame that they were meant for might have been rendered.
    late: u64,
    divergences: u64,
    /// The last block whose difference was counted: both watches may come upon it.
    differing_at: BlockIndex,
    history: History,
    syncs: Vec<Syncing>,
    /// Who waits for the recorder.
    asked: Vec<Asked>,
    waiting: Vec<Waiting>,
    care: BTreeMap<Service, Care>,
    cursor: Cursor,
    /// Faults for who is being started.
    faults: Vec<(Service, Fault)>,
    announced: bool,
    finishing: Option<Instant>,
    ended: bool,
    trials: Trials,
    findings: Findings,
}

impl Stack {
    /// Begins a run, or takes over one that is there.
    ///
    /// # Errors
    /// When shared memory or the log cannot be used.
    pub fn begin(options: &Options, launcher: ToLauncherSocket) -> Result<Self> {
        let paths = Paths::of(&options.instance)?;
        let adopted = Shared::open(&options.instance).ok();
        let begun = match adopted {
            Some(shared) => Music::adopt(&paths, shared.stage.shape())
                .map(|(music, records)| (shared, music, records)),
            None => begin_fresh(options, &paths).map(|(shared, music)| (shared, music, Vec::new())),
        };
        let (shared, music, records) = match begun {
            Ok(begun) => begun,
            Err(why) => {
                launcher.say(&ToLauncher::Failed(format!("{why:#}")))?;
                return Err(why);
            }
        };
        let inbox = platform::shared::inbox(&options.instance)?;
        let tape = platform::shared::tape(&options.instance, &shared.stage.shape())?;
        launcher.say(&ToLauncher::List)?;
        launcher.say(&ToLauncher::Alive)?;
        let now = Instant::now();
        let trial_life = shared.stage.trial().incarnation();
        shared.stage.keep_checkpoints(false);
        Ok(Self {
            options: options.clone(),
            paths,
            launcher,
            parent: launcher::Parent::default(),
            shape: shared.stage.shape(),
            shared,
            music,
            supervision: None,
            watches: [None, None],
            peers: Peers::default(),
            start: now,
            absence: Absence::new(),
            last_tick: now,
            last_ping: now,
            last_progress: now,
            sink: options.sink.clone(),
            inbox,
            tape,
            refused: 0,
            late: 0,
            divergences: 0,
            differing_at: BlockIndex(0),
            history: History::default(),
            syncs: Vec::new(),
            asked: Vec::new(),
            waiting: Vec::new(),
            care: BTreeMap::new(),
            cursor: Cursor::new(),
            faults: Vec::new(),
            announced: adopted.is_some(),
            finishing: None,
            ended: false,
            trials: Trials::new(trial_life.next()),
            findings: Findings::recall(&records),
        })
    }

    /// The stack has ended.
    pub const fn ended(&self) -> bool {
        self.ended
    }

    /// Something is under way that wants watching closely.
    pub fn busy(&self) -> bool {
        !self.protected()
            || !self.announced
            || !self.syncs.is_empty()
            || !self.waiting.is_empty()
            || !self.asked.is_empty()
            || self.finishing.is_some()
            || self.shape.freewheel
    }

    fn protected(&self) -> bool {
        self.supervision
            .as_ref()
            .is_some_and(Supervision::protected)
    }

    /// Takes in one event.
    pub fn handle(&mut self, event: Event) {
        self.notice_absence();
        match event {
            Event::Tick => self.tick(),
            Event::Launcher(news) => self.hear_launcher(news),
            Event::LauncherGone => self.launcher_gone("the launcher is gone".into()),
            Event::LauncherCame => self.launcher_came(),
            Event::NoLauncher(why) => {
                self.launcher_gone(format!("no launcher can be started ({why})"));
            }
            Event::Linked(who, link) => self.linked(&who, link),
            Event::Said(who, said) => self.hear_peer(&who, said),
            Event::Unlinked(who) => self.unlinked(&who),
            Event::Asked(request, answer) => self.asked(request, answer),
        }
        if self.last_tick.elapsed() >= CALM {
            self.tick();
        }
    }

    // ---- the rule, and what it says ----

    /// Microseconds since its start that it was there: what waits for somebody counts by these.
    fn now_us(&self) -> u64 {
        let present = self.start.elapsed().saturating_sub(self.absence.away());
        present.as_micros() as u64
    }

    fn fact(&mut self, fact: Fact, cause: &str, since: Option<Instant>) {
        let now_us = self.now_us();
        let Some(supervision) = self.supervision.as_mut() else {
            return;
        };
        let actions = supervision.step(now_us, fact);
        for action in actions {
            self.act(action, cause, since);
        }
    }

    fn act(&mut self, action: Action, cause: &str, since: Option<Instant>) {
        match action {
            Action::Prefer { from, to } => {
                let switched = self.shared.stage.switch(from, to);
                self.shared.wake_workers();
                let Some(now) = switched else {
                    // audio-out was faster; its switch is as good.
                    let seen = self.shared.stage.preference();
                    self.switched(from.slot, seen, cause, since);
                    return self.fact(Fact::Preference(seen), cause, since);
                };
                self.switched(from.slot, now, cause, since);
            }
            Action::Kill(slot, incarnation) => {
                say::line(
                    "supervisor",
                    &format!("worker:{slot} (life {incarnation}) is ended"),
                );
                let _ = self.peers.signal(Service::Worker(slot), SIGKILL);
            }
            Action::Spawn(slot, incarnation) => {
                self.watches[slot.index()] = Some(Watch::new(slot, incarnation));
                self.spawn(Service::Worker(slot), incarnation);
            }
        }
    }

    fn spawn(&mut self, service: Service, incarnation: Incarnation) {
        let mut args = vec!["--instance".into(), self.options.instance.clone()];
        match service {
            Service::Worker(slot) => {
                args.extend(["--slot".into(), slot.to_string()]);
                args.extend(["--incarnation".into(), incarnation.to_string()]);
            }
            Service::AudioOut => args.extend(["--sink".into(), self.options.sink.clone()]),
            Service::MidiIn => {
                let (port, to) = self.options.midi.clone().unwrap_or_default();
                let osc = self.options.osc.clone();
                for (option, value) in [("--port", port), ("--to", to), ("--osc", osc)] {
                    args.extend([option.into(), value]);
                }
            }
            Service::LinkIn => args.extend(["--osc".into(), self.options.osc.clone()]),
            Service::OscGateway | Service::Recorder | Service::Supervisor | Service::Trial => {}
        }
        self.ask_for(Wanted {
            service,
            incarnation,
            args,
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
        match service {
            Service::Supervisor => {}
            Service::Worker(slot) => self.worker_gone(slot, incarnation, ending, since),
            Service::Trial => self.trial_gone(incarnation, ending),
            Service::AudioOut if self.finishing.is_some() => self.conclude(),
            // The end of one whose successor is there, or asked for: told to the supervisor before.
            _ if !known && self.is_coming(service) => {}
            Service::AudioOut
            | Service::OscGateway
            | Service::Recorder
            | Service::MidiIn
            | Service::LinkIn => {
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
        let mut text = format!("worker:{slot} (life {incarnation}) has ended: {ending}");
        if let Some(epitaph) = seat.epitaph().filter(|_| seat.incarnation() == incarnation) {
            text = format!("{text}; it left: {}", epitaph.replace('\n', " "));
        }
        say::line("supervisor", &text);
        let cause = ending.to_string();
        let death = inquest::death(ending);
        if self.works(slot, incarnation) {
            self.history.failed(slot, &cause, since);
            self.blame(slot, incarnation, death);
        }
        self.fact(
            Fact::Died {
                slot,
                incarnation,
                own_making: death != Death::Outside,
            },
            &cause,
            since,
        );
        self.history.answered(slot);
    }

    // ---- the shared words ----

    fn tick(&mut self) {
        self.last_tick = Instant::now();
        let judges = self.judges();
        let pinging = self.last_ping.elapsed() >= services::PING;
        if pinging {
            self.last_ping = Instant::now();
            self.ask_launcher();
        }
        if self.supervision.is_none() {
            return;
        }
        let stage = self.shared.stage;
        self.obey_preference(stage.preference());
        let acknowledged = match self.peers.processes.contains_key(&Service::AudioOut) {
            true => stage.acknowledged(),
            // Nobody reads the rings.
            false => stage.preference().epoch,
        };
        self.fact(Fact::Acknowledged(acknowledged), "clean-up", None);
        for slot in Slot::ALL {
            self.look_at(slot);
        }
        self.look_after_trials();
        stage.set_protected(self.protected());
        let frontier = Slot::ALL
            .map(|slot| stage.slot(slot).frontier())
            .into_iter()
            .max();
        if let Err(why) = self.music.log.collect(&stage, frontier.unwrap_or_default()) {
            say::line(
                "supervisor",
                &format!("the command log cannot be written: {why}"),
            );
        }
        self.look_after_peers(pinging, judges);
        self.answer_syncs();
        self.answer_restarts();
        self.answer_recordings();
        self.start_services();
        self.announce();
        if self.last_progress.elapsed() >= PROGRESS {
            self.last_progress = Instant::now();
            let _ = self.music.log.progress(stage.cursor());
            platform::heap::give_back();
        }
        let played = !self.peers.processes.contains_key(&Service::AudioOut);
        if self
            .finishing
            .is_some_and(|since| played || since.elapsed() > FINISH)
        {
            self.conclude();
        }
    }

    /// The preference has changed, whoever changed it; `since` is when the fault was injected.
    fn switched(&mut self, from: Slot, now: Preference, cause: &str, since: Option<Instant>) {
        let Preference { epoch, slot } = now;
        say::line(
            "supervisor",
            &format!("epoch {epoch}: slot {slot} is preferred ({cause})"),
        );
        let block = self.shared.stage.cursor();
        self.history.switched(from, now, block, cause, since);
    }

    /// audio-out switches by itself when a due block is only in the other ring.
    fn obey_preference(&mut self, seen: Preference) {
        let cause = "block not there when due";
        let known = self.supervision.as_ref().map(Supervision::preference);
        if let Some(known) = known.filter(|known| seen.epoch > known.epoch) {
            self.switched(known.slot, seen, cause, None);
        }
        self.fact(Fact::Preference(seen), cause, None);
    }

    fn announce(&mut self) {
        let up = |service| self.peers.processes.get(&service).is_some_and(|p| p.up);
        if self.announced
            || !self.shared.stage.playing()
            || !up(Service::AudioOut)
            || !up(Service::OscGateway)
        {
            return;
        }
        self.announced = true;
        let Shape {
            rate_hz,
            block_frames,
            lead_blocks,
            ..
        } = self.shape;
        let lead_ms = f64::from(lead_blocks * block_frames) * 1000.0 / f64::from(rate_hz);
        self.tell_launcher(&ToLauncher::Ready(format!(
            "instance \"{}\" plays: {rate_hz} Hz, blocks of {block_frames}, lead {lead_blocks} blocks ({lead_ms:.1} ms), OSC at {}, sink {}",
            self.options.instance, self.options.osc, self.sink
        )));
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
            // What it may have missed before it was linked it finds in the log.
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

    /// It may just have died, which the launcher will report; if it lives on, it is deaf.
    fn unlinked(&mut self, who: &Introduction) {
        if let Some(process) = self.peers.get(who.service, who.pid) {
            process.link = None;
            process.unlinked = Some(Instant::now());
        }
    }

    fn hear_peer(&mut self, who: &Introduction, said: FromPeer) {
        match said {
            FromPeer::Submit(submissions) => self.submit(who, submissions),
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

    /// Has audio-out write out what is left; if it is not linked, it is told once it is.
    fn finish_audio(&self) {
        if let Some(audio) = self.peers.audio() {
            let _ = audio.send(ToAudio::Finish);
        }
    }

    /// audio-out has ended: nothing more is played. A recording is completed first, if that takes no
    /// longer than it may.
    fn conclude(&mut self) {
        let complete = self.recording_is_complete();
        if self.ended || (!complete && self.finishing.is_some_and(|at| at.elapsed() <= FINISH)) {
            return;
        }
        let stage = self.shared.stage;
        let cursor: BlockIndex = stage.cursor();
        let written = self
            .music
            .log
            .collect(&stage, cursor)
            .and_then(|()| self.music.log.progress(cursor));
        if let Err(why) = written {
            say::line(
                "supervisor",
                &format!("the command log cannot be written: {why}"),
            );
        }
        self.tell_launcher(&ToLauncher::Finished);
        self.ended = true;
    }
}

fn begin_fresh(options: &Options, paths: &Paths) -> Result<(Shared, Music)> {
    let realtime = platform::realtime::priority_available();
    let lead = options
        .lead_blocks
        .unwrap_or(if realtime { LEAD_REALTIME } else { LEAD_PLAIN });
    let shape = Shape {
        rate_hz: options.rate_hz,
        block_frames: options.block_frames,
        channels: options.channels,
        lead_blocks: lead,
        freewheel: options.freewheel,
    };
    if !realtime {
        say::line(
            "supervisor",
            "no real-time priority on this machine (allow it with an rtprio limit); the lead is longer",
        );
    }
    // The log first: whoever finds the stage finds a log that begins.
    let (music, arena_bytes) = Music::begin(options, paths, shape)?;
    let shared = Shared::create(&options.instance, &shape, arena_bytes)?;
    Ok((shared, music))
}
