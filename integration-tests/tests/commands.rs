//! Commands: from other programs' OSC clients, around every kill, and with every kind of error.

use std::{path::Path, process::Command, time::Duration};

use anyhow::Result;
use common::message::{Fault, Request, Target};
use integration_tests::{
    ear,
    random::Random,
    stack::{Stack, number, text, understudy},
};

fn freq(stack: &Stack) -> Result<f64> {
    let patch = stack.ask(&Request::PatchShow)?;
    Ok(patch["modules"][0]["params"]["freq"]
        .as_f64()
        .unwrap_or(f64::NAN))
}

/// `/mod/<module>/<param>` and `/gate/<module>`, sent by liblo and by python-osc.
#[test]
fn clients_that_are_not_ours_are_understood() -> Result<()> {
    let stack = Stack::start(&["--sink", "null"])?;
    let (host, port) = stack.osc().split_once(':').unwrap_or_default();
    let sent = Command::new("oscsend")
        .args([host, port, "/mod/sine/freq", "f", "330"])
        .status()?;
    assert!(sent.success(), "oscsend; ./test.sh installs liblo-tools");
    stack.wait_for("the frequency", |_| {
        freq(&stack).is_ok_and(|hz| hz == 330.0)
    })?;
    let script = format!(
        "from pythonosc.udp_client import SimpleUDPClient as C\nc=C('{host}',{port})\nc.send_message('/mod/sine/freq', 550)\nc.send_message('/gate/adsr', True)"
    );
    let sent = Command::new("python3").args(["-c", &script]).output()?;
    assert!(
        sent.status.success(),
        "python-osc; ./test.sh installs it: {}",
        text(&sent.stderr)
    );
    stack.wait_for("both commands of python-osc", |status| {
        number(status, "/commands/applied").is_ok_and(|n| n == 3)
    })?;
    assert_eq!(freq(&stack)?, 550.0);
    Ok(())
}

/// Gate values that mean off: 0, 0.0, F, "off". Each of them leads to silence.
#[test]
fn what_means_off_is_off() -> Result<()> {
    for off in [
        &b",i\0\0\0\0\0\0"[..],
        b",f\0\0\0\0\0\0",
        b",F\0\0",
        b",s\0\0off\0",
    ] {
        let (stack, recording) = Stack::start_wav(&[])?;
        stack.osc_send("/mod/adsr/release", Some(5.0))?;
        stack.osc_send("/gate/adsr", Some(1.0))?;
        std::thread::sleep(Duration::from_millis(150));
        let mut datagram = b"/gate/adsr\0\0".to_vec();
        datagram.extend(off);
        stack.raw_send(&datagram)?;
        stack.wait_for("three commands", |s| {
            number(s, "/commands/applied").is_ok_and(|n| n == 3)
        })?;
        std::thread::sleep(Duration::from_millis(250));
        drop(stack);
        let heard = ear::read_wav(&recording.wav)?;
        assert!(ear::peak(&heard) > 0.3, "it was on");
        assert!(
            ear::peak(&heard[heard.len() - 2_000..]) < 1e-4,
            "{off:?} is off"
        );
    }
    Ok(())
}

/// A parameter that is sent at any time around a kill is applied by the worker that plays
/// afterwards.
#[test]
fn commands_around_a_kill_reach_whoever_plays_afterwards() -> Result<()> {
    let stack = Stack::start(&["--sink", "null"])?;
    let mut random = Random::seeded(7);
    for round in 0..60_u32 {
        stack.wait_protected()?;
        let hz = 200.0 + f64::from(round);
        let target = if random.below(2) == 0 {
            Target::Leader
        } else {
            Target::Follower
        };
        if random.below(2) == 0 {
            stack.osc_send("/mod/sine/freq", Some(hz as f32))?;
            std::thread::sleep(Duration::from_micros(random.below(1_500)));
            stack.kill(target)?;
        } else {
            stack.kill(target)?;
            std::thread::sleep(Duration::from_micros(random.below(6_000)));
            stack.osc_send("/mod/sine/freq", Some(hz as f32))?;
        }
        let accepted = u64::from(round) + 1;
        stack.wait_for("the command to be applied", |status| {
            number(status, "/commands/applied").is_ok_and(|n| n == accepted)
        })?;
        assert_eq!(freq(&stack)?, hz);
    }
    Ok(())
}

/// Hostile bytes change nothing, lose nothing and kill no process.
#[test]
fn bad_datagrams_change_nothing() -> Result<()> {
    let stack = Stack::start(&["--sink", "null"])?;
    let before = stack.status()?;
    let mut random = Random::seeded(11);
    stack.raw_send(&[])?;
    stack.raw_send(&vec![b'['; 60_000])?;
    stack.raw_send(&vec![0; 65_000])?;
    let mut nested = b"/mod/sine/freq\0\0,".to_vec();
    nested.extend(vec![b'['; 4_000]);
    stack.raw_send(&nested)?;
    stack.osc_send("/mod/sine/freq", Some(f32::NAN))?;
    stack.osc_send("/mod/sine/freq", Some(f32::INFINITY))?;
    stack.osc_send("/mod/sine", Some(1.0))?;
    stack.osc_send("/no/such/thing", Some(1.0))?;
    for round in 0..2_000 {
        if round % 100 == 0 {
            // Wait, since a full socket drops good datagrams too, which this test is not about.
            std::thread::sleep(Duration::from_millis(20));
        }
        let length = random.below(200) as usize;
        let bytes: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        stack.raw_send(&bytes)?;
    }
    stack.osc_send("/mod/sine/freq", Some(333.0))?;
    stack.wait_for("the good message after them", |_| {
        freq(&stack).is_ok_and(|hz| hz == 333.0)
    })?;
    let after = stack.status()?;
    assert_eq!(number(&after, "/commands/accepted")?, 1);
    let pids = |status: &serde_json::Value| -> Vec<String> {
        status["services"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|s| s["pid"].to_string())
            .collect()
    };
    assert_eq!(pids(&before), pids(&after), "no process died");
    Ok(())
}

