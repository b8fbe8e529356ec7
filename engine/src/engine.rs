//! The engine: a patch's modules, their state, and a block at a time of their sound.
//!
//! Made on the control thread, run on the render thread. All that outlives a block lies in one
//! arena: the last stage's state first, then which modules are bypassed, then each module's in the
//! order of the patch. What lies
//! beside it (the schedule, the buffers of the cables) follows from the patch or is written anew in
//! each block; so to copy the arena is to copy the sound to come.

use common::{
    command::Event,
    limits::{
        ARENA_BYTES_MAX, BLOCK_FRAMES_MAX, BLOCK_FRAMES_MIN, CHANNELS_MAX, RATE_HZ_MAX,
        RATE_HZ_MIN, sane,
    },
    stage::Shape,
};

use crate::{
    master::Master,
    module::{Context, Kind, view, words},
    modules,
    patch::{Patch, PatchError},
    schedule::Step,
};

/// What an engine needs to know of where it plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Frames a second.
    pub rate_hz: u32,
    /// Frames in a block.
    pub block_frames: u32,
    /// Channels of sound.
    pub channels: u32,
}

impl From<Shape> for Config {
    fn from(shape: Shape) -> Self {
        Self {
            rate_hz: shape.rate_hz,
            block_frames: shape.block_frames,
            channels: shape.channels,
        }
    }
}

impl Config {
    /// Samples of a block, all channels.
    #[must_use]
    pub const fn block_samples(&self) -> usize {
        self.block_frames as usize * self.channels as usize
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

/// An arena that does not fit; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// It has another length.
    #[error("the arena has {found} bytes, this patch's has {expected}: it is of another patch")]
    Length {
        /// Bytes given.
        found: usize,
        /// Bytes needed.
        expected: usize,
    },
    /// It is the state of other modules, or at another rate, block or number of channels.
    #[error("the arena is of another patch or another rate, block size or number of channels")]
    Layout,
}

/// A module, as the render thread sees it.
struct Node {
    kind: Kind,
    /// First word of its state in the arena.
    state_at: usize,
    /// First of its output buffers, in blocks.
    output_at: usize,
    /// Where its values in the patch begin in `Engine::params`.
    params_at: usize,
}

impl Node {
    fn state<'a>(&self, arena: &'a mut [u64]) -> &'a mut [u64] {
        &mut arena[self.state_at..][..self.kind.words]
    }
}

/// A patch that plays.
pub struct Engine {
    patch: Patch,
    config: Config,
    context: Context,
    nodes: Vec<Node>,
    steps: Vec<Step>,
    /// Places of the modules, sorted by id.
    by_id: Vec<u16>,
    /// First output buffer of the `out` module, in blocks.
    heard_at: usize,
    /// The values of all parameters at the start.
    params: Vec<f32>,
    arena: Vec<u64>,
    /// A block for each output of each module.
    outputs: Vec<f32>,
    /// A block for each input of the module whose turn it is.
    inputs: Vec<f32>,
}

impl Engine {
    /// An engine at its start: gates closed, running.
    ///
    /// # Real-time
    /// No: it allocates all that rendering will need.
    ///
    /// # Errors
    /// As [`Patch::from_json`]; also when the configuration is out of bounds, or when the modules
    /// have more state than a checkpoint holds.
    pub fn new(patch: &Patch, config: Config) -> Result<Self, PatchError> {
        config.check()?;
        let steps = patch.steps()?;
        let context = Context {
            rate_hz: config.rate_hz as f32,
        };
        let frames = config.block_frames as usize;
        let (mut nodes, mut params) = (Vec::new(), Vec::new());
        let (mut state_at, mut output_at, mut heard_at, mut inputs) = (
            words::<Master>() + patch.modules.len().div_ceil(64),
            0,
            0,
            0,
        );
        for spec in &patch.modules {
            // The check of the patch has found the type.
            let Some(kind) = modules::kind(&spec.kind) else {
                continue;
            };
            if spec.kind == "out" {
                heard_at = output_at;
            }
            nodes.push(Node {
                kind,
                state_at,
                output_at,
                params_at: params.len(),
            });
            state_at += kind.words;
            // `out` has no port, but a buffer.
            output_at += kind.describe.outputs.len().max(1);
            inputs = inputs.max(kind.describe.inputs.len());
            params.extend(kind.describe.params.iter().map(|param| {
                spec.params
                    .get(param.name)
                    .copied()
                    .unwrap_or(param.default)
            }));
        }
        let bytes = 8 * state_at as u64;
        if bytes > ARENA_BYTES_MAX {
            return Err(PatchError::TooMuchState {
                bytes,
                max: ARENA_BYTES_MAX,
            });
        }
        let mut by_id: Vec<u16> = (0..nodes.len() as u16).collect();
        by_id.sort_by_key(|module| &patch.modules[usize::from(*module)].id);
        let mut arena = vec![0; state_at];
        *view(&mut arena) = Master::new(fingerprint(patch, config));
        for node in &nodes {
            (node.kind.new)(node.state(&mut arena), context, &params[node.params_at..]);
        }
        Ok(Self {
            patch: patch.clone(),
            config,
            context,
            nodes,
            steps,
            by_id,
            heard_at,
            params,
            arena,
            outputs: vec![0.0; output_at * frames],
            inputs: vec![0.0; inputs * frames],
        })
    }

