//! Misuse by a person, or a machine at its limits: the stack says what is wrong, and the music goes on.

use std::{
    fs,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use common::message::Target;
use integration_tests::{
    census::Census,
    damage::{complaints, kill, no_breaks, said, segments_of},
    ear,
    stack::{Recording, Stack, count_of, number, programs, service, text, understudy, workers},
    surgeon::Stopped,
};
use serde_json::Value;

#[test]
fn what_does_not_run_is_neither_harmed_nor_restarted() -> Result<()> {
    let stack = Stack::start(&["--sink", "null"])?;
    for verb in [
        vec!["inject", "kill", "midi-in"],
        vec!["inject", "kill", "link-in"],
        vec!["restart", "midi-in"],
        vec!["restart", "link-in"],
    ] {
        let (code, told) = said(&stack.verb(&verb)?);
        assert!(
            code == 1 && told.contains("does not run"),
            "{verb:?}: {code} {told}"
        );
    }
    for (fault, told) in [("exit:300", "0 to 255"), ("slow:1e20", "0 to 1000000")] {
        let (code, all) = said(&stack.verb(&["inject", fault, "leader"])?);
        assert!(code == 2 && all.contains(told), "{fault}: {code} {all}");
    }
    let (code, told) = said(&stack.verb(&["inject", "nan", "recorder"])?);
    assert!(code == 1 && told.contains("renders no samples"), "{told}");
    assert_eq!(stack.status()?["state"], "protected");
    Ok(())
}

#[test]
fn wrong_usage_is_one_json_value_and_hostile_names_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for words in [
        vec![],
        vec!["nonsense"],
        vec!["up", "--rate", "x"],
        vec!["restart"],
        vec!["inject", "kill"],
        vec!["status", "--instance", "a/b"],
        vec!["replay"],
    ] {
        let output = understudy(folder.path())
            .args(&words)
            .arg("--json")
            .output()?;
        let value: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{words:?}: {}", text(&output.stdout)))?;
        let told = value["error"].as_str().unwrap_or_default();
        assert!(
            !told.is_empty() && !told.contains('\n'),
            "{words:?}: {told:?}"
        );
        assert_eq!(output.status.code(), Some(2), "{words:?}");
    }
    let long = "x".repeat(33);
    for name in [
        "-x",
        "--",
        "",
        ".",
        "..",
        "a/b",
        "a b",
        "a\nb",
        "\u{1b}[2J",
        &long,
    ] {
        let option = format!("--instance={name}");
        let up = ["up", "--detach", "--sink", "null", "--osc", "127.0.0.1:0"];
        let (code, told) = said(&understudy(folder.path()).args(up).arg(option).output()?);
        assert!(
            code == 2 && told.contains("is not an instance name"),
            "{name:?}: {code} {told}"
        );
        assert!(!told.contains('\u{1b}'), "{told:?}");
    }
    let deep = folder.path().join("y".repeat(100));
    let (code, told) = said(
        &understudy(&deep)
            .current_dir(&folder)
            .args(["up", "--detach", "--sink", "null"])
            .output()?,
    );
    assert!(
        code == 1 && told.contains("XDG_RUNTIME_DIR"),
        "{code} {told}"
    );
    Ok(())
}

#[test]
fn what_is_read_is_not_written_over() -> Result<()> {
    let stack = Stack::start(&["--sink", "null"])?;
    sleep(Duration::from_millis(200));
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (log, hard, patch, score) = (at("x.log"), at("hard.log"), at("p.json"), at("s.txt"));
    stack.verb(&["patch", "save", &patch])?;
    fs::write(&score, "0 /test\n")?;
    fs::copy(stack.down()?.command_log, &log)?;
    fs::hard_link(&log, &hard)?;
    std::os::unix::fs::symlink(&log, at("soft.log"))?;
    let kept = [&log, &patch, &score].map(|path| fs::read(path).unwrap_or_default());
    let render = |output: &str| {
        vec![
            "render",
            &patch,
            "--score",
            &score,
            "--seconds",
            "0.1",
            "-o",
            output,
        ]
        .into_iter()
        .map(String::from)
        .collect::<Vec<_>>()
    };
    let replay = |output: &str| ["replay", &log, "-o", output].map(String::from).to_vec();
    let mut tries = vec![replay(&log), replay(&hard), replay(&at("soft.log"))];
    tries.extend([render(&patch), render(&score)]);
    tries.push(
        [
            "up",
            "--detach",
            "--instance",
            "other",
            "--osc",
            "127.0.0.1:0",
            "--patch",
            &patch,
            "--sink",
            &format!("wav:{patch}"),
        ]
        .map(String::from)
        .to_vec(),
    );
    for words in tries {
        let (code, told) = said(&understudy(folder.path()).args(&words).output()?);
        assert!(
            code == 2 && told.contains("would overwrite the input"),
            "{words:?}: {code} {told}"
        );
    }
    assert_eq!(
        kept,
        [&log, &patch, &score].map(|path| fs::read(path).unwrap_or_default())
    );
    let (code, told) = said(
        &understudy(folder.path())
            .args(replay(&at("out.wav")))
            .output()?,
    );
    assert_eq!(code, 0, "{told}");
    Ok(())
}

