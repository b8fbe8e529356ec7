//! What a supervisor leaves for its successor: how often each service was started, the counts of refused
//! and late commands, the newest switches and replacements. Written by the supervisor, read by its
//! successor.

use super::{HISTORY, Stage};
use crate::{layout, limits::NOTES_KEPT, message::Service, sync::Ordering, units::BlockIndex};

/// Numbers in a note.
pub const NOTE_NUMBERS: usize = 7;

// The counts: refused commands, late events, differing blocks, and the last differing block.
const TALLIES: usize = HISTORY;
/// For each service: how often it was started, and the process id that was counted last.
const STARTS: usize = HISTORY + 8;
const SERVICES: usize = 16;
const NOTES: usize = STARTS + 2 * SERVICES;
/// A note: its number plus 1, written last; its numbers; its text.
const NOTE_WORDS: usize = 16;
const NOTE_TEXT: usize = 1 + NOTE_NUMBERS;
pub(super) const HISTORY_WORDS: usize = NOTES - HISTORY + 2 * NOTES_KEPT * NOTE_WORDS;

/// Counts of the supervisor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Commands that were refused.
    pub refused: u64,
    /// Events that were accepted after their frame.
    pub late: u64,
    /// Blocks in which the replicas differed.
    pub divergences: u64,
    /// The last of these blocks.
    pub differing_at: BlockIndex,
}

/// The kinds of notes; each kind has its own numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// A change of the preference.
    Switch = 0,
    /// The replacement of a worker.
    Replacement = 1,
}

/// A note. Its writer defines the meaning of the numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The numbers.
    pub numbers: [u64; NOTE_NUMBERS],
    /// The cause; longer than 56 bytes, it is cut off.
    pub text: String,
}

impl Stage<'_> {
    /// Stores the counts. Written by the supervisor.
    pub fn set_tallies(&self, tallies: Tallies) {
        let Tallies {
            refused,
            late,
            divergences,
            differing_at,
        } = tallies;
        let all = [refused, late, divergences, differing_at.0];
        for (word, value) in self.words[TALLIES..].iter().zip(all) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// See [`Self::set_tallies`].
    #[must_use]
    pub fn tallies(&self) -> Tallies {
        let [refused, late, divergences, differing_at] =
            [0, 1, 2, 3].map(|place| self.get(TALLIES + place));
        Tallies {
            refused,
            late,
            divergences,
            differing_at: BlockIndex(differing_at),
        }
    }

    /// Counts the start of a process. Repeated reports of the same process count once. Written by the supervisor.
    pub fn count_start(&self, service: Service, pid: u32) {
        let at = STARTS + 2 * place(service);
        if self.get(at + 1) != u64::from(pid) {
            self.words[at].store(self.get(at) + 1, Ordering::Relaxed);
            self.words[at + 1].store(pid.into(), Ordering::Relaxed);
        }
    }

    /// How often the service was restarted.
    #[must_use]
    pub fn restarts(&self, service: Service) -> u64 {
        self.get(STARTS + 2 * place(service)).saturating_sub(1)
    }

    /// Stores a note under its number. Written by the supervisor.
    pub fn set_note(&self, kind: Noted, number: u64, note: &Note) {
        let words = self.note_words(kind, number);
        words[0].store(0, Ordering::Release);
        for (word, value) in words[1..].iter().zip(note.numbers) {
            word.store(value, Ordering::Relaxed);
        }
        layout::store_text(&words[NOTE_TEXT..], &note.text);
        // SYNC: note (writer)
        words[0].store(number + 1, Ordering::Release);
    }

    /// The notes of this kind that are kept, with their numbers, the oldest first.
    #[must_use]
    pub fn notes(&self, kind: Noted) -> Vec<(u64, Note)> {
        let mut found: Vec<(u64, Note)> = (0..NOTES_KEPT as u64)
            .filter_map(|place| {
                let words = self.note_words(kind, place);
                // SYNC: note (reader)
                let number = words[0].load(Ordering::Acquire).checked_sub(1)?;
                let mut note = Note {
                    numbers: [0; NOTE_NUMBERS],
                    text: layout::load_text(&words[NOTE_TEXT..]),
                };
                for (value, word) in note.numbers.iter_mut().zip(&words[1..]) {
                    *value = word.load(Ordering::Relaxed);
                }
                Some((number, note))
            })
            .collect();
        found.sort_by_key(|(number, _)| *number);
        found
    }

    fn note_words(&self, kind: Noted, number: u64) -> &[crate::sync::AtomicU64] {
        let place = kind as usize * NOTES_KEPT + (number % NOTES_KEPT as u64) as usize;
        let start = NOTES + place * NOTE_WORDS;
        &self.words[start..start + NOTE_WORDS]
    }
}

/// Where a service is counted.
fn place(service: Service) -> usize {
    let place = Service::ALL.iter().position(|other| *other == service);
    place.expect("all services are in ALL")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        stage::{AudioFormat, STAGE_WORDS},
        sync::heap,
        units::Slot,
    };

    fn with_stage(test: impl FnOnce(Stage<'_>)) {
        let words = heap(STAGE_WORDS);
        let format = AudioFormat {
            rate_hz: 48_000,
            block_frames: 128,
            channels: 2,
            lead_blocks: 4,
            freewheel: false,
        };
        test(Stage::create(&words, &format).unwrap());
    }

    #[test]
    fn a_start_is_counted_once() {
        with_stage(|stage| {
            for pid in [10, 10, 11, 12, 12] {
                stage.count_start(Service::AudioOut, pid);
            }
            assert_eq!(stage.restarts(Service::AudioOut), 2);
            assert_eq!(stage.restarts(Service::Worker(Slot::One)), 0);
        });
    }

    #[test]
    fn the_newest_notes_are_kept_and_counts_stand_beside_them() {
        with_stage(|stage| {
            let tallies = Tallies {
                refused: 1,
                late: 2,
                divergences: 3,
                differing_at: BlockIndex(4),
            };
            stage.set_tallies(tallies);
            assert_eq!(stage.notes(Noted::Switch), []);
            for number in 0..NOTES_KEPT as u64 + 3 {
                let note = Note {
                    numbers: [number; NOTE_NUMBERS],
                    text: "x".repeat(number as usize % 80),
                };
                stage.set_note(Noted::Switch, number, &note);
            }
            let notes = stage.notes(Noted::Switch);
            assert_eq!((notes.len(), notes[0].0), (NOTES_KEPT, 3));
            assert_eq!(notes[7].1.numbers, [10; NOTE_NUMBERS]);
            assert!(
                notes
                    .iter()
                    .all(|(n, note)| note.text.len() == (*n as usize % 80).min(56))
            );
            assert_eq!(stage.notes(Noted::Replacement), []);
            assert_eq!(stage.tallies(), tallies);
        });
    }
}
