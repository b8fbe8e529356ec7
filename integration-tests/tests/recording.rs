//! Recording: whichever process is killed, the file holds every sample that was played, once.

use std::{
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use common::{
    message::{Fault, Request, SIGKILL, Service, Target},
    recording::Wish,
};
use integration_tests::{
    ear,
    faulty_disk::SmallDisk,
    random::Random,
    stack::{AILMENTS, Stack, count_of, number, service, text},
};
use serde_json::Value;

const RECORDER: Target = Target::Service(Service::Recorder);
const AUDIO_OUT: Target = Target::Service(Service::AudioOut);
const SUPERVISOR: Target = Target::Service(Service::Supervisor);

/// Begins a recording of that name; returns the path of its file and its first frame.
fn record(stack: &Stack, name: &str) -> Result<(PathBuf, usize)> {
    let status = stack.ask(&Request::Record(Wish::Start(Some(name.into()))))?;
    let file = status["file"].as_str().context("a file")?;
    Ok((file.into(), number(&status, "/from_frame")? as usize))
}

fn recording(stack: &Stack) -> Result<Value> {
    stack.ask(&Request::RecordStatus)
}

/// Kills a service that is not a worker and waits for its replacement.
fn kill(stack: &Stack, target: Target, name: &str) -> Result<()> {
    harm(stack, Fault::Signal(SIGKILL), target, name)
}

fn harm(stack: &Stack, fault: Fault, target: Target, name: &str) -> Result<()> {
    let mut before = None;
    stack.wait_for(name, |status| {
        before = service(status, name).and_then(|s| s["pid"].as_u64());
        before.is_some()
    })?;
    stack.inject(fault, target)?;
    stack.wait_for(&format!("another {name}"), |status| {
        service(status, name).is_some_and(|s| s["pid"].as_u64() != before && s["state"] == "ready")
    })
}

/// A sample as 24 bits represent it.
fn quantized(sample: f32) -> i32 {
    let full = f64::from(1 << 23);
    (f64::from(sample) * full).round().clamp(-full, full - 1.0) as i32
}

/// Compares a recording with what the sink wrote from that frame on. Returns how many samples were
/// recorded, and how many of them differ, are missing or are surplus.
fn compare(played: &Path, recorded: &Path, from: usize, channels: usize) -> Result<(usize, usize)> {
    let played = ear::read_wav(played)?;
    let expected = played
        .get(from * channels..)
        .context("so much was played")?;
    let (differing, count) = match recorded.extension().is_some_and(|e| e == "flac") {
        true => {
            let found = ear::read_flac(recorded)?;
            let pairs = found.iter().zip(expected);
            let wrong = pairs.filter(|(found, played)| **found != quantized(**played));
            (wrong.count(), found.len())
        }
        false => {
            let found = ear::read_wav(recorded)?;
            (ear::differing(&found, expected), found.len())
        }
    };
    Ok((count, differing + count.abs_diff(expected.len())))
}

/// As [`compare`], for a recording that ends before the music does.
fn compare_head(played: &Path, recorded: &Path, from: usize) -> Result<(usize, usize)> {
    let (count, differing) = compare(played, recorded, from, 2)?;
    let more = ear::read_wav(played)?.len() - 2 * from - count;
    Ok((count, differing - more))
}

/// With a device's timing: every second the recorder is killed, and then a worker, audio-out or the
/// recorder once more. Commands are sent, and the file is read again and again.
fn killed_every_second(name: &str, seconds: u64) -> Result<()> {
    let (stack, played) = Stack::start_wav(&[])?;
    let mut random = Random::seeded(41);
    stack.wait_protected()?;
    stack.osc_send("/gate/adsr", Some(1.0))?;
    let (file, from) = record(&stack, name)?;
    let begun = Instant::now();
    let (mut kills, mut others, mut readable) = (0_u64, 0, 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        // One kill a second, at any time within it, however long the others took to come back.
        let due = begun + Duration::from_millis(1_000 * kills + random.below(1_000));
        sleep(due.saturating_duration_since(Instant::now()));
        stack.change_something(&mut random)?;
        kill(&stack, RECORDER, "recorder")?;
        kills += 1;
        match kills % 4 {
            0 => stack.kill(Target::Leader)?,
            1 => stack.kill(Target::Follower)?,
            2 => kill(&stack, AUDIO_OUT, "audio-out")?,
            // Killed again at once, before it can continue its work.
            _ => stack.inject(Fault::Signal(SIGKILL), RECORDER)?,
        }
        others += 1;
        stack.wait_protected()?;
        // The file can be read while it is written; by then it holds samples.
        readable += match name.ends_with(".flac") {
            true => ear::read_flac(&file).map_or(0, |_| 1),
            false => ear::read_wav(&file).map_or(0, |_| 1),
        };
    }
    let status = recording(&stack)?;
    let concealed = number(&stack.status()?, "/audio/concealed_blocks")?;
    let remains = stack.down()?;
    let file = remains.recordings().join(name);
    let (samples, wrong) = compare(&played.wav, &file, from, 2)?;
    println!(
        "FIGURE {name}: {seconds} s, recorder killed {kills} times and others {others} times: samples {samples}, missing, doubled or differing {wrong}, missing by its own count {}, readable {readable} of {kills}, concealed {concealed}",
        status["missing_frames"]
    );
    ensure!(samples as u64 > seconds * 48_000, "it was recorded");
    assert_eq!((wrong, number(&status, "/missing_frames")?), (0, 0));
    assert_eq!(readable, kills, "readable at every moment");
    Ok(())
}

#[test]
fn a_recorder_that_is_killed_every_second_misses_and_doubles_no_sample() -> Result<()> {
    killed_every_second("take.wav", count_of("UNDERSTUDY_RECORD_SECONDS", 20))
}

#[test]
fn a_compressed_recording_misses_and_doubles_no_sample() -> Result<()> {
    killed_every_second("take.flac", 8)
}

/// In freewheel, the music waits for the recorder, however much faster it could be rendered.
#[test]
fn a_recording_without_a_clock_misses_and_doubles_no_sample() -> Result<()> {
    for name in ["fast.wav", "fast.flac"] {
        let (stack, played) = Stack::start_wav(&["--freewheel", "--channels", "1"])?;
        let mut random = Random::seeded(42);
        stack.wait_protected()?;
        stack.osc_send("/gate/adsr", Some(1.0))?;
        let (_, from) = record(&stack, name)?;
        let kills = count_of("UNDERSTUDY_KILLS", 20);
        for number in 0..kills {
            stack.change_something(&mut random)?;
            sleep(Duration::from_micros(random.below(20_000)));
            kill(&stack, RECORDER, "recorder")?;
            match number % 4 {
                0 => kill(&stack, AUDIO_OUT, "audio-out")?,
                // A worker that was overruled has just exited by itself.
                1 if stack.kill(Target::Leader).is_err() => stack.expect_replacements(1),
                _ => {}
            }
            stack.wait_protected()?;
        }
        let missing = number(&recording(&stack)?, "/missing_frames")?;
        let remains = stack.down()?;
        let file = remains.recordings().join(name);
        let (samples, wrong) = compare(&played.wav, &file, from, 1)?;
        println!(
            "FIGURE {name} without a clock, recorder killed {kills} times: samples {samples}, missing, doubled or differing {wrong}, missing by its own count {missing}"
        );
        assert_eq!((wrong, missing), (0, 0));
    }
    Ok(())
}

/// Whatever fault the recorder has, and even if the supervisor dies, the recording goes on and ends where
/// it was asked to.
#[test]
fn a_recording_outlives_a_recorder_that_hangs_and_a_supervisor_that_dies() -> Result<()> {
    let (stack, played) = Stack::start_wav(&[])?;
    let steady = stack.steady_tone()?;
    let (file, from) = record(&stack, "night")?;
    assert_eq!(file.file_name().unwrap_or_default(), "night.wav");
    for fault in AILMENTS {
        harm(&stack, fault, RECORDER, "recorder")?;
    }
    let supervisor = stack.pid("supervisor")?;
    // A killed supervisor cannot answer.
    let murder = Request::Inject(Fault::Signal(SIGKILL), SUPERVISOR);
    let _ = stack.ask_within(&murder, Duration::from_millis(300));
    stack.wait_for_patiently("another supervisor", |s| {
        service(s, "supervisor").is_some_and(|s| s["pid"] != supervisor)
    })?;
    assert_eq!(recording(&stack)?["recording"], true);
    kill(&stack, RECORDER, "recorder")?;
    let refused = stack.ask(&Request::Record(Wish::Start(None)));
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("night.wav is being recorded")
    );
    let status = stack.ask(&Request::Record(Wish::Stop))?;
    assert_eq!(
        (&status["recording"], &status["trouble"]),
        (&false.into(), &Value::Null)
    );
    let frames = number(&status, "/frames")? as usize;
    sleep(Duration::from_millis(200));
    let remains = stack.down()?;
    let found = ear::read_wav(&remains.recordings().join("night.wav"))?;
    let heard = ear::read_wav(&played.wav)?;
    let differing = ear::differing(&found, &heard[2 * from..]);
    let left: Vec<f32> = found.iter().step_by(2).copied().collect();
    let breaks = ear::breaks(&left[steady.saturating_sub(from)..], 440.0, 48_000.0);
    println!(
        "FIGURE recorder hung, stopped, deaf, crashed, supervisor killed: samples {}, differing {differing}, breaks {}, missing {}",
        found.len(),
        breaks.len(),
        status["missing_frames"]
    );
    assert_eq!((differing, breaks.len(), found.len()), (0, 0, 2 * frames));
    assert!(
        heard.len() > 2 * (from + frames),
        "it ended before the music"
    );
    assert_eq!(number(&status, "/missing_frames")?, 0);
    Ok(())
}

