//! Files of an instance are accessible to their owner only, whatever the umask. Each process holds
//! the descriptors that it needs and no others.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use integration_tests::stack::{Stack, programs, text};
use serde_json::Value;
use tempfile::TempDir;

/// All files and folders in a folder, at any depth.
fn all_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![folder.to_path_buf()];
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => found.extend(all_in(&entry.path())?),
            false => found.push(entry.path()),
        }
    }
    Ok(found)
}

/// Starts an instance from a shell with an open umask that holds descriptors open.
fn carelessly(folder: &TempDir, recording: &Path) -> Result<Value> {
    let stranger = folder.path().join("stranger");
    let script = format!(
        "umask 000; exec 7>{0} 8<{0} 9>>{0}; exec \"$@\"",
        stranger.display()
    );
    let port = 19_000 + std::process::id() % 900;
    let output = Command::new("bash")
        .args(["-c", &script, "bash"])
        .arg(programs().join("understudy"))
        .args(["up", "--detach", "--json", "--instance", "test", "--sink"])
        .arg(format!("wav:{}", recording.display()))
        .args(["--osc", &format!("127.0.0.1:{port}")])
        .env("XDG_RUNTIME_DIR", folder.path().join("run"))
        .env("XDG_STATE_HOME", folder.path().join("state"))
        .output()?;
    let said = text(&output.stdout);
    serde_json::from_str(&said).with_context(|| format!("{said}{}", text(&output.stderr)))
}

fn status(folder: &Path) -> Result<Value> {
    let output = integration_tests::stack::understudy(folder)
        .args(["status", "--json", "--instance", "test"])
        .output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

struct Down<'a>(&'a Path);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        let _ = integration_tests::stack::understudy(self.0)
            .args(["down", "--instance", "test"])
            .output();
    }
}

#[test]
fn everything_is_owner_only_and_nobody_inherits_what_is_not_for_him() -> Result<()> {
    let folder = TempDir::new()?;
    let recording = folder.path().join("out.wav");
    let started = carelessly(&folder, &recording)?;
    let _down = Down(folder.path());
    let launcher = started["launcher"].as_u64().context("a launcher")?;
    let limit = Instant::now() + Duration::from_secs(20);
    let status = loop {
        let status = status(folder.path())?;
        if status["state"] == "protected" || Instant::now() > limit {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    ensure!(status["state"] == "protected", "{status:#}");

    let prefix = format!("understudy.{launcher}.");
    let segments = fs::read_dir("/dev/shm")?.flatten().map(|e| e.path());
    let own = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&prefix)
    };
    let segments: Vec<PathBuf> = segments.filter(own).collect();
    assert!(
        segments.len() >= 7,
        "stage, rings, checkpoints: {segments:?}"
    );
    let mut seen = segments;
    seen.push(recording);
    for place in ["run/understudy/test", "state/understudy/test"] {
        seen.extend(all_in(&folder.path().join(place))?);
    }
    let uid = fs::metadata(folder.path())?.uid();
    for path in &seen {
        // Folders of one-shot servers come and go.
        let Ok(found) = fs::symlink_metadata(path) else {
            continue;
        };
        let wanted: &[u32] = match found.file_type() {
            kind if kind.is_dir() => &[0o700],
            kind if kind.is_socket() => &[0o600, 0o700],
            _ => &[0o600],
        };
        let mode = found.mode() & 0o7777;
        assert!(wanted.contains(&mode), "{mode:o} {}", path.display());
        assert_eq!(found.uid(), uid, "{}", path.display());
    }
    println!("FIGURE owner-only: {} files, folders, segments", seen.len());

    // The launcher, then all processes that the status lists.
    let mut checked = vec![check_descriptors("launcher", launcher, folder.path())?];
    for service in status["services"].as_array().into_iter().flatten() {
        let (Some(name), Some(pid)) = (service["name"].as_str(), service["pid"].as_u64()) else {
            continue;
        };
        checked.push(check_descriptors(name, pid, folder.path())?);
    }
    println!("FIGURE descriptors: {}", checked.join(", "));
    assert!(checked.len() >= 6, "{checked:?}");
    Ok(())
}

