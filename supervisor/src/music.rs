//! The patch in force and the commands that change it: accepted, written, then broadcast.

use std::{
    fs,
    path::PathBuf,
    sync::mpsc::{self, Receiver, TryRecvError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use common::{
    command::{Command, Event, SequenceControl},
    command_log::{self, Found, Preamble, Reader, Record},
    edit::{Drafted, Edit},
    limits::{PATCH_BYTES_MAX, TEXT_BYTES_PER_MESSAGE},
    message::{Numbered, ToGateway},
    options::{Bytes, Options, Seconds},
    preset::{Kept, Preset},
    stage::{BlockCosts, Shape, Stage},
    units::{BlockIndex, FrameIndex, Seq},
};
use engine::{
    Config, Engine,
    patch::{Checked, Draft, ModuleSpec, Patch},
    replay::{Replay, ReplayError},
};
use platform::{paths::Paths, samples::Samples, segments, shared::Shared};

use crate::{
    account::{Account, DAMAGED, Standing},
    closing::{Prepared, What},
    forecast::{self, Forecast},
    log::{self, CommandLog},
    states::StateFile,
};

/// The patch with its current values, and the log behind it.
pub struct Music {
    /// Where commands and decisions are written down.
    pub log: CommandLog,
    instance: String,
    patch: Patch,
    /// The same as the log has it last, perhaps with what fades out.
    playing: Checked,
    /// The edits that wait for their commit.
    draft: Draft,
    config: Config,
    /// What its modules and those of edits cost.
    forecast: Forecast,
    /// Grows with each patch: events are resolved against one.
    pub generation: u64,
    /// The next segment of the log, or a state, while it is made.
    making: Option<Making>,
    /// When a segment was last tried in vain, and when a state was last made.
    tried: Option<Instant>,
    left_state: Instant,
}

/// A segment or a state that is being made, or is there and waits.
enum Making {
    Preparing(What, Receiver<Result<Option<Prepared>>>),
    Prepared(Box<Prepared>),
}

/// Longer logs are not searched for the names of recordings.
const SWEPT_BYTES: u64 = 8 << 20;
/// How long after one that failed another segment is made.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// A state is left so often, and where the ledger has become so long: what a resumed instance renders, and a new
/// supervisor reads.
const STATE_EVERY: Duration = Duration::from_secs(10);
const LEDGER_BYTES: u64 = 512 << 10;

/// An event that was resolved against the patch in force.
pub struct Timed {
    /// What it was submitted under.
    pub token: u64,
    /// What to do.
    pub event: Event,
    /// When; as soon as can be, if no frame is given.
    pub at: Option<FrameIndex>,
}

/// What was found out about poison, and the commands that are left out.
pub type Learnt = (Vec<Found>, Vec<Seq>);

/// A token, and that its edit was made, or why not.
pub type EditOutcome = (u64, Result<(), String>);

/// Commands that were accepted, and what whoever asked for them is to be told of their load.
pub type Weighed = (Vec<Numbered>, Option<String>);

/// A command that was looked up.
pub struct Looked {
    /// What it was submitted under; 0 if no gateway did.
    pub token: u64,
    /// It is a whole patch.
    pub is_patch: bool,
    /// What it does, in a few words.
    pub text: String,
}

impl Music {
    /// Begins a run: with the patch that was asked for, or where the last run has ended. Returns the
    /// bytes of its state, too.
    ///
    /// # Errors
    /// When the patch or the last run's log cannot be used.
    pub fn begin(options: &Options, paths: &Paths, shape: Shape) -> Result<(Self, usize)> {
        segments::mend(paths);
        let current = paths.command_log();
        let samples = Samples::within(paths.samples());
        let resumed = if options.resume { resume(paths)? } else { None };
        let (patch, arena) = match (resumed, options.patch) {
            (Some((patch, arena)), _) => (patch, Some(arena).filter(|arena| !arena.is_empty())),
            (None, true) => {
                let path = paths.first_patch();
                let json = fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                (Patch::from_json(&json)?, None)
            }
            (None, false) => (Patch::default_patch(), None),
        };
        let config = Config::from(shape);
        let playing = patch.checked()?;
        let patch = playing.patch().settled();
        let (json, arena_bytes) = check(&playing, config)?;
        sweep(&samples, paths, &json);
        let state = match arena {
            Some(arena)
                if Engine::new(playing.patch(), config)?
                    .restore(&arena)
                    .is_ok() =>
            {
                arena
            }
            Some(_) => {
                platform::say::line(
                    "supervisor",
                    "the resumed state is of another shape of sound; its patch is kept",
                );
                Vec::new()
            }
            None => Vec::new(),
        };
        let state = count_from(options.first.block, &playing, shape, state)?;
        // Complete before it takes the place of the old one: whoever is killed in between, or loses
        // its power, resumes from one of them.
        let next = paths.next_command_log();
        let last = log::is_one(&current).then(|| log::extent(&current));
        let closed = segments::closed(paths);
        let run = closed.iter().map(|c| c.run).chain(last.map(|l| l.run));
        let run = run.max().unwrap_or(0) + 1;
        let log = CommandLog::create(paths, shape, run, &patch, json, state, options.first)
            .with_context(|| format!("cannot write {}", next.display()))?;
        match last {
            Some(last) => segments::change(paths, &next, last.run, last.number),
            None => segments::put(paths, &next),
        }
        .with_context(|| format!("cannot put {} in place", current.display()))?;
        let music = Self {
            log,
            instance: options.instance.clone(),
            patch,
            playing,
            draft: Draft::default(),
            config,
            forecast: Forecast::new(shape),
            generation: options.first.number + 1,
            making: None,
            tried: None,
            left_state: Instant::now(),
        };
        Ok((music, arena_bytes))
    }

    /// Goes on with the run that another supervisor has begun. Returns what was found out about
    /// poison, and what is left out, too.
    ///
    /// # Errors
    /// When its log cannot be used.
    pub fn adopt(paths: &Paths, shape: Shape) -> Result<(Self, Learnt)> {
        let (log, account) = CommandLog::adopt(paths)?;
        let Standing {
            patch,
            playing,
            draft,
            generation,
            ..
        } = account.standing;
        let music = Self {
            log,
            instance: paths.instance.clone(),
            patch,
            playing,
            draft,
            config: shape.into(),
            forecast: Forecast::new(shape),
            generation,
            making: None,
            tried: None,
            left_state: Instant::now(),
        };
        Ok((
            music,
            (account.findings, account.left_out.into_iter().collect()),
        ))
    }

    /// Begins another segment of the log where one has become too long or too old or is lost, and leaves a state
    /// from time to time. `calm`: nothing is held or tried; `both`: two workers play, and have to agree on
    /// the state.
    pub fn look_after_log(&mut self, options: &Options, shared: &Shared, calm: bool, both: bool) {
        match self.making.take() {
            None if calm => {
                if let Some(what) = self.what_is_due(options, shared) {
                    let (told, prepared) = mpsc::channel();
                    let order = self.log.order(what, shared, both);
                    thread::spawn(move || drop(told.send(order.prepare())));
                    self.making = Some(Making::Preparing(what, prepared));
                }
            }
            None => {}
            Some(Making::Preparing(what, prepared)) => match prepared.try_recv() {
                Ok(Ok(Some(prepared))) => self.making = Some(Making::Prepared(Box::new(prepared))),
                Ok(Ok(None)) => self.made(what),
                Ok(Err(why)) => self.cannot_make(what, &why),
                Err(TryRecvError::Empty) => self.making = Some(Making::Preparing(what, prepared)),
                Err(TryRecvError::Disconnected) => self.made(what),
            },
            Some(Making::Prepared(prepared)) if !calm => self.made(prepared.what),
            Some(Making::Prepared(mut prepared)) => match self.log.change(&mut prepared) {
                Ok(true) => {
                    self.made(prepared.what);
                    self.tried = None;
                }
                Ok(false) => self.making = Some(Making::Prepared(prepared)),
                Err(why) => self.cannot_make(prepared.what, &why.into()),
            },
        }
    }

    fn what_is_due(&self, options: &Options, shared: &Shared) -> Option<What> {
        let waits = self.tried.is_some_and(|tried| tried.elapsed() < TRY_AGAIN);
        if !waits && self.is_over(options, shared) {
            return Some(What::Segment);
        }
        // Without a ledger the next supervisor reads all of the segment.
        let is_long = self
            .log
            .ledger_length()
            .is_none_or(|bytes| bytes > LEDGER_BYTES);
        let elapsed = self.left_state.elapsed();
        let due = elapsed >= STATE_EVERY || is_long && elapsed >= STATE_EVERY / 10;
        due.then_some(What::State)
    }

    fn made(&mut self, what: What) {
        match what {
            What::Segment => self.tried = Some(Instant::now()),
            What::State => self.left_state = Instant::now(),
        }
    }

    fn cannot_make(&mut self, what: What, why: &anyhow::Error) {
        self.made(what);
        // Where no state can be left, the next one can, or the log says why not.
        if what == What::Segment {
            let text = format!("the command log goes on in the same segment: {why:#}");
            platform::say::line("supervisor", &text);
        }
    }

    /// Leaves the state that the music has ended in, or the last one before; what is rendered on from there is
    /// short.
    pub fn leave_state(&mut self, shared: &Shared) {
        let order = self.log.order(What::State, shared, false);
        // Where it cannot be left, an older one is there.
        let _ = order.leave_state(shared.stage.cursor());
    }

    /// Whether the segment in progress is to be closed, or is lost.
    fn is_over(&self, options: &Options, shared: &Shared) -> bool {
        let (bytes, blocks) = self.log.grown();
        let (Bytes(most), Seconds(oldest)) = options.segment;
        let shape = shared.stage.shape();
        let seconds = blocks * u64::from(shape.block_frames) / u64::from(shape.rate_hz);
        bytes >= most || seconds >= oldest || self.log.wants_segment()
    }

    /// The patch in force, with the values last set, as JSON.
    pub fn patch_json(&self) -> String {
        self.patch.to_json()
    }

    /// What the gateway has to know of the patch in force.
    pub fn announcement(&self) -> Vec<ToGateway> {
        let mut json = self.patch_json();
        let mut messages = Vec::new();
        while json.len() > TEXT_BYTES_PER_MESSAGE {
            let rest = json.split_off(json.floor_char_boundary(TEXT_BYTES_PER_MESSAGE));
            messages.push(ToGateway::PatchPart(std::mem::replace(&mut json, rest)));
        }
        messages.push(ToGateway::Patch {
            generation: self.generation,
            json,
        });
        messages
    }

    /// Accepts events that were resolved against the patch in force, each with its token.
    ///
    /// # Errors
    /// When they cannot be written down; then they are not accepted.
    pub fn accept(&mut self, events: &[Timed]) -> Result<Vec<Numbered>> {
        let command = |timed: &Timed| match (timed.at, timed.event) {
            (None, event) => (timed.token, Command::Event(event)),
            (Some(frame), event) => (timed.token, Command::At { frame, event }),
        };
        let numbered = self.log.accept(events.iter().map(command).collect())?;
        for timed in events {
            self.patch.apply(&timed.event);
        }
        Ok(numbered)
    }

    /// Accepts edits, each with its token, in one go: one patch comes of all that are good. Returns it
    /// and what became of each.
    ///
    /// # Errors
    /// When they cannot be written down; then none is accepted.
    pub fn edit(&mut self, edits: &[(u64, Edit)]) -> Result<(Vec<Numbered>, Vec<EditOutcome>)> {
        let mut outcomes = Vec::with_capacity(edits.len());
        let mut last: Option<(u64, Checked)> = None;
        for (token, edit) in edits {
            let so_far = last.as_ref().map_or(&self.patch, |(_, made)| made.patch());
            let mut next = so_far.clone();
            let checked = next.edit(edit).and_then(|()| next.checked());
            let outcome = checked.map(|made| last = Some((*token, made)));
            outcomes.push((*token, outcome.map_err(|why| why.to_string())));
        }
        let Some((token, patch)) = last else {
            return Ok((Vec::new(), outcomes));
        };
        let good = outcomes.iter().zip(edits).filter(|(o, _)| o.1.is_ok());
        let tempos: Vec<_> = good
            .filter_map(|(_, (_, edit))| patch.patch().tempo_of(edit))
            .map(Command::Event)
            .collect();
        let numbered = self.take_in_edited(patch, token, &tempos)?;
        Ok((numbered, outcomes))
    }

    /// Keeps a preset, or sets a module to one.
    ///
    /// # Errors
    /// When there is none of those names, or it cannot be written down; then nothing changes.
    pub fn preset(&mut self, token: u64, preset: Preset) -> Result<Vec<Numbered>> {
        match preset {
            Preset::Save { module, name } => {
                let values = self.patch.values_for(&module, &name)?;
                let mut patch = self.patch.clone();
                patch.keep(&module, &name, values.clone());
                let patch = patch.checked()?;
                check(&patch, self.config)?;
                let kept = Kept {
                    module,
                    name,
                    values,
                };
                let numbered = self.log.accept(vec![(token, Command::Keep(kept))])?;
                self.patch = patch.into_patch();
                Ok(numbered)
            }
            Preset::Morph {
                module,
                between: (a, b),
                position,
                ms,
                at,
            } => {
                let events = self.patch.morphed(&module, (&a, &b), position, ms)?;
                let timed = |event| Timed { token, event, at };
                let events: Vec<_> = events.into_iter().map(timed).collect();
                Ok(self.accept(&events)?)
            }
        }
    }

    /// The names of the presets, as JSON.
    ///
    /// # Errors
    /// When there is no such module.
    pub fn presets(&self, module: Option<&str>) -> Result<String> {
        Ok(serde_json::to_string(&self.patch.preset_names(module)?)?)
    }

    /// What a control of the sequence of that name is.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn control(&self, id: &str, control: SequenceControl) -> Result<Event, String> {
        let sequence = self.patch.sequence_index(id);
        sequence
            .map(|sequence| Event::Sequence { sequence, control })
            .map_err(|why| why.to_string())
    }

    /// Keeps an edit until the commit, or forgets all that wait.
    ///
    /// # Errors
    /// When it is no good after those that wait already, or cannot be written down.
    pub fn draft(&mut self, token: u64, drafted: Drafted) -> Result<Vec<Numbered>> {
        let made = match &drafted {
            Drafted::Edit(edit) => Some(self.draft.with(edit, &self.patch, self.generation)?),
            Drafted::Abort => None,
        };
        let command = Command::Draft(drafted.clone());
        let numbered = self.log.accept(vec![(token, command)])?;
        match drafted {
            Drafted::Edit(edit) => self.draft.push(edit, made),
            Drafted::Abort => self.draft.clear(),
        }
        Ok(numbered)
    }

    /// Takes in all edits that wait.
    ///
    /// # Errors
    /// When what comes of them is no patch, or too much and not forced; then they still wait.
    pub fn commit(&mut self, token: u64, stage: &Stage<'_>, forced: bool) -> Result<Weighed> {
        anyhow::ensure!(!self.draft.is_empty(), Draft::NONE_WAITS);
        let made = self.draft.made(&self.patch).map_err(anyhow::Error::from);
        let weighed = made
            .and_then(|patch| {
                let patch = patch.checked()?;
                let note = self.weigh(&patch, stage, forced)?;
                let emptied = [Command::Draft(Drafted::Abort)];
                Ok((self.take_in_edited(patch, token, &emptied)?, note))
            })
            .context("nothing is changed (mend it with another edit, or /patch/abort)")?;
        self.draft.clear();
        Ok(weighed)
    }

    /// What is to be told of the load of a patch that is to take the place of the one in force.
    fn weigh(&mut self, next: &Checked, stage: &Stage<'_>, forced: bool) -> Result<Option<String>> {
        self.forecast.learn(stage, &self.playing);
        self.forecast.weigh(stage, next, &self.playing, forced)
    }

    /// What was measured of the patch as it is played; the modules of [`Self::modules`] come first.
    pub fn measured(&self, stage: &Stage<'_>) -> Option<BlockCosts> {
        forecast::measured(stage, &self.playing, self.config)
    }

    /// The modules of the patch in force.
    pub fn modules(&self) -> &[ModuleSpec] {
        &self.patch.modules
    }

    /// A patch, and as it is played with what comes of [`check`], takes the place of the one in force; those
    /// commands come with it.
    fn take_in(
        &mut self,
        patch: Patch,
        (playing, (json, arena_bytes)): (Checked, (String, usize)),
        how: fn(String) -> Command,
        token: u64,
        with: &[Command],
    ) -> Result<Vec<Numbered>> {
        platform::shared::reserve_checkpoints(&self.instance, arena_bytes)?;
        let commands = std::iter::once(how(json)).chain(with.iter().cloned());
        let commands = commands.map(|command| (token, command)).collect();
        let numbered = self.log.accept(commands)?;
        self.patch = patch;
        self.playing = playing;
        self.generation += 1;
        Ok(numbered)
    }

    /// As [`Self::take_in`], of what has become of the patch in force by edits: what goes fades out. What
    /// would be too large with it goes at once.
    fn take_in_edited(
        &mut self,
        patch: Checked,
        token: u64,
        with: &[Command],
    ) -> Result<Vec<Numbered>> {
        let has_faded = self.log.is_past_edit(self.config.fade_blocks());
        let number = self.generation + 1;
        let playing = patch.taking_over(&self.playing, has_faded, number, |patch| {
            check(patch, self.config)
        })?;
        self.take_in(patch.into_patch(), playing, Command::Edited, token, with)
    }

    /// Has a module left out from that block on.
    ///
    /// # Errors
    /// When it cannot be written down; then it is not accepted.
    pub fn bypass(&mut self, module: u16, block: BlockIndex) -> Result<(Vec<Numbered>, Found)> {
        let name = self.module_name(module);
        let found = |seq| Found::Bypassed {
            seq,
            module: name.clone(),
            block,
        };
        let commands = vec![(0, Command::Event(Event::Bypass(module)))];
        let numbered = self.log.accept_with(commands, |seq| Some(found(seq)))?;
        Ok((numbered, found(self.log.seq())))
    }

    /// The name of the module at that place of the patch.
    pub fn module_name(&self, module: u16) -> String {
        module_name(&self.patch, module)
    }

    /// The command of that number, which no worker has applied yet: so it is in the newest segment.
    pub fn find(&self, seq: Seq) -> Option<Looked> {
        let mut reader = Reader::without_arenas(self.log.source().open().ok()?);
        while let Some((_, record)) = reader.next().ok()? {
            if let Record::Command {
                seq: found,
                token,
                command,
            } = record
                && found == seq
            {
                return Some(Looked {
                    token,
                    is_patch: command.patch().is_some(),
                    text: describe(&self.patch, &command),
                });
            }
        }
        None
    }

    /// Writes down that the commands `first` to `last` are left out, since the first one does that.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn quarantine(&mut self, first: Seq, last: Seq, what: &str) -> Result<()> {
        let mut records: Vec<_> = (first.0..=last.0)
            .map(|seq| Record::Quarantine { seq: Seq(seq) })
            .collect();
        let what = what.to_owned();
        records.push(Record::Found(Found::LeftOut { seq: first, what }));
        self.log.append(&records)?;
        let source = self.log.source();
        let standing = Account::of(|| source.open())?.standing;
        (self.patch, self.playing) = (standing.patch, standing.playing);
        self.draft = standing.draft;
        self.generation = standing.generation;
        Ok(())
    }

    /// Accepts another patch.
    ///
    /// # Errors
    /// When it is not one, is too large, too much and not forced, or cannot be written down; then nothing
    /// changes.
    pub fn load(&mut self, json: &str, stage: &Stage<'_>, forced: bool) -> Result<Weighed> {
        let playing = Checked::from_json(json)?;
        let (patch, checked) = (playing.patch().clone(), check(&playing, self.config)?);
        let note = self.weigh(&playing, stage, forced)?;
        let numbered = self.take_in(patch, (playing, checked), Command::Patch, 0, &[])?;
        Ok((numbered, note))
    }
}

