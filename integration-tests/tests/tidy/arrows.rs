//! Dependencies between crates point down, and each outside crate is named in one place.

use std::collections::BTreeSet;

use super::{Complaint, assert_none, files};

/// Each crate of the workspace, by its folder, and the workspace's crates that it may depend on.
const ARROWS: [(&str, &[&str]); 16] = [
    ("common", &[]),
    ("engine", &["common"]),
    ("failover", &["common"]),
    ("platform", &["common"]),
    // The simulation runs the production rules over rings on the heap, never `platform`.
    ("simulation", &["common", "failover"]),
    ("supervisor", PROCESS),
    ("worker", PROCESS),
    ("audio-out", PROCESS),
    ("osc-gateway", PROCESS),
    ("recorder", PROCESS),
    ("midi-in", PROCESS),
    ("link-in", PROCESS),
    ("launcher", PROCESS),
    // The command line uses the public contract: commands, segments, control socket; no rule of
    // `failover`. It reads a score with the gateway's decoder.
    ("ctl", &["common", "engine", "platform", "osc-gateway"]),
    // The fuzzed functions use the gateway's decoder and the command line's readers.
    (
        "integration-tests",
        &[
            "common",
            "engine",
            "failover",
            "platform",
            "osc-gateway",
            "ctl",
        ],
    ),
    // Measures the cost of the sound; no process is started.
    ("bench", &["common", "engine", "platform"]),
];
/// What a process may depend on: all libraries, no other process.
const PROCESS: &[&str] = &["common", "engine", "failover", "platform"];

/// Outside crates that are named in one place, and that place.
const PLACES: [(&str, &[&str]); 4] = [
    ("cpal", &["audio-out"]),
    ("ipc-channel", &["platform"]),
    // The gateway decodes OSC; the command line and OSC clients in processes of their own encode
    // it.
    (
        "rosc",
        &["ctl", "osc-gateway", "platform", "integration-tests"],
    ),
    ("shared_memory", &["platform"]),
];

/// The crates that a manifest names as dependencies of any kind, each with its line. Crates of the
/// workspace appear by their folder.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (index, line) in manifest.lines().enumerate() {
        let (number, line) = (index + 1, line.trim());
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies") && section != "workspace.dependencies";
            if let Some((_, name)) = section.split_once("dependencies.") {
                found.push((number, name.to_owned()));
            }
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let key = line.split(['.', '=', ' ']).next().unwrap_or_default();
            // A renamed dependency is still the same crate.
            let package = line.split_once("package = \"").map(|(_, rest)| rest);
            let package = package.and_then(|rest| rest.split('"').next());
            let name = package.unwrap_or(key).trim_start_matches("understudy-");
            found.push((number, name.to_owned()));
        }
    }
    found
}

fn wrong_arrows(folder: &str, manifest: &str) -> Vec<Complaint> {
    let complaint = |line, wrong, right| Complaint {
        file: format!("{folder}/Cargo.toml"),
        line,
        wrong,
        right,
    };
    let Some((_, may_know)) = ARROWS.iter().find(|(name, _)| *name == folder) else {
        let wrong = format!("nobody has said what {folder} may depend on");
        return vec![complaint(1, wrong, "a line in ARROWS of this test")];
    };
    let mut complaints = Vec::new();
    for (line, name) in dependencies(manifest) {
        let ours = ARROWS.iter().any(|(folder, _)| *folder == name);
        if ours && !may_know.contains(&name.as_str()) {
            complaints.push(complaint(
                line,
                format!("{folder} depends on {name}"),
                "arrows point down, from processes to platform, failover, engine, from these to common",
            ));
        }
        let place = PLACES.iter().find(|(outside, _)| *outside == name);
        if place.is_some_and(|(_, folders)| !folders.contains(&folder)) {
            complaints.push(complaint(
                line,
                format!("{folder} names {name}"),
                "the outside crate is used through the crate that owns it; see PLACES in this test",
            ));
        }
    }
    complaints
}

#[test]
fn arrows_between_crates_point_down() {
    let mut seen = BTreeSet::new();
    let mut complaints = Vec::new();
    for (path, text) in files("Cargo.toml") {
        match path.strip_suffix("/Cargo.toml") {
            None | Some("fuzz") => {} // The root; and a separate workspace.
            Some(folder) => {
                complaints.extend(wrong_arrows(folder, &text));
                seen.insert(folder.to_owned());
            }
        }
    }
    assert_none(&complaints);
    let known = ARROWS.map(|(folder, _)| folder.to_owned());
    assert_eq!(seen, BTreeSet::from(known), "crates, and those in ARROWS");
}

#[test]
fn an_arrow_that_points_up_is_found() {
    let found = |folder, manifest| {
        let complaints = wrong_arrows(folder, manifest);
        complaints
            .into_iter()
            .map(|c| (c.line, c.wrong))
            .collect::<Vec<_>>()
    };
    let one = |line, wrong: &str| vec![(line, wrong.to_owned())];
    for (folder, manifest, expected) in [
        (
            "worker",
            "[dependencies]\ncommon.workspace = true\nfailover.workspace = true\n",
            vec![],
        ),
        (
            "common",
            "[dev-dependencies]\nengine.workspace = true\n",
            one(2, "common depends on engine"),
        ),
        (
            "worker",
            "\n[dependencies]\n# a\nsupervisor = { path = \"../supervisor\" }\n",
            one(4, "worker depends on supervisor"),
        ),
        (
            "simulation",
            "[dependencies.platform]\nworkspace = true\n",
            one(1, "simulation depends on platform"),
        ),
        (
            "engine",
            "[target.'cfg(loom)'.dependencies]\nos = { package = \"understudy-platform\" }\n",
            one(2, "engine depends on platform"),
        ),
        (
            "supervisor",
            "[dependencies]\nipc-channel.workspace = true\n",
            one(2, "supervisor names ipc-channel"),
        ),
        (
            "piano",
            "",
            one(1, "nobody has said what piano may depend on"),
        ),
    ] {
        assert_eq!(found(folder, manifest), expected, "{folder}: {manifest}");
    }
}
