//! `out`: what goes into it is heard, on all channels.
//!
//! It has one output that no cable can take: the engine itself reads it.

use bytemuck::{Pod, Zeroable};

use super::linear;
use crate::{
    catalog::ModuleType,
    module::{Context, Module},
    smooth::Smooth,
};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Out {
    gain: Smooth,
}

impl Module for Out {
    const TYPE: ModuleType = ModuleType {
        name: "out",
        help: "what goes into it is heard, on all channels",
        inputs: &["in"],
        outputs: &[],
        params: &[linear("gain", "", [0.0, 1.0, 1.0], "level")],
        takes_gate: false,
    };

    fn new(_context: Context, params: &[f32]) -> Self {
        Self {
            gain: Smooth::at(params[0]),
        }
    }

    fn set(&mut self, context: Context, _param: u16, value: f32) {
        self.gain.glide(value, context.rate_hz);
    }

    fn render(&mut self, _context: Context, inputs: &[f32], outputs: &mut [f32]) {
        for (sample, dry) in outputs.iter_mut().zip(inputs) {
            *sample = dry * self.gain.next();
        }
    }
}
