//! The paths of an instance's files: run-time files, logs, shared memory.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

/// The paths of one instance.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The instance's name.
    pub instance: String,
    /// The folder of sockets, lock and process id; owner-only. Its content goes when the instance has
    /// ended.
    pub runtime: PathBuf,
    /// The folder of text logs and command logs, which stay.
    pub state: PathBuf,
}

/// The longest path that the kernel allows for a socket, in bytes.
const SOCKET_BYTES_MAX: usize = 107;
/// What ipc-channel appends to its folder's path.
const SOCKET_BELOW_IPC: &str = "/.tmpXXXXXX/socket";

/// Why the folders of an instance cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// The name is not valid.
    #[error(
        "{0:?} is not an instance name (expected 1 to 32 of a-z, A-Z, 0-9, - and _, not beginning with -)"
    )]
    Name(String),
    /// The folder's path leaves no room for the name of a socket.
    #[error(
        "{0:?} is too long: a socket in it would have a path of {1} bytes (expected at most {SOCKET_BYTES_MAX}); set XDG_RUNTIME_DIR to a shorter path or use a shorter instance name"
    )]
    Long(PathBuf, usize),
    /// The folder cannot be created, or does not belong to this user.
    #[error("cannot use {0:?}: {1}")]
    Folder(PathBuf, io::Error),
}

impl Paths {
    /// The paths of the instance of that name; creates nothing.
    ///
    /// # Errors
    /// When the name is too long or has characters that could lead out of the folder.
    pub fn of(instance: &str) -> Result<Self, PathError> {
        Self::within(instance, |name| std::env::var_os(name))
    }

    /// As [`Self::of`], with another environment.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn within(
        instance: &str,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, PathError> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        // Every process that is passed the name would take it for an option.
        let option = instance.starts_with('-');
        let fits = (1..=32).contains(&instance.len());
        if !fits || option || !instance.chars().all(good) {
            return Err(PathError::Name(instance.into()));
        }
        let uid = rustix::process::getuid().as_raw();
        let variable = |name: &str| {
            environment(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let runtime = variable("XDG_RUNTIME_DIR")
            .map(|dir| dir.join("understudy"))
            .unwrap_or_else(|| PathBuf::from(format!("/tmp/understudy-{uid}")));
        let state = variable("XDG_STATE_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
            .unwrap_or_else(|| runtime.clone());
        Ok(Self {
            instance: instance.into(),
            runtime: runtime.join(instance),
            state: state.join("understudy").join(instance),
        })
    }

    /// Creates the folders, owner-only.
    ///
    /// # Errors
    /// When a folder cannot be created or belongs to another user, or a socket's path would be too long.
    pub fn make(&self) -> Result<(), PathError> {
        let longest = self.ipc().as_os_str().len() + SOCKET_BELOW_IPC.len();
        if longest > SOCKET_BYTES_MAX {
            return Err(PathError::Long(self.runtime.clone(), longest));
        }
        for folder in [&self.runtime, &self.state, &self.ipc()] {
            make_private(folder).map_err(|e| PathError::Folder(folder.clone(), e))?;
        }
        Ok(())
    }

    /// The supervisor's socket for requests.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.runtime.join("control.sock")
    }

    /// The lock file, locked while the instance runs. It holds the launcher's process id, and that of
    /// the launcher that began the instance.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.runtime.join("lock")
    }

    /// The folder in which ipc-channel creates its sockets.
    #[must_use]
    pub fn ipc(&self) -> PathBuf {
        self.runtime.join("ipc")
    }

    /// The patch with which the instance was started.
    #[must_use]
    pub fn first_patch(&self) -> PathBuf {
        self.state.join("first-patch.json")
    }

    /// The segment in progress of the command log, of the present run or of the last one; see
    /// `segments`.
    #[must_use]
    pub fn command_log(&self) -> PathBuf {
        self.state.join("commands.log")
    }

    /// The next segment, until it takes the place of [`Self::command_log`].
    #[must_use]
    pub fn next_command_log(&self) -> PathBuf {
        self.state.join("commands.new")
    }

    /// The two state files: each holds what a log segment would begin with, a few seconds old.
    #[must_use]
    pub fn states(&self) -> [PathBuf; 2] {
        ["state.0", "state.1"].map(|name| self.state.join(name))
    }

    /// The file that was found in the place of the command log without being one.
    #[must_use]
    pub fn set_aside(&self) -> PathBuf {
        self.state.join("commands.set-aside.log")
    }

    /// The folder of the recordings that patches play from.
    #[must_use]
    pub fn samples(&self) -> PathBuf {
        self.state.join(crate::samples::FOLDER)
    }

