//! The readers of users' files for the fuzz targets, called as the verbs call them. Any bytes are read or refused with
//! one line; no reader panics.

use std::{fs, path::Path};

use common::midi::Bindings;
use engine::{Config, patch::Patch, score};
use platform::kept;

use crate::{
    patch_file::{self, Shelf},
    script,
    verbs::render::Reader,
};

const CONFIG: Config = Config {
    rate_hz: 48_000,
    block_frames: 64,
    channels: 2,
};

/// Reads a patch file in the caller's folder; true if the file is valid.
///
/// # Panics
/// If the folder cannot be written to, or an error has no text.
#[must_use]
pub fn patch(folder: &Path, bytes: &[u8]) -> bool {
    let path = folder.join("patch.json");
    fs::write(&path, bytes).expect("the folder can be written to");
    let shelf = Shelf::of_process(folder.join("samples"));
    match patch_file::read(&path, CONFIG, &shelf) {
        Ok(_) => true,
        Err(failure) => {
            assert!(!failure.text.is_empty());
            false
        }
    }
}

/// Reads a file that a patch names as a recording; true if the file is valid.
///
/// # Panics
/// As [`patch`].
#[must_use]
pub fn sample(folder: &Path, bytes: &[u8]) -> bool {
    fs::write(folder.join("a.wav"), bytes).expect("the folder can be written to");
    let text = r#"{"version":1,"modules":[{"id":"s","type":"sampler","sample":"a.wav"},
        {"id":"o","type":"out"}],"cables":[{"from":"s","to":"o"}]}"#;
    patch(folder, text.as_bytes())
}

/// Reads a score as `render` does, on the default patch; true if all lines are valid.
///
/// # Panics
/// When the default patch has no names.
#[must_use]
pub fn score(bytes: &[u8]) -> bool {
    let Ok(lines) = score::parse(&String::from_utf8_lossy(bytes)) else {
        return false;
    };
    let mut reader = Reader::new(Patch::default_patch(), CONFIG).expect("it has names");
    // Read all lines, including those after an invalid line.
    let refused = lines.iter().filter(|line| reader.read(line).is_err());
    refused.count() == 0
}

/// Reads a fault script; true if the script is valid.
#[must_use]
pub fn script(bytes: &[u8]) -> bool {
    script::parse(&String::from_utf8_lossy(bytes), 7).is_ok()
}

/// Reads a MIDI map in the caller's folder; true if the map is valid.
///
/// # Panics
/// If the folder cannot be written to, or the map changes when it is written and read again.
#[must_use]
pub fn midi_map(folder: &Path, bytes: &[u8]) -> bool {
    let path = folder.join("midi.json");
    fs::write(&path, bytes).expect("the folder can be written to");
    let Ok(mut map) = kept::read::<Bindings>(&path) else {
        return false;
    };
    let _bound = map.learnt(1, 74);
    kept::write(&path, &map).expect("the folder can be written to");
    assert_eq!(kept::read::<Bindings>(&path).ok(), Some(map));
    true
}
