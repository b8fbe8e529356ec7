//! The history of the workers for `status`: switches and replacements, with their times.
//!
//! The time from a fault to the reaction is known only for injected faults, whose time is known. The newest entries are
//! also stored on the stage, where the next supervisor reads them.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use common::{
    limits::NOTES_KEPT,
    message::Service,
    stage::{NOTE_NUMBERS, Note, Noted, Preference, Stage},
    units::{BlockIndex, Epoch, Slot},
};
use platform::realtime::monotonic_ns;
use serde_json::{Value, json};

struct Switch {
    epoch: Epoch,
    at_block: BlockIndex,
    from: Slot,
    to: Slot,
    cause: String,
    /// The time from the injected fault to the change of the preference.
    detected_us: Option<u64>,
    standby_ready_ms: Option<f64>,
}

struct Replacement {
    slot: Slot,
    cause: String,
    detected_us: Option<u64>,
    /// The time of the injected fault, otherwise of its detection; by the machine's monotonic clock.
    began_ns: u64,
    /// The switch that the failure made necessary.
    switch: Option<Epoch>,
    ready_ms: Option<f64>,
}

/// See the file's head.
#[derive(Default)]
pub struct History {
    switches: VecDeque<Switch>,
    replacements: VecDeque<Replacement>,
    /// The numbers of the first entries.
    first: [u64; 2],
    injected: BTreeMap<Service, Instant>,
}

impl History {
    /// Reads the entries of earlier supervisors.
    pub fn recall(stage: &Stage<'_>) -> Self {
        let [switches, replacements] =
            [Noted::Switch, Noted::Replacement].map(|kind| stage.notes(kind));
        let first = |notes: &[(u64, Note)]| notes.first().map_or(0, |(number, _)| *number);
        Self {
            first: [first(&switches), first(&replacements)],
            switches: switches
                .iter()
                .map(|(_, note)| Switch::from_note(note))
                .collect(),
            replacements: replacements
                .iter()
                .map(|(_, note)| Replacement::from_note(note))
                .collect(),
            injected: BTreeMap::new(),
        }
    }

    /// Stores the entries for the next supervisor.
    pub fn leave(&self, stage: &Stage<'_>) {
        for (number, switch) in (self.first[0]..).zip(&self.switches) {
            stage.set_note(Noted::Switch, number, &switch.to_note());
        }
        for (number, replacement) in (self.first[1]..).zip(&self.replacements) {
            stage.set_note(Noted::Replacement, number, &replacement.to_note());
        }
    }

    /// Records the injection of a fault.
    pub fn inject(&mut self, service: Service) {
        self.injected.insert(service, Instant::now());
    }

    /// The time at which the detected fault of a service was injected, if it was.
    pub fn shown(&mut self, service: Service) -> Option<Instant> {
        self.injected.remove(&service)
    }

    /// Records a change of the preference; `since` is the time of the injected fault.
    pub fn switched(
        &mut self,
        from: Slot,
        now: Preference,
        at_block: BlockIndex,
        cause: &str,
        since: Option<Instant>,
    ) {
        let Preference { epoch, slot: to } = now;
        if from != to {
            self.first[0] += keep(
                &mut self.switches,
                Switch {
                    epoch,
                    at_block,
                    from,
                    to,
                    cause: cause.into(),
                    detected_us: since.map(elapsed_us),
                    standby_ready_ms: None,
                },
            );
        }
    }

    /// Records that a worker must be replaced.
    pub fn failed(&mut self, slot: Slot, cause: &str, since: Option<Instant>) {
        let ago_ns = since.map_or(0, |since| since.elapsed().as_nanos() as u64);
        self.first[1] += keep(
            &mut self.replacements,
            Replacement {
                slot,
                cause: cause.into(),
                detected_us: since.map(elapsed_us),
                began_ns: monotonic_ns().saturating_sub(ago_ns),
                switch: None,
                ready_ms: None,
            },
        );
    }

    /// Records the reaction to a failure: the last switch may belong to it.
    pub fn answered(&mut self, slot: Slot) {
        let last = self.switches.back();
        let last = last.filter(|s| s.from == slot && s.standby_ready_ms.is_none());
        if let Some(epoch) = last.map(|switch| switch.epoch)
            && let Some(replacement) = open(&mut self.replacements, slot)
        {
            replacement.switch = Some(epoch);
        }
    }

