//! `noise`: white noise, the same on every machine: its randomness is a sequence of whole numbers.
//!
//! # Source
//! Marsaglia, Xorshift RNGs, 2003; the start scrambled as in Steele, Lea, Flood, Fast splittable
//! pseudorandom number generators, 2014.

use bytemuck::{Pod, Zeroable};

use super::linear;
use crate::{
    catalog::{ModuleType, Param, Scale},
    module::{Context, Module},
    smooth::Smooth,
};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Noise {
    state: u64,
    seed: u64,
    gain: Smooth,
}

/// The first state of a seed, never 0.
const fn start(seed: u64) -> u64 {
    let x = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x | 1
}

impl Module for Noise {
    const TYPE: ModuleType = ModuleType {
        name: "noise",
        help: "white noise; the same seed gives the same noise",
        inputs: &[],
        outputs: &["out"],
        params: &[
            linear("gain", "", [0.0, 0.5, 1.0], "level"),
            Param {
                scale: Scale::Stepped,
                ..linear("seed", "", [0.0, 0.0, 65_535.0], "which noise")
            },
        ],
        takes_gate: false,
    };

    fn new(_context: Context, params: &[f32]) -> Self {
        let seed = params[1] as u64;
        Self {
            state: start(seed),
            seed,
            gain: Smooth::at(params[0]),
        }
    }

    fn set(&mut self, context: Context, param: u16, value: f32) {
        if param == 0 {
            self.gain.glide(value, context.rate_hz);
        } else if self.seed != value as u64 {
            self.seed = value as u64;
            self.state = start(self.seed);
        }
    }

    fn render(&mut self, _context: Context, _inputs: &[f32], outputs: &mut [f32]) {
        for sample in outputs {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            let white = (self.state >> 32) as u32 as i32 as f32 / 2_147_483_648.0;
            *sample = white * self.gain.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_centred_even_and_white() {
        let context = Context { rate_hz: 48_000.0 };
        let mut out = vec![0.0; 100_000];
        Noise::new(context, &[1.0, 7.0]).render(context, &[], &mut out);
        let mean = |values: &mut dyn Iterator<Item = f32>| {
            values.map(f64::from).sum::<f64>() / out.len() as f64
        };
        assert!(mean(&mut out.iter().copied()).abs() < 0.01);
        assert!((mean(&mut out.iter().map(|x| x * x)) - 1.0 / 3.0).abs() < 0.01);
        assert!(mean(&mut out.windows(2).map(|w| w[0] * w[1])).abs() < 0.01);
    }
}
