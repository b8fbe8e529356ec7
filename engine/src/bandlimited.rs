//! Band-limited interpolation of a recording, at any speed: no images, no aliases.
//!
//! A frame of the result is a sum of frames of the recording, weighted by a windowed sinc. Up to the
//! recording's own speed, the cutoff is half the recording's rate. Above it, the cutoff falls as the speed
//! rises, so nothing aliases. Tables hold the weights for positions between two frames; positions between two
//! rows are interpolated linearly. Higher octaves use the same tables for every second, fourth or eighth
//! frame. The cost is bounded: the fastest speeds have fewer weights than they need, which costs treble but
//! causes no aliases. `sampler` and `granular` read recordings this way. The tables are constants, computed
//! when the first such module is built; they are not part of the state.
//!
//! # Source
//! Julius O. Smith, Digital Audio Resampling Home Page, "Windowed Sinc Interpolation"; James F. Kaiser,
//! Nonrecursive digital filter design using the I0-sinh window function, 1974.

use std::{f64::consts::PI, sync::LazyLock};

/// One frame, in a position with 32 fractional bits.
pub const ONE: i64 = 1 << 32;
/// The most weights in a sum.
const TAPS_MAX: usize = 256;
/// Distance in frames from a position to the farthest frame in a grain's sum.
pub const GRAIN_REACH: usize = 64 + 8;
/// Tables in an octave: one for each semitone.
const STEPS: usize = 12;
/// Octaves above the recording's own speed; beyond them, the cutoff falls no further.
const OCTAVES: usize = 4;
/// The stop band's attenuation in dB: how far images and aliases are below the sound.
const STOP_DB: f64 = 92.0;
/// How many partial sums run side by side.
const SIDE_BY_SIDE: usize = 8;

/// How many weights a sum may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// One voice: up to 256 weights.
    Voice,
    /// One grain of many: up to 128.
    Grain,
}

/// Rows of weights, for as many positions between two frames.
struct Table {
    taps: usize,
    /// How many low bits of a position's fraction lie between two rows.
    between: u32,
    rows: Vec<f32>,
}

/// The weights for a speed.
#[derive(Clone, Copy)]
pub struct Kernel {
    table: &'static Table,
    /// How many octaves the speed is above the table's. Frames are weighted in classes modulo 2 to this
    /// power.
    octave: u32,
    /// Whether the result at a whole position is that frame itself, without a sum.
    exact: bool,
}

/// How frames outside the bounds are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    Silence,
    /// From the other end of the loop.
    Around,
    /// From the loop backwards. Its first and last frames are not repeated.
    Mirrored,
}

/// The frames that a sum may read, and what it reads beyond them.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Frames from `low` to below `high` are read directly.
    pub low: i64,
    pub high: i64,
    pub below: Beyond,
    pub above: Beyond,
    /// The loop: its first frame, and its length, at least 1.
    pub from: i64,
    pub len: i64,
}

impl Bounds {
    /// All frames of a recording; silence beyond.
    #[inline(always)]
    pub const fn all(frames: usize) -> Self {
        Self {
            low: 0,
            high: frames as i64,
            below: Beyond::Silence,
            above: Beyond::Silence,
            from: 0,
            len: 1,
        }
    }

    /// All frames of a ring.
    #[inline(always)]
    pub const fn ring(frames: usize) -> Self {
        Self {
            low: 0,
            high: frames as i64,
            below: Beyond::Around,
            above: Beyond::Around,
            from: 0,
            len: frames as i64,
        }
    }

    /// The frame to read at that position; negative for silence.
    #[inline(always)]
    fn frame(&self, frame: i64) -> i64 {
        let beyond = if frame < self.low {
            self.below
        } else if frame >= self.high {
            self.above
        } else {
            return frame;
        };
        let into = frame.wrapping_sub(self.from);
        match beyond {
            Beyond::Silence => -1,
            Beyond::Around => self.from + into.rem_euclid(self.len),
            Beyond::Mirrored => {
                let cycle = (2 * self.len - 2).max(1);
                let into = into.rem_euclid(cycle);
                self.from + into.min(cycle - into).min(self.len - 1)
            }
        }
    }

    #[inline(always)]
    fn sample(&self, side: &[f32], frame: i64) -> f32 {
        let frame = usize::try_from(self.frame(frame)).ok();
        frame.and_then(|at| side.get(at)).copied().unwrap_or(0.0)
    }
}

