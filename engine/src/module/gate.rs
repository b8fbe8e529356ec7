//! A gate: how far it is open, and the strikes in its queue.
//!
//! Several events may open and close a gate in one frame. One rule covers all cases: each opening is a strike
//! at its own height, and a module hears one strike a frame. So a gate that opens and closes in one frame is
//! open for that frame, a gate that closes and opens is struck again, and further strikes follow in the next
//! frames. Modules see a gate through [`Edges`], whether events or a cable open it; modules that put a gate on
//! a cable use [`Shown`].

use crate::lanes::Lanes;

/// The most strikes in the queue; a further opening replaces the last of them.
pub const STRIKES_MAX: u32 = 64;
/// How many heights are stored: one for each of the next two strikes, one for all later ones.
const HEIGHTS: usize = 3;

/// The queued strikes, one per frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Strikes {
    count: u32,
    heights: [f32; HEIGHTS],
}

impl Strikes {
    /// Cells of the queue.
    pub const CELLS: usize = 1 + HEIGHTS;

    /// Reads the queue from its cells, which may hold any bits.
    #[inline(always)]
    pub fn load(mut cell: impl FnMut(usize) -> u32) -> Self {
        Self {
            count: cell(0).min(STRIKES_MAX),
            heights: std::array::from_fn(|number| f32::from_bits(cell(1 + number))),
        }
    }

    /// Writes the queue to its cells.
    #[inline(always)]
    pub fn keep(self, mut set: impl FnMut(usize, u32)) {
        set(0, self.count);
        for (number, height) in self.heights.into_iter().enumerate() {
            set(1 + number, height.to_bits());
        }
    }

    /// The number of strikes.
    #[inline(always)]
    pub const fn count(&self) -> usize {
        self.count as usize
    }

    /// Appends a strike.
    pub fn push(&mut self, height: f32) {
        self.heights[self.count().min(HEIGHTS - 1)] = height;
        self.count = (self.count + 1).min(STRIKES_MAX);
    }

    /// The height of the strike that is due in `frame` frames.
    #[inline(always)]
    fn at(&self, frame: usize) -> Option<f32> {
        (frame < self.count()).then(|| self.heights[frame.min(HEIGHTS - 1)])
    }

    /// Removes the next strike.
    #[inline(always)]
    fn pop(&mut self) -> Option<f32> {
        let next = self.at(0)?;
        for number in 1..self.count().min(HEIGHTS) {
            self.heights[number - 1] = self.heights[number];
        }
        self.count -= 1;
        Some(next)
    }
}

/// A gate that is opened and closed by events, for all channels at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gate {
    /// How far the gate is open once all strikes have been played: 0 (closed) to 1.
    level: f32,
    strikes: Strikes,
}

impl Gate {
    /// Cells of the gate.
    pub const CELLS: usize = 1 + Strikes::CELLS;

    /// Reads the gate from its cells.
    #[inline(always)]
    pub fn load(cells: &[u32]) -> Self {
        Self {
            level: f32::from_bits(cells[0]),
            strikes: Strikes::load(|cell| cells[1 + cell]),
        }
    }

    #[inline(always)]
    fn keep(self, cells: &mut [u32]) {
        cells[0] = self.level.to_bits();
        self.strikes.keep(|cell, bits| cells[1 + cell] = bits);
    }

    /// Opens or closes the gate by an event.
    pub fn event(cells: &mut [u32], level: f32) {
        let mut gate = Self::load(cells);
        gate.level = level.clamp(0.0, 1.0);
        if level > 0.0 {
            gate.strikes.push(gate.level);
        }
        gate.keep(cells);
    }

    /// Drops the strikes of the frames that have passed.
    #[inline(always)]
    pub fn pass(mut self, cells: &mut [u32], frames: usize) {
        if self.strikes.count > 0 {
            for _ in 0..frames.min(self.strikes.count()) {
                self.strikes.pop();
            }
            self.keep(cells);
        }
    }

    /// How far the gate is open in a frame, and whether it is opened in that frame, perhaps again.
    #[inline(always)]
    pub fn at(&self, frame: usize) -> (f32, bool) {
        match self.strikes.at(frame) {
            Some(height) => (height, true),
            None => (self.level, false),
        }
    }

    /// The first frame from which on the gate stays as it is.
    #[inline(always)]
    pub const fn stands_from(&self) -> usize {
        self.strikes.count()
    }
}

/// The edges of a gate: the event gate or the cable's gate, whichever is further open.
#[derive(Clone, Copy)]
pub struct Edges<L: Lanes> {
    events: Gate,
    token: L::Token,
    /// How far the gate was open in the frame before.
    pub before: L,
}

/// A gate in a frame.
#[derive(Clone, Copy)]
pub struct Edge<L: Lanes> {
    /// How far the gate is open, and in which channels it is open.
    pub gate: L,
    pub open: L::Mask,
    /// Where the gate opens, perhaps again; and where it closes.
    pub opens: L::Mask,
    pub closes: L::Mask,
}

impl<L: Lanes> Edges<L> {
    /// The edges of a gate, given how far it was open in the frame before.
    #[inline(always)]
    pub const fn of(token: L::Token, events: Gate, before: L) -> Self {
        Self {
            events,
            token,
            before,
        }
    }

    /// How far the gate is open in a frame, given the cable's gate.
    #[inline(always)]
    pub fn gate(&self, frame: usize, cable: L) -> L {
        cable.max(L::splat(self.token, self.events.at(frame).0))
    }