/// The name of the module at that place of a patch.
pub fn module_name(patch: &Patch, module: u16) -> String {
    let spec = patch.modules.get(usize::from(module));
    spec.map_or_else(|| module.to_string(), |spec| format!("\"{}\"", spec.id))
}

/// What a command does, in a few words.
pub fn describe(patch: &Patch, command: &Command) -> String {
    match *command {
        Command::Patch(_) | Command::Edited(_) => "a patch".into(),
        Command::Event(Event::Param {
            module,
            param,
            value,
        }) => {
            let name = module_name(patch, module);
            let spec = patch.modules.get(usize::from(module));
            let kind = spec.and_then(|spec| engine::catalog::find(&spec.kind));
            let known = kind.and_then(|kind| kind.params.get(usize::from(param)));
            let param = known.map_or_else(|| param.to_string(), |p| p.name.to_owned());
            format!("{param} of {name} to {value}")
        }
        Command::Event(Event::Ramp {
            module,
            param,
            value,
            ms,
        }) => {
            let set = Event::Param {
                module,
                param,
                value,
            };
            format!("{} in {ms} ms", describe(patch, &Command::Event(set)))
        }
        Command::Event(Event::Note {
            module,
            pitch,
            velocity,
            ..
        }) => {
            let name = module_name(patch, module);
            format!("note {pitch} of {name} at {velocity}")
        }
        Command::Event(Event::Gate { module, level }) => {
            format!("gate of {} to {level}", module_name(patch, module))
        }
        Command::Event(Event::Sequence { sequence, control }) => {
            let spec = patch.sequences.get(usize::from(sequence));
            let name = spec.map_or_else(|| sequence.to_string(), |spec| format!("\"{}\"", spec.id));
            format!("{control:?} of the sequence {name}")
        }
        Command::Event(event) => format!("{event:?}"),
        Command::At { event, .. } => describe(patch, &Command::Event(event)),
        Command::Draft(_) => "an edit of the patch".into(),
        Command::Keep(ref kept) => format!("preset \"{}\" of \"{}\"", kept.name, kept.module),
    }
}

