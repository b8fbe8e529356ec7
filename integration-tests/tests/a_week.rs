//! Freewheel for hours of music, or a week, with commands and edits. A process is killed every ten seconds of
//! music, or as soon as the last one has been replaced. The log renders what was played, no command is lost, and
//! no count of resources grows.
//!
//! `UNDERSTUDY_HOURS` is the number of hours of music. The music is recorded in parts. Each part is compared with
//! what the log renders while the next one is recorded, so at most two parts are on the disk.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use common::{
    command::{Command, Event},
    message::{Fault, Request, SIGKILL, Service, Target},
    options::Bytes,
    recording::Wish,
    stage::Stage,
};
use integration_tests::{
    census::Census,
    ear,
    random::Random,
    stack::{Stack, datagram, datagram_of, number, text, understudy},
};

/// How much of the log is kept: more than two parts of music take.
const KEEP: &str = "2MB";
const SEGMENT: &str = "200kB";
/// With a lead of one block, rendering is fast, and a killed process is still replaced before the next kill.
const OPTIONS: [&str; 15] = [
    "--freewheel",
    "--lead",
    "1",
    "--block",
    "256",
    "--sink",
    "null",
    "--channels",
    "1",
    "--keep",
    KEEP,
    "--segment-size",
    SEGMENT,
    "--segment-age",
    "300s",
];
/// How many kills there are in a part.
const PART: u64 = 60;
/// Seconds of music between two kills.
const BETWEEN: u64 = 10;

fn music_seconds(stage: &Stage<'_>) -> u64 {
    let format = stage.format();
    stage.cursor().0 * u64::from(format.block_frames) / u64::from(format.rate_hz)
}

