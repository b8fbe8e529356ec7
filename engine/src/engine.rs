//! The engine: the modules of a patch, their state, and the rendering of one block at a time.
//!
//! An engine is built on the control thread and runs on the render thread. All state that outlives a block is in one
//! arena. Its parts are, in this order: the last stage, the bits of bypassed modules, the event queue, the sequences,
//! the safety stage, the cables, and the cells of each module in the order of the patch. Everything else, such as the
//! processing order and the cables' blocks, follows from the patch or is rewritten in each block. Therefore a copy of
//! the arena continues with the same sound.

mod adopt;
mod events;
mod render;
mod sequences;

use common::{
    checkpoint::PIECE_WORDS,
    limits::{
        ARENA_BYTES_MAX, BLOCK_FRAMES_MAX, BLOCK_FRAMES_MIN, CHANNELS_MAX, RATE_HZ_MAX, RATE_HZ_MIN,
    },
    stage::AudioFormat,
};
use std::ops::Range;

use fearless_simd::Level;

use crate::{
    cables::{self, Cables, Ring},
    changes::Changes,
    event_queue::{EVENT_QUEUE_WORDS, INACTIVE},
    lanes,
    master::{MASTER_WORDS, Master},
    module::{Buffer, Context},
    params,
    patch::{Checked, Patch, PatchError},
    plan::{self, Node, Plan},
    safety::{self, Removed, Safety},
    sequencer::Score,
};
use sequences::{safety_at, sequences_at};

/// The properties of the output that an engine depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Frames per second.
    pub rate_hz: u32,
    /// Frames per block.
    pub block_frames: u32,
    /// Channels of sound.
    pub channels: u32,
}

impl From<AudioFormat> for Config {
    fn from(format: AudioFormat) -> Self {
        Self {
            rate_hz: format.rate_hz,
            block_frames: format.block_frames,
            channels: format.channels,
        }
    }
}

impl Config {
    /// Samples per block, over all channels.
    #[must_use]
    pub const fn block_samples(&self) -> usize {
        self.block_frames as usize * self.channels as usize
    }

    fn context(&self, level: Level) -> Context {
        Context {
            rate_hz: self.rate_hz as f32,
            wide: lanes::wide(level),
        }
    }

    /// How many blocks the fades of an edit take.
    #[must_use]
    pub const fn fade_blocks(&self) -> u64 {
        let frames = (self.rate_hz as f32 * cables::FADE_MS / 1000.0) as u64 + 1;
        frames.div_ceil(self.block_frames as u64)
    }

    fn check(&self) -> Result<(), PatchError> {
        for (what, value, min, max) in [
            ("rate", self.rate_hz, RATE_HZ_MIN, RATE_HZ_MAX),
            (
                "block",
                self.block_frames,
                BLOCK_FRAMES_MIN,
                BLOCK_FRAMES_MAX,
            ),
            ("channels", self.channels, 1, CHANNELS_MAX),
        ] {
            if !(min..=max).contains(&value) {
                return Err(PatchError::Config {
                    what,
                    value,
                    min,
                    max,
                });
            }
        }
        Ok(())
    }
}

/// The arena does not fit; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The arena has another length.
    #[error("the arena has {found} bytes (expected {expected}): it belongs to another patch")]
    Length {
        /// Bytes of the given arena.
        found: usize,
        /// Bytes of this engine's arena.
        expected: usize,
    },
    /// The arena belongs to other modules, or to another rate, block length or number of channels.
    #[error("the arena belongs to another patch, rate, block size or number of channels")]
    Layout,
}

/// The most cuts in a block. Up to so many, events take effect at exactly their frame; other events of the block wait
/// for its end. A cut costs a large patch as much as some frames do.
const CUTS_MAX: usize = 32;

/// A patch that plays.
pub struct Engine {
    patch: Patch,
    config: Config,
    context: Context,
    level: Level,
    plan: Plan,
    cables: Cables,
    /// Indices of the modules, sorted by id.
    by_id: Vec<u16>,
    score: Score,
    arena: Vec<u64>,
    changes: Changes,
    /// The blocks of the cables, and those of inputs with several cables.
    buffers: Vec<Buffer>,
    gathered: Vec<Buffer>,
    /// A block for each channel of sound.
    heard: Vec<Buffer>,
    silence: Buffer,
    /// The blocks that the module being processed writes.
    outs: Vec<Buffer>,
    scratch: Vec<f32>,
    /// Whether the safety stage is only a delay.
    linear: bool,
    /// Whether there is a safety stage.
    #[cfg(test)]
    guarded: bool,
}

