//! Several cables into one input: their sum, spread over the channels of the input.
//!
//! A single channel goes to all channels. A channel that a cable does not have is silent. If a module
//! takes only one channel, all channels are summed. The order of the sums is the processing order,
//! which follows from the patch.

use fearless_simd::{Level, Simd, f32x8};

use crate::{
    lanes::{Lanes, with_lanes},
    module::{Buffer, lanes_for},
    plan::{Push, SUM_LANES},
    stretch::Stretch,
};

/// Adds a block to a gathered block.
///
/// # Real-time
/// Yes; in proportion to the samples.
pub fn push(level: Level, push: &Push, from: &Buffer, into: &mut Buffer, stretch: Stretch) {
    with_lanes!(
        level,
        simd => add(push, from, into, stretch, true, #[inline(always)] |to, from| {
            add_all(simd, to, from);
        }),
        else add(push, from, into, stretch, false, add_each)
    );
}

/// Adds silence to a gathered block.
///
/// # Real-time
/// Yes.
pub fn nothing(push: &Push, into: &mut Buffer, wide: bool, stretch: Stretch) {
    if push.first {
        let (n, groups) = lanes_of(push, wide);
        for group in 0..groups {
            into.samples[stretch.samples(n, group)].fill(0.0);
        }
        into.still = stretch.is_whole();
    }
}

/// How many channels of a gathered block lie side by side, and how many such groups it has.
#[inline(always)]
const fn lanes_of(push: &Push, wide: bool) -> (usize, usize) {
    match push.sum_lanes {
        Some(lanes) => (lanes, 1),
        None => lanes_for(push.channels, wide),
    }
}

/// Adds a block. `all` adds samples to as many others.
#[inline(always)]
fn add(
    push: &Push,
    from: &Buffer,
    into: &mut Buffer,
    stretch: Stretch,
    wide: bool,
    all: impl Fn(&mut [f32], &[f32]),
) {
    let (m, from_groups) = lanes_for(push.from_channels, wide);
    let (n, groups) = lanes_of(push, wide);
    if push.first {
        into.still = from.still;
        let summed = push.sum_lanes.is_some();
        let alike = n == m && (summed || push.from_channels == push.channels);
        if alike && from_groups == 1 && push.from_channels == m {
            // The block is the first and has the same shape: a copy.
            let samples = stretch.samples(n, 0);
            into.samples[samples.clone()].copy_from_slice(&from.samples[samples]);
            return;
        }
        // A block that is as wide as the sum overwrites what is there.
        if !(summed && m == SUM_LANES) {
            for group in 0..groups {
                into.samples[stretch.samples(n, group)].fill(0.0);
            }
        }
    }
    into.still &= from.still;
    if push.sum_lanes == Some(1) {
        add_each(
            &mut into.samples[stretch.mono()],
            &from.samples[stretch.mono()],
        );
    } else if push.sum_lanes.is_some() {
        let to = &mut into.samples[stretch.samples(n, 0)];
        for group in 0..from_groups {
            let block = &from.samples[stretch.samples(m, group)];
            let lane = group * m % SUM_LANES;
            // Lanes beyond the channels hold arbitrary values.
            let there = (push.from_channels - group * m).min(m);
            match (m, there) {
                (SUM_LANES, _) if push.first && group == 0 => {
                    side_by_side::<SUM_LANES, true>(to, lane, block, there);
                }
                (SUM_LANES, SUM_LANES) => all(to, block),
                (SUM_LANES, _) => side_by_side::<SUM_LANES, false>(to, lane, block, there),
                (8, _) => side_by_side::<8, false>(to, lane, block, there),
                _ => side_by_side::<1, false>(to, lane, block, there),
            }
        }
    } else if push.from_channels == 1 {
        let from = &from.samples[stretch.mono()];
        for group in 0..groups {
            let to = &mut into.samples[stretch.samples(n, group)];
            for (frame, sample) in to.chunks_exact_mut(n).zip(from) {
                for to in frame {
                    *to += sample;
                }
            }
        }
    } else if n == m && push.from_channels >= push.channels {
        // Lanes beyond the channels hold arbitrary values, which are not used.
        for group in 0..groups {
            let samples = stretch.samples(n, group);
            all(&mut into.samples[samples.clone()], &from.samples[samples]);
        }
    } else {
        for channel in 0..push.from_channels.min(push.channels) {
            let to = &mut into.samples[stretch.samples(n, channel / n)];
            let from = &from.samples[stretch.samples(m, channel / m)];
            for (to, from) in to.chunks_exact_mut(n).zip(from.chunks_exact(m)) {
                to[channel % n] += from[channel % m];
            }
        }
    }
}

/// Adds samples to as many others; their number is a multiple of eight.
#[inline(always)]
fn add_all<S: Simd>(simd: S, to: &mut [f32], from: &[f32]) {
    for (to, from) in to.chunks_exact_mut(8).zip(from.chunks_exact(8)) {
        (f32x8::load(simd, to) + f32x8::load(simd, from)).store(to);
    }
}

#[inline(always)]
fn add_each(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

/// Adds the first `there` of `M` samples of each frame to the frames of a sum of [`SUM_LANES`], from
/// `lane` on. If `FIRST`, the sum begins with them.
#[inline(always)]
fn side_by_side<const M: usize, const FIRST: bool>(
    to: &mut [f32],
    lane: usize,
    from: &[f32],
    there: usize,
) {
    // All `M` at once; the mask adds 0 beyond `there`.
    let mask: [u32; M] = std::array::from_fn(|number| if number < there { !0 } else { 0 });
    let frames = to.as_chunks_mut::<SUM_LANES>().0.iter_mut();
    for (to, from) in frames.zip(from.as_chunks::<M>().0) {
        let Some(to) = to[lane..].first_chunk_mut::<M>() else {
            return;
        };
        let before = if FIRST { [0.0; M] } else { *to };
        *to = std::array::from_fn(|n| before[n] + f32::from_bits(from[n].to_bits() & mask[n]));
    }
}

/// Sums the lanes of a sum to one channel.
///
/// # Real-time
/// Yes.
pub fn across(level: Level, into: &mut Buffer, stretch: Stretch) {
    with_lanes!(level, _simd => sum_across(into, stretch), else sum_across(into, stretch));
}

#[inline(always)]
fn sum_across(into: &mut Buffer, stretch: Stretch) {
    for frame in stretch.mono() {
        let sum = &into.samples[frame * SUM_LANES..][..SUM_LANES];
        let half: [f32; 8] = std::array::from_fn(|i| sum[i] + sum[i + 8]);
        let quarter: [f32; 4] = std::array::from_fn(|i| half[i] + half[i + 4]);
        into.samples[frame] = (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
    }
}
