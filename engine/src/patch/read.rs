//! Parses text to an unchecked patch; an error contains the path to the wrong field.

use serde_json::{Deserializer, error::Category};

use super::{Patch, PatchError, VERSION, error::hint};

/// Parses the text.
pub fn read(text: &str) -> Result<Patch, PatchError> {
    // Tracking the path takes twice as long as parsing.
    if let Ok(patch) = serde_json::from_str(text) {
        return Ok(patch);
    }
    let mut json = Deserializer::from_str(text);
    let patch = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let at = error.path().to_string();
        wrong(text, &at, error.inner())
    })?;
    json.end().map_err(|error| no_json(&error))?;
    Ok(patch)
}

fn no_json(error: &serde_json::Error) -> PatchError {
    PatchError::Json(error.to_string())
}

fn wrong(text: &str, at: &str, error: &serde_json::Error) -> PatchError {
    if error.classify() != Category::Data {
        return no_json(error);
    }
    // Another version may have other fields; only the version is checked.
    let version = serde_json::from_str::<serde_json::Value>(text).ok();
    let version = version.and_then(|patch| patch.get("version")?.as_u64());
    if let Some(found) = version.filter(|found| *found != u64::from(VERSION)) {
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        return PatchError::Version { found };
    }
    let (line, column) = (error.line(), error.column());
    let place = format!(" at line {line} column {column}");
    let said = error.to_string();
    let said = said.strip_suffix(&place).unwrap_or(&said);
    let said = said.strip_prefix(&format!("{at}: ")).unwrap_or(said);
    let what = match said.strip_prefix("unknown field ") {
        Some(rest) => unknown(rest),
        // Serde names the Rust type, which means nothing to a user.
        None if said.contains(", expected struct ") => "is not a JSON object (expected {…})".into(),
        None => said.replace('`', "\""),
    };
    let at = if at == "." { "patch" } else { at };
    PatchError::Field {
        at: at.to_owned(),
        what,
        line,
        column,
    }
}

/// The error for an unknown field; `rest` is the text of serde after `unknown field `: `` `x`, expected … ``.
fn unknown(rest: &str) -> String {
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let field = quoted.next().unwrap_or_default();
    // Do not suggest a field that only a log may contain.
    let known = quoted.filter(|name| *name != "fade");
    format!("no such field{}", hint(field, known))
}