#[cfg(test)]
thread_local! {
    /// Most tests are about the sound before the safety stage, so only those that ask for the stage have it.
    pub(crate) static GUARDED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

impl Engine {
    /// Creates an engine in its initial state: gates closed, running.
    ///
    /// # Real-time
    /// No: it allocates everything that rendering needs.
    ///
    /// # Errors
    /// As [`Patch::from_json`]; also when the configuration is out of range, or when the modules have more state than
    /// a checkpoint holds.
    pub fn new(patch: &Patch, config: Config) -> Result<Self, PatchError> {
        Self::with_level(patch, config, Level::new())
    }

    /// As [`Self::new`], with the instruction set `level` instead of the best one, for a test that no bit depends on
    /// the instruction set.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_level(patch: &Patch, config: Config, level: Level) -> Result<Self, PatchError> {
        Self::within(patch, config, level, |words| vec![0; words])
    }

    /// As [`Self::new`], with an arena from `zeroed`, which returns that many words, all 0.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn new_in(
        patch: &Patch,
        config: Config,
        zeroed: impl FnOnce(usize) -> Vec<u64>,
    ) -> Result<Self, PatchError> {
        Self::within(patch, config, Level::new(), zeroed)
    }

    fn within(
        patch: &Patch,
        config: Config,
        level: Level,
        zeroed: impl FnOnce(usize) -> Vec<u64>,
    ) -> Result<Self, PatchError> {
        config.check()?;
        let context = config.context(level);
        let wires = patch.check()?;
        let steps = patch.steps_with(&wires)?;
        let frames = config.block_frames as usize;
        let mut layout = None;
        let plan = plan::plan(patch, steps, context, |lanes| {
            let (fades, rings, end) = lay_out(patch, lanes, config);
            layout = Some((fades, rings));
            end
        });
        small_enough(plan.cells)?;
        let cables = Cables::new(wires, &plan, layout.unwrap_or_default(), frames, context);
        let mut by_id: Vec<u16> = (0..plan.nodes.len() as u16).collect();
        by_id.sort_by_key(|module| &patch.modules[usize::from(*module)].id);
        let queue = event_queue_at(patch.modules.len());
        let inactive = 2 * (queue + INACTIVE.start)..2 * (queue + INACTIVE.end);
        let memories = plan.nodes.iter().map(|node| {
            let memory = node.kind.memory(context, node.channels);
            node.cells.start + memory.start..node.cells.start + memory.end
        });
        let sequences = 2 * sequences_at(patch.modules.len())..2 * safety_at(patch);
        let memories = [inactive, sequences].into_iter().chain(memories);
        let block = |lanes: usize| Buffer {
            samples: vec![0.0; lanes * frames],
            still: false,
        };
        let mut engine = Self {
            patch: patch.clone(),
            config,
            context,
            level,
            cables,
            by_id,
            score: Score::of(patch),
            arena: zeroed(plan.cells.div_ceil(2)),
            changes: Changes::new(plan.cells, memories),
            buffers: plan.buffers.iter().copied().map(block).collect(),
            gathered: plan.gathered.iter().copied().map(block).collect(),
            heard: (0..config.channels).map(|_| block(1)).collect(),
            silence: Buffer {
                still: true,
                ..block(plan::LANES_TOTAL_MAX)
            },
            outs: (0..plan.outs_max.max(config.channels as usize))
                .map(|_| Buffer::default())
                .collect(),
            scratch: vec![0.0; params::scratch_len(frames)],
            linear: false,
            #[cfg(test)]
            guarded: GUARDED.get(),
            plan,
        };
        engine.begin();
        Ok(engine)
    }

    /// Bytes of the arena that such an engine would have ([`Self::arena_len_bytes`]).
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn arena_bytes_of(patch: &Checked, config: Config) -> Result<usize, PatchError> {
        config.check()?;
        let context = config.context(Level::new());
        let first_cell = |lanes: &[usize]| lay_out(patch.patch(), lanes, config).2;
        let cells = plan::cells(patch, context, first_cell);
        small_enough(cells)?;
        Ok(8 * cells.div_ceil(2))
    }

    fn begin(&mut self) {
        *Master::of(&mut self.arena) =
            Master::new(fingerprint(&self.patch, self.config, self.context));
        self.safety().begin();
        self.cables.begin(&mut self.arena);
        for node in &self.plan.nodes {
            let cells = cells_of(&mut self.arena, node);
            node.kind
                .begin(self.context, node.channels, &node.values, cells);
        }
        self.begin_sequences();
    }

    /// Reduces the safety stage to its delay, so that the output is the sum of the inputs of `out`.
    #[must_use]
    pub fn without_safety(mut self) -> Self {
        self.linear = true;
        self
    }

    fn safety_is_on(&self) -> bool {
        let out = &self.plan.nodes[usize::from(self.plan.out)];
        let cells = &self.cells()[out.cells.clone()];
        !self.linear && out.kind.cell(cells, out.channels, self.context, 0) != 0
    }

    fn safety(&mut self) -> Safety<'_> {
        let range = safety_range(&self.patch, self.config);
        Safety::of(&mut self.arena[range], self.config)
    }

    /// What the safety stage removes at present.
    ///
    /// # Real-time
    /// Yes; constant time.
    #[must_use]
    pub fn removed(&mut self) -> Removed {
        self.safety().removed()
    }

    /// The module whose output was invalid (NaN, infinite or above +36 dB), so that the last block was muted. In the
    /// first muted block this is `out`; from the next block on it is the module in which the invalid samples arise.
    #[must_use]
    pub fn muted(&self) -> Option<u16> {
        bytemuck::from_bytes::<Master>(&self.arena()[..size_of::<Master>()]).muted()
    }

    const fn event_queue_at(&self) -> usize {
        event_queue_at(self.patch.modules.len())
    }

    fn cells(&self) -> &[u32] {
        bytemuck::cast_slice(&self.arena)
    }

    /// The state of all modules, which a checkpoint holds.
    ///
    /// # Real-time
    /// Yes.
    #[must_use]
    pub fn arena(&self) -> &[u8] {
        bytemuck::cast_slice(&self.arena)
    }

    /// As [`Self::arena`], in words.
    ///
    /// # Real-time
    /// Yes.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.arena
    }

    /// A bit for each 64 bytes of the arena that may change in any block.
    ///
    /// # Real-time
    /// Yes.
    #[must_use]
    pub fn active(&self) -> &[u64] {
        self.changes.active()
    }

    /// A bit for each 64 bytes of the rest of the arena that were written since the caller last cleared the bit.
    ///
    /// # Real-time
    /// Yes.
    pub fn written(&mut self) -> &mut [u64] {
        self.changes.written()
    }

    /// The length of [`Engine::arena`] in bytes; a multiple of 8.
    #[must_use]
    pub fn arena_len_bytes(&self) -> usize {
        8 * self.arena.len()
    }

    /// Continues from the state of an engine with the same patch and configuration. From there, the same events give
    /// the same samples, bit by bit.
    ///
    /// # Real-time
    /// Yes.
    ///
    /// # Errors
    /// When the arena belongs to another patch or configuration; nothing is changed then.
    pub fn restore(&mut self, arena: &[u8]) -> Result<(), RestoreError> {
        let own: &mut [u8] = bytemuck::cast_slice_mut(&mut self.arena);
        let (found, expected) = (arena.len(), own.len());
        if found != expected {
            return Err(RestoreError::Length { found, expected });
        }
        // The fingerprint is the first word.
        if arena[..8] != own[..8] {
            return Err(RestoreError::Layout);
        }
        own.copy_from_slice(arena);
        Ok(())
    }

    /// As [`Self::restore`]; `fill` writes all words and returns whether it succeeded. This way a large state is
    /// copied only once.
    ///
    /// # Errors
    /// When `fill` fails, or the arena belongs to another patch or configuration.
    pub fn restored(mut self, fill: impl FnOnce(&mut [u64]) -> bool) -> Result<Self, RestoreError> {
        let fingerprint = self.arena[0];
        match fill(&mut self.arena) && self.arena[0] == fingerprint {
            true => Ok(self),
            false => Err(RestoreError::Layout),
        }
    }

    /// A number that differs between engines whose modules differ in order, channels or types, or whose
    /// configurations differ.
    ///
    /// # Real-time
    /// Yes; constant time.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.arena[0]
    }

    /// The [`Self::fingerprint`] that such an engine would have.
    #[must_use]
    pub fn fingerprint_of(patch: &Patch, config: Config) -> u64 {
        fingerprint(patch, config, config.context(Level::new()))
    }

    /// The patch with which the engine was built; later events are not in it ([`Patch::apply`]).
    #[must_use]
    pub const fn patch(&self) -> &Patch {
        &self.patch
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> Config {
        self.config
    }
}

