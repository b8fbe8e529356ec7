//! `vca`: an amplifier whose level is a parameter plus a signal.

use bytemuck::{Pod, Zeroable};

use super::linear;
use crate::{
    catalog::ModuleType,
    module::{Context, Module},
    smooth::Smooth,
};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Vca {
    level: Smooth,
}

impl Module for Vca {
    const TYPE: ModuleType = ModuleType {
        name: "vca",
        help: "amplifier: its level is the parameter plus what comes in at cv",
        inputs: &["in", "cv"],
        outputs: &["out"],
        params: &[linear("level", "", [0.0, 0.0, 1.0], "level without cv")],
        takes_gate: false,
    };

    fn new(_context: Context, params: &[f32]) -> Self {
        Self {
            level: Smooth::at(params[0]),
        }
    }

    fn set(&mut self, context: Context, _param: u16, value: f32) {
        self.level.glide(value, context.rate_hz);
    }

    fn render(&mut self, _context: Context, inputs: &[f32], outputs: &mut [f32]) {
        let (dry, cv) = inputs.split_at(inputs.len() / 2);
        for ((sample, dry), cv) in outputs.iter_mut().zip(dry).zip(cv) {
            *sample = dry * (self.level.next() + cv);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_level_is_parameter_plus_cv() {
        let context = Context { rate_hz: 48_000.0 };
        let mut out = [0.0; 2];
        Vca::new(context, &[0.25]).render(context, &[1.0, 0.5, 0.0, 0.75], &mut out);
        assert_eq!(out, [0.25, 0.5]);
    }
}
