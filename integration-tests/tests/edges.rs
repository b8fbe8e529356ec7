//! Events within one frame keep their order and their edges. Every opening of a gate is a strike, for each
//! module type in the catalogue that takes a gate, by OSC, score, sequence and MIDI. A leader that is killed in
//! that block loses none of them.
//!
//! `UNDERSTUDY_ROUNDS` is the number of rounds (default 6).

use std::{
    fs::{self, OpenOptions},
    hint::spin_loop,
    io::Write,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use common::{message::SIGKILL, units::Slot};
use engine::catalog::{self, ModuleType};
use integration_tests::stack::{Recording, Stack, count_of, text, understudy};
use platform::{pidfd, shared::Shared};
use rosc::{OscBundle, OscMessage, OscPacket, OscTime, OscType};
use serde_json::{Value, json};

const RATE: u32 = 48_000;
/// So quiet that neither limiter nor mute changes the sound.
const GAIN: f64 = 0.04;
/// The keyboard, whose gate is connected to all types.
const KEYS: &str = "keys";

/// The module types that take a gate.
fn takers() -> Vec<&'static ModuleType> {
    let types = catalog::all().iter();
    types.filter(|kind| kind.takes_gate).collect()
}

fn id_of(kind: &ModuleType) -> String {
    format!("t_{}", kind.name)
}

/// The output at which strikes are counted.
fn output_of(kind: &ModuleType) -> &'static str {
    let named = |name| kind.outputs.iter().copied().find(|output| *output == name);
    let found = named("env").or_else(|| named("gate"));
    found.unwrap_or(kind.outputs[0])
}

/// The name of the nth channel of sound.
fn channel(number: usize) -> String {
    match number {
        0 => "out.left".into(),
        1 => "out.right".into(),
        _ => format!("out.ch{}", number + 1),
    }
}

/// The number of channels of the patch of [`every_type`]: one for each type, and one for the keyboard.
fn channels() -> usize {
    takers().len() + 1
}

/// A patch with one module of each type, each on a channel of its own and with a short sound. Each is struck by
/// gate commands and by the sequence `s`, and all but one by the keyboard, which has the last channel.
fn every_type(folder: &Path) -> Result<PathBuf> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: RATE,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
    };
    let mut click = hound::WavWriter::create(folder.join("click.wav"), spec)?;
    (0..480).try_for_each(|n| click.write_sample(if n % 20 < 10 { 0.5_f32 } else { -0.5 }))?;
    click.finalize()?;
    let mut modules = vec![
        json!({"id": "out", "type": "out", "params": {"gain": GAIN}}),
        json!({"id": "white", "type": "noise"}),
        json!({"id": KEYS, "type": "midi_in"}),
    ];
    let mut cables = vec![json!({"from": "keys.gate", "to": channel(channels() - 1)})];
    let mut targets = Vec::new();
    for (number, kind) in takers().into_iter().enumerate() {
        let id = id_of(kind);
        let mut params = serde_json::Map::new();
        for (name, value) in [
            ("attack", 1.0),
            ("decay", 20.0),
            ("rattle", 20.0),
            ("release", 10.0),
            ("sustain", 0.0),
        ] {
            if let Some(param) = kind.params.iter().find(|param| param.name == name) {
                params.insert(name.into(), json!(param.min.max(value)));
            }
        }
        if kind.name == "ar" {
            params.insert("mode".into(), json!(1));
        }
        let mut module = json!({"id": id, "type": kind.name, "params": params});
        if kind.takes_sample {
            module["sample"] = json!("click.wav");
        }
        modules.push(module);
        let from = format!("{id}.{}", output_of(kind));
        cables.push(json!({"from": from, "to": channel(number)}));
        if kind.name == "sample_hold" {
            cables.push(json!({"from": "white", "to": format!("{id}.in")}));
        }
        let mut inputs = kind.inputs.iter();
        if let Some(input) = inputs.find(|input| ["gate", "clock"].contains(input)) {
            cables.push(json!({"from": "keys.gate", "to": format!("{id}.{input}")}));
        }
        targets.push(json!({"module": id, "role": "gate"}));
    }
    // Eight steps a second; each lasts until the next.
    let sequences =
        json!([{"id": "s", "bpm": 120, "gate_len": 1, "pattern": "X", "targets": targets}]);
    let patch = json!({"version": 1, "modules": modules, "cables": cables, "sequences": sequences});
    let file = folder.join("types.json");
    fs::write(&file, patch.to_string())?;
    Ok(file)
}

