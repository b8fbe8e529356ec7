//! Deaths and hangs of the others: audio-out, gateway, supervisor.

use std::{thread::sleep, time::Duration};

use anyhow::Result;
use common::message::{Fault, Request, SIGKILL, SIGSTOP, Service, Target};
use integration_tests::{
    ear,
    random::Random,
    stack::{Stack, count_of, number, service},
};

const AUDIO_OUT: Target = Target::Service(Service::AudioOut);
const GATEWAY: Target = Target::Service(Service::OscGateway);
const SUPERVISOR: Target = Target::Service(Service::Supervisor);

/// Waits until the service runs as another process than `pid`, and has said that it can work.
fn wait_for_another(stack: &Stack, name: &str, pid: u64) -> Result<()> {
    stack.wait_for(&format!("another {name}"), |status| {
        service(status, name).is_some_and(|s| s["pid"] != pid && s["state"] == "ready")
    })
}

fn pid(stack: &Stack, name: &str) -> Result<u64> {
    let mut found = None;
    stack.wait_for(name, |status| {
        found = service(status, name).and_then(|s| s["pid"].as_u64());
        found.is_some()
    })?;
    Ok(found.unwrap_or_default())
}

/// The file holds every block once, in order, whatever was killed; and it can be read meanwhile.
fn audio_out_killed(options: &[&str], kills: u64, clocked: bool) -> Result<()> {
    let (stack, recording) = Stack::start_wav(options)?;
    let mut random = Random::seeded(21);
    stack.wait_protected()?;
    let steady = stack.steady_tone()?;
    for kill in 0..kills {
        let before = pid(&stack, "audio-out")?;
        sleep(Duration::from_micros(random.below(30_000)));
        stack.inject(Fault::Signal(SIGKILL), AUDIO_OUT)?;
        if kill % 8 == 0 {
            ear::read_wav(&recording.wav)?;
        }
        wait_for_another(&stack, "audio-out", before)?;
    }
    sleep(Duration::from_millis(100));
    let status = stack.status()?;
    let log = stack.log();
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    let breaks = match clocked {
        true => ear::breaks(&recording.left_from(steady)?, 440.0, 48_000.0).len(),
        false => 0,
    };
    println!(
        "FIGURE audio-out killed {kills} times{}: samples that differ {differing} of {compared}, breaks {breaks}, last gap {} ms",
        if clocked { "" } else { " without a clock" },
        status["audio"]["last_gap_ms"]
    );
    assert_eq!((differing, breaks), (0, 0), "{log}");
    Ok(())
}

#[test]
fn a_killed_audio_out_goes_on_with_the_very_next_block() -> Result<()> {
    audio_out_killed(&[], count_of("UNDERSTUDY_KILLS", 50), true)
}

#[test]
fn a_killed_audio_out_goes_on_with_the_very_next_block_without_a_clock() -> Result<()> {
    let kills = count_of("UNDERSTUDY_KILLS", 50);
    audio_out_killed(&["--freewheel", "--channels", "1"], kills, false)
}

/// Who hangs, is stopped or turns deaf is ended and started again; the tone goes on, but for the one
/// that plays it.
#[test]
fn services_that_hang_are_started_again() -> Result<()> {
    let (stack, recording) = Stack::start_wav(&[])?;
    stack.wait_protected()?;
    let steady = stack.steady_tone()?;
    for fault in [
        Fault::Hang,
        Fault::Signal(SIGSTOP),
        Fault::MuteControl,
        Fault::DropControl,
        Fault::Segv,
        Fault::Panic,
        Fault::Exit(3),
    ] {
        for (target, name) in [(AUDIO_OUT, "audio-out"), (GATEWAY, "osc-gateway")] {
            if (target, fault) == (GATEWAY, Fault::DropControl) {
                // It seeks a new link by itself.
                stack.inject(fault, target)?;
                continue;
            }
            let before = pid(&stack, name)?;
            stack.inject(fault, target)?;
            wait_for_another(&stack, name, before)?;
        }
    }
    sleep(Duration::from_millis(100));
    stack.osc_send("/mod/sine/gain", Some(0.5))?;
    stack.wait_for("the last command", |s| {
        number(s, "/commands/applied").is_ok_and(|n| n == 3)
    })?;
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    let breaks = ear::breaks(&recording.left_from(steady)?, 440.0, 48_000.0).len();
    println!(
        "FIGURE 7 faults on audio-out and gateway each: samples that differ {differing} of {compared}, breaks in what was played {breaks}"
    );
    assert_eq!(differing, 0);
    Ok(())
}

