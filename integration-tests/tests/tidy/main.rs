//! Rules of the source tree, checked as text: what the compiler does not see.
//!
//! Each rule is a function from a file's text to complaints; it runs on the whole tree, and on made-up
//! text that breaks it. A complaint says where, what is wrong and what would be right. Nothing here
//! builds or starts anything: it reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// Longer functions are not read in one go; see [`long_functions`].
const FUNCTION_LINES_MAX: usize = 70;
/// Where functions are that short: the rules that everything rests on.
const SHORT_FUNCTIONS: [&str; 2] = ["common/src/", "failover/src/"];
/// Code lines that may stand between a `SAFETY:` comment and its `unsafe`: where a statement begins.
const SAFETY_LINES: usize = 2;
/// The documents whose paths are checked, beside those in `docs`.
const DOCUMENTS: [&str; 2] = ["README.md", "ARCHITECTURE.md"];

/// Every crate of the workspace, by its folder, and the crates of it that it may know.
const ARROWS: [(&str, &[&str]); 16] = [
    ("common", &[]),
    ("engine", &["common"]),
    ("failover", &["common"]),
    ("platform", &["common"]),
    // The production rules over rings on the heap: never `platform`.
    ("simulation", &["common", "failover"]),
    ("supervisor", PROCESS),
    ("worker", PROCESS),
    ("audio-out", PROCESS),
    ("osc-gateway", PROCESS),
    ("recorder", PROCESS),
    ("midi-in", PROCESS),
    ("link-in", PROCESS),
    ("launcher", PROCESS),
    // The public contract: commands, segments, control socket; no rule of `failover`.
    // A score means what the gateway would make of it.
    ("ctl", &["common", "engine", "platform", "osc-gateway"]),
    // The gateway's decoder and the command line's readers are fuzzed from here.
    (
        "integration-tests",
        &[
            "common",
            "engine",
            "failover",
            "platform",
            "osc-gateway",
            "ctl",
        ],
    ),
    // Measures what the sound costs; no process runs in it.
    ("bench", &["common", "engine", "platform"]),
];
/// What a process may know: all libraries, no other process.
const PROCESS: &[&str] = &["common", "engine", "failover", "platform"];

/// Outside crates that are named in one place, and where.
const PLACES: [(&str, &[&str]); 4] = [
    ("cpal", &["audio-out"]),
    ("ipc-channel", &["platform"]),
    // The gateway decodes; the command line sends, and so does who plays from a process of its own.
    (
        "rosc",
        &["ctl", "osc-gateway", "platform", "integration-tests"],
    ),
    ("shared_memory", &["platform"]),
];

/// A rule is broken.
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

// ---- the tree ----

/// The workspace's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files of the tree whose name ends so, by their path from the root, with their text.
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

/// The Rust files, read.
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

// ---- Rust, cut into tokens ----

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Comment,
    /// A literal in quotes, with them.
    Quoted,
    /// A name, a keyword, a number, a lifetime.
    Word,
    /// Any other character.
    Sign,
}

#[derive(Debug)]
struct Token {
    kind: Kind,
    /// Where it begins, from 1.
    line: usize,
    text: String,
}

impl Token {
    fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Sign) && self.text == text
    }
}

struct Source {
    path: String,
    tokens: Vec<Token>,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let (mut tokens, mut rest, mut line) = (Vec::new(), text, 1);
        while let Some(first) = rest.chars().next() {
            let (kind, length) = token(rest, first);
            let (text, after) = rest.split_at(length);
            if !first.is_whitespace() {
                tokens.push(Token {
                    kind,
                    line,
                    text: text.to_owned(),
                });
            }
            line += text.matches('\n').count();
            rest = after;
        }
        let path = path.to_owned();
        Self { path, tokens }
    }

    fn complaint(&self, line: usize, wrong: String, right: &'static str) -> Complaint {
        let file = self.path.clone();
        Complaint {
            file,
            line,
            wrong,
            right,
        }
    }

    /// Its tokens without the comments.
    fn code(&self) -> Vec<&Token> {
        let tokens = self.tokens.iter();
        tokens.filter(|t| t.kind != Kind::Comment).collect()
    }

    fn comments(&self) -> impl Iterator<Item = &Token> {
        self.tokens.iter().filter(|t| t.kind == Kind::Comment)
    }
}

