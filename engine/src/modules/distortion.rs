//! `distortion`: saturates, clips, folds or crushes.
//!
//! It runs at four times the rate, so that its harmonics are filtered out instead of folding back. Even at
//! that rate a 5 kHz square has partials that would fold back at -30 dB. So the curve is not evaluated at the
//! samples but integrated over the straight lines between them: exactly for the clippers, while folding bends
//! each line as often as the drive needs ([`bent`]). The worst alias of a 5 kHz sine at any drive is below
//! -60 dB of full scale. The latency is 34 frames, also for the dry sound, so that mixing both makes no comb
//! filter. A change of the mode is a short cross-fade.
//!
//! # Source
//! Julian Parker, Vadim Zavalishin, Efflam Le Bivic, Reducing the aliasing of nonlinear waveshaping using
//! continuous-time convolution, 2016. Half-band filters in two phases: P. P. Vaidyanathan, Multirate Systems
//! and Filter Banks, 1993, 4.6; all filters are Kaiser-windowed sincs. Folding: the
//! sine of the level.

use super::{choice, linear, log};
use crate::{
    catalog::ModuleType,
    lanes::{Bits, Lanes, inlined},
    math,
    module::{Io, Module, Outs, State},
    smooth::{GLIDE_MS, glide_frames},
};

pub struct Distortion;

/// Half of a half-band filter's taps between its samples, from the middle outwards: up to twice the rate (β = 8),
/// from there to four times (β = 9), and back to twice (β = 6). The images of the first are 85 dB down:
/// at full drive their remains are distorted with the rest.
const UP_TAPS: [f32; 14] = [
    0.633_610_8,
    -0.203_270_2,
    0.112_909_175,
    -0.071_736_16,
    0.047_595_46,
    -0.031_772_908,
    0.020_901_183,
    -0.013_347_302,
    0.008_162_091,
    -0.004_707_181,
    0.002_508_364_9,
    -0.001_195_785_8,
    0.000_479_230_16,
    -0.000_136_744_51,
];
/// See [`UP_TAPS`].
const TOP_TAPS: [f32; 6] = [
    0.618_077_64,
    -0.162_126_23,
    0.058_996_72,
    -0.018_690_377,
    0.004_165_949_3,
    -0.000_423_694_47,
];
/// See [`UP_TAPS`].
const DOWN_TAPS: [f32; 4] = [0.609_689_35, -0.142_501_25, 0.038_923_95, -0.006_112_049];
/// The last filter, from twice the rate: the middle tap and those beside it. 20 kHz pass, 25 kHz do not
/// (β = 4.5): a half-band filter would fold the fifth partial of 5 kHz back to 23 kHz.
const LAST_TAPS: [f32; 31] = [
    0.458_799_12,
    0.315_256_83,
    0.040_895_335,
    -0.096_319_236,
    -0.038_532_577,
    0.048_004_773,
    0.034_844_913,
    -0.025_020_313,
    -0.030_172_294,
    0.011_429_686,
    0.024_925_733,
    -0.002_925_619,
    -0.019_535_154,
    -0.002_226_584_8,
    0.014_397_997,
    0.004_982_531,
    -0.009_836_14,
    -0.006_018_469,
    0.006_067_038_5,
    0.005_885_314,
    -0.003_192_153_5,
    -0.005_048_442,
    0.001_202_717_1,
    0.003_888_473_1,
    0.0,
    -0.002_693_082_4,
    -0.000_574_865_03,
    0.001_653_019_2,
    0.000_707_497_65,
    -0.000_867_319_2,
    -0.000_579_171_2,
];
/// The latency in frames.
const LATE: usize = 34;
/// The state of the filters: at the rate, the input; at twice the rate, the upsampled signal; at four times the rate,
/// the last samples, the incomplete results, and the even and odd complete results; at twice the rate, the
/// downsampled signal.
const PAST: usize = LATE + 1;
const UP: usize = 2 * UP_TAPS.len();
const TOP: usize = 2 * TOP_TAPS.len();
const LINE: usize = 3;
const OPEN: usize = 3;
const DOWN: usize = DOWN_TAPS.len();
const LAST: usize = 2 * LAST_TAPS.len() - 1;