/// The disk fills during a recording: the status reports it, and the file ends with what fits and can be
/// read. As soon as there is room, the recording goes on with the very next frame.
#[test]
fn a_disk_that_fills_holds_the_recording_up_until_there_is_room() -> Result<()> {
    for name in ["long.wav", "long.flac"] {
        let folder = tempfile::tempdir()?;
        let recordings = folder.path().join("state/understudy/test/recordings");
        let Some(disk) = SmallDisk::at(&recordings, 2 << 20)? else {
            println!("not tested here: to mount a small disk takes root");
            return Ok(());
        };
        let ballast = recordings.join("ballast");
        std::fs::write(&ballast, vec![1; (2 << 20) - (256 << 10)])?;
        let played = tempfile::tempdir()?;
        let wav = played.path().join("played.wav");
        let sink = format!("wav:{}", wav.display());
        let stack = Stack::start_in(folder, &["--sink", &sink], &[])?;
        stack.steady_tone()?;
        let (file, from) = record(&stack, name)?;
        let trouble = |stack: &Stack| -> Result<String> {
            let status = recording(stack)?;
            Ok(status["trouble"].as_str().unwrap_or_default().to_owned())
        };
        stack.wait_for("the disk to be full", |_| {
            trouble(&stack).is_ok_and(|why| why.contains("No space left"))
        })?;
        // A recorder that is killed on a full disk finds the disk still full.
        kill(&stack, RECORDER, "recorder")?;
        let held = played.path().join(format!("held-{name}"));
        std::fs::copy(&file, &held)?;
        std::fs::remove_file(&ballast)?;
        stack.wait_for("room again", |_| {
            trouble(&stack).is_ok_and(|why| why.is_empty())
        })?;
        let stopped = stack.ask(&Request::Record(Wish::Stop))?;
        let whole = played.path().join(name);
        std::fs::copy(&file, &whole)?;
        drop(disk);
        stack.down()?;
        let (fits, spoiled) = compare_head(&wav, &held, from)?;
        let (all, wrong) = compare_head(&wav, &whole, from)?;
        println!(
            "FIGURE {name} on a disk that fills: {fits} samples fit, wrong {spoiled}; with room again {all}, wrong {wrong}, missing by its own count {}",
            stopped["missing_frames"]
        );
        assert_eq!(
            (spoiled, wrong, number(&stopped, "/missing_frames")?),
            (0, 0, 0)
        );
        ensure!(fits > 0 && all > fits, "it was recorded, and went on");
        assert_eq!(all as u64, 2 * number(&stopped, "/frames")?);
    }
    Ok(())
}

