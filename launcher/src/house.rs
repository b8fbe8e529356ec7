//! What the launcher holds for the life of an instance, and the loop that it sits in.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::UdpSocket,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use common::{
    message::{FromLauncher, Service, ToLauncher},
    options::{Options, Started},
    units::Incarnation,
};
use platform::{paths::Paths, reach, shm};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType},
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use crate::children::{Children, Inheritance};

/// How long the supervisor may take to end the stack in good order.
const GRACE: Duration = Duration::from_secs(3);
/// A supervisor that has said nothing for so long hangs; it says several times a second that it does
/// not. To take over a long log may take longer.
const SILENT: Duration = Duration::from_secs(3);
const FIRST_WORD: Duration = Duration::from_secs(60);
/// A supervisor that ends sooner than this after its start is started again only after a pause.
const HASTY: Duration = Duration::from_millis(200);
/// Room for datagrams while the gateway is busy or being replaced; the system's default holds 256.
const OSC_BYTES: usize = 4 << 20;
/// Longest packet of the supervisor; a packet holds no more than a command line.
const PACKET_BYTES: usize = 64 * 1024;

/// Everything that must outlive the other processes.
pub struct House {
    paths: Paths,
    _lock: File,
    children: Children,
    /// Our end and the supervisor's end of the packet socket: both are kept, so that nothing is
    /// lost while a supervisor is being replaced.
    packets: OwnedFd,
    sigchld: UnixStream,
    sigstop: UnixStream,
    supervisor_at: Option<Instant>,
    supervisor_started: Instant,
    /// Until when it has to say something.
    supervisor_silent_at: Instant,
    ending: Option<Instant>,
}

impl House {
    /// Takes the instance's lock, binds its sockets, clears away what dead instances left.
    ///
    /// # Errors
    /// When the instance runs already, an address is in use or a folder cannot be used.
    pub fn open(options: &Options) -> Result<Self> {
        let paths = Paths::of(&options.instance)?;
        paths.make()?;
        let _ = rustix::process::setsid();
        // Deaths are noticed here first. Not real-time: starting and reaping take long enough for the
        // kernel to throttle all real-time threads, the sound's too. The children inherit it.
        let plain = std::env::var_os(platform::realtime::NO_REALTIME).is_some();
        let _ = !plain && rustix::process::nice(-10).is_ok();
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(paths.lock())?;
        if lock.try_lock().is_err() {
            bail!(
                "instance \"{0}\" is running already; stop it with `understudy down --instance {0}`",
                options.instance
            );
        }
        lock.set_len(0)?;
        write!(lock, "{}", std::process::id())?;
        shm::unlink_stale();
        let _ = fs::remove_dir_all(paths.ipc());
        paths.make()?;
        let osc = UdpSocket::bind(&options.osc).with_context(|| {
            format!("cannot listen at {}: the address is in use or not of this machine; choose another --osc ADDR:PORT", options.osc)
        });
        let osc = osc.map_err(|e| anyhow::anyhow!("{e} ({})", e.root_cause()))?;
        let granted = ask_for_room(&osc);
        platform::say::line(
            "launcher",
            &format!("the OSC socket may hold {granted} bytes"),
        );
        if let Some(text) = osc.local_addr().ok().and_then(|at| reach::warning(&at)) {
            platform::say::line("launcher", &text);
        }
        let _ = fs::remove_file(paths.control_socket());
        let control = UnixListener::bind(paths.control_socket())
            .with_context(|| format!("cannot make {}", paths.control_socket().display()))?;
        let (packets, supervisors) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let sigchld = signals(&[SIGCHLD])?;
        let sigstop = signals(&[SIGTERM, SIGINT, SIGHUP])?;
        let inheritance = Inheritance {
            osc: osc.into(),
            control: control.into(),
            packets: supervisors,
        };
        Ok(Self {
            children: Children::new(&paths, inheritance)?,
            paths,
            _lock: lock,
            packets,
            sigchld,
            sigstop,
            supervisor_at: Some(Instant::now()),
            supervisor_started: Instant::now(),
            supervisor_silent_at: Instant::now() + FIRST_WORD,
            ending: None,
        })
    }

    /// Keeps the house until the instance has ended; `tell` reaches whoever waits in `up`.
    pub fn keep(mut self, tell: &mut impl FnMut(Started)) {
        loop {
            self.start_supervisor();
            self.sleep();
            self.reap();
            if drained(&mut self.sigstop) && self.ending.is_none() {
                self.ending = Some(Instant::now() + GRACE);
                self.say(&FromLauncher::Stop);
            }
            while let Some(packet) = self.hear() {
                match packet {
                    ToLauncher::Alive => self.supervisor_silent_at = Instant::now() + SILENT,
                    ToLauncher::Spawn {
                        service,
                        incarnation,
                        args,
                    } => {
                        if self.ending.is_none() {
                            self.spawn(service, incarnation, &args);
                        }
                    }
                    ToLauncher::List => self.say(&FromLauncher::Children(self.children.list())),
                    ToLauncher::Ready(text) => tell(Started::Ready(text)),
                    ToLauncher::Failed(why) => {
                        tell(Started::Failed(why));
                        return self.close();
                    }
                    ToLauncher::Finished => return self.close(),
                }
            }
            if self.ending.is_some_and(|end| Instant::now() >= end) {
                return self.close();
            }
            if self.supervisor_at.is_none() && Instant::now() >= self.supervisor_silent_at {
                self.supervisor_silent_at = Instant::now() + SILENT;
                platform::say::line("launcher", "the supervisor hangs; it is ended");
                self.children.end(Service::Supervisor);
            }
        }
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
                let text = format!("the supervisor has ended ({ending}); it is started again");
                platform::say::line("launcher", &text);
            }
            self.say(&FromLauncher::Died(child, ending));
        }
    }

    fn sleep(&self) {
        let next = match (self.supervisor_at, self.ending) {
            (Some(at), _) | (None, Some(at)) => at,
            (None, None) => self.supervisor_silent_at,
        };
        let wait = next.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: wait.subsec_nanos().into(),
        };
        let mut fds = [
            PollFd::from_borrowed_fd(self.packets.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.sigchld.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.sigstop.as_fd(), PollFlags::IN),
        ];
        let _ = poll(&mut fds, Some(&timeout));
    }

    fn say(&self, packet: &FromLauncher) {
        let text = serde_json::to_vec(packet).unwrap_or_default();
        // If the supervisor has not read for long, a report is worth less than going on.
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

    /// Ends whoever is left and removes everything that the instance has made outside its logs.
    fn close(mut self) {
        self.children.end_all();
        shm::unlink_all_of(std::process::id());
        let _ = fs::remove_dir_all(&self.paths.runtime);
    }
}

/// Asks for room for datagrams that wait, beyond the system's limit where that is allowed; returns
/// what was granted, in bytes.
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
