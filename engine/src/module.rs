//! What a module type is to the engine: arithmetic over plain cells of the arena.
//!
//! A new module is one file in `modules/` that implements [`Module`] and one line in its list. All that
//! a module remembers lies in its cells: whatever it does to a block follows from them, its inputs and
//! the [`Context`], so that a copy of the arena is a copy of the sound to come. The rest is done here
//! for all of them: parameters that glide and are modulated, gates, channels side by side.

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

/// What every module may know of the world.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Frames a second.
    pub rate_hz: f32,
    /// Channels are computed side by side; else one after the other.
    pub wide: bool,
}

/// What a type does with channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polyphony {
    /// As many come out as go in; each for itself.
    Poly,
    /// What goes in is summed to one channel.
    Summed,
    /// It sees all channels that go in; each of its outputs has one.
    Split,
    /// It sees one channel of each input; each of them becomes a channel of what comes out.
    Merge,
}

/// A module type.
///
/// # Real-time
/// `render` runs in the render thread: no allocation, no lock, no panic, whatever bits the cells hold.
pub trait Module {
    /// Its description.
    const TYPE: ModuleType;
    /// What it does with channels.
    const POLYPHONY: Polyphony = Polyphony::Poly;
    /// Cells of state, 32 bits each, that a channel has; at the start all are 0.
    const CELLS: usize = 0;

    /// What it does with a note, if it gives notes their voices.
    const PLAY: Option<fn(&mut Voices<'_>, Note)> = None;
    /// How it changes notes that sound.
    const EXPRESS: Option<fn(&mut Voices<'_>, Expressed)> = None;

    /// Samples that a channel remembers besides, for lines of delay; at the start all are 0.
    fn memory(_context: Context) -> usize {
        0
    }

    /// Sets a channel's cells at the start, given the values of the parameters.
    fn start(_channel: usize, _params: &[f32], _cells: &mut [u32]) {}

    /// Renders a block of [`Lanes::N`] channels.
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>);
}

/// A block of sound: of each group of channels all frames, of each frame all channels of the group.
#[derive(Debug, Default)]
pub struct Buffer {
    pub samples: Vec<f32>,
    /// All frames are as the first.
    pub still: bool,
}

/// Where an input's block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plug {
    /// No cable: silence.
    Nothing,
    /// One cable from as many channels: the other's own block.
    Direct(u16),
    /// Anything else: summed into one of the gathered blocks.
    Gathered(u16),
}

/// A note that begins, or ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Note {
    /// Its number, not always a whole one; 60 is C4.
    pub pitch: f32,
    /// 0 ends it; above 0, up to 1, begins it.
    pub velocity: f32,
    /// After so many frames it ends by itself; 0 is never.
    pub frames: u32,
}

/// A change of notes that sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expressed {
    /// The pitch that the note was begun with; below 0 is all of them.
    pub pitch: f32,
    /// What of it.
    pub what: Expression,
    /// Semitones of bend; else 0 to 1.
    pub value: f32,
}

/// What a module remembers, seen between two blocks by what gives notes their voices.
pub struct Voices<'a> {
    /// How many there are.
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

/// One call of a module: what the engine hands over.
pub struct Process<'a> {
    pub context: Context,
    pub stretch: Stretch,
    pub channels: usize,
    /// Everything that it remembers.
    pub cells: &'a mut [u32],
    /// Where that begins in the arena, and a bit for each piece of the arena that is written.
    pub first_cell: usize,
    pub written: &'a mut [u64],
    /// Of each of the type's own inputs, then of each parameter's.
    pub plugs: &'a [Plug],
    pub buffers: &'a [Buffer],
    pub gathered: &'a [Buffer],
    pub silence: &'a Buffer,
    pub outs: &'a mut [Buffer],
    /// A bit for each output that somebody listens to.
    pub wanted: u32,
    /// What it plays from.
    pub sample: &'a Sample,
    /// Room for parameters that move: [`params::scratch_len`].
    pub scratch: &'a mut [f32],
}

