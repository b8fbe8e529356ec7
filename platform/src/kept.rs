//! A small file in which an instance keeps something, as JSON; whole at every moment.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It cannot be read or written.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the machine says.
        why: io::Error,
    },
    /// Somebody has written something else into it.
    #[error("{}: {why}; remove the file to start anew", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        why: serde_json::Error,
    },
}

/// Reads it; where there is none nothing is kept yet.
///
/// # Errors
/// When it cannot be read, or is something else.
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

/// Writes it beside the old one, then in its place.
///
/// # Errors
/// When it cannot be written; the old one is left as it was.
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
