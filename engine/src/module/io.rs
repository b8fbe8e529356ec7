//! The interface of a module's arithmetic: inputs and parameters, state, outputs.

use std::{marker::PhantomData, ops::Range};

use common::sample::Sample;

use super::{Buffer, Context, Edges, Gate, Plug};
use crate::{
    changes,
    lanes::{Bits, Lanes},
    params::Signal,
    smooth::Smooth,
    stretch::Stretch,
};

/// The inputs and parameters of a module in a stretch.
pub struct Io<'a, L: Lanes> {
    pub token: L::Token,
    pub context: Context,
    /// Frames of the stretch.
    pub frames: usize,
    /// How many of these [`Lanes::N`] channels exist. The others hold arbitrary values.
    pub channels: usize,
    /// The number of the first of these channels.
    pub first_channel: usize,
    /// Whether a parameter may have changed since the block before. If not, values computed from the
    /// parameters are still valid.
    pub fresh: bool,
    /// The gate that events open and close, for all channels at once. Most modules use [`Self::edges`].
    pub gate: Gate,
    /// The recording that the module plays, which may be empty.
    pub sample: &'a Sample,
    pub(super) stretch: Stretch,
    pub(super) group: usize,
    pub(super) plugs: &'a [Plug],
    pub(super) buffers: &'a [Buffer],
    pub(super) gathered: &'a [Buffer],
    pub(super) silence: &'a Buffer,
    pub(super) glides: &'a [Smooth],
    /// A bit for each parameter whose signal is in `signals`; the upper half marks those of them that are
    /// still.
    pub(super) moving: u64,
    pub(super) signals: &'a [f32],
}

impl<'a, L: Lanes> Io<'a, L> {
    /// The same number in each channel.
    #[inline(always)]
    pub fn splat(&self, value: f32) -> L {
        L::splat(self.token, value)
    }

    /// The same integer in each channel.
    #[inline(always)]
    pub fn splat_bits(&self, value: u32) -> L::Bits {
        <L::Bits as Bits>::splat(self.token, value)
    }

    /// The edges of the module's gate, given how far it was open in the frame before.
    #[inline(always)]
    pub fn edges(&self, before: L) -> Edges<L> {
        Edges::of(self.token, self.gate, before)
    }