/// The word at which the event queue begins in an arena with that many modules: the start of a piece.
const fn event_queue_at(modules: usize) -> usize {
    (MASTER_WORDS + modules.div_ceil(64)).next_multiple_of(PIECE_WORDS)
}

/// The first cell of the cables in the arena.
const fn first_cell(patch: &Patch, config: Config) -> usize {
    2 * safety_range(patch, config).end
}

/// The words of the safety stage.
const fn safety_range(patch: &Patch, config: Config) -> Range<usize> {
    let first = safety_at(patch);
    first..first + safety::words(config)
}

/// The cells of the cables, and the first cell of a module.
fn lay_out(
    patch: &Patch,
    feedback_lanes: &[usize],
    config: Config,
) -> (Range<usize>, Vec<Ring>, usize) {
    let fades = patch.cables.iter().filter(|cable| cable.fade.is_some());
    let late = patch.cables.iter().filter(|cable| cable.leads_back());
    let frames = late.map(|cable| match cable.frame {
        true => 1,
        false => config.block_frames as usize,
    });
    let rings = feedback_lanes.iter().copied().zip(frames);
    cables::layout(first_cell(patch, config), fades.count(), rings)
}

fn small_enough(cells: usize) -> Result<(), PatchError> {
    let (bytes, max) = (4 * cells as u64, ARENA_BYTES_MAX);
    match bytes > max {
        true => Err(PatchError::TooMuchState { bytes, max }),
        false => Ok(()),
    }
}