    /// Renders the next block: interleaved, [`Config::block_samples`] long. Calls `trace` with the
    /// place of each module before its turn, but for those that are bypassed.
    ///
    /// # Real-time
    /// Yes: no allocation, no lock; time in proportion to modules and cables.
    pub fn render(&mut self, out: &mut [f32], trace: &mut impl FnMut(u16)) {
        let frames = self.config.block_frames as usize;
        for step in &self.steps {
            let node = &self.nodes[usize::from(step.module)];
            let ports = node.kind.describe.inputs.len();
            let inputs = &mut self.inputs[..ports * frames];
            gather(step, &self.nodes, &self.outputs, inputs, frames);
            let buffers = node.kind.describe.outputs.len().max(1);
            let outputs = &mut self.outputs[node.output_at * frames..][..buffers * frames];
            if bypassed(&self.arena, step.module) {
                pass_through(inputs, outputs, frames);
            } else {
                trace(step.module);
                (node.kind.render)(node.state(&mut self.arena), self.context, inputs, outputs);
            }
        }
        let heard = &self.outputs[self.heard_at * frames..][..frames];
        let culprit = (!sane(heard)).then(|| self.culprit(frames)).flatten();
        let master: &mut Master = view(&mut self.arena);
        master.set_muted(culprit);
        master.render(
            heard,
            out,
            self.config.channels as usize,
            self.context.rate_hz,
        );
    }

    /// The first module, in the order of work, whose output is no sound.
    fn culprit(&self, frames: usize) -> Option<u16> {
        let insane = |module: &u16| {
            let node = &self.nodes[usize::from(*module)];
            let buffers = node.kind.describe.outputs.len().max(1);
            !sane(&self.outputs[node.output_at * frames..][..buffers * frames])
        };
        self.steps.iter().map(|step| step.module).find(insane)
    }

    /// The module whose output had to be muted in the last block, if one had: what it put out was
    /// no sound.
    #[must_use]
    pub fn muted(&self) -> Option<u16> {
        bytemuck::from_bytes::<Master>(&self.arena()[..size_of::<Master>()]).muted()
    }

    /// Lets an event take effect from the next block on. What names no module or parameter of this
    /// patch, or is not a number, changes nothing; a value out of range is clamped.
    ///
    /// # Real-time
    /// Yes; constant time.
    pub fn apply(&mut self, event: &Event) {
        match *event {
            Event::Param {
                module,
                param,
                value,
            } => {
                let Some(node) = self.nodes.get(usize::from(module)) else {
                    return;
                };
                let Some(known) = node.kind.describe.params.get(usize::from(param)) else {
                    return;
                };
                if let Some(value) = known.accept(value) {
                    (node.kind.set)(node.state(&mut self.arena), self.context, param, value);
                }
            }
            Event::Gate { module, level } => {
                let Some(node) = self.nodes.get(usize::from(module)) else {
                    return;
                };
                if level.is_finite() {
                    let level = level.clamp(0.0, 1.0);
                    (node.kind.gate)(node.state(&mut self.arena), self.context, level);
                }
            }
            Event::Bypass(module) => {
                if usize::from(module) < self.nodes.len() {
                    let (word, bit) = bypass_bit(module);
                    self.arena[word] |= bit;
                }
            }
            Event::Run(on) => view::<Master>(&mut self.arena).run(on, self.context.rate_hz),
        }
    }

