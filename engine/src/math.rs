//! Functions whose results have the same bits on every machine and in every build, over [`Lanes`].

use crate::{
    lanes::{Bits, Lanes},
    module::Io,
};

/// Steps of a phase in one cycle.
pub const CYCLE: f32 = 4_294_967_296.0;

/// The frequency of a note, in hertz: equal temperament, 440 Hz for note 69.
pub fn note_hz(pitch: f32) -> f32 {
    440.0 * libm::exp2f((pitch - 69.0) / 12.0)
}

/// The sine of a phase, of which `u32::MAX + 1` is a whole cycle; accurate to 2e-7.
///
/// # Source
/// The odd polynomial of the 9th power with the least maximal error over a quarter cycle on either side
/// (5e-9), found by weighted least squares, with the first factor held at 1.
#[inline(always)]
pub fn sine<L: Lanes>(io: &Io<'_, L>, phase: L::Bits) -> L {
    const RADIANS: f32 = std::f32::consts::PI / 2_147_483_648.0;
    // Folded to a quarter cycle on either side while the phase is still an integer, which loses nothing.
    let quarter = io.splat_bits(1 << 30);
    let folded = quarter - (phase - quarter).abs();
    let x = L::of_signed(folded) * io.splat(RADIANS);
    let y = x * x;
    let series = io.splat(2.600_054_6e-6);
    let series = series * y - io.splat(1.980_661_5e-4);
    let series = series * y + io.splat(8.333_017e-3);
    let series = series * y - io.splat(0.166_666_57);
    x + x * y * series
}

/// The phase step per frame for a frequency, which may be negative; limited to half the rate.
#[inline(always)]
pub fn step<L: Lanes>(io: &Io<'_, L>, hz: L) -> L::Bits {
    let most = io.splat(0.499 * CYCLE);
    let step = hz * io.splat(CYCLE / io.context.rate_hz);
    (step.min(most).max(-most) + io.splat(0.5))
        .floor()
        .truncate()
}

/// A phase as a fraction of a cycle, from 0 to below 1.
#[inline(always)]
pub fn cycles<L: Lanes>(io: &Io<'_, L>, phase: L::Bits) -> L {
    L::of_signed(phase.down(8)) * io.splat(1.0 / 16_777_216.0)
}

/// Two to the power of `x`, for -126 to 127; relative accuracy 2e-7, exact for integers.
///
/// # Source
/// The Taylor series of 2^x to the 7th power over half an octave on either side of an integer.
#[inline(always)]
pub fn exp2<L: Lanes>(io: &Io<'_, L>, x: L) -> L {
    let x = x.max(io.splat(-126.0)).min(io.splat(127.0));
    let whole = (x + io.splat(0.5)).floor();
    let y = (x - whole) * io.splat(std::f32::consts::LN_2);
    let series = io.splat(1.0 / 5_040.0);
    let series = series * y + io.splat(1.0 / 720.0);
    let series = series * y + io.splat(1.0 / 120.0);
    let series = series * y + io.splat(1.0 / 24.0);
    let series = series * y + io.splat(1.0 / 6.0);
    let series = series * y + io.splat(0.5);
    let series = series * y + io.splat(1.0);
    let series = series * y + io.splat(1.0);
    // The integer part goes into the exponent.
    let scale = (whole.truncate() + io.splat_bits(127)).up(23);
    series * L::from_bits(scale)
}

/// The tangent of `x` in radians, from 0 to below a quarter cycle (π/2); relative accuracy 1e-6 up to
/// 1.55.
///
/// # Source
/// Sine divided by cosine, each by its Taylor series over an eighth of a cycle; above that, the
/// reciprocal of the complement's tangent.
#[inline(always)]
pub fn tan<L: Lanes>(io: &Io<'_, L>, x: L) -> L {
    let one = io.splat(1.0);
    let far = io.splat(std::f32::consts::FRAC_PI_4).lt(x);
    // The complement to a quarter cycle, less the rounding error of the constant, which matters close to
    // π/2.
    let complement = (io.splat(std::f32::consts::FRAC_PI_2) - x) - io.splat(4.371_139e-8);
    let x = L::select(far, complement, x);
    let y = x * x;
    let sine = io.splat(1.0 / 362_880.0);
    let sine = sine * y - io.splat(1.0 / 5_040.0);
    let sine = sine * y + io.splat(1.0 / 120.0);
    let sine = sine * y - io.splat(1.0 / 6.0);
    let sine = x + x * y * sine;
    let cosine = io.splat(1.0 / 40_320.0);
    let cosine = cosine * y - io.splat(1.0 / 720.0);
    let cosine = cosine * y + io.splat(1.0 / 24.0);
    let cosine = cosine * y - io.splat(0.5);
    let cosine = cosine * y + one;
    L::select(far, cosine, sine) / L::select(far, sine, cosine)
}