#[test]
fn a_sink_that_cannot_be_written_is_silent_and_heals() -> Result<()> {
    let (stack, recording) = Stack::start_wav(&[])?;
    stack.wait_protected()?;
    fs::remove_file(&recording.wav)?;
    fs::create_dir(&recording.wav)?;
    kill(stack.pid("audio-out")?)?;
    stack.wait_for("silence", |s| s["state"] == "silent")?;
    stack.wait_for("a complaint", |s| complaints(s).contains("audio-out"))?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        let status = stack.status()?;
        assert_eq!(status["state"], "silent", "{status:#}");
        let told = complaints(&status);
        assert!(told.contains("audio-out"), "{status:#}");
        sleep(Duration::from_millis(20));
    }
    let told = complaints(&stack.status()?);
    assert!(
        told.contains("play cursor") && told.contains("cannot write"),
        "{told}"
    );
    fs::remove_dir(&recording.wav)?;
    stack.wait_for("sound", |s| s["state"] == "protected")
}

#[test]
fn a_command_log_that_was_moved_away_and_cannot_be_begun_anew_is_complained_of() -> Result<()> {
    let stack = Stack::start(&["--sink", "null"])?;
    stack.wait_protected()?;
    let (log, next) = (
        stack.paths().command_log(),
        stack.paths().next_command_log(),
    );
    fs::create_dir(&next)?;
    fs::rename(&log, log.with_extension("away"))?;
    stack.wait_for("a complaint", |s| complaints(s).contains("command log"))?;
    fs::remove_dir(&next)?;
    stack.wait_for_patiently("no complaint", |s| {
        !complaints(s).contains("command log") && s["log"]["segment"] == 1
    })
}

/// The runtime folder is removed, as at a logout. If `blocked`, something else takes its place for a while.
fn without_runtime_folder(blocked: bool) -> Result<()> {
    let (stack, recording) = Stack::start_wav(&[])?;
    stack.wait_protected()?;
    let steady = stack.steady_tone()?;
    let run = stack.folder.path().join("run");
    let shared = stack.shared()?;
    let before = Census::of(&stack)?.pids;
    let launcher = stack.launcher()?;
    fs::remove_dir_all(&run)?;
    if blocked {
        fs::write(&run, "no folder")?;
        // A worker dies while no process can connect a link: a replacement starts all the same, and stays.
        let slot = shared.stage.preference().slot;
        let pid = before[&format!("worker:{slot}")] as u32;
        let life = shared.stage.slot(slot).incarnation();
        kill(pid)?;
        let limit = Instant::now() + Duration::from_secs(10);
        while shared.stage.slot(slot).incarnation() == life || !shared.stage.protected() {
            ensure!(Instant::now() < limit, "no replacement\n{}", stack.log());
            sleep(Duration::from_millis(5));
        }
        let life = shared.stage.slot(slot).incarnation();
        sleep(Duration::from_secs(4));
        assert_eq!(
            shared.stage.slot(slot).incarnation(),
            life,
            "{}",
            stack.log()
        );
        let up = ["up", "--detach", "--sink", "null", "--osc", "127.0.0.1:0"];
        let (code, told) = said(&stack.verb(&up)?);
        assert!(code != 0, "a second instance: {told}");
        fs::remove_file(&run)?;
    }
    let up = ["up", "--detach", "--sink", "null", "--osc", "127.0.0.1:0"];
    let (code, told) = said(&stack.verb(&up)?);
    assert!(
        code == 1 && told.contains("already running"),
        "{code} {told}"
    );
    let limit = Instant::now() + Duration::from_secs(10);
    while stack.status().is_err() || stack.launcher().is_err() {
        ensure!(Instant::now() < limit, "no names\n{}", stack.log());
        sleep(Duration::from_millis(20));
    }
    assert_eq!(stack.launcher()?, launcher);
    stack.wait_protected()?;
    stack.kill(Target::Leader)?;
    stack.wait_protected()?;
    sleep(Duration::from_millis(100));
    let status = stack.status()?;
    stack.down()?;
    no_breaks(&recording, steady)?;
    assert_eq!(number(&status, "/audio/underruns")?, 0);
    assert!(!platform::living::is_launcher(launcher));
    Ok(())
}

