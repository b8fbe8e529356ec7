//! Everything at once: real processes, OSC commands, random faults in every service. In the end
//! everything is counted. `./chaos.sh --minutes M --seed S` runs the test for longer.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::Result;
use common::message::{Fault, SIGKILL, SIGSTOP, SIGTERM, Service, Target};
use integration_tests::{
    census::Census,
    random::Random,
    stack::{Stack, count_of, datagram, number, service},
};

const WORKER_FAULTS: [Fault; 13] = [
    Fault::Signal(SIGKILL),
    Fault::Signal(SIGTERM),
    Fault::Signal(SIGSTOP),
    Fault::Segv,
    Fault::Abort,
    Fault::Panic,
    Fault::Exit(3),
    Fault::Hang,
    Fault::Nan,
    Fault::Flip,
    Fault::MuteControl,
    Fault::DropControl,
    Fault::Oom,
];
const SERVICE_FAULTS: [Fault; 7] = [
    Fault::Signal(SIGKILL),
    Fault::Signal(SIGTERM),
    Fault::Signal(SIGSTOP),
    Fault::Segv,
    Fault::Panic,
    Fault::Hang,
    Fault::Exit(3),
];

/// Waits until all services run and both workers are ready.
fn well(stack: &Stack) -> Result<()> {
    stack.wait_for_patiently("all to be well", |s| {
        let up = |name| service(s, name).is_some_and(|s| s["state"] == "ready");
        s["state"] == "protected" && up("audio-out") && up("osc-gateway")
    })
}

#[test]
fn faults_on_every_service_lose_nothing_and_leave_nothing() -> Result<()> {
    let seconds = count_of("UNDERSTUDY_CHAOS_SECONDS", 60);
    let (stack, recording) = Stack::start_wav(&[])?;
    let mut random = Random::seeded(51);
    well(&stack)?;
    stack.steady_tone()?;
    let stop = Arc::new(AtomicBool::new(false));
    let sender = {
        let (osc, stop) = (stack.osc().to_owned(), Arc::clone(&stop));
        thread::spawn(move || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            let mut sent = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                sent += 1;
                let bytes = datagram("/mod/adsr/attack", Some((sent % 100_000) as f32 / 16.0));
                socket.send_to(&bytes, &osc).expect("it is sent");
                sleep(Duration::from_millis(5));
            }
            sent
        })
    };
    let begun = Instant::now();
    let (mut faults, mut flips) = (0_u64, 0);
    let mut before = None;
    while begun.elapsed() < Duration::from_secs(seconds) {
        let (fault, target) = match random.below(4) {
            0 => (SERVICE_FAULTS[random.below(7) as usize], Service::AudioOut),
            1 => (
                SERVICE_FAULTS[random.below(7) as usize],
                Service::OscGateway,
            ),
            2 => (
                SERVICE_FAULTS[random.below(7) as usize],
                Service::Supervisor,
            ),
            _ => {
                let slot = common::units::Slot::ALL[random.below(2) as usize];
                (
                    WORKER_FAULTS[random.below(13) as usize],
                    Service::Worker(slot),
                )
            }
        };
        well(&stack)?;
        if before.is_none() && faults >= 12 {
            sleep(Duration::from_millis(2_500));
            before = Some(Census::of(&stack)?);
        }
        sleep(Duration::from_micros(random.below(20_000)));
        println!(
            "{:7.2} s {fault:?} on {target}",
            begun.elapsed().as_secs_f64()
        );
        // A killed supervisor cannot answer.
        let before_pid = stack.pid(&target.to_string()).unwrap_or_default();
        let request = common::message::Request::Inject(fault, Target::Service(target));
        let _ = stack.ask_within(&request, Duration::from_millis(300));
        faults += 1;
        flips += usize::from(matches!(fault, Fault::Flip));
        // Whatever the fault was, it is noticed, and the process is replaced.
        stack.wait_for_patiently(&format!("another {target} after {fault:?}"), |s| {
            service(s, &target.to_string()).is_some_and(|s| s["pid"] != before_pid)
        })?;
    }
    stop.store(true, Ordering::Relaxed);
    let sent = sender.join().expect("the sender");
    well(&stack)?;
    stack.wait_for_patiently("all commands to be applied", |s| {
        number(s, "/commands/applied").is_ok_and(|n| n >= u64::from(sent) + 2)
    })?;
    sleep(Duration::from_millis(2_500));
    well(&stack)?;
    let after = Census::of(&stack)?;
    let status = stack.status()?;
    let log = stack.log();
    let remains = stack.down()?;
    let values = remains.attacks()?;
    let expected: Vec<u32> = (1..=sent).map(|n| n % 100_000).collect();
    let heard = integration_tests::ear::read_wav(&recording.wav)?;
    let concealed = number(&status, "/audio/concealed_blocks")?;
    let grown = before
        .map(|before| after.grown_since(&before))
        .unwrap_or_default();
    let mut rendered = 0;
    remains.replay(|block| rendered += block.len())?;
    let differing = match concealed {
        0 => remains.compare(&recording.wav)?.1,
        // Concealed blocks are not in the log, so only the lengths can be compared.
        blocks => heard.len().abs_diff(rendered + blocks as usize * 256),
    };
    println!(
        "FIGURE chaos of {seconds} s: {faults} faults; commands sent {sent}, in the log {}; blocks concealed {concealed}; samples that differ from the replay {differing} of {rendered}, bits flipped {flips}; grown: {}",
        values.len(),
        grown.len()
    );
    assert!(grown.is_empty(), "{grown:#?}\n{log}");
    assert_eq!(values, expected, "{log}");
    // A block with a flipped bit that is due before the referee's verdict is played: one wrong sample.
    // This is rare.
    assert!(differing <= flips, "{log}");
    assert_eq!(concealed, 0, "{log}");
    Ok(())
}
