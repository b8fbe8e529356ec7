//! Renders a block: segment by segment between cuts, part by part of the plan, module by module.

use std::ops::Range;

use common::{limits::sane, sample::NO_SAMPLE};

use super::{CUTS_MAX, Engine, bypassed, cells_of};
use crate::{
    gather,
    master::Master,
    module::{Buffer, Context, Plug, Polyphony, Process, lanes_for},
    plan::{self, FrameByFrame, Node},
    schedule::{Feedback, Late},
    stretch::Stretch,
};

impl Engine {
    /// Renders the next block: interleaved, [`Config::block_samples`](super::Config::block_samples) long. Calls
    /// `trace` with the index of each module before that module is processed, except for bypassed modules.
    ///
    /// # Real-time
    /// Yes: no allocation, no lock; time in proportion to modules and cables.
    pub fn render(&mut self, out: &mut [f32], trace: &mut impl FnMut(u16)) {
        self.render_traced(out, &mut |module| {
            if let Some(module) = module {
                trace(module);
            }
        });
    }

    /// As [`Self::render`]. `trace` is also called with `None` before work outside of modules, so that the time
    /// between two calls belongs to one of them.
    ///
    /// # Real-time
    /// As [`Self::render`].
    pub fn render_traced(&mut self, out: &mut [f32], trace: &mut impl FnMut(Option<u16>)) {
        let channels = self.heard.len();
        let (mut begin, frames) = (0, self.config.block_frames as usize);
        for cut in 0.. {
            if begin >= frames {
                return;
            }
            self.come_in();
            let next = self.event_queue().next().map(|frame| frame.0);
            let end = match next.into_iter().chain(self.sequences_due()).min() {
                Some(next) if cut < CUTS_MAX => {
                    let ahead = next - self.event_queue().clock().0;
                    frames.min(begin + usize::try_from(ahead).unwrap_or(frames))
                }
                _ => frames,
            };
            let out = &mut out[begin * channels..end * channels];
            self.segment(out, begin..end, trace);
            self.event_queue().pass((end - begin) as u64);
            begin = end;
        }
    }

    /// Applies what is due at the next frame.
    fn come_in(&mut self) {
        let now = self.event_queue().clock();
        while let Some(event) = self.event_queue().take(now) {
            self.apply(&event);
        }
        self.play_sequences(now.0);
    }

    /// Renders the frames between two cuts.
    fn segment(
        &mut self,
        out: &mut [f32],
        range: Range<usize>,
        trace: &mut impl FnMut(Option<u16>),
    ) {
        let segment = Stretch::whole(range);
        for late in 0..self.plan.block_late.len() {
            self.bring(self.plan.block_late[late], segment);
        }
        let is_over = self.end_fades();
        // The module at fault is looked for only after a block was muted.
        let hunted = Master::of(&mut self.arena).muted().is_some();
        let mut culprit = None;
        for part in 0..self.plan.parts.len() {
            let frames = match self.plan.parts[part].frame_by_frame {
                FrameByFrame::Never => segment.frames,
                FrameByFrame::UntilFaded if is_over => segment.frames,
                FrameByFrame::UntilFaded | FrameByFrame::Always => 1,
            };
            for stretch in segment.each(frames) {
                for late in 0..self.plan.parts[part].feedbacks.len() {
                    self.bring(self.plan.parts[part].feedbacks[late], stretch);
                }
                for place in self.plan.parts[part].order.clone() {
                    let module = self.plan.order[place];
                    self.process(module, stretch, is_over, trace);
                    if hunted && culprit.is_none() && !self.is_sane(module, stretch) {
                        culprit = Some(module);
                    }
                }
            }
        }
        trace(None);
        let heard = segment.mono();
        let mut heard = self.heard.iter().map(|block| &block.samples[heard.clone()]);
        let muted = (!heard.all(sane)).then(|| culprit.unwrap_or(self.plan.out));
        let master = Master::of(&mut self.arena);
        master.set_muted(muted);
        master.render(&self.heard, out, self.context.rate_hz);
        #[cfg(test)]
        if !self.guarded {
            return;
        }
        let is_on = self.safety_is_on();
        self.safety().render(is_on, muted.is_some(), out);
    }

    /// Reads what a feedback cable delivers.
    fn bring(&mut self, feedback: u16, stretch: Stretch) {
        let buffer = self.plan.feedbacks[usize::from(feedback)];
        let buffer = &mut self.buffers[usize::from(buffer)];
        (self.cables).bring(&self.arena, feedback, buffer, stretch);
    }

    /// Unplugs the cables that have faded out; returns whether all fade-outs have ended.
    fn end_fades(&mut self) -> bool {
        for end in &self.plan.ends {
            let is_over = (self.cables).is_over(&mut self.arena, end.fades.iter().copied());
            let plug = match is_over {
                true => Plug::Nothing,
                false => Plug::Gathered(end.gathered),
            };
            self.plan.nodes[usize::from(end.module)].plugs[end.input] = plug;
        }
        (self.cables).is_over(&mut self.arena, self.cables.fades())
    }

