//! `/preset/…`: presets of modules. The supervisor checks the names.

use common::{command::RAMP_MS_MAX, message::Submission, preset::Preset};

use super::{
    Action,
    addresses::{self, Entry},
    listed,
    range::{MS, both, within},
};
use crate::decode::Value;

/// The action of a message under `/preset/`.
///
/// # Errors
/// If the arguments are wrong.
pub(super) fn understand(entry: &Entry, args: &[Value]) -> Result<Action, String> {
    let wrong = || {
        format!(
            "got {} (expected one of {})",
            listed(args),
            addresses::usages("preset")
        )
    };
    let (preset, note) = match (entry.verb(), args) {
        ("save", [Value::Text(module), Value::Text(name)]) => {
            let (module, name) = (module.clone(), name.clone());
            (Preset::Save { module, name }, None)
        }
        ("load", [Value::Text(module), Value::Text(name), rest @ ..]) if rest.len() <= 1 => {
            let (ms, note) = milliseconds(rest, &wrong)?;
            (morph(module, (name, name), 0.0, ms), note)
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
        ) if rest.len() <= 1 => {
            let position = position.number().ok_or_else(wrong)?;
            let (position, clamped) = within("the position", position, (0.0, 1.0))?;
            let (ms, note) = milliseconds(rest, &wrong)?;
            (morph(module, (a, b), position, ms), both([clamped, note]))
        }
        ("list", []) => return Ok(Action::Presets(None)),
        ("list", [Value::Text(module)]) => return Ok(Action::Presets(Some(module.clone()))),
        _ => return Err(wrong()),
    };
    Ok(Action::Edit(Submission::Preset(preset), note))
}

fn morph(module: &str, (a, b): (&str, &str), position: f32, ms: Option<f32>) -> Preset {
    Preset::Morph {
        module: module.to_owned(),
        between: (a.to_owned(), b.to_owned()),
        position,
        ms,
        at: None,
    }
}

/// The optional time in milliseconds, with a note if it was clamped.
fn milliseconds(
    rest: &[Value],
    wrong: &impl Fn() -> String,
) -> Result<(Option<f32>, Option<String>), String> {
    let Some(ms) = rest.first() else {
        return Ok((None, None));
    };
    let (ms, note) = within(MS, ms.number().ok_or_else(wrong)?, (0.0, RAMP_MS_MAX))?;
    Ok((Some(ms), note))
}
