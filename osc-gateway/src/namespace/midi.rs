//! `/midi/…`: a clock from outside. It leads every sequence of the patch.

use common::command::{Event, SequenceControl};

use super::{Action, Budget, Namespace, Resolved, listed, no_arguments, push_event, sequences};
use crate::decode::Message;

/// What there is.
pub(super) const RIGHT: &str =
    "there are /midi/tempo BPM, /midi/start, /midi/continue and /midi/stop, for all sequences";

impl Namespace {
    /// What a message under `/midi/` asks for.
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
                let bpm = bpm.ok_or_else(|| format!("{RIGHT}; got {}", listed(args)))?;
                SequenceControl::Bpm(bpm as f32)
            }
            ("start" | "continue", _) => SequenceControl::Start,
            ("stop", _) => SequenceControl::Stop,
            _ => return Err(RIGHT.into()),
        };
        if verb != "tempo" {
            no_arguments(message)?;
        }
        if verb == "start" {
            let resolved = Resolved {
                message: message.clone(),
                event: Event::ResetSequences,
                note: None,
            };
            push_event(resolved, budget, actions)?;
        }
        for sequence in &self.sequences {
            actions.push(sequences::controlled(sequence.id.clone(), control)?);
        }
        Ok(())
    }
}