/// How many strikes a channel has.
fn strikes(samples: &[f32], kind: Option<&ModuleType>) -> usize {
    let pairs = samples.windows(2);
    match kind {
        // A strike changes the held value.
        Some(kind) if kind.name == "sample_hold" => pairs.filter(|w| w[0] != w[1]).count(),
        // A strike is an opening of the gate.
        None => pairs.filter(|w| w[0] == 0.0 && w[1] > 0.0).count(),
        Some(kind) if output_of(kind) == "gate" => {
            pairs.filter(|w| w[0] == 0.0 && w[1] > 0.0).count()
        }
        // A strike is sound after 20 ms of silence.
        Some(_) => {
            let (mut quiet, mut found) = (RATE as usize, 0);
            for sample in samples {
                if sample.abs() < 0.01 * GAIN as f32 {
                    quiet += 1;
                } else {
                    found += usize::from(quiet > RATE as usize / 50);
                    quiet = 0;
                }
            }
            found
        }
    }
}

/// How many strikes each channel of a WAV file has.
fn counted(wav: &Path) -> Result<Vec<(String, usize)>> {
    let samples = integration_tests::ear::read_wav(wav)?;
    let of = |number: usize| -> Vec<f32> {
        let channel = samples.iter().skip(number);
        channel.step_by(channels()).copied().collect()
    };
    let types = takers().into_iter().enumerate();
    let types =
        types.map(|(number, kind)| (kind.name.to_owned(), strikes(&of(number), Some(kind))));
    let keys = (KEYS.to_owned(), strikes(&of(channels() - 1), None));
    Ok(types.chain([keys]).collect())
}

/// Checks how many strikes each channel has, given those by events and those by the keyboard; returns how many
/// are missing.
fn assert_struck(found: &[(String, usize)], by_events: usize, by_keys: usize) -> usize {
    let wanted = |name: &str| match name {
        KEYS => by_keys,
        "midi_in" => by_events,
        _ => by_events + by_keys,
    };
    let short = |(name, found): &(String, usize)| wanted(name).saturating_sub(*found);
    let missing = found.iter().map(short).sum();
    for (name, found) in found {
        assert_eq!(*found, wanted(name), "strikes of {name}");
    }
    missing
}

fn message(address: String, args: Vec<OscType>) -> OscPacket {
    OscPacket::Message(OscMessage {
        addr: address,
        args,
    })
}

fn bundle(tag: u64, content: Vec<OscPacket>) -> Result<Vec<u8>> {
    let timetag = OscTime {
        seconds: (tag >> 32) as u32,
        fractional: tag as u32,
    };
    Ok(rosc::encoder::encode(&OscPacket::Bundle(OscBundle {
        timetag,
        content,
    }))?)
}

/// The gates of all types with these levels, in this order.
fn gates(levels: &[i32]) -> Vec<OscPacket> {
    let one = |kind: &&ModuleType, level: &i32| {
        message(format!("/gate/{}", id_of(kind)), vec![(*level).into()])
    };
    let types = takers();
    let all = types
        .iter()
        .flat_map(|kind| levels.iter().map(move |level| one(kind, level)));
    all.collect()
}

/// Handles of both workers, opened before they are needed.
fn aim(stack: &Stack) -> Result<[OwnedFd; 2]> {
    let worker = |slot| Ok::<_, anyhow::Error>(pidfd::open(stack.pid(&format!("worker:{slot}"))?)?);
    Ok([worker(Slot::Zero)?, worker(Slot::One)?])
}