/// Every fault of a worker, in leader and follower: the music goes on, and the stack is protected
/// again.
#[test]
fn every_fault_of_a_worker_is_survived() -> Result<()> {
    let (stack, recording) = Stack::start_wav(&[])?;
    let steady = stack.steady_tone()?;
    let faults = [
        "kill",
        "term",
        "segv",
        "abort",
        "panic",
        "exit:3",
        "hang",
        "stop",
        "oom",
        "mute-control",
        "drop-control",
        "nan",
        "flip",
    ];
    for name in faults {
        for target in [Target::Follower, Target::Leader] {
            stack.wait_protected()?;
            let fault: Fault = name.parse().map_err(anyhow::Error::msg)?;
            println!(
                "{name} into the {target:?} at block {}",
                stack.status()?["audio"]["play_cursor"]
            );
            stack.inject(fault, target)?;
            stack.expect_replacements(1);
        }
    }
    // These faults leave the worker alive and correct, only slower.
    for name in ["cont", "slow:1"] {
        stack.wait_protected()?;
        stack.inject(name.parse().map_err(anyhow::Error::msg)?, Target::Leader)?;
    }
    stack.wait_protected()?;
    std::thread::sleep(Duration::from_millis(200));
    let status = stack.status()?;
    drop(stack);
    assert!(
        number(&status, "/divergences")? >= 2,
        "flipped bits are counted"
    );
    let left = recording.left_from(steady)?;
    let breaks = ear::breaks(&left, 440.0, 48_000.0);
    println!(
        "FIGURE {} faults on workers: breaks {}, underruns {}",
        faults.len() * 2,
        breaks.len(),
        status["audio"]["underruns"]
    );
    assert!(breaks.is_empty(), "breaks at {breaks:?}");
    Ok(())
}

/// A start that cannot succeed reports the reason in one line, and leaves nothing behind.
#[test]
fn a_start_that_cannot_be_says_why() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = |options: &[&str]| -> Result<(Option<i32>, String)> {
        let output = understudy(folder.path())
            .args(["up", "--detach", "--instance", "bad"])
            .args(options)
            .output()?;
        Ok((output.status.code(), text(&output.stderr)))
    };
    let taken = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for (options, told) in [
        (vec!["--osc", &address, "--sink", "null"], "in use"),
        (
            vec![
                "--osc",
                "127.0.0.1:0",
                "--sink",
                "wav:/no/such/folder/x.wav",
            ],
            "/no/such/folder",
        ),
        (
            vec!["--osc", "127.0.0.1:0", "--sink", "device:nonsense"],
            "nonsense",
        ),
        (
            vec!["--osc", "127.0.0.1:0", "--sink", "nonsense"],
            "nonsense",
        ),
        (
            vec!["--osc", "127.0.0.1:0", "--sink", "null", "--block", "7"],
            "block",
        ),
    ] {
        let (code, why) = up(&options)?;
        println!("{options:?}: {code:?} {why}");
        assert!(
            matches!(code, Some(1 | 2)) && why.contains(told),
            "{options:?}: {code:?} {why}"
        );
    }
    let output = understudy(folder.path())
        .args(["status", "--instance", "bad"])
        .output()?;
    assert_eq!(output.status.code(), Some(3));
    let left: Vec<_> = std::fs::read_dir("/dev/shm")?
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().contains(".bad."))
        .collect();
    assert!(
        left.is_empty()
            && !Path::new(folder.path())
                .join("run/understudy/bad/lock")
                .exists(),
        "{left:?}"
    );
    Ok(())
}

/// A resumed instance has its last patch and values again, segments of a dead instance are removed,
/// and a running instance is not started twice.
#[test]
fn an_instance_is_resumed_swept_after_and_not_started_twice() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let run = |arguments: &[&str]| -> Result<(Option<i32>, String)> {
        let output = understudy(folder.path())
            .args(arguments)
            .args(["--instance", "again"])
            .output()?;
        Ok((
            output.status.code(),
            text(&output.stdout) + &text(&output.stderr),
        ))
    };
    let stale = Path::new("/dev/shm/understudy.4194304.dead.stage");
    std::fs::write(stale, "left by a dead instance")?;
    let up = [
        "up",
        "--detach",
        "--sink",
        "null",
        "--osc",
        "127.0.0.1:19871",
    ];
    assert_eq!(run(&up)?.0, Some(0));
    assert!(!stale.exists(), "swept");
    let (code, why) = run(&up)?;
    assert!(code == Some(1) && why.contains("running"), "{code:?} {why}");
    for _ in 0..2 {
        let (code, told) = run(&["send", "/mod/sine/freq", "555"])?;
        assert_eq!(code, Some(0), "{told}");
    }
    let (code, why) = run(&["send", "/mod/sin/freq", "555"])?;
    assert!(
        code == Some(1) && why.contains("did you mean \"sine\""),
        "{code:?} {why}"
    );
    assert_eq!(run(&["down"])?.0, Some(0));
    assert_eq!(run(&["status"])?.0, Some(3));
    let resumed = [&up[..], &["--resume"]].concat();
    assert_eq!(run(&resumed)?.0, Some(0));
    let (_, patch) = run(&["patch", "show"])?;
    assert!(patch.contains("555"), "{patch}");
    assert_eq!(run(&["down"])?.0, Some(0));
    Ok(())
}
