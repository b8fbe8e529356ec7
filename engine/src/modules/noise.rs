//! `noise`: white, pink and brown noise, identical on every machine: a pseudo-random sequence of integers, different
//! for each seed and channel.
//!
//! # Source
//! Marsaglia, Xorshift RNGs, 2003 (32 bits: 13, 17, 5); the start scrambled as in Steele, Lea, Flood,
//! Fast splittable pseudorandom number generators, 2014. Pink: Paul Kellet's filter of three poles,
//! in Robin Whittle, DSP generation of pink noise, <https://www.firstpr.com.au/dsp/pink-noise/>.

use super::{choice, linear};
use crate::{
    catalog::{ModuleType, Param, Scale},
    lanes::{Bits, Lanes, inlined},
    module::{Io, Module, Outs, State},
};

pub struct Noise;

const WHITE: usize = 0;
const SEED: usize = 1;
/// The three poles of pink noise; brown noise uses the first.
const POLES: usize = 2;

/// The first state of a seed and channel, never 0.
pub fn start(seed: u32, channel: usize) -> u32 {
    let x = u64::from(seed) << 8 | channel as u64;
    let x = (x + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x >> 32) as u32 | 1
}

/// The next bits.
#[inline(always)]
pub fn next<B: Bits>(bits: B) -> B {
    let bits = bits ^ bits.up(13);
    let bits = bits ^ bits.down(17);
    bits ^ bits.up(5)
}

/// Bits as a number from -1 to below 1.
#[inline(always)]
pub fn white<L: Lanes>(io: &Io<'_, L>, bits: L::Bits) -> L {
    L::of_signed(bits) * io.splat(1.0 / 2_147_483_648.0)
}

impl Module for Noise {
    const TYPE: ModuleType = ModuleType {
        name: "noise",
        help: "white, pink or brown noise; the same seed gives the same noise",
        inputs: &[],
        outputs: &["out"],
        params: &[
            linear("gain", "", [0.0, 0.5, 1.0], "level"),
            Param {
                scale: Scale::Stepped,
                ..linear("seed", "", [0.0, 0.0, 65_535.0], "seed of the noise")
            },
            choice(
                "color",
                &["white", "pink", "brown"],
                "spectrum: flat, -3 dB or -6 dB per octave",
            ),
        ],
        takes_gate: false,
        takes_notes: false,
        takes_sample: false,
    };
    const CELLS: usize = 5;

    fn start(channel: usize, params: &[f32], cells: &mut [u32]) {
        cells[WHITE] = start(params[1] as u32, channel);
        cells[SEED] = params[1] as u32;
    }

    #[inline(always)]
    fn render<L: Lanes>(io: &Io<'_, L>, state: &mut State<'_, L>, outs: &mut Outs<'_, L>) {
        let seed = io.value(1) as u32;
        for channel in 0..L::N {
            if *state.cell(SEED, channel) != seed || *state.cell(WHITE, channel) == 0 {
                *state.cell(SEED, channel) = seed;
                *state.cell(WHITE, channel) = start(seed, io.first_channel + channel);
            }
        }
        let gain = io.param(0);
        let mut bits = state.bits(WHITE);
        let mut white = inlined(
            #[inline(always)]
            || {
                bits = next(bits);
                white(io, bits)
            },
        );
        let mut poles: [L; 3] = std::array::from_fn(|pole| state.get(POLES + pole));
        match io.param(2).first().lane(0) as u32 {
            0 => outs.write(
                0,
                #[inline(always)]
                |frame| white() * gain.at(frame),
            ),
            1 => outs.write(
                0,
                #[inline(always)]
                |frame| {
                    let white = white();
                    let mut sum = white * io.splat(0.184_8);
                    for (pole, (keep, take)) in poles.iter_mut().zip([
                        (0.997_65, 0.099_046_0),
                        (0.963_00, 0.296_516_4),
                        (0.570_00, 1.052_691_3),
                    ]) {
                        *pole = *pole * io.splat(keep) + white * io.splat(take);
                        sum = sum + *pole;
                    }
                    // Back to the range of white noise.
                    sum * io.splat(0.25) * gain.at(frame)
                },
            ),
            _ => outs.write(
                0,
                #[inline(always)]
                |frame| {
                    poles[0] = poles[0] * io.splat(0.998) + white() * io.splat(0.06);
                    poles[0] * gain.at(frame)
                },
            ),
        }
        state.set_bits(WHITE, bits);
        for (number, pole) in poles.into_iter().enumerate() {
            state.set_flushed(POLES + number, pole);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Bench, level};

    fn noise(color: f32) -> Vec<f32> {
        Bench::of::<Noise>(&[("gain", 1.0), ("seed", 7.0), ("color", color)])
            .run(480_000, &[])
            .remove(0)
    }

    #[test]
    fn it_is_centred_even_and_white() {
        let out = noise(0.0);
        let mean = |values: &mut dyn Iterator<Item = f32>| {
            values.map(f64::from).sum::<f64>() / out.len() as f64
        };
        assert!(mean(&mut out.iter().copied()).abs() < 0.01);
        assert!((mean(&mut out.iter().map(|x| x * x)) - 1.0 / 3.0).abs() < 0.01);
        assert!(mean(&mut out.windows(2).map(|w| w[0] * w[1])).abs() < 0.01);
    }

    /// The mean level over some frequencies around one.
    fn around(out: &[f32], hz: f64) -> f64 {
        let levels = (0..40).map(|n| level(out, hz * (1.0 + 0.002 * f64::from(n - 20))));
        (levels.map(|l| l * l).sum::<f64>() / 40.0).sqrt()
    }

    #[test]
    fn pink_falls_by_3_and_brown_by_6_decibels_an_octave() {
        for (color, fall) in [(0.0, 0.0), (1.0, 3.0), (2.0, 6.0)] {
            let out = noise(color);
            let found = 20.0 * libm::log10(around(&out, 250.0) / around(&out, 4_000.0)) / 4.0;
            assert!((found - fall).abs() < 0.7, "{color}: {found} dB an octave");
        }
    }

    #[test]
    fn each_channel_and_each_seed_has_its_own() {
        let mut noise = Bench::poly::<Noise>(&[], 3);
        let out = noise.run(1_000, &[]);
        assert!(out[0] != out[1] && out[1] != out[2]);
        let mut other = Bench::of::<Noise>(&[("seed", 1.0)]);
        assert_ne!(other.run(1_000, &[])[0], out[0]);
    }
}
