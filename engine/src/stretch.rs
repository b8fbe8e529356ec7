//! The frames for which a module is processed at once.
//!
//! A segment consists of the frames of a block between two cuts; the cables' blocks hold a whole segment. Most
//! modules are processed once per segment. The modules of a loop are processed once per frame, and read and write
//! that frame's samples in the same blocks. So nothing is copied into or out of a loop, and modules after it find
//! whole blocks.

use std::ops::Range;

/// Frames of a segment: all, or one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The number of frames.
    pub frames: usize,
    /// Frames of the segment before this stretch.
    before: usize,
    /// Frames of the segment.
    segment: usize,
    /// Where the segment begins in its block.
    begin: usize,
}

impl Stretch {
    /// A whole segment: those frames of a block.
    pub const fn whole(segment: Range<usize>) -> Self {
        let frames = segment.end - segment.start;
        Self {
            frames,
            before: 0,
            segment: frames,
            begin: segment.start,
        }
    }

    /// Divides the stretch into stretches of `frames` frames: one, or all.
    pub fn each(self, frames: usize) -> impl Iterator<Item = Self> {
        let firsts = (self.before..self.before + self.frames).step_by(frames.max(1));
        firsts.map(move |before| Self {
            frames,
            before,
            ..self
        })
    }

    /// Whether it is the whole segment.
    #[inline(always)]
    pub const fn is_whole(self) -> bool {
        self.frames == self.segment
    }

    /// The index of its first frame in the block.
    pub const fn at(self) -> usize {
        self.begin + self.before
    }

    /// The index in a buffer of a group's first sample, with `lanes` channels side by side.
    #[inline(always)]
    pub const fn first(self, lanes: usize, group: usize) -> usize {
        (group * self.segment + self.before) * lanes
    }

    /// The indices in a buffer of all samples of a group.
    #[inline(always)]
    pub const fn samples(self, lanes: usize, group: usize) -> Range<usize> {
        let first = self.first(lanes, group);
        first..first + self.frames * lanes
    }

    /// The indices in a buffer of the frames of a single channel.
    #[inline(always)]
    pub const fn mono(self) -> Range<usize> {
        self.samples(1, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_frames_lie_where_they_lie_in_the_whole() {
        let whole = Stretch::whole(10..13);
        assert_eq!(whole.samples(8, 1), 24..48);
        let frames: Vec<_> = whole.each(1).collect();
        let places = |lanes, group| frames.iter().map(move |f| f.samples(lanes, group));
        assert_eq!(places(1, 0).collect::<Vec<_>>(), [0..1, 1..2, 2..3]);
        assert_eq!(places(8, 1).collect::<Vec<_>>(), [24..32, 32..40, 40..48]);
        assert_eq!(
            frames.iter().map(|f| f.at()).collect::<Vec<_>>(),
            [10, 11, 12]
        );
        assert!(frames.iter().all(|frame| !frame.is_whole()));
        assert_eq!(whole.each(3).collect::<Vec<_>>(), [whole]);
        assert!(whole.is_whole() && frames[2].each(1).eq([frames[2]]));
    }
}
