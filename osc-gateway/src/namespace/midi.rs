//! `/midi/…`: MIDI messages for the whole patch: an external clock, which leads all sequences, and silence.

use common::command::{Event, SequenceControl};

use super::{
    Action, Budget, Namespace, Resolved,
    addresses::{self, Entry},
    listed, push_event, sequences,
};
use crate::decode::{Message, Value};

impl Namespace {
    /// The actions of a message under `/midi/`.
    ///
    /// # Errors
    /// If the arguments are wrong, or the datagram causes too many changes.
    pub(super) fn midi(
        &self,
        entry: &Entry,
        message: &Message,
        budget: &mut Budget,
        actions: &mut Vec<Action>,
    ) -> Result<(), String> {
        let (verb, args) = (entry.verb(), message.args.as_slice());
        let control = match (verb, args) {
            ("tempo", [bpm]) => {
                SequenceControl::Bpm(bpm.number().ok_or_else(|| wrong(args))? as f32)
            }
            ("start" | "continue", []) => SequenceControl::Start,
            ("stop" | "panic", []) => SequenceControl::Stop,
            ("play" | "clock", _) => {
                let event = clock(verb == "play", args).ok_or_else(|| wrong(args))?;
                return push_event(Resolved::plain(event, message), budget, actions);
            }
            ("silence", []) => {
                return push_event(Resolved::plain(Event::Silence, message), budget, actions);
            }
            _ => return Err(wrong(args)),
        };
        if verb == "start" {
            let reset = Resolved::plain(Event::ResetSequences, message);
            push_event(reset, budget, actions)?;
        }
        for sequence in &self.sequences {
            actions.push(sequences::controlled(sequence.id.clone(), control)?);
        }
        if verb == "panic" {
            push_event(Resolved::plain(Event::Silence, message), budget, actions)?;
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

/// The error for wrong arguments.
fn wrong(args: &[Value]) -> String {
    format!(
        "got {} (expected one of {}; 24 ticks make a beat)",
        listed(args),
        addresses::usages("midi")
    )
}
