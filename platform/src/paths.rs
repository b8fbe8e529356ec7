//! Where an instance keeps its files: run-time files, logs, shared memory.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The places of one instance.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The instance's name.
    pub instance: String,
    /// Sockets, lock, process id; owner-only; gone after the instance has ended.
    pub runtime: PathBuf,
    /// Logs and command logs; kept.
    pub state: PathBuf,
}

/// Why the places of an instance cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// The name is not one.
    #[error("\"{0}\" is no instance name; use 1 to 32 of a-z, A-Z, 0-9, - and _")]
    Name(String),
    /// The folder cannot be made or is not ours.
    #[error("cannot use {0:?}: {1}")]
    Folder(PathBuf, io::Error),
}

impl Paths {
    /// The places of the instance of that name; makes nothing.
    ///
    /// # Errors
    /// When the name could leave its folder or is too long.
    pub fn of(instance: &str) -> Result<Self, PathError> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if instance.is_empty() || instance.len() > 32 || !instance.chars().all(good) {
            return Err(PathError::Name(instance.into()));
        }
        let uid = rustix::process::getuid().as_raw();
        let variable = |name: &str| {
            std::env::var_os(name)
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

    /// Makes the folders, owner-only.
    ///
    /// # Errors
    /// When one cannot be made, belongs to somebody else or is open to others.
    pub fn make(&self) -> Result<(), PathError> {
        for folder in [&self.runtime, &self.state, &self.ipc()] {
            make_private(folder).map_err(|e| PathError::Folder(folder.clone(), e))?;
        }
        Ok(())
    }

    /// The socket at which the supervisor answers.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.runtime.join("control.sock")
    }

    /// Locked while the instance runs; holds the launcher's process id.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.runtime.join("lock")
    }

    /// Where ipc-channel makes its sockets.
    #[must_use]
    pub fn ipc(&self) -> PathBuf {
        self.runtime.join("ipc")
    }

    /// The command log of the run in progress, or of the last one.
    #[must_use]
    pub fn command_log(&self) -> PathBuf {
        self.state.join("commands.log")
    }

    /// The command log of the run before.
    #[must_use]
    pub fn previous_command_log(&self) -> PathBuf {
        self.state.join("commands.previous.log")
    }

    /// What the processes have to tell.
    #[must_use]
    pub fn text_log(&self) -> PathBuf {
        self.state.join("understudy.log")
    }
}

fn make_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != rustix::process::getuid().as_raw() {
        return Err(io::Error::other("it is not a folder of yours; remove it"));
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}
