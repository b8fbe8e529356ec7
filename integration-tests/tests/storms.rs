//! Storms: forty faults a second in all services at once. All commands are in the log afterwards, once; the stack is
//! protected again within seconds; and the status never says that something is heard when nothing is.
//!
//! `UNDERSTUDY_STORM_SECONDS` and `UNDERSTUDY_STORM_SEEDS` lengthen the test; `UNDERSTUDY_STORM_FIRST` is the first seed.

use std::{
    collections::BTreeSet,
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use common::{
    message::{Fault, Request, SIGKILL, SIGSTOP, SIGTERM, Service, Target},
    units::Slot,
};
use integration_tests::{
    random::Random,
    stack::{Stack, count_of, datagram},
};
use platform::{living, pidfd};

const PAUSE: Duration = Duration::from_millis(25);
/// Well above any pause between restarts. A bound of 5 s is checked by hand, on a quiet machine.
const AFTERWARDS: Duration = Duration::from_secs(20);
const FAULTS: [Fault; 8] = [
    Fault::Signal(SIGKILL),
    Fault::Signal(SIGKILL),
    Fault::Signal(SIGTERM),
    Fault::Signal(SIGSTOP),
    Fault::Segv,
    Fault::Panic,
    Fault::Hang,
    Fault::Exit(3),
];
const SERVICES: [Service; 6] = [
    Service::Supervisor,
    Service::AudioOut,
    Service::OscGateway,
    Service::Recorder,
    Service::Worker(Slot::Zero),
    Service::Worker(Slot::One),
];

/// A client that sends numbered commands, each followed by `/sync`.
struct Sender {
    socket: UdpSocket,
    sent: u32,
    /// The highest number that was acknowledged as applied and on the disk.
    acknowledged: u32,
    /// What was said about commands that were refused.
    refused: Vec<String>,
}

impl Sender {
    fn new(osc: &str) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(3)))?;
        socket.connect(osc)?;
        Ok(Self {
            socket,
            sent: 0,
            acknowledged: 0,
            refused: Vec::new(),
        })
    }

    fn command(&mut self) -> Result<()> {
        self.sent += 1;
        let value = (self.sent % 100_000) as f32 / 16.0;
        self.socket
            .send(&datagram("/mod/adsr/attack", Some(value)))?;
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let mut sync = b"/sync\0\0\0,i\0\0".to_vec();
        sync.extend(self.sent.to_be_bytes());
        self.socket.send(&sync)?;
        Ok(())
    }

    fn hear(&mut self) {
        let mut buffer = [0; 1_024];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let answer = buffer.get(..length).unwrap_or_default();
            if let Some(number) = answer.last_chunk()
                && answer.starts_with(b"/synced")
            {
                self.acknowledged = self.acknowledged.max(u32::from_be_bytes(*number));
            } else if answer.starts_with(b"/fail") {
                self.refused.push(String::from_utf8_lossy(answer).into());
            }
        }
    }

    fn send_until(mut self, stop: &AtomicBool) -> Result<Self> {
        while !stop.load(Ordering::Relaxed) {
            self.command()?;
            self.sync()?;
            self.hear();
        }
        Ok(self)
    }

    /// Waits until all commands are acknowledged. A gateway that dies loses requests for an answer: they are repeated.
    fn finish(&mut self) -> Result<()> {
        let limit = Instant::now() + AFTERWARDS;
        while self.acknowledged < self.sent {
            ensure!(Instant::now() < limit, "not all commands are acknowledged");
            self.sync()?;
            self.hear();
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Asks for the status again and again. Returns how often it was asked, and how often it said that music is heard
/// although the play cursor had stood still for far too long.
fn watch_until(stop: &AtomicBool, stack: &Stack) -> Result<(u64, u64)> {
    let stage = stack.shared()?.stage;
    let (mut asked, mut untrue) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let before = stage.cursor();
        let asking = Instant::now();
        let Ok(status) = stack.ask_within(&Request::Status, Duration::from_secs(2)) else {
            continue;
        };
        asked += 1;
        let said_heard = matches!(status["state"].as_str(), Some("protected" | "degraded"));
        // The cursor stood still for the whole second before the answer, and the answer came at once.
        let still = platform::realtime::monotonic_ns().saturating_sub(stage.moved_at());
        if said_heard
            && stage.cursor() == before
            && still > 1_000_000_000
            && asking.elapsed() < Duration::from_millis(500)
        {
            untrue += 1;
            println!("said {} after {still} ns without a block", status["state"]);
        }
        sleep(Duration::from_millis(10));
    }
    Ok((asked, untrue))
}

/// Injects a fault. A signal is sent directly; the supervisor passes on all other faults. The answer is ignored,
/// since the supervisor may be dead or the target itself.
fn strike(stack: &Stack, fault: Fault, target: Service) {
    let Fault::Signal(signal) = fault else {
        let request = Request::Inject(fault, Target::Service(target));
        let _ = stack.ask_within(&request, PAUSE);
        return;
    };
    for pid in pids(stack, &[target]) {
        let _ = pidfd::open(pid).and_then(|handle| pidfd::signal(&handle, signal));
    }
}

/// Runs one storm.
fn storm(seed: u64, seconds: u64) -> Result<()> {
    let stack = Stack::start(&["--sink", "null"])?;
    stack.wait_protected()?;
    let mut random = Random::seeded(seed);
    let stop = Arc::new(AtomicBool::new(false));
    let (osc, told) = (stack.osc().to_owned(), Arc::clone(&stop));
    let sender = Sender::new(&osc)?;
    let sender = thread::spawn(move || sender.send_until(&told));
    let (faults, asked, untrue) = thread::scope(|scope| -> Result<_> {
        let watcher = scope.spawn(|| watch_until(&stop, &stack));
        let begun = Instant::now();
        let mut faults = 0_u64;
        while begun.elapsed() < Duration::from_secs(seconds) {
            let fault = FAULTS[random.below(FAULTS.len() as u64) as usize];
            let target = SERVICES[random.below(SERVICES.len() as u64) as usize];
            strike(&stack, fault, target);
            faults += 1;
            sleep(
                (PAUSE * faults as u32)
                    .saturating_sub(begun.elapsed())
                    .min(PAUSE),
            );
        }
        stop.store(true, Ordering::Relaxed);
        let (asked, untrue) = watcher.join().ok().context("the watcher")??;
        Ok((faults, asked, untrue))
    })?;
    let over = Instant::now();
    stack.wait_for_patiently("protection after the storm", |s| s["state"] == "protected")?;
    let protected = over.elapsed();
    let mut sender = sender.join().ok().context("the sender")??;
    let acknowledged = sender.acknowledged;
    sender.finish()?;
    let values = stack.down()?.attacks()?;
    let kept: BTreeSet<u32> = values.iter().copied().collect();
    let sent = 1..=sender.sent;
    let lost: Vec<u32> = sent.filter(|n| !kept.contains(&(n % 100_000))).collect();
    let wrong: Vec<_> = values.windows(2).filter(|p| p[0] >= p[1]).collect();
    println!(
        "FIGURE storm of {seconds} s, seed {seed}: {faults} faults; commands sent {}, acknowledged meanwhile {acknowledged}, refused {}, lost {}, doubled or overtaken {}; protected {:.1} s after it; asked for the status {asked} times, untrue {untrue}",
        sender.sent,
        sender.refused.len(),
        lost.len(),
        wrong.len(),
        protected.as_secs_f64()
    );
    assert!(
        lost.is_empty() && wrong.is_empty(),
        "{lost:?} {wrong:?} {:?}",
        sender.refused
    );
    assert_eq!(untrue, 0);
    assert!(protected < AFTERWARDS, "{protected:?}");
    Ok(())
}

#[test]
fn a_storm_on_every_service_loses_nothing_and_the_status_is_true() -> Result<()> {
    let seconds = count_of("UNDERSTUDY_STORM_SECONDS", 5);
    let first = count_of("UNDERSTUDY_STORM_FIRST", 1);
    for seed in first..first + count_of("UNDERSTUDY_STORM_SEEDS", 1) {
        storm(seed, seconds)?;
    }
    Ok(())
}

/// Spinning real-time threads, more of them than processors, would keep all other processes from running for ever.
#[test]
fn real_time_threads_that_spin_all_at_once_are_replaced() -> Result<()> {
    let stack = Stack::start(&["--sink", "null"])?;
    let spinning = [
        Service::Worker(Slot::Zero),
        Service::Worker(Slot::One),
        Service::AudioOut,
    ];
    for round in 1..=3 {
        stack.wait_for_patiently("protection", |s| s["state"] == "protected")?;
        let before = pids(&stack, &spinning);
        assert_eq!(before.len(), spinning.len());
        for target in spinning {
            let request = Request::Inject(Fault::Hang, Target::Service(target));
            let _ = stack.ask_within(&request, PAUSE);
        }
        stack.wait_for_patiently("other processes", |s| {
            let now = pids(&stack, &spinning);
            s["state"] == "protected" && before.iter().all(|pid| !now.contains(pid))
        })?;
        println!("FIGURE both workers and audio-out spin, round {round}: all are replaced");
    }
    Ok(())
}

fn pids(stack: &Stack, services: &[Service]) -> Vec<u32> {
    let living = living::of(stack.paths()).into_iter().map(|l| l.child);
    let wanted = living.filter(|child| services.contains(&child.service));
    wanted.map(|child| child.pid).collect()
}
