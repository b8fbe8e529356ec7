//! The state variable filter: the solved equations of a frame, for all modules that use the filter.
//!
//! The responses are those of the cookbook biquads, but with full precision at 10 Hz and without artefacts during
//! sweeps.
//!
//! # Source
//! Andrew Simper, Solving the continuous SVF equations using trapezoidal integration and equivalent
//! currents, Cytomic, 2013; responses as in Robert Bristow-Johnson, Cookbook formulae for audio EQ
//! biquad filter coefficients.

use crate::{lanes::Lanes, math, module::Io};

/// The coefficients: the frequency, the damping, and the levels of the input, the band output and the low output.
pub type Coefficients<L> = [L; 5];

/// The coefficients of a kind: low-pass, high-pass, band-pass, notch, peak, low shelf, high shelf.
#[inline(always)]
pub fn design<L: Lanes>(
    io: &Io<'_, L>,
    mode: u32,
    [cutoff, q, gain_db]: [L; 3],
) -> Coefficients<L> {
    let (zero, one) = (io.splat(0.0), io.splat(1.0));
    let rate = io.context.rate_hz;
    let radians = cutoff.min(io.splat(rate * 0.49)) * io.splat(std::f32::consts::PI / rate);
    let g = math::tan(io, radians);
    let k = one / q;
    // The square root of the gain at the peak or on the shelf.
    let a = math::amplitude(io, gain_db * io.splat(0.5));
    let a2 = a * a;
    match mode {
        0 => [g, k, zero, zero, one],
        1 => [g, k, one, -k, -one],
        2 => [g, k, zero, k, zero],
        3 => [g, k, one, -k, zero],
        4 => [g, k / a, one, k / a * (a2 - one), zero],
        5 => [g / a.sqrt(), k, one, k * (a - one), a2 - one],
        _ => [g * a.sqrt(), k, a2, k * (one - a) * a, one - a2],
    }
}

/// The solved equations of one frame: the weights of the integrators' states and of the input in the new states, and
/// the levels of the input and of both integrators in the output.
#[derive(Clone, Copy)]
pub struct Solved<L> {
    keep: L,
    across: L,
    add: L,
    pub heard: [L; 3],
}

impl<L: Lanes> Solved<L> {
    #[inline(always)]
    pub fn of(io: &Io<'_, L>, [g, k, dry, band, low]: Coefficients<L>) -> Self {
        let (one, half) = (io.splat(1.0), io.splat(0.5));
        let a1 = one / (one + g * (g + k));
        let a2 = g * a1;
        Self {
            keep: a1 + a1 - one,
            across: a2 + a2,
            add: g * (a2 + a2),
            heard: [dry, band * half, low * half],
        }
    }

    /// Advances the integrators by one frame. Returns twice the band output and the low output.
    #[inline(always)]
    pub fn next(&self, z: &mut [L; 2], x: L) -> [L; 2] {
        let missing = x - z[1];
        let band = self.keep * z[0] + self.across * missing;
        let low = (z[1] + self.across * z[0]) + self.add * missing;
        let sums = [z[0] + band, z[1] + low];
        *z = [band, low];
        sums
    }
}