// Cells: the state above, the tone filter, the crusher's held sample and the time until its next one, the mode, the
// previous mode, and the remaining frames of the cross-fade.
const CAME: usize = 0;
const TOPPED: usize = CAME + PAST;
const LINED: usize = TOPPED + TOP;
const OPENED: usize = LINED + LINE;
const SHAPED: usize = OPENED + OPEN;
const BETWEEN: usize = SHAPED + DOWN;
const HALVED: usize = BETWEEN + 2 * DOWN;
const TONE: usize = HALVED + LAST;
const HELD: usize = TONE + 1;
const PHASE: usize = HELD + 1;
const MODE: usize = PHASE + 1;
const OLD_MODE: usize = MODE + 1;
const LEFT: usize = OLD_MODE + 1;

/// The input that modulates the drive: the first after the type's own inputs.
const DRIVE_INPUT: usize = 1;

const SOFT: u32 = 0;
const HARD: u32 = 1;
const FOLD: u32 = 2;
const CRUSH: u32 = 3;

/// The last samples, the newest at the end. Each sample is written twice, so that they are contiguous for any start
/// of the ring.
struct Past<L, const LEN: usize, const TWICE: usize> {
    ring: [L; TWICE],
    at: usize,
}

impl<L: Lanes, const LEN: usize, const TWICE: usize> Past<L, LEN, TWICE> {
    #[inline(always)]
    fn load(state: &State<'_, L>, cell: usize) -> Self {
        let mut ring = [state.get(cell); TWICE];
        for (number, sample) in ring.iter_mut().enumerate() {
            *sample = state.get(cell + number % LEN);
        }
        Self { ring, at: 0 }
    }

    #[inline(always)]
    fn store(&self, state: &mut State<'_, L>, cell: usize) {
        for number in 0..LEN {
            state.set_flushed(cell + number, self.ring[self.at % LEN + number]);
        }
    }

    #[inline(always)]
    fn push(&mut self, x: L) {
        let at = self.at % LEN;
        self.ring[at] = x;
        self.ring[at + LEN] = x;
        self.at = (at + 1) % LEN;
    }

    /// All samples, the oldest first.
    #[inline(always)]
    fn all(&self) -> &[L] {
        &self.ring[self.at % LEN..][..LEN]
    }
}

/// A half-band filter over twice as many samples as it has taps: the value in their middle.
#[inline(always)]
fn middle<L: Lanes>(io: &Io<'_, L>, past: &[L], taps: &[f32]) -> L {
    let mut sum = io.splat(0.0);
    for (number, tap) in taps.iter().enumerate() {
        let pair = past[taps.len() - 1 - number] + past[taps.len() + number];
        sum = sum + pair * io.splat(*tap);
    }
    sum
}

/// The last filter over all its samples.
#[inline(always)]
fn last<L: Lanes>(io: &Io<'_, L>, past: &[L]) -> L {
    let centre = LAST_TAPS.len() - 1;
    let mut sum = past[centre] * io.splat(LAST_TAPS[0]);
    for (number, tap) in LAST_TAPS.iter().enumerate().skip(1) {
        sum = sum + (past[centre - number] + past[centre + number]) * io.splat(*tap);
    }
    sum
}

/// The contributions of a piece of a line to four samples: before its begin, at its begin, at its end, and after.
type Parts<L> = [L; 4];

/// Points and weights by which the integral of a polynomial of the third and of the fifth power is exact (Gauss).
const CUBIC: [(f32, f32); 2] = [(0.211_324_87, 0.5), (0.788_675_1, 0.5)];
/// See [`CUBIC`].
const QUINTIC: [(f32, f32); 3] = [
    (0.112_701_67, 0.277_777_8),
    (0.5, 0.444_444_45),
    (0.887_298_35, 0.277_777_8),
];

