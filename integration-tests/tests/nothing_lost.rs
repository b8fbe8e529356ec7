//! The second promise: every received command is applied exactly once and in order, whichever process dies.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use common::message::{Fault, SIGKILL, Service, Target};
use integration_tests::{
    ear,
    random::Random,
    stack::{Stack, count_of, datagram, number},
};

/// Sends numbered messages, a thousand a second, until told to stop; returns how many were sent.
fn send_numbers(osc: &str, stop: &Arc<AtomicBool>) -> thread::JoinHandle<u32> {
    let (osc, stop) = (osc.to_owned(), Arc::clone(stop));
    thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let start = Instant::now();
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            let due = start.elapsed().as_millis() as u32;
            while sent < due {
                sent += 1;
                // In sixteenths: each value is exact, up to 160,000 of them.
                let bytes = datagram("/mod/adsr/attack", Some(sent as f32 / 16.0));
                socket.send_to(&bytes, &osc).expect("it is sent");
            }
            sleep(Duration::from_micros(500));
        }
        sent
    })
}

#[test]
fn no_command_is_lost_or_doubled_while_supervisor_and_gateway_are_killed() -> Result<()> {
    let kills = count_of("UNDERSTUDY_KILLS", 200);
    let (stack, recording) = Stack::start_wav(&[])?;
    let mut random = Random::seeded(31);
    stack.wait_protected()?;
    let steady = stack.steady_tone()?;
    let stop = Arc::new(AtomicBool::new(false));
    let sender = send_numbers(stack.osc(), &stop);
    for _ in 0..kills {
        sleep(Duration::from_micros(20_000 + random.below(60_000)));
        let service = match random.below(2) {
            0 => Service::OscGateway,
            _ => Service::Supervisor,
        };
        // A killed supervisor cannot answer. A process that is just being started is killed once it runs.
        let _ = stack.inject(Fault::Signal(SIGKILL), Target::Service(service));
    }
    stop.store(true, Ordering::Relaxed);
    let sent = sender.join().expect("the sender");
    stack.wait_for_patiently("all commands to be applied", |s| {
        number(s, "/commands/applied").is_ok_and(|n| n >= u64::from(sent) + 2)
    })?;
    sleep(Duration::from_millis(200));
    let status = stack.status()?;
    let log = stack.log();
    let remains = stack.down()?;
    let values = remains.attacks()?;
    let (compared, differing) = remains.compare(&recording.wav)?;
    let breaks = ear::breaks(&recording.left_from(steady)?, 440.0, 48_000.0).len();
    let expected: Vec<u32> = (1..=sent).collect();
    let mut once = values.clone();
    once.sort_unstable();
    once.dedup();
    println!(
        "FIGURE supervisor and gateway killed {kills} times at 1,000 messages/s: sent {sent}, lost {}, doubled {}, dropped by the kernel {}; breaks {breaks}, concealed {}, samples that differ {differing} of {compared}",
        sent as usize - once.len(),
        values.len() - once.len(),
        status["commands"]["dropped_by_kernel"],
        status["audio"]["concealed_blocks"]
    );
    assert_eq!(values, expected, "{log}");
    assert_eq!((breaks, differing), (0, 0));
    assert_eq!(number(&status, "/audio/concealed_blocks")?, 0);
    Ok(())
}

/// Senders that together send up to a given rate, until they are dropped.
struct Flood {
    sockets: Arc<Vec<UdpSocket>>,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
    begun: Instant,
}

impl Flood {
    fn of(senders: usize, a_second: u64, osc: &str) -> Result<Self> {
        let socket = || -> Result<UdpSocket> {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
            socket.connect(osc)?;
            Ok(socket)
        };
        let sockets = Arc::new((0..senders).map(|_| socket()).collect::<Result<Vec<_>>>()?);
        let mut flood = Self {
            sockets,
            stop: Arc::default(),
            sent: Arc::default(),
            threads: Vec::new(),
            begun: Instant::now(),
        };
        // A few threads send for all sockets; more threads would only wait for each other.
        for part in 0..senders.min(4) {
            let (sockets, stop, sent) = (
                Arc::clone(&flood.sockets),
                Arc::clone(&flood.stop),
                Arc::clone(&flood.sent),
            );
            flood.threads.push(thread::spawn(move || {
                let bytes = datagram("/mod/adsr/decay", Some(20.0));
                let own: Vec<&UdpSocket> = sockets.iter().skip(part).step_by(4).collect();
                let start = Instant::now();
                let mut turn = 0;
                while !stop.load(Ordering::Relaxed) {
                    let due = start.elapsed().as_micros() as u64 * a_second / 1_000_000;
                    while turn < due * own.len() as u64 / sockets.len() as u64 {
                        // A datagram that the filter refuses shows as an error now and then.
                        let _ = own[turn as usize % own.len()].send(&bytes);
                        turn += 1;
                        sent.fetch_add(1, Ordering::Relaxed);
                        if turn % 256 == 0 && stop.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                    sleep(Duration::from_micros(200));
                }
            }));
        }
        Ok(flood)
    }

    /// Stops the senders; returns how many datagrams were sent per second.
    fn stop(&mut self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a flood");
        }
        self.sent.load(Ordering::Relaxed) as f64 / self.begun.elapsed().as_secs_f64()
    }

