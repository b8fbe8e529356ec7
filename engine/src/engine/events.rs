//! Events of a playing engine: applied at once, or queued for a frame.

use common::{
    command::{Event, RAMP_MS_MAX, SequenceControl},
    units::FrameIndex,
};

use super::{Engine, bypass_bit, cells_of};
use crate::{
    catalog::Scale,
    changes,
    event_queue::EventQueue,
    master::Master,
    module::{Expressed, Note},
    sequencer::Lead,
    smooth::{self, GLIDE_MS},
};

/// The level with which the end of a note closes a gate. No other event has these bits, so the next note can
/// find and forget the end of the one before without touching other events that wait to close the gate.
const NOTE_ENDS: f32 = -0.0;

impl Engine {
    /// Applies an event from the next block on. An event without a module or parameter of this patch, or with a
    /// value that is not a number, changes nothing. A value out of range is clamped.
    ///
    /// # Real-time
    /// Yes; constant time. [`Event::Silence`] takes time in proportion to the state, events of sequences in
    /// proportion to their number.
    pub fn apply(&mut self, event: &Event) {
        match *event {
            Event::Param {
                module,
                param,
                value,
            } => self.change(module, param, value, GLIDE_MS, false),
            Event::Gate { module, level } => {
                if let Some(node) = self.plan.nodes.get(usize::from(module)) {
                    node.kind.gate(cells_of(&mut self.arena, node), level);
                }
            }
            Event::Bypass(module) => {
                if usize::from(module) < self.plan.nodes.len() {
                    let (word, bit) = bypass_bit(module);
                    self.arena[word] |= bit;
                }
            }
            Event::Run(on) => Master::of(&mut self.arena).run(on, self.context.rate_hz),
            Event::Ramp {
                module,
                param,
                value,
                ms,
            } => self.change(module, param, value, ms, true),
            Event::Note {
                module,
                pitch,
                velocity,
                frames,
            } => self.note(module, pitch, velocity, frames),
            Event::Express {
                module,
                pitch,
                what,
                value,
            } => {
                if let Some(node) = self.plan.nodes.get(usize::from(module))
                    && value.is_finite()
                {
                    let cells = cells_of(&mut self.arena, node);
                    let expressed = Expressed { pitch, what, value };
                    node.kind
                        .express(cells, self.context, node.channels, expressed);
                }
            }
            Event::Sequence { sequence, control } => {
                self.control_sequences(Some(sequence), control);
            }
            Event::ResetSequences => self.control_sequences(None, SequenceControl::Reset),
            Event::Silence => self.silence(),
            Event::Clock { ticks, bpm, begin } => {
                let frame = self.event_queue().clock().0;
                self.lead_sequences(Lead {
                    ticks,
                    bpm,
                    begin,
                    frame,
                });
            }
        }
    }

    /// As [`Self::apply`], at exactly that frame; at once if the frame has passed.
    ///
    /// # Real-time
    /// Yes; time in proportion to the waiting events.
    pub fn apply_at(&mut self, frame: FrameIndex, event: &Event) {
        // A clock event takes effect early, for its own frame; one that begins the song waits for it.
        let at_once = matches!(event, Event::Clock { begin: false, .. });
        let mut queue = self.event_queue();
        let waits = !at_once && queue.clock() < frame && queue.add(frame, event);
        if waits {
            return;
        }
        match *event {
            // Whenever it arrives, a clock event refers to its own frame.
            Event::Clock { ticks, bpm, begin } => self.lead_sequences(Lead {
                ticks,
                bpm,
                begin,
                frame: frame.0,
            }),
            _ => self.apply(event),
        }
    }

    /// Changes a parameter over `ms` milliseconds. A stepped parameter changes at the middle of a ramp.
    fn change(&mut self, module: u16, param: u16, value: f32, ms: f32, is_ramp: bool) {
        if self.goes_by_steps(module, param) {
            // The last change replaces earlier ones that wait.
            let of_same = |event: &Event| {
                matches!(*event, Event::Ramp { module: m, param: p, ms, .. }
                    if (m, p) == (module, param) && ms == 0.0)
            };
            let switch = Event::Ramp {
                module,
                param,
                value,
                ms: 0.0,
            };
            let half = smooth::frames(ms.clamp(0.0, RAMP_MS_MAX) / 2.0, self.context.rate_hz);
            let mut queue = self.event_queue();
            queue.forget(of_same);
            let at = FrameIndex(queue.clock().0 + u64::from(half));
            if is_ramp && ms > 0.0 && queue.add(at, &switch) {
                return;
            }
        }
        self.set(module, param, value, ms);
    }

