//! Hard sync: a turn of an oscillator begins anew where a signal rises through 0.
//!
//! It rises between two frames; the turn begins there too, but a frame later: so the frame before it is
//! not over yet, and the jump can be rounded over both, as any other edge is.

use super::oscillator::Steps;
use crate::{
    lanes::{Bits, Lanes, Mask},
    math,
    module::{Io, State},
};

/// Cells of state.
pub const CELLS: usize = 2;
const AGO: usize = 0;
const JUMP: usize = 1;
/// The least time ago, in frames, that is told from none.
const JUST_NOW: f32 = 1e-6;

/// What is at `sync`, in the frame before and now.
#[derive(Clone, Copy)]
pub struct Sync<L: Lanes> {
    pub before: L,
    pub now: L,
}

impl<L: Lanes> Sync<L> {
    /// Where it has risen through 0 since the frame before.
    #[inline(always)]
    pub fn rises(&self, io: &Io<'_, L>) -> L::Mask {
        let zero = io.splat(0.0);
        self.before.le(zero) & zero.lt(self.now)
    }

    /// How long ago, in frames, from [`JUST_NOW`] to 1; where it has not risen, some number.
    #[inline(always)]
    pub fn ago(&self, io: &Io<'_, L>) -> L {
        let straight = self.now / (self.now - self.before);
        straight.min(io.splat(1.0)).max(io.splat(JUST_NOW))
    }
}

/// Where an oscillator is at a frame.
pub struct Here<L: Lanes> {
    pub phase: L::Bits,
    pub steps: Steps<L>,
    /// What rounds a jump, added to the wave.
    pub rounds: L,
}

/// A turn that begins anew between this frame and the next.
pub struct Anew<L: Lanes> {
    /// How long before the next, in frames; 0 where it does not.
    ago: L,
    /// How far the wave jumps there.
    jump: L,
}

impl<L: Lanes> Anew<L> {
    #[inline(always)]
    pub fn load(state: &State<'_, L>, first: usize) -> Self {
        Self {
            ago: state.get(first + AGO),
            jump: state.get(first + JUMP),
        }
    }

    #[inline(always)]
    pub fn store(&self, state: &mut State<'_, L>, first: usize) {
        state.set(first + AGO, self.ago);
        state.set(first + JUMP, self.jump);
    }

    /// It does not begin.
    #[inline(always)]
    pub fn forget(&mut self, io: &Io<'_, L>) {
        self.ago = io.splat(0.0);
    }

    /// Where it has begun since the frame before, the phase is what has passed of it, and the second half of
    /// the jump's rounding is due.
    #[inline(always)]
    pub fn begun(&self, io: &Io<'_, L>, here: &mut Here<L>, last_hz: L) {
        let begins = io.splat(0.0).lt(self.ago);
        if !begins.any() {
            return;
        }
        let gone = math::step(io, last_hz * self.ago);
        here.phase = L::Bits::select(begins, gone, here.phase);
        here.steps = here.steps.without_edge_behind(io, begins, last_hz);
        let rest = io.splat(1.0) - self.ago;
        let rounds = -(self.jump * rest * rest * io.splat(0.5));
        here.rounds = L::select(begins, rounds, here.rounds);
    }

    /// Where the signal has risen, it will begin before the next frame, and the first half of the jump's
    /// rounding is due.
    #[inline(always)]
    pub fn begins(
        &mut self,
        io: &Io<'_, L>,
        here: &mut Here<L>,
        hz: L,
        sync: Sync<L>,
        wave: impl Fn(L::Bits, Steps<L>) -> L,
    ) {
        self.forget(io);
        let rises = sync.rises(io);
        if !rises.any() {
            return;
        }
        let zero = io.splat(0.0);
        self.ago = L::select(rises, sync.ago(io), zero);
        // Until then the turn goes on; it begins just behind 0, whichever way it goes.
        let until = hz * (io.splat(1.0) - self.ago);
        let end = here.phase + math::step(io, until);
        let start = L::Bits::select(until.lt(zero), io.splat_bits(!0 << 8), io.splat_bits(0));
        let bare = here.steps.without_edges(io);
        let height = wave(start, bare) - wave(end, bare);
        self.jump = L::select(rises, height, self.jump);
        let rounds = height * self.ago * self.ago * io.splat(0.5);
        here.rounds = here.rounds + L::select(rises, rounds, zero);
        // The wave does not come to its own edge any more, unless that is nearer.
        let behind = math::turns(io, end).lt(math::turns(io, here.phase));
        let forwards = zero.le(hz);
        let passes = (behind & forwards) | (!behind & !forwards);
        here.steps = here.steps.without_edge_ahead(io, rises & !passes, hz);
    }
}
