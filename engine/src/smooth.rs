//! A gliding value, so that no change of a parameter clicks.
//!
//! The glide is a straight line over [`GLIDE_MS`] that ends exactly at the target, so that a module with
//! parameters at rest can take a short path. Every field is in the arena: a replica continues in the
//! middle of a glide.

use bytemuck::{Pod, Zeroable};

/// How long a parameter glides, in milliseconds: below 5 a jump still clicks, above 10 it lags.
pub const GLIDE_MS: f32 = 7.0;

/// Frames of a glide.
pub fn glide_frames(rate_hz: f32) -> u32 {
    frames(GLIDE_MS, rate_hz)
}

/// Frames in `ms` milliseconds, at least one.
pub fn frames(ms: f32, rate_hz: f32) -> u32 {
    ((rate_hz * ms / 1000.0) as u32).max(1)
}

/// A value that moves to a target in a straight line.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Smooth {
    value: f32,
    target: f32,
    step: f32,
    frames_left: u32,
}

impl Smooth {
    /// A value at rest.
    pub const fn at(value: f32) -> Self {
        Self {
            value,
            target: value,
            step: 0.0,
            frames_left: 0,
        }
    }

    /// Starts a glide from the present value to `target` over `ms` milliseconds, unless `target` is the
    /// target already.
    pub fn glide_over(&mut self, target: f32, ms: f32, rate_hz: f32) {
        if self.target.to_bits() == target.to_bits() {
            return;
        }
        self.target = target;
        self.frames_left = frames(ms, rate_hz);
        self.step = (target - self.value) / self.frames_left as f32;
    }

    /// The value of the next frame.
    #[inline]
    pub fn next(&mut self) -> f32 {
        if self.frames_left > 0 {
            self.frames_left -= 1;
            // Computed from the end: in a ramp of many minutes, accumulated steps would be lost in
            // rounding.
            self.value = if self.frames_left == 0 {
                self.target
            } else {
                self.target - self.step * self.frames_left as f32
            };
        }
        self.value
    }

    /// The present value.
    #[inline(always)]
    pub const fn value(&self) -> f32 {
        self.value
    }

    /// The target.
    #[inline(always)]
    pub const fn target(&self) -> f32 {
        self.target
    }

    /// The value of all following frames, if it is at rest.
    #[inline]
    pub fn at_rest(&self) -> Option<f32> {
        (self.frames_left == 0).then_some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_in_a_straight_line_and_settles_exactly() {
        let mut smooth = Smooth::at(0.1);
        smooth.glide_over(0.7, GLIDE_MS, 48_000.0);
        let mut last = 0.1;
        for _ in 0..336 {
            assert!(smooth.at_rest().is_none());
            let next = smooth.next();
            assert!((next - last - 0.6 / 336.0).abs() < 3e-5);
            last = next;
        }
        assert_eq!((smooth.next(), smooth.at_rest()), (0.7, Some(0.7)));
    }

    #[test]
    fn a_ramp_of_an_hour_goes_all_the_way() {
        let mut smooth = Smooth::at(1_000.0);
        smooth.glide_over(1_010.0, 3_600_000.0, 48_000.0);
        let frames = 3600 * 48_000_u32;
        smooth.frames_left = frames / 2 + 1;
        assert!((smooth.next() - 1_005.0).abs() < 0.001);
        smooth.frames_left = 1;
        assert_eq!((smooth.next(), smooth.at_rest()), (1_010.0, Some(1_010.0)));
    }

    #[test]
    fn a_new_target_in_the_middle_does_not_jump() {
        let mut smooth = Smooth::at(0.0);
        smooth.glide_over(1.0, GLIDE_MS, 48_000.0);
        let before = (0..100).map(|_| smooth.next()).last().unwrap();
        smooth.glide_over(0.0, GLIDE_MS, 48_000.0);
        assert!((smooth.next() - before).abs() < 0.003);
    }
}
