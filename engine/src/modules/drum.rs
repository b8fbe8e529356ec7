//! The common parts of all drum voices: strike, decay, noise and filter.
//!
//! A drum is struck in the exact frame in which its gate opens, at the height of the gate; the length of the gate does
//! not matter. The rest of the previous stroke fades out within a few milliseconds, so that a stroke does not begin
//! with a click.

use super::noise;
use crate::{
    catalog::Param,
    lanes::{Bits, Lanes, Mask},
    math,
    module::{Edge, Edges, Io, State},
    params::Signal,
};

/// The input of every drum.
pub const INPUTS: &[&str] = &["gate"];
/// A parameter of every drum.
pub const GAIN: Param = super::linear("gain", "", [0.0, 0.8, 1.0], "level at a gate of 1");

/// The cells of every drum: the gate in the previous frame, the height of the stroke, the last output, the rest that
/// fades out, the noise.
pub const CELLS: usize = 5;
const GATE: usize = 0;
const HEIGHT: usize = 1;
const LAST: usize = 2;
const LEFT: usize = 3;
const WHITE: usize = 4;

/// Sets the shared cells at the start.
pub fn start(channel: usize, cells: &mut [u32]) {
    cells[WHITE] = noise::start(0, channel);
}

/// A drum during a block.
pub struct Drum<L: Lanes> {
    gate: Edges<L>,
    height: L,
    last: L,
    left: L,
    let_go: L,
    white: L::Bits,
}

impl<L: Lanes> Drum<L> {
    /// Loads the drum from its cells.
    #[inline(always)]
    pub fn of(io: &Io<'_, L>, state: &State<'_, L>) -> Self {
        let white = state.bits(WHITE);
        let one = io.splat_bits(1);
        Self {
            gate: io.edges(state.get(GATE)),
            height: state.get(HEIGHT),
            last: state.get(LAST),
            left: state.get(LEFT),
            let_go: fall(io, io.splat(10.0)),
            white: L::Bits::select(white.lt(one), one, white),
        }
    }

    /// Advances to a frame; returns the channels in which the drum is struck.
    #[inline(always)]
    pub fn struck(&mut self, io: &Io<'_, L>, frame: usize) -> L::Mask {
        let Edge { gate, opens, .. } = self.gate.next(frame, io.at(0, frame));
        if opens.any() {
            self.height = L::select(opens, gate.min(io.splat(1.0)), self.height);
            self.left = L::select(opens, self.last, self.left);
        }
        opens
    }

    /// The output of a frame for the drum's sound at full height. The tone must not break off at a new stroke; the
    /// noise may.
    #[inline(always)]
    pub fn heard(&mut self, tone: L, noise: L) -> L {
        self.left = self.left * self.let_go;
        self.last = tone * self.height + self.left;
        self.last + noise * self.height
    }

    /// White noise.
    #[inline(always)]
    pub fn white(&mut self, io: &Io<'_, L>) -> L {
        self.white = noise::next(self.white);
        noise::white(io, self.white)
    }

    /// Stores the drum in its cells.
    #[inline(always)]
    pub fn keep(self, state: &mut State<'_, L>) {
        state.set(GATE, self.gate.before);
        state.set_flushed(HEIGHT, self.height);
        state.set_flushed(LAST, self.last);
        state.set_flushed(LEFT, self.left);
        state.set_bits(WHITE, self.white);
    }
}

/// The factor per frame of a decay by 60 dB in `ms` milliseconds.
#[inline(always)]
pub fn fall<L: Lanes>(io: &Io<'_, L>, ms: L) -> L {
    // 60 dB are 9.97 halvings.
    let frames = ms * io.splat(io.context.rate_hz / 1_000.0);
    math::exp2(io, io.splat(-9.965_784) / frames)
}

/// A decay whose time is a parameter; computed once if the parameter is at rest.
#[derive(Clone, Copy)]
pub struct Fall<'a, L: Lanes> {
    ms: Signal<'a, L>,
    still: Option<L>,
}

impl<'a, L: Lanes> Fall<'a, L> {
    /// The decay in the time of a parameter.
    #[inline(always)]
    pub fn of(io: &Io<'a, L>, param: usize) -> Self {
        let ms = io.param(param);
        let still = match ms.still() {
            Some(ms) => Some(fall(io, ms)),
            None => None,
        };
        Self { ms, still }
    }

