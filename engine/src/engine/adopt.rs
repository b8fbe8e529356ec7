//! Takes over from another engine: modules, cables, sequences and waiting events.

use common::command::Event;

use super::{Engine, bypass_bit, bypassed, cells_of, safety_range};
use crate::{event_queue, master::Master, module::FRESH, patch::id_before, smooth::GLIDE_MS};

impl Engine {
    /// Continues where another engine was. Modules of the same id and type keep their state, and their
    /// parameters glide to the values of this patch. The output continues without a step. Both engines must have
    /// the same [`Config`](crate::Config). `old` may be dropped afterwards, but not here.
    ///
    /// # Real-time
    /// Yes: no allocation; time in proportion to the modules of both engines.
    pub fn adopt(&mut self, old: &Self) {
        self.go_on_from(old, true);
    }

    /// As [`Self::adopt`], but the modules also keep the values of their parameters and stay bypassed. Modules
    /// and cables that come or go fade.
    ///
    /// # Real-time
    /// Yes; as [`Self::adopt`].
    pub fn adopt_edited(&mut self, old: &Self) {
        self.go_on_from(old, false);
    }

    fn go_on_from(&mut self, old: &Self, with_values: bool) {
        let old_master = bytemuck::from_bytes(&old.arena()[..size_of::<Master>()]);
        // The changes of an edit fade by themselves.
        Master::of(&mut self.arena).adopt(old_master, with_values);
        let (first, there) = (self.event_queue_at(), old.event_queue_at());
        let mut arena = std::mem::take(&mut self.arena);
        event_queue::adopt(&mut arena[first..], &old.arena[there..], |event| {
            self.renumbered(old, event)
        });
        self.arena = arena;
        // A stem does not continue the sound of the whole mix.
        if self.config == old.config && self.linear == old.linear {
            let (here, there) = (
                safety_range(&self.patch, self.config),
                safety_range(&old.patch, old.config),
            );
            self.arena[here].copy_from_slice(&old.arena[there]);
        }
        self.adopt_modules(old, with_values);
        self.adopt_sequences(old, with_values);
    }

    fn adopt_modules(&mut self, old: &Self, with_values: bool) {
        let mut others = old.by_id.iter().copied().peekable();
        for module in self.by_id.iter().copied() {
            let spec = &self.patch.modules[usize::from(module)];
            let other_spec = |other: u16| &old.patch.modules[usize::from(other)];
            while others
                .next_if(|other| other_spec(*other).id < spec.id)
                .is_some()
            {}
            let found = others.next_if(|other| other_spec(*other).id == spec.id);
            let (other, twin) = match found {
                Some(other) => (other, None),
                None if spec.kind == "out" => (old.plan.out, None),
                None => {
                    // A ghost that was a part of the patch until now.
                    let Some(before) = id_before(&spec.id) else {
                        continue;
                    };
                    let Some(other) = old.find(before) else {
                        continue;
                    };
                    (other, self.find(before))
                }
            };
            if other_spec(other).kind == spec.kind {
                self.cables.goes_on(module, other, twin);
                if !with_values && bypassed(&old.arena, other) {
                    let (word, bit) = bypass_bit(module);
                    self.arena[word] |= bit;
                }
                let other = &old.plan.nodes[usize::from(other)];
                let node = &self.plan.nodes[usize::from(module)];
                let old_cells = &old.cells()[other.cells.clone()];
                let cells = cells_of(&mut self.arena, node);
                node.kind.adopt(
                    self.context,
                    (cells, node.channels),
                    (old_cells, other.channels),
                );
                cells[FRESH] = 1;
                for (param, value) in node.values.iter().enumerate().filter(|_| with_values) {
                    node.kind.set(cells, self.context, param, *value, GLIDE_MS);
                }
            }
        }
        let rate_hz = self.context.rate_hz;
        (self.cables).adopt(&mut self.arena, &old.cables, old.cells(), rate_hz);
    }

    /// The module with that id.
    fn find(&self, id: &str) -> Option<u16> {
        let here = |module: &u16| self.patch.modules[usize::from(*module)].id.as_str();
        let found = self.by_id.binary_search_by(|module| here(module).cmp(id));
        found.ok().map(|place| self.by_id[place])
    }

    /// An event of another engine, translated: its module has another number here, or none.
    pub(super) fn renumbered(&self, old: &Self, event: Event) -> Option<Event> {
        let Some(module) = event.module() else {
            return match event {
                Event::Sequence { sequence, control } => Some(Event::Sequence {
                    sequence: self.sequence_here(old, sequence)?,
                    control,
                }),
                other => Some(other),
            };
        };
        let spec = old.patch.modules.get(usize::from(module))?;
        let number = self.find(&spec.id)?;
        let here = &self.patch.modules[usize::from(number)];
        (here.kind == spec.kind).then(|| event.of_module(number))
    }
}