struct Tables {
    /// For speeds up to the recording's own, by quality.
    slow: [Table; 2],
    /// With 64, 32, 16 and 8 weights for each frame of the result: a table for each semitone.
    fast: [Vec<Table>; 4],
    /// The highest speed within an octave that each table serves.
    speeds: [u64; STEPS],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let window = Window::new();
    let speed = |step: usize| libm::exp2((step + 1) as f64 / STEPS as f64);
    let fast = [64, 32, 16, 8].map(|taps| {
        let table = |step| Table::below(speed(step), taps, &window);
        (0..STEPS).map(table).collect()
    });
    Tables {
        slow: [64, 32].map(|taps| Table::new(taps, 8, 0.5, &window)),
        fast,
        speeds: std::array::from_fn(|step| libm::floor(speed(step) * ONE as f64) as u64),
    }
});

/// Computes the tables in advance, so that the render thread need not.
pub fn prepare() {
    LazyLock::force(&TABLES);
}

/// Half a Kaiser window.
struct Window(Vec<f64>);

impl Window {
    const PARTS: usize = 8_192;

    fn new() -> Self {
        let beta = 0.1102 * (STOP_DB - 8.7);
        let bessel = |x: f64| {
            let (mut sum, mut term) = (1.0, 1.0);
            for n in 1..60 {
                term *= (x / 2.0 / f64::from(n)) * (x / 2.0 / f64::from(n));
                sum += term;
            }
            sum
        };
        let at = |n: usize| {
            let x = n as f64 / Self::PARTS as f64;
            bessel(beta * (1.0 - x * x).max(0.0).sqrt()) / bessel(beta)
        };
        Self((0..=Self::PARTS).map(at).collect())
    }

    /// The window's value from its middle (0) to its end (1); 0 beyond.
    fn at(&self, x: f64) -> f64 {
        let place = x.abs() * Self::PARTS as f64;
        let part = place as usize;
        match self.0.get(part..part + 2) {
            Some(pair) => pair[0] + (pair[1] - pair[0]) * (place - part as f64),
            None => 0.0,
        }
    }
}

impl Table {
    /// The weights for a speed: frequencies that would lie above half the rate at that speed do not pass.
    fn below(speed: f64, taps_each: usize, window: &Window) -> Self {
        let taps = ((taps_each as f64 * speed).ceil() as usize).next_multiple_of(SIDE_BY_SIDE);
        let slope = (STOP_DB - 8.0) / (2.285 * 2.0 * PI * taps as f64);
        Self::new(taps, 7, 0.5 / speed - slope / 2.0, window)
    }

    /// The weights for that cutoff, as a fraction of the rate.
    fn new(taps: usize, phases_log2: u32, cutoff: f64, window: &Window) -> Self {
        let phases = 1 << phases_log2;
        let half = (taps / 2) as f64;
        let mut rows = Vec::with_capacity((phases + 1) * taps);
        for phase in 0..=phases {
            let part = phase as f64 / f64::from(1 << phases_log2);
            let row: Vec<f64> = (0..taps)
                .map(|tap| {
                    let x = tap as f64 - (half - 1.0) - part;
                    let cycle = 2.0 * cutoff * x;
                    let sinc = match cycle {
                        0.0 => 1.0,
                        // Exactly 0, so that a position on a frame yields that frame.
                        _ if cycle.fract() == 0.0 => 0.0,
                        _ => libm::sin(PI * cycle) / (PI * cycle),
                    };
                    sinc * window.at(x / half)
                })
                .collect();
            // A constant signal keeps its level.
            let sum: f64 = row.iter().sum();
            rows.extend(row.iter().map(|weight| (weight / sum) as f32));
        }
        Self {
            taps,
            between: 32 - phases_log2,
            rows,
        }
    }

    /// The rows around a fraction of a frame, and the position between them.
    #[inline(always)]
    fn around(&self, fraction: u32) -> (&[f32], &[f32], f32) {
        let row = (fraction >> self.between) as usize;
        let part = (fraction << (32 - self.between)) >> 8;
        let (a, b) = self.rows[row * self.taps..][..2 * self.taps].split_at(self.taps);
        (a, b, part as f32 * (1.0 / 16_777_216.0))
    }
}