/// Kills the leader in the block of that time tag; returns whether the leader was still in that block.
fn fire(stack: &Stack, shared: &Shared, workers: &[OwnedFd; 2], tag: u64) -> Result<bool> {
    let stage = &shared.stage;
    let timing = platform::realtime::timing(stage).context("no clock")?;
    let frame = timing.frame(tag).0;
    let block = frame / u64::from(stage.format().block_frames);
    let limit = Instant::now() + Duration::from_secs(5);
    let slot = stage.preference().slot;
    let leader = stage.slot(slot);
    while leader.breadcrumb().block.0 < block {
        ensure!(
            Instant::now() < limit,
            "the leader does not come to block {block}"
        );
        spin_loop();
    }
    pidfd::signal(&workers[usize::from(slot == Slot::One)], SIGKILL)?;
    stack.expect_replacements(1);
    Ok(leader.breadcrumb().block.0 == block)
}

/// The time tag `ms` milliseconds later.
fn later(tag: u64, ms: u64) -> u64 {
    tag + (ms << 32) / 1_000
}

fn soon() -> u64 {
    later(platform::realtime::ntp_now(), 80)
}

fn send(stack: &Stack, tag: u64, content: Vec<OscPacket>) -> Result<()> {
    stack.raw_send(&bundle(tag, content)?)
}

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

#[test]
fn every_type_strikes_by_osc_sequence_and_midi_through_kills_in_that_block() -> Result<()> {
    let rounds = count_of("UNDERSTUDY_ROUNDS", 6) as usize;
    let folder = tempfile::tempdir()?;
    let patch = every_type(folder.path())?.display().to_string();
    let pipe = folder.path().join("port");
    ensure!(Command::new("mkfifo").arg(&pipe).status()?.success());
    let port = format!("file:{}", pipe.display());
    let count = channels().to_string();
    let options = ["--channels", &count, "--patch", &patch, "--midi", &port];
    let (stack, recording) = Stack::start_wav(&options)?;
    stack.wait_ready()?;
    let shared = stack.shared()?;
    let mut keyboard = OpenOptions::new().read(true).write(true).open(&pipe)?;
    pause(1_500);
    let (mut kills, mut within) = (0, 0);
    let mut kill = |workers: &[OwnedFd; 2], tag: u64| -> Result<()> {
        within += usize::from(fire(&stack, &shared, workers, tag)?);
        kills += 1;
        stack.wait_protected()
    };
    for round in 0..rounds {
        let (workers, tag) = (aim(&stack)?, soon());
        send(&stack, tag, gates(&[1, 0]))?;
        if round % 2 == 0 {
            kill(&workers, tag)?;
        }
        pause(200);
        send(&stack, soon(), gates(&[1]))?;
        pause(200);
        let (workers, tag) = (aim(&stack)?, soon());
        send(&stack, tag, gates(&[0, 1]))?;
        if round % 2 == 1 {
            kill(&workers, tag)?;
        }
        pause(200);
        send(&stack, soon(), gates(&[0]))?;
        pause(150);
    }
    // Without time tags, each gate in a datagram of its own: they take effect at the beginning of a block.
    for _ in 0..rounds {
        for gate in gates(&[1, 0]) {
            stack.raw_send(&rosc::encoder::encode(&gate)?)?;
        }
        pause(150);
    }
    let by_osc = 4 * rounds;
    // Steps of 125 ms: nine steps begin.
    let start = soon();
    let sequence = |what: &str| message(format!("/seq/{what}"), vec!["s".into()]);
    send(&stack, start, vec![sequence("start")])?;
    send(&stack, later(start, 1_060), vec![sequence("stop")])?;
    for step in [2, 6] {
        kill(&aim(&stack)?, later(start, 125 * step))?;
    }
    let left = later(start, 1_300).saturating_sub(platform::realtime::ntp_now());
    pause((left * 1_000) >> 32);
    for key in 0..rounds as u8 {
        // Three writes: a note's start and end together; another note's start; its end with the start of a third note.
        keyboard.write_all(&[0x90, 40 + key, 100, 0x80, 40 + key, 0])?;
        pause(200);
        keyboard.write_all(&[0x90, 60 + key, 100])?;
        pause(200);
        let workers = aim(&stack)?;
        // MIDI events take effect 3 ms after they arrive.
        let tag = later(platform::realtime::ntp_now(), 3);
        keyboard.write_all(&[0x80, 60 + key, 0, 0x90, 80 + key, 100])?;
        kill(&workers, tag)?;
        pause(200);
        keyboard.write_all(&[0x80, 80 + key, 0])?;
        pause(150);
    }
    let concealed = stack.status()?["audio"]["concealed_blocks"].clone();
    stack.wait_played()?;
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    let found = counted(&recording.wav)?;
    println!("{found:?}");
    let missing = assert_struck(&found, by_osc + 9, 3 * rounds);
    println!(
        "FIGURE (on, off), (off, on) in one frame, {} types, {} strikes each by OSC, 9 by a sequence, {} by MIDI: strikes missing {missing}; leader killed {kills} times, {within} of them in that very block; {differing} of {compared} samples differ from the replay, {concealed} blocks concealed",
        takers().len(),
        by_osc,
        3 * rounds
    );
    assert_eq!(differing, 0);
    Ok(())
}

