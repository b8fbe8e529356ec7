//! `filter`: a second-order filter of seven kinds.
//!
//! A state variable filter: its response is that of the well-known cookbook filters, but it keeps
//! its precision at 10 Hz and stays calm while it is swept. Its coefficients glide, not its
//! parameters: so a change of cutoff, q, mode or gain is smooth to the frame, and all the costly
//! functions run once per change.
//!
//! # Source
//! Andrew Simper, Solving the continuous SVF equations using trapezoidal integration and equivalent
//! currents, Cytomic, 2013; responses as in Robert Bristow-Johnson, Cookbook formulae for audio EQ
//! biquad filter coefficients.

use bytemuck::{Pod, Zeroable};

use super::{choice, linear, log};
use crate::{
    catalog::ModuleType,
    module::{Context, Module},
    smooth::Smooth,
};

const MODES: &[&str] = &[
    "lowpass",
    "highpass",
    "bandpass",
    "notch",
    "peak",
    "lowshelf",
    "highshelf",
];
/// Below this a state is nothing to hear (-400 dB), and soon a denormal, which is slow.
const NOTHING: f64 = 1e-20;

/// What the response follows from: the frequency, the damping, and what of the input, the band and
/// the low output is heard.
type Coefficients = [f32; 5];

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Filter {
    /// State of the two integrators.
    z: [f64; 2],
    coefficients: [Smooth; 5],
    cutoff_hz: f32,
    q: f32,
    mode: f32,
    gain_db: f32,
    /// Not 0: the coefficients are not on their way to the parameters yet.
    stale: u32,
    unused: u32,
}

impl Filter {
    fn design(&self, context: Context) -> Coefficients {
        let turns = self.cutoff_hz.min(context.rate_hz * 0.49) / context.rate_hz;
        let g = libm::tan(std::f64::consts::PI * f64::from(turns));
        let k = 1.0 / f64::from(self.q);
        // The square root of the gain at the peak or on the shelf.
        let a = libm::exp(f64::from(self.gain_db) * std::f64::consts::LN_10 / 40.0);
        let coefficients = match self.mode as u32 {
            0 => [g, k, 0.0, 0.0, 1.0],
            1 => [g, k, 1.0, -k, -1.0],
            2 => [g, k, 0.0, k, 0.0],
            3 => [g, k, 1.0, -k, 0.0],
            4 => [g, k / a, 1.0, k / a * (a * a - 1.0), 0.0],
            5 => [g / a.sqrt(), k, 1.0, k * (a - 1.0), a * a - 1.0],
            _ => [g * a.sqrt(), k, a * a, k * (1.0 - a) * a, 1.0 - a * a],
        };
        coefficients.map(|value| value as f32)
    }

    /// The frames of a block, with coefficients from `next` for each.
    #[inline]
    fn run(&mut self, input: &[f32], output: &mut [f32], mut next: impl FnMut() -> Solved) {
        let [mut z1, mut z2] = self.z;
        for (out, x) in output.iter_mut().zip(input) {
            let Solved { a1, a2, a3, mix } = next();
            let x = f64::from(*x);
            let v3 = x - z2;
            let band = a1 * z1 + a2 * v3;
            let low = z2 + a2 * z1 + a3 * v3;
            z1 = 2.0 * band - z1;
            z2 = 2.0 * low - z2;
            *out = (mix[0] * x + mix[1] * band + mix[2] * low) as f32;
        }
        // One bad sample from outside is heard once, not for ever.
        let calm = |z: f64| {
            if z.is_finite() && z.abs() > NOTHING {
                z
            } else {
                0.0
            }
        };
        self.z = [calm(z1), calm(z2)];
    }
}

/// The equations of one frame, solved.
#[derive(Clone, Copy)]
struct Solved {
    a1: f64,
    a2: f64,
    a3: f64,
    mix: [f64; 3],
}

impl Solved {
    #[inline]
    fn of(coefficients: Coefficients) -> Self {
        let [g, k, dry, band, low] = coefficients.map(f64::from);
        let a1 = 1.0 / (1.0 + g * (g + k));
        Self {
            a1,
            a2: g * a1,
            a3: g * g * a1,
            mix: [dry, band, low],
        }
    }
}