    /// Goes on where another engine was: modules of the same id and type keep their state, and
    /// their parameters glide to this patch's values; the output goes on without a step.
    /// Both are meant to have the same [`Config`]. `old` may be dropped afterwards, but not here.
    ///
    /// # Real-time
    /// Yes: no allocation; time in proportion to the modules of both.
    pub fn adopt(&mut self, old: &Self) {
        let old_master = bytemuck::from_bytes(&old.arena()[..size_of::<Master>()]);
        view::<Master>(&mut self.arena).adopt(old_master);
        let mut others = old.by_id.iter().copied().peekable();
        for module in self.by_id.iter().copied() {
            let spec = &self.patch.modules[usize::from(module)];
            let other_spec = |other: u16| &old.patch.modules[usize::from(other)];
            while others
                .next_if(|other| other_spec(*other).id < spec.id)
                .is_some()
            {}
            let Some(other) = others.next_if(|other| other_spec(*other).id == spec.id) else {
                continue;
            };
            if other_spec(other).kind == spec.kind {
                let other = &old.nodes[usize::from(other)];
                let node = &self.nodes[usize::from(module)];
                let state = node.state(&mut self.arena);
                state.copy_from_slice(&old.arena[other.state_at..][..other.kind.words]);
                let params = &self.params[node.params_at..][..node.kind.describe.params.len()];
                for (param, value) in params.iter().enumerate() {
                    (node.kind.set)(state, self.context, param as u16, *value);
                }
            }
        }
    }

    /// All state of all modules: what a checkpoint is made of.
    ///
    /// # Real-time
    /// Yes.
    #[must_use]
    pub fn arena(&self) -> &[u8] {
        bytemuck::cast_slice(&self.arena)
    }

    /// Bytes of [`Engine::arena`]; a multiple of 8.
    #[must_use]
    pub fn arena_len_bytes(&self) -> usize {
        8 * self.arena.len()
    }

    /// Goes on where the engine was whose arena this is a copy of: the same patch, the same
    /// configuration. From there, the same events give the same samples to the bit.
    ///
    /// # Real-time
    /// Yes.
    ///
    /// # Errors
    /// When it is the arena of another patch or configuration; then nothing has changed.
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

    /// The patch as it was at the start; events since then are not in it ([`Patch::apply`]).
    #[must_use]
    pub const fn patch(&self) -> &Patch {
        &self.patch
    }

    /// Where it plays.
    #[must_use]
    pub const fn config(&self) -> Config {
        self.config
    }
}

/// Where in the arena it stands whether a module is bypassed.
const fn bypass_bit(module: u16) -> (usize, u64) {
    let word = words::<Master>() + module as usize / 64;
    (word, 1 << (module % 64))
}

fn bypassed(arena: &[u64], module: u16) -> bool {
    let (word, bit) = bypass_bit(module);
    arena.get(word).is_some_and(|word| word & bit != 0)
}

/// What a bypassed module does: its first input, or silence, on all its outputs.
fn pass_through(inputs: &[f32], outputs: &mut [f32], frames: usize) {
    for output in outputs.chunks_mut(frames) {
        match inputs.get(..frames) {
            Some(input) => output.copy_from_slice(input),
            None => output.fill(0.0),
        }
    }
}

/// Fills the inputs of a module: each the sum of its cables, silence where there is none.
fn gather(step: &Step, nodes: &[Node], outputs: &[f32], inputs: &mut [f32], frames: usize) {
    inputs.fill(0.0);
    for link in &step.links {
        let from = nodes[usize::from(link.module)].output_at + usize::from(link.output);
        let from = &outputs[from * frames..][..frames];
        let input = &mut inputs[usize::from(link.input) * frames..][..frames];
        for (sum, sample) in input.iter_mut().zip(from) {
            *sum += sample;
        }
    }
}

/// A number that differs where an arena means something else: ids and types of the modules in their
/// order, and the configuration.
///
/// # Source
/// The FNV-1a hash: Fowler, Noll, Vo, Eastlake, RFC 9923.
fn fingerprint(patch: &Patch, config: Config) -> u64 {
    let numbers = [config.rate_hz, config.block_frames, config.channels];
    let numbers = numbers.into_iter().flat_map(u32::to_le_bytes);
    let names = patch.modules.iter().flat_map(|module| {
        module
            .id
            .bytes()
            .chain([0])
            .chain(module.kind.bytes())
            .chain([0])
    });
    numbers
        .chain(names)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests;
