//! A new supervisor cannot take over, since something that it needs is missing, of another build or not accessible.
//! The music goes on and the services that can be restarted are. Once that thing is back, everything is as before.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use common::{
    message::{Child, Target},
    units::Slot,
};
use integration_tests::{
    census::Census,
    damage::{complaints, kill, no_breaks, said, segments_of},
    stack::{Stack, number, service},
};

fn segment(stack: &Stack, what: &str) -> Result<PathBuf> {
    Ok(Path::new("/dev/shm").join(platform::shm::name("test", stack.first_launcher()?, what)))
}

/// The services that can be restarted while no supervisor can take over.
enum Replaced {
    All,
    Nobody,
}

/// Damages something that a new supervisor needs, then kills the supervisor, the services that can be restarted, and
/// the leader; nothing is heard. In the end the damage is repaired and the instance is taken over.
fn taken_over_in_spite_of(
    what: &str,
    replaced: Replaced,
    harm: impl Fn(&Stack) -> Result<()>,
    mend: impl Fn(&Stack) -> Result<()>,
) -> Result<()> {
    let (stack, recording) = Stack::start_wav(&[])?;
    stack.wait_protected()?;
    let steady = stack.steady_tone()?;
    let shared = stack.shared()?;
    let before = Census::of(&stack)?.pids;
    harm(&stack)?;
    kill(before["supervisor"] as u32)?;
    stack.wait_for_patiently("a word of why", |s| {
        s["state"] == "unsupervised" && !complaints(s).is_empty()
    })?;
    let status = stack.status()?;
    println!("FIGURE {what}: {}", complaints(&status));
    let (code, told) = said(&stack.verb(&["patch", "show"])?);
    assert!(code == 1, "{told}");
    sleep(Duration::from_secs(3));
    for (name, pid) in before.iter().filter(|(name, _)| *name != "supervisor") {
        assert!(
            platform::process::look(*pid as u32).is_some_and(|p| p.lives()),
            "{name} was ended"
        );
    }
    if let Replaced::All = replaced {
        for service in ["audio-out", "osc-gateway", "recorder"] {
            let is_another = |child: &Child| {
                child.service.to_string() == service && u64::from(child.pid) != before[service]
            };
            kill(before[service] as u32)?;
            let limit = Instant::now() + Duration::from_secs(20);
            while !platform::living::of(stack.paths())
                .iter()
                .any(|l| is_another(&l.child))
            {
                ensure!(
                    Instant::now() < limit,
                    "{service} is not there again\n{}",
                    stack.log()
                );
                sleep(Duration::from_millis(2));
            }
        }
        let block = shared.stage.cursor();
        let limit = Instant::now() + Duration::from_secs(20);
        while shared.stage.cursor() == block {
            ensure!(Instant::now() < limit, "nothing is played any more");
            sleep(Duration::from_millis(2));
        }
        let state = stack.status()?["state"].clone();
        ensure!(state == "unsupervised", "{state}");
    }
    let leader = shared.stage.preference().slot;
    kill(before[&format!("worker:{leader}")] as u32)?;
    sleep(Duration::from_millis(500));
    mend(&stack)?;
    stack.wait_for_patiently("protection", |s| s["state"] == "protected")?;
    stack.kill(Target::Leader)?;
    stack.wait_protected()?;
    sleep(Duration::from_millis(100));
    let status = stack.status()?;
    stack.down()?;
    no_breaks(&recording, steady)?;
    assert_eq!(number(&status, "/audio/underruns")?, 0, "{what}");
    Ok(())
}

#[test]
fn segments_of_another_build_do_not_end_the_music() -> Result<()> {
    let write = |stack: &Stack, build: u64| -> Result<()> {
        let file = fs::File::options()
            .write(true)
            .open(segment(stack, "stage")?)?;
        Ok(file.write_all_at(&build.to_ne_bytes(), 8)?)
    };
    taken_over_in_spite_of(
        "a stage of another build",
        Replaced::Nobody,
        |stack| write(stack, 999),
        |stack| write(stack, common::layout::BUILD),
    )
}

#[test]
fn segments_that_cannot_be_opened_do_not_end_the_music() -> Result<()> {
    taken_over_in_spite_of(
        "a ring that cannot be opened",
        Replaced::Nobody,
        |stack| {
            let place = segment(stack, "ring-0")?;
            fs::rename(&place, place.with_extension("away"))?;
            Ok(fs::create_dir(&place)?)
        },
        |stack| {
            let place = segment(stack, "ring-0")?;
            fs::remove_dir(&place)?;
            Ok(fs::rename(place.with_extension("away"), &place)?)
        },
    )
}

#[test]
fn a_log_that_is_missing_does_not_end_the_music() -> Result<()> {
    let both = |stack: &Stack| -> Result<[PathBuf; 2]> {
        Ok([segment(stack, "ledger")?, stack.paths().command_log()])
    };
    taken_over_in_spite_of(
        "a command log that is missing, and its ledger",
        Replaced::All,
        |stack| {
            for file in both(stack)? {
                fs::rename(&file, file.with_extension("away"))?;
            }
            Ok(())
        },
        |stack| {
            for file in both(stack)? {
                fs::rename(file.with_extension("away"), &file)?;
            }
            Ok(())
        },
    )
}

#[test]
fn descriptors_that_are_used_up_do_not_end_the_music() -> Result<()> {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let limit = |stack: &Stack, files: u64| -> Result<()> {
        let pid = Pid::from_raw(stack.launcher()? as i32);
        let files = Rlimit {
            current: Some(files),
            maximum: Some(4_096),
        };
        prlimit(pid, Resource::Nofile, files)?;
        Ok(())
    };
    taken_over_in_spite_of(
        "no descriptor left",
        Replaced::Nobody,
        |stack| limit(stack, 22),
        |stack| limit(stack, 4_096),
    )
}

/// All names of segments are removed: a new process finds the segments through the processes that hold them.
#[test]
fn segments_whose_names_are_gone_are_taken_over() -> Result<()> {
    let (stack, recording) = Stack::start_wav(&[])?;
    stack.wait_protected()?;
    let steady = stack.steady_tone()?;
    let segments = segments_of(stack.first_launcher()?);
    // The ledger is one of them.
    assert_eq!(segments.len(), 10);
    for name in segments {
        fs::remove_file(Path::new("/dev/shm").join(name))?;
    }
    kill(stack.pid("supervisor")?)?;
    for slot in Slot::ALL {
        stack.wait_protected()?;
        stack.kill(Target::Leader)?;
        println!("the leader was killed, turn {slot}");
    }
    stack.wait_protected()?;
    kill(stack.pid("recorder")?)?;
    stack.wait_for("the recorder", |s| {
        service(s, "recorder").is_some_and(|s| s["state"] == "ready")
    })?;
    let status = stack.status()?;
    stack.down()?;
    no_breaks(&recording, steady)?;
    assert_eq!(number(&status, "/audio/underruns")?, 0);
    Ok(())
}