#[test]
fn the_runtime_folder_is_made_anew() -> Result<()> {
    without_runtime_folder(false)
}

#[test]
fn without_a_runtime_folder_the_music_is_protected_all_the_same() -> Result<()> {
    without_runtime_folder(true)
}

#[test]
fn down_finds_a_launcher_that_has_no_names() -> Result<()> {
    let stack = Stack::start(&["--sink", "null"])?;
    let launcher = stack.launcher()?;
    let run = stack.folder.path().join("run");
    fs::remove_dir_all(&run)?;
    fs::write(&run, "no folder")?;
    let (code, told) = said(&stack.verb(&["down"])?);
    assert!(
        code == 0 && !platform::living::is_launcher(launcher),
        "{code} {told}"
    );
    Ok(())
}

#[test]
fn history_outlives_the_supervisor() -> Result<()> {
    let stack = Stack::start(&["--sink", "null"])?;
    stack.osc_send("/mod/sine/freq", Some(330.0))?;
    for _ in 0..3 {
        stack.wait_protected()?;
        stack.kill(Target::Leader)?;
    }
    stack.wait_protected()?;
    stack.verb(&["restart", "recorder"])?;
    stack.wait_for("all replacements", |s| {
        let list = s["replacements"].as_array();
        list.is_some_and(|list| list.iter().all(|r| r["ready_ms"].is_number()))
    })?;
    sleep(Duration::from_millis(1_100));
    let before = stack.status()?;
    let cores = std::thread::available_parallelism()?.get() as f64;
    for time in 1..=3 {
        kill(stack.pid("supervisor")?)?;
        let after = stack.status()?;
        for place in [
            "/switches",
            "/replacements",
            "/commands/received",
            "/commands/rejected",
            "/commands/late",
            "/divergences",
        ] {
            assert_eq!(before.pointer(place), after.pointer(place), "{place}");
        }
        let (own, others): (Vec<_>, Vec<_>) = after["services"]
            .as_array()
            .context("services")?
            .iter()
            .partition(|s| s["name"] == "supervisor");
        assert_eq!(own[0]["restarts"], time);
        for entry in others {
            let name = entry["name"].as_str().unwrap_or_default();
            let earlier = service(&before, name).context("gone")?;
            assert_eq!(entry["restarts"], earlier["restarts"], "{name}");
            let up = |s: &Value| s["uptime_s"].as_f64().unwrap_or(-1.0);
            assert!(up(entry) >= up(earlier) - 0.1, "{entry} {earlier}");
        }
        for _ in 0..40 {
            for entry in stack.status()?["services"].as_array().into_iter().flatten() {
                let percent = entry["cpu_percent"].as_f64().unwrap_or(-1.0);
                assert!((0.0..=100.0 * cores + 0.1).contains(&percent), "{entry}");
            }
            sleep(Duration::from_millis(5));
        }
    }
    let replaced: u64 = workers(&before)
        .filter_map(|s| s["restarts"].as_u64())
        .sum();
    assert!(
        replaced == 3 && before["switches"].as_array().map_or(0, Vec::len) == 3,
        "{before:#}"
    );
    Ok(())
}

