//! Numbers that have a range: what is beyond is clamped, and that is told.

/// What the time that a value takes to get there is called.
pub(super) const MS: &str = "the time in milliseconds";

/// The number of that name that is nearest to the one wanted; and, where they differ, a note that says so.
///
/// # Errors
/// With what would be right, when it is no finite number.
pub(super) fn within(
    what: &str,
    wanted: f64,
    (least, most): (f32, f32),
) -> Result<(f32, Option<String>), String> {
    if !wanted.is_finite() {
        return Err(format!(
            "{wanted} is refused; {what} is a number from {least} to {most}"
        ));
    }
    let near = (wanted as f32).max(least).min(most);
    let beyond = wanted < f64::from(least) || wanted > f64::from(most);
    let note = beyond.then(|| format!("{what} is clamped to {near} (range {least} to {most})"));
    Ok((near, note))
}

/// What notes say, in one.
pub(super) fn both(notes: [Option<String>; 2]) -> Option<String> {
    notes
        .into_iter()
        .flatten()
        .reduce(|a, b| format!("{a}; {b}"))
}
