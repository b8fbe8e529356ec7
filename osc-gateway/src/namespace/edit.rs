//! `/patch/…`: edits of the patch, which are collected until the commit.
//!
//! Names are not resolved here: the supervisor holds the patch in force and the collected edits, and checks the
//! names.

use common::{
    edit::{Drafted, Edit},
    message::Submission,
};

use super::addresses::Entry;
use crate::decode::Value;

/// The submission of `/patch/VERB`.
///
/// # Errors
/// If the arguments are wrong.
pub fn understand(entry: &Entry, args: &[Value]) -> Result<Submission, String> {
    let edit = match (entry.verb(), args) {
        ("commit", []) => return Ok(Submission::Commit { forced: false }),
        ("commit", [Value::Text(force)]) if force == "force" => {
            return Ok(Submission::Commit { forced: true });
        }
        ("abort", []) => return Ok(Submission::Draft(Drafted::Abort)),
        ("create", [Value::Text(id), Value::Text(kind)]) => Edit::Create {
            id: id.clone(),
            kind: kind.clone(),
        },
        ("remove", [Value::Text(id)]) => Edit::Remove { id: id.clone() },
        ("connect", [Value::Text(from), Value::Text(to)]) => Edit::Connect {
            from: from.clone(),
            to: to.clone(),
            frame: false,
        },
        ("connect", [Value::Text(from), Value::Text(to), Value::Text(frame)])
            if frame == "frame" =>
        {
            Edit::Connect {
                from: from.clone(),
                to: to.clone(),
                frame: true,
            }
        }
        ("disconnect", [Value::Text(from), Value::Text(to)]) => Edit::Disconnect {
            from: from.clone(),
            to: to.clone(),
        },
        _ => return Err(entry.wrong(args)),
    };
    Ok(Submission::Draft(Drafted::Edit(edit)))
}
