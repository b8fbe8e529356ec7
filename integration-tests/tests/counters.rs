//! The limits of every counter, and changes of the wall clock. A run that begins just below a limit plays, survives
//! kills, and is recorded and rendered again like any other. Setting the wall clock moves no event.
//!
//! `UNDERSTUDY_FIRST_BLOCK` is the first block of a fresh run. `UNDERSTUDY_FIRST_NUMBER` is the number after which
//! all other counters begin: sequence numbers, tickets, submission ids, epochs, incarnations, patches, segments,
//! places of the log, futex words.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use common::{
    command::{Command as Accepted, Event},
    limits::safety_delay_frames,
    message::{Fault, Request, SIGKILL, Service, Target},
    recording::Wish,
    stage::Stage,
    units::FrameIndex,
};
use integration_tests::{
    ear,
    random::Random,
    stack::{Recording, Stack, datagram, datagram_of, note_at, number, text, understudy},
};
use platform::realtime;
use serde_json::Value;

const RATE: u32 = 48_000;

/// The default patch with other modules that count: a clock, a playing sequence, an oscillator.
const COUNTING: &str = r#"{"version": 1, "modules": [
    {"id": "sine", "type": "sine", "params": {"freq": 330, "gain": 0.2}}, {"id": "adsr", "type": "adsr"},
    {"id": "filter", "type": "filter"}, {"id": "clock", "type": "clock", "params": {"bpm": 174}},
    {"id": "lfo", "type": "lfo"}, {"id": "kick", "type": "kick"}, {"id": "hat", "type": "hat"},
    {"id": "echo", "type": "delay"}, {"id": "keys", "type": "midi_in"},
    {"id": "out", "type": "out", "channels": 1}],
    "cables": [{"from": "sine", "to": "adsr"}, {"from": "adsr", "to": "filter"}, {"from": "filter", "to": "echo"},
    {"from": "lfo", "to": "filter.cutoff"}, {"from": "clock.trigger", "to": "out"}, {"from": "kick", "to": "out"},
    {"from": "hat", "to": "out"}, {"from": "echo", "to": "out"}, {"from": "keys.gate", "to": "out"}],
    "sequences": [{"id": "beat", "bpm": 171.3, "division": 16, "pattern": "X..xx.x.", "running": true,
    "targets": [{"module": "kick", "role": "gate"}]}]}"#;

/// A hundred years of blocks, of 128 frames and of 16. A run with a device's timing passes the latter number in
/// blocks of 128, since no lead in blocks of 16 is long enough on a shared machine; freewheel passes it in blocks of
/// 16.
const CENTURY: u64 = 1_183_410_000_000;
const CENTURY_OF_16: u64 = 8 * CENTURY;

/// Where a run begins, and the limit that its blocks or frames pass.
struct Edge {
    name: &'static str,
    block: u64,
    number: u64,
}

const fn edge(name: &'static str, block: u64, number: u64) -> Edge {
    Edge {
        name,
        block,
        number,
    }
}

/// Starts below a limit of blocks, or of frames at 128 per block, and below a limit of all other numbers.
const EDGES: [Edge; 7] = [
    edge("2^24 frames, numbers 2^16", 1 << 17, 1 << 16),
    edge("2^31 frames, numbers 2^24", 1 << 24, 1 << 24),
    edge("2^32 frames, numbers 2^31", 1 << 25, 1 << 31),
    edge("2^31 blocks, numbers 2^32", 1 << 31, 1 << 32),
    edge("2^32 blocks, numbers 2^40", 1 << 32, 1 << 40),
    edge("2^40 blocks, numbers of 100 years", 1 << 40, CENTURY),
    edge(
        "as many blocks as 100 years of blocks of 16",
        CENTURY_OF_16,
        1 << 45,
    ),
];

/// How many blocks of 128 frames below the limit a run begins: 1.6 s.
const BEFORE: u64 = 600;
/// How far below the limit all other numbers begin: commands, tickets, incarnations, switches and segments pass it.
const NUMBERS_BEFORE: u64 = 3;

