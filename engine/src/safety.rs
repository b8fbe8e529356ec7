//! The safety stage: the engine's last stage, which protects speakers and ears.
//!
//! The stage has a look-ahead limiter with one gain for all channels, a high-pass that removes lasting DC, and a
//! slow fade-in after a mute. While none of them has anything to do, the sound passes bit for bit, delayed by
//! [`safety_delay_frames`]. The delay is always present, so that switching the stage off or on causes no jump.
//! The state is part of the arena, so a replica continues in any situation.

use std::f32::consts::{LOG2_E, TAU};

use bytemuck::{Pod, Zeroable};
use common::limits::safety_delay_frames;

use crate::{engine::Config, lookahead::Gain, master::canonical, smooth::Smooth};

/// The ceiling that no sample exceeds: -0.2 dBFS, 10^(-0.2/20).
pub const CEILING: f32 = 0.977_237_2;
/// The limiter's release time.
const RELEASE_MS: f32 = 100.0;
/// What counts as DC: a mean beyond -26 dBFS, 10^(-26/20).
const DC: f32 = 0.050_118_72;
/// Each window of a sixteenth of a second has a mean; sixteen means in a row beyond [`DC`] and of one sign are
/// lasting DC. A tone of 16 Hz or more cannot do that at any level up to full scale.
const WINDOWS: u32 = 16;
/// Fade-in and fade-out time of the high-pass.
const DC_FADE_MS: f32 = 500.0;
/// The corner of the high-pass: it takes 0.1 dB at 20 Hz.
const DC_CORNER_HZ: f32 = 3.0;
/// Fade-in time after a mute.
const RISE_MS: f32 = 500.0;

/// A sample as an integer; the sum over a part fits 32 bits for every sample that is not muted. Rounds by adding
/// a number whose last bit is worth 1, which costs less than a saturating conversion.
fn counted(sample: f32) -> i32 {
    const ROUNDS: f32 = 12_582_912.0;
    (sample * COUNTS + ROUNDS)
        .to_bits()
        .wrapping_sub(ROUNDS.to_bits()) as i32
}

/// See [`counted`].
const COUNTS: f32 = 16_384.0;

/// The state of a channel.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Channel {
    /// The sum of this window's samples, each converted by [`counted`], so that the sum does not depend on how
    /// the window is cut.
    sum: i64,
    /// How far the high-pass is faded in; 0 while there is no DC.
    weight: Smooth,
    /// The low-passed signal, which the high-pass subtracts.
    low: f32,
    /// Consecutive windows with DC; negative for negative DC.
    run: i16,
    /// Consecutive windows without DC.
    quiet_windows: u16,
}

/// The state of the stage, except that of the channels, the delay line and the limiter's rings.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Head {
    /// Samples above the ceiling that came in while the stage was on.
    limited_samples: u64,
    gain: Gain,
    /// The gain after a mute.
    rise: Smooth,
    /// Frames until the gain begins to rise; 0 if it does not.
    rise_in: u32,
    was_muted: u32,
    /// The position in the delay line.
    at: u32,
    /// Frames left in this window, and windows left in this second.
    window_left: u32,
    windows_left: u32,
    /// The largest reduction of the limiter in this second, and in the one before.
    most: f32,
    most_before: f32,
    /// Channels in which the high-pass is active.
    blocked: u32,
}

const HEAD_WORDS: usize = size_of::<Head>() / 8;
const CHANNEL_WORDS: usize = size_of::<Channel>() / 8;

/// What the stage removes at present.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Removed {
    /// The largest reduction of the limiter within the last one to two seconds: 0 for none, 1 for all.
    pub limited: f32,
    /// Samples above -0.2 dBFS since the state began, over all channels.
    pub limited_samples: u64,
    /// The largest DC that is removed from a channel at present.
    pub dc: f32,
}

/// Words of the stage in the arena.
pub const fn words(config: Config) -> usize {
    let delay = safety_delay_frames(config.rate_hz) as usize;
    let rings = delay * config.channels as usize + 2 * (delay + 1);
    HEAD_WORDS + config.channels as usize * CHANNEL_WORDS + rings.div_ceil(2)
}

/// The stage, over its words of the arena.
pub struct Safety<'a> {
    head: &'a mut Head,
    /// A sum and a high-pass for each channel.
    dc: &'a mut [Channel],
    /// The delay line, interleaved, and the limiter's two rings.
    delayed: &'a mut [f32],
    window: &'a mut [f32],
    most_after: &'a mut [f32],
    channels: usize,
    rate_hz: f32,
}

