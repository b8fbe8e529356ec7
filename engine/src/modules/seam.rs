//! A seam: where a choice changes what comes out, the step that this would be is taken back over the
//! time that a parameter glides, so that no change of a choice clicks.

use crate::{
    lanes::Lanes,
    module::{Io, State},
    smooth::glide_frames,
};

/// Cells that it needs: the choice, the frames that are left, the step, and what came out last.
pub const CELLS: usize = 4;

/// A seam during a block.
pub struct Seam<L> {
    choice: u32,
    left: u32,
    begins: bool,
    each: f32,
    step: L,
    last: L,
}

impl<L: Lanes> Seam<L> {
    /// Begins a block with that choice, which is the same for all channels; `at` is the first cell.
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

    /// What comes out of the next frame, in which it would be that value.
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
        state.set_calm(at + 2, self.step);
        state.set_calm(at + 3, self.last);
    }
}
