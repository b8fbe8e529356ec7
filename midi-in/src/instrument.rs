//! Takes in what comes from a port: writes the held state down, then sends to the gateway.
//!
//! The port's thread does this at once, so that nothing waits in a queue that a kill would empty. The thread
//! that the supervisor watches does everything that no byte triggers.

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

/// How long a port that the predecessor had may take to open before its keys are released.
const OPENING: Duration = Duration::from_secs(1);

/// The instrument at the port.
pub struct Instrument {
    held: Held,
    file: File,
    parser: Parser,
    controls: Controls,
    gateway: Gateway,
    started: Instant,
    /// The port has been there, for this process or its predecessor, and its loss has not been reported.
    was_open: bool,
    /// What was said of a port that is missing.
    told: Option<String>,
}

/// The instrument, shared by both threads; the condition variable wakes the second one.
#[derive(Clone)]
pub struct Shared(Arc<(Mutex<Instrument>, Condvar)>);

impl Shared {
    /// For both.
    pub fn new(instrument: Instrument) -> Self {
        Self(Arc::new((Mutex::new(instrument), Condvar::new())))
    }

    /// Does what no byte triggers, then waits for so long, or until something changes.
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
    /// Goes on where the one before was killed.
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
        // A port forgets what nobody heard, a pipe keeps it.
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

    /// Does what no byte triggers: reports refusals, finds a missing tick or a port that does not come back.
    /// Returns when to look next, if that is known.
    fn look(&mut self) -> Option<Duration> {
        for refusal in self.gateway.refusals() {
            say::line("midi-in", &refusal);
        }
        let waits = !self.held.port.open && self.told.is_none();
        if waits && self.started.elapsed() >= OPENING {
            self.missing("nobody writes into it");
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
        let how = if again { "listens again" } else { "listens" };
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

    /// The port is gone or not there yet: releases its keys.
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
                1 => ", 1 key is released".into(),
                keys => format!(", {keys} keys are released"),
            };
            say::line(
                "midi-in",
                &format!("no MIDI from \"{name}\": {why}{released}; it is waited for"),
            );
        }
    }

    /// Writes down the held state and the messages; sends them; writes down that they are sent.
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