impl<'a> Safety<'a> {
    /// The stage over its [`words`].
    pub fn of(words: &'a mut [u64], config: Config) -> Self {
        let delay = safety_delay_frames(config.rate_hz) as usize;
        let channels = config.channels as usize;
        let (head, words) = words.split_at_mut(HEAD_WORDS);
        let (dc, rings) = words.split_at_mut(channels * CHANNEL_WORDS);
        let rings: &mut [f32] = bytemuck::cast_slice_mut(rings);
        let (delayed, rings) = rings.split_at_mut(delay * channels);
        let (window, rings) = rings.split_at_mut(delay + 1);
        Self {
            head: bytemuck::from_bytes_mut(bytemuck::cast_slice_mut(head)),
            dc: bytemuck::cast_slice_mut(dc),
            delayed,
            window,
            most_after: &mut rings[..delay + 1],
            channels,
            rate_hz: config.rate_hz as f32,
        }
    }

    /// Sets the initial state; all words must be 0.
    pub fn begin(&mut self) {
        self.head.rise = Smooth::at(1.0);
        self.head.window_left = self.window_frames();
        self.head.windows_left = WINDOWS;
    }

    fn window_frames(&self) -> u32 {
        self.rate_hz as u32 / WINDOWS
    }

    /// What the stage removes at present.
    pub fn removed(&self) -> Removed {
        let channels = self.dc.iter();
        let dc = channels.map(|channel| (channel.weight.value() * channel.low).abs());
        Removed {
            limited: self.head.most.max(self.head.most_before),
            limited_samples: self.head.limited_samples,
            dc: dc.fold(0.0, f32::max),
        }
    }

    /// Renders frames in place, interleaved. `on` is false if the patch has switched the stage off; `muted` is
    /// true if these frames are muted.
    ///
    /// # Real-time
    /// Yes; with nothing to do, the cost is a comparison and a copy of each sample.
    pub fn render(&mut self, on: bool, muted: bool, out: &mut [f32]) {
        let delay = self.delayed.len() / self.channels;
        if on && !muted && self.head.was_muted != 0 {
            // When the present frames leave the delay.
            self.head.rise_in = delay as u32;
        }
        self.head.was_muted = u32::from(muted);
        self.head.at %= delay as u32;
        self.head.gain.at %= self.window.len() as u32;
        let mut rest = out;
        while !rest.is_empty() {
            if self.head.at as usize == delay {
                self.head.at = 0;
            }
            let mut frames = (rest.len() / self.channels).min(delay - self.head.at as usize);
            frames = frames.min(self.head.window_left.max(1) as usize);
            if self.head.rise_in > 0 {
                frames = frames.min(self.head.rise_in as usize);
            }
            let (part, later) = rest.split_at_mut(frames * self.channels);
            self.part(on, part);
            self.fade_in(part);
            self.pass(on, frames as u32);
            rest = later;
        }
    }

    /// Applies high-pass and limiter, and delays.
    fn part(&mut self, on: bool, part: &mut [f32]) {
        let mut peak = self.look_at(part);
        if self.head.blocked > 0 {
            self.block_dc(part);
            peak = part.iter().fold(0.0, |peak, sample| peak.max(sample.abs()));
        }
        if (on && peak > CEILING) || !self.head.gain.is_at_rest() {
            self.limit(on, part);
        } else {
            let from = self.head.at as usize * self.channels;
            self.delayed[from..from + part.len()].swap_with_slice(part);
        }
    }

    /// Adds the samples to each channel's sum; returns the largest absolute sample.
    fn look_at(&mut self, part: &[f32]) -> f32 {
        const SIDE_BY_SIDE: usize = 16;
        let mut peaks = [0.0_f32; SIDE_BY_SIDE];
        if !SIDE_BY_SIDE.is_multiple_of(self.channels) {
            for frame in part.chunks_exact(self.channels) {
                for (channel, sample) in self.dc.iter_mut().zip(frame) {
                    channel.sum = channel.sum.wrapping_add(counted(*sample).into());
                    peaks[0] = peaks[0].max(sample.abs());
                }
            }
            return peaks[0];
        }
        let mut sums = [0_i32; SIDE_BY_SIDE];
        let mut add = |samples: &[f32]| {
            for ((sum, peak), sample) in sums.iter_mut().zip(&mut peaks).zip(samples) {
                *sum = sum.wrapping_add(counted(*sample));
                let size = sample.abs();
                *peak = if size > *peak { size } else { *peak };
            }
        };
        let (chunks, rest) = part.as_chunks::<SIDE_BY_SIDE>();
        chunks.iter().for_each(|chunk| add(chunk));
        add(rest);
        for (number, sum) in sums.into_iter().enumerate() {
            let whole = &mut self.dc[number % self.channels].sum;
            *whole = whole.wrapping_add(sum.into());
        }
        peaks.into_iter().fold(0.0, f32::max)
    }

