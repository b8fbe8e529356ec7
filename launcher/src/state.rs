//! The state that the launcher holds for the life of an instance, and its main loop.

use std::{
    fs::{self, File},
    io::{Read, Seek, Write},
    net::UdpSocket,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::MetadataExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use common::{
    message::{Ending, FromLauncher, SIGKILL, Service, ToLauncher, exit},
    options::{Options, Started},
    units::Incarnation,
};
use platform::{
    fd,
    living::{self, Living},
    log_end,
    paths::Paths,
    pidfd, reach, shm,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, SendFlags},
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use crate::children::{Children, Inheritance, Instance};

/// The time limit for a clean stop by the supervisor.
const GRACE: Duration = Duration::from_secs(3);
/// The silence after which a supervisor counts as hanging; it sends several packets a second.
const SILENT: Duration = Duration::from_secs(3);
/// The same limit before the first packet: a busy machine starts the supervisor late.
const FIRST_WORD: Duration = Duration::from_secs(60);
/// The duration of a round that means that the launcher itself was stopped, so that it cannot judge silence.
const AWAY: Duration = Duration::from_secs(1);
/// The longest sleep of the main loop.
const ROUND: Duration = Duration::from_millis(500);
/// A supervisor with a shorter life is restarted only after a pause.
const HASTY: Duration = Duration::from_millis(200);
/// The requested size of the socket's queue while the gateway is busy or replaced: some 40,000 datagrams if all of it
/// is granted, 0.2 s of the heaviest measured flood. The system's default holds 256.
const OSC_BYTES: usize = 16 << 20;
/// The ready message of an `up` that has taken over an instance without launcher and supervisor.
const TAKEN_OVER: &str =
    "the instance was playing without a launcher; it keeps playing with its former options";
/// Between the default 0 and the best value -20.
const NICE: i32 = -10;
/// The longest packet of the supervisor; a packet holds at most a command line.
const PACKET_BYTES: usize = 64 * 1024;

/// The state that must outlive the other processes.
pub struct LauncherState {
    paths: Paths,
    lock: File,
    children: Children,
    /// The launcher's end of the packet socket. The supervisor's end is held too, so that no packet is lost while a
    /// supervisor is replaced.
    packets: OwnedFd,
    sigchld: UnixStream,
    sigstop: UnixStream,
    /// Whether the instance was taken over; the waiting `up` must be told.
    taken_over: bool,
    /// Whether the stack has been ready once: from then on a refusal of a supervisor does not end the instance.
    begun: bool,
    /// The identity of the control socket's name.
    control: Option<(u64, u64)>,
    /// Why the names cannot be restored, while they are missing.
    nameless: Option<String>,
    supervisor_at: Option<Instant>,
    supervisor_started: Instant,
    /// The time at which a silent supervisor counts as hanging.
    supervisor_silent_at: Instant,
    ending: Option<Instant>,
}

impl LauncherState {
    /// Takes the instance's lock, binds its sockets, and removes the remains of dead instances. If processes of the
    /// instance run without a launcher, takes them over: with the descriptors that the supervisor has kept of the
    /// earlier launcher or, if `understudy up` has started this launcher, with new sockets.
    ///
    /// # Errors
    /// If the instance is already running, an address is in use, or a folder cannot be used.
    pub fn open(options: &Options) -> Result<Self> {
        let paths = Paths::of(&options.instance)?;
        paths.make()?;
        let _ = rustix::process::setsid();
        // A raised priority, since the launcher is the first to notice a death. Not real-time: starting and reaping
        // take long enough for the kernel to throttle all real-time threads, including those of the sound. The
        // children inherit the priority.
        let plain = std::env::var_os(platform::realtime::NO_REALTIME).is_some();
        let _ = !plain && rustix::process::setpriority_process(None, NICE).is_ok();
        // Before the lock names this process, so that a signal to it is handled.
        let sigchld = signals(&[SIGCHLD])?;
        let sigstop = signals(&[SIGTERM, SIGINT, SIGHUP])?;
        let lock = lock(&paths)?;
        let living = living::of_with_unborn(&paths);
        let inherited_packets = fd::inherited(fd::SUPERVISOR);
        // The lock of a running launcher may have been removed with its folder.
        if inherited_packets.is_err() && living::nameless_launcher(&paths).is_some() {
            return Err(running(&paths));
        }
        if living.is_empty() && inherited_packets.is_ok() {
            bail!("the instance has ended before its new launcher was ready");
        }
        let mut instance = match living.first() {
            Some(any) => Instance {
                first_launcher: any.first_launcher,
                options: any.options.clone(),
            },
            None => Instance {
                first_launcher: std::process::id(),
                options: serde_json::to_string(options)?,
            },
        };
        if living.is_empty()
            && let Some(before) = living::first_launcher(&paths)
        {
            log_end::complete(&paths, before);
        }
        write_lock(&lock, instance.first_launcher)?;
        if living.is_empty() {
            clear_away();
            let _ = fs::remove_dir_all(paths.ipc());
            let _ = fs::remove_file(paths.link());
            paths.make()?;
        }
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let (packets, inheritance) = match inherited_packets {
            Ok(packets) => (packets, inherited(lock.try_clone()?.into())?),
            Err(_) => {
                end_gateway(&living);
                let mut options = serde_json::from_str(&instance.options)?;
                let fresh = fresh(&mut options, &paths, &lock)?;
                // Every child gets the actual address of the socket.
                instance.options = serde_json::to_string(&options)?;
                fresh
            }
        };
        let mut children = Children::new(&paths, instance, inheritance)?;
        let supervised = living
            .iter()
            .any(|l| l.child.service == Service::Supervisor);
        let taken_over = !living.is_empty();
        if taken_over {
            let count = children.adopt(&living);
            let text = format!("took over {count} processes of the instance");
            platform::say::line("launcher", &text);
        }
        Ok(Self {
            children,
            control: identity(&paths.control_socket()),
            paths,
            lock,
            packets,
            sigchld,
            sigstop,
            taken_over,
            begun: taken_over,
            nameless: None,
            supervisor_at: (!supervised).then(Instant::now),
            supervisor_started: Instant::now(),
            supervisor_silent_at: Instant::now() + FIRST_WORD,
            ending: None,
        })
    }

    /// Runs the main loop until the instance has ended; `tell` sends to the waiting `up`.
    pub fn run(mut self, tell: &mut impl FnMut(Started)) {
        let mut here = Instant::now();
        loop {
            self.keep_names();
            self.start_supervisor();
            self.sleep();
            self.reap();
            if drained(&mut self.sigstop) && self.ending.is_none() {
                self.ending = Some(Instant::now() + GRACE);
                self.say(&FromLauncher::Stop);
            }
            while let Some(packet) = self.hear() {
                match packet {
                    ToLauncher::Alive => {
                        self.supervisor_silent_at = Instant::now() + SILENT;
                        self.say(&FromLauncher::Alive);
                        if self.taken_over {
                            tell(Started::Ready(TAKEN_OVER.into()));
                        }
                    }
                    ToLauncher::Spawn {
                        service,
                        incarnation,
                        args,
                    } => {
                        if self.ending.is_none() {
                            self.spawn(service, incarnation, &args);
                        }
                    }
                    ToLauncher::List => {
                        let list = self.children.list();
                        self.say(&FromLauncher::Children(list));
                    }
                    ToLauncher::Ready(text) => {
                        self.begun = true;
                        tell(Started::Ready(text));
                    }
                    ToLauncher::Failed(why) if self.begun && self.ending.is_none() => {
                        let text = format!("{why}; the instance continues");
                        platform::say::line("launcher", &text);
                    }
                    ToLauncher::Failed(why) => {
                        tell(Started::Failed(why));
                        return self.close(false);
                    }
                    ToLauncher::Finished => return self.close(true),
                }
            }
            if self.ending.is_some_and(|end| Instant::now() >= end) {
                return self.close(false);
            }
            // One reading of the clock for both the own absence and the supervisor's silence: a launcher that is
            // stopped between two readings would take its own absence for the silence.
            let now = Instant::now();
            if now - here > AWAY {
                self.supervisor_silent_at = self.supervisor_silent_at.max(now + SILENT);
            }
            here = now;
            if self.supervisor_at.is_none() && now >= self.supervisor_silent_at {
                self.supervisor_silent_at = now + SILENT;
                platform::say::line("launcher", "the supervisor hangs and is killed");
                self.children.end(Service::Supervisor);
            }
        }
    }

    /// Restores the removed names of the instance: folders, lock, control socket. Linked processes do not need the
    /// names, new ones do. A restart of the supervisor hands it the new sockets.
    fn keep_names(&mut self) {
        if self.ending.is_some() || self.names_are_there() {
            return;
        }
        match self.make_names() {
            Ok(()) => {
                let text = "the lock or the control socket was removed; both are restored";
                platform::say::line("launcher", text);
                self.nameless = None;
                self.children.end(Service::Supervisor);
            }
            Err(why) => {
                let why = format!("{why:#}");
                if self.nameless.as_ref() != Some(&why) {
                    let text =
                        format!("the lock or the control socket is missing ({why}); trying again");
                    platform::say::line("launcher", &text);
                }
                self.nameless = Some(why);
            }
        }
    }

    /// Whether the lock and the socket are those that this process holds. The folder for links holds no lasting files.
    fn names_are_there(&self) -> bool {
        let there = self.lock_is_there()
            && self.control.is_some()
            && identity(&self.paths.control_socket()) == self.control;
        there && (self.paths.ipc().is_dir() || self.paths.make().is_ok())
    }

    fn lock_is_there(&self) -> bool {
        let held = self.lock.metadata().ok().map(|m| (m.dev(), m.ino()));
        held.is_some() && held == identity(&self.paths.lock())
    }

    fn make_names(&mut self) -> Result<()> {
        self.paths.make()?;
        if !self.lock_is_there() {
            // If another process holds the lock, it is another instance by now.
            let lock = take_lock(&self.paths)?;
            write_lock(&lock, self.children.first_launcher())?;
            self.lock = lock;
        }
        let control = control_socket(&self.paths)?;
        self.control = identity(&self.paths.control_socket());
        let lock = self.lock.try_clone()?;
        self.children.hand_down(control.into(), lock.into());
        Ok(())
    }

    fn start_supervisor(&mut self) {
        if self.ending.is_none() && self.supervisor_at.is_some_and(|at| Instant::now() >= at) {
            self.supervisor_at = None;
            self.supervisor_started = Instant::now();
            self.supervisor_silent_at = Instant::now() + FIRST_WORD;
            self.spawn(Service::Supervisor, Incarnation::default(), &[]);
        }
    }

    fn spawn(&mut self, service: Service, incarnation: Incarnation, args: &[String]) {
        let answer = match self.children.spawn(service, incarnation, args) {
            Ok(child) => FromLauncher::Spawned(child),
            Err(why) => FromLauncher::SpawnFailed(service, incarnation, why.to_string()),
        };
        if matches!(answer, FromLauncher::SpawnFailed(Service::Supervisor, ..)) {
            self.supervisor_at = Some(Instant::now() + Duration::from_secs(1));
        }
        self.say(&answer);
    }

    fn reap(&mut self) {
        let _ = drained(&mut self.sigchld);
        for (child, ending) in self.children.reap() {
            if child.service == Service::Supervisor {
                let hasty = self.supervisor_started.elapsed() < HASTY;
                let pause = if hasty { HASTY } else { Duration::ZERO };
                self.supervisor_at = Some(Instant::now() + pause);
                // The supervisor itself has logged why it could not take over.
                if ending != Ending::Exit(exit::CANNOT_TAKE_OVER) {
                    let text = format!("the supervisor has ended ({ending}) and is restarted");
                    platform::say::line("launcher", &text);
                }
            }
            self.say(&FromLauncher::Died(child, ending));
        }
    }

    fn sleep(&self) {
        let next = match (self.supervisor_at, self.ending) {
            (Some(at), _) | (None, Some(at)) => at,
            (None, None) => self.supervisor_silent_at,
        };
        let wait = next.saturating_duration_since(Instant::now()).min(ROUND);
        let timeout = Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: wait.subsec_nanos().into(),
        };
        let own = [
            self.packets.as_fd(),
            self.sigchld.as_fd(),
            self.sigstop.as_fd(),
        ];
        let all = own.into_iter().chain(self.children.adopted());
        let mut fds: Vec<PollFd<'_>> = all
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let _ = poll(&mut fds, Some(&timeout));
    }

    fn say(&self, packet: &FromLauncher) {
        let text = serde_json::to_vec(packet).unwrap_or_default();
        // Drop the packet if the supervisor does not read: the launcher must not wait.
        let _ = rustix::net::send(
            &self.packets,
            &text,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        );
    }

    fn hear(&self) -> Option<ToLauncher> {
        let mut buffer = vec![0; PACKET_BYTES];
        let (length, _) =
            rustix::net::recv(&self.packets, buffer.as_mut_slice(), RecvFlags::DONTWAIT).ok()?;
        serde_json::from_slice(buffer.get(..length)?).ok()
    }

    /// Kills the remaining processes and removes all files of the instance except its logs. Completes the command log
    /// first, unless the supervisor has `finished` it.
    fn close(mut self, finished: bool) {
        self.children.end_all();
        if !finished {
            log_end::complete(&self.paths, self.children.first_launcher());
        }
        shm::unlink_all_of(self.children.first_launcher());
        let _ = fs::remove_dir_all(&self.paths.runtime);
        // Up to here no other launcher could take the instance.
        drop(self.lock);
    }
}

