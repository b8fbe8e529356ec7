//! Every interleaving, and every order that the memory model allows, of one writer and one reader:
//! a block, what was played, a proof, a checkpoint come out whole or not at all.
//!
//! Run by `RUSTFLAGS="--cfg loom" cargo test --release -p understudy-common --test loom_torn`; without
//! that flag there is nothing here. All checksums are equal under loom, so that the seal and the
//! stamp alone must tell what is torn.
#![cfg(loom)]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use common::{
    checkpoint::{CHECKPOINT_WORDS, Checkpoint, Mark, Writer},
    limits::{CHECKPOINT_BLOCKS, RING_CELLS},
    ring::{Proof, Ring, ring_words},
    sync::{AtomicU64, heap},
    tape::{Found, Tape, tape_words},
    units::{BlockIndex, Incarnation, Seq},
};
use loom::thread;

const SAMPLES: usize = 4;
/// Two blocks that share a cell.
const EARLIER: BlockIndex = BlockIndex(1);
const LATER: BlockIndex = BlockIndex(1 + RING_CELLS);

/// Goes through all executions and says how many there were.
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

fn with_ring<T>(words: &[AtomicU64], act: impl FnOnce(Ring<'_>) -> T) -> T {
    act(Ring::open(words, SAMPLES).unwrap())
}

fn new_ring() -> Arc<Vec<AtomicU64>> {
    let words = heap(ring_words(SAMPLES));
    Ring::create(&words, SAMPLES).unwrap();
    Arc::new(words)
}

/// Everything in a block tells which block it is.
fn publish(ring: &Ring<'_>, block: BlockIndex) {
    let samples = [block.0 as f32; SAMPLES];
    ring.publish(block, Incarnation(block.0), Seq(block.0), 0, &samples);
}

#[test]
fn a_reader_gets_the_whole_block_or_nothing_though_its_cell_is_used_again() {
    explore("publish and read", || {
        let words = new_ring();
        with_ring(&words, |ring| publish(&ring, EARLIER));
        let shared = Arc::clone(&words);
        let writer = thread::spawn(move || with_ring(&shared, |ring| publish(&ring, LATER)));
        with_ring(&words, |ring| {
            for block in [EARLIER, LATER] {
                let mut heard = [-1.0; SAMPLES];
                if let Some(seq) = ring.read(block, &mut heard) {
                    assert_eq!(heard, [block.0 as f32; SAMPLES], "torn");
                    assert_eq!(seq, Seq(block.0), "the number of another block");
                }
            }
        });
        writer.join().unwrap();
        with_ring(&words, |ring| {
            let mut heard = [-1.0; SAMPLES];
            assert_eq!(ring.read(EARLIER, &mut heard), None);
            assert_eq!(ring.read(LATER, &mut heard), Some(Seq(LATER.0)));
        });
    });
}

#[test]
fn what_was_played_comes_whole_from_the_tape_or_is_gone() {
    const CELLS: usize = 1;
    fn play(tape: &Tape<'_>, place: u64) {
        tape.append(&[place as f32; SAMPLES], BlockIndex(place + 1));
    }
    explore("tape: append and read", || {
        let words = heap(tape_words(SAMPLES, CELLS));
        play(&Tape::create(&words, SAMPLES, CELLS).unwrap(), 0);
        let words = Arc::new(words);
        let shared = Arc::clone(&words);
        let writer = thread::spawn(move || play(&Tape::open(&shared, SAMPLES).unwrap(), 1));
        let tape = Tape::open(&words, SAMPLES).unwrap();
        for place in [0, 1] {
            let mut heard = [-1.0; SAMPLES];
            match tape.read(place, &mut heard) {
                Found::Played => assert_eq!(heard, [place as f32; SAMPLES], "torn"),
                Found::NotYet => assert_eq!(place, 1, "it was played"),
                Found::Gone => assert_eq!(place, 0, "it was played last"),
            }
        }
        writer.join().unwrap();
        let mut heard = [-1.0; SAMPLES];
        assert_eq!(tape.read(0, &mut heard), Found::Gone);
        assert_eq!(tape.read(1, &mut heard), Found::Played);
    });
}

#[test]
fn writer_and_checksum_of_a_published_block_belong_together() {
    explore("publish and published", || {
        let words = new_ring();
        let publish = |ring: &Ring<'_>, block: BlockIndex| {
            let samples = [0.0; SAMPLES];
            ring.publish(block, Incarnation(block.0), Seq(0), block.0, &samples);
        };
        with_ring(&words, |ring| publish(&ring, EARLIER));
        let shared = Arc::clone(&words);
        let writer = thread::spawn(move || with_ring(&shared, |ring| publish(&ring, LATER)));
        with_ring(&words, |ring| {
            for block in [EARLIER, LATER] {
                if let Some(found) = ring.published(block) {
                    assert_eq!(found, proof_of(block), "torn");
                }
            }
        });
        writer.join().unwrap();
    });
}

