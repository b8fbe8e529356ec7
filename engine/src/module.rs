//! The engine's view of a module type: arithmetic over plain cells of the arena.
//!
//! A new module type is one file in `modules/` that implements [`Module`], and one line in the list
//! there. All state of a module is in its cells. Its output follows from these cells, its inputs and the
//! [`Context`], so a copy of the arena continues with the same sound. This file does for all types what
//! they have in common: gliding and modulated parameters, gates, and channels side by side.

mod gate;
mod io;

use common::{command::Expression, sample::Sample};
use std::{marker::PhantomData, ops::Range};

use fearless_simd::{Level, Simd, f32x8, f32x16};

use crate::{
    catalog::ModuleType,
    changes,
    lanes::{Lanes, with_lanes},
    math,
    params::{self, PARAMS_MAX},
    smooth::Smooth,
    stretch::Stretch,
};

pub use gate::{Edge, Edges, Gate, Shown};
pub use io::{Frames, Io, Outs, State};

/// What every module may depend on besides its cells and inputs.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Frames per second.
    pub rate_hz: f32,
    /// Whether channels are computed side by side instead of one after the other.
    pub wide: bool,
}

/// How a module type treats channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polyphony {
    /// Each channel by itself: as many channels at the outputs as at the inputs.
    Poly,
    /// All channels of an input are summed to one.
    Summed,
    /// The module sees all channels of its input; each output has one channel.
    Split,
    /// The module sees one channel of each input; each input becomes a channel of the output.
    Merge,
}

/// A module type.
///
/// # Real-time
/// `render` runs in the render thread: no allocation, no lock, no panic, whatever bits the cells hold.
pub trait Module {
    /// The type's description.
    const TYPE: ModuleType;
    /// How the type treats channels.
    const POLYPHONY: Polyphony = Polyphony::Poly;
    /// Cells of state per channel, 32 bits each, initially 0.
    const CELLS: usize = 0;

    /// Plays a note, if the type assigns notes to voices.
    const PLAY: Option<fn(&mut Voices<'_>, Note)> = None;
    /// Changes sounding notes.
    const EXPRESS: Option<fn(&mut Voices<'_>, Expressed)> = None;

    /// Additional samples per channel, for delay lines; initially 0.
    fn memory(_context: Context) -> usize {
        0
    }

    /// Sets a channel's cells initially, given the values of the parameters.
    fn start(_channel: usize, _params: &[f32], _cells: &mut [u32]) {}

    /// Renders a stretch for [`Lanes::N`] channels.
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>);
}

/// A block of sound: for each group of channels all frames, for each frame all channels of the group.
#[derive(Debug, Default)]
pub struct Buffer {
    pub samples: Vec<f32>,
    /// Whether all frames equal the first.
    pub still: bool,
}

/// The source of an input's block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plug {
    /// No cable: silence.
    Nothing,
    /// One cable with as many channels as the input: the block of its source.
    Direct(u16),
    /// Anything else: the sum in a gathered block.
    Gathered(u16),
}

/// The beginning or end of a note.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Note {
    /// The note number, not always an integer; 60 is C4.
    pub pitch: f32,
    /// 0 ends the note; from above 0 to 1 begins it.
    pub velocity: f32,
    /// The length in frames, after which the note ends by itself; 0 for no limit.
    pub frames: u32,
}

/// A change of sounding notes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expressed {
    /// The pitch with which the note began; below 0 for all notes.
    pub pitch: f32,
    /// What changes.
    pub what: Expression,
    /// Semitones for bend, otherwise 0 to 1.
    pub value: f32,
}

/// The state of a module between two blocks, for playing notes.
pub struct Voices<'a> {
    /// The number of voices.
    pub channels: usize,
    pub rate_hz: f32,
    glides: &'a [Smooth],
    cells: &'a mut [u32],
    cells_each: usize,
    n: usize,
}

