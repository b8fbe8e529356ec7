//! Sequences: eight tracks of sixteenth notes at 175 beats a minute. Each onset is at its ideal frame,
//! whichever process is killed and whatever is edited.
//!
//! `UNDERSTUDY_MUSIC_SECONDS` is the length of the music (default 20), `UNDERSTUDY_KILLS` the least number
//! of kills (default 16).

use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use common::{
    limits::safety_delay_frames,
    message::{Fault, Request, SIGKILL, Service, Target},
};
use integration_tests::{
    ear,
    random::Random,
    stack::{Stack, count_of, number},
};
use rosc::{OscMessage, OscPacket, OscType};
use serde_json::json;

const RATE: u64 = 48_000;
const TRACKS: usize = 8;

/// Which steps of a track are hits. Each track has a length of its own.
fn hits(track: usize) -> Vec<bool> {
    (0..16 - track)
        .map(|step| step % (track + 1) != 1)
        .collect()
}

fn text(hits: &[bool]) -> String {
    let letter = |hit: &bool| if *hit { 'X' } else { '.' };
    hits.iter().map(letter).collect()
}

/// The frame of a step in the output, rounded to the nearest: 175 beats a minute with four steps each.
fn ideal(step: u64) -> u64 {
    let delay = u64::from(safety_delay_frames(RATE as u32));
    (2 * step * RATE * 60 + 175 * 4) / (2 * 175 * 4) + delay
}

/// A patch of eight keyboards, each played by a sequence. The gate of each keyboard is one bit of the
/// output.
fn patch() -> String {
    // The output encodes bits, so the limiter must not change it.
    let mut modules = vec![json!({"id": "out", "type": "out", "params": {"safety": 0}})];
    let (mut cables, mut sequences) = (Vec::new(), Vec::new());
    for track in 0..TRACKS {
        let (keys, bit) = (format!("k{track}"), format!("b{track}"));
        let level = 2.0_f64.powi(-1 - track as i32);
        modules.push(json!({"id": keys, "type": "midi_in"}));
        modules.push(json!({"id": bit, "type": "vca", "params": {"level": level}}));
        cables.push(json!({"from": format!("{keys}.gate"), "to": bit}));
        cables.push(json!({"from": bit, "to": "out"}));
        sequences.push(json!({
            "id": format!("t{track}"), "bpm": 175, "running": true, "pattern": text(&hits(track)),
            "targets": [{"module": keys, "role": "note"}],
        }));
    }
    json!({"version": 1, "modules": modules, "cables": cables, "sequences": sequences}).to_string()
}

fn send(stack: &Stack, address: &str, args: Vec<OscType>) -> Result<()> {
    let addr = address.to_owned();
    let message = OscPacket::Message(OscMessage { addr, args });
    stack.raw_send(&rosc::encoder::encode(&message)?)
}

/// A change that a performer might make and that moves no step of the eight tracks.
fn meddle(stack: &Stack, random: &mut Random, round: u64) -> Result<()> {
    let track = random.below(TRACKS as u64) as usize;
    let id = || OscType::String(format!("t{track}"));
    match round % 5 {
        0 => send(
            stack,
            "/seq/update",
            vec![id(), text(&hits(track)).as_str().into()],
        ),
        1 => {
            let part = 0.1 + random.below(80) as f32 / 100.0;
            send(stack, "/seq/gate_len", vec![id(), part.into()])
        }
        2 => send(
            stack,
            "/seq/add",
            vec!["mute".into(), "k0".into(), "....".into(), "C4".into()],
        ),
        3 => send(
            stack,
            "/pattern/save",
            vec![format!("p{track}").as_str().into(), id()],
        ),
        _ => send(stack, "/seq/remove", vec!["mute".into()]),
    }
}

/// The frames at which each track begins a note, in order, and the number of frames.
fn onsets(wav: &Path) -> Result<(Vec<Vec<u64>>, u64)> {
    let mut reader = hound::WavReader::open(wav)?;
    let mut found = vec![Vec::new(); TRACKS];
    let (mut before, mut frames) = (0_u32, 0);
    for sample in reader.samples::<f32>() {
        let now = (sample? * 256.0) as u32;
        for (track, onsets) in found.iter_mut().enumerate() {
            let bit = 128 >> track;
            if now & !before & bit != 0 {
                onsets.push(frames);
            }
        }
        before = now;
        frames += 1;
    }
    Ok((found, frames))
}

