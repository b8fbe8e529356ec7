//! The options of an instance: read once by `understudy up`, passed on unchanged.

use serde::{Deserialize, Serialize};

use crate::units::First;

/// The environment variable that holds the options as JSON, for all processes of an instance.
pub const VARIABLE: &str = "UNDERSTUDY_OPTIONS";

/// The checked options of a start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// The instance's name.
    pub instance: String,
    /// `auto`, `device`, `device:NAME`, `wav:PATH` (absolute) or `null`.
    pub sink: String,
    /// Play without a clock.
    pub freewheel: bool,
    /// The address that the OSC gateway listens at, ADDR:PORT.
    pub osc: String,
    /// The MIDI port and the module that plays its notes; `None` without MIDI input.
    pub midi: Option<(String, String)>,
    /// Whether the instance follows an Ableton Link session.
    pub link: bool,
    /// Frames per second.
    pub rate_hz: u32,
    /// Frames in a block.
    pub block_frames: u32,
    /// A fixed lead, in blocks. `None`: the lead begins with the value that suits the machine's real-time
    /// priority, and adapts.
    pub lead_blocks: Option<u32>,
    /// Upper limit of an adapting lead, in milliseconds.
    pub lead_max_ms: u32,
    /// Channels of sound.
    pub channels: u32,
    /// Start with the checked patch among the instance's files; otherwise with the default patch.
    pub patch: bool,
    /// Resume where the instance last was.
    pub resume: bool,
    /// The length and the age at which a segment of the command log is closed.
    pub segment: (Bytes, Seconds),
    /// How much of the command log is kept.
    pub keep: Keep,
    /// A shell command that receives each closed segment before it may be deleted.
    pub archive: Option<String>,
    /// Where the counters of a fresh run begin; for tests.
    #[serde(default)]
    pub first: First,
}

/// How much of a command log is kept; older segments are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// Everything.
    All,
    /// At most this many bytes in all segments.
    Size(Bytes),
    /// The newest segments, for this many seconds of music.
    Age(Seconds),
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bytes(pub u64);

/// A number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seconds(pub u64);

/// Default length at which a segment of the command log is closed.
pub const SEGMENT_BYTES: Bytes = Bytes(64 << 20);
/// Default age of a segment's music at which the segment is closed.
pub const SEGMENT_AGE: Seconds = Seconds(3_600);
/// Default amount of command log that is kept.
pub const KEEP: Keep = Keep::Size(Bytes(1 << 30));

/// Suffixes of sizes and times.
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

/// The launcher's report to `understudy up`, as one JSON line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Started {
    /// The instance can make sound; the text is for the user.
    Ready(String),
    /// The instance cannot start, and why.
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
