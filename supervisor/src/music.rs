//! The patch in force and the commands that change it: accepted, logged, then broadcast.

mod upkeep;

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context, Result};
use common::{
    command::{Command, Event, SequenceControl},
    command_log::{Found, Reader, Record},
    edit::{Drafted, Edit},
    limits::{PATCH_BYTES_MAX, TEXT_BYTES_PER_MESSAGE},
    message::{Numbered, ToGateway},
    options::Options,
    preset::{Preset, SavedPreset},
    stage::{AudioFormat, BlockCosts, Stage},
    units::{BlockIndex, FrameIndex, Seq},
};
use engine::{
    Config, Engine,
    patch::{Checked, Draft, ModuleSpec, Patch},
};
use platform::{paths::Paths, samples::Samples, segments};

use upkeep::Making;

use crate::{
    account::{Account, Standing},
    describe::{describe, module_name},
    forecast::{self, Forecast},
    log::{self, CommandLog},
    resume::resume,
};

/// The patch with its current values, and the log behind it.
pub struct Music {
    /// The log of commands and decisions.
    pub log: CommandLog,
    instance: String,
    patch: Patch,
    /// The patch in the form of the log, including modules and cables that fade out.
    playing: Checked,
    /// The edits that wait for a commit.
    draft: Draft,
    config: Config,
    /// The measured and predicted costs of modules.
    forecast: Forecast,
    /// The number of the patch, against which events are resolved.
    pub generation: u64,
    /// The next segment of the log or a state file, while it is created.
    making: Option<Making>,
    /// The time of the last failed segment, and of the last state file.
    tried: Option<Instant>,
    left_state: Instant,
}

/// The length up to which logs are searched for the names of recordings.
const SWEPT_BYTES: u64 = 8 << 20;
/// An event that was resolved against the patch in force.
pub struct Timed {
    /// The id of the submission.
    pub submission_id: u64,
    /// The event.
    pub event: Event,
    /// The frame; without one the event is applied as soon as possible.
    pub at: Option<FrameIndex>,
}

/// The findings about commands that kill workers, and the quarantined commands.
pub type Learnt = (Vec<Found>, Vec<Seq>);

/// A submission id, and the result of its edit.
pub type EditOutcome = (u64, Result<(), String>);

/// The accepted commands, and a note on their load for the sender.
pub type Weighed = (Vec<Numbered>, Option<String>);

/// The description of a command.
pub struct Looked {
    /// The id of the submission; 0 without a gateway.
    pub submission_id: u64,
    /// Whether the command is a whole patch.
    pub is_patch: bool,
    /// A short text about the command.
    pub text: String,
}

