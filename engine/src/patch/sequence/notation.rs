//! The notation of patterns and notes: `X..x`, `E(3,8)`, `C4`.

use common::pitch;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

use super::STEPS_MAX;

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// No note begins; a sounding note ends.
    Rest,
    /// A sounding note continues.
    Tie,
    /// A note begins, with this velocity, 1 to 127.
    Hit(u8),
}

/// The velocity of an `X`.
const ACCENT: u8 = 127;
/// The velocity of an `x`.
const NORMAL: u8 = 64;

/// Parses the steps of a text. Spaces and `|` are ignored.
///
/// # Errors
/// If the text is not a pattern, or has too many steps.
pub fn steps_of(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        match letter {
            'X' => steps.push(Step::Hit(ACCENT)),
            'x' => steps.push(Step::Hit(NORMAL)),
            '.' => steps.push(Step::Rest),
            '-' | '_' => steps.push(Step::Tie),
            ' ' | '|' => {}
            'E' | 'e' => {
                let hit = Step::Hit(if letter == 'E' { ACCENT } else { NORMAL });
                let (numbers, after) = (rest.as_str().strip_prefix('('))
                    .and_then(|inside| inside.split_once(')'))
                    .ok_or_else(|| {
                        format!("\"{letter}\" is incomplete (expected {letter}(K,N[,ROTATION]))")
                    })?;
                rest = after.chars();
                steps.extend(euclidean(letter, numbers, hit)?);
            }
            other => {
                return Err(format!(
                    "\"{}\" is not a step (expected X accent, x hit, . rest, - tie or E(K,N[,ROTATION]))",
                    other.escape_default()
                ));
            }
        }
        if steps.len() > STEPS_MAX {
            return Err(format!(
                "the pattern is too long (expected at most {STEPS_MAX} steps)"
            ));
        }
    }
    Ok(steps)
}

/// K hits spread over N steps as evenly as possible, rotated to the right.
///
/// # Source
/// Bjorklund's algorithm, as Toussaint applies it to rhythms: "The Euclidean Algorithm Generates
/// Traditional Musical Rhythms", 2005.
fn euclidean(letter: char, numbers: &str, hit: Step) -> Result<Vec<Step>, String> {
    let wrong = || {
        format!(
            "{letter}({}) is not a rhythm (expected 0 to N hits in N steps, N from 1 to {STEPS_MAX}, and optionally an integer rotation)",
            numbers.chars().take(40).collect::<String>()
        )
    };
    let parsed: Result<Vec<i64>, _> = numbers.split(',').map(|n| n.trim().parse()).collect();
    let (hits, steps, rotation) = match parsed.map_err(|_| wrong())?.as_slice() {
        [hits, steps] => (*hits, *steps, 0),
        [hits, steps, rotation] => (*hits, *steps, *rotation),
        _ => return Err(wrong()),
    };
    if !(1..=STEPS_MAX as i64).contains(&steps) || !(0..=steps).contains(&hits) {
        return Err(wrong());
    }
    let mut heads = vec![vec![hit]; hits as usize];
    let mut tails = vec![vec![Step::Rest]; (steps - hits) as usize];
    while tails.len() > 1 && !heads.is_empty() {
        let pairs = heads.len().min(tails.len());
        let left = match heads.len() > tails.len() {
            true => heads.split_off(pairs),
            false => tails.split_off(pairs),
        };
        for (head, tail) in heads.iter_mut().zip(tails) {
            head.extend(tail);
        }
        tails = left;
    }
    let mut all: Vec<Step> = heads.into_iter().chain(tails).flatten().collect();
    all.rotate_right(rotation.rem_euclid(steps) as usize);
    Ok(all)
}

/// A note number, 0 to 127, possibly fractional: 60 is C4. As text a name such as `F#3`, or a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pitch(pub f32);

const NAMES: [&str; 12] = [
    "C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B",
];

impl std::str::FromStr for Pitch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        pitch::parse(text).map(Self)
    }
}

impl std::fmt::Display for Pitch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.fract() == 0.0 {
            true => {
                let number = self.0 as i32;
                let name = NAMES[number.rem_euclid(12) as usize];
                write!(f, "{name}{}", number.div_euclid(12) - 1)
            }
            false => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Pitch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.fract() == 0.0 {
            true => serializer.collect_str(self),
            false => serializer.serialize_f32(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Pitch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrNumber;
        impl Visitor<'_> for NameOrNumber {
            type Value = Pitch;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a note: a name such as C4, or a number from 0 to 127")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Pitch, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Pitch, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Pitch, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Pitch, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(NameOrNumber)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps of a text as a text without abbreviations, or why there are none.
    fn spelled(text: &str) -> String {
        let letter = |step| match step {
            Step::Rest => '.',
            Step::Tie => '-',
            Step::Hit(ACCENT) => 'X',
            Step::Hit(_) => 'x',
        };
        match steps_of(text) {
            Ok(steps) => steps.into_iter().map(letter).collect(),
            Err(why) => why,
        }
    }

    #[test]
    fn a_pattern_is_read() {
        for (text, right) in [
            ("X..x", "X..x"),
            ("X.x- | _ x", "X.x--x"),
            ("E(3,8)", "X..X..X."),
            ("e(5,8)", "x.xx.xx."),
            ("e(5,12)", "x..x.x..x.x."),
            ("e(3,8,1)", ".x..x..x"),
            ("e(3,8,-1)", "..x..x.x"),
            ("e(0,4)e(4,4)", "....xxxx"),
            ("x e(2,5) X", "xx.x..X"),
            ("", ""),
        ] {
            assert_eq!(spelled(text), right, "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, why) in [
            ("X.q", "\"q\" is not a step"),
            ("E3", "\"E\" is incomplete (expected E(K,N"),
            ("E(3,8", "\"E\" is incomplete (expected E(K,N"),
            ("E(9,8)", "E(9,8) is not a rhythm"),
            ("E(1,0)", "is not a rhythm"),
            ("E(1,9999999)", "is not a rhythm"),
            ("e(1)", "is not a rhythm"),
            ("e(1,2,3,4)", "is not a rhythm"),
            ("e(a,2)", "is not a rhythm"),
        ] {
            assert!(spelled(text).contains(why), "{text}: {}", spelled(text));
        }
        assert!(spelled(&"x".repeat(257)).contains("at most 256 steps"));
        assert_eq!(spelled(&"x".repeat(256)).len(), 256);
    }

    #[test]
    fn notes_are_written_by_name_where_they_have_one() {
        for (number, name) in [(61.0, "C#4"), (0.0, "C-1"), (127.0, "G9"), (60.25, "60.25")] {
            assert_eq!(Pitch(number).to_string(), name);
            assert_eq!(name.parse(), Ok(Pitch(number)));
        }
        assert!("H4".parse::<Pitch>().unwrap_err().contains("is not a note"));
    }
}
