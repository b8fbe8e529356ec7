//! Each file begins with a head: a comment that says which idea the file owns.

use super::{Complaint, assert_none, source::Source, sources};

fn headless(source: &Source) -> Option<Complaint> {
    let first = source.tokens.first();
    let begins = first.is_some_and(|t| t.line == 1 && t.text.starts_with("//! "));
    (!begins).then(|| {
        source.complaint(
            1,
            "the file has no head".into(),
            "it begins with a `//!` comment: the idea that it owns, and what it never does",
        )
    })
}

#[test]
fn every_file_begins_with_a_head() {
    let complaints: Vec<_> = sources().iter().filter_map(headless).collect();
    assert_none(&complaints);
}

#[test]
fn a_file_without_a_head_is_found() {
    for text in ["", "use std::fmt;\n", "// what\n", "\n//! late\n", "//!\n"] {
        assert!(headless(&Source::new("a.rs", text)).is_some(), "{text:?}");
    }
    assert_eq!(headless(&Source::new("a.rs", "//! Head.\n")), None);
}