/// The instance's lock: the one that the supervisor has kept, or a new one.
fn lock(paths: &Paths) -> Result<File> {
    if let Ok(lock) = fd::inherited(fd::LOCK) {
        return Ok(lock.into());
    }
    take_lock(paths)
}

fn running(paths: &Paths) -> anyhow::Error {
    anyhow::anyhow!(
        "the instance \"{0}\" is already running; stop it with `understudy down --instance {0}`",
        paths.instance
    )
}

fn take_lock(paths: &Paths) -> Result<File> {
    let lock = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(paths.lock())?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(_) => Err(running(paths)),
    }
}

/// Writes the process ids of this launcher and of the instance's first launcher.
fn write_lock(mut lock: &File, first_launcher: u32) -> Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    Ok(write!(lock, "{} {first_launcher}", std::process::id())?)
}

/// The identity of the file behind a name; a recreated file has another identity.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

fn control_socket(paths: &Paths) -> Result<UnixListener> {
    let _ = fs::remove_file(paths.control_socket());
    UnixListener::bind(paths.control_socket())
        .with_context(|| format!("cannot create {}", paths.control_socket().display()))
}

/// Removes the shared-memory segments of dead instances; completes the logs of the user's own instances first.
fn clear_away() {
    for (instance, launcher) in shm::stale() {
        let paths = Paths::of(&instance).ok();
        let ours = |paths: &Paths| living::first_launcher(paths) == Some(launcher);
        if let Some(paths) = paths.filter(ours) {
            log_end::complete(&paths, launcher);
        }
        shm::unlink_all_of(launcher);
    }
}

