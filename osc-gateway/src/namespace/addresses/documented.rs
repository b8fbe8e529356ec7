//! The tables in `docs/reference` have the rows of the table of addresses, each once, and no others.

use super::{Entry, all};
use crate::reply::is_reply;

/// The reference, file by file.
const REFERENCE: [(&str, &str); 5] = [
    (
        "command_line.md",
        include_str!("../../../../docs/reference/command_line.md"),
    ),
    (
        "midi.md",
        include_str!("../../../../docs/reference/midi.md"),
    ),
    ("osc.md", include_str!("../../../../docs/reference/osc.md")),
    (
        "recording.md",
        include_str!("../../../../docs/reference/recording.md"),
    ),
    (
        "sequences.md",
        include_str!("../../../../docs/reference/sequences.md"),
    ),
];

/// The row of the reference for an address.
fn row(entry: &Entry) -> String {
    let takes = match entry.takes.replace('|', "\\|") {
        none if none.is_empty() => none,
        takes => format!(" `{takes}`"),
    };
    format!("| `{}` |{takes} | {} |", entry.address, entry.does)
}

/// Whether a line is the row of an address to which messages are sent.
fn is_row(line: &str) -> bool {
    let cell = line.strip_prefix("| `").unwrap_or_default();
    let address = cell.split([' ', '`']).next().unwrap_or_default();
    address.starts_with('/') && !is_reply(address)
}

/// What is wrong with the rows of the reference.
fn complaints(reference: &[(&str, &str)]) -> Vec<String> {
    let lines = reference
        .iter()
        .flat_map(|(file, text)| text.lines().map(move |line| (*file, line)));
    let found: Vec<(&str, &str)> = lines.filter(|(_, line)| is_row(line)).collect();
    let right: Vec<String> = all().map(row).collect();
    let mut complaints = Vec::new();
    for row in &right {
        let count = found.iter().filter(|(_, line)| line == row).count();
        if count != 1 {
            complaints.push(format!(
                "docs/reference has this row {count} times (expected once):\n{row}"
            ));
        }
    }
    for (file, line) in found {
        if !right.iter().any(|row| row == line) {
            complaints.push(format!(
                "docs/reference/{file} has a row that differs from the table of addresses:\n{line}"
            ));
        }
    }
    complaints
}

#[test]
fn the_reference_has_each_address_once() {
    let complaints = complaints(&REFERENCE);
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn a_row_that_is_missing_doubled_or_different_is_found() {
    let rows: Vec<String> = all().map(row).collect();
    let whole = format!("| `/done ADDRESS` | a reply |\n{}", rows.join("\n"));
    let count = |text: &str| complaints(&[("osc.md", text)]).len();
    assert_eq!(count(&whole), 0);
    assert_eq!(count(&whole.replace(&rows[0], "")), 1);
    assert_eq!(count(&format!("{whole}\n{}", rows[0])), 1);
    assert_eq!(count(&format!("{whole}\n| `/undo` | | Undo. |")), 1);
    assert_eq!(count(&whole.replace("Fade out.", "Stop.")), 2);
}
