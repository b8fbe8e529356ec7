//! The first promise: SIGKILL to any worker at any time changes no sample.

use std::time::Duration;

use anyhow::Result;
use common::message::Target;
use integration_tests::{
    census::Census,
    ear::{self, percentile},
    random::Random,
    stack::{Stack, count_of, number},
};

/// A census after everything has settled: links to which no peer came are given up after two
/// seconds.
fn settled(stack: &Stack) -> Result<Census> {
    stack.wait_protected()?;
    std::thread::sleep(Duration::from_millis(2_500));
    Census::of(stack)
}

/// In freewheel: kills as fast as replacements become ready, while parameters change.
#[test]
fn a_thousand_kills_without_a_clock_leave_every_sample_as_it_was() -> Result<()> {
    let kills = count_of("UNDERSTUDY_KILLS", 1_000);
    let (stack, recording) = Stack::start_wav(&["--freewheel", "--channels", "1"])?;
    let mut random = Random::seeded(1);
    stack.osc_send("/gate/adsr", Some(1.0))?;
    // By then, the lists kept for `status` have reached their full length.
    let warm = (kills * 6 / 10).min(2_000);
    let mut before = Census::default();
    let mut memory_kib = Vec::new();
    let mut left = 0;
    for kill in 0..kills {
        if kill == warm {
            before = settled(&stack)?;
        }
        stack.wait_protected()?;
        stack.change_something(&mut random)?;
        std::thread::sleep(Duration::from_micros(random.below(2_000)));
        stack.change_something(&mut random)?;
        let target = if random.below(2) == 0 {
            Target::Leader
        } else {
            Target::Follower
        };
        if stack.kill(target).is_err() {
            // The worker has just exited by itself: too slow with a block in freewheel, it was
            // overruled.
            left += 1;
            stack.expect_replacements(1);
        }
        stack.change_something(&mut random)?;
        if kill % 100 == 0 {
            println!("{kill} kills");
        }
        if kill % 1_000 == 999 {
            memory_kib.push(settled(&stack)?.memory_kib["supervisor"]);
        }
    }
    let after = settled(&stack)?;
    let status = stack.status()?;
    let commands = number(&status, "/commands/accepted")?;
    let log = stack.log();
    let reasons = [
        "is replaced:",
        "is killed",
        "has ended: exit",
        "quarantine",
        "signal 11",
        "signal 6",
    ];
    for line in log
        .lines()
        .filter(|l| reasons.iter().any(|r| l.contains(r)))
    {
        println!("not killed by this test: {line}");
    }
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    println!(
        "FIGURE kills {kills}, commands {commands}, samples compared {compared}, differing {differing}, concealed {}; gone before they were killed {left}",
        status["audio"]["concealed_blocks"]
    );
    assert!(
        100 * left <= kills + 400,
        "too many have left by themselves"
    );
    let grown = after.grown_since(&before);
    println!(
        "FIGURE after {} failovers: descriptors {:?}, segments {}, zombies {}, memory of the supervisor {} then {} KiB (after each thousand: {memory_kib:?}); grown: {}",
        kills - warm,
        after.descriptors,
        after.segments,
        after.zombies,
        before.memory_kib["supervisor"],
        after.memory_kib["supervisor"],
        grown.len()
    );
    assert!(grown.is_empty() || warm < 600, "{grown:#?}");
    assert_eq!(differing, 0);
    assert_eq!(number(&status, "/audio/concealed_blocks")?, 0);
    assert!(commands > kills, "parameters flowed");
    Ok(())
}

/// With a device's timing: a steady tone and 100 kills. The ear finds no break, and the log renders
/// what was played.
#[test]
fn a_hundred_kills_in_time_cannot_be_heard() -> Result<()> {
    let (stack, recording) = Stack::start_wav(&[])?;
    let mut random = Random::seeded(2);
    let steady = stack.steady_tone()?;
    for kill in 0..100 {
        stack.wait_protected()?;
        std::thread::sleep(Duration::from_micros(random.below(6_000)));
        stack.kill(if kill % 2 == 0 {
            Target::Leader
        } else {
            Target::Follower
        })?;
    }
    stack.wait_protected()?;
    std::thread::sleep(Duration::from_millis(100));
    let status = stack.status()?;
    let (compared, differing) = stack.down()?.compare(&recording.wav)?;
    let left = recording.left_from(steady)?;
    let breaks = ear::breaks(&left, 440.0, 48_000.0);
    println!(
        "FIGURE kills 100 in time, breaks {}, underruns {}, concealed {}, samples compared {compared}, differing {differing}, lead {} blocks",
        breaks.len(),
        status["audio"]["underruns"],
        status["audio"]["concealed_blocks"],
        status["lead"]
    );
    assert!(
        left.len() > 48_000 && ear::peak(&left) > 0.3,
        "there was a tone"
    );
    assert_eq!((breaks.len(), differing), (0, 0));
    assert_eq!(number(&status, "/audio/underruns")?, 0);
    Ok(())
}

/// How soon a death is noticed and the worker is replaced, over 200 kills.
#[test]
fn a_death_is_noticed_and_replaced_soon() -> Result<()> {
    let stack = Stack::start(&["--sink", "null"])?;
    let mut random = Random::seeded(3);
    for kill in 0..200 {
        stack.wait_protected()?;
        std::thread::sleep(Duration::from_micros(random.below(10_000)));
        stack.kill(if kill % 2 == 0 {
            Target::Leader
        } else {
            Target::Follower
        })?;
    }
    stack.wait_protected()?;
    let status = stack.status()?;
    let values = |list: &str, key: &str| -> Vec<f64> {
        let entries = status[list].as_array().into_iter().flatten();
        entries
            .filter(|e| e["cause"] == "signal 9")
            .filter_map(|e| e[key].as_f64())
            .collect()
    };
    let mut switched = values("switches", "switched_us");
    let mut ready = values("replacements", "ready_ms");
    println!(
        "FIGURE noticed and preference changed: p50 {:.2} ms, p99 {:.2} ms (of {})",
        percentile(&mut switched, 0.5) / 1e3,
        percentile(&mut switched, 0.99) / 1e3,
        switched.len()
    );
    println!(
        "FIGURE replacement proven ready: p50 {:.1} ms, p99 {:.1} ms (of {})",
        percentile(&mut ready, 0.5),
        percentile(&mut ready, 0.99),
        ready.len()
    );
    assert!(ready.len() >= 190, "replacements were measured");
    assert!(
        !stack.log().contains("is replaced: hang"),
        "no freshly started worker was called hung"
    );
    assert_eq!(number(&status, "/audio/concealed_blocks")?, 0);
    Ok(())
}
