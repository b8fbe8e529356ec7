//! The commands of `docs/tutorial.md`, run in their order: each succeeds, and what they play has sound.
//!
//! The commands are run unchanged. Where a test needs another sink, port or lead than a reader, the options come
//! from the environment. Blocks that need ears, a keyboard or a build are fenced as `text` and are not run.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use integration_tests::{
    ear,
    stack::{programs, text, understudy},
};
use tempfile::TempDir;

const TUTORIAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tutorial.md");
/// Options for a stack that needs no device and no fixed port, and does not depend on how late this machine wakes a
/// thread.
const OPTIONS: [(&str, &str); 4] = [
    ("UNDERSTUDY_INSTANCE", "test"),
    ("UNDERSTUDY_SINK", "null"),
    ("UNDERSTUDY_OSC", "127.0.0.1:0"),
    ("UNDERSTUDY_LEAD", "48"),
];
/// A peak below this value counts as silence.
const HEARD: f32 = 0.05;

/// A reader's folder. An instance that plays in it is stopped at the end.
struct Reader(TempDir);

impl Reader {
    /// Runs a block as a shell would. The shell prints each command before it runs it.
    fn run(&self, block: &str) -> Result<Output> {
        let mut path = OsString::from(programs());
        path.push(":");
        path.push(std::env::var_os("PATH").context("no PATH")?);
        let folder = self.0.path();
        Ok(Command::new("sh")
            .args(["-eux", "-c", block])
            .current_dir(folder)
            .env("PATH", path)
            .env("XDG_RUNTIME_DIR", folder.join("run"))
            .env("XDG_STATE_HOME", folder.join("state"))
            .envs(OPTIONS)
            .output()?)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let stop = ["down", "--instance", "test"];
        let _ = understudy(self.0.path()).args(stop).output();
        if std::thread::panicking() {
            let log = self.path("state/understudy/test/understudy.log");
            println!("{}", std::fs::read_to_string(log).unwrap_or_default());
        }
    }
}

/// The blocks that are fenced as `sh`, each with the line of its fence.
fn blocks(document: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open = None;
    for (index, line) in document.lines().enumerate() {
        match (&mut open, line) {
            (None, "```sh") => open = Some((Some(index + 1), String::new())),
            (None, fence) if fence.starts_with("```") => open = Some((None, String::new())),
            (Some(_), "```") => {
                if let Some((Some(at), block)) = open.take() {
                    found.push((at, block));
                }
            }
            (Some((_, block)), line) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

fn peak(file: &Path) -> Result<f32> {
    let sound = ear::read_wav(file).with_context(|| file.display().to_string())?;
    Ok(ear::peak(&sound))
}

#[test]
fn every_command_of_the_tutorial_succeeds_and_it_sounds() -> Result<()> {
    let reader = Reader(tempfile::tempdir()?);
    let blocks = blocks(&std::fs::read_to_string(TUTORIAL)?);
    let mut said = String::new();
    for (line, block) in &blocks {
        let output = reader.run(block)?;
        let (told, traced) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success(),
            "docs/tutorial.md:{line}: {}\n{traced}{told}",
            output.status
        );
        said += &told;
    }
    for expected in [
        "refused, as expected",
        "channel 1, controller 74: filter.cutoff",
    ] {
        assert!(
            said.contains(expected),
            "\"{expected}\" is missing in\n{said}"
        );
    }
    // The chapters before the one on MIDI are the first run of the instance.
    let first = reader.run("understudy replay --run 1 -o first.wav")?;
    ensure!(first.status.success(), "{}", text(&first.stderr));
    let recorded = "state/understudy/test/recordings/take1.wav";
    let files = [
        "first.wav",
        "again.wav",
        "ending.wav",
        "stems/kick.wav",
        recorded,
    ];
    for file in files {
        let peak = peak(&reader.path(file))?;
        println!("{file}: peak {peak:.2}");
        assert!(peak > HEARD, "{file}: its peak is {peak}");
    }
    println!(
        "FIGURE tutorial: {} blocks of commands succeed",
        blocks.len()
    );
    Ok(())
}

#[test]
fn only_blocks_of_the_shell_are_run() {
    let text = "a\n```sh\nb\nc\n```\n```text\n```sh\nd\n```\ne\n```sh\nf\n```\n";
    let expected = [(2, "b\nc\n".to_owned()), (11, "f\n".to_owned())];
    assert_eq!(blocks(text), expected);
}
