//! What has happened to the workers, for `status`: switches and replacements, with their times.
//!
//! A time from a fault to its answer is known only where the fault was injected: nobody else knows
//! when it happened. The newest entries are kept.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use common::{
    message::Service,
    stage::Preference,
    units::{BlockIndex, Epoch, Slot},
};
use serde_json::{Value, json};

/// Switches, and replacements, that are kept.
const KEPT: usize = 256;

struct Switch {
    epoch: Epoch,
    at_block: BlockIndex,
    from: Slot,
    to: Slot,
    cause: String,
    /// From the injected fault to the changed preference.
    detected_us: Option<u64>,
    standby_ready_ms: Option<f64>,
}

struct Replacement {
    slot: Slot,
    cause: String,
    detected_us: Option<u64>,
    /// From the injected fault, else from the notice.
    began: Instant,
    /// The switch that the failure made necessary.
    switch: Option<Epoch>,
    ready_ms: Option<f64>,
}

/// See the file's head.
#[derive(Default)]
pub struct History {
    switches: VecDeque<Switch>,
    replacements: VecDeque<Replacement>,
    injected: BTreeMap<Service, Instant>,
}

impl History {
    /// A fault is being injected.
    pub fn inject(&mut self, service: Service) {
        self.injected.insert(service, Instant::now());
    }

    /// The injected fault of that service, if there is one, has shown: when it was injected.
    pub fn shown(&mut self, service: Service) -> Option<Instant> {
        self.injected.remove(&service)
    }

    /// The preference has changed, whoever changed it; `since` is when the fault was injected.
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
            keep(
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

    /// A worker has to be replaced.
    pub fn failed(&mut self, slot: Slot, cause: &str, since: Option<Instant>) {
        keep(
            &mut self.replacements,
            Replacement {
                slot,
                cause: cause.into(),
                detected_us: since.map(elapsed_us),
                began: since.unwrap_or_else(Instant::now),
                switch: None,
                ready_ms: None,
            },
        );
    }

    /// What was to be done about the failure has been: the last switch may belong to it.
    pub fn answered(&mut self, slot: Slot) {
        let last = self.switches.back();
        let last = last.filter(|s| s.from == slot && s.standby_ready_ms.is_none());
        if let Some(epoch) = last.map(|switch| switch.epoch)
            && let Some(replacement) = open(&mut self.replacements, slot)
        {
            replacement.switch = Some(epoch);
        }
    }

    /// The replacement has been proven.
    pub fn ready(&mut self, slot: Slot) {
        let Some(replacement) = open(&mut self.replacements, slot) else {
            return;
        };
        let ms = (replacement.began.elapsed().as_secs_f64() * 1e5).round() / 100.0;
        replacement.ready_ms = Some(ms);
        let epoch = replacement.switch;
        let mut switches = self.switches.iter_mut().rev();
        if let Some(switch) = switches.find(|switch| Some(switch.epoch) == epoch) {
            switch.standby_ready_ms = Some(ms);
        }
    }

    /// Why the worker in that slot was replaced the last time.
    pub fn last_cause(&self, slot: Slot) -> &str {
        let mut newest_first = self.replacements.iter().rev();
        newest_first
            .find(|r| r.slot == slot)
            .map_or("", |r| &r.cause)
    }

    /// The switches, as they are shown.
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

    /// The replacements, as they are shown.
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

/// The replacement in that slot that is still under way.
fn open(replacements: &mut VecDeque<Replacement>, slot: Slot) -> Option<&mut Replacement> {
    let mut newest_first = replacements.iter_mut().rev();
    let newest = newest_first.find(|replacement| replacement.slot == slot)?;
    newest.ready_ms.is_none().then_some(newest)
}

fn keep<T>(list: &mut VecDeque<T>, entry: T) {
    if list.len() >= KEPT {
        list.pop_front();
    }
    list.push_back(entry);
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
    fn the_newest_entries_are_kept() {
        let mut history = History::default();
        for epoch in 0..KEPT as u64 + 3 {
            history.switched(
                Slot::Zero,
                prefer(epoch, Slot::One),
                BlockIndex(0),
                "",
                None,
            );
        }
        let shown = history.show_switches();
        assert_eq!((shown.len(), shown[0]["epoch"].as_u64()), (KEPT, Some(3)));
    }
}
