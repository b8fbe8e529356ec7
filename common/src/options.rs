//! What an instance was started with: read once by `understudy up`, handed down unchanged.

use serde::{Deserialize, Serialize};

use crate::units::First;

/// The variable in which all processes of an instance find the options, as JSON.
pub const VARIABLE: &str = "UNDERSTUDY_OPTIONS";

/// The options of a start, checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// The instance's name.
    pub instance: String,
    /// `auto`, `device`, `device:NAME`, `wav:PATH` (absolute) or `null`.
    pub sink: String,
    /// No clock.
    pub freewheel: bool,
    /// ADDR:PORT to listen at.
    pub osc: String,
    /// The port that MIDI comes from, and the module that its notes go to, if it is listened to.
    pub midi: Option<(String, String)>,
    /// Whether an Ableton Link session is followed.
    pub link: bool,
    /// Frames a second.
    pub rate_hz: u32,
    /// Frames in a block.
    pub block_frames: u32,
    /// Blocks of lead, always; without it the lead begins with what the machine's real-time priority
    /// allows, and grows and shrinks by itself.
    pub lead_blocks: Option<u32>,
    /// Milliseconds up to which it grows.
    pub lead_max_ms: u32,
    /// Channels of sound.
    pub channels: u32,
    /// Start with the patch that lies among the instance's files, checked; else with the default patch.
    pub patch: bool,
    /// Start where the instance last was.
    pub resume: bool,
    /// A segment of the command log is closed at that length or that age.
    pub segment: (Bytes, Seconds),
    /// How much of the command log is kept.
    pub keep: Keep,
    /// What closed segments are handed to before they are deleted: a command for the shell.
    pub archive: Option<String>,
    /// Where the counters of a fresh run begin, for tests.
    #[serde(default)]
    pub first: First,
}

/// How much of a command log is kept; what is older is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// All of it.
    All,
    /// So many bytes, all segments together.
    Size(Bytes),
    /// The newest of it, so many seconds of music.
    Age(Seconds),
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bytes(pub u64);

/// A number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seconds(pub u64);

/// A segment of the command log is closed at this length, unless told otherwise,
pub const SEGMENT_BYTES: Bytes = Bytes(64 << 20);
/// or when its music is that old.
pub const SEGMENT_AGE: Seconds = Seconds(3_600);
/// So much is kept.
pub const KEEP: Keep = Keep::Size(Bytes(1 << 30));

/// Units of sizes and times, as they are written behind a number.
const BYTES: [(&str, u64); 10] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("", 1),
];
const SECONDS: [(&str, u64); 5] = [
    ("s", 1),
    ("min", 60),
    ("h", 3_600),
    ("d", 86_400),
    ("w", 604_800),
];

fn in_units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let whole: u64 = number.parse().ok()?;
    whole.checked_mul(*factor)
}

impl std::str::FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = in_units(text, &BYTES).map(Self);
        read.ok_or_else(|| format!("\"{text}\" is not a size (expected one such as 64MiB or 1GB)"))
    }
}

impl std::str::FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = in_units(text, &SECONDS).map(Self);
        read.ok_or_else(|| {
            format!("\"{text}\" is not a time (expected one such as 90s, 30min, 12h, 7d or 2w)")
        })
    }
}

impl std::str::FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = || text.parse().map(Self::Size);
        let age = || text.parse().map(Self::Age);
        match text {
            "all" => Ok(Self::All),
            _ => size().or_else(|_: String| age()).map_err(|_| {
                format!("\"{text}\" is not a limit (expected a size such as 1GiB, a time such as 7d, or all)")
            }),
        }
    }
}

/// What the launcher tells whoever waits in `understudy up`, as one JSON line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Started {
    /// Sound can be made; what to tell the user.
    Ready(String),
    /// It cannot start, and why.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!("64MiB".parse(), Ok(SEGMENT_BYTES));
        assert_eq!("200kB".parse(), Ok(Bytes(200_000)));
        assert_eq!("1h".parse(), Ok(SEGMENT_AGE));
        assert_eq!("1GiB".parse(), Ok(KEEP));
        assert_eq!("7d".parse(), Ok(Keep::Age(Seconds(604_800))));
        assert_eq!("all".parse(), Ok(Keep::All));
        for bad in ["", "MiB", "-1kB", "1 GB", "99999999999TB", "1m", "some"] {
            assert!(bad.parse::<Keep>().is_err(), "{bad}");
        }
    }
}
