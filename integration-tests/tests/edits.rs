//! Patching while the music plays. A tone on a path that is not edited stays sample-identical, whatever is edited
//! beside it (including loops by a block and by a frame) and whichever process is killed. No edit is lost.

use std::{collections::BTreeSet, thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use common::{
    message::{Fault, Request, SIGKILL, Service, Target},
    stage::AudioFormat,
};
use engine::{Engine, patch::Patch};
use integration_tests::{
    ear,
    random::Random,
    stack::{Stack, count_of, datagram, datagram_of, number},
};
use serde_json::json;

/// The tone on the left channel; the edits make the sound of the right channel.
const TONE: [(&str, &str); 2] = [("tone", "body"), ("body", "out.left")];

fn tone() -> String {
    let cables = TONE.map(|(from, to)| json!({"from": from, "to": to}));
    json!({"version": 1, "modules": [
        {"id": "tone", "type": "sine", "params": {"freq": 441, "gain": 0.5}},
        {"id": "body", "type": "filter", "params": {"cutoff": 3000}},
        {"id": "drone", "type": "saw", "params": {"freq": 55, "gain": 0.2}},
        // The limiter must not turn the tone down because of what is beside it.
        {"id": "out", "type": "out", "params": {"safety": 0}},
    ], "cables": cables})
    .to_string()
}

/// The expected patch, apart from the tone.
#[derive(Default)]
struct Wanted {
    modules: Vec<String>,
    cables: BTreeSet<(String, String)>,
    made: usize,
    /// How many loops were closed so far: by a block, by a frame.
    loops: [usize; 2],
}

impl Wanted {
    /// A random change, as the messages that make it.
    fn change(&mut self, random: &mut Random) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        let any = random.below(self.modules.len().max(1) as u64) as usize;
        match (random.below(6), self.modules.get(any).cloned()) {
            // A module on a path of its own or behind another one.
            (0 | 1, _) | (_, None) if self.modules.len() < 12 => {
                let kinds = ["vca", "filter", "delay", "svf", "sine", "chorus"];
                let kind = kinds[random.below(6) as usize];
                let id = format!("m{}", self.made);
                self.made += 1;
                sent.push(datagram_of("/patch/create", &[&id, kind]));
                if kind != "sine" {
                    let from = self.modules.get(any).map_or("drone", |id| id);
                    let from = from.to_owned();
                    self.connect(&from, &id, &mut sent);
                }
                self.connect(&id, "out.right", &mut sent);
                self.modules.push(id);
            }
            (2, Some(id)) => {
                let out = (id.clone(), "out.right".to_owned());
                if self.cables.remove(&out) {
                    sent.push(datagram_of("/patch/disconnect", &[&id, "out.right"]));
                } else {
                    self.connect(&id, "out.right", &mut sent);
                }
            }
            // Removes or adds a cable back to the path's beginning, which closes a loop by a block or by a frame.
            (3 | 4, Some(id)) => {
                let back = (id.clone(), "drone.fm".to_owned());
                if self.cables.remove(&back) {
                    sent.push(datagram_of("/patch/disconnect", &[&id, "drone.fm"]));
                } else {
                    let by_frame = random.below(2) as usize;
                    let texts = [&id, "drone.fm", "frame"];
                    sent.push(datagram_of("/patch/connect", &texts[..2 + by_frame]));
                    self.cables.insert(back);
                    self.loops[by_frame] += 1;
                }
            }
            (_, Some(id)) => {
                self.modules.remove(any);
                self.cables.retain(|(from, to)| *from != id && *to != id);
                sent.push(datagram_of("/patch/remove", &[&id]));
            }
            (_, None) => {}
        }
        sent.push(datagram_of("/patch/commit", &[]));
        sent
    }

    fn connect(&mut self, from: &str, to: &str, sent: &mut Vec<Vec<u8>>) {
        sent.push(datagram_of("/patch/connect", &[from, to]));
        self.cables.insert((from.to_owned(), to.to_owned()));
    }

    /// Whether the instance has that patch in force.
    fn is_in_force(&self, stack: &Stack) -> Result<bool> {
        let patch = stack.ask(&Request::PatchShow)?;
        let patch = Patch::from_json(&patch.to_string())?;
        let ids: Vec<_> = patch.modules.iter().skip(4).map(|m| m.id.clone()).collect();
        let cables = patch.cables.into_iter().skip(TONE.len());
        let cables: BTreeSet<_> = cables.map(|cable| (cable.from, cable.to)).collect();
        Ok(ids == self.modules && cables == self.cables)
    }
}

