//! Cables that come and go, and those that lead back.
//!
//! One that comes or goes fades over 5 ms; one that leads back brings what was put out a block ago, or a
//! frame. How far a fade is, and that block or frame, lie in the arena, between what waits for its frame and the modules'
//! cells; which cables they are says the patch.

use std::ops::Range;

use common::limits::SANE_LEVEL;
use fearless_simd::Level;

use crate::{
    gather,
    lanes::LANES_MAX,
    module::{Buffer, Context, lanes_for},
    patch::{Fade, Wire},
    plan::{LANES_TOTAL_MAX, Plan, Push},
    smooth::Smooth,
    stretch::Stretch,
};

/// How long a cable fades in or out.
pub const FADE_MS: f32 = 5.0;
/// Cells of a fade.
const FADE: usize = size_of::<Smooth>() / 4;
/// No module of another engine.
const NOBODY: u16 = u16::MAX;

/// What a cable that leads back keeps.
#[derive(Clone, Debug)]
pub struct Ring {
    cells: Range<usize>,
    /// How late what it brings is.
    frames: usize,
}

/// Where in the arena the fades lie and what leads back, and where the next cell is: of so many fades, and
/// of cables with so many samples of a frame, kept for so many frames.
pub fn layout(
    first_cell: usize,
    fades: usize,
    rings: impl Iterator<Item = (usize, usize)>,
) -> (Range<usize>, Vec<Ring>, usize) {
    let fades = first_cell..first_cell + fades * FADE;
    let mut end = fades.end;
    let mut ring = |(lanes, frames)| {
        let cells = end..end + lanes * frames;
        end = cells.end.next_multiple_of(2);
        Ring { cells, frames }
    };
    let rings = rings.map(&mut ring).collect();
    (fades, rings, end)
}

/// See the file's head.
pub struct Cables {
    /// All there are, by their ends.
    wires: Vec<Wire>,
    kinds: Vec<Fade>,
    fades: Range<usize>,
    rings: Vec<Ring>,
    wide: bool,
    /// Of each module the one of another engine that it goes on from, and whether a ghost does, too.
    was: Vec<u16>,
    parted: Vec<bool>,
    /// A block on its way in or out, and its gain.
    faded: Buffer,
    ramp: Vec<f32>,
}

impl Cables {
    /// The cables of a plan; cells begin where [`layout`] said.
    pub fn new(
        mut wires: Vec<Wire>,
        plan: &Plan,
        (fades, rings): (Range<usize>, Vec<Ring>),
        block_frames: usize,
        context: Context,
    ) -> Self {
        wires.sort_by_key(Wire::key);
        Self {
            wires,
            kinds: plan.fades.clone(),
            fades,
            rings,
            wide: context.wide,
            was: vec![NOBODY; plan.nodes.len()],
            parted: vec![false; plan.nodes.len()],
            faded: Buffer {
                samples: vec![0.0; LANES_TOTAL_MAX * block_frames],
                still: false,
            },
            ramp: vec![0.0; block_frames],
        }
    }