/// A module type as the engine runs it.
#[derive(Clone, Copy)]
pub struct Kind {
    /// The type's description with what every type has: [`crate::catalog`].
    pub describe: &'static ModuleType,
    /// How many of its inputs and parameters are the type's own.
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
/// A bit for each glide that is under way, in two cells.
pub const MOVING: usize = 0;
/// Not 0: a parameter may not be what it was in the block before.
pub const FRESH: usize = 2;
/// Its gate, which events open and close.
const GATE: Range<usize> = 3..3 + Gate::CELLS;
const HEAD: usize = GATE.end;
/// Cells of a channel's state, at the most.
const CELLS_MAX: usize = 512;
const GLIDE: usize = size_of::<Smooth>() / 4;

/// Where the memory begins among a module's cells, after so many others: at the start of a piece.
const fn memory_at(cells: usize, memory: usize) -> usize {
    match memory {
        0 => cells,
        _ => cells.next_multiple_of(changes::PIECE),
    }
}

/// Channels side by side, and how many times, for so many channels.
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

    /// Cells that a module with so many channels has; an even number.
    pub fn cells(&self, context: Context, channels: usize) -> usize {
        self.memory(context, channels).end.next_multiple_of(2)
    }

    /// What its first cell's place in the arena must be a multiple of: so that a block's part of a line
    /// lies in as few pieces of the arena as it can.
    pub fn align(&self, context: Context) -> usize {
        if (self.memory)(context) > 0 {
            changes::PIECE
        } else {
            2
        }
    }

    /// Those of these cells that are memory: what changes but a little in a block.
    pub fn memory(&self, context: Context, channels: usize) -> Range<usize> {
        let (n, groups) = lanes_for(channels, context.wide);
        let memory = (self.memory)(context);
        let first = memory_at(self.state_at() + n * groups * self.cells, memory);
        first..first + n * groups * memory
    }

    /// First cell of the channels' state.
    const fn state_at(&self) -> usize {
        HEAD + 2 * self.params * GLIDE
    }

    /// Begins: every parameter at its value, gates closed. The cells are 0, and most of them stay so: a
    /// large state need not be touched before it is restored.
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

    /// Resets the state but not the parameters; returns which cells are memory that has been written.
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
        // What has never been written lies in no page yet.
        if sounds.iter().any(|cell| *cell != 0) {
            sounds.fill(0);
            return memory;
        }
        memory.start..memory.start
    }

    /// A parameter's value changes, in so many milliseconds; setting what is set already changes nothing.
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

    /// Plays a note by the module's own voices; false if it has none.
    pub fn note(&self, cells: &mut [u32], context: Context, channels: usize, note: Note) -> bool {
        let Some(play) = self.play else {
            return false;
        };
        play(&mut self.voices(cells, context, channels), note);
        true
    }

    /// An event opens its gate, or closes it, if it takes one.
    pub fn gate(&self, cells: &mut [u32], level: f32) {
        if self.describe.takes_gate && level.is_finite() {
            Gate::event(&mut cells[GATE], level);
        }
    }

    /// Skips so many frames: strikes that were due in them are dropped.
    pub fn miss(&self, cells: &mut [u32], frames: usize) {
        Gate::load(&cells[GATE]).pass(&mut cells[GATE], frames);
    }

    /// Changes notes that its own voices play.
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

    /// Sets its frequency to a note's, at once.
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

    /// Whether it has no frequency, or that of the note.
    pub fn is_tuned(&self, cells: &mut [u32], pitch: f32) -> bool {
        self.describe.freq().is_none_or(|freq| {
            let hz = self.describe.params[freq].accept(math::note_hz(pitch));
            hz == Some(self.glides(cells)[freq].target())
        })
    }

    fn glides<'a>(&self, cells: &'a mut [u32]) -> &'a mut [Smooth] {
        bytemuck::cast_slice_mut(&mut cells[HEAD..self.state_at()])
    }

    /// Goes on where another module of the same type was, with the channels that both have.
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

/// Chooses the instructions, then how many channels go side by side.
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
    // Of a frame alone nobody knows whether it is as the first.
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
            // A module that splits writes each of its outputs from the group that it is of.
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
