//! Notes by name or by number: 60 is C4, 69 is A4 at 440 Hz.

/// The highest note number, G9.
pub const PITCH_MAX: f32 = 127.0;

/// Parses a note: a number (not necessarily whole) or a name such as `C4`, `F#3`, `Bb2`. `C-1` is 0.
///
/// # Errors
/// If the text is not a note; the error says what is expected.
pub fn parse(text: &str) -> Result<f32, String> {
    let number = text.parse::<f32>().ok().or_else(|| named(text));
    number
        .filter(|pitch| (0.0..=PITCH_MAX).contains(pitch))
        .ok_or_else(|| {
            format!(
                "\"{text}\" is not a note (expected C4, F#3, Bb2 or a number from 0 to {PITCH_MAX})"
            )
        })
}

fn named(text: &str) -> Option<f32> {
    let mut rest = text.chars();
    let letter = match rest.next()?.to_ascii_uppercase() {
        'C' => 0,
        'D' => 2,
        'E' => 4,
        'F' => 5,
        'G' => 7,
        'A' => 9,
        'B' => 11,
        _ => return None,
    };
    let rest = rest.as_str();
    let (shift, octave) = match rest.strip_prefix('#') {
        Some(octave) => (1, octave),
        None => rest
            .strip_prefix('b')
            .map_or((0, rest), |octave| (-1, octave)),
    };
    let octave: i16 = octave.parse::<i8>().ok()?.into();
    Some(f32::from(12 * (octave + 1) + letter + shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_notes() {
        for (text, pitch) in [
            ("C4", 60.0),
            ("a4", 69.0),
            ("F#3", 54.0),
            ("Bb2", 46.0),
            ("b2", 47.0),
            ("bb2", 46.0),
            ("C-1", 0.0),
            ("G9", 127.0),
            ("60.5", 60.5),
        ] {
            assert_eq!(parse(text), Ok(pitch), "{text}");
        }
        for text in [
            "", "H4", "C", "C##4", "C99", "G#9", "128", "-1", "nan", "Cb-1", "é4", "C#é",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("expected C4"), "{text}: {error}");
        }
    }
}
