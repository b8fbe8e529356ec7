//! Lists of services that are written by hand name every service.

use std::fs;

use common::message::{Service, ServiceKind};

use super::{Complaint, assert_none, root};

/// A list: its section in a file, the beginning of its lines, and how it writes a service.
struct List {
    path: &'static str,
    section: &'static str,
    start: &'static str,
    writes: fn(Service) -> String,
}

const LISTS: [List; 5] = [
    List {
        path: "launch.sh",
        section: "",
        start: "programs=",
        writes: |service| service.program().into(),
    },
    List {
        path: "Cargo.toml",
        section: "",
        start: "default-members",
        writes: |service| format!("\"{}\"", folder(service)),
    },
    List {
        path: "docs/architecture.md",
        section: "## Processes",
        start: "| `",
        writes: |service| format!("`{service}`"),
    },
    List {
        path: "docs/architecture.md",
        section: "## The crates",
        start: "| `",
        writes: |service| format!("`{}`", folder(service)),
    },
    List {
        path: "docs/style.md",
        section: "## Folders",
        start: "| `",
        writes: |service| format!("`{}`", folder(service)),
    },
];

fn folder(service: Service) -> &'static str {
    service.program().trim_start_matches("understudy-")
}

/// The services that a list lacks. Of a table the first column counts.
fn lacking(list: &List, text: &str) -> Vec<Complaint> {
    let (before, section) = text.split_once(list.section).unwrap_or((text, ""));
    let section = section.split("\n## ").next().unwrap_or(section);
    let first = before.lines().count() + 1;
    let lines = section.lines().filter(|line| line.starts_with(list.start));
    let cells: Vec<_> = lines
        .map(|line| line.split(" | ").next().unwrap_or(line))
        .collect();
    // A trial comes and goes by itself; people name the program.
    let services = Service::ALL.into_iter();
    let services = services.filter(|service| service.kind() != ServiceKind::Trial);
    services
        .map(list.writes)
        .filter(|name| !cells.iter().any(|cell| cell.contains(name)))
        .map(|name| Complaint {
            file: list.path.to_owned(),
            line: first,
            wrong: format!("the list lacks {name}"),
            right: "a list of all services in common/src/service.rs",
        })
        .collect()
}

#[test]
fn lists_name_every_service() {
    let complaints: Vec<_> = LISTS
        .iter()
        .flat_map(|list| {
            let text = fs::read_to_string(root().join(list.path)).expect("the list can be read");
            lacking(list, &text)
        })
        .collect();
    assert_none(&complaints);
}

#[test]
fn a_service_that_a_list_lacks_is_found() {
    let list = List {
        path: "a.md",
        section: "## B",
        start: "| `",
        writes: |service| format!("`{service}`"),
    };
    let all = Service::ALL.map(|service| format!("| `{service}` | `x` |\n"));
    let all = all.concat();
    assert_eq!(lacking(&list, &format!("# A\n\n## B\n\n{all}")), []);
    let others = all.replace("| `recorder` |", "| `other` |");
    let text = format!("# A\n\n## B\n\n{others}\n## C\n\n{all}");
    let found = lacking(&list, &text).into_iter();
    let found: Vec<_> = found.map(|found| (found.line, found.wrong)).collect();
    assert_eq!(found, [(3, "the list lacks `recorder`".to_owned())]);
}
