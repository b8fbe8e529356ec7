//! Hard sync: a rising zero crossing of a signal restarts the cycle of an oscillator.
//!
//! The crossing lies between two frames. The cycle restarts at the same position, but a frame later: then the frame
//! before the restart is still to be rendered, and the jump can be rounded over both frames like any other edge.

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
/// The least time since a crossing, in frames, that is distinguished from none.
const JUST_NOW: f32 = 1e-6;

/// The input `sync`, in the previous frame and now.
#[derive(Clone, Copy)]
pub struct Sync<L: Lanes> {
    pub before: L,
    pub now: L,
}

impl<L: Lanes> Sync<L> {
    /// The channels with a rising zero crossing since the previous frame.
    #[inline(always)]
    pub fn rises(&self, io: &Io<'_, L>) -> L::Mask {
        let zero = io.splat(0.0);
        self.before.le(zero) & zero.lt(self.now)
    }

    /// The time since the crossing, in frames, from [`JUST_NOW`] to 1; arbitrary for channels without a crossing.
    #[inline(always)]
    pub fn ago(&self, io: &Io<'_, L>) -> L {
        let straight = self.now / (self.now - self.before);
        straight.min(io.splat(1.0)).max(io.splat(JUST_NOW))
    }
}

/// The state of an oscillator at a frame.
pub struct Here<L: Lanes> {
    pub phase: L::Bits,
    pub steps: Steps<L>,
    /// The correction that rounds a jump, added to the wave.
    pub rounds: L,
}

/// A cycle that restarts between this frame and the next.
pub struct Anew<L: Lanes> {
    /// The time from the restart to the next frame, in frames; 0 without a restart.
    ago: L,
    /// The height of the jump at the restart.
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

    /// Clears the restart.
    #[inline(always)]
    pub fn forget(&mut self, io: &Io<'_, L>) {
        self.ago = io.splat(0.0);
    }

    /// For channels that have restarted since the previous frame: sets the phase to the elapsed part of the cycle, and
    /// adds the second half of the jump's rounding.
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

    /// For channels with a rising edge: schedules the restart before the next frame, and adds the first half of the
    /// jump's rounding.
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
        // Until then the cycle continues; it restarts just after 0, in either direction.
        let until = hz * (io.splat(1.0) - self.ago);
        let end = here.phase + math::step(io, until);
        let start = L::Bits::select(until.lt(zero), io.splat_bits(!0 << 8), io.splat_bits(0));
        let bare = here.steps.without_edges(io);
        let height = wave(start, bare) - wave(end, bare);
        self.jump = L::select(rises, height, self.jump);
        let rounds = height * self.ago * self.ago * io.splat(0.5);
        here.rounds = here.rounds + L::select(rises, rounds, zero);
        // The wave no longer reaches its own edge, unless that edge is nearer.
        let behind = math::cycles(io, end).lt(math::cycles(io, here.phase));
        let forwards = zero.le(hz);
        let passes = (behind & forwards) | (!behind & !forwards);
        here.steps = here.steps.without_edge_ahead(io, rises & !passes, hz);
    }
}
