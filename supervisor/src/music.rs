//! The patch in force and the commands that change it: accepted, written, then broadcast.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use common::{
    command::{Command, Event},
    command_log::Record,
    limits::{ARENA_BYTES_MAX, PATCH_BYTES_MAX},
    message::{Numbered, ToGateway},
    options::Options,
    stage::Shape,
    units::{BlockIndex, Seq},
};
use engine::{Config, Engine, patch::Patch, replay::Replay};
use platform::paths::Paths;

use crate::log::CommandLog;

/// The patch with its current values, and the log behind it.
pub struct Music {
    /// Where commands and decisions are written down.
    pub log: CommandLog,
    patch: Patch,
    config: Config,
    /// Grows with each patch: events are resolved against one.
    pub generation: u64,
}

impl Music {
    /// Begins a run: with the patch that was asked for, or where the last run has ended.
    ///
    /// # Errors
    /// When the patch or the last run's log cannot be used.
    pub fn begin(options: &Options, paths: &Paths, shape: Shape) -> Result<Self> {
        let (current, previous) = (paths.command_log(), paths.previous_command_log());
        if current.exists() {
            fs::rename(&current, &previous)?;
        }
        let resumed = if options.resume {
            resume(&previous)?
        } else {
            None
        };
        let (patch, arena) = match (resumed, &options.patch) {
            (Some((patch, arena)), _) => (patch, Some(arena)),
            (None, Some(json)) => (Patch::from_json(json)?, None),
            (None, None) => (Patch::default_patch(), None),
        };
        let config = Config::from(shape);
        check(&patch, config)?;
        let mut log = CommandLog::create(&current, shape, patch.to_json())
            .with_context(|| format!("cannot write {}", current.display()))?;
        if let Some(arena) = arena {
            let fits = Engine::new(&patch, config)?.restore(&arena).is_ok();
            if fits {
                log.append(&[Record::State {
                    block: BlockIndex(0),
                    seq: Seq(1),
                    arena,
                }])?;
            } else {
                platform::say::line(
                    "supervisor",
                    "the resumed state is of another shape of sound; its patch is kept",
                );
            }
        }
        Ok(Self {
            log,
            patch,
            config,
            generation: 1,
        })
    }

    /// Goes on with the run that another supervisor has begun.
    ///
    /// # Errors
    /// When its log cannot be used.
    pub fn adopt(paths: &Paths, shape: Shape) -> Result<Self> {
        let (mut patch, mut generation) = (Patch::default_patch(), 0);
        let log = CommandLog::adopt(&paths.command_log(), |record| match record {
            Record::Command {
                command: Command::Patch(json),
                ..
            } => {
                if let Ok(read) = Patch::from_json(json) {
                    patch = read;
                }
                generation += 1;
            }
            Record::Command {
                command: Command::Event(event),
                ..
            } => patch.apply(event),
            _ => {}
        })?;
        Ok(Self {
            log,
            patch,
            config: shape.into(),
            generation,
        })
    }

    /// The patch in force, with the values last set, as JSON.
    pub fn patch_json(&self) -> String {
        self.patch.to_json()
    }

    /// What the gateway has to know of the patch in force.
    pub fn announcement(&self) -> ToGateway {
        ToGateway::Patch {
            generation: self.generation,
            json: self.patch_json(),
        }
    }

    /// Accepts events that were resolved against the patch in force.
    ///
    /// # Errors
    /// When they cannot be written down; then they are not accepted.
    pub fn accept(&mut self, events: &[Event]) -> Result<Vec<Numbered>> {
        let numbered = self
            .log
            .accept(events.iter().copied().map(Command::Event).collect())?;
        events.iter().for_each(|event| self.patch.apply(event));
        Ok(numbered)
    }

    /// Accepts another patch.
    ///
    /// # Errors
    /// When it is not one, is too large or cannot be written down; then nothing changes.
    pub fn load(&mut self, json: &str) -> Result<Vec<Numbered>> {
        let patch = Patch::from_json(json)?;
        check(&patch, self.config)?;
        let numbered = self.log.accept(vec![Command::Patch(patch.to_json())])?;
        self.patch = patch;
        self.generation += 1;
        Ok(numbered)
    }
}

fn check(patch: &Patch, config: Config) -> Result<()> {
    let json = patch.to_json().len();
    anyhow::ensure!(
        json <= PATCH_BYTES_MAX,
        "the patch has {json} bytes as JSON, the limit is {PATCH_BYTES_MAX}"
    );
    let arena = Engine::new(patch, config)?.arena_len_bytes() as u64;
    anyhow::ensure!(
        arena <= ARENA_BYTES_MAX,
        "the patch needs {arena} bytes of state, the limit is {ARENA_BYTES_MAX}"
    );
    Ok(())
}

/// Where the run of that log has ended; `None`, with a line for the log, where there is none.
fn resume(log: &Path) -> Result<Option<(Patch, Vec<u8>)>> {
    let Ok(bytes) = fs::read(log) else {
        platform::say::line(
            "supervisor",
            "nothing to resume: this instance has not run before",
        );
        return Ok(None);
    };
    let mut replay =
        Replay::new(&bytes).context("the last run cannot be resumed; start without --resume")?;
    let mut block = vec![0.0; replay.shape().block_samples()];
    while replay.next(&mut block)? {}
    replay.apply_rest()?;
    Ok(Some((
        replay.patch().clone(),
        replay.engine().arena().to_vec(),
    )))
}
