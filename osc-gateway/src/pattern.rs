//! OSC address patterns: `*` `?` `[a-z]` `[!a-z]` `{one,two}`; none of them matches a `/`.
//!
//! rosc's `Matcher` is not used: it never backtracks after a `*` and does not bound its work. The matcher here tracks
//! the set of all positions reached so far, so the time is at most tokens × characters for any pattern, and each step
//! is charged to a budget.

/// The limit of a pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 256;

/// A parsed pattern.
#[derive(Clone, Debug)]
pub struct Pattern(Vec<Token>);

#[derive(Clone, Debug)]
enum Token {
    Exactly(u8),
    One,
    Many,
    Class { not: bool, ranges: Vec<(u8, u8)> },
    Choice(Vec<Vec<u8>>),
}

/// Whether an address has to be matched as a pattern.
#[must_use]
pub fn is_pattern(address: &str) -> bool {
    address.contains(['*', '?', '[', ']', '{', '}'])
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// If a bracket is not closed or the pattern is too long.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!(
                "the address pattern is too long (expected at most {PATTERN_BYTES_MAX} characters)"
            ));
        }
        let unclosed = |sign: &str| format!("the address pattern has a {sign} that does not match");
        let mut tokens = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            tokens.push(match first {
                b'?' => Token::One,
                b'*' if matches!(tokens.last(), Some(Token::Many)) => continue,
                b'*' => Token::Many,
                b'[' => {
                    let (inside, after) = until(rest, b']').ok_or_else(|| unclosed("["))?;
                    rest = after;
                    class(inside)
                }
                b'{' => {
                    let (inside, after) = until(rest, b'}').ok_or_else(|| unclosed("{"))?;
                    rest = after;
                    Token::Choice(inside.split(|b| *b == b',').map(<[u8]>::to_vec).collect())
                }
                b']' => return Err(unclosed("]")),
                b'}' => return Err(unclosed("}")),
                other => Token::Exactly(*other),
            });
        }
        Ok(Self(tokens))
    }

    /// Whether the whole text matches; `None` if the budget of steps is exhausted.
    #[must_use]
    pub fn matches(&self, text: &str, steps: &mut usize) -> Option<bool> {
        let text = text.as_bytes();
        let mut here = vec![false; text.len() + 1];
        here[0] = true;
        for token in &self.0 {
            let cost = match token {
                Token::Choice(words) => words.len() * here.len(),
                Token::Class { ranges, .. } => (ranges.len() + 1) * here.len(),
                _ => here.len(),
            };
            *steps = steps.checked_sub(cost)?;
            here = step(token, text, &here);
            if !here.contains(&true) {
                return Some(false);
            }
        }
        Some(here.last() == Some(&true))
    }
}

/// The positions in the text that one token reaches from `here`.
fn step(token: &Token, text: &[u8], here: &[bool]) -> Vec<bool> {
    let mut next = vec![false; here.len()];
    let mut reach = |place: usize| {
        if let Some(reached) = next.get_mut(place) {
            *reached = true;
        }
    };
    let mut running = false;
    for (place, _) in here.iter().enumerate() {
        let byte = text.get(place).copied();
        let begun = here.get(place) == Some(&true);
        match token {
            Token::Many => {
                running |= begun;
                if running {
                    reach(place);
                }
                running &= byte != Some(b'/');
            }
            _ if !begun => {}
            Token::Exactly(wanted) if byte == Some(*wanted) => reach(place + 1),
            Token::One if byte.is_some_and(|b| b != b'/') => reach(place + 1),
            Token::Class { not, ranges } => {
                let inside = |b: u8| ranges.iter().any(|(from, to)| (*from..=*to).contains(&b));
                if byte.is_some_and(|b| b != b'/' && inside(b) != *not) {
                    reach(place + 1);
                }
            }
            Token::Choice(words) => {
                let left = text.get(place..).unwrap_or_default();
                for word in words.iter().filter(|w| left.starts_with(w)) {
                    reach(place + word.len());
                }
            }
            _ => {}
        }
    }
    next
}

fn until(bytes: &[u8], end: u8) -> Option<(&[u8], &[u8])> {
    let place = bytes.iter().position(|b| *b == end)?;
    Some((bytes.get(..place)?, bytes.get(place + 1..)?))
}

fn class(inside: &[u8]) -> Token {
    let (not, mut rest) = match inside.split_first() {
        Some((b'!', rest)) => (true, rest),
        _ => (false, inside),
    };
    let mut ranges = Vec::new();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match rest {
            [b'-', to, after @ ..] => {
                ranges.push((*first.min(to), *first.max(to)));
                rest = after;
            }
            _ => ranges.push((*first, *first)),
        }
    }
    Token::Class { not, ranges }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern)
            .unwrap()
            .matches(text, &mut 1_000_000)
            .unwrap()
    }

    #[test]
    fn signs_match_what_osc_says() {
        assert!(matches("/mod/*/freq", "/mod/sine/freq"));
        assert!(!matches("/mod/*", "/mod/sine/freq"), "* stops at a slash");
        assert!(!matches("/mod?sine", "/mod/sine"));
        assert!(matches("/mod/*n*/freq", "/mod/sine/freq"), "a * steps back");
        assert!(matches("/mod/o[0-9]/{freq,gain}", "/mod/o7/gain"));
        assert!(!matches("/mod/o[!0-9]/freq", "/mod/o7/freq"));
        assert!(matches("/mod/o[!0-9]/freq", "/mod/ox/freq"));
        assert!(matches("/{a,ab}c", "/abc"), "every choice is tried");
        assert!(matches("/a[x-]", "/a-"));
    }

    #[test]
    fn open_brackets_are_told() {
        for bad in ["/[", "/a]", "/{a,b", "/}", "/[]{"] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
        assert!(Pattern::new(&"*a".repeat(200)).is_err());
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_its_budget() {
        let hostile = Pattern::new(&"*a".repeat(128)).unwrap();
        let text = "a".repeat(200);
        assert_eq!(hostile.matches(&text, &mut 1_000_000), Some(true));
        assert_eq!(hostile.matches(&text, &mut 1_000), None);
    }
}
