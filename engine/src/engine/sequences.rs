//! The sequences of a playing patch: when they are due, what they do, and how they continue in another
//! patch.

use common::command::SequenceControl;

use super::{EVENT_QUEUE_WORDS, Engine, event_queue_at};
use crate::{
    changes,
    patch::Patch,
    sequencer::{Lead, STATE_WORDS, State},
};

/// The first word of the sequences in the arena: after the event queue.
pub const fn sequences_at(modules: usize) -> usize {
    event_queue_at(modules) + EVENT_QUEUE_WORDS
}

/// Words of the arena that the sequences of a patch take.
pub const fn sequence_words(patch: &Patch) -> usize {
    patch.sequences.len() * STATE_WORDS
}

/// The first word of the safety stage: after the sequences.
pub const fn safety_at(patch: &Patch) -> usize {
    sequences_at(patch.modules.len()) + sequence_words(patch)
}

impl Engine {
    /// The next frame at which a sequence is due.
    pub(super) fn sequences_due(&self) -> Option<u64> {
        let first = sequences_at(self.patch.modules.len());
        let words = &self.arena[first..first + sequence_words(&self.patch)];
        let due = words.chunks_exact(STATE_WORDS).map(|w| State::of(w).due());
        due.min().filter(|frame| *frame != u64::MAX)
    }

    fn sequence_range(&self, sequence: usize) -> std::ops::Range<usize> {
        let first = sequences_at(self.patch.modules.len()) + sequence * STATE_WORDS;
        first..first + STATE_WORDS
    }

    pub(super) fn sequence(&self, sequence: usize) -> State {
        State::of(&self.arena[self.sequence_range(sequence)])
    }

    fn set_sequence(&mut self, sequence: usize, state: &State) {
        let range = self.sequence_range(sequence);
        self.arena[range.clone()].copy_from_slice(state.words());
        // A word is two cells.
        changes::mark(self.changes.written(), 2 * range.start..2 * range.end);
    }

    /// Plays the sequences that are due at that frame, in the order of the patch.
    pub(super) fn play_sequences(&mut self, now: u64) {
        let score = std::mem::take(&mut self.score);
        for (number, track) in score.tracks.iter().enumerate() {
            let mut state = self.sequence(number);
            if state.due() <= now {
                state.play(track, self.config.rate_hz, now, &mut |event| {
                    self.apply(&event);
                });
                self.set_sequence(number, &state);
            }
        }
        self.score = score;
    }

    /// Controls one sequence, or all.
    pub(super) fn control_sequences(&mut self, which: Option<u16>, what: SequenceControl) {
        let now = self.event_queue().clock().0;
        let score = std::mem::take(&mut self.score);
        for (number, track) in score.tracks.iter().enumerate() {
            if which.is_none_or(|which| usize::from(which) == number) {
                let mut state = self.sequence(number);
                state.control(what, track, now, &mut |event| self.apply(&event));
                self.set_sequence(number, &state);
            }
        }
        self.score = score;
        if let (Some(sequence), SequenceControl::Join) = (which, what) {
            self.join_sequence(sequence.into());
        }
    }

    /// Lets an external clock lead all playing sequences.
    pub(super) fn lead_sequences(&mut self, lead: Lead) {
        let now = self.event_queue().clock().0;
        let score = std::mem::take(&mut self.score);
        for (number, track) in score.tracks.iter().enumerate() {
            let mut state = self.sequence(number);
            let (rate_hz, at) = (self.config.rate_hz, (now, lead));
            state.lead(track, rate_hz, at, &mut |event| self.apply(&event));
            self.set_sequence(number, &state);
        }
        self.score = score;
    }

    /// Starts a stopped sequence with the next bar of the first playing sequence; at once if none plays.
    fn join_sequence(&mut self, sequence: usize) {
        let Some(track) = self.score.tracks.get(sequence) else {
            return;
        };
        let mut state = self.sequence(sequence);
        if state.runs() {
            return;
        }
        let others = self.score.tracks.iter().enumerate();
        let mut playing = others
            .map(|(number, track)| (self.sequence(number), track))
            .filter(|(state, _)| state.runs());
        match playing.next() {
            Some((other, its)) => {
                state.join(track, self.config.rate_hz, other.downbeat(its));
            }
            None => {
                let first = event_queue_at(self.patch.modules.len());
                state.begin(track, self.arena[first]);
            }
        }
        self.set_sequence(sequence, &state);
    }

    /// Sets each sequence to its first step.
    pub(super) fn begin_sequences(&mut self) {
        for number in 0..self.score.tracks.len() {
            self.begin_sequence(number);
        }
    }

    fn begin_sequence(&mut self, number: usize) {
        let spec = &self.patch.sequences[number];
        let running = spec.running;
        let state = State::new(spec, &self.score.tracks[number]);
        self.set_sequence(number, &state);
        if running {
            self.join_sequence(number);
        }
    }

    /// Renumbers frames: `from` becomes `to`.
    pub(super) fn rebase_sequences(&mut self, from: u64, to: u64) {
        for number in 0..self.score.tracks.len() {
            let mut state = self.sequence(number);
            state.rebase(from, to);
            self.set_sequence(number, &state);
        }
    }

    /// The number in this engine of a sequence of another engine.
    pub(super) fn sequence_here(&self, old: &Self, sequence: u16) -> Option<u16> {
        let spec = old.patch.sequences.get(usize::from(sequence))?;
        self.score.places.get(&spec.id).copied()
    }

    /// Takes over the sequences with the same id and begins the new ones. Ends sounding notes that no
    /// sequence would end any more.
    pub(super) fn adopt_sequences(&mut self, old: &Self, with_values: bool) {
        for number in 0..self.score.tracks.len() {
            let id = &self.patch.sequences[number].id;
            let there = old.score.places.get(id).copied();
            if let Some(there) = there {
                self.adopt_sequence(number, old, there.into(), with_values);
            }
        }
        for number in 0..self.score.tracks.len() {
            let spec = &self.patch.sequences[number];
            let there = old.score.places.contains_key(&spec.id);
            if !there {
                self.begin_sequence(number);
            } else if spec.running && with_values {
                self.join_sequence(number);
            }
        }
        for (there, track) in old.score.tracks.iter().enumerate() {
            let Some(pitch) = old.sequence(there).sounding() else {
                continue;
            };
            let here = self.sequence_here(old, there as u16);
            for target in track.targets() {
                let off = target.event(pitch, 0.0);
                let Some(off) = self.renumbered(old, off) else {
                    continue;
                };
                let kept = here.is_some_and(|here| {
                    let targets = self.score.tracks[usize::from(here)].targets();
                    targets.iter().any(|target| target.event(pitch, 0.0) == off)
                });
                if !kept {
                    self.apply(&off);
                }
            }
        }
    }

    fn adopt_sequence(&mut self, number: usize, old: &Self, there: usize, with_values: bool) {
        let mut state = old.sequence(there);
        let (spec, old_spec) = (&self.patch.sequences[number], &old.patch.sequences[there]);
        if spec.chain != old_spec.chain {
            let playing = (state.link() as usize).checked_sub(1);
            let playing = playing.and_then(|link| old_spec.chain.get(link));
            let found = playing.and_then(|link| {
                let mut links = spec.chain.iter();
                links.position(|other| other.pattern == link.pattern)
            });
            state.relink(found.map_or(0, |place| place as u32 + 1));
        }
        let mut stops = false;
        if with_values {
            state.take_values(spec);
            stops = !spec.running;
        }
        self.set_sequence(number, &state);
        if stops {
            self.control_sequences(Some(number as u16), SequenceControl::Stop);
        }
    }
}
