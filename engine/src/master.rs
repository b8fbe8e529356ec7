//! The last stage: fades the output in and out, smooths the step between two patches, and normalizes
//! NaN and zero.
//!
//! It stands at the head of the arena, so that a replica restored in the middle of a fade continues
//! the fade.

use bytemuck::{Pod, Zeroable};
use common::limits::CHANNELS_MAX;

use crate::{module::Buffer, smooth::Smooth};

/// How long the output fades when the engine is stopped or started.
const FADE_MS: f32 = 10.0;
/// How long the step between two patches takes to decay.
const DECLICK_MS: f32 = 5.0;

/// The state of the last stage.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Master {
    /// The fingerprint of the arena's layout; see [`crate::engine`].
    pub fingerprint: u64,
    /// 1 while the engine runs, 0 once it has been stopped.
    fade: Smooth,
    /// Not 0 if the next frame is the first of another patch.
    discontinuity: u32,
    /// Frames until the offsets are gone, and of how many.
    declick_left: u32,
    declick_frames: u32,
    /// The module whose output is muted, plus 1; 0 if none is.
    muted: u32,
    /// The last frame, and the frame before it.
    last: [f32; CHANNELS_MAX as usize],
    before: [f32; CHANNELS_MAX as usize],
    /// The initial offset of each channel for a smooth transition.
    offsets: [f32; CHANNELS_MAX as usize],
}

/// Words of the last stage in the arena.
pub const MASTER_WORDS: usize = size_of::<Master>().div_ceil(8);

impl Master {
    /// The last stage of an arena.
    pub fn of(arena: &mut [u64]) -> &mut Self {
        bytemuck::from_bytes_mut(&mut bytemuck::cast_slice_mut(arena)[..size_of::<Self>()])
    }

    /// Running, after silence.
    pub fn new(fingerprint: u64) -> Self {
        Self {
            fingerprint,
            fade: Smooth::at(1.0),
            ..Self::zeroed()
        }
    }

    /// Fades in or out.
    pub fn run(&mut self, on: bool, rate_hz: f32) {
        self.fade
            .glide_over(if on { 1.0 } else { 0.0 }, FADE_MS, rate_hz);
    }

    /// Continues the last stage of another patch; if `may_step`, smooths a step in the next frame.
    pub fn adopt(&mut self, old: &Self, may_step: bool) {
        *self = Self {
            fingerprint: self.fingerprint,
            discontinuity: old.discontinuity | u32::from(may_step),
            ..*old
        };
    }

    /// Announces a step between the last frame and the next, which is to be smoothed.
    pub const fn step(&mut self) {
        self.discontinuity = 1;
    }

    /// Sets the module whose output in the coming block is invalid, if there is one. Such a block is
    /// silenced, without a click before and after it.
    pub fn set_muted(&mut self, module: Option<u16>) {
        let muted = module.map_or(0, |module| u32::from(module) + 1);
        if (muted == 0) != (self.muted == 0) {
            self.discontinuity = 1;
        }
        self.muted = muted;
    }

    /// The module whose output is muted.
    pub fn muted(&self) -> Option<u16> {
        self.muted.checked_sub(1).map(|module| module as u16)
    }

    /// Writes interleaved frames from one block for each channel.
    ///
    /// # Real-time
    /// Yes.
    pub fn render(&mut self, sound: &[Buffer], out: &mut [f32], rate_hz: f32) {
        match self.fade.at_rest() {
            Some(level) if self.muted == 0 && self.discontinuity == 0 && self.declick_left == 0 => {
                self.pass(sound, out, level);
            }
            _ => self.render_each(sound, out, rate_hz),
        }
    }

    /// As [`Self::render`], if nothing changes: one channel at a time, many frames at once.
    fn pass(&mut self, sound: &[Buffer], out: &mut [f32], level: f32) {
        let heard = |sample: f32| canonical(sample * level);
        match sound {
            [left, right] => {
                let frames = left.samples.iter().zip(&right.samples);
                for (frame, (left, right)) in out.as_chunks_mut().0.iter_mut().zip(frames) {
                    *frame = [heard(*left), heard(*right)];
                }
            }
            _ => {
                for (channel, block) in sound.iter().enumerate() {
                    let samples = out.iter_mut().skip(channel).step_by(sound.len());
                    for (to, sample) in samples.zip(&block.samples) {
                        *to = heard(*sample);
                    }
                }
            }
        }
        for frame in out.chunks_exact(sound.len()).rev().take(2).rev() {
            self.remember(frame);
        }
    }

    fn remember(&mut self, frame: &[f32]) {
        for (channel, sample) in frame.iter().enumerate() {
            self.before[channel] = self.last[channel];
            self.last[channel] = *sample;
        }
    }

    fn render_each(&mut self, sound: &[Buffer], out: &mut [f32], rate_hz: f32) {
        for (number, frame) in out.chunks_exact_mut(sound.len()).enumerate() {
            let fade = self.fade.next();
            for (to, channel) in frame.iter_mut().zip(sound) {
                let sample = if self.muted == 0 {
                    channel.samples[number]
                } else {
                    0.0
                };
                *to = sample * fade;
            }
            if self.discontinuity != 0 {
                self.discontinuity = 0;
                self.measure(frame, rate_hz);
            }
            if self.declick_left > 0 {
                self.mend(frame);
            }
            for sample in &mut *frame {
                *sample = canonical(*sample);
            }
            self.remember(frame);
        }
    }