impl Kernel {
    /// The weights for that speed, in frames with 32 fractional bits.
    ///
    /// # Real-time
    /// Yes, once [`prepare`] has been called.
    #[inline(always)]
    pub fn at(quality: Quality, speed: u64) -> Self {
        let tables = &*TABLES;
        let voice = quality == Quality::Voice;
        if speed <= ONE as u64 {
            return Self {
                table: &tables.slow[usize::from(!voice)],
                octave: 0,
                exact: true,
            };
        }
        let octave = (63 - (speed - 1).leading_zeros() as usize - 32).min(OCTAVES - 1);
        let within = speed >> octave;
        let step = tables.speeds.iter().filter(|most| **most < within).count();
        // Fewer weights per frame in higher octaves, so that the bound holds.
        let fewer = if voice { [0, 0, 1, 2] } else { [1, 1, 2, 3] }[octave];
        Self {
            table: &tables.fast[fewer][step.min(STEPS - 1)],
            octave: octave as u32,
            exact: false,
        }
    }

    /// The interpolated value at a position, for each side.
    ///
    /// # Real-time
    /// Yes; up to 256 weights.
    #[inline(always)]
    pub fn read<const SIDES: usize>(
        &self,
        sides: [&[f32]; SIDES],
        place: i64,
        bounds: &Bounds,
    ) -> [f32; SIDES] {
        if self.exact && place as u32 == 0 {
            return sides.map(|side| bounds.sample(side, place >> 32));
        }
        let taps = self.table.taps;
        let mut sums = [[0.0; SIDE_BY_SIDE]; SIDES];
        for class in 0..1_i64 << self.octave {
            let at = (place - class * ONE) >> self.octave;
            let first = (at >> 32) - (taps as i64 / 2 - 1);
            let (a, b, part) = self.table.around(at as u32);
            let begin = (first << self.octave) + class;
            let end = begin + ((taps as i64 - 1) << self.octave);
            let whole = begin >= bounds.low && end < bounds.high;
            if self.octave == 0 && whole {
                let direct = sides.map(|side| side.get(begin as usize..=end as usize));
                if let Some(frames) = all(direct) {
                    weigh(a, b, part, frames, &mut sums);
                    continue;
                }
            }
            let mut found = [[0.0; TAPS_MAX]; SIDES];
            for tap in 0..taps.min(TAPS_MAX) {
                let frame = begin + ((tap as i64) << self.octave);
                let frame = if whole { frame } else { bounds.frame(frame) };
                for (found, side) in found.iter_mut().zip(sides) {
                    let at = usize::try_from(frame).ok();
                    found[tap] = at.and_then(|at| side.get(at)).copied().unwrap_or(0.0);
                }
            }
            let mut frames: [&[f32]; SIDES] = [&[]; SIDES];
            for (frames, found) in frames.iter_mut().zip(&found) {
                *frames = &found[..taps.min(TAPS_MAX)];
            }
            weigh(a, b, part, frames, &mut sums);
        }
        let each = 1.0 / (1_u32 << self.octave) as f32;
        sums.map(|[a, b, c, d, e, f, g, h]| (((a + e) + (c + g)) + ((b + f) + (d + h))) * each)
    }
}

#[inline(always)]
fn all<const SIDES: usize>(parts: [Option<&[f32]>; SIDES]) -> Option<[&[f32]; SIDES]> {
    let mut found: [&[f32]; SIDES] = [&[]; SIDES];
    for (found, part) in found.iter_mut().zip(parts) {
        *found = part?;
    }
    Some(found)
}

/// Adds weighted frames to the sums, with weights between two rows, always in the same order.
#[inline(always)]
fn weigh<const SIDES: usize>(
    a: &[f32],
    b: &[f32],
    part: f32,
    frames: [&[f32]; SIDES],
    sums: &mut [[f32; SIDE_BY_SIDE]; SIDES],
) {
    let (a, b) = (
        a.as_chunks::<SIDE_BY_SIDE>().0,
        b.as_chunks::<SIDE_BY_SIDE>().0,
    );
    let frames = frames.map(|frames| frames.as_chunks::<SIDE_BY_SIDE>().0);
    let mut kept = *sums;
    for (number, (a, b)) in a.iter().zip(b).enumerate() {
        let mut weights = [0.0; SIDE_BY_SIDE];
        for n in 0..SIDE_BY_SIDE {
            weights[n] = a[n] + (b[n] - a[n]) * part;
        }
        for (sum, frames) in kept.iter_mut().zip(frames) {
            let frames = &frames[number];
            for n in 0..SIDE_BY_SIDE {
                sum[n] += weights[n] * frames[n];
            }
        }
    }
    *sums = kept;
}
