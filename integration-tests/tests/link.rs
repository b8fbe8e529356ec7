//! Ableton Link: another member of a session sets the tempo and starts. Each beat is played where the session
//! has it, whichever process is killed.
//!
//! The test needs programs that were built with Link: `cargo build --release --features
//! understudy-link-in/link`, and the same with `-p understudy-link-in --example peer`. It runs in a network
//! namespace of its own, so that no real session hears it.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use common::{
    message::{Fault, SIGKILL, Service, Target},
    stage::Stage,
    units::FrameIndex,
};
use integration_tests::{
    ear,
    stack::{Stack, number, programs, service},
};

/// Four beats to the bar; the first is louder.
const PATCH: &str = r#"{"version": 1, "modules": [{"id": "keys", "type": "midi_in"}, {"id": "out", "type": "out", "params": {"safety": 0}}],
    "cables": [{"from": "keys.velocity", "to": "out"}, {"from": "keys.gate", "to": "out"}],
    "sequences": [{"id": "beat", "pattern": "Xxxx", "division": 4, "gate_len": 0.3,
        "targets": [{"module": "keys", "role": "note"}]}]}"#;
/// Set if the test runs in a network namespace of its own.
const WITHIN: &str = "UNDERSTUDY_TEST_WITHIN";
const RATE: u64 = 48_000;

/// Seconds until the stack has adopted a new tempo, or until a clock that was set anew counts.
const MET: u64 = 4;

/// A beat of the session: its place in the bar, the frame that is played at that time, and the time origin.
struct Beat {
    phase: u64,
    frame: u64,
    origin: u64,
}

struct Peer {
    process: Child,
    tell: ChildStdin,
    beats: Receiver<Beat>,
}

impl Peer {
    /// Joins the session that the stack of this stage takes part in.
    fn join(program: &Path, stage: Stage<'static>) -> Result<Self> {
        let mut process = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let tell = process.stdin.take().context("no input")?;
        let said = BufReader::new(process.stdout.take().context("no output")?);
        let (hand_on, beats) = mpsc::channel();
        thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                let words: Vec<&str> = line.split(' ').collect();
                if let ["beat", phase, ntp] = words[..]
                    && let (Ok(phase), Ok(ntp)) = (phase.parse(), ntp.parse())
                {
                    let _ = hand_on.send(Beat {
                        phase,
                        frame: heard_at(&stage, ntp),
                        origin: stage.time_origin(),
                    });
                }
            }
        });
        Ok(Self {
            process,
            tell,
            beats,
        })
    }

    fn say(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.tell, "{line}")?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The frame that is played at that time: the first frame that was not rendered yet `ahead` blocks before.
fn heard_at(stage: &Stage<'_>, ntp: u64) -> u64 {
    let format = stage.format();
    let ahead = u64::from(stage.lead()) + stage.burst() + 1;
    let open = platform::realtime::timing(stage).map_or(FrameIndex(0), |timing| timing.frame(ntp));
    open.0
        .saturating_sub(ahead * u64::from(format.block_frames))
}

/// Runs this test again in a network namespace of its own; `None` if that is not possible.
fn within() -> Result<Option<bool>> {
    let alone = |what: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--net", "--map-root-user", "sh", "-c"]);
        command.arg("ip link set lo up && exec \"$@\"").arg("sh");
        command.args(what);
        command
    };
    let can = alone(&["true"]).stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let own = std::env::current_exe()?.display().to_string();
    let name = "a_sequence_plays_in_time_with_a_link_session";
    let mut command = alone(&[&own, "--exact", name, "--nocapture"]);
    Ok(Some(command.env(WITHIN, "1").status()?.success()))
}

#[test]
fn a_sequence_plays_in_time_with_a_link_session() -> Result<()> {
    let folder = programs();
    let peer = folder.join("examples/peer");
    let has_link = Command::new(folder.join("understudy-link-in"))
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_link || !peer.exists() {
        println!(
            "SKIPPED: the programs were built without Ableton Link; integration-tests/tests/link.rs says how to build them"
        );
        return Ok(());
    }
    if std::env::var_os(WITHIN).is_some() {
        return plays_in_time(&peer);
    }
    match within()? {
        None => println!("SKIPPED: no network of its own can be had here (unshare --net)"),
        Some(good) => ensure!(good, "it failed within a network of its own; see above"),
    }
    Ok(())
}

