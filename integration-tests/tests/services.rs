//! Deaths and hangs of processes other than workers: audio-out, gateway, supervisor, launcher.

use std::{process::Command, thread::sleep, time::Duration};

use anyhow::Result;
use common::message::{Fault, Request, SIGKILL, SIGSTOP, Service, Target};
use integration_tests::{
    census::{Census, children},
    ear,
    random::Random,
    stack::{AILMENTS, Stack, count_of, number, service},
    surgeon::Stopped,
};
use serde_json::Value;

const AUDIO_OUT: Target = Target::Service(Service::AudioOut);
const GATEWAY: Target = Target::Service(Service::OscGateway);
const SUPERVISOR: Target = Target::Service(Service::Supervisor);

/// Waits until the service is ready in another process than `pid`.
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

/// The file holds every block once and in order, whichever process is killed, and can be read meanwhile.
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

/// A service that hangs, is stopped or does not answer is ended and restarted. What is played equals the
/// replay.
#[test]
fn services_that_hang_are_started_again() -> Result<()> {
    let (stack, recording) = Stack::start_wav(&[])?;
    stack.wait_protected()?;
    let steady = stack.steady_tone()?;
    for fault in AILMENTS {
        for (target, name) in [(AUDIO_OUT, "audio-out"), (GATEWAY, "osc-gateway")] {
            if (target, fault) == (GATEWAY, Fault::DropControl) {
                // The gateway connects a new link by itself.
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

/// A supervisor that is killed, stopped or spins is replaced, and everything goes on.
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
        // A killed supervisor cannot answer.
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

/// Stops the processes, and continues them after that time.
fn pause(pids: impl IntoIterator<Item = u32>, time: Duration) -> Result<()> {
    let stopped: Result<Vec<Stopped>> = pids.into_iter().map(Stopped::stop).collect();
    let _stopped = stopped?;
    sleep(time);
    Ok(())
}

/// Launcher and supervisor, or all processes, are stopped for a while and go on: a watcher that was stopped
/// itself must not take its own absence for the silence of others.
#[test]
fn who_was_away_blames_nobody() -> Result<()> {
    const AWAY: Duration = Duration::from_millis(4_500);
    let (stack, recording) = Stack::start_wav(&[])?;
    stack.wait_protected()?;
    let steady = stack.steady_tone()?;
    let before = Census::of(&stack)?.pids;
    pause([stack.launcher()?, stack.pid("supervisor")?], AWAY)?;
    sleep(Duration::from_secs(3));
    let concealed = stack.status()?["audio"]["concealed_blocks"].clone();
    assert_eq!(Census::of(&stack)?.pids, before, "{}", stack.log());
    pause(before.values().map(|pid| *pid as u32), AWAY)?;
    sleep(Duration::from_secs(3));
    assert_eq!(Census::of(&stack)?.pids, before, "{}", stack.log());
    // Afterwards they watch as before.
    stack.kill(Target::Leader)?;
    stack.wait_protected_anew()?;
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    let breaks = ear::breaks(&recording.left_from(steady)?, 440.0, 48_000.0).len();
    println!(
        "FIGURE launcher and supervisor stopped for {} s, then everybody: none replaced, concealed {concealed} by the first, breaks {breaks}, samples that differ {differing} of {compared}",
        AWAY.as_secs_f64()
    );
    assert_eq!((concealed, differing), (Value::from(0), 0));
    Ok(())
}

fn signal(pid: u32, name: &str) -> Result<()> {
    let done = Command::new("kill")
        .args([name, &pid.to_string()])
        .status()?;
    assert!(done.success());
    Ok(())
}

/// Waits until the stack has a launcher other than `before`, no process `other`, and no complaints.
fn wait_for_another_launcher(stack: &Stack, before: u32, other: u32) -> Result<()> {
    stack.wait_for_patiently("another launcher", |status| {
        stack.launcher().is_ok_and(|pid| pid != before)
            && status["state"] == "protected"
            && status["complaints"].as_array().is_none_or(Vec::is_empty)
            && status["services"]
                .as_array()
                .is_some_and(|all| all.iter().all(|s| s["pid"] != other))
            && ["osc-gateway", "audio-out"]
                .iter()
                .all(|name| service(status, name).is_some_and(|s| s["state"] == "ready"))
    })
}

/// A process that dies right after the launcher is restarted by the next launcher. Nothing of it is heard,
/// and no command is lost.
#[test]
fn a_launcher_that_dies_is_replaced_and_so_is_who_dies_with_it() -> Result<()> {
    let kills = count_of("UNDERSTUDY_KILLS", 20);
    let (stack, recording) = Stack::start_wav(&[])?;
    let steady = stack.steady_tone()?;
    stack.wait_protected()?;
    let mut random = Random::seeded(31);
    let mut before = Census::of(&stack)?;
    let before_them = number(&stack.status()?, "/commands/applied")?;
    for kill in 0..kills {
        if kill == 1 {
            // A launcher that has adopted processes holds a handle of each.
            before = Census::of(&stack)?;
        }
        let launcher = stack.launcher()?;
        let names = ["worker:0", "worker:1", "audio-out", "osc-gateway"];
        let other = stack.pid(names[kill as usize % names.len()])?;
        let pause = Duration::from_micros(random.below(4_000));
        if kill % 5 == 4 {
            // The launcher is stopped instead of killed; the supervisor notices and kills it.
            signal(launcher, "-STOP")?;
        } else {
            signal(launcher, "-KILL")?;
        }
        sleep(pause);
        signal(other, "-KILL")?;
        stack.osc_send("/mod/filter/q", Some(0.707))?;
        wait_for_another_launcher(&stack, launcher, other)?;
        stack.wait_for("the command", |s| {
            number(s, "/commands/applied").is_ok_and(|n| n == before_them + kill + 1)
        })?;
    }
    let grown = Census::of(&stack)?.grown_since(&before);
    let status = stack.status()?;
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    let breaks = ear::breaks(&recording.left_from(steady)?, 440.0, 48_000.0).len();
    println!(
        "FIGURE launcher killed or stopped {kills} times, and another process right after it: breaks {breaks}, concealed {}, samples that differ {differing} of {compared}, commands lost 0 of {kills}, left behind {grown:?}",
        status["audio"]["concealed_blocks"]
    );
    assert_eq!((breaks, differing), (0, 0));
    assert_eq!(number(&status, "/audio/concealed_blocks")?, 0);
    assert!(grown.is_empty());
    Ok(())
}

/// Kills launcher and supervisor so that neither can restart the other.
fn kill_those_who_start_others(stack: &Stack) -> Result<()> {
    let (launcher, supervisor) = (stack.launcher()?, stack.pid("supervisor")?);
    signal(launcher, "-STOP")?;
    signal(supervisor, "-KILL")?;
    signal(launcher, "-KILL")
}

/// Launcher and supervisor are gone: the music goes on, one worker may still die unheard, and `up` takes
/// over the playing instance.
#[test]
fn an_instance_without_launcher_and_supervisor_is_taken_over() -> Result<()> {
    let (stack, recording) = Stack::start_wav(&[])?;
    let steady = stack.steady_tone()?;
    stack.wait_protected()?;
    let leader = stack.status()?["leader"].as_u64().unwrap_or_default();
    let leader = stack.pid(&format!("worker:{leader}"))?;
    kill_those_who_start_others(&stack)?;
    signal(leader, "-KILL")?;
    sleep(Duration::from_millis(300));
    assert!(stack.status().is_err(), "no supervisor answers");
    let up = stack.verb(&["up", "--detach", "--osc", stack.osc()])?;
    assert!(up.status.success(), "{up:?}");
    let said = String::from_utf8_lossy(&up.stdout);
    assert!(said.contains("playing without a launcher"), "{said}");
    stack.wait_protected()?;
    stack.osc_send("/mod/filter/q", Some(0.707))?;
    stack.wait_for("a command", |s| {
        number(s, "/commands/applied").is_ok_and(|n| n == 3)
    })?;
    let status = stack.status()?;
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    let breaks = ear::breaks(&recording.left_from(steady)?, 440.0, 48_000.0).len();
    println!(
        "FIGURE launcher, supervisor and leader killed, taken over by `up`: breaks {breaks}, concealed {}, samples that differ {differing} of {compared}",
        status["audio"]["concealed_blocks"]
    );
    assert_eq!((breaks, differing), (0, 0));
    Ok(())
}

#[test]
fn an_instance_without_launcher_and_supervisor_can_be_stopped() -> Result<()> {
    let stack = Stack::start(&["--sink", "null"])?;
    stack.wait_protected()?;
    let prefix = format!("understudy.{}.", stack.first_launcher()?);
    kill_those_who_start_others(&stack)?;
    drop(stack.down()?);
    let mut left = std::fs::read_dir("/dev/shm")?.flatten();
    assert!(!left.any(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)));
    Ok(())
}

/// How many child processes of the launcher run that program.
fn running(launcher: u32, program: &str) -> usize {
    let is_one = |pid: u32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split('\0')
            .next()
            .unwrap_or_default()
            .ends_with(program)
    };
    children(launcher).filter(|(pid, _)| is_one(*pid)).count()
}

/// Gateway and supervisor are killed together: whichever process notices the first death, there is one
/// successor and not two.
#[test]
fn gateway_and_supervisor_killed_together_have_one_successor_each() -> Result<()> {
    let kills = count_of("UNDERSTUDY_KILLS", 25);
    let (stack, _recording) = Stack::start_wav(&[])?;
    let launcher = stack.launcher()?;
    let mut random = Random::seeded(23);
    for kill in 0..kills {
        stack.wait_protected_anew()?;
        pid(&stack, "osc-gateway")?;
        let _ = stack.inject(Fault::Signal(SIGKILL), GATEWAY);
        sleep(Duration::from_micros(random.below(2_000)));
        let _ = stack.inject(Fault::Signal(SIGKILL), SUPERVISOR);
        stack.osc_send("/mod/sine/freq", Some(100.0 + kill as f32))?;
        stack.wait_for_patiently("the message after it", |status| {
            number(status, "/commands/applied").is_ok_and(|n| n == kill + 1)
        })?;
        let gateways = running(launcher, "understudy-osc-gateway");
        assert_eq!(gateways, 1, "after {kill} kills");
    }
    println!("FIGURE gateway and supervisor killed together {kills} times: one successor each");
    Ok(())
}
