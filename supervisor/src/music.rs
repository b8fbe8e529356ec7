//! The patch in force and the commands that change it: accepted, written, then broadcast.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use common::{
    command::{Command, Event, SequenceControl},
    command_log::{self, Record},
    edit::{Drafted, Edit},
    limits::{PATCH_BYTES_MAX, TEXT_BYTES_PER_MESSAGE},
    message::{Numbered, ToGateway},
    options::Options,
    preset::{Kept, Preset},
    stage::Shape,
    units::{FrameIndex, Seq},
};
use engine::{
    Config, Engine,
    patch::{Checked, Draft, Patch},
    replay::Replay,
};
use platform::{paths::Paths, samples::Samples};

use crate::log::{self, CommandLog};

/// The patch with its current values, and the log behind it.
pub struct Music {
    /// Where commands and decisions are written down.
    pub log: CommandLog,
    path: PathBuf,
    instance: String,
    patch: Patch,
    /// The same as the log has it last, perhaps with what fades out.
    playing: Checked,
    /// The edits that wait for their commit.
    draft: Draft,
    config: Config,
    /// Grows with each patch: events are resolved against one.
    pub generation: u64,
}

/// An event that was resolved against the patch in force.
pub struct Timed {
    /// What it was submitted under.
    pub token: u64,
    /// What to do.
    pub event: Event,
    /// When; as soon as can be, if no frame is given.
    pub at: Option<FrameIndex>,
}

/// A token, and that its edit was made, or why not.
pub type EditOutcome = (u64, Result<(), String>);

/// A command that was looked up.
pub struct Found {
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
        let (current, previous) = (paths.command_log(), paths.previous_command_log());
        let samples = Samples::within(paths.samples());
        let resumed = if options.resume {
            resume(&[&current, &previous], paths)?
        } else {
            None
        };
        let (patch, arena) = match (resumed, options.patch) {
            (Some((patch, arena)), _) => (patch, Some(arena)),
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
        if samples.any() {
            // What the run before plays from stays, so that it can be rendered again.
            let last = fs::read(&current).unwrap_or_default();
            let in_last = |id: &str| last.windows(id.len()).any(|w| w == id.as_bytes());
            samples.sweep(|id| json.contains(id) || in_last(id));
        }
        let state = match arena {
            Some(arena)
                if Engine::new(playing.patch(), config)?
                    .restore(&arena)
                    .is_ok() =>
            {
                Some(arena)
            }
            Some(_) => {
                platform::say::line(
                    "supervisor",
                    "the resumed state is of another shape of sound; its patch is kept",
                );
                None
            }
            None => None,
        };
        // Complete before it takes the place of the old one: whoever is killed in between, or loses
        // its power, resumes from one of them.
        let unfinished = current.with_extension("new");
        let log = CommandLog::create(&unfinished, shape, json, state)
            .with_context(|| format!("cannot write {}", unfinished.display()))?;
        if log::is_one(&current) {
            fs::rename(&current, &previous)?;
        }
        fs::rename(&unfinished, &current)?;
        let music = Self {
            log,
            path: current,
            instance: options.instance.clone(),
            patch,
            playing,
            draft: Draft::default(),
            config,
            generation: 1,
        };
        Ok((music, arena_bytes))
    }

