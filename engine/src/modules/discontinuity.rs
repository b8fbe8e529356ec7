//! Removes the discontinuity at a change of a stepped parameter: the step in the output is cancelled, and the
//! cancellation fades out over the glide time of a parameter, so that the change does not click.

use crate::{
    lanes::Lanes,
    module::{Io, State},
    smooth::glide_frames,
};

/// The cells: the choice, the remaining frames, the step, and the last output.
pub const CELLS: usize = 4;

/// The state during a block.
pub struct Discontinuity<L> {
    choice: u32,
    left: u32,
    begins: bool,
    each: f32,
    step: L,
    last: L,
}

impl<L: Lanes> Discontinuity<L> {
    /// Begins a block with a choice, the same for all channels; `at` is the first cell.
    #[inline(always)]
    pub fn begin(io: &Io<'_, L>, state: &mut State<'_, L>, at: usize, choice: u32) -> Self {
        let frames = glide_frames(io.context.rate_hz);
        let begins = *state.cell(at, 0) != choice;
        let left = (*state.cell(at + 1, 0)).min(frames);
        Self {
            choice,
            left: if begins { frames } else { left },
            begins,
            each: 1.0 / frames as f32,
            step: state.get(at + 2),
            last: state.get(at + 3),
        }
    }

    /// The output of the next frame for `value`.
    #[inline(always)]
    pub fn next(&mut self, io: &Io<'_, L>, value: L) -> L {
        let mut heard = value;
        if self.left > 0 {
            if self.begins {
                self.begins = false;
                self.step = self.last - value;
            }
            self.left -= 1;
            heard = value + self.step * io.splat(self.left as f32 * self.each);
        }
        self.last = heard;
        heard
    }

    /// Ends the block.
    #[inline(always)]
    pub fn end(self, io: &Io<'_, L>, state: &mut State<'_, L>, at: usize) {
        state.set_bits(at, io.splat_bits(self.choice));
        state.set_bits(at + 1, io.splat_bits(self.left));
        state.set_flushed(at + 2, self.step);
        state.set_flushed(at + 3, self.last);
    }
}
