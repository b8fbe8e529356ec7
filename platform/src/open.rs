//! Opens files by names that a user has chosen: no name reaches a file outside the given folder.
//!
//! The kernel resolves the name (`openat2`). So it does no harm if somebody replaces a folder by a
//! symlink between a check and its use. To reach a file elsewhere, the caller passes another
//! folder.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};

/// The longest name, in bytes: what file systems allow a single component.
pub const NAME_BYTES_MAX: usize = 255;

/// Why a name cannot be opened in a folder.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The name is empty.
    #[error("the file name is empty (expected a name)")]
    Empty,
    /// The name is longer than file systems allow.
    #[error("the file name has {0} bytes (expected at most {NAME_BYTES_MAX})")]
    Long(usize),
    /// The name leads out of the folder, or through a symlink.
    #[error(
        "{name:?} leads out of {folder:?} or through a symlink; use a plain name, without \"..\", \
         a leading \"/\" or links"
    )]
    Outside {
        /// The name given.
        name: String,
        /// The folder that it must stay in.
        folder: PathBuf,
    },
    /// The operating system refused for another reason.
    #[error("cannot open {name:?} in {folder:?}: {error}")]
    Refused {
        /// The name given.
        name: String,
        /// The folder.
        folder: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
}

/// What the file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Reading an existing file.
    Read,
    /// Writing a new file, or overwriting an old one; owner-only.
    Write,
}

/// Opens the file of that name in or below `folder`, and nothing else.
///
/// The program chooses the folder, which may be reached through symlinks. A user chooses the name.
///
/// # Errors
/// When the name is empty, too long, leads out of the folder or through a symlink, or when the
/// operating system refuses. The text says what to do.
///
/// # Examples
/// ```
/// use platform::open::{OpenError, Purpose, open_beneath};
/// let refused = open_beneath("/tmp".as_ref(), "../etc/passwd", Purpose::Read);
/// assert!(matches!(refused, Err(OpenError::Outside { .. })));
/// ```
pub fn open_beneath(folder: &Path, name: &str, purpose: Purpose) -> Result<File, OpenError> {
    if name.is_empty() {
        return Err(OpenError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(OpenError::Long(name.len()));
    }
    let refused = |error: Errno| match error {
        Errno::XDEV | Errno::LOOP => OpenError::Outside {
            name: name.into(),
            folder: folder.into(),
        },
        other => OpenError::Refused {
            name: name.into(),
            folder: folder.into(),
            error: other.into(),
        },
    };
    let place: OwnedFd = openat(
        CWD,
        folder,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(refused)?;
    let (flags, mode) = match purpose {
        Purpose::Read => (OFlags::RDONLY, Mode::empty()),
        Purpose::Write => (
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC,
            Mode::RUSR | Mode::WUSR,
        ),
    };
    // Without NONBLOCK, a named pipe would make the caller wait for its other end.
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = loop {
        match openat2(&place, name, flags, mode, resolve) {
            // A concurrent rename kept the kernel from checking the path.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => break other,
        }
    };
    opened.map(File::from).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        io::{Read, Write},
        os::unix::fs::{PermissionsExt, symlink},
    };

    fn outside(result: Result<File, OpenError>) -> bool {
        matches!(result, Err(OpenError::Outside { .. }))
    }

    #[test]
    fn a_plain_name_is_written_owner_only_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("below")).unwrap();
        for name in ["take.wav", "below/take.wav", "below/../again.wav"] {
            let mut file = open_beneath(folder.path(), name, Purpose::Write).unwrap();
            file.write_all(b"sound").unwrap();
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
            let mut text = String::new();
            let mut file = open_beneath(folder.path(), name, Purpose::Read).unwrap();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "sound");
        }
    }

    #[test]
    fn names_that_lead_out_of_the_folder_open_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("records");
        fs::create_dir(&folder).unwrap();
        let secret = parent.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        let absolute = secret.to_str().unwrap().to_owned();
        for name in ["..", "../secret", "../new", "x/../../secret", &absolute] {
            for purpose in [Purpose::Read, Purpose::Write] {
                let result = open_beneath(&folder, name, purpose);
                let missing = name.starts_with("x/");
                assert!(missing && result.is_err() || outside(result), "{name}");
            }
        }
        assert!(!parent.path().join("new").exists());
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    }

    #[test]
    fn symlinks_are_not_followed_wherever_they_lead() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("records");
        fs::create_dir_all(folder.join("real")).unwrap();
        fs::write(parent.path().join("secret"), "secret").unwrap();
        symlink("../secret", folder.join("out")).unwrap();
        symlink("..", folder.join("up")).unwrap();
        symlink("real", folder.join("inside")).unwrap();
        symlink("/proc/self/root", folder.join("magic")).unwrap();
        symlink("nowhere", folder.join("dangling")).unwrap();
        for name in ["out", "up/secret", "inside/x", "magic/etc", "dangling"] {
            assert!(
                outside(open_beneath(&folder, name, Purpose::Read)),
                "{name}"
            );
            assert!(
                outside(open_beneath(&folder, name, Purpose::Write)),
                "{name}"
            );
        }
        assert!(!folder.join("nowhere").exists());
    }

    #[test]
    fn empty_and_overlong_names_are_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| open_beneath(folder.path(), name, Purpose::Write).unwrap_err();
        assert!(open("").to_string().contains("expected a name"));
        let text = open(&"x".repeat(256)).to_string();
        assert!(text.contains("256 bytes") && text.contains("at most 255"));
        open_beneath(folder.path(), &"x".repeat(255), Purpose::Write).unwrap();
        assert!(open("a\0b").to_string().contains("cannot open"));
        assert!(open("../x").to_string().contains("use a plain name"));
    }

    #[test]
    fn a_folder_and_a_pipe_without_a_reader_are_errors_and_nobody_waits() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name| open_beneath(folder.path(), name, Purpose::Write);
        assert!(matches!(write("."), Err(OpenError::Refused { .. })));
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(matches!(write("pipe"), Err(OpenError::Refused { .. })));
    }
}
