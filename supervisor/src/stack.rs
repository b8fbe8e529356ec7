//! The stack as its supervisor sees it: events in, the rule of `failover::switch` asked, what it
//! says done at once. One thread; nothing here waits for anybody.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use common::{
    limits::COMMANDS_PER_MESSAGE,
    message::{
        Answer, Child, Ending, Fault, FromLauncher, FromPeer, Introduction, Numbered, Outcome,
        Request, SIGKILL, SIGSTOP, SIGTERM, Service, Submission, Target, ToAudio, ToGateway,
        ToLauncher, ToWorker,
    },
    options::Options,
    stage::{Preference, Shape},
    units::{BlockIndex, Incarnation, Seq, Slot},
};
use failover::{
    merge::read_sane,
    switch::{Action, Event as Fact, Seat, Supervision},
};
use platform::{harm, paths::Paths, say, shared::Shared};
use serde_json::json;
use tokio::sync::oneshot;

use crate::{
    event::{Event, PeerLink},
    music::Music,
    peers::Peers,
    status::{self, Counts, KEPT, Replacement, Switch},
    workers::Watch,
};

/// With real-time priority, and without: blocks of 128 frames at 48 kHz, measured.
const LEAD_REALTIME: u32 = 4;
const LEAD_PLAIN: u32 = 8;
/// A peer that takes nothing for so long is a failed peer.
const TAKES_NOTHING: Duration = Duration::from_millis(250);
/// How often a worker has to show that it reads its channel, and how long it may be silent.
const PING: Duration = Duration::from_millis(250);
const SILENT: Duration = Duration::from_millis(1_500);
/// How often the log is told how far the music has been played.
const PROGRESS: Duration = Duration::from_secs(1);
/// A service other than a worker that ends is started again after this long.
const SERVICE_PAUSE: Duration = Duration::from_millis(50);
/// How long audio-out may take to write out what is left.
const FINISH: Duration = Duration::from_secs(2);

type Launcher = Box<dyn Fn(&ToLauncher) -> std::io::Result<()>>;

/// An injected fault that has not shown yet: for the time from fault to notice.
struct Injected {
    at: Instant,
}

/// Somebody who waits for a restart to be over.
struct Waiting {
    service: Service,
    old_pid: u32,
    answer: oneshot::Sender<Answer>,
}

/// The stack.
pub struct Stack {
    options: Options,
    launcher: Launcher,
    shared: Shared,
    shape: Shape,
    music: Music,
    supervision: Option<Supervision>,
    watches: [Option<Watch>; 2],
    peers: Peers,
    start: Instant,
    last_tick: Instant,
    last_ping: Instant,
    last_progress: Instant,
    sink: String,
    counts: Counts,
    divergences: u64,
    switches: Vec<Switch>,
    replacements: Vec<Replacement>,
    injected: BTreeMap<Service, Injected>,
    /// Since when each slot's replacement is under way, for `standby_ready_ms`.
    replacing: [Option<(Instant, usize, Option<usize>)>; 2],
    syncs: Vec<(u64, Seq)>,
    waiting: Vec<Waiting>,
    respawn: BTreeMap<Service, Instant>,
    announced: bool,
    finishing: Option<Instant>,
    ended: bool,
    last_broadcast: Option<Numbered>,
}