/// The kind and the bytes of the token that `text` begins with.
fn token(text: &str, first: char) -> (Kind, usize) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    if text.starts_with("//") {
        (Kind::Comment, text.find('\n').unwrap_or(text.len()))
    } else if text.starts_with("/*") {
        (Kind::Comment, block_comment(text))
    } else if let Some(length) = raw_string(text) {
        (Kind::Quoted, length)
    } else if first == '"' {
        (Kind::Quoted, quoted(text, '"'))
    } else if first == '\'' {
        // 'a' is a character, 'a alone a lifetime.
        let character = text.starts_with("'\\") || text.chars().nth(2) == Some('\'');
        let name = text[1..].find(|c| !is_word(c)).unwrap_or(text.len() - 1);
        match character {
            true => (Kind::Quoted, quoted(text, '\'')),
            false => (Kind::Word, 1 + name),
        }
    } else if is_word(first) {
        (Kind::Word, text.find(|c| !is_word(c)).unwrap_or(text.len()))
    } else {
        (Kind::Sign, first.len_utf8())
    }
}

/// The bytes up to the closing quote.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// The bytes of a literal such as `r#"…"#`.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let inside = hashes.trim_start_matches('#');
    let closing = format!("\"{}", "#".repeat(hashes.len() - inside.len()));
    let inside = inside.strip_prefix('"')?;
    let length = inside
        .find(&closing)
        .map_or(inside.len(), |at| at + closing.len());
    Some(text.len() - inside.len() + length)
}

/// The bytes of a comment in which others may stand.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    for (at, _) in text.char_indices() {
        if text[at..].starts_with("/*") {
            depth += 1;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at + 2;
            }
        }
    }
    text.len()
}

// ---- a file's head ----

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

// ---- both ends of an ordering ----

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

// ---- arrows between crates ----

/// The crates that a manifest names as dependencies of any kind, each with its line; those of the
/// workspace by their folder.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (index, line) in manifest.lines().enumerate() {
        let (number, line) = (index + 1, line.trim());
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies") && section != "workspace.dependencies";
            if let Some((_, name)) = section.split_once("dependencies.") {
                found.push((number, name.to_owned()));
            }
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let key = line.split(['.', '=', ' ']).next().unwrap_or_default();
            // Under another name it is the same crate.
            let package = line.split_once("package = \"").map(|(_, rest)| rest);
            let package = package.and_then(|rest| rest.split('"').next());
            let name = package.unwrap_or(key).trim_start_matches("understudy-");
            found.push((number, name.to_owned()));
        }
    }
    found
}

fn wrong_arrows(folder: &str, manifest: &str) -> Vec<Complaint> {
    let complaint = |line, wrong, right| Complaint {
        file: format!("{folder}/Cargo.toml"),
        line,
        wrong,
        right,
    };
    let Some((_, may_know)) = ARROWS.iter().find(|(name, _)| *name == folder) else {
        let wrong = format!("nobody has said what {folder} may depend on");
        return vec![complaint(1, wrong, "a line in ARROWS of this test")];
    };
    let mut complaints = Vec::new();
    for (line, name) in dependencies(manifest) {
        let ours = ARROWS.iter().any(|(folder, _)| *folder == name);
        if ours && !may_know.contains(&name.as_str()) {
            complaints.push(complaint(
                line,
                format!("{folder} depends on {name}"),
                "arrows point down, from processes to platform, failover, engine, from these to common",
            ));
        }
        let place = PLACES.iter().find(|(outside, _)| *outside == name);
        if place.is_some_and(|(_, folders)| !folders.contains(&folder)) {
            complaints.push(complaint(
                line,
                format!("{folder} names {name}"),
                "the outside crate is used through the crate that owns it; see PLACES in this test",
            ));
        }
    }
    complaints
}

#[test]
fn arrows_between_crates_point_down() {
    let mut seen = BTreeSet::new();
    let mut complaints = Vec::new();
    for (path, text) in files("Cargo.toml") {
        match path.strip_suffix("/Cargo.toml") {
            None | Some("fuzz") => {} // The root; a workspace of its own.
            Some(folder) => {
                complaints.extend(wrong_arrows(folder, &text));
                seen.insert(folder.to_owned());
            }
        }
    }
    assert_none(&complaints);
    let known = ARROWS.map(|(folder, _)| folder.to_owned());
    assert_eq!(seen, BTreeSet::from(known), "crates, and those in ARROWS");
}

