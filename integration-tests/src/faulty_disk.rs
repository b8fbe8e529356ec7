//! Disks that are full, gone or slow: a small file system in a folder's place, and a process whose system calls
//! fail or take their time, as `strace` has them do.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

/// A small disk in a folder's place, until it is dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Puts it there; `None` where this user may not.
    ///
    /// # Errors
    /// When the folder cannot be made.
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

    /// Fills it to its last byte; returns the file that does so.
    ///
    /// # Errors
    /// When that cannot be made.
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

/// A process of which some system calls are tampered with, until it is dropped.
pub struct Tampered(Child);

impl Tampered {
    /// Has those calls of all its threads end as said, in `strace`'s words; on that file only, if one is given.
    ///
    /// # Errors
    /// When there is no `strace`, or it may not.
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
                "strace has not taken hold of {pid}"
            );
            sleep(Duration::from_millis(5));
        }
        Ok(tampered)
    }
}

impl Drop for Tampered {
    fn drop(&mut self) {
        // It lets go of the process, which goes on.
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.0.wait();
    }
}
