//! `unsafe` is in `platform` only, and each block has a reason why it is sound.

use super::{
    Complaint, assert_none,
    source::{Kind, Source, Token},
    sources,
};

/// How many lines of code may stand between a `SAFETY:` comment and its `unsafe`: the beginning of a
/// statement.
const SAFETY_LINES: usize = 2;

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

/// Whether the last comment in `before` ends right before that line, says `SAFETY:`, and does not
/// belong to another `unsafe`.
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
    assert_eq!(lines("engine/src/a.rs", harmless), [0; 0]);
    assert_eq!(
        lines("engine/src/a.rs", "// SAFETY: no.\nunsafe { a() }"),
        [2]
    );
    assert_eq!(lines("engine/src/a.rs", "unsafe impl Send for A {}"), [1]);
    let platform = |text: &str| lines("platform/src/a.rs", text);
    assert_eq!(
        platform("// SAFETY: it holds,\n// always.\nlet a =\n    unsafe { a() };"),
        [0; 0]
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
