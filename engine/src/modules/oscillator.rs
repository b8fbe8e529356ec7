//! An oscillator: all but the shape of its wave.
//!
//! Its phase is a whole number, so that it never drifts, however long it runs; the frequency is right
//! to half a step of 2^-32 of the rate. Each type of oscillator is one of these and a wave, a function
//! of the phase.

use super::{linear, log};
use crate::{
    catalog::Param,
    lanes::Lanes,
    math,
    module::{Io, Outs, State},
};

/// The inputs of every oscillator.
pub const INPUTS: &[&str] = &["fm", "sync"];
/// The first parameters of every oscillator.
pub const FREQ: Param = log("freq", "Hz", [0.01, 440.0, 20_000.0], "frequency");
/// See [`FREQ`].
pub const GAIN: Param = linear("gain", "", [0.0, 0.5, 1.0], "level");
/// See [`FREQ`].
pub const INDEX: Param = linear(
    "index",
    "",
    [0.0, 1.0, 20.0],
    "how far a signal of 1 at the input \"fm\" moves the frequency, in frequencies, through zero",
);

/// Cells of state.
pub const CELLS: usize = 2;
const PHASE: usize = 0;
/// What was at `sync` in the frame before.
const SYNC: usize = 1;

/// Renders a wave: its level at a phase, given the step to the next one, both in units of 2^-32 of a
/// turn, and the frame's number. The parameters 0, 1 and 2 are [`FREQ`], [`GAIN`] and [`INDEX`].
///
/// A signal that rises through 0 at `sync` begins the turn anew.
#[inline(always)]
pub fn render<L: Lanes>(
    io: &Io<'_, L>,
    state: &mut State<'_, L>,
    outs: &mut Outs<'_, L>,
    wave: impl Fn(L::Bits, L::Bits, usize) -> L,
) {
    let (freq, gain) = (io.param(0), io.param(1));
    let mut phase = state.bits(PHASE);
    let plain = !io.plugged(0) && !io.plugged(1);
    if let (true, Some(hz), Some(gain)) = (plain, freq.still(), gain.still()) {
        let step = math::step(io, hz);
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                let level = wave(phase, step, frame) * gain;
                phase = phase + step;
                level
            },
        );
    } else {
        let index = io.param(2);
        let (zero, one) = (io.splat(0.0), io.splat(1.0));
        let begin = io.splat_bits(0);
        let mut before = state.get(SYNC);
        outs.write(
            0,
            #[inline(always)]
            |frame| {
                let hz = freq.at(frame) * (one + index.at(frame) * io.at(0, frame));
                let step = math::step(io, hz);
                let sync = io.at(1, frame);
                let rises = before.le(zero) & zero.lt(sync);
                before = sync;
                phase = <L::Bits as crate::lanes::Bits>::select(rises, begin, phase);
                let level = wave(phase, step, frame) * gain.at(frame);
                phase = phase + step;
                level
            },
        );
        state.set(SYNC, before);
    }
    state.set_bits(PHASE, phase);
}

/// What rounds the edge of a wave that falls by 2 at the end of its turn, in units of which `turn` and
/// `step` are: 0 further than a step away from it.
///
/// # Source
/// Välimäki, Pekonen, Nam: Perceptually informed synthesis of bandlimited classical waveforms using
/// integrated polynomial interpolation, 2012 (the two-point polynomial, "`PolyBLEP`").
#[inline(always)]
pub fn edge<L: Lanes>(io: &Io<'_, L>, turn: L, step: L) -> L {
    let (zero, one) = (io.splat(0.0), io.splat(1.0));
    let step = step.abs().max(io.splat(1e-9));
    let each = one / step;
    let after = (one - turn * each).max(zero);
    let before = (one - (one - turn) * each).max(zero);
    after * after - before * before
}