fn plays_in_time(program: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let patch = folder.path().join("beat.json");
    std::fs::write(&patch, PATCH)?;
    let patch = patch.display().to_string();
    let (stack, recording) = Stack::start_wav(&["--link", "--channels", "1", "--patch", &patch])?;
    stack.wait_for("link-in", ready)?;
    let stage = stack.shared()?.stage;
    let mut peer = Peer::join(program, stage)?;
    // Until the two members have met, and audio-out has measured its clock.
    thread::sleep(Duration::from_secs(3));
    peer.say("tempo 123")?;
    thread::sleep(Duration::from_secs(2));
    peer.say("start")?;
    thread::sleep(Duration::from_secs(5));
    for _ in 0..2 {
        stack.inject(Fault::Signal(SIGKILL), Target::Service(Service::LinkIn))?;
        thread::sleep(Duration::from_millis(700));
        stack.wait_for("another link-in", ready)?;
        thread::sleep(Duration::from_secs(4));
    }
    // The next `link-in` follows too.
    peer.say("tempo 140")?;
    let changed = heard_at(&stage, platform::realtime::ntp_now());
    thread::sleep(Duration::from_secs(8));
    let stopped = heard_at(&stage, platform::realtime::ntp_now());
    peer.say("stop")?;
    thread::sleep(Duration::from_secs(2));
    let status = stack.status()?;
    let late = number(&status, "/commands/late")?;
    let log = stack.log();
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    let heard = onsets(&ear::read_wav(&recording.wav)?);
    let beats: Vec<Beat> = peer.beats.try_iter().collect();
    let anew = beats
        .windows(2)
        .filter(|two| two[0].origin != two[1].origin);
    let mut met: Vec<u64> = anew.map(|two| two[0].frame).collect();
    met.push(changed);
    let settled = |frame: u64| {
        !met.iter()
            .any(|from| (*from..from + MET * RATE).contains(&frame))
    };
    // Compare each onset with the nearest beat of the session.
    let (mut counted, mut worst, mut other) = (0, 0, 0);
    for (onset, first) in &heard {
        if !settled(*onset) {
            continue;
        }
        let nearest = beats.iter().min_by_key(|beat| beat.frame.abs_diff(*onset));
        let nearest = nearest.context("no beats")?;
        worst = worst.max(nearest.frame.abs_diff(*onset));
        other += usize::from((nearest.phase == 0) != *first);
        counted += 1;
    }
    let first = heard.first().map_or(0, |(onset, _)| *onset);
    let last = heard.last().map_or(0, |(onset, _)| *onset);
    let ms = RATE as f64 / 1_000.0;
    let played = first.saturating_sub(RATE / 10)..last + RATE / 10;
    let theirs = beats.iter().map(|beat| beat.frame);
    let theirs = theirs.filter(|frame| played.contains(frame) && settled(*frame));
    let silent = theirs.count().abs_diff(counted);
    println!(
        "FIGURE Ableton Link, {counted} onsets, {silent} missing, at 123 and 140 beats a minute, link-in killed 2 times, the clock set anew {}: at worst {:.2} ms beside the session's beat, {other} not on the beat of the bar that they belong to, {late} late; {differing} of {compared} samples differ from the replay; played for {:.1} s",
        met.len() - 1,
        worst as f64 / ms,
        (last - first) as f64 / RATE as f64
    );
    assert!(counted > 30, "{heard:?}\n{log}");
    assert_eq!((silent, other, late, differing), (0, 0, 0, 0), "{log}");
    // `link-in` tolerates half a millisecond, and the time origin is right within a millisecond.
    assert!(worst as f64 <= 2.0 * ms, "{worst} frames\n{log}");
    assert!(last < stopped + RATE / 4, "{last} after {stopped}");
    assert!(log.matches("Start at frame").count() == 1, "{log}");
    Ok(())
}

/// Frames at which a note begins, and whether the note is an accent.
fn onsets(samples: &[f32]) -> Vec<(u64, bool)> {
    let rises = samples.windows(2).zip(1..);
    rises
        .filter(|(pair, _)| pair[1] > pair[0] && pair[1] > 1.0)
        .map(|(pair, frame)| (frame, pair[1] > 1.9))
        .collect()
}

fn ready(status: &serde_json::Value) -> bool {
    service(status, "link-in").is_some_and(|service| service["state"] == "ready")
}
