//! `/record/…`: requests to the recorder. The supervisor checks the names, since it knows the files.

use common::{message::Submission, recording::Wish};

use super::{Action, addresses::Entry};
use crate::decode::Value;

/// The action of a message under `/record/`.
///
/// # Errors
/// If the arguments are wrong.
pub(super) fn understand(entry: &Entry, args: &[Value]) -> Result<Action, String> {
    let wish = match (entry.verb(), args) {
        ("start", []) => Wish::Start(None),
        ("start", [Value::Text(name)]) => Wish::Start(Some(name.clone())),
        ("stop", []) => Wish::Stop,
        ("status", []) => return Ok(Action::RecordStatus),
        _ => return Err(entry.wrong(args)),
    };
    Ok(Action::Edit(Submission::Record(wish), None))
}