/// A supervisor that is killed, stopped or spins is replaced, and all goes on as if nothing were.
#[test]
fn a_supervisor_that_dies_or_hangs_is_replaced() -> Result<()> {
    let (stack, recording) = Stack::start_wav(&[])?;
    stack.wait_protected()?;
    let steady = stack.steady_tone()?;
    for (round, fault) in [
        Fault::Signal(SIGKILL),
        Fault::Segv,
        Fault::Signal(SIGSTOP),
        Fault::Hang,
    ]
    .into_iter()
    .enumerate()
    {
        let before = pid(&stack, "supervisor")?;
        // Who is struck down cannot answer.
        let _ = stack.ask_within(
            &Request::Inject(fault, SUPERVISOR),
            Duration::from_millis(300),
        );
        stack.wait_for_patiently("another supervisor", |s| {
            s["state"] == "protected"
                && service(s, "supervisor").is_some_and(|s| s["pid"] != before)
        })?;
        let hz = 440.0;
        stack.osc_send("/mod/sine/freq", Some(hz))?;
        stack.wait_for("a command", |s| {
            number(s, "/commands/applied").is_ok_and(|n| n == 3 + round as u64)
        })?;
        stack.kill(Target::Leader)?;
        stack.wait_protected_anew()?;
    }
    let status = stack.status()?;
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    let breaks = ear::breaks(&recording.left_from(steady)?, 440.0, 48_000.0).len();
    println!(
        "FIGURE supervisor killed, crashed, stopped, hung, a leader killed after each: breaks {breaks}, concealed {}, samples that differ {differing} of {compared}",
        status["audio"]["concealed_blocks"]
    );
    assert_eq!((breaks, differing), (0, 0));
    Ok(())
}

/// The launcher is what starts the others again; without it the music goes on, one worker may still
/// die unheard, the state says what to do, and that does it.
#[test]
fn a_stack_without_its_launcher_plays_on_and_can_be_stopped() -> Result<()> {
    let (stack, recording) = Stack::start_wav(&["--lead", "8"])?;
    let steady = stack.steady_tone()?;
    stack.wait_protected()?;
    let launcher = stack.launcher()?.to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-9", &launcher])
            .status()?
            .success()
    );
    stack.wait_for("the state to say so", |s| {
        s["complaints"].to_string().contains("the launcher is gone")
    })?;
    stack.inject(Fault::Signal(SIGKILL), Target::Leader)?;
    std::thread::sleep(Duration::from_millis(500));
    let status = stack.status()?;
    let down = stack.verb(&["down"])?;
    assert!(down.status.success(), "{down:?}");
    assert!(stack.status().is_err(), "it is gone");
    let breaks = ear::breaks(&recording.left_from(steady)?, 440.0, 48_000.0);
    println!(
        "FIGURE launcher and leader killed: breaks {}, concealed {}",
        breaks.len(),
        status["audio"]["concealed_blocks"]
    );
    assert!(breaks.is_empty());
    assert_eq!(number(&status, "/audio/concealed_blocks")?, 0);
    let up = stack.verb(&[
        "up",
        "--detach",
        "--sink",
        "null",
        "--osc",
        stack.osc(),
        "--resume",
    ])?;
    assert!(up.status.success(), "{up:?}");
    stack.wait_protected()
}