    fn glides<'a>(&self, arena: &'a mut [u64]) -> &'a mut [Smooth] {
        let cells: &mut [u32] = bytemuck::cast_slice_mut(arena);
        bytemuck::cast_slice_mut(&mut cells[self.fades.clone()])
    }

    /// Begins where all has faded.
    pub fn begin(&self, arena: &mut [u64]) {
        for (glide, kind) in self.glides(arena).iter_mut().zip(&self.kinds) {
            *glide = Smooth::at(level(*kind));
        }
    }

    /// A module goes on from that one of another engine. If it is a ghost that has just become one, and
    /// `twin` is in its place now, that one takes over from it.
    pub fn goes_on(&mut self, module: u16, from: u16, twin: Option<u16>) {
        self.was[usize::from(module)] = from;
        if let Some(twin) = twin {
            self.parted[usize::from(twin)] = true;
        }
    }

    /// Clears the cables that lead back.
    pub fn silence(&self, arena: &mut [u64]) {
        let cells: &mut [u32] = bytemuck::cast_slice_mut(arena);
        for ring in &self.rings {
            cells[ring.cells.clone()].fill(0);
        }
    }

    /// Goes on where the cables of another engine were, of whose arena these are the cells: each from
    /// the gain that it had.
    ///
    /// # Real-time
    /// Yes; in proportion to the cables that fade or lead back.
    pub fn adopt(&self, arena: &mut [u64], old: &Self, old_cells: &[u32], rate_hz: f32) {
        let old_glides: &[Smooth] = bytemuck::cast_slice(&old_cells[old.fades.clone()]);
        for wire in &self.wires {
            if wire.fade.is_none() && wire.feedback.is_none() {
                continue;
            }
            let before = self.before(wire, old);
            if let Some(fade) = wire.fade.map(usize::from) {
                let kind = self.kinds[fade];
                let gain = match before.map(|wire| wire.fade) {
                    None => 0.0,
                    Some(None) => 1.0,
                    Some(Some(fade)) => old_glides[usize::from(fade)].value(),
                };
                let (from, to) = (wire.from.module, wire.to.module);
                let parted = |module: u16| self.parted[usize::from(module)];
                let takes_over = kind == Fade::In && parted(from) && !parted(to);
                let glide = &mut self.glides(arena)[fade];
                *glide = Smooth::at(if takes_over { 0.0 } else { gain });
                glide.glide_over(level(kind), FADE_MS, rate_hz);
            }
            let rings = wire.feedback.zip(before.and_then(|wire| wire.feedback));
            if let Some((ring, old_ring)) = rings {
                let cells: &mut [u32] = bytemuck::cast_slice_mut(arena);
                let ring = &mut cells[self.rings[usize::from(ring)].cells.clone()];
                let old_ring = &old_cells[old.rings[usize::from(old_ring)].cells.clone()];
                if ring.len() == old_ring.len() {
                    ring.copy_from_slice(old_ring);
                }
            }
        }
    }

    /// What a cable was in another engine.
    fn before<'a>(&self, wire: &Wire, old: &'a Self) -> Option<&'a Wire> {
        let was = |module: u16| Some(self.was[usize::from(module)]).filter(|was| *was != NOBODY);
        let mut wanted = wire.key();
        wanted.0.module = was(wanted.0.module)?;
        wanted.1.module = was(wanted.1.module)?;
        let found = old.wires.binary_search_by_key(&wanted, Wire::key).ok()?;
        old.wires.get(found)
    }

    /// Whether all that goes has faded out.
    ///
    /// # Real-time
    /// Yes; in proportion to the cables that fade.
    pub fn is_over(&self, arena: &mut [u64], mut fades: impl Iterator<Item = u16>) -> bool {
        let glides = self.glides(arena);
        fades.all(|fade| {
            let fade = usize::from(fade);
            self.kinds[fade] == Fade::In || glides[fade].at_rest().is_some()
        })
    }

    /// The numbers of all fades.
    pub fn fades(&self) -> impl Iterator<Item = u16> + use<> {
        0..self.kinds.len() as u16
    }

    /// Adds a block to what is gathered, as loud as its cable is.
    ///
    /// # Real-time
    /// Yes; once for each cable in a stretch of frames.
    #[allow(clippy::too_many_arguments, reason = "all of a call's parts")]
    pub fn push(
        &mut self,
        level: Level,
        arena: &mut [u64],
        push: &Push,
        from: &Buffer,
        into: &mut Buffer,
        stretch: Stretch,
    ) {
        let Some(fade) = push.fade else {
            return gather::push(level, push, from, into, stretch);
        };
        let glide = &mut self.glides(arena)[usize::from(fade)];
        match glide.at_rest() {
            Some(gain) if gain > 0.0 => gather::push(level, push, from, into, stretch),
            Some(_) => gather::nothing(push, into, self.wide, stretch),
            None => {
                let mut glide_on = std::mem::replace(glide, Smooth::at(0.0));
                for gain in &mut self.ramp[..stretch.frames] {
                    *gain = glide_on.next();
                }
                self.glides(arena)[usize::from(fade)] = glide_on;
                let (n, groups) = lanes_for(push.from_channels, self.wide);
                for group in 0..groups {
                    let samples = stretch.samples(n, group);
                    let faded = self.faded.samples[samples.clone()].chunks_exact_mut(n);
                    let frames = from.samples[samples].chunks_exact(n).zip(faded);
                    for ((frame, faded), gain) in frames.zip(&self.ramp) {
                        for (sample, faded) in frame.iter().zip(faded) {
                            *faded = sample * gain;
                        }
                    }
                }
                gather::push(level, push, &self.faded, into, stretch);
            }
        }
    }

    /// Reads what a cable that leads back brings to some frames.
    ///
    /// # Real-time
    /// Yes.
    pub fn bring(&self, arena: &[u64], feedback: u16, buffer: &mut Buffer, stretch: Stretch) {
        let ring = &self.rings[usize::from(feedback)];
        if stretch.frames > ring.frames {
            // It has faded out: nobody listens any more.
            return;
        }
        let kept: &[f32] = &bytemuck::cast_slice(arena)[ring.cells.clone()];
        let (n, begin) = (self.lanes(ring), stretch.at() % ring.frames);
        for (group, from) in kept.chunks_exact(n * ring.frames).enumerate() {
            let to = &mut buffer.samples[stretch.samples(n, group)];
            to.copy_from_slice(&from[n * begin..][..to.len()]);
        }
        buffer.still = false;
    }

    /// Keeps what a cable that leads back is to bring later. It stays within the level that can be sound,
    /// so that what has got out of hand once comes back to its senses.
    ///
    /// # Real-time
    /// Yes.
    pub fn keep(&self, arena: &mut [u64], feedback: u16, buffer: &Buffer, stretch: Stretch) {
        let ring = &self.rings[usize::from(feedback)];
        if stretch.frames > ring.frames {
            // It has faded out: nobody listens any more.
            return;
        }
        let kept: &mut [f32] = &mut bytemuck::cast_slice_mut(arena)[ring.cells.clone()];
        let (n, begin) = (self.lanes(ring), stretch.at() % ring.frames);
        for (group, to) in kept.chunks_exact_mut(n * ring.frames).enumerate() {
            let from = &buffer.samples[stretch.samples(n, group)];
            for (to, from) in to[n * begin..].iter_mut().zip(from) {
                *to = match from.is_nan() {
                    true => 0.0,
                    false => from.clamp(-SANE_LEVEL, SANE_LEVEL),
                };
            }
        }
    }

    /// Samples of a frame of a group of what a cable that leads back brings.
    fn lanes(&self, ring: &Ring) -> usize {
        match self.wide {
            true => (ring.cells.len() / ring.frames).min(LANES_MAX),
            false => 1,
        }
    }
}

/// Where a fade goes.
const fn level(kind: Fade) -> f32 {
    match kind {
        Fade::In => 1.0,
        Fade::Out => 0.0,
    }
}