impl Voices<'_> {
    /// The value of a parameter.
    pub fn param(&self, param: usize) -> f32 {
        self.glides[param].value()
    }

    /// A cell of a channel.
    pub fn cell(&mut self, channel: usize, cell: usize) -> &mut u32 {
        &mut self.cells[(channel / self.n * self.cells_each + cell) * self.n + channel % self.n]
    }

    /// A cell of a channel, as a number.
    pub fn get(&mut self, channel: usize, cell: usize) -> f32 {
        f32::from_bits(*self.cell(channel, cell))
    }

    /// Sets a cell of a channel.
    pub fn set(&mut self, channel: usize, cell: usize, value: f32) {
        *self.cell(channel, cell) = value.to_bits();
    }
}

/// The arguments of one call of a module.
pub struct Process<'a> {
    pub context: Context,
    pub stretch: Stretch,
    pub channels: usize,
    /// All cells of the module.
    pub cells: &'a mut [u32],
    /// The first of these cells in the arena; and a bit for each piece of the arena, set when the piece
    /// is written.
    pub first_cell: usize,
    pub written: &'a mut [u64],
    /// First the plugs of the type's own inputs, then those of the parameters.
    pub plugs: &'a [Plug],
    pub buffers: &'a [Buffer],
    pub gathered: &'a [Buffer],
    pub silence: &'a Buffer,
    pub outs: &'a mut [Buffer],
    /// A bit for each output that has a listener.
    pub wanted: u32,
    /// The recording that the module plays.
    pub sample: &'a Sample,
    /// Scratch memory for moving parameters, of length [`params::scratch_len`].
    pub scratch: &'a mut [f32],
}