/// The hyperbolic tangent; accurate to 1e-6.
#[inline(always)]
pub fn tanh<L: Lanes>(io: &Io<'_, L>, x: L) -> L {
    let one = io.splat(1.0);
    let x = x.max(io.splat(-9.0)).min(io.splat(9.0));
    // e^(2x)
    let power = exp2(io, x * io.splat(2.0 * std::f32::consts::LOG2_E));
    (power - one) / (power + one)
}

/// The amplitude of a level in decibels; relative accuracy 1e-6 from -120 to 60.
#[inline(always)]
pub fn amplitude<L: Lanes>(io: &Io<'_, L>, db: L) -> L {
    exp2(io, db * io.splat(std::f32::consts::LOG2_10 / 20.0))
}

/// The logarithm to base 2 of a number above 0; accurate to 1e-6.
///
/// # Source
/// The area hyperbolic tangent series of (m - 1) / (m + 1) for a mantissa m within half an octave of 1.
#[inline(always)]
pub fn log2<L: Lanes>(io: &Io<'_, L>, x: L) -> L {
    let x = x.max(io.splat(f32::MIN_POSITIVE));
    // The exponent of the power of two that is closest by ratio.
    let bits = x.to_bits() - io.splat_bits(0x3f35_04f3);
    let exponent = L::of_signed(bits);
    let exponent = (exponent * io.splat(1.0 / 8_388_608.0)).floor();
    let scale = (io.splat(0.0) - exponent).truncate();
    let mantissa = L::from_bits(x.to_bits() + scale.up(23));
    let one = io.splat(1.0);
    let z = (mantissa - one) / (mantissa + one);
    let y = z * z;
    let series = io.splat(1.0 / 9.0);
    let series = series * y + io.splat(1.0 / 7.0);
    let series = series * y + io.splat(1.0 / 5.0);
    let series = series * y + io.splat(1.0 / 3.0);
    let series = z + z * y * series;
    exponent + series * io.splat(2.0 * std::f32::consts::LOG2_E)
}

/// A soft clipper that saturates like the hyperbolic tangent at a lower cost. The slope is 1 at 0. The
/// output reaches ±1 at ±1.875, where the first and second derivatives are 0, so that the harmonics fall
/// fast.
///
/// # Source
/// The odd polynomial of the 5th power with these properties.
#[inline(always)]
pub fn soft_clip<L: Lanes>(io: &Io<'_, L>, x: L) -> L {
    let most = io.splat(1.875);
    let x = x.min(most).max(-most);
    let y = x * x;
    // 1 - 2/3 t² + t⁴/5 with t = x / 1.875
    let series = io.splat(0.2 / 12.359_619) * y - io.splat(2.0 / 3.0 / 3.515_625);
    x + x * y * series
}

/// How far a one-pole low-pass by the trapezoidal rule moves towards its input in half a frame: g / (1 +
/// g) with g = tan(π hz / rate); relative accuracy 1e-6. Frequencies are limited to 0.49 of the rate.
///
/// # Source
/// Vadim Zavalishin, The Art of VA Filter Design, 2018, 3.9 to 3.11; computed as sine over sine plus
/// cosine, which needs one division.
#[inline(always)]
pub fn one_pole<L: Lanes>(io: &Io<'_, L>, hz: L) -> L {
    pole(io, hz, 1.0)
}

