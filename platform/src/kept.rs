//! A small JSON file that keeps state of an instance. It is replaced by a rename, so it is complete
//! at any time.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The file cannot be read or written.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        why: io::Error,
    },
    /// The content is not what this program writes.
    #[error("{}: {why}; remove the file to start anew", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        why: serde_json::Error,
    },
}

/// Reads the file; the default value if there is no file.
///
/// # Errors
/// When the file cannot be read, or its content is something else.
pub fn read<T: DeserializeOwned + Default>(path: &Path) -> Result<T, KeptError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        Err(why) => return Err(file(path, why)),
    };
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|why| KeptError::Text {
        path: path.to_owned(),
        why,
    })
}

/// Writes a new file beside the old one, then renames it over the old one.
///
/// # Errors
/// When the file cannot be written; the old one then stays as it was.
pub fn write(path: &Path, kept: &impl Serialize) -> Result<(), KeptError> {
    let new = path.with_extension("new");
    let text = serde_json::to_string_pretty(kept).unwrap_or_default();
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .map_err(|why| file(path, why))
}

fn file(path: &Path, why: io::Error) -> KeptError {
    KeptError::File {
        path: path.to_owned(),
        why,
    }
}