    /// Records that a replacement is ready.
    pub fn ready(&mut self, slot: Slot) {
        let Some(replacement) = open(&mut self.replacements, slot) else {
            return;
        };
        let us = monotonic_ns().saturating_sub(replacement.began_ns) / 1_000;
        let ms = (us as f64 / 10.0).round() / 100.0;
        replacement.ready_ms = Some(ms);
        let epoch = replacement.switch;
        let mut switches = self.switches.iter_mut().rev();
        if let Some(switch) = switches.find(|switch| Some(switch.epoch) == epoch) {
            switch.standby_ready_ms = Some(ms);
        }
    }

    /// The cause of the last replacement in a slot.
    pub fn last_cause(&self, slot: Slot) -> &str {
        let mut newest_first = self.replacements.iter().rev();
        newest_first
            .find(|r| r.slot == slot)
            .map_or("", |r| &r.cause)
    }

    /// The switches for `status`.
    pub fn show_switches(&self) -> Vec<Value> {
        self.switches
            .iter()
            .map(|s| {
                json!({
                    "epoch": s.epoch.0, "at_block": s.at_block.0, "from": s.from.index(),
                    "to": s.to.index(), "cause": s.cause, "detected_us": s.detected_us,
                    "switched_us": s.detected_us.unwrap_or(0),
                    "standby_ready_ms": s.standby_ready_ms,
                })
            })
            .collect()
    }

    /// The replacements for `status`.
    pub fn show_replacements(&self) -> Vec<Value> {
        self.replacements
            .iter()
            .map(|r| {
                json!({
                    "slot": r.slot.index(), "cause": r.cause, "detected_us": r.detected_us,
                    "ready_ms": r.ready_ms,
                })
            })
            .collect()
    }
}

/// The unfinished replacement in a slot.
fn open(replacements: &mut VecDeque<Replacement>, slot: Slot) -> Option<&mut Replacement> {
    let mut newest_first = replacements.iter_mut().rev();
    let newest = newest_first.find(|replacement| replacement.slot == slot)?;
    newest.ready_ms.is_none().then_some(newest)
}

/// Adds an entry; returns the number of removed oldest entries.
fn keep<T>(list: &mut VecDeque<T>, entry: T) -> u64 {
    let full = list.len() >= NOTES_KEPT;
    if full {
        list.pop_front();
    }
    list.push_back(entry);
    full.into()
}

/// An optional number in the form of a note.
const fn to_word(value: Option<u64>) -> u64 {
    match value {
        Some(value) => value + 1,
        None => 0,
    }
}

const fn from_word(word: u64) -> Option<u64> {
    word.checked_sub(1)
}

/// Milliseconds as hundredths.
fn to_hundredths(ms: Option<f64>) -> u64 {
    to_word(ms.map(|ms| (ms * 100.0).round() as u64))
}

fn from_hundredths(word: u64) -> Option<f64> {
    from_word(word).map(|hundredths| hundredths as f64 / 100.0)
}

const fn slot_of(word: u64) -> Slot {
    if word == 0 { Slot::Zero } else { Slot::One }
}

fn note(numbers: &[u64], text: &str) -> Note {
    let mut note = Note {
        numbers: [0; NOTE_NUMBERS],
        text: text.into(),
    };
    for (place, number) in note.numbers.iter_mut().zip(numbers) {
        *place = *number;
    }
    note
}

impl Switch {
    fn to_note(&self) -> Note {
        let numbers = [
            self.epoch.0,
            self.at_block.0,
            self.from.index() as u64,
            self.to.index() as u64,
            to_word(self.detected_us),
            to_hundredths(self.standby_ready_ms),
        ];
        note(&numbers, &self.cause)
    }

    fn from_note(note: &Note) -> Self {
        let [epoch, block, from, to, detected, ready, _] = note.numbers;
        Self {
            epoch: Epoch(epoch),
            at_block: BlockIndex(block),
            from: slot_of(from),
            to: slot_of(to),
            cause: note.text.clone(),
            detected_us: from_word(detected),
            standby_ready_ms: from_hundredths(ready),
        }
    }
}

impl Replacement {
    fn to_note(&self) -> Note {
        let numbers = [
            self.slot.index() as u64,
            to_word(self.detected_us),
            self.began_ns,
            to_word(self.switch.map(|epoch| epoch.0)),
            to_hundredths(self.ready_ms),
        ];
        note(&numbers, &self.cause)
    }