#[test]
fn an_arrow_that_points_up_is_found() {
    let found = |folder, manifest| {
        let complaints = wrong_arrows(folder, manifest);
        complaints
            .into_iter()
            .map(|c| (c.line, c.wrong))
            .collect::<Vec<_>>()
    };
    let one = |line, wrong: &str| vec![(line, wrong.to_owned())];
    for (folder, manifest, expected) in [
        (
            "worker",
            "[dependencies]\ncommon.workspace = true\nfailover.workspace = true\n",
            vec![],
        ),
        (
            "common",
            "[dev-dependencies]\nengine.workspace = true\n",
            one(2, "common depends on engine"),
        ),
        (
            "worker",
            "\n[dependencies]\n# a\nsupervisor = { path = \"../supervisor\" }\n",
            one(4, "worker depends on supervisor"),
        ),
        (
            "simulation",
            "[dependencies.platform]\nworkspace = true\n",
            one(1, "simulation depends on platform"),
        ),
        (
            "engine",
            "[target.'cfg(loom)'.dependencies]\nos = { package = \"understudy-platform\" }\n",
            one(2, "engine depends on platform"),
        ),
        (
            "supervisor",
            "[dependencies]\nipc-channel.workspace = true\n",
            one(2, "supervisor names ipc-channel"),
        ),
        (
            "piano",
            "",
            one(1, "nobody has said what piano may depend on"),
        ),
    ] {
        assert_eq!(found(folder, manifest), expected, "{folder}: {manifest}");
    }
}

// ---- paths in documents ----

