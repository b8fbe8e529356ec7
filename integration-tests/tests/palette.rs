//! Every module type keeps the promise: workers are killed while `patches/palette.json`, which has one
//! module of each type, plays. The log renders what was played, bit by bit.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use common::{
    message::{Request, Target},
    units::Slot,
};
use engine::{catalog, patch::Patch};
use integration_tests::{
    ear::{self, percentile},
    patches::thousand,
    random::Random,
    stack::{Stack, count_of, datagram_of, number},
};
use serde_json::json;

const PALETTE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../patches/palette.json");

#[test]
fn every_module_type_survives_kills_to_the_bit() -> Result<()> {
    let kills = count_of("UNDERSTUDY_KILLS", 60);
    let patch = Patch::from_json(&std::fs::read_to_string(PALETTE)?)?;
    for kind in catalog::all() {
        let has = patch.modules.iter().any(|spec| spec.kind == kind.name);
        assert!(
            has,
            "patches/palette.json has no module of type {}",
            kind.name
        );
    }
    let folder = tempfile::tempdir()?;
    let file = with_recordings(&patch, folder.path())?;
    let file = file.display().to_string();
    let (stack, recording) = Stack::start_wav(&["--freewheel", "--patch", &file])?;
    let mut random = Random::seeded(61);
    for kill in 0..kills {
        stack.wait_protected()?;
        for _ in 0..4 {
            change_any(&stack, &patch, &mut random)?;
        }
        std::thread::sleep(Duration::from_micros(random.below(5_000)));
        stack.kill(if kill % 2 == 0 {
            Target::Leader
        } else {
            Target::Follower
        })?;
        change_any(&stack, &patch, &mut random)?;
    }
    stack.wait_protected()?;
    let status = stack.status()?;
    let types = catalog::all().len();
    let peak = ear::peak(&ear::read_wav(&recording.wav)?);
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    println!(
        "FIGURE {types} module types, {kills} kills: samples that differ {differing} of {compared}, concealed {}, peak {peak:.2}",
        status["audio"]["concealed_blocks"]
    );
    assert!(peak > 0.01, "there was something to hear");
    assert_eq!(differing, 0);
    assert_eq!(number(&status, "/audio/concealed_blocks")?, 0);
    Ok(())
}

/// Writes the patch into that folder, with a recording for its sampler and one more granular module that
/// plays a recording.
fn with_recordings(patch: &Patch, folder: &Path) -> Result<PathBuf> {
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 44_100,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
    };
    let mut wav = hound::WavWriter::create(folder.join("tone.wav"), spec)?;
    for n in 0..60_000 {
        wav.write_sample((f64::from(n) * 0.02).sin() as f32 * 0.5)?;
    }
    wav.finalize()?;
    let mut patch = serde_json::to_value(patch)?;
    if let Some(modules) = patch["modules"].as_array_mut() {
        for module in modules.iter_mut().filter(|m| m["type"] == "sampler") {
            module["sample"] = "tone.wav".into();
        }
        modules.push(json!({"id": "cloud", "type": "granular", "sample": "tone.wav"}));
    }
    if let Some(cables) = patch["cables"].as_array_mut() {
        cables.push(json!({"from": "cloud", "to": "out"}));
    }
    let path = folder.join("palette.json");
    std::fs::write(&path, patch.to_string())?;
    Ok(path)
}

/// Sets a random parameter of a random module, or a gate.
fn change_any(stack: &Stack, patch: &Patch, random: &mut Random) -> Result<()> {
    let spec = &patch.modules[random.below(patch.modules.len() as u64) as usize];
    let Some(kind) = catalog::find(&spec.kind) else {
        return Ok(());
    };
    if kind.takes_gate && random.below(2) == 0 {
        let level = random.below(2) as f32;
        return stack.osc_send(&format!("/gate/{}", spec.id), Some(level));
    }
    let params = kind.own_params();
    if params.is_empty() || spec.kind == "out" {
        return Ok(());
    }
    let param = &params[random.below(params.len() as u64) as usize];
    let value = param.min + (param.max - param.min) * random.below(1_000) as f32 / 999.0;
    stack.osc_send(&format!("/mod/{}/{}", spec.id, param.name), Some(value))
}

/// An edit by messages, as a person patches: a filter is inserted between a voice and the sum.
fn filter_comes(edit: usize) -> Vec<Vec<u8>> {
    let (voice, filter) = (format!("a{edit}"), format!("more{edit}"));
    vec![
        datagram_of("/patch/create", &[&filter, "filter"]),
        datagram_of("/patch/connect", &[&voice, &filter]),
        datagram_of("/patch/connect", &[&filter, "out"]),
        datagram_of("/patch/disconnect", &[&voice, "out"]),
        datagram_of("/patch/commit", &[]),
    ]
}

/// A patch that is far longer than a message is loaded, played and edited in time, as a whole and by
/// messages. A tone on a path that is not edited does not break.
#[test]
fn a_thousand_modules_are_edited_while_they_play() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("thousand.json");
    std::fs::write(&file, thousand(0).to_string())?;
    let path = file.display().to_string();
    let options = ["--block", "64", "--patch", &path];
    let (stack, recording) = Stack::start_wav(&options)?;
    stack.wait_protected()?;
    stack.osc_send("/gate/e0", Some(1.0))?;
    std::thread::sleep(Duration::from_millis(500));
    let steady = number(&stack.status()?, "/audio/play_cursor")? as usize * 64;
    let shared = stack.shared()?;
    let taken_ms = |change: &dyn Fn() -> Result<()>, commands: u64| {
        let applied = || Slot::ALL.map(|slot| shared.stage.slot(slot).applied());
        let before = applied();
        let begun = Instant::now();
        change()?;
        // Read from shared memory, since requests would take time from the processes that are measured.
        while applied()
            .iter()
            .zip(before)
            .any(|(now, before)| now.0 < before.0 + commands)
        {
            ensure!(begun.elapsed() < Duration::from_secs(20), "{}", stack.log());
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    let (mut loads, mut edits) = (Vec::new(), Vec::new());
    for edit in 1..=12 {
        let patch = thousand(edit).to_string();
        let load = || stack.ask(&Request::PatchLoad(patch.clone())).map(drop);
        loads.push(taken_ms(&load, 1)?);
        let datagrams = filter_comes(edit);
        let send = || datagrams.iter().try_for_each(|d| stack.raw_send(d));
        // Each message is a command; the commit is followed by one more, which says that no edit is
        // waiting.
        edits.push(taken_ms(&send, datagrams.len() as u64 + 1)?);
        if edit % 4 == 0 {
            stack.kill(Target::Leader)?;
            stack.wait_protected()?;
        }
    }
    let status = stack.status()?;
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    let breaks = ear::breaks(&recording.left_from(steady)?, 440.0, 48_000.0).len();
    println!(
        "FIGURE 1,000 modules, 24 edits and 3 kills in time: breaks {breaks}, concealed {}, samples that differ {differing} of {compared}; applied by both workers: a whole patch after {:.1} ms (median), {:.1} ms (worst), an edit by five messages after {:.1} ms, {:.1} ms",
        status["audio"]["concealed_blocks"],
        percentile(&mut loads, 0.5),
        percentile(&mut loads, 1.0),
        percentile(&mut edits, 0.5),
        percentile(&mut edits, 1.0)
    );
    assert_eq!((breaks, differing), (0, 0));
    Ok(())
}
