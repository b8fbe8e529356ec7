//! A log of a year: its length slows down neither a takeover nor `--resume`.

use std::{
    fs,
    net::UdpSocket,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use common::message::{Fault, Request, SIGKILL, Service, Target};
use integration_tests::{
    ear,
    stack::{Stack, count_of, datagram, text, understudy},
};
use platform::pidfd;

/// How many messages are in a bundle.
const IN_A_BUNDLE: usize = 40;

/// A bundle of many commands.
fn bundle(first: usize) -> Vec<u8> {
    let mut bytes = b"#bundle\0\0\0\0\0\0\0\0\x01".to_vec();
    for n in 0..IN_A_BUNDLE {
        let message = datagram(
            "/mod/filter/cutoff",
            Some(200.0 + (first + n) as f32 % 8_000.0),
        );
        bytes.extend((message.len() as u32).to_be_bytes());
        bytes.extend(message);
    }
    bytes
}

fn log_bytes(stack: &Stack) -> u64 {
    fs::metadata(stack.paths().command_log()).map_or(0, |file| file.len())
}

/// Sends commands until the segment in progress has `bytes` bytes.
fn grow_to(stack: &Stack, bytes: u64) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let begun = Instant::now();
    for n in 0.. {
        if log_bytes(stack) >= bytes {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < Duration::from_secs(300),
            "{} bytes",
            log_bytes(stack)
        );
        socket.send_to(&bundle(n * IN_A_BUNDLE), stack.osc())?;
        sleep(Duration::from_micros(500));
    }
    Ok(())
}

/// As many closed segments as a year leaves: hard links to one file.
fn a_year_of_closed(stack: &Stack, bytes: u64) -> Result<usize> {
    let one = stack.paths().command_log();
    let copy = one.with_extension("copy");
    let length = fs::copy(&one, &copy)?;
    let count = (bytes / length) as usize;
    for number in 0..count {
        let name = format!("commands.000000.{number:08}.log");
        fs::hard_link(&copy, one.with_file_name(name))?;
    }
    fs::remove_file(copy)?;
    Ok(count)
}

/// The time in milliseconds between each supervisor's death and the next supervisor's first answer.
fn takeovers(stack: &Stack, count: u64) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for _ in 0..count {
        stack.wait_for_patiently("protection", |s| s["state"] == "protected")?;
        // A supervisor that ends sooner after its start is restarted after a pause.
        sleep(Duration::from_millis(300));
        let old = stack.pid("supervisor")?;
        let handle = pidfd::open(old)?;
        let killed = Instant::now();
        pidfd::signal(&handle, SIGKILL)?;
        loop {
            let answer = stack.ask_within(&Request::Status, Duration::from_millis(500));
            let serves = answer.is_ok_and(|status| status["state"] != "unsupervised");
            if serves && stack.pid("supervisor").is_ok_and(|pid| pid != old) {
                break;
            }
            ensure!(
                killed.elapsed() < Duration::from_secs(20),
                "no supervisor serves"
            );
        }
        times.push(killed.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(times)
}

fn peak_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kib.context("no VmHWM")
}

#[test]
fn who_takes_over_does_not_feel_how_long_the_log_is() -> Result<()> {
    let count = count_of("UNDERSTUDY_TAKEOVERS", 5);
    let bytes = count_of("UNDERSTUDY_LOG_BYTES", 8_000_000);
    let (stack, _recording) = Stack::start_wav(&["--keep", "all"])?;
    stack.wait_protected()?;
    stack.steady_tone()?;
    let mut short = takeovers(&stack, count)?;
    grow_to(&stack, bytes)?;
    let closed = a_year_of_closed(&stack, 20_000_000_000)?;
    let mut long = takeovers(&stack, count)?;
    let peak = peak_kib(stack.pid("supervisor")?)?;
    let concealed = stack.status()?["audio"]["concealed_blocks"].clone();
    let length = log_bytes(&stack);
    let at = |times: &mut [f64], share| ear::percentile(times, share);
    println!(
        "FIGURE new supervisor, {closed} closed segments of 20 GB in all and {length} bytes in progress: serves after {:.0} / {:.0} ms (p50 / p99 of {count}), with a short log {:.0} / {:.0} ms; at most {peak} KiB; blocks concealed {concealed}",
        at(&mut long, 0.5),
        at(&mut long, 0.99),
        at(&mut short, 0.5),
        at(&mut short, 0.99),
    );
    assert!(length >= bytes && concealed == 0);
    assert!(peak < 16 << 10, "{peak} KiB");
    // Reading a log of this length from its beginning would take several times as long as
    // everything else.
    assert!(
        at(&mut long, 0.5) < 3.0 * at(&mut short, 0.5) + 20.0,
        "{long:?} {short:?}"
    );

    resumes(&stack)
}

/// The same instance is ended just after its supervisor was killed, and resumed from a recent state.
fn resumes(stack: &Stack) -> Result<()> {
    sleep(Duration::from_secs(11));
    stack.osc_send("/mod/sine/freq", Some(321.0))?;
    sleep(Duration::from_millis(100));
    let _ = stack.inject(Fault::Signal(SIGKILL), Target::Service(Service::Supervisor));
    stack.end()?;
    let begun = Instant::now();
    let folder = stack.folder.path();
    let up = [
        "up",
        "--detach",
        "--sink",
        "null",
        "--osc",
        "127.0.0.1:0",
        "--keep",
        "all",
        "--resume",
    ];
    let output = understudy(folder)
        .args(up)
        .args(["--instance", "test"])
        .output()?;
    let ready = begun.elapsed();
    ensure!(output.status.success(), "{}", text(&output.stderr));
    let patch = understudy(folder)
        .args(["patch", "show", "--instance", "test"])
        .output()?;
    let down = understudy(folder)
        .args(["down", "--instance", "test"])
        .output()?;
    ensure!(down.status.success(), "{}", text(&down.stderr));
    println!(
        "FIGURE --resume of that log: plays after {:.0} ms",
        ready.as_secs_f64() * 1_000.0
    );
    assert!(text(&patch.stdout).contains("321"), "the last value");
    Ok(())
}
