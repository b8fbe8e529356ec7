//! The segmented log. Whichever process is killed while segments change, the segments render what was played, bit by
//! bit, from any of them on. No command is lost or doubled, and no more segments are kept than requested.

use std::{
    collections::BTreeMap,
    fs,
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use common::{
    command::{Command, Event},
    command_log::{self, Preamble, Reader, Record},
    message::{Fault, SIGKILL, Service, Target},
};
use integration_tests::{
    ear,
    random::Random,
    stack::{Stack, count_of, datagram, number, text},
};

/// The shortest segments that are allowed.
const SHORT: [&str; 4] = ["--segment-size", "4kB", "--segment-age", "1s"];

fn segments(stack: &Stack) -> usize {
    platform::segments::closed(stack.paths()).len() + 1
}

#[test]
fn what_was_played_is_in_the_segments_whoever_is_killed_while_they_change() -> Result<()> {
    let kills = count_of("UNDERSTUDY_KILLS", 16);
    let (stack, recording) = Stack::start_wav(&SHORT)?;
    stack.wait_protected()?;
    stack.steady_tone()?;
    let mut random = Random::seeded(17);
    let supervisor = Target::Service(Service::Supervisor);
    let targets = [supervisor, Target::Leader, supervisor, Target::Follower];
    for kill in 0..kills {
        for _ in 0..40 {
            stack.change_something(&mut random)?;
            std::thread::sleep(Duration::from_millis(random.below(12)));
        }
        let target = targets[kill as usize % targets.len()];
        // A killed supervisor cannot answer.
        let _ = stack.inject(Fault::Signal(SIGKILL), target);
        if kill % 4 == 3 {
            stack.wait_protected_patiently()?;
        }
    }
    stack.wait_protected_patiently()?;
    stack.end()?;
    let count = segments(&stack);
    let (rendered, told) = stack.rendered(&recording.wav, &[])?;
    let played = ear::read_wav(&recording.wav)?;
    let differing = ear::differing(&played, &rendered);
    // A part from the middle.
    let blocks = told["blocks"].as_u64().unwrap_or(0);
    let (from, to) = (format!("#{}", blocks / 2), format!("#{}", blocks / 2 + 100));
    let (part, _) = stack.rendered(&recording.wav, &["--from", &from, "--to", &to])?;
    let samples = played.len() / blocks as usize;
    let start = samples * (blocks / 2) as usize;
    let of_part = ear::differing(&played[start..start + part.len()], &part);
    println!(
        "FIGURE {count} segments, {kills} kills while they change: samples that differ {differing} of {}, of a part {of_part} of {}; {blocks} blocks",
        played.len(),
        part.len()
    );
    assert_eq!((differing, of_part), (0, 0));
    assert_eq!(rendered.len(), played.len());
    assert_eq!(part.len(), 100 * samples);
    assert!(count > 4, "{count} segments");
    Ok(())
}

/// A segment is damaged in its middle or at its beginning: its intact part is rendered, silence replaces the rest,
/// and the next segment continues. An earlier run can be chosen. `--resume` takes the newest intact segment.
#[test]
fn a_damaged_segment_costs_what_is_damaged_and_no_more() -> Result<()> {
    let (stack, recording) = Stack::start_wav(&["--segment-size", "4kB", "--segment-age", "1s"])?;
    stack.wait_protected()?;
    stack.steady_tone()?;
    let mut random = Random::seeded(19);
    while segments(&stack) < 5 {
        stack.change_something(&mut random)?;
        thread::sleep(Duration::from_millis(10));
    }
    stack.osc_send("/mod/sine/freq", Some(432.0))?;
    stack.wait_played()?;
    stack.end()?;
    let played = ear::read_wav(&recording.wav)?;
    let closed = platform::segments::closed(stack.paths());
    let newest = stack.paths().command_log();
    let render = |more: &[&str]| -> Result<(Option<i32>, Vec<f32>, String)> {
        let output = recording.wav.with_extension("again.wav");
        let words = ["replay", "-o", &output.display().to_string()];
        let answer = stack.verb(&[&words, more].concat())?;
        let rendered = ear::read_wav(&output)?;
        fs::remove_file(output)?;
        Ok((answer.status.code(), rendered, text(&answer.stderr)))
    };
    let (code, whole, told) = render(&[])?;
    ensure!(code == Some(0) && told.is_empty(), "{told}");
    ensure!(ear::differing(&played, &whole) == 0);

    let mut wrong = Vec::new();
    let middle = &closed[2].path;
    let good = fs::read(middle)?;
    let preamble = Preamble::read(&mut Reader::new(&good[..]))?.context("a beginning")?;
    let samples = 2 * preamble.format.block_frames as usize;
    let next = fs::read(&closed[3].path)?;
    let next = Preamble::read(&mut Reader::new(&next[..]))?.context("a beginning")?;
    let begin = |preamble: &Preamble| preamble.segment.block.0 as usize * samples;
    for (what, at) in [
        ("middle", (preamble.bytes as usize + good.len()) / 2),
        ("beginning", preamble.bytes as usize / 2),
    ] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(middle, bad)?;
        let (code, rendered, told) = render(&[])?;
        let differs = |(one, other): (&f32, &f32)| one.to_bits() != other.to_bits();
        let first = rendered.iter().zip(&played).position(differs);
        let last = rendered.iter().zip(&played).rposition(differs);
        let (first, last) = (first.unwrap_or(0), last.unwrap_or(0));
        let silent = rendered[first..=last].iter().all(|sample| *sample == 0.0);
        println!(
            "FIGURE a segment damaged in its {what}: samples {first} to {last} of {} are lost, from {} to {} it reaches",
            played.len(),
            begin(&preamble),
            begin(&next)
        );
        let named =
            told.contains(&middle.display().to_string()) && told.contains("lacks the blocks");
        let within = last < begin(&next) && first + 128 * samples >= begin(&preamble);
        if code != Some(1) || rendered.len() != played.len() || !silent || !within || !named {
            wrong.push(format!("{what}: {code:?} {silent} {within} {told}"));
        }
    }
    fs::write(middle, good)?;

    // The newest segment is damaged at its beginning: the one before is resumed and rendered.
    let mut bad = fs::read(&newest)?;
    bad[100] ^= 1;
    fs::write(&newest, bad)?;
    let (code, rendered, told) = render(&[])?;
    let cut = ear::differing(&rendered, &played);
    ensure!(
        code == Some(0) && cut == 0 && !rendered.is_empty(),
        "{told}"
    );
    ensure!(told.contains(&newest.display().to_string()), "{told}");
    let up = ["up", "--detach", "--sink", "null", "--osc", "127.0.0.1:0"];
    let up = stack.verb(&[&up[..], &["--resume"]].concat())?;
    ensure!(up.status.success(), "{}", text(&up.stderr));
    stack.verb(&["down"])?;
    let log = stack.log();
    ensure!(log.contains("holds no run to resume"), "{log}");
    let (_, resumed, told) = render(&[])?;
    ensure!(told.is_empty() && !resumed.is_empty(), "{told}");
    let (_, earlier, _) = render(&["--run", "1"])?;
    ensure!(earlier.len() == rendered.len() && ear::differing(&earlier, &rendered) == 0);
    let none = stack.verb(&["replay", "--run", "7", "-o", "x.wav"])?;
    let told = text(&none.stderr);
    ensure!(
        none.status.code() == Some(1) && told.contains("run 7 is not kept"),
        "{told}"
    );
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn no_more_is_kept_than_was_asked_for_and_the_rest_can_be_rendered() -> Result<()> {
    let keep = ["--keep", "100kB"];
    let (stack, recording) = Stack::start_wav(&[&SHORT[..], &keep].concat())?;
    stack.wait_protected()?;
    stack.steady_tone()?;
    let mut random = Random::seeded(18);
    for _ in 0..600 {
        stack.change_something(&mut random)?;
        std::thread::sleep(Duration::from_millis(10));
    }
    let status = stack.status()?;
    stack.end()?;
    let closed = platform::segments::closed(stack.paths());
    let bytes: u64 = closed.iter().map(|closed| closed.bytes).sum();
    let first = closed.first().context("closed segments")?.number;
    let (rendered, _) = stack.rendered(&recording.wav, &[])?;
    let played = ear::read_wav(&recording.wav)?;
    let start = played.len() - rendered.len();
    let differing = ear::differing(&played[start..], &rendered);
    println!(
        "FIGURE kept {bytes} bytes of 100000, from segment {first} on; samples of it that differ {differing} of {}; {}",
        rendered.len(),
        status["log"]
    );
    assert_eq!(status["log"]["state"], "ok");
    assert!(first > 0 && bytes <= 100_000 && fs::metadata(&recording.wav)?.len() > 0);
    assert!(differing == 0 && start > 0);
    Ok(())
}

/// The values of one parameter in all segments of the last run, by the numbers of their commands.
fn numbers_in(stack: &Stack) -> Result<BTreeMap<u64, u32>> {
    let closed = platform::segments::closed(stack.paths());
    let files = closed.into_iter().map(|closed| closed.path);
    let mut found = BTreeMap::new();
    for file in files.chain([stack.paths().command_log()]) {
        for (_, record) in command_log::records(&fs::read(file)?) {
            if let Record::Command {
                seq,
                command:
                    Command::Event(Event::Param {
                        module: 1,
                        param: 0,
                        value,
                    }),
                ..
            } = record
            {
                found.insert(seq.0, (value * 16.0) as u32);
            }
        }
    }
    Ok(found)
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_supervisor_killed_at_each_system_call_around_a_change_loses_and_doubles_nothing() -> Result<()>
{
    use integration_tests::surgeon::kill_at_door;

    let every = count_of("UNDERSTUDY_EVERY", 9);
    let (stack, recording) = Stack::start_wav(&SHORT)?;
    stack.wait_protected()?;
    let next = stack.paths().next_command_log();
    let stop = Arc::new(AtomicBool::new(false));
    let (osc, done) = (stack.osc().to_owned(), Arc::clone(&stop));
    // In sixteenths: each value is exact.
    let sender = thread::spawn(move || -> Result<u32> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let mut sent = 0;
        while !done.load(Ordering::Relaxed) {
            sent += 1;
            socket.send_to(
                &datagram("/mod/adsr/attack", Some(sent as f32 / 16.0)),
                &osc,
            )?;
            thread::sleep(Duration::from_millis(2));
        }
        Ok(sent)
    });
    let (mut kills, mut nth) = (0, 1);
    loop {
        stack.wait_protected_patiently()?;
        // A supervisor that ends sooner after its start is restarted only after a pause.
        thread::sleep(Duration::from_millis(250));
        let mut doors_after = 0;
        let mut was_there = false;
        let came = kill_at_door(
            stack.pid("supervisor")?,
            nth,
            || next.exists(),
            || {
                was_there |= next.exists();
                doors_after += u64::from(was_there && !next.exists());
                doors_after > 30
            },
        )?;
        kills += 1;
        if !came {
            break;
        }
        nth += every;
    }
    stack.wait_protected_patiently()?;
    stop.store(true, Ordering::Relaxed);
    let sent = sender.join().expect("the sender")?;
    let all = stack.wait_for_patiently("all commands to be applied", |s| {
        number(s, "/commands/applied").is_ok_and(|n| n >= u64::from(sent))
    });
    all.with_context(|| format!("{sent} sent; {:#}", stack.status().unwrap_or_default()))?;
    let concealed = number(&stack.status()?, "/audio/concealed_blocks")?;
    stack.end()?;
    let found: Vec<u32> = numbers_in(&stack)?.into_values().collect();
    let (rendered, _) = stack.rendered(&recording.wav, &[])?;
    let played = ear::read_wav(&recording.wav)?;
    let differing = ear::differing(&played, &rendered);
    let expected: Vec<u32> = (1..=sent).collect();
    let mut once = found.clone();
    once.sort_unstable();
    once.dedup();
    println!(
        "FIGURE supervisor killed at every {every} of the doors of its system calls around the change of a segment: kills {kills}, segments {}; of {sent} commands lost {}, doubled {}; samples that differ {differing} of {}; concealed {concealed}",
        segments(&stack),
        sent as usize - once.len(),
        found.len() - once.len(),
        played.len(),
    );
    assert_eq!(found, expected);
    assert_eq!((differing, concealed), (0, 0));
    assert_eq!(rendered.len(), played.len());
    assert!(kills > 5, "it makes system calls");
    Ok(())
}