/// Checks that a patch can be played; returns it as JSON, and the bytes of its state.
fn check(patch: &Checked, config: Config) -> Result<(String, usize)> {
    let json = patch.patch().to_json();
    anyhow::ensure!(
        json.len() <= PATCH_BYTES_MAX,
        "the patch has {} bytes as JSON, the limit is {PATCH_BYTES_MAX}",
        json.len()
    );
    Ok((json, Engine::arena_bytes_of(patch, config)?))
}

/// The state that a run begins with whose first block has that number; empty: that of the patch, whose frames
/// are counted from 0.
fn count_from(block: BlockIndex, patch: &Checked, shape: Shape, state: Vec<u8>) -> Result<Vec<u8>> {
    if block == BlockIndex(0) {
        return Ok(state);
    }
    let mut engine = Engine::new(patch.patch(), shape.into())?;
    if !state.is_empty() {
        engine.restore(&state)?;
    }
    engine.count_from(FrameIndex(block.0 * u64::from(shape.block_frames)));
    Ok(engine.arena().to_vec())
}

/// Removes the recordings that neither the patch nor any segment that is kept names, so that all of them can
/// be rendered again. Where those are long, nothing is removed: to look takes too long.
fn sweep(samples: &Samples, paths: &Paths, json: &str) {
    let mut kept: Vec<PathBuf> = segments::closed(paths)
        .into_iter()
        .map(|c| c.path)
        .collect();
    kept.push(paths.command_log());
    let lengths = kept.iter().flat_map(fs::metadata).map(|file| file.len());
    if !samples.any() || lengths.sum::<u64>() > SWEPT_BYTES {
        return;
    }
    let texts: Vec<Vec<u8>> = kept.iter().flat_map(fs::read).collect();
    samples.sweep(|id| {
        let is_named = |text: &Vec<u8>| text.windows(id.len()).any(|w| w == id.as_bytes());
        json.contains(id) || texts.iter().any(is_named)
    });
}

