//! Handles the bytes of a port: saves the held state, then sends messages to the gateway.
//!
//! The port's thread does this at once, so that no byte waits in a queue that a kill would empty. The thread that the
//! supervisor monitors does everything that no byte triggers.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use platform::{realtime, say};

use crate::{
    clock,
    controls::Controls,
    held::{File, Held},
    osc::Gateway,
    parser::Parser,
    port::{Ear, Heard},
    translate::Said,
};

/// The time for a port of the predecessor to open before its keys are released.
const OPENING: Duration = Duration::from_secs(1);

/// The instrument at the port.
pub struct Instrument {
    held: Held,
    file: File,
    parser: Parser,
    controls: Controls,
    gateway: Gateway,
    started: Instant,
    /// Whether the port was open, in this process or its predecessor, and its loss is not reported yet.
    was_open: bool,
    /// The last report about a missing port.
    told: Option<String>,
}

/// The instrument, shared by both threads; the condition variable wakes the second thread.
#[derive(Clone)]
pub struct Shared(Arc<(Mutex<Instrument>, Condvar)>);

impl Shared {
    /// An instrument to share.
    pub fn new(instrument: Instrument) -> Self {
        Self(Arc::new((Mutex::new(instrument), Condvar::new())))
    }

    /// Does everything that no byte triggers, then waits until the timeout or a change.
    pub fn look(&self, wait: Duration) {
        let (instrument, changed) = &*self.0;
        let mut instrument = instrument.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = instrument.look().map_or(wait, |due| due.min(wait));
        drop(changed.wait_timeout(instrument, wait));
    }
}

impl Ear for Shared {
    fn hear(&self, heard: Heard<'_>) {
        let (instrument, changed) = &*self.0;
        let mut instrument = instrument.lock().unwrap_or_else(PoisonError::into_inner);
        match heard {
            Heard::Opened(name) => instrument.opened(name),
            Heard::Bytes(ntp, bytes) => instrument.bytes(ntp, bytes),
            Heard::Missing(why) => instrument.missing(why),
        }
        changed.notify_one();
    }
}

impl Instrument {
    /// Continues with the state of the predecessor.
    pub fn new(
        wanted: &str,
        (file, mut held): (File, Held),
        controls: Controls,
        gateway: Gateway,
    ) -> Self {
        let unsent = held.take_unsent();
        if held.port.name.is_empty() {
            held.port.name = wanted.to_owned();
        }
        // A port loses unread bytes, a pipe holds them.
        held.translator.transport.lossy = !wanted.starts_with("file:");
        let mut instrument = Self {
            was_open: std::mem::take(&mut held.port.open),
            parser: Parser::after(&held.tail),
            held,
            file,
            controls,
            gateway,
            started: Instant::now(),
            told: None,
        };
        instrument.send(unsent);
        instrument
    }

    /// Does everything that no byte triggers: reports refusals, detects a missing tick or a port that does not return.
    /// Returns the time of the next check, if known.
    fn look(&mut self) -> Option<Duration> {
        for refusal in self.gateway.refusals() {
            say::line("midi-in", &refusal);
        }
        let waits = !self.held.port.open && self.told.is_none();
        if waits && self.started.elapsed() >= OPENING {
            self.missing("no program writes to the pipe");
        }
        let now = realtime::monotonic_ntp();
        let mut said = Vec::new();
        let transport = &mut self.held.translator.transport;
        transport.look(now, &mut |what| said.push((what, now)));
        let due = transport.due().map(|due| clock::between(now, due).max(0.0));
        if !said.is_empty() {
            self.send(said);
        }
        due.map(Duration::from_secs_f64)
    }

    fn opened(&mut self, name: &str) {
        let again = std::mem::take(&mut self.held.port.gone);
        let port = &mut self.held.port;
        name.clone_into(&mut port.name);
        port.open = true;
        self.was_open = true;
        port.reopened += u64::from(again);
        self.told = None;
        let how = if again {
            "listening again"
        } else {
            "listening"
        };
        say::line("midi-in", &format!("{how} to \"{name}\""));
        self.file.write(&self.held);
    }

    fn bytes(&mut self, ntp: u64, bytes: &[u8]) {
        let mut said = Vec::new();
        let translator = &mut self.held.translator;
        self.parser.feed(bytes, |event| {
            translator.hear(event, ntp, |what| said.push((what, ntp)));
        });
        self.parser.tail().clone_into(&mut self.held.tail);
        self.send(said);
    }

    /// Handles a missing port: releases its keys.
    fn missing(&mut self, why: &str) {
        let first = self.told.replace(why.to_owned()).is_none();
        let port = &mut self.held.port;
        port.open = false;
        port.gone |= std::mem::take(&mut self.was_open);
        let (name, keys) = (port.name.clone(), self.held.translator.sounding());
        self.parser = Parser::default();
        self.held.tail.clear();
        let mut said = Vec::new();
        let ntp = realtime::monotonic_ntp();
        self.held
            .translator
            .release(&mut |what| said.push((what, ntp)));
        self.send(said);
        if first {
            let released = match keys {
                0 => String::new(),
                1 => ", 1 key released".into(),
                keys => format!(", {keys} keys released"),
            };
            say::line(
                "midi-in",
                &format!("no MIDI from \"{name}\": {why}{released}; waiting for the port"),
            );
        }
    }

    /// Saves the held state and the messages; sends the messages; saves that they are sent.
    fn send(&mut self, said: Vec<(Said, u64)>) {
        self.held.unsent = said;
        self.file.write(&self.held);
        for (said, ntp) in std::mem::take(&mut self.held.unsent) {
            match said {
                Said::Control(channel, controller, value) => {
                    for (module, param) in self.controls.moved(channel, controller) {
                        self.gateway.turn(&module, &param, value, ntp);
                    }
                }
                Said::Reset(channel, controller, value) => {
                    for (module, param) in self.controls.bound(channel, controller) {
                        self.gateway.turn(&module, &param, value, ntp);
                    }
                }
                said => self.gateway.send(said, ntp),
            }
        }
        self.file.write(&self.held);
    }
}