#[test]
fn a_score_strikes_every_type() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let patch = every_type(folder.path())?;
    let mut score = String::new();
    let mut line = |at: f64, what: &str| score += &format!("{at} {what}\n");
    for kind in takers() {
        let id = id_of(kind);
        // On and off in one frame; on; off and on in one frame; off; a note that ends in its own frame; a note
        // that ends in the next frame.
        for (at, what) in [
            (0.1, format!("/gate/{id} 1")),
            (0.1, format!("/gate/{id} 0")),
            (0.3, format!("/gate/{id} 1")),
            (0.5, format!("/gate/{id} 0")),
            (0.5, format!("/gate/{id} 1")),
            (0.7, format!("/gate/{id} 0")),
            (0.8, format!("/note/{id} 60 127")),
            (0.8, format!("/note/{id} 60 0")),
            (1.0, format!("/note/{id} 60 127 0.01")),
        ] {
            line(at, &what);
        }
    }
    for (at, what) in [
        (1.2, "/note/keys 60 127"),
        (1.4, "/note/keys 60 0"),
        (1.4, "/note/keys 60 127"),
        (1.6, "/note/keys 60 0"),
        (1.8, "/note/keys 60 127"),
        (1.8, "/note/keys 60 0"),
        (2.0, "/gate/keys 1"),
        (2.0, "/gate/keys 0"),
        (2.2, "/seq/start s"),
        (3.26, "/seq/stop s"),
    ] {
        line(at, what);
    }
    let (file, wav) = (folder.path().join("score"), folder.path().join("out.wav"));
    fs::write(&file, score)?;
    let output = understudy(folder.path())
        .arg("render")
        .arg(&patch)
        .arg("--score")
        .arg(&file)
        .args([
            "--seconds",
            "3.6",
            "--channels",
            &channels().to_string(),
            "-o",
        ])
        .arg(&wav)
        .output()?;
    ensure!(output.status.success(), "{}", text(&output.stderr));
    let found = counted(&wav)?;
    let missing = assert_struck(&found, 5 + 9, 4);
    println!(
        "FIGURE (on, off), (off, on), notes of one frame, back-to-back notes, a sequence, in a score: {} types, {} strikes, missing {missing}",
        takers().len(),
        found.iter().map(|(_, count)| count).sum::<usize>()
    );
    Ok(())
}

/// Eight keyboards of one to eight voices, each with a short kick on a channel of its own.
fn keyboards() -> Value {
    let mut modules = vec![json!({"id": "out", "type": "out", "params": {"gain": GAIN}})];
    let mut cables = Vec::new();
    for voices in 1..=8 {
        let (keys, kick) = (format!("k{voices}"), format!("d{voices}"));
        modules.push(json!({"id": keys, "type": "midi_in", "channels": voices}));
        let params = json!({"decay": 20});
        modules.push(json!({"id": kick, "type": "kick", "channels": voices, "params": params}));
        cables.push(json!({"from": format!("{keys}.gate"), "to": format!("{kick}.gate")}));
        cables.push(json!({"from": kick, "to": channel(voices - 1)}));
    }
    json!({"version": 1, "modules": modules, "cables": cables})
}