    fn goes_by_steps(&self, module: u16, param: u16) -> bool {
        let node = self.plan.nodes.get(usize::from(module));
        let known = node.and_then(|node| node.kind.describe.params.get(usize::from(param)));
        known.is_some_and(|known| known.scale == Scale::Stepped)
    }

    /// Starts a parameter's glide.
    fn set(&mut self, module: u16, param: u16, value: f32, ms: f32) {
        let Some(node) = self.plan.nodes.get(usize::from(module)) else {
            return;
        };
        let Some(known) = node.kind.describe.params.get(usize::from(param)) else {
            return;
        };
        let ms = if ms.is_finite() {
            ms.clamp(0.0, RAMP_MS_MAX)
        } else {
            GLIDE_MS
        };
        if let Some(value) = known.accept(value) {
            let cells = cells_of(&mut self.arena, node);
            node.kind.set(cells, self.context, param.into(), value, ms);
        }
    }

    /// Resets the state of every module, but not its parameters. Drops waiting notes and gates.
    fn silence(&mut self) {
        self.event_queue().forget(|event| {
            matches!(
                event,
                Event::Gate { .. } | Event::Note { .. } | Event::Express { .. }
            )
        });
        for node in &self.plan.nodes {
            let cells = cells_of(&mut self.arena, node);
            let memory = node.kind.silence(self.context, node.channels, cells);
            let first = node.cells.start;
            let memory = first + memory.start..first + memory.end;
            changes::mark(self.changes.written(), memory);
        }
        self.cables.silence(&mut self.arena);
        Master::of(&mut self.arena).step();
    }

    /// The event queue.
    pub(super) fn event_queue(&mut self) -> EventQueue<'_> {
        let first = self.event_queue_at();
        EventQueue::of(&mut self.arena, first, self.changes.written())
    }

    /// Restarts the count of frames at 0, for an instance that continues where another one ended.
    pub fn rebase(&mut self) {
        self.count_from(FrameIndex(0));
    }

    /// Gives the next frame the number `frame`. Waiting events keep their distance.
    pub fn count_from(&mut self, frame: FrameIndex) {
        let clock = self.event_queue().clock();
        self.rebase_sequences(clock.0, frame.0);
        self.event_queue().rebase(frame);
    }

    /// Plays or ends a note: by the module's own voices, or by setting its frequency and opening its gate.
    fn note(&mut self, module: u16, pitch: f32, velocity: f32, frames: u32) {
        let Some(node) = self.plan.nodes.get(usize::from(module)) else {
            return;
        };
        if !(pitch.is_finite() && velocity.is_finite()) {
            return;
        }
        let velocity = velocity.clamp(0.0, 1.0);
        let cells = cells_of(&mut self.arena, node);
        let note = Note {
            pitch,
            velocity,
            frames,
        };
        if node.kind.note(cells, self.context, node.channels, note) {
            return;
        }
        let off = Event::Gate {
            module,
            level: NOTE_ENDS,
        };
        if velocity == 0.0 {
            // The end of a note that another note has replaced has no effect.
            if node.kind.is_tuned(cells, pitch) {
                self.apply(&off);
            }
            return;
        }
        node.kind.tune(cells, pitch);
        self.apply(&Event::Gate {
            module,
            level: velocity,
        });
        let mut queue = self.event_queue();
        queue.forget(|event| match event {
            Event::Gate { level, .. } => *event == off && level.to_bits() == NOTE_ENDS.to_bits(),
            _ => false,
        });
        if frames > 0 {
            let at = FrameIndex(queue.clock().0 + u64::from(frames));
            if !queue.add(at, &off) {
                // A note that is struck and closed is better than one that stays open for ever.
                self.apply(&off);
            }
        }
    }
}