    fn from_note(note: &Note) -> Self {
        let [slot, detected, began_ns, switch, ready, ..] = note.numbers;
        Self {
            slot: slot_of(slot),
            cause: note.text.clone(),
            detected_us: from_word(detected),
            began_ns,
            switch: from_word(switch).map(Epoch),
            ready_ms: from_hundredths(ready),
        }
    }
}

fn elapsed_us(since: Instant) -> u64 {
    since.elapsed().as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefer(epoch: u64, slot: Slot) -> Preference {
        Preference {
            epoch: Epoch(epoch),
            slot,
        }
    }

    #[test]
    fn a_switch_learns_when_the_replacement_that_it_belongs_to_is_ready() {
        let mut history = History::default();
        history.failed(Slot::Zero, "signal 9", None);
        history.switched(
            Slot::Zero,
            prefer(1, Slot::One),
            BlockIndex(7),
            "signal 9",
            None,
        );
        history.answered(Slot::Zero);
        history.failed(Slot::One, "signal 11", None);
        history.answered(Slot::One);
        history.ready(Slot::One);
        assert!(history.show_switches()[0]["standby_ready_ms"].is_null());
        history.ready(Slot::Zero);
        assert!(history.show_switches()[0]["standby_ready_ms"].is_f64());
        history.ready(Slot::Zero);
        let shown = history.show_replacements();
        assert!(shown.len() == 2 && shown.iter().all(|r| r["ready_ms"].is_f64()));
    }

    #[test]
    fn an_injected_fault_shows_once_and_in_its_service_only() {
        let mut history = History::default();
        let [zero, one] = [Slot::Zero, Slot::One].map(Service::Worker);
        history.inject(zero);
        assert!(history.shown(one).is_none());
        assert!(history.shown(zero).is_some() && history.shown(zero).is_none());
    }

    #[test]
    fn the_last_cause_is_that_of_the_slot_and_a_preference_that_stays_is_no_switch() {
        let mut history = History::default();
        assert_eq!(history.last_cause(Slot::Zero), "");
        history.failed(Slot::Zero, "signal 9", None);
        history.failed(Slot::Zero, "exit 101", None);
        history.failed(Slot::One, "it hangs", None);
        assert_eq!(history.last_cause(Slot::Zero), "exit 101");
        let stays = prefer(4, Slot::Zero);
        history.switched(Slot::Zero, stays, BlockIndex(7), "", None);
        assert!(history.show_switches().is_empty());
    }

    #[test]
    fn the_newest_entries_are_kept() {
        let mut history = History::default();
        for epoch in 0..NOTES_KEPT as u64 + 3 {
            history.switched(
                Slot::Zero,
                prefer(epoch, Slot::One),
                BlockIndex(0),
                "",
                None,
            );
        }
        let shown = history.show_switches();
        assert_eq!(
            (shown.len(), shown[0]["epoch"].as_u64()),
            (NOTES_KEPT, Some(3))
        );
    }

    #[test]
    fn the_next_supervisor_finds_all_of_it_and_goes_on() {
        let words = common::sync::heap(common::stage::STAGE_WORDS);
        let format = common::stage::AudioFormat {
            rate_hz: 48_000,
            block_frames: 128,
            channels: 2,
            lead_blocks: 4,
            freewheel: false,
        };
        let stage = Stage::create(&words, &format).unwrap();
        let mut history = History::recall(&stage);
        for turn in 0..NOTES_KEPT as u64 + 9 {
            let (from, to) = (Slot::Zero, prefer(turn, Slot::One));
            history.failed(from, "signal 9", Some(Instant::now()));
            history.switched(from, to, BlockIndex(turn), "signal 9", None);
            history.answered(from);
            if turn % 2 == 0 {
                history.ready(from);
            }
            if turn % 50 == 49 {
                history.leave(&stage);
                let next = History::recall(&stage);
                assert_eq!(next.show_switches(), history.show_switches());
                assert_eq!(next.show_replacements(), history.show_replacements());
                history = next;
            }
        }
        history.failed(Slot::One, "hangs", None);
        history.leave(&stage);
        let mut next = History::recall(&stage);
        assert_eq!(next.show_replacements(), history.show_replacements());
        next.ready(Slot::One);
        assert!(next.show_replacements().last().unwrap()["ready_ms"].is_f64());
        assert_eq!(next.last_cause(Slot::One), "hangs");
    }
}
