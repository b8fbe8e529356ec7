//! Starts processes and reports how they ended. Processes of an earlier launcher are adopted: they are not children of
//! this launcher, so their exit status is unknown.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{
    message::{Child, Ending, SIGKILL, Service},
    options::VARIABLE,
    units::Incarnation,
};
use platform::{
    fd,
    living::{Living, MARK},
    paths::Paths,
    pidfd, shared,
};
use rustix::process::{Pid, Signal, WaitOptions};

/// The descriptors that the processes inherit.
pub struct Inheritance {
    /// The OSC socket, for the gateway.
    pub osc: OwnedFd,
    /// The listening control socket, for the supervisor.
    pub control: OwnedFd,
    /// The supervisor's end of the packet socket.
    pub packets: OwnedFd,
    /// The instance's lock, for the supervisor: no other launcher takes the instance while either of the two lives.
    pub lock: OwnedFd,
}

/// The properties of the instance that its processes receive.
pub struct Instance {
    /// The process id of the instance's first launcher.
    pub first_launcher: u32,
    /// The options, as JSON.
    pub options: String,
}

struct Adopted {
    child: Child,
    handle: OwnedFd,
}

/// All processes of the instance.
pub struct Children {
    list: Vec<Child>,
    adopted: Vec<Adopted>,
    folder: PathBuf,
    paths: Paths,
    instance: Instance,
    log: File,
    inheritance: Inheritance,
}

impl Children {
    /// Starts without processes.
    ///
    /// # Errors
    /// If the log cannot be opened or the programs cannot be found.
    pub fn new(
        paths: &Paths,
        instance: Instance,
        inheritance: Inheritance,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let folder = program.parent().map(PathBuf::from).unwrap_or_default();
        let log = File::options()
            .create(true)
            .append(true)
            .open(paths.text_log())?;
        Ok(Self {
            list: Vec::new(),
            adopted: Vec::new(),
            folder,
            paths: paths.clone(),
            instance,
            log,
            inheritance,
        })
    }

    /// Adopts the living processes of an earlier launcher and returns their number; a process that has ended meanwhile
    /// is omitted.
    pub fn adopt(&mut self, living: &[Living]) -> usize {
        let handled = living.iter().filter_map(|Living { child, .. }| {
            let handle = pidfd::open(child.pid).ok()?;
            Some(Adopted {
                child: *child,
                handle,
            })
        });
        self.adopted.extend(handled);
        self.adopted.len()
    }

    /// Sets the control socket and the lock that later processes inherit.
    pub fn hand_down(&mut self, control: OwnedFd, lock: OwnedFd) {
        self.inheritance.control = control;
        self.inheritance.lock = lock;
    }

    /// The process id of the instance's first launcher.
    pub const fn first_launcher(&self) -> u32 {
        self.instance.first_launcher
    }

    /// The descriptors that become readable when an adopted process has ended.
    pub fn adopted(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.adopted.iter().map(|a| a.handle.as_fd())
    }

    /// All living processes.
    pub fn list(&self) -> Vec<Child> {
        let adopted = self.adopted.iter().map(|a| a.child);
        self.list.iter().copied().chain(adopted).collect()
    }

