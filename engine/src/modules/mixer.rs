//! `mixer`: four inputs, each with its level. (Cables into one input are summed anyway.)

use bytemuck::{Pod, Zeroable};

use super::linear;
use crate::{
    catalog::ModuleType,
    module::{Context, Module},
    smooth::Smooth,
};

const INPUTS: usize = 4;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Mixer {
    levels: [Smooth; INPUTS],
}

impl Module for Mixer {
    const TYPE: ModuleType = ModuleType {
        name: "mixer",
        help: "sum of four inputs, each with its level",
        inputs: &["in1", "in2", "in3", "in4"],
        outputs: &["out"],
        params: &[
            linear("level1", "", [0.0, 1.0, 1.0], "level of in1"),
            linear("level2", "", [0.0, 1.0, 1.0], "level of in2"),
            linear("level3", "", [0.0, 1.0, 1.0], "level of in3"),
            linear("level4", "", [0.0, 1.0, 1.0], "level of in4"),
        ],
        takes_gate: false,
    };

    fn new(_context: Context, params: &[f32]) -> Self {
        Self {
            levels: std::array::from_fn(|input| Smooth::at(params[input])),
        }
    }

    fn set(&mut self, context: Context, param: u16, value: f32) {
        if let Some(level) = self.levels.get_mut(usize::from(param)) {
            level.glide(value, context.rate_hz);
        }
    }

    fn render(&mut self, _context: Context, inputs: &[f32], outputs: &mut [f32]) {
        outputs.fill(0.0);
        for (level, input) in self
            .levels
            .iter_mut()
            .zip(inputs.chunks_exact(outputs.len()))
        {
            for (sample, dry) in outputs.iter_mut().zip(input) {
                *sample += dry * level.next();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_adds_up() {
        let context = Context { rate_hz: 48_000.0 };
        let mut out = [0.0; 2];
        let mut mixer = Mixer::new(context, &[1.0, 0.5, 0.25, 0.0]);
        mixer.render(context, &[1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0], &mut out);
        assert_eq!(out, [1.75, 3.5]);
    }
}
