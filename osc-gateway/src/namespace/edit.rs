//! `/patch/…`: edits of the patch, which are collected until the commit.
//!
//! Names are not resolved here: the supervisor holds the patch in force and the collected edits, and checks the
//! names.

use common::{
    edit::{Drafted, Edit},
    message::Submission,
};

use super::listed;
use crate::{decode::Value, reply::shorten};

/// The submission of `/patch/VERB`.
///
/// # Errors
/// If the verb is unknown or the arguments are wrong.
pub fn understand(verb: &str, args: &[Value]) -> Result<Submission, String> {
    let edit = match (verb, args) {
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
        _ => {
            let right = match verb {
                "create" => "two strings, ID TYPE",
                "remove" => "one string, ID",
                "connect" => {
                    "two strings, SRC DST, each `id` or `id.port`, and optionally \"frame\""
                }
                "disconnect" => "two strings, SRC DST, each `id` or `id.port`",
                "commit" => "no argument or \"force\"",
                "abort" => "no argument",
                _ => {
                    return Err(format!(
                        "no address \"/patch/{}\" (expected one of create, remove, connect, disconnect, commit, abort)",
                        shorten(verb, 40)
                    ));
                }
            };
            return Err(format!("got {} (expected {right})", listed(args)));
        }
    };
    Ok(Submission::Draft(Drafted::Edit(edit)))
}
