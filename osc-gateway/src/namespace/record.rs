//! `/record/…`: requests to the recorder. The supervisor checks the names, since it knows the files.

use common::{message::Submission, recording::Wish};

use super::{Action, listed};
use crate::decode::Value;

/// The addresses and their arguments.
pub(super) const RIGHT: &str = "expected /record/start [NAME], /record/stop or /record/status";

/// The action of a message under `/record/`.
///
/// # Errors
/// If the verb is unknown or the arguments are wrong.
pub(super) fn understand(verb: &str, args: &[Value]) -> Result<Action, String> {
    let wish = match (verb, args) {
        ("start", []) => Wish::Start(None),
        ("start", [Value::Text(name)]) => Wish::Start(Some(name.clone())),
        ("start", other) => {
            return Err(format!(
                "got {} (expected a name or no argument)",
                listed(other)
            ));
        }
        ("stop", []) => Wish::Stop,
        ("status", []) => return Ok(Action::RecordStatus),
        ("stop" | "status", other) => {
            return Err(format!("got {} (expected no argument)", listed(other)));
        }
        _ => return Err(RIGHT.into()),
    };
    Ok(Action::Edit(Submission::Record(wish), None))
}
