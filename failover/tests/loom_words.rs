//! Every interleaving, and every order that the memory model allows, of decide, withdraw, hold, lift,
//! quarantine, switch and acknowledge.
//!
//! Run by `RUSTFLAGS="--cfg loom" cargo test --release -p understudy-failover --test loom_words`; without
//! that flag this file is empty. The rules under test are the production ones.
#![cfg(loom)]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use common::{
    stage::{AudioFormat, Decision, Preference, STAGE_WORDS, Stage},
    sync::{AtomicU64, heap},
    units::{BlockIndex, Epoch, Seq, Slot},
};
use failover::decide;
use loom::{cell::UnsafeCell, thread};

const BLOCK: BlockIndex = BlockIndex(5);
/// Applied before the block in every execution.
const GOOD: Seq = Seq(1);
/// The last command that the leader has received; it may be poison.
const NEW: Seq = Seq(2);

/// Explores all executions of the model and prints their number.
fn explore(what: &str, model: impl Fn() + Sync + Send + 'static) {
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 10_000;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!(
        "FIGURE loom, {what}: {} executions",
        executions.load(Ordering::Relaxed)
    );
}

type Words = Arc<Vec<AtomicU64>>;

fn new_stage() -> Words {
    let format = AudioFormat {
        rate_hz: 48_000,
        block_frames: 64,
        channels: 1,
        lead_blocks: 1,
        freewheel: false,
    };
    let words = heap(STAGE_WORDS);
    Stage::create(&words, &format).unwrap();
    Arc::new(words)
}

