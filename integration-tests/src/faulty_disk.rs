//! Disks that are full, gone or slow: a small file system mounted on a folder, and a process whose system calls
//! fail or are delayed by `strace`.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

/// A small file system mounted on a folder, until it is dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts the file system; `None` if this user may not.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn at(folder: &Path, bytes: u64) -> Result<Option<Self>> {
        fs::create_dir_all(folder)?;
        let size = format!("size={bytes},mode=0700");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "none"])
            .arg(folder)
            .output();
        let mounted = mount.is_ok_and(|done| done.status.success());
        Ok(mounted.then(|| Self(folder.to_owned())))
    }

    /// Fills the file system to the last byte; returns the file that fills it.
    ///
    /// # Errors
    /// When that file cannot be created.
    pub fn fill(&self) -> Result<PathBuf> {
        let path = self.0.join("ballast");
        let mut file = File::create(&path)?;
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        Ok(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A process in some of whose system calls `strace` injects faults, until this is dropped.
pub struct Tampered(Child);

impl Tampered {
    /// Injects `how`, in the words of `strace`, into those calls of all threads; only for calls on `file`, if
    /// given.
    ///
    /// # Errors
    /// When `strace` is missing or may not trace the process.
    pub fn with(pid: u32, calls: &str, how: &str, file: Option<&Path>) -> Result<Self> {
        let mut command = Command::new("strace");
        command
            .args(["-qq", "-f", "-o", "/dev/null"])
            .args(["-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:{how}")])
            .args(["-p", &pid.to_string()])
            .stderr(Stdio::null());
        if let Some(file) = file {
            command.arg("-P").arg(file);
        }
        let tampered = Self(command.spawn()?);
        let begun = Instant::now();
        let traced = |thread: fs::DirEntry| {
            let status = fs::read_to_string(thread.path().join("status"));
            status.is_ok_and(|status| !status.contains("TracerPid:\t0"))
        };
        while !fs::read_dir(format!("/proc/{pid}/task"))?
            .flatten()
            .all(traced)
        {
            ensure!(
                begun.elapsed() < Duration::from_secs(10),
                "strace has not attached to {pid}"
            );
            sleep(Duration::from_millis(5));
        }
        Ok(tampered)
    }
}

impl Drop for Tampered {
    fn drop(&mut self) {
        // At SIGTERM, `strace` detaches from the process, which runs on.
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.0.wait();
    }
}
