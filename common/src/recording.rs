//! Names of recordings, and requests to the recorder.
//!
//! A name is that of a file in one folder, never a path: anyone who can send a datagram can record, and
//! must not choose a place on the disk.

use serde::{Deserialize, Serialize};

use crate::tape::NAME_BYTES_MAX;

/// A request to the recorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// Record from now on, into a file of this name; `None`: a name made from the date and time.
    Start(Option<String>),
    /// Stop the recording.
    Stop,
}

/// The file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 32-bit floats.
    Wav,
    /// 24 bits, compressed without loss.
    Flac,
}

/// Most channels of a FLAC file.
pub const FLAC_CHANNELS_MAX: u32 = 8;

/// Why a name is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is a path, hidden, empty, too long, or has control characters.
    #[error(
        "\"{0}\" is not a recording's name (expected 1 to 120 bytes without / and control characters, not starting with a dot)"
    )]
    Name(String),
    /// It has an unknown ending.
    #[error("the ending .{0} is unknown (expected a name that ends with .wav or .flac)")]
    Ending(String),
    /// There are more channels than the format holds.
    #[error("{0} channels are too many for .flac (expected {FLAC_CHANNELS_MAX}; use .wav)")]
    Channels(u32),
}

/// The file's name with its ending, and its format. Without a known ending, `.wav` is added.
///
/// # Errors
/// If the name could leave its folder, has the ending of an unknown format, or the format cannot hold the channels.
///
/// # Examples
/// ```
/// use common::recording::{Format, file_name};
/// assert_eq!(file_name("night", 2), Ok(("night.wav".into(), Format::Wav)));
/// assert!(file_name("../night", 2).is_err());
/// ```
pub fn file_name(name: &str, channels: u32) -> Result<(String, Format), NameError> {
    let wrong = |c: char| c == '/' || c == '\\' || c.is_control();
    if name.is_empty()
        || name.len() > NAME_BYTES_MAX - 8
        || name.starts_with('.')
        || name.contains(wrong)
    {
        let shown = name.chars().filter(|c| !c.is_control()).take(40).collect();
        return Err(NameError::Name(shown));
    }
    let (_, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    match ending.to_ascii_lowercase().as_str() {
        "wav" => Ok((name.into(), Format::Wav)),
        "flac" if channels > FLAC_CHANNELS_MAX => Err(NameError::Channels(channels)),
        "flac" => Ok((name.into(), Format::Flac)),
        // In "set 2. night", what follows the dot is no ending.
        other if is_ending(other) => Err(NameError::Ending(other.into())),
        _ => Ok((format!("{name}.wav"), Format::Wav)),
    }
}

fn is_ending(text: &str) -> bool {
    (1..=4).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric())
}

/// The name of a recording that begins this many seconds after 1970, in UTC.
#[must_use]
pub fn name_by_date(unix_s: u64) -> String {
    let (days, s) = (unix_s / 86_400, unix_s % 86_400);
    let (year, month, day) = civil(days);
    let (h, m, s) = (s / 3_600, s / 60 % 60, s % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}-{m:02}-{s:02}Z.wav")
}

/// Year, month and day of the day this many days after 1970-01-01.
///
/// # Source
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year + era * 400 + (month <= 2) as u64;
    (year, month, of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder() {
        for good in ["night", "Konzert in Köln 2", "a.b c", "set 2. night"] {
            let name = file_name(good, 2).unwrap();
            assert_eq!(name, (format!("{good}.wav"), Format::Wav));
        }
        for (good, format) in [("a.WAV", Format::Wav), ("b.v2.flac", Format::Flac)] {
            assert_eq!(file_name(good, 8), Ok((good.into(), format)));
        }
        let long = "x".repeat(200);
        for bad in [
            "", "..", ".hidden", "a/b", "/tmp/a", "../a", "a\\b", "a\nb", "a\0", &long,
        ] {
            let text = file_name(bad, 2).unwrap_err().to_string();
            assert!(text.contains("without /"), "{text}");
        }
        assert!(matches!(file_name("a.mp3", 2), Err(NameError::Ending(_))));
        assert_eq!(file_name("a.flac", 9), Err(NameError::Channels(9)));
    }

    #[test]
    fn a_name_by_date_sorts_by_time() {
        for (unix_s, name) in [
            (0, "1970-01-01T00-00-00Z.wav"),
            (951_825_599, "2000-02-29T11-59-59Z.wav"),
            (1_798_761_600, "2027-01-01T00-00-00Z.wav"),
        ] {
            assert_eq!(name_by_date(unix_s), name);
        }
    }
}
