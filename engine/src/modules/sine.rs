//! `sine`: a sine oscillator.

use bytemuck::{Pod, Zeroable};

use super::oscillator::{Oscillator, PARAMS};
use crate::{
    catalog::ModuleType,
    math,
    module::{Context, Module},
};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(transparent)]
pub struct Sine(Oscillator);

impl Module for Sine {
    const TYPE: ModuleType = ModuleType {
        name: "sine",
        help: "sine oscillator",
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
        self.0
            .render(context, outputs, |phase, _| math::sine(phase));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context = Context { rate_hz: 48_000.0 };

    fn tone(sine: &mut Sine, frames: usize) -> Vec<f32> {
        let mut out = vec![0.0; frames];
        for block in out.chunks_mut(128) {
            sine.render(CONTEXT, &[], block);
        }
        out
    }

    #[test]
    fn it_is_the_formula_after_ten_seconds_too() {
        for hz in [0.01, 27.5, 440.0, 9_999.5, 20_000.0] {
            let mut sine = Sine::new(CONTEXT, &[hz, 0.8]);
            for (n, found) in tone(&mut sine, 480_000).into_iter().enumerate() {
                let turns = f64::from(hz) * n as f64 / 48_000.0;
                let exact = 0.8 * libm::sin((turns - turns.floor()) * std::f64::consts::TAU);
                assert!(
                    (f64::from(found) - exact).abs() < 1e-6,
                    "{hz} Hz at {n}: {found} {exact}"
                );
            }
        }
    }

    #[test]
    fn no_jump_of_a_parameter_clicks() {
        let mut sine = Sine::new(CONTEXT, &[440.0, 1.0]);
        let mut heard = tone(&mut sine, 100);
        for (param, value) in [
            (1, 0.0),
            (1, 1.0),
            (0, 100.0),
            (0, 500.0),
            (1, 0.3),
            (1, 0.9),
        ] {
            sine.set(CONTEXT, param, value);
            heard.extend(tone(&mut sine, 100));
        }
        // A full sine of 500 Hz moves 0.0655 a frame at most, a glide of the level 1/336.
        assert!(heard.windows(2).all(|w| (w[1] - w[0]).abs() < 0.069));
    }
}
