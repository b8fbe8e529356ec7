//! Splits Rust text into tokens, comments included: as far as the rules need it.

use super::Complaint;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Comment,
    /// A quoted literal, with its quotes.
    Quoted,
    /// A name, a keyword, a number or a lifetime.
    Word,
    /// Any other character.
    Sign,
}

#[derive(Debug)]
pub struct Token {
    pub kind: Kind,
    /// The line in which the token begins, from 1.
    pub line: usize,
    pub text: String,
}

impl Token {
    pub fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Sign) && self.text == text
    }
}

pub struct Source {
    pub path: String,
    pub tokens: Vec<Token>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
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

    pub fn complaint(&self, line: usize, wrong: String, right: &'static str) -> Complaint {
        let file = self.path.clone();
        Complaint {
            file,
            line,
            wrong,
            right,
        }
    }

    /// The tokens without the comments.
    pub fn code(&self) -> Vec<&Token> {
        let tokens = self.tokens.iter();
        tokens.filter(|t| t.kind != Kind::Comment).collect()
    }

    pub fn comments(&self) -> impl Iterator<Item = &Token> {
        self.tokens.iter().filter(|t| t.kind == Kind::Comment)
    }
}

/// The kind and the length in bytes of the token with which `text` begins.
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
        // 'a' is a character; 'a without a closing quote is a lifetime.
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

/// The length in bytes of a quoted literal.
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

/// The length in bytes of a raw literal such as `r#"…"#`.
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

/// The length in bytes of a block comment, which may contain others.
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