/// A curve that is a polynomial up to `most` either side, and flat beyond, over the line from one level to
/// another, under a triangle two samples wide.
#[inline(always)]
fn clipped<L: Lanes>(
    io: &Io<'_, L>,
    (from, to): (L, L),
    most: f32,
    points: &[(f32, f32)],
    curve: impl Fn(L) -> L,
) -> Parts<L> {
    let (zero, half, one, most) = (io.splat(0.0), io.splat(0.5), io.splat(1.0), io.splat(most));
    let inside = inlined(
        #[inline(always)]
        |x: L| x.min(most).max(-most),
    );
    let (begin, end) = (inside(from), inside(to));
    // The positions on the line, from 0 to 1, of entering and leaving the curve's range; any position for a flat line.
    let slope = to - from;
    let is_flat = slope.abs().lt(io.splat(1e-6));
    let each = one / L::select(is_flat, one, slope);
    let within = inlined(
        #[inline(always)]
        |x: L| x.min(one).max(zero),
    );
    let enters = L::select(is_flat, zero, within((begin - from) * each));
    let leaves = L::select(is_flat, one, within(one - (to - end) * each)).max(enters);
    let (first, last) = (curve(begin), curve(end));
    // The integrals of the curve, and of the curve times the way.
    let mut all = first * enters + last * (one - leaves);
    let mut later = (first * enters * enters + last * (one - leaves * leaves)) * half;
    for (point, weight) in points {
        let level = curve(begin + (end - begin) * io.splat(*point));
        let part = level * io.splat(*weight) * (leaves - enters);
        all = all + part;
        later = later + part * (enters + (leaves - enters) * io.splat(*point));
    }
    [zero, all - later, later, zero]
}

/// The limit of straight pieces of a line for folding: they follow a 5 kHz sine to some thousandths of a radian.
const PIECES_MAX: usize = 16;

/// The weights of the cubic B-spline (four samples wide) at the middle of each piece, divided by the number of pieces.
const fn weights<const PIECES: usize>() -> [[f32; 4]; PIECES] {
    let mut all = [[0.0; 4]; PIECES];
    let mut piece = 0;
    while piece < PIECES {
        let s = (piece as f64 + 0.5) / PIECES as f64;
        let r = 1.0 - s;
        let by = 1.0 / (6.0 * PIECES as f64);
        all[piece] = [
            (r * r * r * by) as f32,
            ((4.0 - 6.0 * s * s + 3.0 * s * s * s) * by) as f32,
            ((4.0 - 6.0 * r * r + 3.0 * r * r * r) * by) as f32,
            (s * s * s * by) as f32,
        ];
        piece += 1;
    }
    all
}

const WEIGHTS_2: [[f32; 4]; 2] = weights();
const WEIGHTS_4: [[f32; 4]; 4] = weights();
const WEIGHTS_8: [[f32; 4]; 8] = weights();
const WEIGHTS_16: [[f32; 4]; PIECES_MAX] = weights();

/// The pieces for a drive in dB.
fn pieces_for(drive_db: f32) -> &'static [[f32; 4]] {
    match drive_db {
        ..=12.0 => &WEIGHTS_2,
        ..=24.0 => &WEIGHTS_4,
        ..=36.0 => &WEIGHTS_8,
        _ => &WEIGHTS_16,
    }
}

/// The sine of the level over the cubic through four samples, between the two in the middle, in straight pieces.
#[inline(always)]
fn folded<L: Lanes>(io: &Io<'_, L>, line: [L; 4], pieces: &[[f32; 4]]) -> Parts<L> {
    let [before, from, to, after] = line;
    let (half, third, sixth) = (io.splat(0.5), io.splat(1.0 / 3.0), io.splat(1.0 / 6.0));
    let first = to - before * third - from * half - after * sixth;
    let second = (before + to) * half - from;
    let cube = (after - before) * sixth + (from - to) * half;
    let mut parts = [io.splat(0.0); 4];
    let mut begin = from;
    for (number, weights) in pieces.iter().enumerate() {
        let way = io.splat((number + 1) as f32 / pieces.len() as f32);
        let end = from + way * (first + way * (second + way * cube));
        // In cycles, reduced to the middle cycle.
        let cycles = (begin + end) * io.splat(0.25 * std::f32::consts::FRAC_1_PI);
        let part = cycles - (cycles + half).floor();
        let sine = math::sine(io, (part * io.splat(16_777_216.0)).truncate().up(8));
        // The mean of the sine over the piece: its value in the middle times sin(w) / w with half the piece w; 0 for
        // a piece of half a cycle or more.
        let way = (end - begin) * half;
        let x = (way * way).min(io.splat(std::f32::consts::PI * std::f32::consts::PI));
        let mean = io.splat(1.0 / 362_880.0) - x * io.splat(1.0 / 39_916_800.0);
        let mean = io.splat(1.0 / 5_040.0) - x * mean;
        let mean = io.splat(1.0 / 120.0) - x * mean;
        let mean = io.splat(1.0) - x * (sixth - x * mean);
        let level = sine * mean;
        for (part, weight) in parts.iter_mut().zip(weights) {
            *part = *part + level * io.splat(*weight);
        }
        begin = end;
    }
    parts
}