/// Checks that a process holds only descriptors of kinds that it needs, and at most two UDP sockets.
/// Returns the counts.
fn check_descriptors(name: &str, pid: u64, folder: &Path) -> Result<String> {
    let kind = name.split(':').next().unwrap_or(name);
    let (mut count, mut sockets) = (0, 0);
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        let target = target.to_string_lossy().into_owned();
        let local = target.strip_prefix(&folder.display().to_string());
        let local = local.unwrap_or(&target);
        count += 1;
        sockets += usize::from(target.starts_with("socket:"));
        let known = match local {
            "/dev/null" | "/state/understudy/test/understudy.log" => true,
            "/run/understudy/test/lock" => matches!(kind, "launcher" | "supervisor"),
            // Through this descriptor the supervisor syncs the name of the log to the disk.
            "/state/understudy/test" => kind == "supervisor",
            "/state/understudy/test/commands.log" => matches!(kind, "supervisor" | "worker"),
            "/out.wav" => kind == "audio-out",
            other if other.starts_with("/dev/shm/understudy.") => kind != "launcher",
            other if other.starts_with("anon_inode:") => !matches!(kind, "worker" | "launcher"),
            other => other.starts_with("socket:"),
        };
        assert!(known, "{name} holds {target}");
    }
    // Launcher and supervisor hold the OSC socket for the next gateway; the gateway reads it.
    let udp = udp_sockets(pid)?;
    let wanted = matches!(kind, "launcher" | "supervisor" | "osc-gateway");
    assert_eq!(udp > 0, wanted, "{name} holds {udp} UDP sockets");
    assert!(udp <= 2, "{name} holds {udp} UDP sockets");
    Ok(format!("{name} {count} ({sockets} sockets)"))
}

/// How many sockets of a process are UDP sockets.
fn udp_sockets(pid: u64) -> Result<usize> {
    let tables = fs::read_to_string("/proc/net/udp")? + &fs::read_to_string("/proc/net/udp6")?;
    let inodes: Vec<&str> = tables
        .lines()
        .filter_map(|line| line.split_whitespace().nth(9))
        .collect();
    let links = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    let held = links.filter_map(|entry| fs::read_link(entry.path()).ok());
    let is_udp = |target: &PathBuf| {
        let target = target.to_string_lossy();
        let inode = target.strip_prefix("socket:[");
        inode.is_some_and(|rest| inodes.contains(&rest.trim_end_matches(']')))
    };
    Ok(held.filter(is_udp).count())
}

/// The line that the supervisor sends to a client, if any.
fn answer(stream: &UnixStream) -> Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

#[test]
fn silent_visitors_are_sent_away_and_cannot_crowd_out_the_others() -> Result<()> {
    let stack = Stack::start(&["--sink", "null"])?;
    stack.wait_protected()?;
    let socket = stack.folder.path().join("run/understudy/test/control.sock");
    let begun = Instant::now();
    let silent: Vec<UnixStream> = (0..64)
        .map(|_| UnixStream::connect(&socket))
        .collect::<Result<_, _>>()?;
    // All places are taken: another client is told so, whether it has sent a request or not.
    std::thread::sleep(Duration::from_millis(100));
    let mut one_more = UnixStream::connect(&socket)?;
    let why = answer(&one_more)?;
    assert!(
        why.contains("64 connections") && why.contains("the limit"),
        "{why}"
    );
    let _ = one_more.write_all(b"\"status\"\n");
    let refused = stack.status().unwrap_err().to_string();
    assert!(refused.contains("64 connections"), "{refused}");
    // A connection that closes makes room for another one.
    let mut silent = silent;
    drop(silent.pop());
    std::thread::sleep(Duration::from_millis(50));
    stack.status()?;
    // The other clients are told the limit and disconnected.
    for stream in &mut silent {
        let why = answer(stream)?;
        assert!(why.contains("5 s") && why.contains("the limit"), "{why}");
        assert_eq!(stream.read(&mut [0])?, 0, "it was hung up");
    }
    let waited = begun.elapsed();
    println!(
        "FIGURE silent visitors sent away after {} ms",
        waited.as_millis()
    );
    assert!(waited > Duration::from_secs(4) && waited < Duration::from_secs(9));
    stack.wait_protected()
}

#[test]
fn a_stack_that_the_network_can_reach_says_so() -> Result<()> {
    let folder = TempDir::new()?;
    let port = 18_000 + std::process::id() % 900;
    let output = integration_tests::stack::understudy(folder.path())
        .args(["up", "--detach", "--instance", "test", "--sink", "null"])
        .args(["--osc", &format!("0.0.0.0:{port}")])
        .output()?;
    let _down = Down(folder.path());
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("everybody on every network"), "{said}");
    let log = fs::read_to_string(folder.path().join("state/understudy/test/understudy.log"))?;
    assert!(log.contains("everybody on every network"), "{log}");
    let stack = Stack::start(&["--sink", "null"])?;
    assert!(!stack.log().contains("everybody on"));
    Ok(())
}
