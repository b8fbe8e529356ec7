//! `/record/*`: what is asked of the recorder. Names are looked at by the supervisor, where the files are.

use common::{message::Submission, recording::Wish};

use super::{Action, listed};
use crate::decode::Value;

/// What there is.
pub(super) const RIGHT: &str = "there are /record/start [NAME], /record/stop, /record/status";

/// What a message under `/record/` asks for.
///
/// # Errors
/// With what was wrong and what would be right.
pub(super) fn understand(verb: &str, args: &[Value]) -> Result<Action, String> {
    let wish = match (verb, args) {
        ("start", []) => Wish::Start(None),
        ("start", [Value::Text(name)]) => Wish::Start(Some(name.clone())),
        ("start", other) => {
            return Err(format!("it takes a name or nothing, got {}", listed(other)));
        }
        ("stop", []) => Wish::Stop,
        ("status", []) => return Ok(Action::RecordStatus),
        ("stop" | "status", other) => {
            return Err(format!("it takes no argument, got {}", listed(other)));
        }
        _ => return Err(RIGHT.into()),
    };
    Ok(Action::Edit(Submission::Record(wish), None))
}