impl Stack {
    /// Begins a run, or takes over one that is there.
    ///
    /// # Errors
    /// When shared memory or the log cannot be used.
    pub fn begin(options: &Options, launcher: Launcher) -> Result<Self> {
        let paths = Paths::of(&options.instance)?;
        let adopted = Shared::open(&options.instance).ok();
        let begun = match adopted {
            Some(shared) => Music::adopt(&paths, shared.stage.shape()).map(|music| (shared, music)),
            None => begin_fresh(options, &paths),
        };
        let (shared, music) = match begun {
            Ok(begun) => begun,
            Err(why) => {
                launcher(&ToLauncher::Failed(format!("{why:#}")))?;
                return Err(why);
            }
        };
        launcher(&ToLauncher::List)?;
        let now = Instant::now();
        Ok(Self {
            options: options.clone(),
            launcher,
            shape: shared.stage.shape(),
            shared,
            music,
            supervision: None,
            watches: [None, None],
            peers: Peers::default(),
            start: now,
            last_tick: now,
            last_ping: now,
            last_progress: now,
            sink: options.sink.clone(),
            counts: Counts::default(),
            divergences: 0,
            switches: Vec::new(),
            replacements: Vec::new(),
            injected: BTreeMap::new(),
            replacing: [None, None],
            syncs: Vec::new(),
            waiting: Vec::new(),
            respawn: BTreeMap::new(),
            announced: adopted.is_some(),
            finishing: None,
            ended: false,
            last_broadcast: None,
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
        match event {
            Event::Tick => self.tick(),
            Event::Launcher(news) => self.hear_launcher(news),
            Event::Linked(who, link) => self.linked(&who, link),
            Event::Said(who, said) => self.hear_peer(&who, said),
            Event::Unlinked(who) => self.unlinked(&who),
            Event::Asked(request, answer) => self.asked(request, answer),
        }
        if self.last_tick.elapsed() >= Duration::from_millis(8) {
            self.tick();
        }
    }

    // ---- the rule, and what it says ----

    fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
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
                    self.record_switch(from.slot, seen, cause, since);
                    return self.fact(Fact::Preference(seen), cause, since);
                };
                self.record_switch(from.slot, now, cause, since);
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
            Service::OscGateway | Service::Supervisor => {}
        }
        self.tell_launcher(&ToLauncher::Spawn {
            service,
            incarnation,
            args,
        });
    }

    fn tell_launcher(&self, what: &ToLauncher) {
        if let Err(why) = (self.launcher)(what) {
            say::line("supervisor", &format!("the launcher does not hear: {why}"));
        }
    }

    // ---- the launcher ----

    fn hear_launcher(&mut self, news: FromLauncher) {
        match news {
            FromLauncher::Children(children) => self.begin_supervision(&children),
            FromLauncher::Spawned(child) if child.service != Service::Supervisor => {
                self.peers.add(child)
            }
            FromLauncher::Spawned(_) => {}
            FromLauncher::SpawnFailed(service, incarnation, why) => {
                say::line("supervisor", &format!("{service} cannot be started: {why}"));
                self.gone(service, incarnation, 0, Ending::Exit(127));
            }
            FromLauncher::Died(child, ending) => {
                self.gone(child.service, child.incarnation, child.pid, ending)
            }
            FromLauncher::Stop => self.finish(),
        }
    }

    fn begin_supervision(&mut self, children: &[Child]) {
        if self.supervision.is_some() {
            return;
        }
        let mut living = [None, None];
        for child in children
            .iter()
            .filter(|child| child.service != Service::Supervisor)
        {
            self.peers.add(*child);
            if let Service::Worker(slot) = child.service {
                living[slot.index()] = Some(child.incarnation);
                self.watches[slot.index()] = Some(Watch::new(slot, child.incarnation));
            } else if let Some(process) = self.peers.get(child.service, child.pid) {
                process.up = self.announced;
            }
        }
        let seated = Slot::ALL.map(|slot| self.shared.stage.slot(slot).incarnation());
        let highest = living
            .iter()
            .flatten()
            .chain(&seated)
            .max()
            .copied()
            .unwrap_or_default();
        let preference = self.shared.stage.preference();
        let supervision = Supervision::adopt(self.now_us(), preference, living, highest.next());
        self.supervision = Some(supervision);
        self.fact(Fact::Tick, "start", None);
        for service in [Service::AudioOut, Service::OscGateway] {
            if !self.peers.processes.contains_key(&service) {
                self.spawn(service, Incarnation::default());
            }
        }
    }

    /// A process has ended.
    fn gone(&mut self, service: Service, incarnation: Incarnation, pid: u32, ending: Ending) {
        let since = self.injected.remove(&service).map(|injected| injected.at);
        if pid != 0 && self.peers.get(service, pid).is_some() {
            self.peers.processes.remove(&service);
        }
        match service {
            Service::Supervisor => {}
            Service::Worker(slot) => self.worker_gone(slot, incarnation, ending, since),
            Service::AudioOut if self.finishing.is_some() => self.conclude(),
            Service::AudioOut | Service::OscGateway => {
                say::line(
                    "supervisor",
                    &format!("{service} has ended ({ending}); it is started again"),
                );
                self.respawn.insert(service, Instant::now() + SERVICE_PAUSE);
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
        let own_making = !matches!(ending, Ending::Signal(SIGKILL | SIGTERM));
        let expected = self
            .supervision
            .as_ref()
            .is_some_and(|s| matches!(s.seat(slot), Seat::Dying { .. }));
        if !expected {
            self.note_replacement(slot, &cause, since);
        }
        self.fact(
            Fact::Died {
                slot,
                incarnation,
                own_making,
            },
            &cause,
            since,
        );
        self.tie_switch(slot);
    }

    /// Begins to measure how long the replacement takes.
    fn note_replacement(&mut self, slot: Slot, cause: &str, since: Option<Instant>) {
        if self.replacements.len() >= KEPT {
            self.replacements.clear();
        }
        self.replacements.push(Replacement {
            slot,
            cause: cause.into(),
            detected_us: since.map(|at| at.elapsed().as_micros() as u64),
            ready_ms: None,
        });
        let began = since.unwrap_or_else(Instant::now);
        self.replacing[slot.index()] = Some((began, self.replacements.len() - 1, None));
    }

    /// Ties the last switch to the replacement that it made necessary.
    fn tie_switch(&mut self, slot: Slot) {
        let last = self
            .switches
            .last()
            .filter(|s| s.from == slot && s.standby_ready_ms.is_none());
        if last.is_some()
            && let Some((_, _, switch)) = self.replacing[slot.index()].as_mut()
        {
            *switch = Some(self.switches.len() - 1);
        }
    }

    fn worker_ready(&mut self, slot: Slot) {
        let Some((began, replacement, switch)) = self.replacing[slot.index()].take() else {
            return;
        };
        let ms = (began.elapsed().as_secs_f64() * 1e5).round() / 100.0;
        if let Some(entry) = self.replacements.get_mut(replacement) {
            entry.ready_ms = Some(ms);
        }
        if let Some(entry) = switch.and_then(|index| self.switches.get_mut(index)) {
            entry.standby_ready_ms = Some(ms);
        }
    }

    // ---- the shared words ----

    fn tick(&mut self) {
        self.last_tick = Instant::now();
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
        self.ping();
        self.answer_syncs();
        self.answer_restarts();
        self.start_services();
        self.announce();
        if self.last_progress.elapsed() >= PROGRESS {
            self.last_progress = Instant::now();
            let _ = self.music.log.progress(stage.cursor());
        }
        if self.finishing.is_some_and(|since| since.elapsed() > FINISH) {
            self.conclude();
        }
    }

    /// Keeps a switch for `status`, whoever made it; `since` is when its fault was injected.
    fn record_switch(&mut self, from: Slot, now: Preference, cause: &str, since: Option<Instant>) {
        let Preference { epoch, slot: to } = now;
        say::line(
            "supervisor",
            &format!("epoch {epoch}: slot {to} is preferred ({cause})"),
        );
        if from == to || self.switches.len() >= KEPT {
            return;
        }
        let us = since.map(|at| at.elapsed().as_micros() as u64);
        self.switches.push(Switch {
            epoch,
            at_block: self.shared.stage.cursor(),
            from,
            to,
            cause: cause.into(),
            detected_us: us,
            switched_us: us.unwrap_or(0),
            standby_ready_ms: None,
        });
    }

    /// audio-out switches by itself when a due block is only in the other ring.
    fn obey_preference(&mut self, seen: Preference) {
        let cause = "block not there when due";
        let known = self.supervision.as_ref().map(Supervision::preference);
        if let Some(known) = known.filter(|known| seen.epoch > known.epoch) {
            self.record_switch(known.slot, seen, cause, None);
        }
        self.fact(Fact::Preference(seen), cause, None);
    }

    fn look_at(&mut self, slot: Slot) {
        let Some(watch) = self.watches[slot.index()].as_mut() else {
            return;
        };
        let incarnation = watch.incarnation();
        let findings = watch.audit(&self.shared);
        let hangs = watch.hangs(&self.shared.stage);
        let Some(supervision) = self.supervision.as_ref() else {
            return;
        };
        let leads = supervision.preference().slot == slot;
        match supervision.seat(slot) {
            Seat::Starting { .. } if findings.ready => {
                self.fact(Fact::Proven { slot, incarnation }, "proven", None);
                self.worker_ready(slot);
            }
            Seat::Ready { .. } if !leads && findings.differing_at.is_some() => {
                self.divergences += findings.differing;
                self.diverged(slot, incarnation, findings.differing_at.unwrap_or_default());
            }
            Seat::Ready { .. } if hangs => self.fail(slot, incarnation, "it hangs"),
            _ => {}
        }
    }

    /// The replicas differ: whoever published what is no sound is wrong, else the leader is believed.
    fn diverged(&mut self, follower: Slot, incarnation: Incarnation, block: BlockIndex) {
        let mut samples = vec![0.0; self.shape.block_samples()];
        let leader = follower.other();
        let mut sane = |slot| read_sane(&self.shared.rings, slot, block, &mut samples);
        if !sane(leader) && sane(follower) {
            let watch = self.watches[leader.index()].as_ref();
            let Some(incarnation) = watch.map(Watch::incarnation) else {
                return;
            };
            self.fail(leader, incarnation, "it puts out what is no sound");
        } else {
            self.fail(follower, incarnation, "its checksums differ");
        }
    }

    fn fail(&mut self, slot: Slot, incarnation: Incarnation, cause: &str) {
        say::line(
            "supervisor",
            &format!("worker:{slot} (life {incarnation}) is replaced: {cause}"),
        );
        let since = self
            .injected
            .remove(&Service::Worker(slot))
            .map(|injected| injected.at);
        self.note_replacement(slot, cause, since);
        self.fact(Fact::Failed { slot, incarnation }, cause, since);
        self.tie_switch(slot);
    }

    fn ping(&mut self) {
        let pinging = self.last_ping.elapsed() >= PING;
        if pinging {
            self.last_ping = Instant::now();
        }
        for slot in Slot::ALL {
            let Some(process) = self.peers.processes.get(&Service::Worker(slot)) else {
                continue;
            };
            let deaf = match &process.link {
                Some(PeerLink::Worker(link)) => {
                    if pinging {
                        // A broken link shows by itself, as `unlinked`.
                        let _ = link.send(ToWorker::Ping);
                    }
                    link.stalled() > TAKES_NOTHING || process.heard.elapsed() > SILENT
                }
                _ => process
                    .unlinked
                    .is_some_and(|at| at.elapsed() > TAKES_NOTHING),
            };
            if deaf {
                let incarnation = process.incarnation;
                self.deaf(slot, incarnation);
            }
        }
    }

    /// A worker that does not take commands is a failed one.
    fn deaf(&mut self, slot: Slot, incarnation: Incarnation) {
        let works = self.supervision.as_ref().map(|s| s.seat(slot));
        if works == Some(Seat::Ready { incarnation }) {
            self.fail(slot, incarnation, "it does not read its control channel");
        }
    }

    fn start_services(&mut self) {
        let due = |at: &Instant| *at <= Instant::now();
        let services: Vec<Service> = self
            .respawn
            .iter()
            .filter(|(_, at)| due(at))
            .map(|(s, _)| *s)
            .collect();
        for service in services {
            self.respawn.remove(&service);
            if self.finishing.is_none() {
                self.spawn(service, Incarnation::default());
            }
        }
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
        let last = self.last_broadcast.clone();
        let patch = ToGateway::Patch {
            generation: self.music.generation,
            json: self.music.patch_json(),
        };
        let Some(process) = self.peers.get(who.service, who.pid) else {
            return;
        };
        process.heard = Instant::now();
        match &link {
            // What it may have missed before it was linked it finds in the log, once it sees the gap.
            PeerLink::Worker(link) => {
                drop(last.map(|last| link.send(ToWorker::Commands(vec![last]))))
            }
            PeerLink::Gateway(link) => drop(link.send(patch)),
            PeerLink::Audio(_) => {}
        }
        process.link = Some(link);
        process.unlinked = None;
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
            FromPeer::Rejected(count) => self.counts.rejected += count,
            FromPeer::Sink(text) => self.sink = text,
            FromPeer::Note(text) => say::line(&who.service.to_string(), &text),
            FromPeer::Up => {
                if let Some(process) = self.peers.get(who.service, who.pid) {
                    process.up = true;
                }
            }
            FromPeer::Fatal(why) => {
                say::line(&who.service.to_string(), &why);
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

    fn submit(&mut self, who: &Introduction, submissions: Vec<(u64, Submission)>) {
        let mut outcomes = Vec::with_capacity(submissions.len());
        let mut events = Vec::new();
        let mut tokens = Vec::new();
        for (token, submission) in submissions {
            match submission {
                Submission::Event { generation, event } if generation == self.music.generation => {
                    events.push(event);
                    tokens.push(token);
                }
                Submission::Event { .. } => outcomes.push((token, Outcome::Stale)),
                Submission::Sync => {
                    let seq = Seq(self.music.log.seq().0 + events.len() as u64);
                    self.syncs.push((token, seq));
                }
                Submission::Status => {
                    outcomes.push((token, Outcome::Text(self.status().to_string())))
                }
            }
        }
        if !events.is_empty() {
            match self.music.accept(&events) {
                Ok(numbered) => {
                    self.counts.accepted += numbered.len() as u64;
                    outcomes.extend(
                        tokens
                            .iter()
                            .zip(&numbered)
                            .map(|(t, n)| (*t, Outcome::Accepted(n.seq))),
                    );
                    self.broadcast(&numbered);
                }
                Err(why) => {
                    self.counts.rejected += tokens.len() as u64;
                    outcomes.extend(
                        tokens
                            .iter()
                            .map(|t| (*t, Outcome::Refused(format!("not accepted: {why}")))),
                    );
                }
            }
        }
        outcomes.sort_by_key(|(token, _)| *token);
        if let Some(process) = self.peers.get(who.service, who.pid)
            && let Some(PeerLink::Gateway(link)) = &process.link
            && !outcomes.is_empty()
        {
            let _ = link.send(ToGateway::Outcomes(outcomes));
        }
    }

    /// Sends commands to every worker, whatever its state.
    fn broadcast(&mut self, numbered: &[Numbered]) {
        self.last_broadcast = numbered.last().cloned();
        for slot in Slot::ALL {
            let Some(process) = self.peers.processes.get(&Service::Worker(slot)) else {
                continue;
            };
            let Some(PeerLink::Worker(link)) = &process.link else {
                continue;
            };
            let sent = numbered
                .chunks(COMMANDS_PER_MESSAGE)
                .try_for_each(|chunk| link.send(ToWorker::Commands(chunk.to_vec())));
            // What does not reach it is in the log; a deaf worker is found by its silence.
            let _ = sent;
        }
    }

    fn answer_syncs(&mut self) {
        let Some(supervision) = self.supervision.as_ref() else {
            return;
        };
        let ready = Slot::ALL
            .into_iter()
            .filter(|s| matches!(supervision.seat(*s), Seat::Ready { .. }));
        let Some(applied) = ready
            .map(|slot| self.shared.stage.slot(slot).applied())
            .min()
        else {
            return;
        };
        let done: Vec<_> = self
            .syncs
            .extract_if(.., |(_, seq)| *seq <= applied)
            .collect();
        let outcomes: Vec<_> = done
            .into_iter()
            .map(|(token, _)| (token, Outcome::Synced))
            .collect();
        let gateway = self.peers.processes.get(&Service::OscGateway);
        if !outcomes.is_empty()
            && let Some(PeerLink::Gateway(link)) = gateway.and_then(|p| p.link.as_ref())
        {
            let _ = link.send(ToGateway::Outcomes(outcomes));
        }
    }

    // ---- the control socket ----

    fn asked(&mut self, request: Request, answer: oneshot::Sender<Answer>) {
        let answered = match request {
            Request::Status => Answer::Ok(self.status()),
            Request::Restart(target) => return self.restart(target, answer),
            Request::Inject(fault, target) => self.inject(fault, target),
            Request::PatchShow => {
                Answer::Ok(serde_json::from_str(&self.music.patch_json()).unwrap_or_default())
            }
            Request::PatchLoad(json) => match self.music.load(&json) {
                Ok(numbered) => {
                    self.counts.accepted += numbered.len() as u64;
                    self.broadcast(&numbered);
                    let patch = ToGateway::Patch {
                        generation: self.music.generation,
                        json: self.music.patch_json(),
                    };
                    if let Some(PeerLink::Gateway(link)) = self
                        .peers
                        .processes
                        .get(&Service::OscGateway)
                        .and_then(|p| p.link.as_ref())
                    {
                        let _ = link.send(patch);
                    }
                    Answer::Ok("loaded".into())
                }
                Err(why) => Answer::No(format!("{why:#}")),
            },
            Request::Link(_) => Answer::No("links are offered at the edge".into()),
        };
        let _ = answer.send(answered);
    }

    fn resolve(&self, target: Target) -> Service {
        let leader = self.shared.stage.preference().slot;
        match target {
            Target::Service(service) => service,
            Target::Leader => Service::Worker(leader),
            Target::Follower => Service::Worker(leader.other()),
        }
    }

    fn restart(&mut self, target: Target, answer: oneshot::Sender<Answer>) {
        let service = self.resolve(target);
        if service == Service::Supervisor {
            let _ = answer.send(Answer::Ok("the launcher starts it again".into()));
            self.ended = true;
            return;
        }
        let Some(process) = self.peers.processes.get(&service) else {
            let _ = answer.send(Answer::No(format!(
                "{service} is not running just now; it is being started"
            )));
            return;
        };
        let old_pid = process.pid;
        match service {
            Service::Worker(slot) => {
                if !self.protected() {
                    let why = "no worker is restarted while the other one is not ready; see `understudy status`";
                    let _ = answer.send(Answer::No(why.into()));
                    return;
                }
                self.note_replacement(slot, "restart", Some(Instant::now()));
                self.fact(Fact::Restart(slot), "restart", None);
                self.tie_switch(slot);
            }
            Service::AudioOut => {
                if let Some(PeerLink::Audio(link)) = &process.link {
                    let _ = link.send(ToAudio::Finish);
                }
            }
            _ => drop(self.peers.signal(service, SIGTERM)),
        }
        self.waiting.push(Waiting {
            service,
            old_pid,
            answer,
        });
    }

    fn answer_restarts(&mut self) {
        let protected = self.protected();
        let (peers, waiting) = (&self.peers, &mut self.waiting);
        let back = |w: &mut Waiting| {
            let process = peers
                .processes
                .get(&w.service)
                .filter(|p| p.pid != w.old_pid);
            process.is_some_and(|p| p.up || (matches!(w.service, Service::Worker(_)) && protected))
        };
        for done in waiting.extract_if(.., back) {
            let _ = done
                .answer
                .send(Answer::Ok(format!("{} is back", done.service).into()));
        }
    }

    fn inject(&mut self, fault: Fault, target: Target) -> Answer {
        let service = self.resolve(target);
        let done = match (service, fault) {
            (Service::Supervisor, fault) => return self.inject_here(fault),
            (_, Fault::Signal(signal)) => {
                if signal == SIGKILL || signal == SIGTERM || signal == SIGSTOP {
                    self.injected
                        .insert(service, Injected { at: Instant::now() });
                }
                self.peers
                    .signal(service, signal)
                    .map_err(|why| why.to_string())
            }
            (_, fault) => match self.peers.processes.get(&service) {
                Some(process) => process.inject(fault).map_err(|why| why.to_string()),
                None => Err(format!("{service} is not running just now")),
            },
        };
        match done {
            Ok(()) => Answer::Ok(service.to_string().into()),
            Err(why) => Answer::No(why),
        }
    }

    fn inject_here(&self, fault: Fault) -> Answer {
        harm::inflict(fault);
        match fault {
            Fault::Signal(signal) => {
                let own = platform::pidfd::open(std::process::id());
                match own.and_then(|own| platform::pidfd::signal(&own, signal)) {
                    Ok(()) => Answer::Ok("supervisor".into()),
                    Err(why) => Answer::No(why.to_string()),
                }
            }
            Fault::Hang => loop {
                std::hint::spin_loop();
            },
            _ => Answer::No(
                "the supervisor renders nothing and has no control channel of its own".into(),
            ),
        }
    }

    fn status(&mut self) -> serde_json::Value {
        let stage = self.shared.stage;
        let Some(supervision) = self.supervision.as_ref() else {
            return json!({ "instance": self.options.instance, "state": "starting" });
        };
        let preference = stage.preference();
        let alive = Slot::ALL
            .into_iter()
            .any(|slot| supervision.living(slot).is_some());
        let state = match (supervision.protected(), alive && stage.playing()) {
            (true, true) => "protected",
            (false, true) => "degraded",
            _ => "silent",
        };
        let failures = Slot::ALL.map(|slot| supervision.failures(slot));
        let realtime = stage.slot(preference.slot).notes() & 1 != 0;
        let services = status::services(&mut self.peers, supervision, self.start);
        let applied = stage.slot(preference.slot).applied().0.saturating_sub(1);
        json!({
            "instance": self.options.instance, "state": state, "osc": self.options.osc,
            "rate": self.shape.rate_hz, "block": self.shape.block_frames,
            "lead": self.shape.lead_blocks, "channels": self.shape.channels,
            "realtime_priority": realtime,
            "epoch": preference.epoch.0, "leader": preference.slot.index(),
            "services": services,
            "audio": status::audio(&stage, &self.sink),
            "commands": {
                "received": self.counts.accepted + self.counts.rejected,
                "accepted": self.counts.accepted, "rejected": self.counts.rejected,
                "applied": applied,
            },
            "switches": status::switches(&self.switches),
            "replacements": status::replacements(&self.replacements),
            "failures_in_a_row": failures,
            "divergences": self.divergences,
        })
    }

    // ---- the end ----

    fn finish(&mut self) {
        if self.finishing.is_some() {
            return;
        }
        self.finishing = Some(Instant::now());
        match self
            .peers
            .processes
            .get(&Service::AudioOut)
            .and_then(|p| p.link.as_ref())
        {
            Some(PeerLink::Audio(link)) => drop(link.send(ToAudio::Finish)),
            _ => self.conclude(),
        }
    }

    /// audio-out has ended: nothing more is played.
    fn conclude(&mut self) {
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
    let music = Music::begin(options, paths, shape)?;
    let shared = Shared::create(&options.instance, &shape)?;
    Ok((shared, music))
}