/// The descriptors that the supervisor has kept of the earlier launcher.
fn inherited(lock: OwnedFd) -> Result<Inheritance> {
    Ok(Inheritance {
        osc: fd::inherited(fd::OSC)?,
        control: fd::inherited(fd::CONTROL)?,
        packets: fd::inherited(fd::LAUNCHER)?,
        lock,
    })
}

/// Creates all sockets; also returns the launcher's end of the packet socket. If a free port was requested, the
/// options then name the assigned address.
fn fresh(options: &mut Options, paths: &Paths, lock: &File) -> Result<(OwnedFd, Inheritance)> {
    let osc = UdpSocket::bind(&options.osc).with_context(|| {
        format!("cannot listen at {}: the address is in use or does not belong to this machine; choose another --osc ADDR:PORT", options.osc)
    });
    let osc = osc.map_err(|e| anyhow::anyhow!("{e} ({})", e.root_cause()))?;
    let granted = ask_for_room(&osc);
    platform::say::line(
        "launcher",
        &format!("the queue of the OSC socket holds {granted} bytes"),
    );
    if let Ok(at) = osc.local_addr() {
        options.osc = at.to_string();
        if let Some(text) = reach::warning(&at) {
            platform::say::line("launcher", &text);
        }
    }
    let control = control_socket(paths)?;
    let (packets, supervisors) = fd::packet_pair()?;
    let inheritance = Inheritance {
        osc: osc.into(),
        control: control.into(),
        packets: supervisors,
        lock: lock.try_clone()?.into(),
    };
    Ok((packets, inheritance))
}