#[test]
fn the_dead_leave_nothing_though_nobody_reaps_them() -> Result<()> {
    let stack = Stack::start(&["--sink", "null"])?;
    let first = stack.first_launcher()?;
    let mut pids: Vec<u32> = Census::of(&stack)?
        .pids
        .into_values()
        .map(|pid| pid as u32)
        .collect();
    pids.push(stack.launcher()?);
    let stopped: Vec<Stopped> = pids
        .iter()
        .map(|pid| Stopped::stop(*pid))
        .collect::<Result<_>>()?;
    pids.iter().try_for_each(|pid| kill(*pid))?;
    drop(stopped);
    assert!(!segments_of(first).is_empty());
    let up = ["up", "--detach", "--sink", "null", "--osc", "127.0.0.1:0"];
    let (code, told) = said(&stack.verb(&up)?);
    assert_eq!(code, 0, "{told}");
    let next = stack.first_launcher()?;
    assert_eq!(segments_of(first), Vec::<String>::new());
    let (code, told) = said(&stack.verb(&["down"])?);
    assert_eq!(code, 0, "{told}");
    assert_eq!(segments_of(next), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_limit_that_is_too_low_is_named_at_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = programs().join("understudy").display().to_string();
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )?;
    let up = |limits: &str, sink: &str| -> Result<(i32, String)> {
        let line = format!(
            "{limits} exec {program} up --detach --instance test --osc 127.0.0.1:0 --sink {sink}"
        );
        let mut command = Command::new("bash");
        command
            .args(["-c", &line])
            .env("XDG_RUNTIME_DIR", folder.path().join("run"))
            .env("XDG_STATE_HOME", folder.path().join("state"));
        Ok(said(&command.output()?))
    };
    for (limits, named) in [
        ("ulimit -n 16;", "open files"),
        ("ulimit -n 32;", "open files"),
        ("ulimit -v 100000;", "address space"),
        ("ulimit -d 10000;", "data"),
        ("ulimit -f 100;", "size of a file"),
    ] {
        let (code, told) = up(limits, "null")?;
        assert!(code == 1 && told.contains(named), "{limits}: {code} {told}");
        assert!(
            !told.contains("panicked") && told.lines().count() == 1,
            "{told}"
        );
    }
    let (code, told) = up("", &format!("wav:{}", pipe.display()))?;
    assert!(code == 1 && told.contains("is a pipe"), "{told}");
    // The stack can do with these limits, or raises them itself.
    for limits in [
        "ulimit -l 0;",
        "ulimit -Sn 16;",
        "ulimit -r 0;",
        "ulimit -c 0;",
    ] {
        let (code, told) = up(limits, "null")?;
        assert_eq!(code, 0, "{limits}: {told}");
        let down = understudy(folder.path())
            .args(["down", "--instance", "test"])
            .output()?;
        assert_eq!(said(&down).0, 0, "{}", said(&down).1);
    }
    let log = fs::read_to_string(folder.path().join("state/understudy/test/understudy.log"))?;
    assert!(!log.contains("panicked"), "{log}");
    Ok(())
}

/// audio-out is killed at each point between taking a block and writing it to tape and file, while blocks
/// are concealed.
#[test]
fn recording_and_sink_agree_wherever_audio_out_dies() -> Result<()> {
    let times = count_of("UNDERSTUDY_RUNS", 1) * 6;
    let mut concealed = 0;
    for point in ["taken", "taped", "written", "noted"] {
        let recording = Recording::in_folder(tempfile::tempdir()?);
        let sink = format!("wav:{}", recording.wav.display());
        let place = format!("{point}#{}", if point.starts_with('t') { 170 } else { 40 });
        let failpoint = [("UNDERSTUDY_AUDIO_FAILPOINT", place)];
        // The stops last longer than the lead.
        let options = ["--sink", &sink, "--lead", "4"];
        let stack = Stack::start_in(tempfile::tempdir()?, &options, &failpoint)?;
        stack.wait_for_patiently("protection", |s| s["state"] == "protected")?;
        stack.osc_send("/test", None)?;
        let begun = stack.verb(&["record", "start", "take.wav"])?;
        assert!(begun.status.success(), "{}", said(&begun).1);
        let both = ["worker:0", "worker:1"].map(|worker| stack.pid(worker));
        for _ in 0..times {
            let stopped = [
                Stopped::stop(*both[0].as_ref().unwrap())?,
                Stopped::stop(*both[1].as_ref().unwrap())?,
            ];
            sleep(Duration::from_millis(60));
            drop(stopped);
            sleep(Duration::from_millis(150));
        }
        let ended = stack.verb(&["record", "stop"])?;
        assert!(ended.status.success(), "{}", said(&ended).1);
        let status = stack.status()?;
        let from = number(&status, "/recording/from_frame")? as usize * 2;
        concealed += number(&status, "/audio/concealed_blocks")?;
        let restarts = service(&status, "audio-out").and_then(|s| s["restarts"].as_u64());
        let remains = stack.down()?;
        let taped = ear::read_wav(&remains.recordings().join("take.wav"))?;
        let heard = ear::read_wav(&recording.wav)?;
        let beside = heard
            .get(from..from + taped.len())
            .context("the sink is shorter")?;
        let differing = taped
            .iter()
            .zip(beside)
            .filter(|(t, h)| t.to_bits() != h.to_bits())
            .count();
        println!(
            "FIGURE audio-out killed {restarts:?} times at {point}: samples of {} in which recording and sink differ {differing}",
            taped.len()
        );
        assert!(restarts >= Some(2) && !taped.is_empty(), "{restarts:?}");
        assert_eq!(differing, 0, "{point}");
    }
    assert!(concealed > 0);
    Ok(())
}
