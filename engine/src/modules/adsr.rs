//! `adsr`: an envelope that shapes what comes in; its times are exact to the frame.
//!
//! Straight segments, each from the level where the last one was left: a gate that opens or closes
//! in the middle of one does not click. The velocity of a gate is the height of its attack.

use bytemuck::{Pod, Zeroable};

use super::{linear, log};
use crate::{
    catalog::ModuleType,
    module::{Context, Module},
    smooth::Smooth,
};

const IDLE: u32 = 0;
const ATTACK: u32 = 1;
const DECAY: u32 = 2;
const SUSTAIN: u32 = 3;
const RELEASE: u32 = 4;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Adsr {
    /// One of the five above; gate on: any → attack → decay → sustain; off: any but idle → release
    /// → idle.
    stage: u32,
    /// Frames of the segment, and how many of them are left.
    frames: u32,
    left: u32,
    /// Level where the segment began, and now.
    from: f32,
    level: f32,
    velocity: f32,
    attack_ms: f32,
    decay_ms: f32,
    release_ms: f32,
    unused: u32,
    sustain: Smooth,
}

impl Adsr {
    fn enter(&mut self, stage: u32, ms: f32, context: Context) {
        self.stage = stage;
        let frames = f64::from(ms) * f64::from(context.rate_hz) / 1000.0;
        self.frames = ((frames + 0.5) as u32).max(1);
        self.left = self.frames;
        self.from = self.level;
    }

    /// The level of the next frame.
    fn next(&mut self, context: Context) -> f32 {
        let sustain = self.sustain.next() * self.velocity;
        let target = match self.stage {
            IDLE => return 0.0,
            ATTACK => self.velocity,
            DECAY => sustain,
            SUSTAIN => {
                self.level = sustain;
                return sustain;
            }
            _ => 0.0,
        };
        self.left = self.left.saturating_sub(1);
        let rest = self.left as f32 / self.frames as f32;
        self.level = target + (self.from - target) * rest;
        if self.left == 0 {
            match self.stage {
                ATTACK => self.enter(DECAY, self.decay_ms, context),
                DECAY => self.stage = SUSTAIN,
                _ => self.stage = IDLE,
            }
        }
        self.level
    }
}

impl Module for Adsr {
    const TYPE: ModuleType = ModuleType {
        name: "adsr",
        help: "envelope: attack, decay, sustain, release; out is what comes in, shaped; env the bare envelope",
        inputs: &["in"],
        outputs: &["out", "env"],
        params: &[
            log("attack", "ms", [0.0, 10.0, 60_000.0], "time to full level"),
            log(
                "decay",
                "ms",
                [0.0, 100.0, 60_000.0],
                "time from full level to sustain",
            ),
            linear(
                "sustain",
                "",
                [0.0, 0.7, 1.0],
                "level while the gate is open",
            ),
            log(
                "release",
                "ms",
                [0.0, 200.0, 60_000.0],
                "time to silence after the gate",
            ),
        ],
        takes_gate: true,
    };

    fn new(_context: Context, params: &[f32]) -> Self {
        Self {
            attack_ms: params[0],
            decay_ms: params[1],
            sustain: Smooth::at(params[2]),
            release_ms: params[3],
            ..Self::zeroed()
        }
    }

    fn set(&mut self, context: Context, param: u16, value: f32) {
        match param {
            0 => self.attack_ms = value,
            1 => self.decay_ms = value,
            2 => self.sustain.glide(value, context.rate_hz),
            _ => self.release_ms = value,
        }
    }

    fn gate(&mut self, context: Context, level: f32) {
        if level > 0.0 {
            self.velocity = level;
            self.enter(ATTACK, self.attack_ms, context);
        } else if self.stage != IDLE && self.stage != RELEASE {
            self.enter(RELEASE, self.release_ms, context);
        }
    }

    fn render(&mut self, context: Context, inputs: &[f32], outputs: &mut [f32]) {
        let (out, env) = outputs.split_at_mut(outputs.len() / 2);
        for ((sample, dry), level) in out.iter_mut().zip(inputs).zip(env) {
            *level = self.next(context);
            *sample = dry * *level;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context = Context { rate_hz: 48_000.0 };

    fn levels(adsr: &mut Adsr, frames: usize) -> Vec<f32> {
        let mut out = vec![0.0; 2 * frames];
        adsr.render(CONTEXT, &vec![1.0; frames], &mut out);
        let env = out.split_off(frames);
        assert_eq!(out, env);
        out
    }

    #[test]
    fn its_times_are_exact_to_the_frame() {
        let mut adsr = Adsr::new(CONTEXT, &[10.0, 20.0, 0.5, 5.0]);
        assert_eq!(levels(&mut adsr, 10), [0.0; 10]);
        adsr.gate(CONTEXT, 1.0);
        let attack = levels(&mut adsr, 480);
        assert!(attack[478] < 1.0 && attack[479] == 1.0);
        let decay = levels(&mut adsr, 960);
        assert!(decay[958] > 0.5 && decay[959] == 0.5);
        assert_eq!(levels(&mut adsr, 100), [0.5; 100]);
        adsr.gate(CONTEXT, 0.0);
        let release = levels(&mut adsr, 241);
        assert!(release[238] > 0.0 && release[239] == 0.0 && release[240] == 0.0);
    }

    #[test]
    fn the_longest_times_are_exact_too() {
        let context = Context { rate_hz: 44_100.0 };
        let mut adsr = Adsr::new(context, &[59_999.0, 0.0, 1.0, 0.0]);
        adsr.gate(context, 0.6);
        let frames = 2_645_956;
        let mut out = vec![0.0; 2 * frames];
        adsr.render(context, &vec![1.0; frames], &mut out);
        assert!(out[frames - 2] < 0.6 && out[frames - 1] == 0.6);
    }

    #[test]
    fn a_gate_in_the_middle_of_a_segment_does_not_step() {
        let mut adsr = Adsr::new(CONTEXT, &[10.0, 20.0, 0.5, 10.0]);
        let mut heard = Vec::new();
        for frames in [300, 200, 700, 100, 50, 600] {
            let open = heard.len() % 2 == 0;
            adsr.gate(CONTEXT, if open { 0.8 } else { 0.0 });
            heard.extend(levels(&mut adsr, frames));
        }
        assert!(heard.windows(2).all(|w| (w[1] - w[0]).abs() < 0.003));
    }
}