/// Applies a mode to the line between the two samples in the middle, of four samples at four times the rate.
#[inline(always)]
fn bent<L: Lanes>(io: &Io<'_, L>, mode: u32, line: [L; 4], pieces: &[[f32; 4]]) -> Parts<L> {
    let ends = (line[1], line[2]);
    match mode {
        SOFT => clipped(
            io,
            ends,
            1.875,
            &QUINTIC,
            #[inline(always)]
            |x| math::soft_clip(io, x),
        ),
        HARD => clipped(
            io,
            ends,
            1.0,
            &CUBIC,
            #[inline(always)]
            |x| x,
        ),
        FOLD => folded(io, line, pieces),
        _ => {
            let zero = io.splat(0.0);
            [zero, line[1], zero, zero]
        }
    }
}

impl Module for Distortion {
    const TYPE: ModuleType = ModuleType {
        name: "distortion",
        help: "saturates, clips, folds or crushes",
        inputs: &["in"],
        outputs: &["out"],
        params: &[
            linear(
                "drive",
                "dB",
                [0.0, 12.0, 48.0],
                "gain before the distortion",
            ),
            choice(
                "mode",
                &["soft", "hard", "fold", "bitcrush"],
                "kind of distortion",
            ),
            log(
                "tone",
                "Hz",
                [200.0, 20_000.0, 20_000.0],
                "corner of the low-pass after the distortion",
            ),
            linear(
                "mix",
                "",
                [0.0, 1.0, 1.0],
                "from dry (0) to distorted only (1)",
            ),
            linear(
                "bits",
                "",
                [1.0, 8.0, 16.0],
                "bits of the crusher's samples",
            ),
            log(
                "rate",
                "Hz",
                [100.0, 12_000.0, 192_000.0],
                "sample rate of the crusher",
            ),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = LEFT + 1;

    fn start(_: usize, params: &[f32], cells: &mut [u32]) {
        cells[MODE] = params[1] as u32;
        cells[OLD_MODE] = params[1] as u32;
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let whole_glide = glide_frames(io.context.rate_hz);
        let wished = io.param(1).first().lane(0) as u32;
        let mut left = (*state.cell(LEFT, 0)).min(whole_glide);
        let mut mode = *state.cell(MODE, 0);
        let mut old = *state.cell(OLD_MODE, 0);
        if left == 0 {
            old = mode;
            if mode != wished {
                (mode, left) = (wished, whole_glide);
            }
        }
        pass(io, state, outs, [old, mode], left);
        left = left.saturating_sub(io.frames as u32);
        state.set_bits(LEFT, io.splat_bits(left));
        state.set_bits(MODE, io.splat_bits(mode));
        state.set_bits(OLD_MODE, io.splat_bits(old));
    }
}

/// Renders a block, from one mode to the other while `left` frames are left of the cross-fade.
#[inline(always)]
fn pass<L: Lanes>(
    io: &Io<'_, L>,
    state: &mut State<'_, L>,
    outs: &mut Outs<'_, L>,
    [old, mode]: [u32; 2],
    left: u32,
) {
    let (zero, half, one) = (io.splat(0.0), io.splat(0.5), io.splat(1.0));
    let each_glide = 1.0 / (io.context.rate_hz * GLIDE_MS / 1000.0).max(1.0);
    let (drive, tone, mix) = (io.param(0), io.param(2), io.param(3));
    let (bits, rate) = (io.param(4), io.param(5));
    // The same pieces for all channels, even with different drives.
    let pieces = match io.plugged(DRIVE_INPUT) {
        true => pieces_for(f32::INFINITY),
        false => pieces_for(drive.first().lane(0)),
    };
    let mut came = Past::<L, PAST, { 2 * PAST }>::load(state, CAME);
    let mut topped = Past::<L, TOP, { 2 * TOP }>::load(state, TOPPED);
    let mut shaped = Past::<L, DOWN, { 2 * DOWN }>::load(state, SHAPED);
    let mut between = Past::<L, { 2 * DOWN }, { 4 * DOWN }>::load(state, BETWEEN);
    let mut halved = Past::<L, LAST, { 2 * LAST }>::load(state, HALVED);
    let mut line: [L; LINE] = std::array::from_fn(|cell| state.get(LINED + cell));
    let mut open: [L; OPEN] = std::array::from_fn(|cell| state.get(OPENED + cell));
    let mut low = state.get(TONE);
    let (mut held, mut cycle) = (state.get(HELD), state.get(PHASE));
    let (gain_moves, go_moves) = (drive.still().is_none(), tone.still().is_none());
    let mut gain = math::amplitude(io, drive.first());
    let mut go = math::one_pole(io, tone.first());
    for (frame, (x, out)) in io
        .input(0)
        .chunks_exact(L::N)
        .zip(outs.samples(0).chunks_exact_mut(L::N))
        .enumerate()
    {
        if gain_moves {
            gain = math::amplitude(io, drive.at(frame));
        }
        if go_moves {
            go = math::one_pole(io, tone.at(frame));
        }
        let rest = io.splat((left as f32 - frame as f32).max(0.0) * each_glide);
        came.push(L::load(io.token, x));
        let past = came.all();
        let dry = past[0];
        let past = &past[PAST - UP..];
        let twice = [past[UP / 2 - 1], middle(io, past, &UP_TAPS)];
        for sample in twice {
            topped.push(sample);
            let past = topped.all();
            let four_times = [past[TOP / 2 - 1], middle(io, past, &TOP_TAPS)];
            for (number, sample) in four_times.into_iter().enumerate() {
                let [before, from, to] = line;
                let points = [before, from, to, sample * gain];
                line = [from, to, points[3]];
                let mut parts = bent(io, mode, points, pieces);
                if old != mode {
                    let leaving = bent(io, old, points, pieces);
                    for (part, old) in parts.iter_mut().zip(leaving) {
                        *part = *part + (old - *part) * rest;
                    }
                }
                let done = open[0] + parts[0];
                open = [open[1] + parts[1], open[2] + parts[2], parts[3]];
                if number == 1 {
                    shaped.push(done);
                } else {
                    between.push(done);
                    let there = middle(io, between.all(), &DOWN_TAPS);
                    halved.push((shaped.all()[0] + there) * half);
                }
            }
        }
        let mut wet = last(io, halved.all());
        if old == CRUSH || mode == CRUSH {
            cycle = cycle + rate.at(frame) * io.splat(1.0 / io.context.rate_hz);
            let due = one.le(cycle);
            cycle = L::select(due, (cycle - cycle.floor()).max(zero), cycle);
            let steps = math::exp2(io, bits.at(frame) - one);
            let clipped = wet.min(one).max(-one);
            let coarse = (clipped * steps + half).floor() / steps;
            held = L::select(due, coarse, held);
            wet = match (old == CRUSH, mode == CRUSH) {
                (true, true) => held,
                (true, false) => wet + (held - wet) * rest,
                _ => held + (wet - held) * rest,
            };
        }
        let step = (wet - low) * go;
        let toned = low + step;
        low = toned + step;
        (dry + (toned - dry) * mix.at(frame)).store(out);
    }
    came.store(state, CAME);
    topped.store(state, TOPPED);
    shaped.store(state, SHAPED);
    between.store(state, BETWEEN);
    halved.store(state, HALVED);
    for (cell, sample) in line.into_iter().enumerate() {
        state.set_flushed(LINED + cell, sample);
    }
    for (cell, sample) in open.into_iter().enumerate() {
        state.set_flushed(OPENED + cell, sample);
    }
    state.set_flushed(TONE, low);
    state.set_flushed(HELD, held);
    state.set_flushed(PHASE, cycle);
}

#[cfg(test)]
mod tests;