    /// Measures the step in the first frame of another patch: the part of it that exceeds twice the
    /// last movement of the signal. So a tone that simply continues is not changed.
    fn measure(&mut self, frame: &[f32], rate_hz: f32) {
        for (channel, sample) in frame.iter().enumerate() {
            let step = self.last[channel] - sample;
            let natural = 2.0 * (self.last[channel] - self.before[channel]).abs();
            let excess = (step.abs() - natural).max(0.0).copysign(step);
            self.offsets[channel] = if excess.is_finite() { excess } else { 0.0 };
        }
        self.declick_frames = ((rate_hz * DECLICK_MS / 1000.0) as u32).max(1);
        self.declick_left = self.declick_frames;
    }

    /// Adds the rest of the offsets.
    fn mend(&mut self, frame: &mut [f32]) {
        let rest = self.declick_left as f32 / self.declick_frames as f32;
        for (sample, offset) in frame.iter_mut().zip(self.offsets) {
            *sample += offset * rest * rest;
        }
        self.declick_left -= 1;
    }
}

/// The same sample with one bit pattern for NaN, one for zero, and zero for denormals. So equal
/// samples have equal checksums, and the result does not depend on whether the thread flushes
/// denormals.
pub fn canonical(sample: f32) -> f32 {
    if sample.is_nan() {
        f32::NAN
    } else if sample.abs() < f32::MIN_POSITIVE {
        0.0
    } else {
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: f32 = 48_000.0;

    fn heard(master: &mut Master, sound: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; sound.len() * 2];
        let channel = || Buffer {
            samples: sound.to_vec(),
            still: false,
        };
        master.render(&[channel(), channel()], &mut out, RATE_HZ);
        assert!(
            out.chunks(2)
                .all(|frame| frame[0].to_bits() == frame[1].to_bits())
        );
        out.into_iter().step_by(2).collect()
    }

    #[test]
    fn stopping_fades_to_silence_and_starting_fades_back() {
        let mut master = Master::new(0);
        assert_eq!(heard(&mut master, &[0.5; 10]), [0.5; 10]);
        master.run(false, RATE_HZ);
        let out = heard(&mut master, &[0.5; 500]);
        assert!(out.windows(2).all(|w| w[1] <= w[0] && w[0] - w[1] < 0.0011));
        assert!(out[478] > 0.0 && out[479..] == [0.0; 21]);
        master.run(true, RATE_HZ);
        let out = heard(&mut master, &[0.5; 500]);
        assert!(out[0] < 0.0011 && out[479..] == [0.5; 21]);
    }

    #[test]
    fn a_discontinuity_is_without_a_step_and_the_offset_dies_away() {
        let mut old = Master::new(1);
        heard(&mut old, &[0.75; 10]);
        let mut new = Master::new(2);
        new.adopt(&old, true);
        let out = heard(&mut new, &[-0.25; 300]);
        assert_eq!((out[0], new.fingerprint), (0.75, 2));
        assert!(out.windows(2).all(|w| (w[1] - w[0]).abs() < 0.0084));
        assert_eq!(out[240..], [-0.25; 60]);
    }

    #[test]
    fn what_simply_goes_on_is_left_alone() {
        let mut old = Master::new(0);
        heard(&mut old, &[0.1, 0.2, 0.3]);
        let mut new = Master::new(0);
        new.adopt(&old, true);
        assert_eq!(heard(&mut new, &[0.4, 0.5]), [0.4, 0.5]);
    }

    #[test]
    fn where_nothing_moves_many_frames_at_once_are_as_each_by_itself() {
        let odd = [0.3, -0.0, f32::NAN, 1e-40, f32::INFINITY, -0.7, 1e30];
        for channels in 1..=3 {
            let sound: Vec<_> = (0..channels)
                .map(|channel| Buffer {
                    samples: odd.iter().copied().cycle().skip(channel).take(65).collect(),
                    still: false,
                })
                .collect();
            for frames in [1, 2, 3, 64] {
                let mut masters = [Master::new(0), Master::new(0)];
                let mut outs = [0, 1].map(|_| vec![0.5; frames * channels]);
                for _ in 0..2 {
                    masters[0].pass(&sound, &mut outs[0], 1.0);
                    masters[1].render_each(&sound, &mut outs[1], RATE_HZ);
                }
                let bits = |out: &Vec<f32>| out.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&outs[0]), bits(&outs[1]));
                assert_eq!(
                    bytemuck::bytes_of(&masters[0]),
                    bytemuck::bytes_of(&masters[1])
                );
            }
        }
    }

    #[test]
    fn there_is_one_kind_of_zero() {
        for almost in [0.0, -0.0, 1e-40, -1e-40] {
            assert_eq!(heard(&mut Master::new(0), &[almost])[0].to_bits(), 0);
        }
        let least = -f32::MIN_POSITIVE;
        assert_eq!(heard(&mut Master::new(0), &[least]), [least]);
    }

    #[test]
    fn there_is_one_kind_of_nan() {
        let odd = f32::from_bits(0xffc1_2345);
        let out = heard(&mut Master::new(0), &[odd, 0.5]);
        assert_eq!((out[0].to_bits(), out[1]), (f32::NAN.to_bits(), 0.5));
        // A discontinuity after a NaN leaves no NaN behind.
        let mut old = Master::new(0);
        heard(&mut old, &[odd]);
        let mut new = Master::new(0);
        new.adopt(&old, true);
        assert_eq!(heard(&mut new, &[0.25; 4]), [0.25; 4]);
    }
}