fn at<T>(words: &Words, act: impl FnOnce(Stage<'_>) -> T) -> T {
    act(Stage::open(words).unwrap())
}

fn beside<T: 'static>(
    words: &Words,
    act: impl FnOnce(Stage<'_>) -> T + 'static,
) -> thread::JoinHandle<T> {
    let words = Arc::clone(words);
    thread::spawn(move || at(&words, act))
}

/// The leader, from its decision on. Returns the sequence number of the block that it published, if it did.
fn lead(stage: Stage<'_>) -> Option<Seq> {
    let Decision::Made { seq, .. } = stage.decide(BLOCK, NEW, GOOD) else {
        panic!("the block is not past");
    };
    stage.seal(BLOCK, seq).then_some(seq)
}

/// A follower that stops waiting for the leader.
fn follow(stage: Stage<'_>) -> Option<Seq> {
    let decided = match stage.decide(BLOCK, GOOD, GOOD) {
        Decision::Made { seq, sealed: false } if seq > GOOD => {
            decide::withdraw(&stage, BLOCK, seq, GOOD)
        }
        decided => decided,
    };
    let Decision::Made { seq, .. } = decided else {
        panic!("the block is not past");
    };
    stage.seal(BLOCK, seq).then_some(seq)
}

/// The supervisor, told that the leader died of the block; it does what the judge does.
fn inquire(stage: Stage<'_>) {
    if let Decision::Made { seq, sealed: false } = stage.decision(BLOCK, GOOD)
        && seq > GOOD
    {
        let _ = decide::withdraw(&stage, BLOCK, seq, GOOD);
    }
}

/// What must hold at the end: one history, and no half-finished withdrawal.
fn check(stage: Stage<'_>, published: [Option<Seq>; 2]) {
    let Decision::Made { seq, sealed } = stage.decision(BLOCK, GOOD) else {
        panic!("nobody has decided");
    };
    for by_one in published.into_iter().flatten() {
        assert_eq!(
            (by_one, sealed),
            (seq, true),
            "the published block differs from the decision"
        );
    }
    assert!(published.iter().any(Option::is_some), "no worker published");
    match seq {
        // Nobody has withdrawn the new commands, or the leader never included them.
        NEW => assert_eq!(stage.held(), None, "held although the block includes them"),
        _ if published[0].is_none() => {
            assert_eq!(stage.held(), Some(GOOD), "withdrawn but not held");
        }
        _ => {}
    }
}

#[test]
fn two_workers_never_publish_different_blocks() {
    explore("leader, follower", || {
        let words = new_stage();
        let leader = beside(&words, lead);
        let by_follower = at(&words, follow);
        let by_leader = leader.join().unwrap();
        at(&words, |stage| check(stage, [by_leader, by_follower]));
    });
}

#[test]
fn a_supervisor_that_withdraws_at_the_same_time_changes_nothing_of_it() {
    explore("leader, follower, supervisor", || {
        let words = new_stage();
        let leader = beside(&words, lead);
        let supervisor = beside(&words, inquire);
        let by_follower = at(&words, follow);
        let by_leader = leader.join().unwrap();
        supervisor.join().unwrap();
        at(&words, |stage| check(stage, [by_leader, by_follower]));
    });
}

#[test]
fn two_who_withdraw_at_once_leave_the_commands_held() {
    explore("follower, supervisor, the leader dead in the block", || {
        let words = new_stage();
        at(&words, |stage| {
            let _ = stage.decide(BLOCK, NEW, GOOD);
        });
        let supervisor = beside(&words, inquire);
        let by_follower = at(&words, follow);
        supervisor.join().unwrap();
        assert_eq!(by_follower, Some(GOOD));
        at(&words, |stage| {
            check(stage, [None, by_follower]);
            let next = stage.decide(BLOCK.next(), NEW.min(stage.held().unwrap_or(NEW)), GOOD);
            assert_eq!(
                next,
                Decision::Made {
                    seq: GOOD,
                    sealed: false
                },
                "included again without a trial"
            );
        });
    });
}

#[test]
fn who_sees_the_hold_lifted_sees_the_quarantine() {
    explore("quarantine and lift, two workers", || {
        let words = new_stage();
        at(&words, |stage| assert!(stage.hold(GOOD)));
        let look = |stage: Stage<'_>| {
            if stage.held().is_none() {
                assert!(stage.quarantined(NEW), "lifted without the quarantine");
            }
        };
        let workers = [beside(&words, look), beside(&words, look)];
        at(&words, |stage| {
            stage.quarantine(NEW);
            assert!(stage.lift(GOOD));
        });
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn who_obeys_a_decision_made_after_the_lift_sees_the_quarantine() {
    explore("quarantine and lift, leader, follower", || {
        let words = new_stage();
        at(&words, |stage| assert!(stage.hold(GOOD)));
        let leader = beside(&words, |stage: Stage<'_>| {
            let wanted = stage.held().map_or(NEW, |held| held.min(NEW));
            let _ = stage.decide(BLOCK, wanted, GOOD);
        });
        let follower = beside(&words, |stage: Stage<'_>| {
            if let Decision::Made { seq: NEW, .. } = stage.decision(BLOCK, GOOD) {
                assert!(stage.quarantined(NEW), "applied without the quarantine");
            }
        });
        at(&words, |stage| {
            stage.quarantine(NEW);
            assert!(stage.lift(GOOD));
        });
        leader.join().unwrap();
        follower.join().unwrap();
    });
}

const START: Preference = Preference {
    epoch: Epoch(0),
    slot: Slot::Zero,
};

#[test]
fn nothing_is_cleaned_up_that_is_still_being_read() {
    explore("switch, acknowledge, clean up", || {
        let words = new_stage();
        // What the clean-up touches. loom panics if it is read and changed at the same time.
        let old_ring = Arc::new(UnsafeCell::new(()));
        let ring = Arc::clone(&old_ring);
        let audio_out = beside(&words, move |stage: Stage<'_>| {
            for _ in 0..2 {
                let preference = stage.preference();
                if preference.slot == Slot::Zero {
                    ring.with(|_| ());
                }
                stage.acknowledge(preference.epoch);
            }
        });
        at(&words, |stage| {
            let switched = stage.switch(START, Slot::One).unwrap();
            if stage.acknowledged() >= switched.epoch {
                old_ring.with_mut(|_| ());
            }
        });
        audio_out.join().unwrap();
    });
}

#[test]
fn of_two_who_switch_one_wins_and_both_see_the_same_word() {
    explore("two switches from one epoch", || {
        let words = new_stage();
        let audio_out = beside(&words, |stage: Stage<'_>| stage.switch(START, Slot::One));
        let by_supervisor = at(&words, |stage| stage.switch(START, Slot::One));
        let by_audio_out = audio_out.join().unwrap();
        assert!(by_supervisor.is_some() != by_audio_out.is_some());
        let seen = at(&words, |stage| stage.preference());
        assert_eq!(by_supervisor.or(by_audio_out), Some(seen));
    });
}