    /// Processes one module for the frames of a stretch.
    fn process(
        &mut self,
        module: u16,
        stretch: Stretch,
        is_over: bool,
        trace: &mut impl FnMut(Option<u16>),
    ) {
        self.push(module, true, stretch);
        let node = &self.plan.nodes[usize::from(module)];
        for gathered in &node.summed {
            gather::across(
                self.level,
                &mut self.gathered[usize::from(*gathered)],
                stretch,
            );
        }
        self.exchange(module);
        let node = &self.plan.nodes[usize::from(module)];
        let outs = &mut self.outs[..self.plan.outs_of(module, self.heard.len())];
        if node.ghost && is_over {
            // The ghost has faded out.
        } else if bypassed(&self.arena, module) {
            let cells = cells_of(&mut self.arena, node);
            node.kind.miss(cells, stretch.frames);
            let inputs = (&self.buffers[..], &self.gathered[..]);
            pass_through(node, self.context, stretch, inputs, outs);
        } else {
            trace(Some(module));
            let mut process = Process {
                context: self.context,
                stretch,
                channels: node.channels,
                cells: cells_of(&mut self.arena, node),
                first_cell: node.cells.start,
                written: self.changes.written(),
                sample: node.sample.as_deref().unwrap_or(&NO_SAMPLE),
                plugs: &node.plugs,
                buffers: &self.buffers,
                gathered: &self.gathered,
                silence: &self.silence,
                outs,
                wanted: node.wanted,
                scratch: &mut self.scratch,
            };
            (node.kind.render)(self.level, &mut process);
        }
        self.exchange(module);
        #[cfg(test)]
        self.overhear(module, stretch);
        self.feed(module, stretch);
        self.push(module, false, stretch);
    }

    /// Stores the output of a module for its feedback cables.
    fn feed(&mut self, module: u16, stretch: Stretch) {
        for feed in 0..self.plan.nodes[usize::from(module)].feeds.len() {
            let node = &self.plan.nodes[usize::from(module)];
            let (output, Feedback { number, late }) = node.feeds[feed];
            let buffer = usize::from(node.outs[usize::from(output)]);
            // Such a cable leads to a module that is processed later. So each frame is read before the next one is
            // stored.
            let (frames, at_once) = match late {
                Late::Block | Late::Frame => (stretch.frames, false),
                Late::FrameAhead => (1, true),
            };
            for stretch in stretch.each(frames) {
                if at_once {
                    self.bring(number, stretch);
                }
                let buffer = &self.buffers[buffer];
                (self.cables).keep(&mut self.arena, number, buffer, stretch);
            }
        }
    }

    /// Adds a module's blocks to the gathered blocks of other modules; or, before the module is processed, feedback
    /// blocks to its own gathered blocks.
    fn push(&mut self, module: u16, before_processing: bool, stretch: Stretch) {
        let node = &self.plan.nodes[usize::from(module)];
        for push in if before_processing {
            &node.pulls
        } else {
            &node.pushes
        } {
            let from = &self.buffers[usize::from(push.from)];
            let into = &mut self.gathered[usize::from(push.into)];
            (self.cables).push(self.level, &mut self.arena, push, from, into, stretch);
        }
    }

    /// Swaps the blocks that a module writes out of the buffers, so that all others can be read; a second call swaps
    /// them back.
    fn exchange(&mut self, module: u16) {
        if module == self.plan.out {
            self.outs[..self.heard.len()].swap_with_slice(&mut self.heard);
            return;
        }
        let node = &self.plan.nodes[usize::from(module)];
        for (out, buffer) in self.outs.iter_mut().zip(&node.outs) {
            std::mem::swap(out, &mut self.buffers[usize::from(*buffer)]);
        }
    }

    /// Whether the samples that a module has just written are valid sound.
    fn is_sane(&self, module: u16, stretch: Stretch) -> bool {
        let node = &self.plan.nodes[usize::from(module)];
        let channels = plan::out_channels(&node.kind, node.channels);
        let (lanes, groups) = lanes_for(channels, self.context.wide);
        let group = |buffer: usize, group| {
            sane(&self.buffers[buffer].samples[stretch.samples(lanes, group)])
        };
        let block = |buffer: &u16| (0..groups).all(|number| group(usize::from(*buffer), number));
        node.outs.iter().all(block)
    }
}

/// The output of a bypassed module: its first input, or silence, on all outputs. A splitting module still splits.
fn pass_through(
    node: &Node,
    context: Context,
    stretch: Stretch,
    (buffers, gathered): (&[Buffer], &[Buffer]),
    outs: &mut [Buffer],
) {
    let input = match node.plugs.first() {
        Some(Plug::Direct(at)) => buffers.get(usize::from(*at)),
        Some(Plug::Gathered(at)) => gathered.get(usize::from(*at)),
        Some(Plug::Nothing) | None => None,
    };
    let splits = node.kind.polyphony == Polyphony::Split;
    let (lanes, _) = lanes_for(node.channels, context.wide);
    let out_channels = plan::out_channels(&node.kind, node.channels);
    let (out_lanes, groups) = lanes_for(out_channels, context.wide);
    for (number, out) in outs.iter_mut().enumerate() {
        let from = input.filter(|_| !splits || number < node.channels);
        out.still = from.is_none_or(|from| from.still);
        for group in 0..groups {
            let samples = stretch.samples(out_lanes, group);
            let to = &mut out.samples[samples.clone()];
            match from {
                Some(from) if splits => {
                    // The group that contains the channel.
                    let from = &from.samples[stretch.samples(lanes, number / lanes)];
                    for (to, from) in to.iter_mut().zip(from.chunks_exact(lanes)) {
                        *to = from[number % lanes];
                    }
                }
                Some(from) => to.copy_from_slice(&from.samples[samples]),
                None => to.fill(0.0),
            }
        }
    }
}