impl Music {
    /// Begins a run with the requested patch or at the end of the last run. Also returns the size of its state in bytes.
    ///
    /// # Errors
    /// If the patch or the log of the last run cannot be used.
    pub fn begin(options: &Options, paths: &Paths, format: AudioFormat) -> Result<(Self, usize)> {
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
        let config = Config::from(format);
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
                    "the resumed state does not fit the sample rate, block size or channels; only its patch is used",
                );
                Vec::new()
            }
            None => Vec::new(),
        };
        let state = count_from(options.first.block, &playing, format, state)?;
        // The new log is complete before it replaces the old one, so that a kill or a power cut leaves a log to
        // resume from.
        let next = paths.next_command_log();
        let last = log::is_one(&current).then(|| log::extent(&current));
        let closed = segments::closed(paths);
        let run = closed.iter().map(|c| c.run).chain(last.map(|l| l.run));
        let run = run.max().unwrap_or(0) + 1;
        let log = CommandLog::create(paths, format, run, &patch, json, state, options.first)
            .with_context(|| format!("cannot write {}", next.display()))?;
        match last {
            Some(last) => segments::change(paths, &next, last.run, last.number),
            None => segments::put(paths, &next),
        }
        .with_context(|| format!("cannot rename the new log to {}", current.display()))?;
        let music = Self {
            log,
            instance: options.instance.clone(),
            patch,
            playing,
            draft: Draft::default(),
            config,
            forecast: Forecast::new(format),
            generation: options.first.number + 1,
            making: None,
            tried: None,
            left_state: Instant::now(),
        };
        Ok((music, arena_bytes))
    }

    /// Continues the run of an earlier supervisor. Also returns its findings and the quarantined commands.
    ///
    /// # Errors
    /// If the log cannot be used.
    pub fn adopt(paths: &Paths, format: AudioFormat) -> Result<(Self, Learnt)> {
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
            config: format.into(),
            forecast: Forecast::new(format),
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

    /// The patch in force with its current values, as JSON.
    pub fn patch_json(&self) -> String {
        self.patch.to_json()
    }

    /// The messages that tell the gateway the patch in force.
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

    /// Accepts events that were resolved against the patch in force, each with its submission id.
    ///
    /// # Errors
    /// If the events cannot be logged; they are then not accepted.
    pub fn accept(&mut self, events: &[Timed]) -> Result<Vec<Numbered>> {
        let command = |timed: &Timed| match (timed.at, timed.event) {
            (None, event) => (timed.submission_id, Command::Event(event)),
            (Some(frame), event) => (timed.submission_id, Command::At { frame, event }),
        };
        let numbered = self.log.accept(events.iter().map(command).collect())?;
        for timed in events {
            self.patch.apply(&timed.event);
        }
        Ok(numbered)
    }

    /// Accepts edits, each with its id, together: all valid edits make one patch. Returns the patch and the result of
    /// each edit.
    ///
    /// # Errors
    /// If the edits cannot be logged; none is then accepted.
    pub fn edit(&mut self, edits: &[(u64, Edit)]) -> Result<(Vec<Numbered>, Vec<EditOutcome>)> {
        let mut outcomes = Vec::with_capacity(edits.len());
        let mut last: Option<(u64, Checked)> = None;
        for (submission_id, edit) in edits {
            let so_far = last.as_ref().map_or(&self.patch, |(_, made)| made.patch());
            let mut next = so_far.clone();
            let checked = next.edit(edit).and_then(|()| next.checked());
            let outcome = checked.map(|made| last = Some((*submission_id, made)));
            outcomes.push((*submission_id, outcome.map_err(|why| why.to_string())));
        }
        let Some((submission_id, patch)) = last else {
            return Ok((Vec::new(), outcomes));
        };
        let good = outcomes.iter().zip(edits).filter(|(o, _)| o.1.is_ok());
        let tempos: Vec<_> = good
            .filter_map(|(_, (_, edit))| patch.patch().tempo_of(edit))
            .map(Command::Event)
            .collect();
        let numbered = self.take_in_edited(patch, submission_id, &tempos)?;
        Ok((numbered, outcomes))
    }

    /// Saves a preset, or sets a module to a preset.
    ///
    /// # Errors
    /// If a name does not exist, or the change cannot be logged; nothing changes then.
    pub fn preset(&mut self, submission_id: u64, preset: Preset) -> Result<Vec<Numbered>> {
        match preset {
            Preset::Save { module, name } => {
                let values = self.patch.values_for(&module, &name)?;
                let mut patch = self.patch.clone();
                patch.keep(&module, &name, values.clone());
                let patch = patch.checked()?;
                check(&patch, self.config)?;
                let kept = SavedPreset {
                    module,
                    name,
                    values,
                };
                let numbered = self
                    .log
                    .accept(vec![(submission_id, Command::SavePreset(kept))])?;
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
                let timed = |event| Timed {
                    submission_id,
                    event,
                    at,
                };
                let events: Vec<_> = events.into_iter().map(timed).collect();
                Ok(self.accept(&events)?)
            }
        }
    }

    /// The names of the presets, as JSON.
    ///
    /// # Errors
    /// If the module does not exist.
    pub fn presets(&self, module: Option<&str>) -> Result<String> {
        Ok(serde_json::to_string(&self.patch.preset_names(module)?)?)
    }

    /// The event for a control of the sequence `id`.
    ///
    /// # Errors
    /// If the sequence does not exist.
    pub fn control(&self, id: &str, control: SequenceControl) -> Result<Event, String> {
        let sequence = self.patch.sequence_index(id);
        sequence
            .map(|sequence| Event::Sequence { sequence, control })
            .map_err(|why| why.to_string())
    }

    /// Holds an edit until the commit, or discards all waiting edits.
    ///
    /// # Errors
    /// If the edit is invalid after the waiting ones, or cannot be logged.
    pub fn draft(&mut self, submission_id: u64, drafted: Drafted) -> Result<Vec<Numbered>> {
        let made = match &drafted {
            Drafted::Edit(edit) => Some(self.draft.with(edit, &self.patch, self.generation)?),
            Drafted::Abort => None,
        };
        let command = Command::Draft(drafted.clone());
        let numbered = self.log.accept(vec![(submission_id, command)])?;
        match drafted {
            Drafted::Edit(edit) => self.draft.push(edit, made),
            Drafted::Abort => self.draft.clear(),
        }
        Ok(numbered)
    }

    /// Applies all waiting edits.
    ///
    /// # Errors
    /// If the result is not a valid patch, or its load is too high and not forced; the edits then still wait.
    pub fn commit(
        &mut self,
        submission_id: u64,
        stage: &Stage<'_>,
        forced: bool,
    ) -> Result<Weighed> {
        anyhow::ensure!(!self.draft.is_empty(), Draft::NONE_WAITS);
        let made = self.draft.made(&self.patch).map_err(anyhow::Error::from);
        let weighed = made
            .and_then(|patch| {
                let patch = patch.checked()?;
                let note = self.weigh(&patch, stage, forced)?;
                let emptied = [Command::Draft(Drafted::Abort)];
                Ok((self.take_in_edited(patch, submission_id, &emptied)?, note))
            })
            .context("the patch is unchanged (correct it with another edit, or /patch/abort)")?;
        self.draft.clear();
        Ok(weighed)
    }

    /// The note on the load of a patch that will replace the one in force.
    fn weigh(&mut self, next: &Checked, stage: &Stage<'_>, forced: bool) -> Result<Option<String>> {
        self.forecast.learn(stage, &self.playing);
        self.forecast.weigh(stage, next, &self.playing, forced)
    }

    /// The measured costs of the patch as it is played; the modules of [`Self::modules`] come first.
    pub fn measured(&self, stage: &Stage<'_>) -> Option<BlockCosts> {
        forecast::measured(stage, &self.playing, self.config)
    }

    /// The modules of the patch in force.
    pub fn modules(&self) -> &[ModuleSpec] {
        &self.patch.modules
    }

    /// Replaces the patch in force by a patch, with its played form and the results of [`check`], together with the given
    /// commands.
    fn take_in(
        &mut self,
        patch: Patch,
        (playing, (json, arena_bytes)): (Checked, (String, usize)),
        how: fn(String) -> Command,
        submission_id: u64,
        with: &[Command],
    ) -> Result<Vec<Numbered>> {
        platform::shared::reserve_checkpoints(&self.instance, arena_bytes)?;
        let commands = std::iter::once(how(json)).chain(with.iter().cloned());
        let commands = commands.map(|command| (submission_id, command)).collect();
        let numbered = self.log.accept(commands)?;
        self.patch = patch;
        self.playing = playing;
        self.generation += 1;
        Ok(numbered)
    }

    /// As [`Self::take_in`], for a patch made by edits: removed modules and cables fade out. If they would make the patch
    /// too large, they are removed at once.
    fn take_in_edited(
        &mut self,
        patch: Checked,
        submission_id: u64,
        with: &[Command],
    ) -> Result<Vec<Numbered>> {
        let has_faded = self.log.is_past_edit(self.config.fade_blocks());
        let number = self.generation + 1;
        let playing = patch.taking_over(&self.playing, has_faded, number, |patch| {
            check(patch, self.config)
        })?;
        self.take_in(
            patch.into_patch(),
            playing,
            Command::Edited,
            submission_id,
            with,
        )
    }

    /// Bypasses a module from a block on.
    ///
    /// # Errors
    /// If the command cannot be logged; it is then not accepted.
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

    /// The name of the module with this number.
    pub fn module_name(&self, module: u16) -> String {
        module_name(&self.patch, module)
    }

    /// The command with this number, which no worker has applied yet, so that it is in the newest segment.
    pub fn find(&self, seq: Seq) -> Option<Looked> {
        let mut reader = Reader::without_arenas(self.log.source().open().ok()?);
        while let Some((_, record)) = reader.next().ok()? {
            if let Record::Command {
                seq: found,
                submission_id,
                command,
            } = record
                && found == seq
            {
                return Some(Looked {
                    submission_id,
                    is_patch: command.patch().is_some(),
                    text: describe(&self.patch, &command),
                });
            }
        }
        None
    }

    /// Logs that the commands `first` to `last` are quarantined; `what` describes the first one.
    ///
    /// # Errors
    /// If the record cannot be written.
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
    /// If the patch is invalid or too large, its load is too high and not forced, or it cannot be logged; nothing changes
    /// then.
    pub fn load(&mut self, json: &str, stage: &Stage<'_>, forced: bool) -> Result<Weighed> {
        let playing = Checked::from_json(json)?;
        let (patch, checked) = (playing.patch().clone(), check(&playing, self.config)?);
        let note = self.weigh(&playing, stage, forced)?;
        let numbered = self.take_in(patch, (playing, checked), Command::Patch, 0, &[])?;
        Ok((numbered, note))
    }
}

/// Checks that a patch can be played; returns its JSON and the size of its state in bytes.
fn check(patch: &Checked, config: Config) -> Result<(String, usize)> {
    let json = patch.patch().to_json();
    anyhow::ensure!(
        json.len() <= PATCH_BYTES_MAX,
        "the patch has {} bytes as JSON (expected at most {PATCH_BYTES_MAX})",
        json.len()
    );
    Ok((json, Engine::arena_bytes_of(patch, config)?))
}

/// The initial state of a run whose first block is `block`; an empty state means that of the patch with frames counted
/// from 0.
fn count_from(
    block: BlockIndex,
    patch: &Checked,
    format: AudioFormat,
    state: Vec<u8>,
) -> Result<Vec<u8>> {
    if block == BlockIndex(0) {
        return Ok(state);
    }
    let mut engine = Engine::new(patch.patch(), format.into())?;
    if !state.is_empty() {
        engine.restore(&state)?;
    }
    engine.count_from(FrameIndex(block.0 * u64::from(format.block_frames)));
    Ok(engine.arena().to_vec())
}

/// Removes the recordings that neither the patch nor any kept segment names, so that all segments can still be rendered.
/// Removes nothing if the segments are too long to search.
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