    #[inline(always)]
    fn buffer(&self, plug: usize) -> &'a Buffer {
        match self.plugs[plug] {
            Plug::Nothing => self.silence,
            Plug::Direct(at) => &self.buffers[usize::from(at)],
            Plug::Gathered(at) => &self.gathered[usize::from(at)],
        }
    }

    /// Whether one of the type's own inputs has a cable.
    #[inline(always)]
    pub fn plugged(&self, input: usize) -> bool {
        self.plugs[input] != Plug::Nothing
    }

    /// The block of an input: [`Lanes::N`] samples per frame.
    #[inline(always)]
    pub fn input(&self, input: usize) -> &'a [f32] {
        let plug = self.plugs[input];
        let group = if plug == Plug::Nothing { 0 } else { self.group };
        let first = self.stretch.first(L::N, group);
        &self.buffer(input).samples[first..][..self.frames * L::N]
    }

    /// The block of an input, for reading frame by frame.
    #[inline(always)]
    pub fn frames_of(&self, input: usize) -> Frames<'a, L> {
        Frames::of(self.token, self.input(input))
    }

    /// The blocks of the first inputs, for reading frame by frame.
    #[inline(always)]
    pub fn inputs<const COUNT: usize>(&self) -> [Frames<'a, L>; COUNT] {
        let mut all = [self.frames_of(0); COUNT];
        for (number, input) in all.iter_mut().enumerate() {
            *input = self.frames_of(number);
        }
        all
    }

    /// One frame of an input.
    #[inline(always)]
    pub fn at(&self, input: usize, frame: usize) -> L {
        self.frames_of(input).at(frame)
    }

    /// The value of an input if all frames are equal.
    #[inline(always)]
    pub fn still(&self, input: usize) -> Option<L> {
        self.buffer(input).still.then(|| self.at(input, 0))
    }

    /// The value of a parameter without modulation or glide, for rare use.
    #[inline(always)]
    pub fn value(&self, param: usize) -> f32 {
        self.glides[param].value()
    }

    /// A parameter, modulated and limited to its range.
    #[inline(always)]
    pub fn param(&self, param: usize) -> Signal<'a, L> {
        if self.moving & 1 << param == 0 {
            return Signal::Still(self.splat(self.value(param)));
        }
        let len = self.frames * L::N;
        let signal = &self.signals[param * len..][..len];
        if self.moving & 1 << (param + 32) != 0 {
            Signal::Still(Frames::of(self.token, signal).at(0))
        } else {
            Signal::Moving(Frames::of(self.token, signal))
        }
    }

    /// The first parameters, in order.
    #[inline(always)]
    pub fn params<const COUNT: usize>(&self) -> [Signal<'a, L>; COUNT] {
        let mut all = [self.param(0); COUNT];
        for (number, param) in all.iter_mut().enumerate() {
            *param = self.param(number);
        }
        all
    }

    /// The block of a parameter's modulation, and whether it is still.
    #[inline(always)]
    pub(crate) fn modulation(&self, plug: usize) -> (&'a [f32], bool) {
        (self.input(plug), self.buffer(plug).still)
    }

    /// One frame of the first channel of an input or of a parameter's modulation.
    #[inline(always)]
    pub(crate) fn first_channel_of(&self, plug: usize, frame: usize) -> f32 {
        self.buffer(plug).samples[self.stretch.first(L::N, 0) + frame * L::N]
    }

    /// The first plug of the parameters.
    #[inline(always)]
    pub(crate) fn first_plug(&self, params: usize) -> usize {
        self.plugs.len() - params
    }

    /// The value of an amount at rest.
    #[inline(always)]
    pub(crate) fn glide(&self, number: usize) -> f32 {
        self.glides[number].value()
    }
}

/// A block of [`Lanes::N`] samples per frame, for reading frame by frame.
#[derive(Clone, Copy)]
pub struct Frames<'a, L: Lanes> {
    samples: &'a [f32],
    token: L::Token,
}

impl<'a, L: Lanes> Frames<'a, L> {
    /// Frames over these samples.
    #[inline(always)]
    pub const fn of(token: L::Token, samples: &'a [f32]) -> Self {
        Self { samples, token }
    }

    /// One frame.
    #[inline(always)]
    pub fn at(&self, frame: usize) -> L {
        L::load(self.token, &self.samples[frame * L::N..][..L::N])
    }
}

/// The state of a module.
pub struct State<'a, L: Lanes> {
    pub(super) token: L::Token,
    pub(super) cells: &'a mut [u32],
    /// The samples of [`Module::memory`], for each channel. Written samples must be marked by
    /// [`Self::writes`].
    pub memory: &'a mut [f32],
    pub(super) first_memory: usize,
    pub(super) written: &'a mut [u64],
}

