//! What is asked of an engine that plays: at once, or at a frame to come.

use common::{
    command::{Event, RAMP_MS_MAX, SequenceControl},
    units::FrameIndex,
};

use super::{Engine, bypass_bit, cells_of};
use crate::{
    agenda::Agenda,
    catalog::Scale,
    master::Master,
    module::{Expressed, GATE, Note, OPENED},
    smooth::{self, GLIDE_MS},
};

impl Engine {
    /// Lets an event take effect from the next block on. What names no module or parameter of this
    /// patch, or is not a number, changes nothing; a value out of range is clamped.
    ///
    /// # Real-time
    /// Yes; constant time.
    pub fn apply(&mut self, event: &Event) {
        match *event {
            Event::Param {
                module,
                param,
                value,
            } => self.change(module, param, value, GLIDE_MS, false),
            Event::Gate { module, level } => {
                let Some(node) = self.plan.nodes.get(usize::from(module)) else {
                    return;
                };
                if level.is_finite() && node.kind.describe.takes_gate {
                    let cells = cells_of(&mut self.arena, node);
                    cells[GATE] = level.clamp(0.0, 1.0).to_bits();
                    cells[OPENED] |= u32::from(level > 0.0);
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
        }
    }

    /// As [`Self::apply`], at that very frame; if it has passed, at once.
    ///
    /// # Real-time
    /// Yes; time in proportion to the events that wait for their frame.
    pub fn apply_at(&mut self, frame: FrameIndex, event: &Event) {
        let mut agenda = self.agenda();
        let waits = agenda.clock() < frame && agenda.add(frame, event);
        if !waits {
            self.apply(event);
        }
    }

    /// Sets a parameter in so many milliseconds; one that goes by steps changes at the half of a ramp.
    fn change(&mut self, module: u16, param: u16, value: f32, ms: f32, is_ramp: bool) {
        if self.goes_by_steps(module, param) {
            // The last word counts.
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
            let mut agenda = self.agenda();
            agenda.forget(of_same);
            let at = FrameIndex(agenda.clock().0 + u64::from(half));
            if is_ramp && ms > 0.0 && agenda.add(at, &switch) {
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

    /// Lets a parameter glide.
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

    /// What waits for its frame.
    pub(super) fn agenda(&mut self) -> Agenda<'_> {
        let first = self.agenda_at();
        Agenda::of(&mut self.arena, first, self.changes.written())
    }

    /// Lets the count of frames begin anew, for an instance that goes on where another ended.
    pub fn rebase(&mut self) {
        let clock = self.agenda().clock();
        self.rebase_sequences(clock.0);
        self.agenda().rebase();
    }

    /// Plays a note, or ends one: by the module's own voices, or by tuning it and opening its gate.
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
        let off = Event::Gate { module, level: 0.0 };
        if velocity == 0.0 {
            // The end of a note that another one has taken the place of ends nothing.
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
        let mut agenda = self.agenda();
        agenda.forget(|event| *event == off);
        if frames > 0 {
            let at = FrameIndex(agenda.clock().0 + u64::from(frames));
            agenda.add(at, &off);
        }
    }
}