/// Values sent between edits refer to the patch before the edit. A value that is resolved again for the new patch is
/// not overtaken by a later one.
#[test]
fn nothing_overtakes_what_a_new_patch_sends_back() -> Result<()> {
    let stack = Stack::start(&["--sink", "null", "--lead", "48"])?;
    stack.wait_protected()?;
    let mut random = Random::seeded(40);
    let rounds = count_of("UNDERSTUDY_ROUNDS", 300);
    let edits: [(&str, &[&str]); 6] = [
        ("/patch/create", &["more", "filter"]),
        ("/patch/connect", &["filter", "more"]),
        ("/patch/connect", &["more", "out"]),
        ("/patch/commit", &[]),
        ("/patch/remove", &["more"]),
        ("/patch/commit", &[]),
    ];
    for _ in 0..rounds {
        for (address, texts) in edits {
            let cutoff = 1_000.0 + random.below(1_000) as f32;
            stack.raw_send(&datagram("/mod/filter/cutoff", Some(cutoff)))?;
            stack.raw_send(&datagram_of(address, texts))?;
            sleep(Duration::from_micros(random.below(400)));
        }
    }
    let sent = 12 * rounds;
    stack.wait_for("all that was sent", |status| {
        let count = |what: &str| number(status, &format!("/commands/{what}")).unwrap_or(0);
        count("accepted") + count("rejected") >= sent && count("applied") == count("accepted")
    })?;
    let commands = stack.status()?["commands"].clone();
    let fails = stack.replies("/fail");
    println!(
        "FIGURE {rounds} modules created, connected and removed again, a value between any two edits: refused {}",
        commands["rejected"]
    );
    assert_eq!(
        (number(&commands, "/rejected")?, fails.len()),
        (0, 0),
        "{fails:?}"
    );
    Ok(())
}

/// The tone by itself, without edits.
fn alone(format: AudioFormat, frames: usize) -> Result<Vec<f32>> {
    platform::realtime::flush_denormals();
    let mut engine = Engine::new(&Patch::from_json(&tone())?, format.into())?;
    let mut block = vec![0.0; format.block_samples()];
    let mut left = Vec::with_capacity(frames);
    while left.len() < frames {
        engine.render(&mut block, &mut |_| {});
        left.extend(block.chunks(2).map(|frame| frame[0]));
    }
    Ok(left)
}