/// The paths into the tree that a document mentions, in code or as a link, each with its line; as they
/// are to be found from the root.
fn mentioned(document: &str, text: &str, folders: &[String]) -> Vec<(usize, String)> {
    let folder = document.rsplit_once('/').map(|(folder, _)| folder);
    let mut found = Vec::new();
    let (mut fenced, mut in_code) = (false, false);
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        // Code may go on in the next line, but not in the next paragraph.
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

/// The path in a word, if it looks like one into the tree.
fn path_in(word: &str, folders: &[String]) -> Option<String> {
    let word = word.trim_start_matches(['"', '\'', '(']);
    let word = word.trim_end_matches(['"', '\'', ')', ',', ';', '.', ':']);
    // The place in the file, if it is named, is not checked.
    let word = word.split(':').next()?;
    let path = word.strip_prefix("./").unwrap_or(word);
    let (folder, _) = path.split_once('/').unwrap_or((path, ""));
    let is_ours = path != word || (path.contains('/') && folders.iter().any(|f| f == folder));
    // What stands for several names is not checked either.
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

// ---- short functions ----

fn long_functions(source: &Source) -> Vec<Complaint> {
    let code = source.code();
    let starts = code.windows(2).enumerate();
    let starts = starts.filter(|(_, pair)| pair[0].is("fn") && pair[1].kind == Kind::Word);
    let mut complaints = Vec::new();
    for (at, pair) in starts {
        let lines = body_end(&code[at..]).unwrap_or(pair[0].line) + 1 - pair[0].line;
        if lines > FUNCTION_LINES_MAX {
            complaints.push(source.complaint(
                pair[0].line,
                format!(
                    "the function {} has {lines} lines, more than {FUNCTION_LINES_MAX}",
                    pair[1].text
                ),
                "a part of it that has a name of its own becomes a function",
            ));
        }
    }
    complaints
}

/// The line of the brace that closes the first body in there; `None` where a function has none.
fn body_end(code: &[&Token]) -> Option<usize> {
    let (mut depth, mut braces) = (0, 0);
    for token in code.iter().filter(|token| token.kind == Kind::Sign) {
        match token.text.as_str() {
            "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            ";" if depth == 0 && braces == 0 => return None,
            "{" => braces += 1,
            "}" => {
                braces -= 1;
                if braces == 0 {
                    return Some(token.line);
                }
            }
            _ => {}
        }
    }
    None
}

#[test]
fn functions_of_common_and_failover_are_short() {
    let sources = sources();
    let ours = |source: &&Source| SHORT_FUNCTIONS.iter().any(|f| source.path.starts_with(f));
    let complaints: Vec<_> = sources
        .iter()
        .filter(ours)
        .flat_map(long_functions)
        .collect();
    assert_none(&complaints);
}

#[test]
fn a_long_function_is_found() {
    let function = |lines: usize| {
        let body = "    a('{', \"}\"); // }\n".repeat(lines - 2);
        Source::new(
            "a.rs",
            &format!("\nfn f<'a>(x: [u8; 2]) {{\n{body}}}\nfn g() {{}}\n"),
        )
    };
    assert_eq!(long_functions(&function(FUNCTION_LINES_MAX)), []);
    let found = long_functions(&function(FUNCTION_LINES_MAX + 1));
    let found: Vec<_> = found.iter().map(|c| (c.line, c.wrong.as_str())).collect();
    assert_eq!(found, [(2, "the function f has 71 lines, more than 70")]);
    let declared = format!(
        "trait A {{\nfn f();\n{}}}\n",
        "const B: u8 = 1;\n".repeat(80)
    );
    assert_eq!(long_functions(&Source::new("a.rs", &declared)), []);
}

// ---- unsafe ----

fn unsafe_out_of_place(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        if !token.is("unsafe") {
            continue;
        }
        if !source.path.starts_with("platform/") {
            complaints.push(source.complaint(
                token.line,
                "`unsafe` outside `platform`".into(),
                "a safe function of `platform`, which does it",
            ));
        } else if source.tokens.get(at + 1).is_some_and(|next| next.is("{"))
            && !explained(&source.tokens[..at], token.line)
        {
            complaints.push(source.complaint(
                token.line,
                "an `unsafe` block that nobody vouches for".into(),
                "a comment right before it, `SAFETY:` and why it holds",
            ));
        }
    }
    complaints
}

/// Whether the last comment in there stands right before that line and says `SAFETY:`, for no other
/// `unsafe`.
fn explained(before: &[Token], line: usize) -> bool {
    let is_comment = |token: &Token| token.kind == Kind::Comment;
    let Some(last) = before.iter().rposition(is_comment) else {
        return false;
    };
    let (comments, code) = before.split_at(last + 1);
    let mut block = comments.iter().rev().take_while(|token| is_comment(token));
    line - before[last].line <= 1 + SAFETY_LINES
        && !code.iter().any(|token| token.is("unsafe"))
        && block.any(|comment| comment.text.starts_with("// SAFETY: "))
}

#[test]
fn unsafe_stands_in_platform_only_and_is_explained() {
    let complaints: Vec<_> = sources().iter().flat_map(unsafe_out_of_place).collect();
    assert_none(&complaints);
}

#[test]
fn unsafe_out_of_place_or_unexplained_is_found() {
    let lines = |path: &str, text: &str| -> Vec<usize> {
        let complaints = unsafe_out_of_place(&Source::new(path, text));
        complaints.iter().map(|c| c.line).collect()
    };
    let harmless = "#![forbid(unsafe_code)]\n// unsafe { a }\n/* unsafe */\nlet a = (\"unsafe\", r#\"unsafe \"#);\n";
    assert_eq!(lines("engine/src/a.rs", harmless), []);
    assert_eq!(
        lines("engine/src/a.rs", "// SAFETY: no.\nunsafe { a() }"),
        [2]
    );
    assert_eq!(lines("engine/src/a.rs", "unsafe impl Send for A {}"), [1]);
    let platform = |text: &str| lines("platform/src/a.rs", text);
    assert_eq!(
        platform("// SAFETY: it holds,\n// always.\nlet a =\n    unsafe { a() };"),
        []
    );
    assert_eq!(
        platform("// SAFETY: far.\nlet a = 1;\nb();\nc();\nunsafe { a() };"),
        [5]
    );
    assert_eq!(
        platform("// SAFETY: one.\nunsafe { a() };\nunsafe { b() };"),
        [3]
    );
    assert_eq!(
        platform("// SAFETY: one.\na();\n// Fast.\nunsafe { b() };"),
        [4]
    );
    assert_eq!(platform("unsafe { a() };"), [1]);
}

// ---- ignored tests ----

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