    /// How long it takes until the first sender is accepted again, and whether it was told that it was
    /// refused.
    fn heard_again(&self) -> Result<(Duration, bool)> {
        let socket = &self.sockets[0];
        let begun = Instant::now();
        let mut buffer = [0; 2_048];
        let mut told = false;
        while begun.elapsed() < Duration::from_secs(10) {
            socket.send(b"/sync\0\0\0,i\0\0\0\0\0\x07")?;
            while let Ok(length) = socket.recv(&mut buffer) {
                let reply = String::from_utf8_lossy(&buffer[..length]).into_owned();
                told |= reply.starts_with("/fail") && reply.contains("too fast");
                if reply.starts_with("/synced") {
                    return Ok((begun.elapsed(), told));
                }
            }
        }
        bail!("a sender that has stopped flooding is not heard")
    }
}

/// Some senders flood, one sends little. The sound does not break; the quiet sender's messages all arrive in
/// order, even while the gateway is killed; and the flooding senders are accepted again once they have
/// stopped.
#[test]
fn a_flood_from_one_sender_or_a_hundred_starves_nobody() -> Result<()> {
    let (stack, recording) = Stack::start_wav(&[])?;
    stack.wait_protected()?;
    let steady = stack.steady_tone()?;
    let mut sent = 0_u32;
    let mut figures = Vec::new();
    for (senders, a_second, kills) in [
        (1, 100_000, 0),
        (1, 1_000_000, 2),
        (10, 1_000_000, 0),
        (100, 100_000, 0),
        (100, 1_000_000, 2),
    ] {
        let before = stack.status()?;
        let mut flood = Flood::of(senders, a_second, stack.osc())?;
        let mut killed = 0;
        for turn in 0..200 {
            sent += 1;
            stack.osc_send("/mod/adsr/attack", Some(sent as f32 / 16.0))?;
            sleep(Duration::from_millis(10));
            if turn % 70 == 60 && killed < kills {
                killed += 1;
                let gateway = Target::Service(Service::OscGateway);
                let _ = stack.inject(Fault::Signal(SIGKILL), gateway);
            }
        }
        let rate = flood.stop();
        let after = stack.status()?;
        let grown =
            |path: &str| -> Result<u64> { Ok(number(&after, path)? - number(&before, path)?) };
        let (heard, told) = flood.heard_again()?;
        let refused = grown("/commands/rejected")?;
        if refused > 100_000 {
            ensure!(told, "who was refused {refused} messages was not told so");
        }
        figures.push(format!(
            "FIGURE flood of {rate:.0} messages/s by {senders}, gateway killed {killed} times: accepted in all {}, refused {refused}, dropped by the kernel {}; a flooding sender heard again after {:.1} s",
            grown("/commands/accepted")?,
            grown("/commands/dropped_by_kernel")?,
            heard.as_secs_f64(),
        ));
    }
    stack.wait_for_patiently("what is accepted to be applied", |s| {
        number(s, "/commands/applied").ok() == number(s, "/commands/accepted").ok()
    })?;
    sleep(Duration::from_millis(200));
    let status = stack.status()?;
    let log = stack.log();
    let remains = stack.down()?;
    let values = remains.attacks()?;
    let (_, differing) = remains.compare(&recording.wav)?;
    let breaks = ear::breaks(&recording.left_from(steady)?, 440.0, 48_000.0).len();
    figures.iter().for_each(|figure| println!("{figure}"));
    println!(
        "FIGURE under all floods: the quiet sender's {sent} messages, lost {}; breaks {breaks}, concealed {}, samples that differ {differing}",
        sent as usize - values.len().min(sent as usize),
        status["audio"]["concealed_blocks"]
    );
    assert_eq!(values, (1..=sent).collect::<Vec<_>>(), "{log}");
    assert_eq!((breaks, differing), (0, 0));
    Ok(())
}