/// Sends a request again and again until a supervisor answers.
fn ask(stack: &Stack, request: &Request) -> Result<serde_json::Value> {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        match stack.ask_within(request, Duration::from_secs(5)) {
            Ok(value) => return Ok(value),
            Err(why) if Instant::now() > limit => return Err(why),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// How many times all services together have been restarted.
fn restarts(status: &serde_json::Value) -> u64 {
    let services = status["services"].as_array().into_iter().flatten();
    services
        .filter_map(|service| service["restarts"].as_u64())
        .sum()
}

/// A part of the music, while it is recorded.
struct Part {
    file: PathBuf,
    from_frame: u64,
}

impl Part {
    fn begin(stack: &Stack, number_of: u64) -> Result<Self> {
        let name = format!("part{number_of}");
        let told = ask(stack, &Request::Record(Wish::Start(Some(name))))?;
        Ok(Self {
            file: told["file"].as_str().context("a file")?.into(),
            from_frame: number(&told, "/from_frame")?,
        })
    }

    /// Ends the recording of this part.
    fn end(self, stack: &Stack) -> Result<Self> {
        let told = ask(stack, &Request::Record(Wish::Stop))?;
        ensure!(told["missing_frames"] == 0, "{told}");
        Ok(self)
    }

    /// Compares the part with what the log renders, and removes it. Returns how many samples were compared and how
    /// many differ.
    fn compare(self, stack: &Stack, block_frames: u64) -> JoinHandle<Result<(usize, usize)>> {
        let folder = stack.folder.path().to_owned();
        thread::spawn(move || {
            let recorded = ear::read_wav(&self.file)?;
            let again = self.file.with_extension("again.wav");
            let first = self.from_frame / block_frames;
            let end = first + recorded.len() as u64 / block_frames;
            let limit = Instant::now() + Duration::from_secs(60);
            let rendered = loop {
                let output = understudy(&folder)
                    .args(["replay", "--instance", "test"])
                    .args(["--from", &format!("#{first}"), "--to", &format!("#{end}")])
                    .args(["-o", &again.display().to_string()])
                    .output()?;
                let said = text(&output.stderr);
                ensure!(output.status.success() && said.is_empty(), "{said}");
                let rendered = ear::read_wav(&again)?;
                if rendered.len() == recorded.len() {
                    break rendered;
                }
                // How far the music has been played is logged once a second, which is minutes of this music.
                ensure!(
                    rendered.len() < recorded.len() && Instant::now() < limit,
                    "{} samples recorded, {} rendered",
                    recorded.len(),
                    rendered.len()
                );
                thread::sleep(Duration::from_secs(1));
            };
            for file in [&self.file, &again] {
                fs::remove_file(file)?;
            }
            Ok((recorded.len(), ear::differing(&recorded, &rendered)))
        })
    }
}

/// Numbered commands and edits, and how many of them the log holds.
#[derive(Default)]
struct Traffic {
    sent: u64,
    edits: u64,
    found: u64,
    edited: u64,
    wrong: u64,
    last: u64,
    is_there: bool,
}

impl Traffic {
    fn send(&mut self, stack: &Stack, random: &mut Random) -> Result<()> {
        for _ in 0..3 {
            // In sixteenths, up to 100,000 of them: the parameter's maximum is 10,000.
            let value = (self.sent % 100_000 + 16) as f32 / 16.0;
            self.sent += 1;
            stack.raw_send(&datagram("/mod/adsr/attack", Some(value)))?;
            stack.change_something(random)?;
        }
        if random.below(4) == 0 {
            let edits: &[(&str, &[&str])] = match self.is_there {
                true => &[("/patch/remove", &["more"])],
                false => &[
                    ("/patch/create", &["more", "filter"]),
                    ("/patch/connect", &["filter", "more"]),
                    ("/patch/connect", &["more", "out"]),
                ],
            };
            for (address, texts) in edits {
                stack.raw_send(&datagram_of(address, texts))?;
            }
            stack.raw_send(&datagram_of("/patch/commit", &[]))?;
            self.is_there = !self.is_there;
            self.edits += 1;
        }
        Ok(())
    }

    /// Checks the part of the log that was written since the last check.
    fn check(&mut self, stack: &Stack) -> Result<()> {
        let wanted = 2 * self.sent;
        stack.wait_for_patiently("all that was sent", |status| {
            number(status, "/commands/accepted").is_ok_and(|n| n > wanted)
                && number(status, "/commands/applied").ok()
                    == number(status, "/commands/accepted").ok()
        })?;
        let commands = stack.commands_after(self.last)?;
        let first = commands.first().map_or(self.last, |(seq, _)| *seq);
        ensure!(
            first <= self.last + 1,
            "what was sent was deleted before it was looked at: from command {} to {first}",
            self.last
        );
        for (seq, command) in commands {
            // No command may be missing between the last check and now.
            self.wrong += (seq - self.last - 1).min(1);
            self.last = seq;
            match command {
                Command::Event(Event::Param {
                    module: 1,
                    param: 0,
                    value,
                }) => {
                    let next = (self.found % 100_000 + 16) as f32 / 16.0;
                    self.wrong += u64::from(value != next);
                    self.found += 1;
                }
                Command::Edited(_) => self.edited += 1,
                _ => {}
            }
        }
        Ok(())
    }
}

/// What has grown by more than a hundredth and the usual variation. Memory is compared even for processes that
/// were replaced.
fn grown(before: &Census, after: &Census) -> Vec<String> {
    let same = |census: &Census| Census {
        pids: BTreeMap::new(),
        ..census.clone()
    };
    same(after).grown_since(&same(before))
}

#[test]
fn hours_without_a_clock_leave_everything_as_it_was() -> Result<()> {
    let hours = std::env::var("UNDERSTUDY_HOURS").ok();
    let hours: f64 = hours.and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let kills = (hours * 3_600.0 / BETWEEN as f64) as u64;
    let begun = Instant::now();
    let stack = Stack::start(&OPTIONS)?;
    stack.wait_protected()?;
    let stage = stack.shared()?.stage;
    let block_frames = u64::from(stage.format().block_frames);
    let service = Target::Service;
    // A supervisor that dies soon after its start is restarted only after a pause.
    let targets = [
        Target::Leader,
        service(Service::OscGateway),
        Target::Follower,
        service(Service::AudioOut),
        Target::Leader,
        service(Service::Recorder),
        Target::Follower,
        Target::Leader,
        service(Service::OscGateway),
        Target::Follower,
        service(Service::AudioOut),
        Target::Leader,
        service(Service::Recorder),
        Target::Follower,
        service(Service::Supervisor),
    ];
    let (mut random, mut traffic) = (Random::seeded(168), Traffic::default());
    let mut part = Part::begin(&stack, 0)?;
    let mut compared: Option<JoinHandle<Result<(usize, usize)>>> = None;
    let (mut samples, mut differing, mut most_kept) = (0, 0, 0);
    let mut total = |handle: Option<JoinHandle<Result<(usize, usize)>>>| -> Result<(usize, usize)> {
        if let Some(handle) = handle {
            let (count, wrong) = handle.join().ok().context("it panicked")??;
            (samples, differing) = (samples + count, differing + wrong);
        }
        Ok((samples, differing))
    };
    stack.osc_send("/gate/adsr", Some(1.0))?;
    let mut before = Census::default();
    for kill in 0..kills {
        while music_seconds(&stage) < kill * BETWEEN {
            thread::sleep(Duration::from_millis(1));
        }
        if kill == kills / 10 {
            stack.wait_protected_patiently()?;
            traffic.check(&stack)?;
            before = Census::of(&stack)?;
            traffic.check(&stack)?;
        }
        traffic.send(&stack, &mut random)?;
        let target = targets[kill as usize % targets.len()];
        let before = restarts(&ask(&stack, &Request::Status)?);
        // A killed supervisor cannot answer.
        let _ = stack.inject(Fault::Signal(SIGKILL), target);
        stack.wait_for_patiently("who was killed", |status| {
            restarts(status) > before && status["state"] == "protected"
        })?;
        traffic.send(&stack, &mut random)?;
        // Check the log long before its oldest segments are deleted.
        if kill % 20 == 19 {
            traffic.check(&stack)?;
        }
        if kill % PART == PART - 1 {
            let done = part.end(&stack)?;
            part = Part::begin(&stack, kill + 1)?;
            total(compared.take())?;
            compared = Some(done.compare(&stack, block_frames));
            let closed = platform::segments::closed(stack.paths());
            most_kept = most_kept.max(closed.iter().map(|closed| closed.bytes).sum());
        }
        if kill % 360 == 359 {
            println!(
                "{} kills, {} s of music in {:.0} s",
                kill + 1,
                music_seconds(&stage),
                begun.elapsed().as_secs_f64()
            );
        }
    }
    stack.wait_protected_patiently()?;
    let last = part.end(&stack)?;
    total(compared.take())?;
    compared = Some(last.compare(&stack, block_frames));
    let (samples, differing) = total(compared.take())?;
    traffic.check(&stack)?;
    let after = Census::of(&stack)?;
    let status = stack.status()?;
    let music = music_seconds(&stage);
    let closed = platform::segments::closed(stack.paths());
    let first = closed.first().context("closed segments")?.number;
    stack.end()?;
    println!(
        "FIGURE {:.2} hours of music without a clock in {:.0} s, {kills} kills, one every {} s of music: samples that differ {differing} of {samples}; commands lost or doubled {} of {}, edits {} of {}; concealed {}; kept at most {most_kept} bytes of log (--keep {KEEP}), from segment {first} on",
        music as f64 / 3_600.0,
        begun.elapsed().as_secs_f64(),
        music / kills.max(1),
        traffic.wrong + traffic.sent.abs_diff(traffic.found),
        traffic.sent,
        traffic.edits.abs_diff(traffic.edited),
        traffic.edits,
        status["audio"]["concealed_blocks"]
    );
    println!(
        "FIGURE memory without what is shared, in KiB, after a tenth and at the end: {:?}, {:?}; descriptors {:?}, {:?}",
        before.memory_kib, after.memory_kib, before.descriptors, after.descriptors
    );
    let Bytes(keep) = KEEP.parse().map_err(anyhow::Error::msg)?;
    assert_eq!((differing, traffic.wrong), (0, 0));
    assert_eq!(
        (traffic.found, traffic.edited),
        (traffic.sent, traffic.edits)
    );
    assert!(most_kept <= keep, "{most_kept} bytes are kept");
    let grown = grown(&before, &after);
    assert!(grown.is_empty(), "{grown:#?}");
    Ok(())
}
