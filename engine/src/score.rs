//! A score: timed OSC messages, one line each; `understudy render` plays a score.
//!
//! `SECONDS ADDRESS ARG…`, `#` for comments, arguments with spaces in double quotes. The addresses are not resolved
//! here.

/// One line of a score.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The number of the line in the text, from 1, for error texts.
    pub number: usize,
    /// The time in seconds from the start; finite, not negative.
    pub seconds: f64,
    /// An OSC address.
    pub address: String,
    /// The arguments as written, without quotes.
    pub args: Vec<String>,
}

/// The first error in a score.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what} (expected SECONDS ADDRESS ARG…, such as 0.5 /mod/sine/freq 523.25)")]
pub struct ScoreError {
    /// The number of the line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// Reads a score. The lines are sorted by time; lines of the same time keep the order of the text.
///
/// # Errors
/// The first line that is wrong.
///
/// # Examples
/// ```
/// let score = engine::score::parse("0.5 /gate/adsr 1\n0 /mod/sine/freq 220 # low\n")?;
/// assert_eq!((score[0].address.as_str(), score[1].seconds), ("/mod/sine/freq", 0.5));
/// # Ok::<(), engine::score::ScoreError>(())
/// ```
pub fn parse(text: &str) -> Result<Vec<Line>, ScoreError> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let parsed = parse_line(number, line).map_err(|what| ScoreError { line: number, what })?;
        lines.extend(parsed);
    }
    lines.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    Ok(lines)
}

fn parse_line(number: usize, line: &str) -> Result<Option<Line>, String> {
    let mut words = words(line)?.into_iter();
    let Some(time) = words.next() else {
        return Ok(None);
    };
    let seconds = match time.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => seconds,
        _ => return Err(format!("\"{time}\" is not a time in seconds")),
    };
    let address = words.next().ok_or("the address is missing")?;
    if !address.starts_with('/') {
        return Err(format!(
            "\"{address}\" is not an address, which begins with /"
        ));
    }
    Ok(Some(Line {
        number,
        seconds: seconds.abs(),
        address,
        args: words.collect(),
    }))
}

/// The words of a line, up to its comment.
fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted.split_once('"').ok_or("a quote is not closed")?
        } else {
            rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()))
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_order_of_time() {
        let text = "# a piece\n\n1 /gate/adsr 1\n  0.25\t/mod/sine/freq 440 # tune\n1 /b \"X..x x\" \"\"\n";
        let found: Vec<_> = parse(text)
            .unwrap()
            .into_iter()
            .map(|l| (l.number, l.seconds, l.address, l.args))
            .collect();
        let line = |number, seconds, address: &str, args: &[&str]| {
            (
                number,
                seconds,
                address.to_owned(),
                args.iter().map(|&arg| arg.to_owned()).collect(),
            )
        };
        assert_eq!(
            found,
            [
                line(4, 0.25, "/mod/sine/freq", &["440"]),
                line(3, 1.0, "/gate/adsr", &["1"]),
                line(5, 1.0, "/b", &["X..x x", ""]),
            ]
        );
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, what) in [
            ("x /a", "\"x\" is not a time in seconds"),
            ("-1 /a", "\"-1\" is not a time in seconds"),
            ("nan /a", "\"nan\" is not a time in seconds"),
            ("1", "the address is missing"),
            ("1 a", "\"a\" is not an address, which begins with /"),
            ("1 /a \"b", "a quote is not closed"),
        ] {
            let error = parse(&format!("0 /first\n{text}\n")).unwrap_err();
            assert_eq!((error.line, error.what.as_str()), (2, what));
            assert!(error.to_string().starts_with("line 2: "));
        }
    }
}