/// Starts an instance at that block and with those numbers.
fn start(first: (u64, u64), patch: &str, options: &[&str]) -> Result<(Stack, Recording)> {
    let recording = Recording::in_folder(tempfile::tempdir()?);
    let folder = recording.wav.parent().context("a folder")?;
    let file = folder.join("patch.json");
    fs::write(&file, patch)?;
    let (sink, file) = (
        format!("wav:{}", recording.wav.display()),
        file.display().to_string(),
    );
    let usual = ["--sink", &sink, "--patch", &file, "--channels", "1"];
    let environment = [
        ("UNDERSTUDY_FIRST_BLOCK", first.0.to_string()),
        ("UNDERSTUDY_FIRST_NUMBER", first.1.to_string()),
    ];
    let options = [&usual[..], options].concat();
    let stack = Stack::start_in(tempfile::tempdir()?, &options, &environment)?;
    Ok((stack, recording))
}

/// The values sent to `adsr.attack`, in the order of the log, and the number of the last command.
fn attacks(stack: &Stack) -> Result<(Vec<f32>, u64)> {
    let commands = stack.commands_after(0)?;
    let last = commands.last().context("no commands")?.0;
    let value = |(_, command): &(u64, Accepted)| match *command {
        Accepted::Event(Event::Param {
            module: 1,
            param: 0,
            value,
        }) => Some(value),
        _ => None,
    };
    Ok((commands.iter().filter_map(value).collect(), last))
}

fn kill(stack: &Stack, target: Target) {
    // A killed supervisor cannot answer. A process that is just being started is killed once it runs.
    let _ = stack.inject(Fault::Signal(SIGKILL), target);
}

/// The results of a run across a limit.
#[derive(Default)]
struct Passed {
    commands: u64,
    lost: u64,
    samples: usize,
    differing: usize,
    recorded: usize,
    wrongly: usize,
    kills: u64,
    concealed: u64,
}

