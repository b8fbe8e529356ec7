//! Both ends of a memory ordering carry the same named comment.

use std::collections::{BTreeMap, BTreeSet};

use super::{Complaint, assert_none, source::Source, sources};

const SYNC: &str = "// SYNC: ";

fn lonely_syncs(sources: &[Source]) -> Vec<Complaint> {
    let (mut complaints, mut ends) = (Vec::new(), BTreeMap::new());
    for source in sources {
        for comment in source.comments() {
            let Some(marker) = comment.text.strip_prefix(SYNC) else {
                continue;
            };
            let mut parts = marker.splitn(2, " (");
            let name = parts.next().unwrap_or_default();
            let end = parts.next().and_then(|rest| rest.split(')').next());
            match end {
                Some("writer" | "reader") => {
                    let found = (end, source, comment.line);
                    ends.entry(name.to_owned())
                        .or_insert_with(Vec::new)
                        .push(found);
                }
                _ => complaints.push(source.complaint(
                    comment.line,
                    format!("`SYNC: {marker}` does not say which end it is"),
                    "`SYNC: NAME (writer)` or `SYNC: NAME (reader)`",
                )),
            }
        }
    }
    for (name, found) in ends {
        let distinct: BTreeSet<_> = found.iter().map(|(end, ..)| end).collect();
        if let ([(Some(end), source, line), ..], 1) = (&found[..], distinct.len()) {
            complaints.push(source.complaint(
                *line,
                format!("`SYNC: {name}` has no other end than the {end}"),
                "a writer and a reader that carry the same name",
            ));
        }
    }
    complaints
}

#[test]
fn both_ends_of_an_ordering_carry_its_name() {
    assert_none(&lonely_syncs(&sources()));
}

#[test]
fn an_ordering_with_one_end_is_found() {
    let found = |text: &str| lonely_syncs(&[Source::new("a.rs", text)]);
    let both = "// SYNC: bell (writer): rung\n// SYNC: bell (reader)\n";
    assert_eq!(found(both), []);
    assert_eq!(found("let text = \"\n// SYNC: bell (writer)\";"), []);
    let wrong = found("\n// SYNC: bell (writer)\n// SYNC: bell (writer)\n// SYNC: well (reader)\n");
    let lines: Vec<usize> = wrong.iter().map(|c| c.line).collect();
    assert_eq!(lines, [2, 4]);
    assert!(found("// SYNC: bell\n")[0].wrong.contains("which end"));
    let apart = ["// SYNC: bell (writer)", "// SYNC: bell (reader)"];
    assert_eq!(
        lonely_syncs(&apart.map(|text| Source::new("a.rs", text))),
        []
    );
}