#[test]
fn back_to_back_notes_strike_through_kills_in_that_block() -> Result<()> {
    let rounds = 2 * count_of("UNDERSTUDY_ROUNDS", 6) as usize;
    let folder = tempfile::tempdir()?;
    let patch = folder.path().join("keyboards.json");
    fs::write(&patch, keyboards().to_string())?;
    let patch = patch.display().to_string();
    let (stack, recording): (Stack, Recording) =
        Stack::start_wav(&["--channels", "8", "--patch", &patch])?;
    stack.wait_ready()?;
    let shared = stack.shared()?;
    pause(1_500);
    let mut within = 0;
    let note = |voices: usize, pitch: usize, velocity: i32| {
        let args = vec![OscType::Int(pitch as i32), velocity.into()];
        message(format!("/note/k{voices}"), args)
    };
    for round in 0..rounds {
        let (workers, tag) = (aim(&stack)?, soon());
        let notes = (1..=8).flat_map(|voices| {
            let last = round.checked_sub(1).map(|last| note(voices, 40 + last, 0));
            last.into_iter().chain([note(voices, 40 + round, 100)])
        });
        send(&stack, tag, notes.collect())?;
        within += usize::from(fire(&stack, &shared, &workers, tag)?);
        stack.wait_protected()?;
        pause(100);
    }
    let status = stack.status()?;
    let concealed = status["audio"]["concealed_blocks"].clone();
    let log = stack.log();
    stack.wait_played()?;
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    let samples = integration_tests::ear::read_wav(&recording.wav)?;
    let kick = catalog::find("kick");
    let found: Vec<usize> = (0..8)
        .map(|channel| {
            let heard: Vec<f32> = samples.iter().skip(channel).step_by(8).copied().collect();
            strikes(&heard, kick)
        })
        .collect();
    let missing: usize = found.iter().map(|found| rounds.abs_diff(*found)).sum();
    println!(
        "FIGURE back-to-back notes, 1 to 8 voices, {rounds} notes each, leader killed {rounds} times, {within} of them in that very block: strikes missing {missing}; {differing} of {compared} samples differ from the replay, {concealed} blocks concealed"
    );
    assert!(
        missing == 0 && differing == 0,
        "strikes {found:?} of {rounds} each; {}\n{log}",
        status["commands"]
    );
    Ok(())
}

#[test]
fn a_bass_line_plays_its_next_note_as_loud_as_the_first() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let patch = Path::new(env!("CARGO_MANIFEST_DIR")).join("../patches/acid.json");
    // The first note ends in the frame in which the next begins, or one frame earlier.
    let peak = |name: &str, end: f64| -> Result<f32> {
        let [score, wav] =
            ["score", "wav"].map(|kind| folder.path().join(format!("{name}.{kind}")));
        let text_of = format!(
            "0.1 /note/keys 36 127\n{end} /note/keys 36 0\n0.5 /note/keys 36 127\n0.7 /note/keys 36 0\n"
        );
        fs::write(&score, text_of)?;
        let output = understudy(folder.path())
            .arg("render")
            .args([&patch, Path::new("--score"), &score])
            .args(["--seconds", "1", "-o"])
            .arg(&wav)
            .output()?;
        ensure!(output.status.success(), "{}", text(&output.stderr));
        let heard = integration_tests::ear::read_wav(&wav)?;
        let rate = 2 * RATE as usize;
        Ok(integration_tests::ear::peak(
            &heard[rate / 2..rate * 7 / 10],
        ))
    };
    let (at_once, apart) = (
        peak("at_once", 0.5)?,
        peak("apart", 0.5 - 1.0 / f64::from(RATE))?,
    );
    println!(
        "FIGURE patches/acid.json: the next note's peak is {at_once:.3}, one frame apart {apart:.3}"
    );
    assert!((at_once / apart - 1.0).abs() < 0.01);
    assert!(at_once > 0.7);
    Ok(())
}
