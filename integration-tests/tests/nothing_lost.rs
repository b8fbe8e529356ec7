//! The second promise: what was received is applied exactly once, in order, whoever dies.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::Result;
use common::message::{Fault, SIGKILL, Service, Target};
use integration_tests::{
    ear,
    random::Random,
    stack::{Stack, count_of, datagram, number},
};

/// Numbered messages, a thousand a second, until told to stop; returns how many were sent.
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
    let (stack, recording) = Stack::start_wav(&["--lead", "8"])?;
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
        // Who is struck down cannot answer; who is just being started is struck once it is there.
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

/// One sends as much as it can, the other little: the sound does not break, and the other one's
/// messages all arrive.
#[test]
fn a_flood_from_one_sender_starves_nobody() -> Result<()> {
    let (stack, recording) = Stack::start_wav(&["--lead", "8"])?;
    stack.wait_protected()?;
    let steady = stack.steady_tone()?;
    let stop = Arc::new(AtomicBool::new(false));
    let flooded = Arc::new(AtomicU64::new(0));
    let flood = {
        let (osc, stop, flooded) = (
            stack.osc().to_owned(),
            Arc::clone(&stop),
            Arc::clone(&flooded),
        );
        thread::spawn(move || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            let bytes = datagram("/mod/adsr/decay", Some(20.0));
            let start = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                let due = start.elapsed().as_micros() as u64 * 2 / 5;
                while flooded.load(Ordering::Relaxed) < due {
                    let _ = socket.send_to(&bytes, &osc);
                    flooded.fetch_add(1, Ordering::Relaxed);
                }
                sleep(Duration::from_micros(200));
            }
        })
    };
    let begun = Instant::now();
    let mut sent = 0_u32;
    while begun.elapsed() < Duration::from_secs(3) {
        sent += 1;
        stack.osc_send("/mod/adsr/attack", Some(sent as f32 / 16.0))?;
        sleep(Duration::from_millis(10));
    }
    stop.store(true, Ordering::Relaxed);
    flood.join().expect("the flood");
    let seconds = begun.elapsed().as_secs_f64();
    stack.wait_for_patiently("what is accepted to be applied", |s| {
        number(s, "/commands/applied").ok() == number(s, "/commands/accepted").ok()
    })?;
    sleep(Duration::from_millis(200));
    let status = stack.status()?;
    let remains = stack.down()?;
    let values = remains.attacks()?;
    let (_, differing) = remains.compare(&recording.wav)?;
    let breaks = ear::breaks(&recording.left_from(steady)?, 440.0, 48_000.0).len();
    println!(
        "FIGURE flood of {:.0} messages/s: the other sender's {sent} messages, accepted {}; accepted in all {}, refused {}, dropped by the kernel {}; breaks {breaks}, concealed {}, samples that differ {differing}",
        flooded.load(Ordering::Relaxed) as f64 / seconds,
        values.len(),
        status["commands"]["accepted"],
        status["commands"]["rejected"],
        status["commands"]["dropped_by_kernel"],
        status["audio"]["concealed_blocks"]
    );
    assert_eq!(values, (1..=sent).collect::<Vec<_>>());
    assert_eq!((breaks, differing), (0, 0));
    Ok(())
}
