//! Rendering a command log again: the same patch, the same commands, in before the same blocks.

use common::{
    command::Command,
    command_log::{self, LogError, Record},
    stage::Shape,
    units::{BlockIndex, Seq},
};

use crate::{
    Config, Engine, RestoreError,
    patch::{Patch, PatchError},
};

/// Why a log cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A patch in it is not one.
    #[error("the log holds a patch that this program does not play: {0}")]
    Patch(#[from] PatchError),
    /// The state that it begins with does not fit.
    #[error("the log begins with a state that does not fit its patch: {0}")]
    State(#[from] RestoreError),
    /// It holds no patch.
    #[error("the log holds no patch to begin with")]
    NoPatch,
}

/// A log on its way through the engine.
pub struct Replay {
    engine: Engine,
    shape: Shape,
    commands: std::vec::IntoIter<(Seq, Command)>,
    decisions: std::iter::Peekable<std::vec::IntoIter<(BlockIndex, Seq)>>,
    held: Option<(Seq, Command)>,
    patch: Patch,
    seq: Seq,
    block: BlockIndex,
    end: BlockIndex,
}

impl Replay {
    /// Reads a log; rendering begins at block 0.
    ///
    /// # Errors
    /// When it is no log, or does not begin with a patch that can be played.
    pub fn new(bytes: &[u8]) -> Result<Self, ReplayError> {
        let shape = command_log::head(bytes)?;
        let (mut commands, mut decisions) = (Vec::new(), Vec::new());
        let (mut state, mut end) = (None, BlockIndex(0));
        for (_, record) in command_log::records(bytes) {
            match record {
                Record::Command { seq, command } => commands.push((seq, command)),
                Record::Decision { block, seq } => decisions.push((block, seq)),
                Record::State {
                    block: BlockIndex(0),
                    arena,
                    ..
                } => state = Some(arena),
                Record::Progress { block } => end = end.max(block),
                Record::State { .. } | Record::Head { .. } => {}
            }
        }
        let mut commands = commands.into_iter();
        let Some((seq, Command::Patch(json))) = commands.next() else {
            return Err(ReplayError::NoPatch);
        };
        let patch = Patch::from_json(&json)?;
        let mut engine = Engine::new(&patch, config(&shape))?;
        if let Some(arena) = state {
            engine.restore(&arena)?;
        }
        let decisions = decisions.into_iter().peekable();
        let block = BlockIndex(0);
        Ok(Self {
            engine,
            shape,
            commands,
            decisions,
            held: None,
            patch,
            seq,
            block,
            end,
        })
    }

    /// The shape of the sound.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Renders the next block into `out`, of one block's samples; false after the last block that
    /// was played.
    ///
    /// # Errors
    /// When a patch in the log cannot be played.
    pub fn next(&mut self, out: &mut [f32]) -> Result<bool, ReplayError> {
        if self.block >= self.end {
            return Ok(false);
        }
        while let Some((_, seq)) = self.decisions.next_if(|(block, _)| *block <= self.block) {
            self.seq = seq;
        }
        self.apply(self.seq)?;
        self.engine.render(out, &mut |_| {});
        self.block = self.block.next();
        Ok(true)
    }

    /// Applies all that was accepted but had not come into a block any more.
    ///
    /// # Errors
    /// When a patch in the log cannot be played.
    pub fn apply_rest(&mut self) -> Result<(), ReplayError> {
        self.apply(Seq(u64::MAX))
    }

    fn apply(&mut self, up_to: Seq) -> Result<(), ReplayError> {
        while let Some((seq, command)) = self.held.take().or_else(|| self.commands.next()) {
            if seq > up_to {
                self.held = Some((seq, command));
                break;
            }
            match command {
                Command::Event(event) => {
                    self.engine.apply(&event);
                    self.patch.apply(&event);
                }
                Command::Patch(json) => {
                    self.patch = Patch::from_json(&json)?;
                    let mut engine = Engine::new(&self.patch, config(&self.shape))?;
                    engine.adopt(&self.engine);
                    self.engine = engine;
                }
            }
        }
        Ok(())
    }

    /// The patch as it stands, with the parameters last set.
    #[must_use]
    pub const fn patch(&self) -> &Patch {
        &self.patch
    }

    /// The engine as it stands.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }
}

fn config(shape: &Shape) -> Config {
    Config {
        rate_hz: shape.rate_hz,
        block_frames: shape.block_frames,
        channels: shape.channels,
    }
}
