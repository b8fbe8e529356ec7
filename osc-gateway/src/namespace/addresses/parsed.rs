//! The parser takes what the table of addresses says, and nothing else.
//!
//! The parser asks the table before it looks at a message, so it knows no address that is not in the table.

use engine::patch::Patch;

use super::{Entry, all};
use crate::{
    decode::{Message, Value},
    namespace::{Budget, Namespace},
};

fn names() -> Namespace {
    Namespace::of_patch(1, 48_000, &Patch::default_patch().to_json()).unwrap()
}

/// What the parser says to an address, with a module and a parameter of the default patch in place of `ID` and `PARAM`.
fn parsed(entry: &Entry, args: &[Value]) -> Result<(), String> {
    let address = entry.address.replace("ID", "adsr");
    let message = Message {
        address: address.replace("PARAM", "attack"),
        args: args.to_vec(),
        time: None,
    };
    let mut budget = Budget::DATAGRAM;
    names().understand(&message, &mut budget).map(|_| ())
}

/// The arguments that the notation asks for, without those that are optional or with one of each.
fn arguments(takes: &str, optional: bool) -> Vec<Value> {
    let (required, _) = takes.split_once('[').unwrap_or((takes, ""));
    let whole = takes.replace(['[', ']', '…'], "");
    let words = match optional {
        true => whole.as_str(),
        false => required,
    };
    let words = without_ranges(words).into_iter();
    words.map(|word| value(word, optional)).collect()
}

/// The words of the notation. Of a range without a name, `f:0 to 1`, the first number stays.
fn without_ranges(text: &str) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        if word != "to" {
            found.push(word);
            continue;
        }
        words.next();
        // The first number of a range that follows a name, `f:VELOCITY 0 to 127`.
        if found.last().is_some_and(|least| !least.contains(':')) {
            found.pop();
        }
    }
    found
}

/// A value for a word of the notation; of words to choose from, the first or the last.
fn value(word: &str, last: bool) -> Value {
    let (kind, name) = word.split_once(':').unwrap_or(("", word));
    let mut choices = name.split('|');
    let chosen = match last {
        true => choices.next_back(),
        false => choices.next(),
    };
    let chosen = chosen.unwrap_or_default();
    match kind {
        "i" => Value::Int(chosen.parse().unwrap_or(1)),
        "f" => Value::Float(chosen.parse().unwrap_or(1.0)),
        "" if chosen.chars().all(|letter| letter.is_ascii_uppercase()) => Value::Text("C4".into()),
        _ => Value::Text(chosen.into()),
    }
}

#[test]
fn the_notation_is_read() {
    let text = |text: &str| Value::Text(text.into());
    let note = "PITCH f:VELOCITY 0 to 127 [f:MS]";
    assert_eq!(arguments(note, false), [text("C4"), Value::Float(1.0)]);
    assert_eq!(arguments(note, true).len(), 3);
    assert_eq!(arguments("f:0 to 1", true), [Value::Float(0.0)]);
    assert_eq!(arguments("i:0|1", true), [Value::Int(1)]);
    let chain = [text("ID"), text("NAME"), Value::Int(1)];
    assert_eq!(arguments("s:ID [s:NAME i:BARS …]", true), chain);
    assert_eq!(arguments("gate|note", false), [text("gate")]);
    assert_eq!(arguments("", true), []);
}

#[test]
fn well_formed_arguments_are_accepted() {
    for entry in all() {
        for optional in [false, true] {
            let args = arguments(entry.takes, optional);
            assert_eq!(parsed(entry, &args), Ok(()), "{} {args:?}", entry.address);
        }
    }
}

#[test]
fn a_missing_a_surplus_and_a_wrong_argument_are_refused() {
    for entry in all() {
        let most = arguments(entry.takes, true);
        let mut wrong = vec![most.clone()];
        wrong[0].push(Value::Bool(true));
        if let Some((_, fewer)) = arguments(entry.takes, false).split_last() {
            wrong.push(fewer.to_vec());
        }
        for place in 0..most.len() {
            let mut args = most.clone();
            args[place] = Value::Other("a blob");
            wrong.push(args);
        }
        for args in wrong {
            let why = parsed(entry, &args).expect_err(entry.address);
            assert!(
                why.contains("(expected "),
                "{} {args:?}: {why}",
                entry.address
            );
        }
    }
}

#[test]
fn a_pattern_can_match_each_address() {
    let names = names();
    let known: Vec<String> = names.addresses().collect();
    for entry in all() {
        let matches = |address: &String| {
            let parts: Vec<&str> = address.split('/').skip(1).collect();
            entry.matches(&parts)
        };
        assert!(known.iter().any(matches), "{}", entry.address);
    }
}