    /// The high-pass, weighted by its fade-in.
    fn block_dc(&mut self, part: &mut [f32]) {
        let pace = TAU * DC_CORNER_HZ / self.rate_hz;
        for (number, channel) in self.dc.iter_mut().enumerate() {
            if channel.weight.at_rest() == Some(0.0) {
                continue;
            }
            for sample in part.iter_mut().skip(number).step_by(self.channels) {
                channel.low += pace * (*sample - channel.low);
                *sample = canonical(*sample - channel.weight.next() * channel.low);
            }
        }
    }

    fn limit(&mut self, on: bool, part: &mut [f32]) {
        let keep = libm::exp2f(-1000.0 * LOG2_E / (self.rate_hz * RELEASE_MS));
        let delayed = self.delayed.chunks_exact_mut(self.channels);
        let delayed = delayed.skip(self.head.at as usize);
        for (frame, delayed) in part.chunks_exact_mut(self.channels).zip(delayed) {
            let mut peak = CEILING;
            for sample in frame.iter_mut().filter(|_| on) {
                // NaN becomes silence.
                *sample = if sample.is_nan() { 0.0 } else { *sample };
                let size = sample.abs();
                let over = u64::from(size > CEILING);
                self.head.limited_samples = self.head.limited_samples.wrapping_add(over);
                peak = peak.max(size);
            }
            let needed = 1.0 - CEILING / peak;
            let (window, most_after) = (&mut *self.window, &mut *self.most_after);
            let left = self.head.gain.next(needed, keep, window, most_after);
            frame.swap_with_slice(delayed);
            if left < 1.0 {
                self.head.most = self.head.most.max(1.0 - left);
                for sample in frame {
                    let less = *sample * left;
                    // Removes the rounding error. A larger excess came in while the stage was off and stays.
                    let is_rounded = less.abs() <= CEILING * 1.000_01;
                    let most = if is_rounded { CEILING } else { f32::MAX };
                    *sample = canonical(less.clamp(-most, most));
                }
            }
        }
    }

    /// Applies the fade-in after a mute to the delayed output.
    fn fade_in(&mut self, part: &mut [f32]) {
        if self.head.rise.at_rest() == Some(1.0) {
            return;
        }
        for frame in part.chunks_exact_mut(self.channels) {
            let gain = self.head.rise.next();
            for sample in frame {
                *sample = canonical(*sample * gain);
            }
        }
    }

    /// Counts frames that have passed.
    fn pass(&mut self, on: bool, frames: u32) {
        let head = &mut *self.head;
        head.at += frames;
        if head.rise_in > 0 {
            head.rise_in = head.rise_in.saturating_sub(frames);
            if head.rise_in == 0 {
                head.rise = Smooth::at(0.0);
                head.rise.glide_over(1.0, RISE_MS, self.rate_hz);
            }
        }
        head.window_left = head.window_left.saturating_sub(frames);
        if head.window_left > 0 {
            return;
        }
        self.end_window(on);
        let head = &mut *self.head;
        head.window_left = self.rate_hz as u32 / WINDOWS;
        head.windows_left = head.windows_left.saturating_sub(1);
        if head.windows_left == 0 {
            head.windows_left = WINDOWS;
            head.most_before = std::mem::take(&mut head.most);
        }
    }

    /// Evaluates a window's means: begins or ends the removal of DC.
    fn end_window(&mut self, on: bool) {
        let all = self.window_frames() as f32 * COUNTS;
        let (rate_hz, last) = (self.rate_hz, WINDOWS as i16);
        self.head.blocked = 0;
        for channel in self.dc.iter_mut() {
            let mean = std::mem::take(&mut channel.sum) as f32 / all;
            let is_dc = on && mean.abs() > DC;
            let sign = if mean < 0.0 { -1 } else { 1 };
            channel.run = match is_dc {
                false => 0,
                true if channel.run.signum() == sign => {
                    channel.run.saturating_add(sign).clamp(-last, last)
                }
                true => sign,
            };
            channel.quiet_windows = if is_dc {
                0
            } else {
                channel.quiet_windows.saturating_add(1).min(WINDOWS as u16)
            };
            let is_idle = channel.weight.at_rest() == Some(0.0);
            if channel.run.unsigned_abs() == last.unsigned_abs() {
                if is_idle {
                    // The high-pass starts in its settled state, so that nothing jumps.
                    channel.low = mean;
                }
                channel.weight.glide_over(1.0, DC_FADE_MS, rate_hz);
            } else if channel.quiet_windows == WINDOWS as u16 || !on {
                channel.weight.glide_over(0.0, DC_FADE_MS, rate_hz);
            }
            if channel.weight.at_rest() == Some(0.0) {
                channel.low = 0.0;
            } else {
                self.head.blocked += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