impl Module for Filter {
    const TYPE: ModuleType = ModuleType {
        name: "filter",
        help: "second-order filter",
        inputs: &["in"],
        outputs: &["out"],
        params: &[
            log(
                "cutoff",
                "Hz",
                [10.0, 8_000.0, 20_000.0],
                "corner or centre frequency",
            ),
            log("q", "", [0.1, 0.707, 40.0], "resonance, or narrowness"),
            choice("mode", MODES, "what it lets through"),
            linear("gain", "dB", [-24.0, 0.0, 24.0], "of the peak or the shelf"),
        ],
        takes_gate: false,
    };

    fn new(context: Context, params: &[f32]) -> Self {
        let mut filter = Self {
            cutoff_hz: params[0],
            q: params[1],
            mode: params[2],
            gain_db: params[3],
            ..Self::zeroed()
        };
        filter.coefficients = filter.design(context).map(Smooth::at);
        filter
    }

    fn set(&mut self, _context: Context, param: u16, value: f32) {
        match param {
            0 => self.cutoff_hz = value,
            1 => self.q = value,
            2 => self.mode = value,
            _ => self.gain_db = value,
        }
        self.stale = 1;
    }

    fn render(&mut self, context: Context, inputs: &[f32], outputs: &mut [f32]) {
        if self.stale != 0 {
            self.stale = 0;
            let targets = self.design(context);
            for (coefficient, target) in self.coefficients.iter_mut().zip(targets) {
                coefficient.glide(target, context.rate_hz);
            }
        }
        let mut coefficients = self.coefficients;
        if coefficients
            .iter()
            .all(|coefficient| coefficient.at_rest().is_some())
        {
            let solved = Solved::of(coefficients.map(|mut coefficient| coefficient.next()));
            self.run(inputs, outputs, || solved);
        } else {
            self.run(inputs, outputs, || {
                Solved::of(coefficients.each_mut().map(Smooth::next))
            });
            self.coefficients = coefficients;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context = Context { rate_hz: 48_000.0 };

    /// The gain for a sine of that frequency, from the filter's own impulse response.
    fn measured(params: &[f32], hz: f64) -> f64 {
        let mut filter = Filter::new(CONTEXT, params);
        let mut input = vec![0.0; 192_000];
        input[0] = 1.0;
        let mut output = vec![0.0; input.len()];
        filter.render(CONTEXT, &input, &mut output);
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in output.iter().enumerate() {
            let angle = hz / 48_000.0 * std::f64::consts::TAU * n as f64;
            re += f64::from(*sample) * libm::cos(angle);
            im += f64::from(*sample) * libm::sin(angle);
        }
        (re * re + im * im).sqrt()
    }

    /// The gain by the cookbook's coefficients, as they are printed there.
    fn cookbook(params: &[f32], hz: f64) -> f64 {
        let [f0, q, mode, db] = [0, 1, 2, 3].map(|n| f64::from(params[n]));
        let w0 = std::f64::consts::TAU * f0 / 48_000.0;
        let (cos, alpha) = (libm::cos(w0), libm::sin(w0) / (2.0 * q));
        let a = libm::pow(10.0, db / 40.0);
        let r = 2.0 * a.sqrt() * alpha;
        let (p, m) = (a + 1.0, a - 1.0);
        let (b, d) = match mode as u32 {
            0 => (
                [(1.0 - cos) / 2.0, 1.0 - cos, (1.0 - cos) / 2.0],
                [1.0 + alpha, -2.0 * cos, 1.0 - alpha],
            ),
            1 => (
                [(1.0 + cos) / 2.0, -(1.0 + cos), (1.0 + cos) / 2.0],
                [1.0 + alpha, -2.0 * cos, 1.0 - alpha],
            ),
            2 => ([alpha, 0.0, -alpha], [1.0 + alpha, -2.0 * cos, 1.0 - alpha]),
            3 => (
                [1.0, -2.0 * cos, 1.0],
                [1.0 + alpha, -2.0 * cos, 1.0 - alpha],
            ),
            4 => (
                [1.0 + alpha * a, -2.0 * cos, 1.0 - alpha * a],
                [1.0 + alpha / a, -2.0 * cos, 1.0 - alpha / a],
            ),
            5 => (
                [
                    a * (p - m * cos + r),
                    2.0 * a * (m - p * cos),
                    a * (p - m * cos - r),
                ],
                [p + m * cos + r, -2.0 * (m + p * cos), p + m * cos - r],
            ),
            _ => (
                [
                    a * (p + m * cos + r),
                    -2.0 * a * (m + p * cos),
                    a * (p + m * cos - r),
                ],
                [p - m * cos + r, 2.0 * (m - p * cos), p - m * cos - r],
            ),
        };
        let w = std::f64::consts::TAU * hz / 48_000.0;
        let size = |c: [f64; 3]| {
            let re = c[0] + c[1] * libm::cos(w) + c[2] * libm::cos(2.0 * w);
            let im = c[1] * libm::sin(w) + c[2] * libm::sin(2.0 * w);
            (re * re + im * im).sqrt()
        };
        size(b) / size(d)
    }

    #[test]
    fn its_response_is_the_cookbooks() {
        for (mode, name) in MODES.iter().enumerate() {
            for (cutoff, q, db) in [
                (1_000.0, 2.0, 12.0),
                (50.0, 0.707, -6.0),
                (15_000.0, 8.0, 3.0),
            ] {
                let params = [cutoff, q, mode as f32, db];
                for hz in [
                    20.0, 50.0, 200.0, 1_000.0, 1_100.0, 5_000.0, 15_000.0, 20_000.0,
                ] {
                    let (found, expected) = (measured(&params, hz), cookbook(&params, hz));
                    let at = format!("{name} {params:?} at {hz} Hz: {found}, {expected}");
                    assert!((found - expected).abs() < 1e-4 * expected.max(1.0), "{at}");
                }
            }
        }
    }

    #[test]
    fn no_jump_of_a_parameter_clicks() {
        let mut filter = Filter::new(CONTEXT, &[1_000.0, 0.707, 0.0, 0.0]);
        let mut heard = Vec::new();
        let mut n = 0_u32;
        let jumps = [
            (0, 20_000.0),
            (2, 1.0),
            (2, 0.0),
            (0, 100.0),
            (1, 5.0),
            (2, 4.0),
            (3, 24.0),
            (3, -24.0),
        ];
        for (param, value) in jumps {
            for _ in 0..8 {
                let input = [(); 128].map(|()| {
                    n += 1;
                    crate::math::sine(n.wrapping_mul(8_947_849))
                });
                let mut output = [0.0; 128];
                filter.render(CONTEXT, &input, &mut output);
                heard.extend(output);
            }
            filter.set(CONTEXT, param, value);
        }
        // The input, 100 Hz, moves by 0.0131 of its level a frame, a glide by 0.003 of the span.
        let step = heard
            .windows(2)
            .map(|w| (w[1] - w[0]).abs())
            .fold(0.0, f32::max);
        let level = heard
            .iter()
            .fold(0.0, |max: f32, sample| max.max(sample.abs()));
        assert!(level > 5.0 && step < 0.02 * level, "{step} of {level}");
    }

    #[test]
    fn it_falls_silent_and_forgets_a_bad_sample() {
        let mut filter = Filter::new(CONTEXT, &[1_000.0, 1.0, 0.0, 0.0]);
        let mut output = [0.0; 128];
        filter.render(CONTEXT, &[f32::NAN; 128], &mut output);
        assert!(output[0].is_nan());
        filter.render(CONTEXT, &[1.0; 128], &mut output);
        assert!(output.iter().all(|sample| sample.is_finite()));
        let mut input = [0.0; 128];
        input[127] = f32::INFINITY;
        filter.render(CONTEXT, &input, &mut output);
        filter.render(CONTEXT, &[1.0; 128], &mut output);
        assert!(output.iter().all(|sample| sample.is_finite()));
        for _ in 0..100 {
            filter.render(CONTEXT, &[0.0; 128], &mut output);
        }
        assert!(output == [0.0; 128] && filter.z == [0.0; 2]);
    }
}