impl<L: Lanes> State<'_, L> {
    /// Marks `samples` samples of a ring in the memory as written in this block, from `at` on. A checkpoint
    /// copies no others.
    #[inline(always)]
    pub fn writes(&mut self, ring: Range<usize>, at: usize, samples: usize) {
        let to_end = samples.min(ring.len() - at);
        let from_start = (samples - to_end).min(at);
        for (first, count) in [(ring.start + at, to_end), (ring.start, from_start)] {
            let first = self.first_memory + first;
            changes::mark(self.written, first..first + count);
        }
    }

    /// A cell of each channel, as integers.
    #[inline(always)]
    pub fn bits(&self, cell: usize) -> L::Bits {
        <L::Bits as Bits>::load(self.token, &self.cells[cell * L::N..][..L::N])
    }

    /// A cell of each channel.
    #[inline(always)]
    pub fn get(&self, cell: usize) -> L {
        L::from_bits(self.bits(cell))
    }

    /// Consecutive cells of each channel.
    #[inline(always)]
    pub fn several<const COUNT: usize>(&self, first: usize) -> [L; COUNT] {
        let mut all = [self.get(first); COUNT];
        for (number, cell) in all.iter_mut().enumerate() {
            *cell = self.get(first + number);
        }
        all
    }

    /// Sets a cell of each channel, as integers.
    #[inline(always)]
    pub fn set_bits(&mut self, cell: usize, value: L::Bits) {
        value.store(&mut self.cells[cell * L::N..][..L::N]);
    }

    /// Sets a cell of each channel.
    #[inline(always)]
    pub fn set(&mut self, cell: usize, value: L) {
        self.set_bits(cell, value.to_bits());
    }

    /// As [`Self::set`], but NaN, infinities and very small or large values are replaced by 0. So one bad
    /// input sample is heard once and not for ever, and no state decays into denormals, which are slow.
    #[inline(always)]
    pub fn set_flushed(&mut self, cell: usize, value: L) {
        let size = value.abs();
        let least = L::splat(self.token, 1e-20);
        let most = L::splat(self.token, 1e20);
        let whole = least.lt(size) & size.lt(most);
        self.set(cell, L::select(whole, value, L::splat(self.token, 0.0)));
    }

    /// A cell of one channel.
    #[inline(always)]
    pub fn cell(&mut self, cell: usize, channel: usize) -> &mut u32 {
        &mut self.cells[cell * L::N + channel]
    }

    /// A cell of one channel, as a number.
    #[inline(always)]
    pub fn number(&self, cell: usize, channel: usize) -> f32 {
        f32::from_bits(self.cells[cell * L::N + channel])
    }

    /// Sets a cell of one channel.
    #[inline(always)]
    pub fn set_number(&mut self, cell: usize, channel: usize, value: f32) {
        *self.cell(cell, channel) = value.to_bits();
    }
}

/// The outputs of a module.
pub struct Outs<'a, L: Lanes> {
    pub(super) buffers: &'a mut [Buffer],
    /// The first sample of this group in the blocks, and the number of samples.
    pub(super) first: usize,
    pub(super) len: usize,
    pub(super) wanted: u32,
    pub(super) still: u32,
    pub(super) lanes: PhantomData<L>,
}

impl<L: Lanes> Outs<'_, L> {
    /// Whether an output has a listener.
    #[inline(always)]
    pub fn wants(&self, output: usize) -> bool {
        self.wanted & 1 << output != 0
    }

    /// The number of outputs.
    #[inline(always)]
    pub fn count(&self) -> usize {
        self.buffers.len()
    }

    /// The block of an output: [`Lanes::N`] samples per frame (one for a splitting module).
    #[inline(always)]
    pub fn samples(&mut self, output: usize) -> &mut [f32] {
        &mut self.buffers[output].samples[self.first..][..self.len]
    }

    /// The blocks of the first two outputs.
    #[inline(always)]
    pub fn two(&mut self) -> (&mut [f32], &mut [f32]) {
        let (first, second) = self.buffers.split_at_mut(1);
        let range = self.first..self.first + self.len;
        (
            &mut first[0].samples[range.clone()],
            &mut second[0].samples[range],
        )
    }

    /// The blocks of the first `COUNT` outputs; empty beyond the outputs that exist.
    #[inline(always)]
    pub fn all<const COUNT: usize>(&mut self) -> [&mut [f32]; COUNT] {
        let range = self.first..self.first + self.len;
        let mut buffers = self.buffers.iter_mut();
        std::array::from_fn(|_| match buffers.next() {
            Some(buffer) => &mut buffer.samples[range.clone()],
            None => &mut [],
        })
    }

    /// Writes the frames of an output.
    #[inline(always)]
    pub fn write(&mut self, output: usize, mut frame: impl FnMut(usize) -> L) {
        for (number, to) in self.samples(output).chunks_exact_mut(L::N).enumerate() {
            frame(number).store(to);
        }
    }

    /// Fills an output with one value and marks it as still.
    #[inline(always)]
    pub fn hold(&mut self, output: usize, value: L) {
        self.write(output, |_| value);
        self.still |= 1 << output;
    }
}
