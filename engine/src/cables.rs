//! Cables that fade in or out, and feedback cables.
//!
//! A cable fades for 5 ms when it comes or goes. A feedback cable delivers its source's output a block or a frame
//! late. The gains of the fades and the delayed samples lie in the arena, between the safety stage and the modules'
//! cells. The patch determines which cables these are.

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
/// Cells of one fade.
const FADE: usize = size_of::<Smooth>() / 4;
/// In the place of a module: the other engine has no such module.
const NOBODY: u16 = u16::MAX;

/// The delay of a feedback cable.
#[derive(Clone, Debug)]
pub struct Ring {
    cells: Range<usize>,
    /// By how many frames the cable is late.
    frames: usize,
}

/// The cells in the arena of the fades and of the feedback cables, and the next free cell. `rings` yields for each
/// feedback cable the samples of a frame and the frames to keep.
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

/// See the head of this file.
pub struct Cables {
    /// All cables, sorted by their ends.
    wires: Vec<Wire>,
    kinds: Vec<Fade>,
    fades: Range<usize>,
    rings: Vec<Ring>,
    wide: bool,
    /// For each module, the module of the other engine whose state it takes over; and whether a ghost plays on beside
    /// it.
    was: Vec<u16>,
    parted: Vec<bool>,
    /// Buffer for a block whose cable is fading, and its gains.
    faded: Buffer,
    ramp: Vec<f32>,
}

impl Cables {
    /// The cables of a plan; their cells lie where [`layout`] has placed them.
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

    /// Sets all fades to their final gains.
    pub fn begin(&self, arena: &mut [u64]) {
        for (glide, kind) in self.glides(arena).iter_mut().zip(&self.kinds) {
            *glide = Smooth::at(level(*kind));
        }
    }

    /// A module takes over the state of module `from` of another engine. If it is a ghost that an edit has just made,
    /// `twin` is the module in its place: the new cables of `twin` fade in from 0.
    pub fn goes_on(&mut self, module: u16, from: u16, twin: Option<u16>) {
        self.was[usize::from(module)] = from;
        if let Some(twin) = twin {
            self.parted[usize::from(twin)] = true;
        }
    }

    /// Clears the feedback cables.
    pub fn silence(&self, arena: &mut [u64]) {
        let cells: &mut [u32] = bytemuck::cast_slice_mut(arena);
        for ring in &self.rings {
            cells[ring.cells.clone()].fill(0);
        }
    }

    /// Takes over the cables of another engine, whose cells are `old_cells`: each cable continues with its gain.
    ///
    /// # Real-time
    /// Yes; in proportion to the cables that fade and the feedback cables.
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

    /// The same cable in another engine.
    fn before<'a>(&self, wire: &Wire, old: &'a Self) -> Option<&'a Wire> {
        let was = |module: u16| Some(self.was[usize::from(module)]).filter(|was| *was != NOBODY);
        let mut wanted = wire.key();
        wanted.0.module = was(wanted.0.module)?;
        wanted.1.module = was(wanted.1.module)?;
        let found = old.wires.binary_search_by_key(&wanted, Wire::key).ok()?;
        old.wires.get(found)
    }

    /// Whether all fade-outs among these fades have ended.
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

    /// Adds a block to a gathered block, with the present gain of its cable.
    ///
    /// # Real-time
    /// Yes; called once for each cable in a stretch.
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

    /// Reads what a feedback cable delivers to a stretch.
    ///
    /// # Real-time
    /// Yes.
    pub fn bring(&self, arena: &[u64], feedback: u16, buffer: &mut Buffer, stretch: Stretch) {
        let ring = &self.rings[usize::from(feedback)];
        if stretch.frames > ring.frames {
            // The cable has faded out; its samples are no longer used.
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

    /// Stores what a feedback cable has to deliver later. Samples are limited to the level of valid sound, so that a
    /// loop that has diverged can recover.
    ///
    /// # Real-time
    /// Yes.
    pub fn keep(&self, arena: &mut [u64], feedback: u16, buffer: &Buffer, stretch: Stretch) {
        let ring = &self.rings[usize::from(feedback)];
        if stretch.frames > ring.frames {
            // The cable has faded out; its samples are no longer used.
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

    /// How many samples a frame has in one group of a feedback cable.
    fn lanes(&self, ring: &Ring) -> usize {
        match self.wide {
            true => (ring.cells.len() / ring.frames).min(LANES_MAX),
            false => 1,
        }
    }
}

/// The gain at which a fade ends.
const fn level(kind: Fade) -> f32 {
    match kind {
        Fade::In => 1.0,
        Fade::Out => 0.0,
    }
}