/// Requests that cannot be met are refused with what is expected, and the music is not affected.
#[test]
fn what_cannot_be_recorded_is_said_and_changes_nothing() -> Result<()> {
    let stack = Stack::start(&["--sink", "null"])?;
    stack.wait_protected()?;
    let start = |name: &str| -> Result<String> {
        let asked = stack.ask(&Request::Record(Wish::Start(Some(name.into()))));
        Ok(asked.err().context(name.to_owned())?.to_string())
    };
    let stopped = stack
        .ask(&Request::Record(Wish::Stop))
        .unwrap_err()
        .to_string();
    assert!(stopped.contains("nothing is being recorded"), "{stopped}");
    for name in ["../out", "/tmp/out", ".out", "", "out\n"] {
        let why = start(name)?;
        assert!(why.contains("is not a recording's name"), "{name}: {why}");
    }
    assert!(start("out.mp3")?.contains("ends with .wav or .flac"));
    // By OSC, with the reply `/fail`.
    stack.raw_send(b"/record/start\0\0\0,s\0\0../out\0\0")?;
    sleep(Duration::from_millis(200));
    let fails = stack.replies("/fail");
    assert!(
        fails
            .iter()
            .any(|f| f.contains("is not a recording's name")),
        "{fails:?}"
    );
    stack.osc_send("/record/status", None)?;
    sleep(Duration::from_millis(200));
    assert_eq!(stack.replies("/record/status.reply").len(), 1);
    // The folder of recordings is missing.
    let folder = stack.folder.path().join("state/understudy/test/recordings");
    std::fs::remove_dir(&folder)?;
    let why = start("out")?;
    assert!(why.contains("out.wav cannot be written"), "{why}");
    let said = stack.verb(&["record", "status"])?;
    assert!(text(&said.stdout).contains("cannot be written"), "{said:?}");
    assert!(stack.log().contains("recorder: ") && stack.log().contains("cannot be written"));
    let status = stack.status()?;
    assert_eq!(
        (&status["state"], number(&status, "/audio/underruns")?),
        (&"protected".into(), 0)
    );
    Ok(())
}