#[test]
fn a_tone_beside_edits_and_kills_does_not_change_by_one_sample() -> Result<()> {
    let edits = count_of("UNDERSTUDY_EDITS", 60);
    let kills = count_of("UNDERSTUDY_KILLS", 6);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tone.json");
    std::fs::write(&file, tone())?;
    let file = file.display().to_string();
    let (stack, recording) = Stack::start_wav(&["--patch", &file])?;
    let mut random = Random::seeded(71);
    let mut wanted = Wanted::default();
    stack.wait_protected()?;
    for edit in 0..edits {
        for datagram in wanted.change(&mut random) {
            stack.raw_send(&datagram)?;
        }
        // Some edits come while the one before is still fading.
        sleep(Duration::from_micros(random.below(16_000)));
        if edit * kills / edits != (edit + 1) * kills / edits {
            stack.wait_protected()?;
            let target = match random.below(6) {
                0 | 1 => Target::Leader,
                2 | 3 => Target::Follower,
                4 => Target::Service(Service::Supervisor),
                _ => Target::Service(Service::OscGateway),
            };
            // A killed supervisor or gateway cannot answer.
            let _ = stack.inject(Fault::Signal(SIGKILL), target);
        }
    }
    stack.wait_for_patiently("all edits to be in force", |_| {
        wanted.is_in_force(&stack).is_ok_and(|is| is)
    })?;
    stack.wait_protected()?;
    sleep(Duration::from_millis(100));
    let status = stack.status()?;
    let (failed, log) = (stack.replies("/fail"), stack.log());
    let remains = stack.down()?;
    let (compared, differing) = remains.compare(&recording.wav)?;
    let heard = ear::read_wav(&recording.wav)?;
    let left: Vec<f32> = heard.iter().step_by(2).copied().collect();
    let right: Vec<f32> = heard.iter().skip(1).step_by(2).copied().collect();
    let format = remains.replay(|_| {})?;
    let changed = ear::differing(&left, &alone(format, left.len())?);
    println!(
        "FIGURE {edits} edits ({} cables back by a block, {} by a frame) and {kills} kills beside a tone: samples of it that differ {changed} of {}, edits lost 0, concealed {}; samples that differ from the replay {differing} of {compared}",
        wanted.loops[0],
        wanted.loops[1],
        left.len(),
        status["audio"]["concealed_blocks"]
    );
    ensure!(failed.is_empty(), "{failed:?} {log}");
    assert!(
        ear::peak(&left) > 0.3 && ear::peak(&right) > 0.1,
        "all sounds"
    );
    assert!(wanted.loops.iter().all(|closed| *closed > 0));
    assert_eq!((changed, differing), (0, 0), "{log}");
    assert_eq!(number(&status, "/audio/concealed_blocks")?, 0);
    Ok(())
}

/// Presets are stored, recalled and mixed while supervisor, gateway and workers are killed. The presets stay in the
/// patch, and their effects are in the log.
#[test]
fn presets_outlive_everybody() -> Result<()> {
    let (stack, recording) = Stack::start_wav(&[])?;
    stack.wait_protected()?;
    stack.osc_send("/test", None)?;
    let texts = |address: &str, texts: &[&str]| stack.raw_send(&datagram_of(address, texts));
    let cutoff = |hz: f64| {
        let shown = || stack.ask(&Request::PatchShow);
        stack.wait_for_patiently("the cutoff", |_| {
            shown().is_ok_and(|p| {
                p["modules"][2]["params"]["cutoff"]
                    .as_f64()
                    .is_some_and(|now| (now - hz).abs() < 0.5)
            })
        })
    };
    let kill = |target| {
        let _ = stack.inject(Fault::Signal(SIGKILL), target);
    };
    stack.osc_send("/mod/filter/cutoff", Some(300.0))?;
    texts("/preset/save", &["filter", "dark"])?;
    kill(Target::Service(Service::OscGateway));
    stack.osc_send("/mod/filter/cutoff", Some(4_800.0))?;
    texts("/preset/save", &["filter", "bright"])?;
    kill(Target::Service(Service::Supervisor));
    texts("/preset/load", &["filter", "dark"])?;
    cutoff(300.0)?;
    stack.wait_protected()?;
    kill(Target::Leader);
    let mut morph = b"/preset/morph\0\0\0,sssff\0\0filter\0\0dark\0\0\0\0bright\0\0".to_vec();
    morph.extend([0.5_f32, 50.0].into_iter().flat_map(f32::to_be_bytes));
    stack.raw_send(&morph)?;
    cutoff(1_200.0)?;
    texts("/preset/load", &["filter", "drak"])?;
    texts("/preset/list", &["filter"])?;
    let heard = std::cell::RefCell::new(Vec::new());
    stack.wait_for_patiently("the list", |_| {
        heard.borrow_mut().extend(stack.replies("/"));
        let has = |text: &str| heard.borrow().iter().any(|reply| reply.contains(text));
        has(r#"{"filter":["bright","dark"]}"#) && has("did you mean")
    })?;
    let patch = stack.ask(&Request::PatchShow)?;
    assert_eq!(patch["presets"]["filter"]["dark"]["cutoff"], json!(300.0));
    stack.wait_protected()?;
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    assert_eq!(differing, 0, "of {compared}");
    Ok(())
}