    /// The bindings of MIDI controllers to parameters.
    #[must_use]
    pub fn midi(&self) -> PathBuf {
        self.state.join("midi.json")
    }

    /// The held state of the MIDI input; removed with the instance.
    #[must_use]
    pub fn midi_held(&self) -> PathBuf {
        self.runtime.join("midi-held.json")
    }

    /// The state of `link-in`: what it has passed on from the Link session so far. Removed with the
    /// instance.
    #[must_use]
    pub fn link(&self) -> PathBuf {
        self.runtime.join("link.json")
    }

    /// The folder of recordings made by the recorder.
    #[must_use]
    pub fn recordings(&self) -> PathBuf {
        self.state.join("recordings")
    }

    /// The text log of all processes.
    #[must_use]
    pub fn text_log(&self) -> PathBuf {
        self.state.join("understudy.log")
    }
}

/// Restricts all files that this process and its children create from now on to their owner, unless a
/// file is given wider rights on purpose.
pub fn owner_only() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Creates a folder for its owner alone, or checks an existing one. Owner and mode are checked and
/// set on the opened folder, so nobody can replace the folder in between.
fn make_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .or_else(|error| match error.kind() {
            // The path is a file or a dangling symlink; the next step reports which error that is.
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        })?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::LOOP | Errno::NOTDIR => io::Error::other(
            "it is a symlink or a file (expected a folder of this user); remove it",
        ),
        other => other.into(),
    })?;
    let uid = rustix::process::getuid().as_raw();
    belongs(rustix::fs::fstat(&opened)?.st_uid, uid)?;
    Ok(rustix::fs::fchmod(&opened, Mode::RWXU)?)
}

fn belongs(owner: u32, uid: u32) -> io::Result<()> {
    if owner == uid {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "it belongs to the user with the number {owner}; have it removed, or set XDG_RUNTIME_DIR \
         and XDG_STATE_HOME to folders of yours"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn paths_in(folder: &Path) -> Paths {
        Paths {
            instance: "test".into(),
            runtime: folder.join("run/understudy/test"),
            state: folder.join("state/understudy/test"),
        }
    }

    #[test]
    fn folders_are_made_for_their_owner_and_open_ones_are_closed() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths_in(folder.path());
        fs::create_dir_all(paths.ipc()).unwrap();
        fs::set_permissions(paths.ipc(), fs::Permissions::from_mode(0o777)).unwrap();
        paths.make().unwrap();
        for path in [&paths.runtime, &paths.ipc(), &paths.state] {
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700, "{path:?}");
        }
        paths.make().unwrap();
    }

    #[test]
    fn names_that_are_none_are_refused() {
        let long = "x".repeat(33);
        for name in [
            "", ".", "..", "-", "-x", "--help", "a/b", "/", "a b", "a\n", "\0", "\x1b[2J", "ä",
            &long,
        ] {
            let text = Paths::of(name).unwrap_err().to_string();
            assert!(
                text.contains("is not an instance name") && !text.contains(char::is_control),
                "{text}"
            );
        }
        for name in ["a", "x-", "_-", &long[..32]] {
            assert!(Paths::of(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_folder_too_deep_for_a_socket_is_refused_before_anything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(100));
        let text = paths_in(&deep).make().unwrap_err().to_string();
        assert!(text.contains("XDG_RUNTIME_DIR") && !deep.exists(), "{text}");
    }

    #[test]
    fn a_symlink_or_a_file_in_a_folders_place_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths_in(folder.path());
        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(folder.path().join("run/understudy")).unwrap();
        for target in [elsewhere.as_path(), Path::new("/nowhere/at/all")] {
            symlink(target, &paths.runtime).unwrap();
            let text = paths.make().unwrap_err().to_string();
            assert!(
                text.contains("symlink") && text.contains("remove it"),
                "{text}"
            );
            fs::remove_file(&paths.runtime).unwrap();
        }
        assert_eq!(fs::metadata(&elsewhere).unwrap().mode() & 0o777, 0o755);
        fs::write(&paths.runtime, "a file").unwrap();
        assert!(paths.make().unwrap_err().to_string().contains("remove it"));
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let uid = rustix::process::getuid().as_raw();
        assert!(belongs(uid, uid).is_ok());
        let text = belongs(uid + 1, uid).unwrap_err().to_string();
        assert!(text.contains(&(uid + 1).to_string()), "{text}");
        // Only root may change a folder's owner.
        let paths = paths_in(folder.path());
        paths.make().unwrap();
        if std::os::unix::fs::chown(&paths.runtime, Some(uid + 1), None).is_ok() {
            let text = paths.make().unwrap_err().to_string();
            assert!(text.contains("belongs to the user"), "{text}");
        }
    }
}