/// A recording made by the command line, and its stems: what each module brings into `out` by itself adds
/// up to the mix.
#[test]
fn stems_of_what_was_played_add_up_to_what_was_recorded() -> Result<()> {
    let stack = Stack::start(&["--sink", "null"])?;
    stack.wait_protected()?;
    let started = stack.verb(&["record", "start", "mix.wav", "--json"])?;
    let status: Value = serde_json::from_slice(&started.stdout)?;
    let from = number(&status, "/from_frame")? as usize;
    stack.osc_send("/test", None)?;
    for line in [
        ["/patch/create", "low", "sine"],
        ["/patch/connect", "low", "out"],
        ["/patch/connect", "sine", "out.right"],
    ] {
        let done = stack.verb(&["send", line[0], line[1], line[2]])?;
        assert!(done.status.success(), "{done:?}");
    }
    assert!(stack.verb(&["send", "/patch/commit"])?.status.success());
    sleep(Duration::from_millis(300));
    let stopped = stack.verb(&["record", "stop"])?;
    assert!(
        text(&stopped.stdout).starts_with("recorded "),
        "{stopped:?}"
    );
    let file: PathBuf = status["file"].as_str().context("a file")?.into();
    let recorded = ear::read_wav(&file)?;
    sleep(Duration::from_millis(1_100));
    let folder = stack.folder.path().join("stems");
    let folder_text = folder.display().to_string();
    let done = stack.verb(&["replay", "--stems", &folder_text, "--json"])?;
    let value: Value = serde_json::from_slice(&done.stdout).with_context(|| format!("{done:?}"))?;
    let mut stems: Vec<String> = Vec::new();
    let mut sum = vec![0.0_f64; recorded.len()];
    for path in value["stems"].as_array().into_iter().flatten() {
        let path: PathBuf = path.as_str().unwrap_or_default().into();
        stems.push(
            path.file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        );
        let stem = ear::read_wav(&path)?;
        for (sum, sample) in sum.iter_mut().zip(&stem[2 * from..]) {
            *sum += f64::from(*sample);
        }
    }
    let distance = sum
        .iter()
        .zip(&recorded)
        .map(|(sum, sample)| (sum - f64::from(*sample)).abs());
    let distance = distance.fold(0.0, f64::max);
    println!("FIGURE stems {stems:?}: farthest from the mix {distance:.1e}");
    assert!(
        ["filter", "low", "sine"]
            .iter()
            .all(|id| stems.iter().any(|stem| stem == id))
    );
    assert!(distance < 1e-6 && ear::peak(&recorded) > 0.3);
    Ok(())
}
