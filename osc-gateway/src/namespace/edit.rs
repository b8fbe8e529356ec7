//! `/patch/…`: edits of the patch, which are collected until they are committed.
//!
//! Names stay names: the supervisor, who holds the patch in force and the edits that wait, says whether
//! they are good.

use common::{
    edit::{Drafted, Edit},
    message::Submission,
};

use super::listed;
use crate::{decode::Value, reply::shorten};

/// What `/patch/VERB` asks for.
///
/// # Errors
/// When there is no such verb, or its arguments are others.
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
                "create" => "takes two texts, ID and TYPE",
                "remove" => "takes one text, ID",
                "connect" => {
                    "takes two texts, SRC and DST, each `id` or `id.port`, and perhaps \"frame\""
                }
                "disconnect" => "takes two texts, SRC and DST, each `id` or `id.port`",
                "commit" => "takes no argument, or \"force\"",
                "abort" => "takes no argument",
                _ => {
                    return Err(format!(
                        "no address \"/patch/{}\"; there are create, remove, connect, disconnect, commit, abort",
                        shorten(verb, 40)
                    ));
                }
            };
            return Err(format!("it {right}, got {}", listed(args)));
        }
    };
    Ok(Submission::Draft(Drafted::Edit(edit)))
}