/// Where the newest run has ended of which there is a log, without an arena where only its patch can be taken
/// over; `None`, with a line for the log, where there is none.
fn resume(paths: &Paths) -> Result<Option<(Patch, Vec<u8>)>> {
    let say = |text: &str| platform::say::line("supervisor", text);
    let closed = segments::closed(paths).into_iter().rev().map(|c| c.path);
    let mut newest_first: Vec<PathBuf> =
        std::iter::once(paths.command_log()).chain(closed).collect();
    // After damage or a power cut, the segment before may go further.
    if let [newest, before, ..] = &newest_first[..]
        && log::may_go_further(before, newest)
        && let (Some((run, end)), Some((same, further))) = (log::end(newest), log::end(before))
        && run == same
        && further > end
    {
        say(&format!(
            "{} ends before {} does, which is resumed",
            newest.display(),
            before.display()
        ));
        newest_first.swap(0, 1);
    }
    for path in newest_first {
        let Some((head, length)) = log::head_of(&path) else {
            say(&format!("{} holds no run to resume", path.display()));
            continue;
        };
        platform::realtime::flush_denormals();
        for state in StateFile::of(paths, head, length) {
            let Ok([state, rest]) = state.read(&path, head) else {
                continue;
            };
            match replay_of(&[&state, &rest], paths) {
                Ok(replay) if !replay.is_past_its_end() => {
                    return rendered(replay, &rest).map(Some);
                }
                Err(why @ ReplayError::OtherBuild { .. }) => {
                    return patch_alone(&state, &why).map(Some);
                }
                _ => {}
            }
        }
        let bytes = fs::read(&path)?;
        let replay = match replay_of(&[&bytes], paths) {
            Err(ReplayError::NoPatch) => {
                say(&format!("{} is damaged where it begins", path.display()));
                continue;
            }
            Err(why @ ReplayError::OtherBuild { .. }) => {
                return patch_alone(&bytes, &why).map(Some);
            }
            read => read.context("the last run cannot be resumed; start without --resume")?,
        };
        return rendered(replay, &bytes).map(Some);
    }
    say("nothing to resume: this instance has not run before");
    Ok(None)
}

