//! `/midi/…`: MIDI messages for the whole patch: an external clock, which leads all sequences, and silence.

use common::command::{Event, SequenceControl};

use super::{Action, Budget, Namespace, Resolved, listed, no_arguments, push_event, sequences};
use crate::decode::{Message, Value};

/// The addresses and their arguments.
pub(super) const RIGHT: &str = "expected /midi/tempo BPM, /midi/start, /midi/continue or /midi/stop, for all sequences, /midi/play TICK [BPM] or /midi/clock TICK BPM (24 ticks a beat), /midi/silence or /midi/panic";

impl Namespace {
    /// The actions of a message under `/midi/`.
    pub(super) fn midi(
        &self,
        verb: &str,
        message: &Message,
        budget: &mut Budget,
        actions: &mut Vec<Action>,
    ) -> Result<(), String> {
        let control = match (verb, message.args.as_slice()) {
            ("tempo", args) => {
                let bpm = match args {
                    [bpm] => bpm.number(),
                    _ => None,
                };
                let bpm = bpm.ok_or_else(|| format!("got {}; {RIGHT}", listed(args)))?;
                SequenceControl::Bpm(bpm as f32)
            }
            ("start" | "continue", _) => SequenceControl::Start,
            ("stop" | "panic", _) => SequenceControl::Stop,
            ("play" | "clock", args) => {
                let event = clock(verb == "play", args);
                let event = event.ok_or_else(|| format!("got {}; {RIGHT}", listed(args)))?;
                return push_event(of(event, message), budget, actions);
            }
            ("silence", _) => {
                no_arguments(message)?;
                return push_event(of(Event::Silence, message), budget, actions);
            }
            _ => return Err(RIGHT.into()),
        };
        if verb != "tempo" {
            no_arguments(message)?;
        }
        if verb == "start" {
            push_event(of(Event::ResetSequences, message), budget, actions)?;
        }
        for sequence in &self.sequences {
            actions.push(sequences::controlled(sequence.id.clone(), control)?);
        }
        if verb == "panic" {
            push_event(of(Event::Silence, message), budget, actions)?;
        }
        Ok(())
    }
}

/// The position of a clock in the song.
fn clock(begin: bool, args: &[Value]) -> Option<Event> {
    let (ticks, bpm) = match args {
        [ticks] if begin => (ticks, 0.0),
        [ticks, bpm] => (ticks, bpm.number()?),
        _ => return None,
    };
    let ticks = match ticks {
        Value::Int(ticks) => u32::try_from(*ticks).ok()?,
        _ => return None,
    };
    // The range of a sequence's tempo; 0 means to wait.
    let right = bpm == 0.0 || (1.0..=999.0).contains(&bpm);
    let bpm = bpm as f32;
    right.then_some(Event::Clock { ticks, bpm, begin })
}

/// The event with its message, without a note.
fn of(event: Event, message: &Message) -> Resolved {
    Resolved {
        message: message.clone(),
        event,
        note: None,
    }
}