/// The cells of a module.
fn cells_of<'a>(arena: &'a mut [u64], node: &Node) -> &'a mut [u32] {
    let cells: &mut [u32] = bytemuck::cast_slice_mut(arena);
    &mut cells[node.cells.clone()]
}

/// The word and the bit in the arena that say whether a module is bypassed.
const fn bypass_bit(module: u16) -> (usize, u64) {
    let word = MASTER_WORDS + module as usize / 64;
    (word, 1 << (module % 64))
}

fn bypassed(arena: &[u64], module: u16) -> bool {
    let (word, bit) = bypass_bit(module);
    arena.get(word).is_some_and(|word| word & bit != 0)
}

/// A number that differs between arenas that are not interchangeable. It depends on the ids, types, order and
/// channels of the modules, the cables that fade or feed back, the ids of the sequences, the configuration, and
/// whether channels lie side by side.
///
/// # Source
/// The FNV-1a hash: Fowler, Noll, Vo, Eastlake, RFC 9923.
fn fingerprint(patch: &Patch, config: Config, context: Context) -> u64 {
    let wide = u32::from(context.wide);
    let numbers = [config.rate_hz, config.block_frames, config.channels, wide];
    let numbers = numbers.into_iter().flat_map(u32::to_le_bytes);
    let names = patch.modules.iter().flat_map(|module| {
        module
            .id
            .bytes()
            .chain([0])
            .chain(module.kind.bytes())
            .chain([0, module.channels])
    });
    // The cables whose cells follow.
    let cables = patch.cables.iter();
    let cables = cables.filter(|cable| cable.fade.is_some() || cable.leads_back());
    let cables = cables.flat_map(|cable| {
        let fade = cable.fade.map_or(0, |fade| 1 + fade as u8);
        let kind = 4 * fade + 2 * u8::from(cable.leads_back()) + u8::from(cable.frame);
        let ends = cable.from.bytes().chain([0]).chain(cable.to.bytes());
        ends.chain([0, kind])
    });
    let sequences = patch.sequences.iter();
    let sequences = sequences.flat_map(|sequence| [1].into_iter().chain(sequence.id.bytes()));
    numbers
        .chain(names)
        .chain(cables)
        .chain(sequences)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests;
