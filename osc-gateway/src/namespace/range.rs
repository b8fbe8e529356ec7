//! Numbers with a range: a number out of range is clamped, with a note for the sender.

/// The name of a ramp time in texts.
pub(super) const MS: &str = "the time in milliseconds";

/// The number in the range that is nearest to `wanted`, with a note if they differ. `what` names the number.
///
/// # Errors
/// If the number is not finite.
pub(super) fn within(
    what: &str,
    wanted: f64,
    (least, most): (f32, f32),
) -> Result<(f32, Option<String>), String> {
    if !wanted.is_finite() {
        return Err(format!(
            "{what} is {wanted} (expected a number from {least} to {most})"
        ));
    }
    let near = (wanted as f32).max(least).min(most);
    let beyond = wanted < f64::from(least) || wanted > f64::from(most);
    let note = beyond.then(|| format!("{what} is clamped to {near} (range {least} to {most})"));
    Ok((near, note))
}

/// Two notes joined.
pub(super) fn both(notes: [Option<String>; 2]) -> Option<String> {
    notes
        .into_iter()
        .flatten()
        .reduce(|a, b| format!("{a}; {b}"))
}
