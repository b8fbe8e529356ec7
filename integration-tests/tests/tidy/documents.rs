//! Paths in documents exist.

use std::fs;

use super::{Complaint, assert_none, files, root};

/// The documents whose paths are checked, in addition to those in `docs`.
const DOCUMENTS: [&str; 4] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
];

/// The paths into the tree that a document mentions as code or as a link, each with its line and
/// relative to the root.
fn mentioned(document: &str, text: &str, folders: &[String]) -> Vec<(usize, String)> {
    let folder = document.rsplit_once('/').map(|(folder, _)| folder);
    let mut found = Vec::new();
    let (mut fenced, mut in_code) = (false, false);
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        // Inline code may continue in the next line, but not in the next paragraph.
        in_code &= !line.trim().is_empty();
        let mut code = Vec::new();
        for (piece, text) in line.split('`').enumerate() {
            in_code ^= piece > 0;
            if fenced || in_code {
                code.extend(text.split_whitespace());
            }
        }
        let paths = code.into_iter().filter_map(|word| path_in(word, folders));
        let links = line.split("](").skip(1);
        let links = links.filter_map(|rest| rest.split([')', '#', ' ']).next());
        let links = links.filter(|link| !fenced && !link.is_empty() && !link.contains("://"));
        let links =
            links.map(|link| folder.map_or(link.into(), |folder| format!("{folder}/{link}")));
        found.extend(paths.chain(links).map(|path| (index + 1, path)));
    }
    found
}

/// The path in a word, if the word looks like a path into the tree.
fn path_in(word: &str, folders: &[String]) -> Option<String> {
    let word = word.trim_start_matches(['"', '\'', '(']);
    let word = word.trim_end_matches(['"', '\'', ')', ',', ';', '.', ':']);
    // A position in the file, if given, is not checked.
    let word = word.split(':').next()?;
    let path = word.strip_prefix("./").unwrap_or(word);
    let (folder, _) = path.split_once('/').unwrap_or((path, ""));
    let is_ours = path != word || (path.contains('/') && folders.iter().any(|f| f == folder));
    // A pattern that stands for several names is not checked either.
    let parts = path
        .split('/')
        .take_while(|part| !part.contains(['*', '<', '{', '…']));
    let fixed: Vec<&str> = parts.collect();
    (is_ours && !fixed.is_empty()).then(|| fixed.join("/"))
}

fn dead_paths(
    document: &str,
    text: &str,
    folders: &[String],
    exists: impl Fn(&str) -> bool,
) -> Vec<Complaint> {
    let mentioned = mentioned(document, text, folders).into_iter();
    let dead = mentioned.filter(|(_, path)| !exists(path));
    dead.map(|(line, path)| Complaint {
        file: document.to_owned(),
        line,
        wrong: format!("there is no {path}"),
        right: "the path of a file or folder that is there",
    })
    .collect()
}

#[test]
fn paths_in_documents_exist() {
    let entries = fs::read_dir(root())
        .expect("the source tree can be read")
        .flatten();
    let folders = entries.filter(|entry| entry.path().is_dir() && entry.file_name() != "target");
    let folders: Vec<String> = folders
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let documents = files(".md")
        .into_iter()
        .filter(|(path, _)| path.starts_with("docs/") || DOCUMENTS.contains(&path.as_str()));
    let exists = |path: &str| root().join(path).exists();
    let complaints: Vec<_> = documents
        .flat_map(|(path, text)| dead_paths(&path, &text, &folders, exists))
        .collect();
    assert_none(&complaints);
}

#[test]
fn a_path_that_leads_nowhere_is_found() {
    let folders = ["engine", "docs"].map(str::to_owned);
    let there = [
        "engine/src/a.rs",
        "docs/a.md",
        "docs/../engine/src/a.rs",
        "engine/src",
        "run.sh",
    ];
    let found = |document: &str, text: &str| -> Vec<(usize, String)> {
        let complaints = dead_paths(document, text, &folders, |path| there.contains(&path));
        complaints.into_iter().map(|c| (c.line, c.wrong)).collect()
    };
    for text in [
        "`engine/src/a.rs`, `engine/src/a.rs:7`, `engine/src/*.rs`, `engine::a`, `a/b`, `/engine/c`, `engine`",
        "[a](docs/a.md) [a](docs/a.md#b) [a](#b) [a](https://engine/src/c) engine/or/docs",
        "```sh\n./run.sh engine/src/a.rs\n```",
    ] {
        assert_eq!(found("README.md", text), [], "{text}");
    }
    assert_eq!(found("docs/b.md", "[a](../engine/src/a.rs) [a](a.md)"), []);
    for (text, line, path) in [
        ("\nsee `engine/src/b.rs`.", 2, "engine/src/b.rs"),
        ("`a` `cargo run engine/src/b.rs:7`", 1, "engine/src/b.rs"),
        (
            "`cargo\nrun engine/src/b.rs` engine/c",
            2,
            "engine/src/b.rs",
        ),
        ("[a](docs/b.md#c)", 1, "docs/b.md"),
        ("```sh\n./walk.sh --far\n```", 2, "walk.sh"),
    ] {
        let wrong = format!("there is no {path}");
        assert_eq!(found("README.md", text), [(line, wrong)], "{text}");
    }
    let wrong = "there is no docs/docs/a.md".to_owned();
    assert_eq!(found("docs/b.md", "[a](docs/a.md)"), [(1, wrong)]);
}