/// The patch that a state goes with, which another build has written: all that can be taken over.
fn patch_alone(state: &[u8], why: &ReplayError) -> Result<(Patch, Vec<u8>)> {
    let text = format!("{why}; the patch is taken over by its names, the sound begins anew");
    platform::say::line("supervisor", &text);
    let preamble = Preamble::read(&mut Reader::without_arenas(state))?;
    let known = preamble.context(DAMAGED)?.segment;
    Ok((Patch::from_json(&known.patch)?, Vec::new()))
}

fn replay_of(pieces: &[&[u8]], paths: &Paths) -> Result<Replay, ReplayError> {
    let samples = Samples::within(paths.samples());
    let replay = Replay::of_pieces(pieces, Box::new(move |id| samples.find(id)))?;
    Ok(replay.to_last_decision())
}

/// Where a run ends, of which the last bytes are those.
fn rendered(mut replay: Replay, last: &[u8]) -> Result<(Patch, Vec<u8>)> {
    let mut records = command_log::records(last);
    records.by_ref().for_each(drop);
    log::tell_torn(last.len() as u64 - records.offset());
    let mut block = vec![0.0; replay.shape().block_samples()];
    while replay.next(&mut block)? {}
    if !replay.has_end() {
        platform::say::line(
            "supervisor",
            &format!(
                "the last run was cut off; it is resumed at its last decision, block {}",
                replay.block()
            ),
        );
    }
    replay.apply_rest()?;
    Ok(replay.into_state())
}