/// A module type as the engine runs it.
#[derive(Clone, Copy)]
pub struct Kind {
    /// The type's description with what every type has; see [`crate::catalog`].
    pub describe: &'static ModuleType,
    /// How many inputs and parameters are the type's own.
    pub inputs: usize,
    pub params: usize,
    pub polyphony: Polyphony,
    cells: usize,
    play: Option<fn(&mut Voices<'_>, Note)>,
    express: Option<fn(&mut Voices<'_>, Expressed)>,
    memory: fn(Context) -> usize,
    start: fn(usize, &[f32], &mut [u32]),
    /// Renders a block.
    pub render: fn(Level, &mut Process<'_>),
}

// The cells of a module: these, the parameters' glides, the channels' state, their memory.
/// A bit for each glide in progress, in two cells.
pub const MOVING: usize = 0;
/// Not 0 if a parameter may have changed since the block before.
pub const FRESH: usize = 2;
/// The gate, which events open and close.
const GATE: Range<usize> = 3..3 + Gate::CELLS;
const HEAD: usize = GATE.end;
/// The most cells of a channel's state.
const CELLS_MAX: usize = 512;
const GLIDE: usize = size_of::<Smooth>() / 4;

/// The first cell of the memory in a module with `cells` other cells: the start of a piece.
const fn memory_at(cells: usize, memory: usize) -> usize {
    match memory {
        0 => cells,
        _ => cells.next_multiple_of(changes::PIECE),
    }
}

/// How many channels lie side by side, and in how many groups.
pub const fn lanes_for(channels: usize, wide: bool) -> (usize, usize) {
    match channels {
        _ if !wide => (1, channels),
        0 | 1 => (1, 1),
        2..=8 => (8, 1),
        _ => (16, channels.div_ceil(16)),
    }
}

impl Kind {
    /// The kind of a module type.
    pub const fn of<M: Module>(describe: &'static ModuleType) -> Self {
        assert!(M::TYPE.params.len() <= PARAMS_MAX && M::CELLS <= CELLS_MAX);
        Self {
            describe,
            inputs: M::TYPE.inputs.len(),
            params: M::TYPE.params.len(),
            polyphony: M::POLYPHONY,
            cells: M::CELLS,
            play: M::PLAY,
            express: M::EXPRESS,
            memory: M::memory,
            start: M::start,
            render: render::<M>,
        }
    }

    /// How many cells a module with that many channels has; an even number.
    pub fn cells(&self, context: Context, channels: usize) -> usize {
        self.memory(context, channels).end.next_multiple_of(2)
    }

    /// The alignment of the module's first cell in the arena. It keeps the part of a delay line that a
    /// block writes in as few pieces as possible.
    pub fn align(&self, context: Context) -> usize {
        if (self.memory)(context) > 0 {
            changes::PIECE
        } else {
            2
        }
    }

    /// Which of the module's cells are memory, of which a block changes only a little.
    pub fn memory(&self, context: Context, channels: usize) -> Range<usize> {
        let (n, groups) = lanes_for(channels, context.wide);
        let memory = (self.memory)(context);
        let first = memory_at(self.state_at() + n * groups * self.cells, memory);
        first..first + n * groups * memory
    }

    /// The first cell of the channels' state.
    const fn state_at(&self) -> usize {
        HEAD + 2 * self.params * GLIDE
    }

    /// Sets every parameter to its value and closes the gates. The cells are 0, and most of them are not
    /// written, so the pages of a large state need not be touched before it is restored.
    pub fn begin(&self, context: Context, channels: usize, values: &[f32], cells: &mut [u32]) {
        cells[FRESH] = 1;
        for (glide, value) in self.glides(cells).iter_mut().zip(values) {
            *glide = Smooth::at(*value);
        }
        self.begin_channels(context, channels, values, cells);
    }

    fn begin_channels(&self, context: Context, channels: usize, values: &[f32], cells: &mut [u32]) {
        let (n, groups) = lanes_for(channels, context.wide);
        let state = &mut cells[self.state_at()..];
        let mut own = [0; CELLS_MAX];
        for channel in 0..n * groups {
            let own = &mut own[..self.cells];
            own.fill(0);
            (self.start)(channel, values, own);
            for (cell, value) in own.iter().enumerate() {
                state[(channel / n * self.cells + cell) * n + channel % n] = *value;
            }
        }
    }

    /// Resets the state but not the parameters; returns the memory cells that were written.
    ///
    /// # Real-time
    /// Yes; time in proportion to the cells.
    pub fn silence(&self, context: Context, channels: usize, cells: &mut [u32]) -> Range<usize> {
        let mut values = [0.0; PARAMS_MAX];
        for (value, glide) in values.iter_mut().zip(self.glides(cells)) {
            *value = glide.target();
        }
        cells[GATE].fill(0);
        cells[FRESH] = 1;
        self.begin_channels(context, channels, &values[..self.params], cells);
        let memory = self.memory(context, channels);
        let sounds = &mut cells[memory.clone()];
        // Memory that was never written has no pages yet.
        if sounds.iter().any(|cell| *cell != 0) {
            sounds.fill(0);
            return memory;
        }
        memory.start..memory.start
    }

    /// Changes a parameter's value over `ms` milliseconds. A value that is already set changes nothing.
    pub fn set(&self, cells: &mut [u32], context: Context, param: usize, value: f32, ms: f32) {
        let stepped = self.describe.params[param].scale == crate::catalog::Scale::Stepped;
        let glide = &mut self.glides(cells)[param];
        if glide.target().to_bits() == value.to_bits() {
            return;
        }
        if stepped {
            *glide = Smooth::at(value);
        } else {
            glide.glide_over(value, ms, context.rate_hz);
        }
        let moves = u32::from(glide.at_rest().is_none());
        let (word, bit) = (MOVING + param / 32, param % 32);
        cells[word] = cells[word] & !(1 << bit) | moves << bit;
        cells[FRESH] = 1;
    }

    /// Plays a note by the module's own voices; returns false if it has none.
    pub fn note(&self, cells: &mut [u32], context: Context, channels: usize, note: Note) -> bool {
        let Some(play) = self.play else {
            return false;
        };
        play(&mut self.voices(cells, context, channels), note);
        true
    }

    /// Opens or closes the gate by an event, if the type takes a gate.
    pub fn gate(&self, cells: &mut [u32], level: f32) {
        if self.describe.takes_gate && level.is_finite() {
            Gate::event(&mut cells[GATE], level);
        }
    }

    /// Skips frames; strikes that were due in them are dropped.
    pub fn miss(&self, cells: &mut [u32], frames: usize) {
        Gate::load(&cells[GATE]).pass(&mut cells[GATE], frames);
    }

    /// Changes sounding notes of the module's own voices.
    pub fn express(
        &self,
        cells: &mut [u32],
        context: Context,
        channels: usize,
        expressed: Expressed,
    ) {
        if let Some(express) = self.express {
            express(&mut self.voices(cells, context, channels), expressed);
        }
    }

    fn voices<'a>(&self, cells: &'a mut [u32], context: Context, channels: usize) -> Voices<'a> {
        let (n, groups) = lanes_for(channels, context.wide);
        let (head, state) = cells.split_at_mut(self.state_at());
        head[FRESH] = 1;
        Voices {
            channels,
            rate_hz: context.rate_hz,
            glides: bytemuck::cast_slice(&head[HEAD..]),
            cells: &mut state[..n * groups * self.cells],
            cells_each: self.cells,
            n,
        }
    }

    /// A cell of the first channel.
    pub fn cell(&self, cells: &[u32], channels: usize, context: Context, cell: usize) -> u32 {
        let (n, _) = lanes_for(channels, context.wide);
        cells[self.state_at() + cell * n]
    }

    /// Sets the frequency to that of a note, without a glide.
    pub fn tune(&self, cells: &mut [u32], pitch: f32) {
        let Some(freq) = self.describe.freq() else {
            return;
        };
        if let Some(hz) = self.describe.params[freq].accept(math::note_hz(pitch)) {
            self.glides(cells)[freq] = Smooth::at(hz);
            cells[MOVING + freq / 32] &= !(1 << (freq % 32));
            cells[FRESH] = 1;
        }
    }

    /// Whether the module has no frequency, or has that of the note.
    pub fn is_tuned(&self, cells: &mut [u32], pitch: f32) -> bool {
        self.describe.freq().is_none_or(|freq| {
            let hz = self.describe.params[freq].accept(math::note_hz(pitch));
            hz == Some(self.glides(cells)[freq].target())
        })
    }

    fn glides<'a>(&self, cells: &'a mut [u32]) -> &'a mut [Smooth] {
        bytemuck::cast_slice_mut(&mut cells[HEAD..self.state_at()])
    }

    /// Takes over the state of another module of the same type, for the channels that both have.
    pub fn adopt(&self, context: Context, own: (&mut [u32], usize), other: (&[u32], usize)) {
        let (cells, channels) = own;
        let (old, old_channels) = other;
        if cells.len() == old.len()
            && lanes_for(channels, context.wide) == lanes_for(old_channels, context.wide)
        {
            cells.copy_from_slice(old);
            return;
        }
        let head = self.state_at();
        cells[..head].copy_from_slice(&old[..head]);
        let (n, groups) = lanes_for(channels, context.wide);
        let (m, old_groups) = lanes_for(old_channels, context.wide);
        let memory = (self.memory)(context);
        for channel in 0..channels.min(old_channels) {
            let cell = |cell: usize, n: usize| (channel / n * self.cells + cell) * n + channel % n;
            for number in 0..self.cells {
                cells[head + cell(number, n)] = old[head + cell(number, m)];
            }
            let (to, from) = (
                memory_at(head + n * groups * self.cells, memory),
                memory_at(head + m * old_groups * self.cells, memory),
            );
            cells[to + channel * memory..][..memory]
                .copy_from_slice(&old[from + channel * memory..][..memory]);
        }
    }
}

