//! The functions that everything depends on are short, and no file is too long.

use super::{
    Complaint, assert_none, files,
    source::{Kind, Source, Token},
    sources,
};

/// The most lines that a reader takes in at once; see [`long_functions`].
const FUNCTION_LINES_MAX: usize = 70;
/// The folders in which functions must be short: they hold the rules that everything depends on.
const SHORT_FUNCTIONS: [&str; 2] = ["common/src/", "failover/src/"];
/// The most lines that a file may have.
const FILE_LINES_MAX: usize = 600;

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

/// The line of the brace that closes the first body in `code`; `None` if the function has no body.
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

fn long_file(path: &str, text: &str) -> Option<Complaint> {
    let lines = text.lines().count();
    (lines > FILE_LINES_MAX).then(|| Complaint {
        file: path.to_owned(),
        line: FILE_LINES_MAX + 1,
        wrong: format!("the file has {lines} lines"),
        right: "at most 600 lines: a file that has grown past its idea is two",
    })
}

#[test]
fn files_are_short() {
    let complaints: Vec<_> = files(".rs")
        .iter()
        .filter_map(|(path, text)| long_file(path, text))
        .collect();
    assert_none(&complaints);
}

#[test]
fn a_long_file_is_found() {
    let lines = |count: usize| long_file("a.rs", &"x\n".repeat(count));
    assert_eq!(lines(FILE_LINES_MAX), None);
    assert!(lines(FILE_LINES_MAX + 1).is_some());
}