/// Passes a limit with commands, notes, edits and a recording, while each process is killed in turn.
fn pass(edge: &Edge, seed: u64) -> Result<Passed> {
    let first = (edge.block - BEFORE, edge.number - NUMBERS_BEFORE);
    let segments = ["--segment-size", "4kB", "--segment-age", "1s"];
    let (stack, recording) = start(first, COUNTING, &segments)?;
    stack.wait_protected()?;
    let begun = stack.ask(&Request::Record(Wish::Start(Some("edge".into()))))?;
    let from_frame = number(&begun, "/from_frame")?;
    let shared = stack.shared()?;
    let stage = &shared.stage;
    let frames = u64::from(stage.format().block_frames);
    let mut random = Random::seeded(seed);
    let service = Target::Service;
    let targets = [
        Target::Leader,
        service(Service::Supervisor),
        Target::Follower,
        service(Service::OscGateway),
        Target::Leader,
        service(Service::AudioOut),
        Target::Leader,
        service(Service::Recorder),
        Target::Leader,
        service(Service::Supervisor),
    ];
    stack.osc_send("/gate/adsr", Some(1.0))?;
    let (mut sent, mut kills) = (0, 0);
    let limit = Instant::now() + Duration::from_secs(60);
    // Until half a second after the limit at least, and until all kills are done.
    let beyond = edge.block + 190;
    while stage.cursor().0 < beyond || kills < targets.len() {
        ensure!(
            Instant::now() < limit,
            "block {} after a minute",
            stage.cursor()
        );
        for _ in 0..8 {
            sent += 1;
            stack.raw_send(&datagram("/mod/adsr/attack", Some(sent as f32 / 16.0)))?;
            stack.change_something(&mut random)?;
            let tag = realtime::ntp_now() + (random.below(60) << 32) / 1_000;
            stack.raw_send(&note_at(tag, 20 + random.below(100) as i32, 20.0)?)?;
            std::thread::sleep(Duration::from_millis(random.below(10)));
        }
        if sent % 3 == 0 {
            let update = ["beat", ["x.x.xx..", "X..xx.x."][kills % 2]];
            stack.raw_send(&datagram_of("/seq/update", &update))?;
        }
        if let Some(target) = targets.get(kills) {
            stack.wait_protected_patiently()?;
            kill(&stack, *target);
            kills += 1;
        }
    }
    stack.wait_protected_patiently()?;
    let wanted = sent as u64;
    stack.wait_for_patiently("all commands to be applied", |status| {
        let count = |path| number(status, path).unwrap_or(0);
        count("/commands/received") > 2 * wanted
            && count("/commands/applied") >= count("/commands/accepted")
    })?;
    stack.ask(&Request::Record(Wish::Stop))?;
    let status = stack.status()?;
    stack.end()?;
    let played = ear::read_wav(&recording.wav)?;
    let (rendered, _) = stack.rendered(&recording.wav, &[])?;
    ensure!(
        played.len() == rendered.len(),
        "{} samples were played, {} are rendered: {}",
        played.len(),
        rendered.len(),
        edge.name
    );
    let recorded = ear::read_wav(&stack.paths().recordings().join("edge.wav"))?;
    let at = (from_frame - first.0 * frames) as usize;
    let (values, last) = attacks(&stack)?;
    let in_order = values
        .iter()
        .zip(1..)
        .filter(|(v, n)| **v == *n as f32 / 16.0);
    let loud = played.iter().any(|sample| sample.abs() > 0.1);
    ensure!(
        loud && played.len() as u64 > (BEFORE + 190) * 128,
        "{}",
        edge.name
    );
    ensure!(last > edge.number, "command {last}: {}", edge.name);
    let epoch = number(&status, "/epoch")?;
    ensure!(epoch > edge.number, "epoch {epoch}: {}", edge.name);
    let incarnation = stage.slot(common::units::Slot::One).incarnation();
    ensure!(incarnation.0 > edge.number, "life {incarnation}");
    Ok(Passed {
        commands: number(&status, "/commands/accepted")?,
        lost: (sent as u64).abs_diff(in_order.count() as u64)
            + (values.len() as u64).abs_diff(sent as u64),
        samples: played.len(),
        differing: ear::differing(&played, &rendered),
        recorded: recorded.len(),
        wrongly: ear::differing(&recorded, &played[at..]),
        kills: kills as u64,
        concealed: number(&status, "/audio/concealed_blocks")?,
    })
}

#[test]
fn no_counter_has_an_edge() -> Result<()> {
    let mut all = Passed::default();
    for (seed, edge) in (41..).zip(&EDGES) {
        let passed = pass(edge, seed).with_context(|| edge.name)?;
        println!(
            "{}: {} samples, {} differ; {} commands, {} lost or doubled; {} samples recorded, {} differ; {} kills, {} concealed",
            edge.name,
            passed.samples,
            passed.differing,
            passed.commands,
            passed.lost,
            passed.recorded,
            passed.wrongly,
            passed.kills,
            passed.concealed
        );
        all.commands += passed.commands;
        all.lost += passed.lost;
        all.samples += passed.samples;
        all.differing += passed.differing;
        all.recorded += passed.recorded;
        all.wrongly += passed.wrongly;
        all.kills += passed.kills;
        all.concealed += passed.concealed;
    }
    println!(
        "FIGURE edges of all counters ({} runs), {} kills: samples that differ {} of {}; commands lost or doubled {} of {}; recorded samples that differ {} of {}; concealed {}",
        EDGES.len(),
        all.kills,
        all.differing,
        all.samples,
        all.lost,
        all.commands,
        all.wrongly,
        all.recorded,
        all.concealed
    );
    assert_eq!((all.differing, all.lost, all.wrongly), (0, 0, 0));
    assert_eq!(all.concealed, 0);
    Ok(())
}

/// In freewheel, with thousands of blocks a second: each process is killed on both sides of the limit.
#[test]
fn nor_has_one_without_a_clock() -> Result<()> {
    killed_across(1 << 40, "2^40 blocks", &[])
}

#[test]
fn nor_has_one_without_a_clock_in_blocks_of_16() -> Result<()> {
    let what = "100 years of blocks of 16";
    killed_across(CENTURY_OF_16, what, &["--block", "16"])
}