    /// The factor of a frame.
    #[inline(always)]
    pub fn at(&self, io: &Io<'_, L>, frame: usize) -> L {
        match self.still {
            Some(keep) => keep,
            None => fall(io, self.ms.at(frame)),
        }
    }
}

/// A second-order filter, as in [`super::filter`].
#[derive(Clone, Copy)]
pub struct Svf<L> {
    k: L,
    a: [L; 3],
}

impl<L: Lanes> Svf<L> {
    /// The filter for a frequency in Hz and a resonance.
    #[inline(always)]
    pub fn of(io: &Io<'_, L>, hz: L, q: L) -> Self {
        let one = io.splat(1.0);
        let rate = io.context.rate_hz;
        let g = math::tan(
            io,
            hz.min(io.splat(rate * 0.49)) * io.splat(std::f32::consts::PI / rate),
        );
        let k = one / q;
        let a1 = one / (one + g * (g + k));
        let a2 = g * a1;
        Self {
            k,
            a: [a1, a2, g * a2],
        }
    }

    /// One frame: high-pass, band-pass (at most as loud as the input) and low-pass.
    #[inline(always)]
    pub fn next(&self, z: &mut [L; 2], x: L) -> [L; 3] {
        let [a1, a2, a3] = self.a;
        let missing = x - z[1];
        let band = a1 * z[0] + a2 * missing;
        let low = z[1] + a2 * z[0] + a3 * missing;
        *z = [band + band - z[0], low + low - z[1]];
        [x - self.k * band - low, self.k * band, low]
    }
}

/// For tests: what holds for every drum.
#[cfg(test)]
pub mod tests {
    use crate::{bench::Bench, module::Module};

    /// One stroke by an event, at full level.
    pub fn stroke<M: Module>(values: &[(&str, f32)], height: f32, frames: usize) -> Vec<f32> {
        let mut drum = Bench::of::<M>(&[values, &[("gain", 1.0)]].concat());
        drum.gate(height);
        drum.run(frames, &[]).remove(0)
    }

    /// The largest level in a part.
    pub fn peak(part: &[f32]) -> f32 {
        part.iter().fold(0.0, |most, x| most.max(x.abs()))
    }

    /// The level in a part: the root of the mean square.
    pub fn rms(part: &[f32]) -> f64 {
        let sum: f64 = part.iter().map(|x| f64::from(x * x)).sum();
        (sum / part.len() as f64).sqrt()
    }

    /// Struck to the frame by a cable or an event, in proportion to the gate, each channel for itself,
    /// the same each time, silent before and after.
    pub fn assert_drum<M: Module>() {
        let whole = stroke::<M>(&[], 1.0, 480_000);
        assert!(peak(&whole[..2_400]) > 0.2 && peak(&whole) < 1.5);
        assert!(peak(&whole[470_000..]) < 1e-9);
        let half = stroke::<M>(&[], 0.5, 480_000);
        let pairs = whole.iter().zip(&half);
        assert!(pairs.clone().all(|(w, h)| (w * 0.5 - h).abs() < 1e-6));
        for channels in [1, 3, 20] {
            let mut drum = Bench::poly::<M>(&[], channels);
            let gate = |channel: usize| {
                let open = 70 + 7 * channel..200 + channel;
                let height = |n| if open.contains(&n) { 0.7 } else { 0.0 };
                (0..3_000).map(height).collect()
            };
            let gates: Vec<Vec<f32>> = (0..channels).map(gate).collect();
            let heard = drum.run_poly(3_000, &[("gate", gates)]);
            for (channel, heard) in heard.iter().enumerate() {
                let begin = 70 + 7 * channel;
                assert_eq!(peak(&heard[..begin]), 0.0);
                // A sine that begins is 0 in its first frame.
                assert!(peak(&heard[begin..begin + 2]) > 0.0);
            }
        }
        // Struck again while it sounds, by one long gate and an event.
        let mut drum = Bench::of::<M>(&[]);
        drum.gate(1.0);
        let first = drum.run(640, &[]).remove(0);
        drum.gate(1.0);
        let second = drum.run(640, &[]).remove(0);
        let loud = |part: &[f32]| rms(&part[..480]);
        assert!(loud(&second) > 0.7 * loud(&first));
    }
}