    /// Advances to a frame, given the cable's gate.
    #[inline(always)]
    pub fn next(&mut self, frame: usize, cable: L) -> Edge<L> {
        let zero = L::splat(self.token, 0.0);
        let gate = self.gate(frame, cable);
        let (was, open) = (zero.lt(self.before), zero.lt(gate));
        let (_, again) = self.events.at(frame);
        self.before = gate;
        Edge {
            gate,
            open,
            opens: if again { open } else { open & !was },
            closes: was & !open,
        }
    }
}

/// A gate as put on a cable, which carries only the level: a gate that is struck while it is open closes for
/// one frame first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    strikes: Strikes,
    /// How far the gate was open in the frame before.
    before: f32,
}

impl Shown {
    /// Cells of this gate.
    pub const CELLS: usize = Strikes::CELLS + 1;

    /// Reads the gate from its cells.
    #[inline(always)]
    pub fn load(mut cell: impl FnMut(usize) -> u32) -> Self {
        Self {
            before: f32::from_bits(cell(Strikes::CELLS)),
            strikes: Strikes::load(cell),
        }
    }

    /// Writes the gate to its cells.
    #[inline(always)]
    pub fn keep(self, mut set: impl FnMut(usize, u32)) {
        set(Strikes::CELLS, self.before.to_bits());
        self.strikes.keep(set);
    }

    /// Opens the gate, perhaps again.
    #[inline(always)]
    pub fn strike(&mut self, height: f32) {
        self.strikes.push(height);
    }

    /// Whether no strike is due: the gate then stays as it is until an event or a cable changes it.
    #[inline(always)]
    pub const fn stands(&self) -> bool {
        self.strikes.count == 0
    }

    /// The cable's value in the next frame, given the gate's level.
    #[inline(always)]
    pub fn next(&mut self, level: f32) -> f32 {
        let last = self.strikes.count <= 1;
        self.before = match self.strikes.at(0) {
            None => level,
            Some(_) if self.before > 0.0 => 0.0,
            Some(height) => {
                self.strikes.pop();
                if last { height.max(level) } else { height }
            }
        };
        self.before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a module sees of an event gate, in blocks of that many frames: the level, and whether it is
    /// struck.
    fn seen(events: &[f32], blocks: usize, frames: usize) -> Vec<(f32, bool)> {
        let mut cells = [0; Gate::CELLS];
        for level in events {
            Gate::event(&mut cells, *level);
        }
        let mut seen = Vec::new();
        while seen.len() < frames {
            let gate = Gate::load(&cells);
            seen.extend((0..blocks).map(|frame| gate.at(frame)));
            gate.pass(&mut cells, blocks);
        }
        seen.truncate(frames);
        seen
    }

    #[test]
    fn each_opening_of_a_frame_is_a_strike_of_its_own() {
        for blocks in [1, 2, 3, 64] {
            let seen = |events: &[f32]| seen(events, blocks, 6);
            let (shut, open) = ((0.0, false), (0.5, false));
            assert_eq!(seen(&[]), [shut; 6]);
            assert_eq!(seen(&[0.0, 0.0]), [shut; 6]);
            assert_eq!(
                seen(&[0.5]),
                [(0.5, true), open, open, open, open, open],
                "in blocks of {blocks}"
            );
            assert_eq!(
                seen(&[0.5, 0.0]),
                [(0.5, true), shut, shut, shut, shut, shut]
            );
            assert_eq!(
                seen(&[0.0, 0.5]),
                [(0.5, true), open, open, open, open, open]
            );
            assert_eq!(
                seen(&[0.1, 0.0, 0.2, 0.0, 0.3, 0.0, 0.4, 0.0]),
                // All strikes between the second and the last have the height of the last.
                [0.1, 0.2, 0.4, 0.4]
                    .map(|height| (height, true))
                    .into_iter()
                    .chain([shut, shut])
                    .collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn strikes_of_a_frame_are_bounded_and_the_last_word_counts() {
        let events: Vec<f32> = (0..1_000)
            .map(|n| if n == 999 { 0.9 } else { 0.3 })
            .collect();
        for blocks in [1, 7, 64] {
            let seen = seen(&events, blocks, 70);
            let struck = seen.iter().filter(|(_, struck)| *struck).count();
            assert_eq!(struck, STRIKES_MAX as usize);
            assert_eq!(seen[63], (0.9, true));
            assert_eq!(seen[64], (0.9, false));
        }
    }

    #[test]
    fn a_cable_shows_every_strike_as_a_rise_from_0() {
        let mut shown = Shown::default();
        let mut next = |strikes: &[f32], level: f32, frames: usize| {
            strikes.iter().for_each(|height| shown.strike(*height));
            (0..frames).map(|_| shown.next(level)).collect::<Vec<_>>()
        };
        // On and off in one frame; on; off and on in one frame; off.
        assert_eq!(next(&[0.5], 0.0, 3), [0.5, 0.0, 0.0]);
        assert_eq!(next(&[0.5], 0.5, 3), [0.5, 0.5, 0.5]);
        assert_eq!(next(&[0.7], 0.7, 3), [0.0, 0.7, 0.7]);
        assert_eq!(next(&[], 0.0, 2), [0.0, 0.0]);
        // Three strikes in one frame.
        let three = [0.1, 0.0, 0.2, 0.0, 0.3, 0.3];
        assert_eq!(next(&[0.1, 0.2, 0.3], 0.3, 6), three);
        // Struck again and closed a frame later: the strike is not lost.
        assert_eq!(next(&[0.9], 0.9, 1), [0.0]);
        assert_eq!(next(&[], 0.0, 2), [0.9, 0.0]);
        // Another gate that stays open at the same time.
        assert_eq!(next(&[0.4], 0.6, 2), [0.6, 0.6]);
        assert_eq!(next(&[], 0.6, 1), [0.6]);
    }
}