const fn proof_of(block: BlockIndex) -> Proof {
    Proof {
        incarnation: Incarnation(block.0),
        sum: block.0,
    }
}

#[test]
fn a_proof_is_of_one_block_and_of_one_worker() {
    explore("prove and proof", || {
        let words = new_ring();
        with_ring(&words, |ring| ring.prove(EARLIER, proof_of(EARLIER)));
        let shared = Arc::clone(&words);
        let worker = thread::spawn(move || {
            with_ring(&shared, |ring| ring.prove(LATER, proof_of(LATER)));
        });
        with_ring(&words, |ring| {
            for block in [EARLIER, LATER] {
                if let Some(found) = ring.proof(block) {
                    assert_eq!(found, proof_of(block), "torn");
                }
            }
        });
        worker.join().unwrap();
        with_ring(&words, |ring| {
            assert_eq!(ring.proof(LATER), Some(proof_of(LATER)));
        });
    });
}

/// Everything in a checkpoint tells which one it is.
const fn mark(block: u64) -> Mark {
    Mark {
        block: BlockIndex(block),
        seq: Seq(block),
        patch_offset: block,
        next_offset: block,
    }
}

/// Blocks before which a checkpoint is due.
const EARLIER_DUE: u64 = 2 * CHECKPOINT_BLOCKS;
const LATER_DUE: u64 = 3 * CHECKPOINT_BLOCKS;

fn write(checkpoint: Checkpoint<'_>, block: u64) {
    let mut writer = Writer::new();
    writer.begin(2);
    assert!(writer.go_on(&[checkpoint; 2], mark(block), &[block; 2], &[], true));
}

fn check(checkpoint: &Checkpoint<'_>) -> Option<u64> {
    let mut arena = [0; 2];
    let found = checkpoint.read(&mut arena)?;
    assert_eq!(found, mark(found.block.0), "torn");
    assert_eq!(arena, [found.block.0; 2], "torn");
    Some(found.block.0)
}

fn while_a_checkpoint_is_written(read: impl FnOnce(&Checkpoint<'_>)) {
    let words = heap(CHECKPOINT_WORDS);
    write(Checkpoint::create(&words).unwrap(), EARLIER_DUE);
    let words = Arc::new(words);
    let shared = Arc::clone(&words);
    let writer = thread::spawn(move || write(Checkpoint::open(&shared).unwrap(), LATER_DUE));
    let checkpoint = Checkpoint::open(&words).unwrap();
    read(&checkpoint);
    writer.join().unwrap();
    assert_eq!(check(&checkpoint), Some(LATER_DUE));
}

#[test]
fn a_checkpoint_is_read_whole_or_not_at_all() {
    explore("checkpoint, write and read", || {
        while_a_checkpoint_is_written(|checkpoint| {
            check(checkpoint);
        });
    });
}

#[test]
fn the_mark_of_a_checkpoint_is_whole_too() {
    explore("checkpoint, write and mark", || {
        while_a_checkpoint_is_written(|checkpoint| {
            if let Some(found) = checkpoint.mark() {
                assert_eq!(found, mark(found.block.0), "torn");
            }
        });
    });
}

#[test]
fn who_sees_the_magic_sees_all_that_the_creator_wrote() {
    explore("create and open", || {
        let words = Arc::new(heap(ring_words(SAMPLES)));
        let shared = Arc::clone(&words);
        let creator = thread::spawn(move || {
            Ring::create(&shared, SAMPLES).unwrap();
        });
        match Ring::open(&words, SAMPLES) {
            Ok(_) => {}
            Err(error) => assert_eq!(error, common::layout::LayoutError::Unfinished),
        }
        creator.join().unwrap();
    });
}