/// Kills an unsupervised gateway, which still holds the address.
fn end_gateway(living: &[Living]) {
    let gateway = |l: &&Living| l.child.service == Service::OscGateway;
    for pid in living.iter().filter(gateway).map(|l| l.child.pid) {
        if let Ok(handle) = pidfd::open(pid) {
            let _ = pidfd::signal(&handle, SIGKILL);
            let _ = pidfd::ended(&handle, GRACE);
        }
    }
}

/// Enlarges the socket's queue, beyond the system's limit if permitted; returns the granted size in bytes.
fn ask_for_room(socket: &UdpSocket) -> usize {
    use rustix::net::sockopt;
    let _ = sockopt::set_socket_recv_buffer_size_force(socket, OSC_BYTES)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(socket, OSC_BYTES));
    sockopt::socket_recv_buffer_size(socket).unwrap_or(0)
}

fn signals(which: &[i32]) -> Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    for signal in which {
        signal_hook::low_level::pipe::register(*signal, write.try_clone()?)?;
    }
    Ok(read)
}

fn drained(pipe: &mut UnixStream) -> bool {
    let mut any = false;
    let mut buffer = [0; 64];
    while matches!(pipe.read(&mut buffer), Ok(count) if count > 0) {
        any = true;
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(within: &std::path::Path) -> Paths {
        Paths {
            instance: "edges".into(),
            runtime: within.into(),
            state: within.into(),
        }
    }

    #[test]
    fn an_instance_that_runs_is_refused_by_name_and_free_again_when_its_lock_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let held = lock(&paths).unwrap();
        let why = lock(&paths).unwrap_err().to_string();
        assert!(why.contains("\"edges\" is already running"), "{why}");
        assert!(why.ends_with("`understudy down --instance edges`"), "{why}");
        drop(held);
        assert!(lock(&paths).is_ok());
    }

    #[test]
    fn a_lock_keeps_what_the_launcher_before_wrote_into_it() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        fs::write(paths.lock(), "12 34").unwrap();
        drop(lock(&paths).unwrap());
        assert_eq!(fs::read_to_string(paths.lock()).unwrap(), "12 34");
    }

    #[test]
    fn the_socket_has_room_for_more_datagrams_than_the_system_gives_by_itself() {
        let [plain, ours] = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        let before = rustix::net::sockopt::socket_recv_buffer_size(&plain).unwrap();
        assert!(ask_for_room(&ours) >= before);
    }

    #[test]
    fn a_pipe_of_signals_is_emptied_by_one_look_however_many_came() {
        let (mut read, mut write) = UnixStream::pair().unwrap();
        read.set_nonblocking(true).unwrap();
        assert!(!drained(&mut read));
        write.write_all(&[1; 200]).unwrap();
        assert!(drained(&mut read) && !drained(&mut read));
        drop(write);
        assert!(!drained(&mut read), "the other end is gone");
    }
}
