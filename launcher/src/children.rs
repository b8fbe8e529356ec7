//! Starting processes, and hearing how they ended.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{
    message::{Child, Ending, Service},
    units::Incarnation,
};
use platform::{fd, paths::Paths, shared};
use rustix::{
    io::FdFlags,
    process::{Pid, Signal, WaitOptions},
};

/// Descriptors that are handed down.
pub struct Inheritance {
    /// The OSC socket, for the gateway.
    pub osc: OwnedFd,
    /// The listening control socket, for the supervisor.
    pub control: OwnedFd,
    /// The supervisor's end of the packet socket.
    pub packets: OwnedFd,
}

/// All processes of the instance.
pub struct Children {
    list: Vec<Child>,
    folder: PathBuf,
    paths: Paths,
    log: File,
    inheritance: Inheritance,
}

impl Children {
    /// Nobody yet.
    ///
    /// # Errors
    /// When the log cannot be opened or the programs cannot be found.
    pub fn new(paths: &Paths, inheritance: Inheritance) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let folder = program.parent().map(PathBuf::from).unwrap_or_default();
        let log = File::options()
            .create(true)
            .append(true)
            .open(paths.text_log())?;
        Ok(Self {
            list: Vec::new(),
            folder,
            paths: paths.clone(),
            log,
            inheritance,
        })
    }

    /// The children that are there.
    pub fn list(&self) -> Vec<Child> {
        self.list.clone()
    }

    /// Starts a process.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn spawn(
        &mut self,
        service: Service,
        incarnation: Incarnation,
        args: &[String],
    ) -> io::Result<Child> {
        let (program, handed): (&str, &[(&str, &OwnedFd)]) = match service {
            Service::Supervisor => (
                "understudy-supervisor",
                &[
                    (fd::CONTROL, &self.inheritance.control),
                    (fd::LAUNCHER, &self.inheritance.packets),
                ],
            ),
            Service::OscGateway => (
                "understudy-osc-gateway",
                &[(fd::OSC, &self.inheritance.osc)],
            ),
            Service::AudioOut => ("understudy-audio-out", &[]),
            Service::Worker(_) | Service::Trial => ("understudy-worker", &[]),
        };
        let mut command = Command::new(self.folder.join(program));
        command
            .args(args)
            .env("TMPDIR", self.paths.ipc())
            .env(shared::LAUNCHER_PID, std::process::id().to_string())
            .env_remove(fd::READY)
            .stdin(Stdio::null())
            .stdout(self.log.try_clone()?)
            .stderr(self.log.try_clone()?);
        for (variable, descriptor) in handed {
            command.env(variable, descriptor.as_raw_fd().to_string());
            rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        let started = command.spawn();
        for (_, descriptor) in handed {
            rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
        }
        let child = Child {
            service,
            incarnation,
            pid: started?.id(),
        };
        self.list.push(child);
        Ok(child)
    }

    /// The children that have ended since the last call, and how.
    pub fn reap(&mut self) -> Vec<(Child, Ending)> {
        let mut ended = Vec::new();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get() as u32;
            let Some(index) = self.list.iter().position(|child| child.pid == pid) else {
                continue;
            };
            let ending = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Ending::Exit(code),
                (None, Some(signal)) => Ending::Signal(signal),
                (None, None) => continue,
            };
            ended.push((self.list.swap_remove(index), ending));
        }
        ended
    }

    /// Ends the process that runs as that service.
    pub fn end(&self, service: Service) {
        self.list
            .iter()
            .filter(|c| c.service == service)
            .for_each(kill);
    }

    /// Ends whoever is left, and waits until they are gone.
    pub fn end_all(&mut self) {
        self.list.iter().for_each(kill);
        let limit = Instant::now() + Duration::from_secs(2);
        while !self.list.is_empty() && Instant::now() < limit {
            self.reap();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn kill(child: &Child) {
    if let Some(pid) = i32::try_from(child.pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}