    /// Goes on with the run that another supervisor has begun. Returns the records of its log, too.
    ///
    /// # Errors
    /// When its log cannot be used.
    pub fn adopt(paths: &Paths, shape: Shape) -> Result<(Self, Vec<Record>)> {
        let path = paths.command_log();
        let mut records = Vec::new();
        let log = CommandLog::adopt(&path, |record| records.push(record.clone()))?;
        let Standing {
            patch,
            playing,
            draft,
            generation,
        } = Standing::after(records.iter().cloned());
        let music = Self {
            log,
            path,
            instance: paths.instance.clone(),
            patch,
            playing,
            draft,
            config: shape.into(),
            generation,
        };
        Ok((music, records))
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
    /// When what comes of them is no patch; then they still wait.
    pub fn commit(&mut self, token: u64) -> Result<Vec<Numbered>> {
        anyhow::ensure!(!self.draft.is_empty(), Draft::NONE_WAITS);
        let made = self.draft.made(&self.patch).map_err(anyhow::Error::from);
        let numbered = made
            .and_then(|patch| {
                let emptied = [Command::Draft(Drafted::Abort)];
                self.take_in_edited(patch.checked()?, token, &emptied)
            })
            .context("nothing is changed (mend it with another edit, or /patch/abort)")?;
        self.draft.clear();
        Ok(numbered)
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

    /// Accepts a command of the supervisor's own.
    ///
    /// # Errors
    /// When it cannot be written down; then it is not accepted.
    pub fn accept_own(&mut self, command: Command) -> Result<Vec<Numbered>> {
        Ok(self.log.accept(vec![(0, command)])?)
    }

    /// The name of the module at that place of the patch.
    pub fn module_name(&self, module: u16) -> String {
        module_name(&self.patch, module)
    }

    /// The command of that number.
    pub fn find(&self, seq: Seq) -> Option<Found> {
        let bytes = fs::read(&self.path).ok()?;
        command_log::records(&bytes).find_map(|(_, record)| match record {
            Record::Command {
                seq: found,
                token,
                command,
            } if found == seq => Some(Found {
                token,
                is_patch: command.patch().is_some(),
                text: describe(&self.patch, &command),
            }),
            _ => None,
        })
    }

    /// Writes down that the commands `first` to `last` are left out.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn quarantine(&mut self, first: Seq, last: Seq) -> Result<()> {
        let records: Vec<_> = (first.0..=last.0)
            .map(|seq| Record::Quarantine { seq: Seq(seq) })
            .collect();
        self.log.append(&records)?;
        let bytes = fs::read(&self.path)?;
        let standing = Standing::after(command_log::records(&bytes).map(|(_, r)| r));
        (self.patch, self.playing) = (standing.patch, standing.playing);
        self.draft = standing.draft;
        self.generation = standing.generation;
        Ok(())
    }

    /// Accepts another patch.
    ///
    /// # Errors
    /// When it is not one, is too large or cannot be written down; then nothing changes.
    pub fn load(&mut self, json: &str) -> Result<Vec<Numbered>> {
        let playing = Checked::from_json(json)?;
        let (patch, checked) = (playing.patch().clone(), check(&playing, self.config)?);
        self.take_in(patch, (playing, checked), Command::Patch, 0, &[])
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

/// What is in force after the records of a log.
struct Standing {
    /// The patch, with the values last set.
    patch: Patch,
    /// The same as the log has it.
    playing: Checked,
    draft: Draft,
    /// The number of patches so far, and of those taken back.
    generation: u64,
}

impl Standing {
    fn after(records: impl Iterator<Item = Record> + Clone) -> Self {
        let left_out: BTreeSet<Seq> = records
            .clone()
            .filter_map(|record| match record {
                Record::Quarantine { seq } => Some(seq),
                _ => None,
            })
            .collect();
        let default = Patch::default_patch();
        let mut standing = Self {
            patch: default.clone(),
            playing: default.checked().expect("the default patch is good"),
            draft: Draft::default(),
            generation: 0,
        };
        for record in records {
            if let Record::Command { seq, command, .. } = record {
                standing.add(command, !left_out.contains(&seq));
            }
        }
        standing
    }

    fn add(&mut self, command: Command, good: bool) {
        match command {
            Command::Patch(json) | Command::Edited(json) => {
                // A patch that was taken back counts twice: the gateway has resolved against it.
                self.generation += if good { 1 } else { 2 };
                if let Ok(read) = Checked::from_log(&json)
                    && good
                {
                    self.patch = read.patch().settled();
                    self.playing = read;
                }
            }
            Command::Event(event) | Command::At { event, .. } if good => self.patch.apply(&event),
            Command::Event(_) | Command::At { .. } => {}
            Command::Keep(kept) if good => {
                (self.patch).keep(&kept.module, &kept.name, kept.values);
            }
            Command::Keep(_) => {}
            Command::Draft(Drafted::Edit(edit)) => self.draft.push(edit, None),
            Command::Draft(Drafted::Abort) => self.draft.clear(),
        }
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

/// Where the run of the first of those logs that can be read has ended, newest first; `None`, with a
/// line for the log, where there is none.
fn resume(logs: &[&Path], paths: &Paths) -> Result<Option<(Patch, Vec<u8>)>> {
    let say = |text: &str| platform::say::line("supervisor", text);
    for path in logs {
        let Ok(bytes) = fs::read(path) else {
            continue;
        };
        let mut records = command_log::records(&bytes);
        let whole = records.by_ref().count();
        if whole < 2 {
            say(&format!("{} holds no run to resume", path.display()));
            continue;
        }
        log::tell_torn(bytes.len() as u64 - records.offset());
        platform::realtime::flush_denormals();
        let samples = Samples::within(paths.samples());
        let mut replay = Replay::new(&bytes, Box::new(move |id| samples.find(id)))
            .context("the last run cannot be resumed; start without --resume")?;
        let mut block = vec![0.0; replay.shape().block_samples()];
        while replay.next(&mut block)? {}
        replay.apply_rest()?;
        return Ok(Some(replay.into_state()));
    }
    say("nothing to resume: this instance has not run before");
    Ok(None)
}