fn killed_across(edge: u64, what: &str, options: &[&str]) -> Result<()> {
    let first = (edge - 40_000, edge - 20);
    let options = [&["--freewheel", "--segment-size", "100kB"], options].concat();
    let (stack, recording) = start(first, COUNTING, &options)?;
    let stage = stack.shared()?.stage;
    let mut random = Random::seeded(43);
    let mut kills = 0;
    while stage.cursor().0 < edge + 20_000 || kills < 12 {
        stack.wait_protected_patiently()?;
        stack.change_something(&mut random)?;
        let service = Target::Service(Service::Supervisor);
        kill(
            &stack,
            [Target::Leader, Target::Follower, service][kills % 3],
        );
        kills += 1;
    }
    stack.wait_protected_patiently()?;
    stack.end()?;
    let played = ear::read_wav(&recording.wav)?;
    let (rendered, _) = stack.rendered(&recording.wav, &[])?;
    let differing = ear::differing(&played, &rendered);
    println!(
        "FIGURE {what} without a clock, {kills} kills: samples that differ {differing} of {}",
        played.len()
    );
    assert_eq!((differing, played.len()), (0, rendered.len()));
    Ok(())
}

/// A keyboard whose gate is the output: each onset is the first sample of a level.
const KEYS: &str = r#"{"version": 1, "modules": [{"id": "keys", "type": "midi_in"},
    {"id": "out", "type": "out"}], "cables": [{"from": "keys.gate", "to": "out"}]}"#;

fn onsets(samples: &[f32]) -> Vec<u64> {
    samples
        .windows(2)
        .zip(1..)
        .filter(|(pair, _)| pair[0] == 0.0 && pair[1] != 0.0)
        .map(|(_, frame)| frame)
        .collect()
}

/// The time by the wall clock, as the stack sees it.
fn now(stage: &Stage<'_>) -> u64 {
    realtime::ntp_now().wrapping_add(stage.clock_set_by())
}

/// Sends a note that takes effect in `ms` milliseconds; returns its frame.
fn send_ahead(stack: &Stack, stage: &Stage<'_>, ms: u64, velocity: i32) -> Result<FrameIndex> {
    let timing = realtime::timing(stage).context("no clock")?;
    let at = now(stage).wrapping_add((ms << 32) / 1_000);
    let frame = timing.frame(at);
    // In the middle of a frame: two readings of the clocks differ by less than half a frame.
    stack.raw_send(&note_at(timing.tag(frame), velocity, 3.0)?)?;
    Ok(frame)
}

