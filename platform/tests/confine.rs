//! What confinement refuses to a worker, and what a worker can still do.
//!
//! Confinement cannot be lifted, so the test runs itself again as a child process.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{TcpListener, UdpSocket},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use ipc_channel::ipc::{self, IpcOneShotServer, IpcSender};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType},
    process::Signal,
};

/// The folder in which the child works. Without this variable, the child's test does nothing.
const FOLDER: &str = "UNDERSTUDY_TEST_CONFINED";
/// What the child prints after all its checks have passed.
const HELD: &str = "everything held";

/// Checks that the call has failed for lack of permission.
fn refused<T>(what: &str, result: io::Result<T>) {
    let Err(error) = result else {
        panic!("{what} was allowed");
    };
    assert!(
        matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES)),
        "{what}: {error}"
    );
}

#[test]
fn a_confined_process_is_refused_with_an_error_and_can_do_its_work() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::write(state.join("commands.log"), "one").unwrap();
    fs::write(folder.path().join("secret"), "secret").unwrap();
    let control = UnixListener::bind(folder.path().join("control.sock")).unwrap();
    let (server, name) = IpcOneShotServer::<IpcSender<String>>::new().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child", "--nocapture"])
        .env(FOLDER, folder.path())
        .env("UNDERSTUDY_TEST_SERVER", name)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = state.join("commands.log");
    std::thread::spawn(move || {
        let (mut stream, _) = control.accept().unwrap();
        // The child must also read what is appended after its confinement.
        let mut log = File::options().append(true).open(log).unwrap();
        log.write_all(b" two").unwrap();
        stream.write_all(b"go on").unwrap();
        drop(stream);
        let (_, to_child) = server.accept().unwrap();
        to_child.send("hello".to_owned()).unwrap();
    });
    let limit = Instant::now() + Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > limit {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{text}{errors}");
    assert!(text.contains(HELD), "{text}{errors}");
    // The child ends by SIGABRT, which a confined process may still send to itself.
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    assert!(errors.contains("last words"), "{errors}");
    let secret = fs::read_to_string(folder.path().join("secret")).unwrap();
    assert_eq!(secret, "secret");
}

/// The child's part; does nothing unless the test above has started it.
#[test]
fn the_child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let state = folder.join("state");
    let start = Instant::now();
    let confined = platform::confine::worker(&[&state]);
    println!("FIGURE confined in {} us", start.elapsed().as_micros());
    for net in confined.skipped() {
        println!("{net}");
    }
    if confined.files.is_ok() {
        files_are_out_of_reach(&folder, &state);
    }
    if confined.calls.is_ok() {
        calls_are_refused(&state);
    }
    what_is_needed_works(&folder, &state);
    println!("{HELD}");
    eprintln!("last words");
    std::process::abort();
}

fn files_are_out_of_reach(folder: &Path, state: &Path) {
    let secret = folder.join("secret");
    refused("a read elsewhere", File::open(&secret));
    refused("a read of a system file", File::open("/etc/passwd"));
    refused("a listing elsewhere", fs::read_dir(folder));
    for path in [&secret, &state.join("commands.log"), &state.join("new")] {
        let mut writing = File::options();
        writing.write(true).create(true).truncate(false);
        refused("a file for writing", writing.open(path));
    }
    refused("a file made", File::create(folder.join("new")));
    refused("a file truncated", File::create(&secret));
    refused("a file removed", fs::remove_file(&secret));
    refused("a folder", fs::create_dir(state.join("new")));
    refused(
        "a symlink",
        std::os::unix::fs::symlink("x", state.join("x")),
    );
    refused("a socket's file", UnixListener::bind(state.join("socket")));
    refused("shared memory", File::create("/dev/shm/understudy-test"));
    let parent = rustix::process::getppid().unwrap();
    match rustix::process::kill_process(parent, Signal::CONT) {
        Err(errno) => assert_eq!(errno, Errno::PERM),
        // Kernels before 6.12 do not restrict signals.
        Ok(()) => println!("signals to others are not refused by this kernel"),
    }
}

fn calls_are_refused(state: &Path) {
    refused("a TCP socket", TcpListener::bind("127.0.0.1:0"));
    refused("a UDP socket", UdpSocket::bind("127.0.0.1:0"));
    refused("a UDP socket, IPv6", UdpSocket::bind("[::1]:0"));
    for family in [AddressFamily::NETLINK, AddressFamily::PACKET] {
        let socket = rustix::net::socket(family, SocketType::RAW, None);
        refused("a raw socket", socket.map_err(Into::into));
    }
    refused("exec", Command::new("/bin/true").status());
    let log = state.join("commands.log");
    let all = fs::Permissions::from_mode(0o666);
    refused("chmod", fs::set_permissions(&log, all));
    let times = fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
    refused("utimes", File::open(&log).unwrap().set_times(times));
    let root = rustix::process::chroot(state);
    refused("another root", root.map_err(Into::into));
}

fn what_is_needed_works(folder: &Path, state: &Path) {
    let mut stream = UnixStream::connect(folder.join("control.sock")).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "go on");
    let log = fs::read_to_string(state.join("commands.log")).unwrap();
    assert_eq!(log, "one two");
    assert!(fs::read_to_string("/proc/self/statm").is_ok());
    let (sender, receiver) = ipc::channel::<String>().unwrap();
    let server = std::env::var("UNDERSTUDY_TEST_SERVER").unwrap();
    IpcSender::<IpcSender<String>>::connect(server)
        .unwrap()
        .send(sender)
        .unwrap();
    assert_eq!(receiver.recv().unwrap(), "hello");
    // Larger than a socket's buffer.
    let (sender, receiver) = ipc::channel::<Vec<u8>>().unwrap();
    let sending = std::thread::spawn(move || sender.send(vec![7; 8 << 20]));
    assert_eq!(receiver.recv().unwrap().len(), 8 << 20);
    sending.join().unwrap().unwrap();
    let _ = platform::realtime::ask_priority(1);
    let word = std::sync::atomic::AtomicU64::new(0);
    platform::futex::wake(&word);
    platform::futex::wait(&word, 1, Duration::from_millis(1));
}
