//! `/preset/…`: presets of modules. Whether there are such names the supervisor says.

use common::{command::RAMP_MS_MAX, message::Submission, preset::Preset};

use super::{Action, listed};
use crate::decode::Value;

/// What there is.
pub(super) const RIGHT: &str = "there are /preset/save MODULE NAME, /preset/load MODULE NAME [MS], /preset/morph MODULE A B POSITION [MS], /preset/list [MODULE]";

/// What a message under `/preset/` asks for.
///
/// # Errors
/// With what was wrong and what would be right.
pub(super) fn understand(verb: &str, args: &[Value]) -> Result<Action, String> {
    let preset = match (verb, args) {
        ("save", [Value::Text(module), Value::Text(name)]) => Preset::Save {
            module: module.clone(),
            name: name.clone(),
        },
        ("load", [Value::Text(module), Value::Text(name), rest @ ..]) if rest.len() <= 1 => {
            Preset::Morph {
                module: module.clone(),
                between: (name.clone(), name.clone()),
                position: 0.0,
                ms: milliseconds(rest)?,
                at: None,
            }
        }
        (
            "morph",
            [
                Value::Text(module),
                Value::Text(a),
                Value::Text(b),
                position,
                rest @ ..,
            ],
        ) if rest.len() <= 1 => Preset::Morph {
            module: module.clone(),
            between: (a.clone(), b.clone()),
            position: within(position, "the position", 1.0)?,
            ms: milliseconds(rest)?,
            at: None,
        },
        ("list", []) => return Ok(Action::Presets(None)),
        ("list", [Value::Text(module)]) => return Ok(Action::Presets(Some(module.clone()))),
        ("save" | "load" | "morph" | "list", _) => {
            return Err(format!("{RIGHT}; got {}", listed(args)));
        }
        _ => return Err(RIGHT.into()),
    };
    Ok(Action::Edit(Submission::Preset(preset), None))
}

fn milliseconds(rest: &[Value]) -> Result<Option<f32>, String> {
    let ms = rest.first();
    ms.map(|ms| within(ms, "MS", RAMP_MS_MAX)).transpose()
}

/// A number from 0 on.
fn within(value: &Value, what: &str, most: f32) -> Result<f32, String> {
    let fits = |number: &f64| (0.0..=f64::from(most)).contains(number);
    match value.number().filter(fits) {
        Some(number) => Ok(number as f32),
        None => Err(format!("{what} is a number from 0 to {most}, got {value}")),
    }
}