    /// Starts a process, unless it runs already: a supervisor may ask again for a process that its predecessor has
    /// asked for, and two gateways would read the same inbox.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn spawn(
        &mut self,
        service: Service,
        incarnation: Incarnation,
        args: &[String],
    ) -> io::Result<Child> {
        let is_it = |child: &Child| (child.service, child.incarnation) == (service, incarnation);
        if let Some(child) = self.list().into_iter().find(is_it) {
            return Ok(child);
        }
        let handed: &[(&str, &OwnedFd)] = match service {
            Service::Supervisor => &[
                (fd::CONTROL, &self.inheritance.control),
                (fd::LAUNCHER, &self.inheritance.packets),
                (fd::OSC, &self.inheritance.osc),
                (fd::LOCK, &self.inheritance.lock),
            ],
            Service::OscGateway => &[(fd::OSC, &self.inheritance.osc)],
            _ => &[],
        };
        let mut command = Command::new(self.folder.join(service.program()));
        command
            .args(args)
            .env(MARK, self.paths.ipc())
            .env(
                shared::LAUNCHER_PID,
                self.instance.first_launcher.to_string(),
            )
            .env(VARIABLE, &self.instance.options)
            .env_remove(fd::READY)
            .env_remove(fd::SUPERVISOR)
            .stdin(Stdio::null())
            .stdout(self.log.try_clone()?)
            .stderr(self.log.try_clone()?);
        let child = Child {
            service,
            incarnation,
            pid: fd::spawn_with(&mut command, handed)?.id(),
        };
        self.list.push(child);
        Ok(child)
    }

    /// The processes that have ended since the last call, and how each ended.
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
        let over = |adopted: &mut Adopted| pidfd::ended(&adopted.handle, Duration::ZERO);
        let gone = self.adopted.extract_if(.., over);
        ended.extend(gone.map(|adopted| (adopted.child, Ending::Unseen)));
        ended
    }

    /// Kills the process of a service.
    pub fn end(&self, service: Service) {
        self.kill(|c| c.service == service);
    }

    /// Kills all remaining processes and waits for their end.
    pub fn end_all(&mut self) {
        self.kill(|_| true);
        let limit = Instant::now() + Duration::from_secs(2);
        while !(self.list.is_empty() && self.adopted.is_empty()) && Instant::now() < limit {
            self.reap();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn kill(&self, whom: impl Fn(&Child) -> bool) {
        for child in self.list.iter().filter(|c| whom(c)) {
            // The process is not reaped yet, so its number is not reused.
            if let Some(pid) = i32::try_from(child.pid).ok().and_then(Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        for adopted in self.adopted.iter().filter(|a| whom(&a.child)) {
            let _ = pidfd::signal(&adopted.handle, SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::units::Slot;
    use std::{fs, os::unix::fs::PermissionsExt};

    fn descriptor() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    /// Children whose worker program is that shell script.
    fn with_worker(folder: &std::path::Path, script: &str) -> Children {
        let program = folder.join(Service::Worker(Slot::Zero).program());
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let paths = Paths {
            instance: "edges".into(),
            runtime: folder.into(),
            state: folder.into(),
        };
        let inheritance = Inheritance {
            osc: descriptor(),
            control: descriptor(),
            packets: descriptor(),
            lock: descriptor(),
        };
        let instance = Instance {
            first_launcher: 7,
            options: "{}".into(),
        };
        let mut children = Children::new(&paths, instance, inheritance).unwrap();
        children.folder = folder.into();
        children
    }

    fn reaped(children: &mut Children) -> (Child, Ending) {
        for _ in 0..2_000 {
            if let Some(ended) = children.reap().pop() {
                return ended;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no child ends");
    }

    /// A single test, since reaping affects all children of the test's process.
    #[test]
    fn children_are_listed_until_they_are_reaped_and_adopted_ones_end_unseen() {
        let folder = tempfile::tempdir().unwrap();
        let (zero, one) = (Service::Worker(Slot::Zero), Service::Worker(Slot::One));
        let mut children = with_worker(folder.path(), "[ \"$1\" = stay ] && exec sleep 60; exit 7");
        assert!(children.reap().is_empty() && children.list().is_empty());

        let first = children.spawn(zero, Incarnation(1), &[]).unwrap();
        assert_eq!(children.list(), [first]);
        assert_eq!(reaped(&mut children), (first, Ending::Exit(7)));
        assert!(children.list().is_empty());

        let stays = children
            .spawn(zero, Incarnation(2), &["stay".into()])
            .unwrap();
        let again = children.spawn(zero, Incarnation(2), &[]).unwrap();
        assert_eq!((again, children.list()), (stays, vec![stays]));
        children.end(one);
        assert!(children.reap().is_empty(), "another one was meant");
        children.end(zero);
        assert_eq!(reaped(&mut children), (stays, Ending::Signal(SIGKILL)));

        // As a process of an earlier launcher: it is not in the table of children.
        let mut orphan = Command::new("sleep").arg("60").spawn().unwrap();
        let child = Child {
            service: one,
            incarnation: Incarnation(3),
            pid: orphan.id(),
        };
        let living = |child| Living {
            child,
            options: "{}".into(),
            first_launcher: 7,
        };
        let ended = Child {
            pid: 4_194_305,
            ..child
        };
        assert_eq!(children.adopt(&[living(child), living(ended)]), 1);
        assert_eq!(
            (children.list(), children.adopted().count()),
            (vec![child], 1)
        );
        children.end(one);
        assert_eq!(reaped(&mut children), (child, Ending::Unseen));
        assert!(children.list().is_empty());
        let _ = orphan.wait();

        let missing = children.spawn(Service::AudioOut, Incarnation(0), &[]);
        assert!(missing.is_err() && children.list().is_empty());
    }
}
