//! A test that is ignored says why.

use super::{Complaint, assert_none, source::Source, sources};

fn ignored_without_reason(source: &Source) -> Vec<Complaint> {
    let code = source.code();
    let mut complaints = Vec::new();
    for (at, window) in code.windows(2).enumerate() {
        if !(window[0].is("#") && window[1].is("[")) {
            continue;
        }
        let attribute = code[at..]
            .split(|token| token.is("]"))
            .next()
            .unwrap_or_default();
        let Some(place) = attribute.iter().position(|token| token.is("ignore")) else {
            continue;
        };
        let reason = attribute[place..]
            .get(1..3)
            .filter(|after| after[0].is("="));
        if reason.is_none_or(|after| after[1].text.len() <= "\"\"".len()) {
            complaints.push(source.complaint(
                attribute[place].line,
                "a test is ignored for no reason".into(),
                "#[ignore = \"why, and how to run it\"]",
            ));
        }
    }
    complaints
}

#[test]
fn who_ignores_a_test_says_why() {
    let complaints: Vec<_> = sources().iter().flat_map(ignored_without_reason).collect();
    assert_none(&complaints);
}

#[test]
fn a_test_that_is_ignored_for_no_reason_is_found() {
    let found = |text: &str| ignored_without_reason(&Source::new("a.rs", text)).len();
    for text in [
        "#[ignore]",
        "#[ignore = \"\"]",
        "#[cfg_attr(loom, ignore)]",
        "#[test]\n#[ignore]",
    ] {
        assert_eq!(found(text), 1, "{text}");
    }
    for text in [
        "#[ignore = \"slow\"]",
        "// #[ignore]",
        "let ignore = [1];",
        "\"#[ignore]\"",
    ] {
        assert_eq!(found(text), 0, "{text}");
    }
}
