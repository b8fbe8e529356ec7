//! `saw`: a rising sawtooth with its edge rounded, so that it aliases less.
//!
//! # Source
//! Välimäki, Pekonen, Nam: Perceptually informed synthesis of bandlimited classical waveforms using
//! integrated polynomial interpolation, 2012 (the two-point polynomial, "`PolyBLEP`").

use bytemuck::{Pod, Zeroable};

use super::oscillator::{Oscillator, PARAMS};
use crate::{
    catalog::ModuleType,
    module::{Context, Module},
};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(transparent)]
pub struct Saw(Oscillator);

/// The sawtooth from -1 to 1; phase and step in units of 2^-32 of a turn.
fn saw(phase: u32, step: u32) -> f32 {
    const TURN: f32 = 4_294_967_296.0;
    let (turn, step) = (phase as f32 / TURN, (step as f32 / TURN).max(1e-9));
    let naive = 2.0 * turn - 1.0;
    if turn < step {
        let x = 1.0 - turn / step;
        naive + x * x
    } else if turn > 1.0 - step {
        let x = 1.0 - (1.0 - turn) / step;
        naive - x * x
    } else {
        naive
    }
}

impl Module for Saw {
    const TYPE: ModuleType = ModuleType {
        name: "saw",
        help: "sawtooth oscillator, band-limited",
        inputs: &[],
        outputs: &["out"],
        params: PARAMS,
        takes_gate: false,
    };

    fn new(_context: Context, params: &[f32]) -> Self {
        Self(Oscillator::new(params))
    }

    fn set(&mut self, context: Context, param: u16, value: f32) {
        self.0.set(context, param, value);
    }

    fn render(&mut self, context: Context, _inputs: &[f32], outputs: &mut [f32]) {
        self.0.render(context, outputs, saw);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context = Context { rate_hz: 48_000.0 };

    /// The level of a frequency in one second of a sawtooth.
    fn level(freq_hz: f32, hz: f64) -> f64 {
        let mut out = vec![0.0; 48_000];
        Saw::new(CONTEXT, &[freq_hz, 1.0]).render(CONTEXT, &[], &mut out);
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in out.iter().enumerate() {
            let angle = hz / 48_000.0 * std::f64::consts::TAU * n as f64;
            re += f64::from(*sample) * libm::cos(angle);
            im += f64::from(*sample) * libm::sin(angle);
        }
        2.0 * (re * re + im * im).sqrt() / 48_000.0
    }

    #[test]
    fn its_partials_fall_as_one_over_n() {
        for partial in 1..20 {
            let (n, exact) = (f64::from(partial), 2.0 / std::f64::consts::PI);
            let found = level(100.0, 100.0 * n) * n;
            assert!(
                (found / exact - 1.0).abs() < 0.02,
                "partial {partial}: {found}, {exact}"
            );
        }
    }

    #[test]
    fn it_aliases_far_less_than_a_plain_ramp() {
        // The tenth partial of 4.7 kHz comes down at 1 kHz: 0.064 of a plain ramp.
        let alias = level(4_700.0, 1_000.0);
        assert!(alias < 0.01, "{alias}");
    }
}