/// As [`one_pole`], with g multiplied by `times`.
#[inline(always)]
pub fn pole<L: Lanes>(io: &Io<'_, L>, hz: L, times: f32) -> L {
    let rate = io.context.rate_hz;
    let x = hz.min(io.splat(rate * 0.49)) * io.splat(std::f32::consts::PI / rate);
    let y = x * x;
    let series = io.splat(2.600_054_6e-6);
    let series = series * y - io.splat(1.980_661_5e-4);
    let series = series * y + io.splat(8.333_017e-3);
    let series = series * y - io.splat(0.166_666_57);
    let sine = x + x * y * series;
    let series = io.splat(-1.0 / 3_628_800.0);
    let series = series * y + io.splat(1.0 / 40_320.0);
    let series = series * y - io.splat(1.0 / 720.0);
    let series = series * y + io.splat(1.0 / 24.0);
    let series = series * y - io.splat(0.5);
    let cosine = series * y + io.splat(1.0);
    let sine = sine * io.splat(times);
    sine / (sine + cosine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bench::Bench,
        catalog::ModuleType,
        module::{Kind, Module, Outs, State},
    };

    /// Applies every function to the input.
    struct All;

    impl Module for All {
        const TYPE: ModuleType = ModuleType {
            name: "all",
            help: "every function",
            inputs: &["in"],
            outputs: &["sine", "exp2", "tan", "tanh", "log2", "amplitude"],
            params: &[],
            takes_gate: false,
            takes_notes: false,
            takes_sample: false,
        };

        #[inline(always)]
        fn render<L: Lanes>(io: &Io<'_, L>, _: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
            for frame in 0..io.frames {
                let x = io.at(0, frame);
                let all = [
                    sine(io, x.to_bits()),
                    exp2(io, x),
                    tan(io, x),
                    tanh(io, x),
                    log2(io, x),
                    amplitude(io, x),
                ];
                for (output, value) in all.into_iter().enumerate() {
                    value.store(&mut outs.samples(output)[frame * L::N..][..L::N]);
                }
            }
        }
    }

    const COUNT: usize = 20_000;

    /// The results of a function for each of those numbers, with the same bits on 1, 8 and 16 channels.
    fn of(output: usize, numbers: &[f32]) -> Vec<f32> {
        let run = |channels| {
            let mut bench = Bench::with(Kind::of::<All>(&All::TYPE), &[], channels, 48_000.0);
            let all = bench.run(numbers.len(), &[("in", numbers.to_vec())]);
            all[output * channels..][..channels].to_vec()
        };
        let alone = run(1).remove(0);
        let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|x| x.to_bits()).collect() };
        for channels in [8, 16] {
            for channel in run(channels) {
                assert_eq!(bits(&channel), bits(&alone), "{channels} channels");
            }
        }
        alone
    }

    /// Evenly spaced numbers from `from` to `to`, both included.
    fn between(from: f64, to: f64) -> Vec<f32> {
        let each = (to - from) / (COUNT - 1) as f64;
        (0..COUNT)
            .map(|n| (from + each * n as f64) as f32)
            .collect()
    }

    /// The greatest error, in units of what `unit` returns for the exact value.
    fn worst(
        output: usize,
        numbers: &[f32],
        exact: impl Fn(f64) -> f64,
        unit: impl Fn(f64) -> f64,
    ) -> f64 {
        let found = of(output, numbers);
        let errors = numbers.iter().zip(found).map(|(x, found)| {
            let exact = exact(f64::from(*x));
            (f64::from(found) - exact).abs() / unit(exact)
        });
        errors.fold(0.0, f64::max)
    }

    #[test]
    fn the_sine_is_right_to_2e_7() {
        let phases: Vec<u32> = (0..COUNT as u32)
            .map(|n| n.wrapping_mul(2_654_435_761))
            .chain([0, 1, u32::MAX, 1 << 30, 1 << 31, 3 << 30, (1 << 31) - 1])
            .collect();
        let numbers: Vec<f32> = phases.iter().map(|phase| f32::from_bits(*phase)).collect();
        for (phase, found) in phases.iter().zip(of(0, &numbers)) {
            let exact = libm::sin(f64::from(*phase) / f64::from(CYCLE) * std::f64::consts::TAU);
            assert!((f64::from(found) - exact).abs() < 2e-7, "{phase}: {found}");
        }
    }

    #[test]
    fn the_powers_of_two_are_right_to_2e_7_of_themselves() {
        for (from, to) in [(-1.0, 1.0), (-10.0, 10.0), (-126.0, 127.0)] {
            let error = worst(1, &between(from, to), libm::exp2, f64::abs);
            assert!(error < 2e-7, "{from} to {to}: {error}");
        }
        let wholes: Vec<f32> = (-126..=127).map(|n| n as f32).collect();
        for (n, found) in wholes.iter().zip(of(1, &wholes)) {
            assert_eq!(f64::from(found), libm::exp2(f64::from(*n)));
        }
    }

    #[test]
    fn the_tangents_are_right_to_1e_6() {
        // From the smallest normal number on.
        let error = worst(2, &between(1e-6, 1.55), libm::tan, f64::abs);
        assert!(error < 1e-6, "{error}");
        let error = worst(3, &between(-20.0, 20.0), libm::tanh, |_| 1.0);
        assert!(error < 1e-6, "hyperbolic: {error}");
    }

    #[test]
    fn the_logarithm_is_right_to_1e_6_of_an_octave_or_of_itself() {
        for (from, to) in [(0.5, 2.0), (1e-4, 10.0), (1.0, 1e6)] {
            let error = worst(4, &between(from, to), libm::log2, |exact| {
                exact.abs().max(1.0)
            });
            assert!(error < 1e-6, "{from} to {to}: {error}");
        }
        let powers: Vec<f32> = (-126..=127).map(|n| libm::exp2f(n as f32)).collect();
        for (n, found) in (-126..=127).zip(of(4, &powers)) {
            assert_eq!(found, n as f32);
        }
    }

    #[test]
    fn the_amplitude_is_right_to_1e_6_of_itself() {
        let exact = |db: f64| libm::pow(10.0, db / 20.0);
        let error = worst(5, &between(-120.0, 60.0), exact, f64::abs);
        assert!(error < 1e-6, "{error}");
    }
}
