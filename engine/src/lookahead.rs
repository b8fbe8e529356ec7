//! The gain of a look-ahead limiter, shared by the module `limiter` and the safety stage.
//!
//! The reduction that a frame needs is held for the whole look-ahead, decays with the release, and is averaged
//! over the look-ahead, so that the gain has fallen smoothly when the frame is output. An average of gains that
//! are all low enough is low enough itself, so the arithmetic guarantees the ceiling. The average is an integer
//! sum, which never drifts; without any reduction the gain is exactly 1.
//!
//! # Source
//! Geraint Luff, Designing a straightforward limiter, 2022,
//! <https://signalsmith-audio.co.uk/writing/2022/limiter/>; the maximum of a moving window: Marcel van
//! Herk, A fast algorithm for local minimum and maximum filters, 1992.

use bytemuck::{Pod, Zeroable};

/// A full reduction (gain 0) as an integer, so small that the sum over the look-ahead fits 32 bits.
const WHOLE: f32 = 8_388_608.0;
/// The most frames of look-ahead for which that sum fits.
pub const FRAMES_MAX: usize = 500;

/// The limiter's state, besides two rings as long as the look-ahead.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Gain {
    /// The position in the rings.
    pub at: u32,
    /// The largest reduction needed since the beginning of the rings.
    pub most: f32,
    /// The reduction: held, then decaying with the release.
    pub taken: f32,
    /// The sum of the reductions over the look-ahead.
    pub sum: u32,
}

impl Gain {
    /// Takes a frame that needs a reduction of `needed` (0 to 1); returns the gain for the frame that came
    /// `window.len() - 1` frames before. `keep` is the part of a reduction that is left after one frame.
    /// `window` holds the reductions; `most_after` holds the largest reduction needed from each position of the
    /// last window to its end. Both have the same length, at most [`FRAMES_MAX`].
    ///
    /// # Real-time
    /// Yes; constant time, except once per window, where the time is in proportion to its length.
    #[inline(always)]
    pub fn next(
        &mut self,
        needed: f32,
        keep: f32,
        window: &mut [f32],
        most_after: &mut [f32],
    ) -> f32 {
        let len = window.len();
        let at = self.at as usize;
        self.most = if at == 0 {
            needed
        } else {
            self.most.max(needed)
        };
        let older = most_after.get(at + 1).copied().unwrap_or(0.0);
        let held = self.most.max(older);
        most_after[at] = needed;
        if at + 1 == len {
            let mut after: f32 = 0.0;
            for place in most_after.iter_mut().rev() {
                after = after.max(*place);
                *place = after;
            }
        }
        self.taken = held.max(self.taken * keep);
        self.taken = if self.taken > 1e-9 {
            self.taken.min(1.0)
        } else {
            0.0
        };
        let steps = (self.taken * WHOLE).ceil() as u32;
        self.sum = (self.sum)
            .wrapping_add(steps)
            .wrapping_sub(window[at].to_bits());
        window[at] = f32::from_bits(steps);
        self.at = if at + 1 < len { at as u32 + 1 } else { 0 };
        1.0 - self.sum as f32 * (1.0 / (len as f32 * WHOLE))
    }

    /// Whether no reduction is in effect and none will be for the frames taken so far. Then both rings are all
    /// 0, and frames that need no reduction may be skipped.
    pub fn is_at_rest(&self) -> bool {
        self.taken == 0.0 && self.sum == 0
    }
}
