//! Rules of the source tree that the compiler does not check; the sources are checked as text.
//!
//! Each rule is a function from a file's text to complaints. It runs on the whole tree, and on made-up
//! text that breaks it. A complaint says where it applies, what is wrong and what is expected. Nothing
//! is built or started.

mod arrows;
mod documents;
mod heads;
mod ignored;
mod lengths;
mod orderings;
mod services;
mod source;
mod unsafe_blocks;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use source::Source;

/// A violation of a rule.
#[derive(Debug, PartialEq, Eq)]
struct Complaint {
    file: String,
    line: usize,
    wrong: String,
    right: &'static str,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            wrong,
            right,
        } = self;
        write!(f, "{file}:{line}: {wrong}; right is: {right}")
    }
}

/// The folder of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files of the tree whose name ends with `ending`: their paths from the root, and their texts.
fn files(ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root(), "", ending, &mut found).expect("the source tree can be read");
    assert!(!found.is_empty(), "no {ending} in {}", root().display());
    found.sort();
    found
}

fn collect(
    folder: &Path,
    prefix: &str,
    ending: &str,
    found: &mut Vec<(String, String)>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            if name != "target" && !name.starts_with('.') {
                collect(&entry.path(), &format!("{path}/"), ending, found)?;
            }
        } else if name.ends_with(ending) {
            found.push((path, fs::read_to_string(entry.path())?));
        }
    }
    Ok(())
}

/// All Rust files, split into tokens.
fn sources() -> Vec<Source> {
    let files = files(".rs").into_iter();
    files
        .map(|(path, text)| Source::new(&path, &text))
        .collect()
}

fn assert_none(complaints: &[Complaint]) {
    let lines: Vec<String> = complaints.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}
