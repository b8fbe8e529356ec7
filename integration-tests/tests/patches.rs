//! Every patch that has a score can be played, has a reasonable sound, and is shown in the docs.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use integration_tests::{ear, stack::understudy};

fn project() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn every_patch_with_a_score_sounds_and_is_shown() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let docs = fs::read_to_string(project().join("docs/patches.md"))?;
    let mut played = 0;
    for file in fs::read_dir(project().join("patches"))? {
        let score = file?.path();
        if score.extension().is_none_or(|ending| ending != "score") {
            continue;
        }
        let name = score.file_stem().context("a name")?.display().to_string();
        let text = fs::read_to_string(&score)?;
        let times = text.lines().filter(|line| !line.starts_with('#'));
        let times = times.filter_map(|line| line.split(' ').next()?.parse::<f64>().ok());
        let seconds = times.fold(0.0, f64::max) + 2.0;
        // A score with a patch of the same name plays that patch; any other is a piece for the
        // patch `stage`.
        let own = score.with_extension("json");
        let stage = project().join("patches/stage.json");
        let patch = if own.exists() { own } else { stage };
        let wav = folder.path().join("out.wav");
        let output = understudy(folder.path())
            .arg("render")
            .arg(patch)
            .arg("--score")
            .arg(&score)
            .args(["--seconds", &seconds.to_string(), "-o"])
            .arg(&wav)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{name}: {said}");
        let sound = ear::read_wav(&wav)?;
        let power: f64 = sound.iter().map(|x| f64::from(x * x)).sum();
        let level_db = 10.0 * (power / sound.len() as f64).log10();
        let offset = sound.iter().map(|x| f64::from(*x)).sum::<f64>() / sound.len() as f64;
        let peak = ear::peak(&sound);
        println!(
            "{name}: {seconds:.1} s, peak {peak:.2}, level {level_db:.1} dB, offset {offset:.4}"
        );
        assert!(peak > 0.3 && peak <= 0.9, "{name}: its peak is {peak}");
        assert!(level_db > -24.0, "{name}: {level_db} dB");
        assert!(offset.abs() < 0.02, "{name}: it is off by {offset}");
        let picture = format!("pictures/{name}.png");
        assert!(
            docs.contains(&picture),
            "docs/patches.md does not show {name}"
        );
        assert!(project().join("docs").join(&picture).exists(), "{picture}");
        played += 1;
    }
    assert!(played >= 12, "{played}");
    Ok(())
}
