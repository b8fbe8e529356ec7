//! Parameters as signals: a value that glides when it is set, and an input that modulates it.
//!
//! Every parameter of every type has an input of the same name and a second parameter, its *amount*: by
//! how much a signal of 1 changes the value, in octaves for a logarithmic scale, else in the parameter's
//! unit. The result is limited to the parameter's range. A parameter at rest costs a load; a moving one
//! costs a pass over the block.

use crate::{
    catalog::{Param, Scale},
    lanes::{LANES_MAX, Lanes, inlined},
    math,
    module::{Frames, Io, Plug},
    smooth::Smooth,
};

/// The most own parameters of a type: their glides are numbered by the bits of a word.
pub const PARAMS_MAX: usize = 32;

/// Scratch memory for the moving parameters of one call: a ramp for each glide, and a signal for each
/// parameter.
pub const fn scratch_len(frames: usize) -> usize {
    (2 + LANES_MAX) * PARAMS_MAX * frames
}

/// A parameter during a stretch.
#[derive(Clone, Copy)]
pub enum Signal<'a, L: Lanes> {
    /// The same value in every frame.
    Still(L),
    /// One value per frame.
    Moving(Frames<'a, L>),
}

impl<L: Lanes> Signal<'_, L> {
    /// The value at a frame.
    #[inline(always)]
    pub fn at(&self, frame: usize) -> L {
        match *self {
            Self::Still(value) => value,
            Self::Moving(frames) => frames.at(frame),
        }
    }

    /// The value, if it does not move.
    #[inline(always)]
    pub fn still(&self) -> Option<L> {
        match *self {
            Self::Still(value) => Some(value),
            Self::Moving(_) => None,
        }
    }

    /// The value at the first frame.
    #[inline(always)]
    pub fn first(&self) -> L {
        self.at(0)
    }
}

/// The description of a parameter's amount.
pub fn amount_of(param: &Param) -> Param {
    let (unit, span, default) = match param.scale {
        Scale::Log => ("octaves", 10.0, 1.0),
        Scale::Linear => {
            let (span, most) = (param.max - param.min, param.min.abs().max(param.max.abs()));
            (param.unit, span, most.min(span))
        }
        Scale::Stepped => ("", param.max - param.min, 1.0),
    };
    Param {
        name: Box::leak(format!("{}_amount", param.name).into_boxed_str()),
        unit,
        min: -span,
        max: span,
        default,
        scale: Scale::Linear,
        choices: &[],
        help: Box::leak(
            format!("change by a signal of 1 at the input \"{}\"", param.name).into_boxed_str(),
        ),
    }
}

/// A bit for each parameter whose input has a cable.
#[inline(always)]
pub fn modulated(plugs: &[Plug]) -> u32 {
    let bit = |(number, plug): (usize, &Plug)| u32::from(*plug != Plug::Nothing) << number;
    plugs
        .iter()
        .enumerate()
        .map(bit)
        .fold(0, |all, bit| all | bit)
}

/// Advances the glides in progress and writes a ramp for each. Returns which glides have moved, and
/// which are still in progress.
pub fn ramp(glides: &mut [Smooth], moving: u64, ramps: &mut [f32], frames: usize) -> (u64, u64) {
    let (mut moved, mut still_moving) = (0, 0);
    for ((number, glide), ramp) in glides.iter_mut().enumerate().zip(ramps.chunks_mut(frames)) {
        if moving & 1 << number != 0 {
            ramp.iter_mut().for_each(|value| *value = glide.next());
            moved |= 1 << number;
            still_moving |= u64::from(glide.at_rest().is_none()) << number;
        }
    }
    (moved, still_moving)
}

/// Computes the parameters that move or are modulated, each into its part of `signals`. Returns a bit
/// for each of them; the upper half marks those that are still.
#[inline(always)]
pub fn signals<L: Lanes>(
    io: &Io<'_, L>,
    params: &[Param],
    moved: u64,
    modulated: u32,
    ramps: &[f32],
    signals: &mut [f32],
) -> u64 {
    let (count, frames) = (params.len(), io.frames);
    let first_plug = io.first_plug(count);
    let mut found = 0;
    for (number, param) in params.iter().enumerate() {
        let (base_moves, amount_moves) = (moved >> number & 1, moved >> (number + count) & 1);
        let plugged = modulated >> number & 1 != 0;
        if base_moves == 0 && !plugged {
            continue;
        }
        found |= 1 << number;
        let signal = &mut signals[number * frames * L::N..][..frames * L::N];
        let base = inlined(
            #[inline(always)]
            |frame: usize| match base_moves {
                0 => io.glide(number),
                _ => ramps[number * frames + frame],
            },
        );
        let amount = inlined(
            #[inline(always)]
            |frame: usize| match amount_moves {
                0 => io.glide(number + count),
                _ => ramps[(number + count) * frames + frame],
            },
        );
        if !plugged {
            for (frame, to) in signal.chunks_exact_mut(L::N).enumerate() {
                io.splat(base(frame)).store(to);
            }
            continue;
        }
        let (modulation, still) = io.modulation(first_plug + number);
        let still = still && base_moves == 0 && amount_moves == 0;
        found |= u64::from(still) << (number + 32);
        let (least, most) = (io.splat(param.min), io.splat(param.max));
        let frames_needed = if still { 1 } else { frames };
        let both = signal
            .chunks_exact_mut(L::N)
            .zip(modulation.chunks_exact(L::N));
        for (frame, (to, by)) in both.take(frames_needed).enumerate() {
            let (base, amount) = (io.splat(base(frame)), io.splat(amount(frame)));
            let by = match param.scale {
                // A stepped parameter has one value for all channels: that of the first.
                Scale::Stepped => io.splat(io.first_channel_of(first_plug + number, frame)),
                Scale::Linear | Scale::Log => L::load(io.token, by),
            };
            let by = by * amount;
            let value = match param.scale {
                Scale::Linear => base + by,
                Scale::Log => base * math::exp2(io, by),
                Scale::Stepped => (base + by + io.splat(0.5)).floor(),
            };
            // The lower bound first: it replaces NaN.
            value.max(least).min(most).store(to);
        }
    }
    found
}