#[test]
fn every_onset_is_at_its_ideal_frame_whoever_is_killed() -> Result<()> {
    let seconds = count_of("UNDERSTUDY_MUSIC_SECONDS", 20);
    let kills = count_of("UNDERSTUDY_KILLS", 16);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("eight.json");
    fs::write(&file, patch())?;
    let file = file.display().to_string();
    let (stack, recording) =
        Stack::start_wav(&["--freewheel", "--channels", "1", "--patch", &file])?;
    let mut random = Random::seeded(175);
    let mut killed = [0; 3];
    let mut round = 0;
    loop {
        stack.wait_for_patiently("state protected", |status| status["state"] == "protected")?;
        let Ok(status) = stack.status() else {
            continue;
        };
        let played = number(&status, "/audio/play_cursor")? * 128 / RATE;
        if played >= seconds && round >= kills {
            break;
        }
        meddle(&stack, &mut random, round)?;
        std::thread::sleep(Duration::from_micros(random.below(3_000)));
        let kill = Fault::Signal(SIGKILL);
        let (target, which) = match round % 8 {
            3 => (Target::Service(Service::OscGateway), 1),
            6 => (Target::Service(Service::Supervisor), 2),
            even if even % 2 == 0 => (Target::Leader, 0),
            _ => (Target::Follower, 0),
        };
        // A killed supervisor cannot answer; a worker may just have exited by itself.
        if stack.inject(kill, target).is_ok() || which == 2 {
            killed[which] += 1;
        }
        std::thread::sleep(Duration::from_millis(30));
        round += 1;
    }
    let status = stack.status()?;
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    let (found, frames) = onsets(&recording.wav)?;
    let (mut count, mut off) = (0, 0);
    for (track, onsets) in found.iter().enumerate() {
        let hits = hits(track);
        let steps = (0_u64..).filter(|step| hits[*step as usize % hits.len()]);
        // The last note may not have begun yet.
        let wanted: Vec<u64> = steps.map(ideal).take_while(|at| *at < frames).collect();
        count += wanted.len();
        let missing = wanted.len().abs_diff(onsets.len());
        let moved = wanted.iter().zip(onsets).filter(|(a, b)| a != b).count();
        off += missing + moved;
    }
    println!(
        "FIGURE {} s of music, 8 tracks of sixteenths at 175, {} workers, {} gateways, {} supervisors killed: onsets {count}, off their frame {off}; samples compared {compared}, differing {differing}, concealed {}",
        frames / RATE,
        killed[0],
        killed[1],
        killed[2],
        status["audio"]["concealed_blocks"]
    );
    assert!(count as u64 > 8 * 5 * seconds, "there was music");
    assert_eq!((off, differing), (0, 0));
    assert_eq!(number(&status, "/audio/concealed_blocks")?, 0);
    Ok(())
}

/// A sequence is created, controlled and listed over OSC, on a stack like a performer's.
#[test]
fn a_sequence_is_made_and_steered_over_osc() -> Result<()> {
    let (stack, recording) = Stack::start_wav(&[])?;
    let said = |address: &str, args: &[&str]| -> Result<String> {
        let output = stack.verb(&[&["send", address], args].concat())?;
        let both = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&both).into_owned())
    };
    for (address, args, answer) in [
        ("/seq/add", vec!["a", "adsr", "X.x.", "C4", "E4"], ""),
        (
            "/seq/add",
            vec!["a", "adsr", "X"],
            "the sequence \"a\" exists already",
        ),
        (
            "/seq/add",
            vec!["b", "sinus", "X"],
            "no module \"sinus\"; did you mean \"sine\"?",
        ),
        ("/seq/assign", vec!["a", "note", "sine"], ""),
        (
            "/seq/start",
            vec!["c"],
            "no sequence \"c\" (expected one of a)",
        ),
        ("/seq/config", vec!["a", "140", "8", "16"], ""),
        (
            "/seq/swing",
            vec!["a", "0.9"],
            "out of range (expected 0 to 0.75)",
        ),
        ("/pattern/save", vec!["verse", "a"], ""),
        (
            "/pattern/chain",
            vec!["a", "vers", "7"],
            "did you mean \"verse\"?",
        ),
        ("/pattern/chain", vec!["a", "verse", "7"], ""),
        ("/seq/bpm", vec!["a", "5000"], "clamped to 999"),
        ("/seq/bpm", vec!["a", "150"], ""),
        (
            "/seq/list",
            vec![],
            "/seq/list.reply 1 1 a 1 150.0 16 0.0 0.5 8 X.x. note adsr, note sine verse 7",
        ),
        (
            "/pattern/list",
            vec![],
            "/pattern/list.reply 1 1 verse 8 X.x. 2",
        ),
    ] {
        let heard = said(address, &args)?;
        assert!(heard.contains(answer), "{address} {args:?}: {heard}");
        let good = answer.is_empty() || answer.starts_with('/') || answer.starts_with("clamped");
        assert_eq!(
            heard.contains("/fail"),
            !good,
            "{address} {args:?}: {heard}"
        );
    }
    // The datagrams are sent one after the other, without waiting for replies.
    for (address, id) in [
        ("/seq/create", "d"),
        ("/seq/start", "d"),
        ("/seq/stop", "d"),
    ] {
        send(&stack, address, vec![id.into()])?;
    }
    let listed = said("/seq/list", &[])?;
    assert!(listed.contains("2 2 d 0 150.0"), "{listed}");
    let shown = stack.ask(&Request::PatchShow)?;
    assert_eq!(shown["sequences"][0]["bpm"], json!(150.0), "{shown:#}");
    let quiet = stack.replies("/fail");
    assert!(quiet.is_empty(), "{quiet:?}");
    std::thread::sleep(Duration::from_millis(500));
    let wav = recording.wav.clone();
    let (_, differing) = stack.down()?.compare(&wav)?;
    assert_eq!(differing, 0);
    let heard = ear::read_wav(&wav)?;
    assert!(ear::peak(&heard) > 0.1, "it was heard");
    Ok(())
}