/// Selects the instruction set, then the number of channels side by side.
fn render<M: Module>(level: Level, process: &mut Process<'_>) {
    with_lanes!(level, simd => groups::<M, _>(simd, process), else each_group::<M, f32>((), process));
}

#[inline(always)]
fn groups<M: Module, S: Simd>(simd: S, process: &mut Process<'_>) {
    match process.channels {
        0 | 1 => each_group::<M, f32>((), process),
        2..=8 => each_group::<M, f32x8<S>>(simd, process),
        _ => each_group::<M, f32x16<S>>(simd, process),
    }
}

#[inline(always)]
fn each_group<M: Module, L: Lanes>(token: L::Token, process: &mut Process<'_>) {
    let params = M::TYPE.params;
    let frames = process.stretch.frames;
    let (head, rest) = process.cells.split_at_mut(HEAD);
    let (glides, state) = rest.split_at_mut(2 * params.len() * GLIDE);
    let glides: &mut [Smooth] = bytemuck::cast_slice_mut(glides);
    let moving = u64::from(head[MOVING]) | u64::from(head[MOVING + 1]) << 32;
    let (ramps, signals) = process.scratch.split_at_mut(2 * PARAMS_MAX * frames);
    let (moved, still_moving) = match moving {
        0 => (0, 0),
        _ => params::ramp(glides, moving, ramps, frames),
    };
    let plugs = &process.plugs[M::TYPE.inputs.len()..];
    let modulated = params::modulated(plugs);
    let (n, group_count) = lanes_for(process.channels, process.context.wide);
    let memory_each = M::memory(process.context);
    let gate = Gate::load(&head[GATE]);
    let head_len = HEAD + 2 * params.len() * GLIDE;
    let (cells, rest) = state.split_at_mut(n * group_count * M::CELLS);
    let memory_at = memory_at(head_len + cells.len(), memory_each);
    let memory = rest
        .get_mut(memory_at - head_len - cells.len()..)
        .unwrap_or_default();
    let first_memory = process.first_cell + memory_at;
    let memory: &mut [f32] = bytemuck::cast_slice_mut(memory);
    let out_channels = if M::POLYPHONY == Polyphony::Split {
        1
    } else {
        n
    };
    // A single frame does not show whether all frames of a segment are equal.
    let whole = process.stretch.is_whole();
    process.outs.iter_mut().for_each(|out| out.still = whole);
    for group in 0..group_count {
        let mut io = Io {
            token,
            context: process.context,
            frames,
            stretch: process.stretch,
            channels: (process.channels - group * n).min(n),
            first_channel: group * n,
            fresh: head[FRESH] != 0 || moved != 0 || modulated != 0,
            gate,
            group,
            sample: process.sample,
            plugs: process.plugs,
            buffers: process.buffers,
            gathered: process.gathered,
            silence: process.silence,
            glides,
            moving: 0,
            signals: &[],
        };
        if moved != 0 || modulated != 0 {
            io.moving = params::signals::<L>(&io, params, moved, modulated, ramps, signals);
            io.signals = signals;
        }
        let mut state = State {
            token,
            cells: &mut cells[group * n * M::CELLS..][..n * M::CELLS],
            memory: &mut memory[group * n * memory_each..][..n * memory_each],
            first_memory: first_memory + group * n * memory_each,
            written: process.written,
        };
        let mut outs = Outs {
            buffers: process.outs,
            // A splitting module writes each output from the group that contains its channel.
            first: match M::POLYPHONY {
                Polyphony::Split => process.stretch.first(1, 0),
                _ => process.stretch.first(n, group),
            },
            len: frames * out_channels,
            wanted: process.wanted,
            still: 0,
            lanes: PhantomData,
        };
        M::render(&io, &mut state, &mut outs);
        let still = outs.still;
        for (number, out) in process.outs.iter_mut().enumerate() {
            out.still &= still & 1 << number != 0;
        }
    }
    (head[MOVING], head[MOVING + 1]) = (still_moving as u32, (still_moving >> 32) as u32);
    head[FRESH] = u32::from(moved != 0);
    gate.pass(&mut head[GATE], frames);
}