/// The offset of the set clock from the machine's clock, computed when the clock is set.
type Set<'a> = Box<dyn Fn() -> u64 + 'a>;

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Sets the clock back and forth by hours, across notes that wait for their frames, and across the end of NTP's era
/// in 2036, while each process is killed; in the first blocks and after a hundred years.
#[test]
fn the_clock_on_the_wall_may_be_set_and_every_note_comes_in_at_its_frame() -> Result<()> {
    let (mut notes, mut off, mut late) = (0, 0_u64, 0);
    let (mut differing, mut compared) = (0, 0);
    for first in [0, CENTURY] {
        let (stack, recording) = start((first, 0), KEYS, &[])?;
        stack.wait_protected()?;
        let stage = stack.shared()?.stage;
        let begin = first * u64::from(stage.format().block_frames);
        pause(1_500);
        let hours = |hours: i64| ((hours * 3_600) << 32).cast_unsigned();
        // An era begins when NTP's seconds are 0 again.
        let until_era = || 0_u64.wrapping_sub(realtime::ntp_now());
        let gateway = Target::Service(Service::OscGateway);
        let audio = Target::Service(Service::AudioOut);
        let sets: [(Set<'_>, Option<Target>); 7] = [
            (Box::new(|| hours(3)), None),
            (Box::new(|| hours(-5)), Some(gateway)),
            (Box::new(|| hours(0)), Some(audio)),
            (Box::new(|| hours(50)), Some(Target::Leader)),
            (Box::new(|| hours(-30)), None),
            // Half a second before the era ends.
            (Box::new(|| until_era().wrapping_sub(1 << 31)), None),
            (Box::new(|| hours(0)), Some(Target::Leader)),
        ];
        let mut wanted = Vec::new();
        for (set, killed) in &sets {
            // The clock is set while this note is on its way and waits for its frame. Other notes take effect before
            // and after it, none while it sounds, since that would close its gate for a frame.
            wanted.push(send_ahead(&stack, &stage, 140, 30)?);
            pause(60);
            if let Some(target) = killed {
                kill(&stack, *target);
            }
            stage.set_clock_by(set());
            for velocity in 1..=5 {
                pause(if velocity == 1 { 0 } else { 40 });
                let ms = if killed.is_some() { 250 } else { 60 };
                let at = send_ahead(&stack, &stage, ms, 40 + velocity)?;
                wanted.push(at);
            }
            stack.wait_protected_patiently()?;
            pause(600);
            wanted.push(send_ahead(&stack, &stage, 60, 100)?);
            pause(120);
        }
        stack.wait_played()?;
        let status = stack.status()?;
        late += number(&status, "/commands/late")?;
        stack.end()?;
        let played = ear::read_wav(&recording.wav)?;
        let (rendered, _) = stack.rendered(&recording.wav, &[])?;
        ensure!(played.len() == rendered.len(), "the lengths differ");
        differing += ear::differing(&played, &rendered);
        compared += played.len();
        let delay = u64::from(safety_delay_frames(RATE));
        let heard = onsets(&played);
        let at = |frame: &FrameIndex| frame.0 - begin + delay;
        for (note, frame) in wanted.iter().enumerate() {
            if let Err(place) = heard.binary_search(&at(frame)) {
                let near = heard.get(place.saturating_sub(1)..).unwrap_or_default();
                println!("note {note} was due at {}: {:?}", at(frame), near.get(..2));
                off += 1;
            }
        }
        notes += wanted.len();
        ensure!(
            heard.len() == wanted.len(),
            "{} notes were sent, {} are heard: {:?} {heard:?}",
            wanted.len(),
            heard.len(),
            wanted.iter().map(at).collect::<Vec<_>>()
        );
    }
    println!(
        "FIGURE clock on the wall set 14 times by up to 80 hours and across the end of 2036's era: notes off their frame {off} of {notes}, {late} late; samples that differ {differing} of {compared}"
    );
    assert_eq!(differing, 0);
    // On a machine that pauses for tens of milliseconds, a note may be late; it is counted then.
    assert!(off <= late && 20 * late <= notes as u64, "{off} {late}");
    Ok(())
}

#[test]
fn a_first_number_that_is_none_is_told_in_one_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (variable, value) in [
        ("UNDERSTUDY_FIRST_BLOCK", "x"),
        ("UNDERSTUDY_FIRST_BLOCK", "-1"),
        ("UNDERSTUDY_FIRST_BLOCK", "18446744073709551615"),
        ("UNDERSTUDY_FIRST_NUMBER", "99999999999999999999"),
    ] {
        let mut command: Command = understudy(folder.path());
        let output = command
            .args(["up", "--detach", "--sink", "null"])
            .env(variable, value)
            .output()?;
        let said = text(&output.stderr);
        let first = said.lines().next().unwrap_or_default();
        let option = variable[11..].to_lowercase().replace('_', "-");
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(first.contains(value) && first.contains(&option), "{said}");
    }
    Ok(())
}

#[test]
fn the_status_of_a_hundred_years_is_exact() -> Result<()> {
    let first = CENTURY - 100;
    let (stack, _recording) = start((first, 1 << 40), KEYS, &[])?;
    stack.wait_protected()?;
    let status: Value = stack.status()?;
    let cursor = number(&status, "/audio/play_cursor")?;
    assert!((first..first + 100_000).contains(&cursor), "{cursor}");
    let output = stack.verb(&["status"])?;
    println!("{}", text(&output.stdout));
    assert!(output.status.success());
    Ok(())
}
