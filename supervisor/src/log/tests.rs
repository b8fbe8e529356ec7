//! The command log while the disk refuses, and what the next supervisor finds.

use std::path::Path;

use super::*;
use common::{
    command::Event,
    limits::DECISIONS,
    stage::STAGE_WORDS,
    sync::{AtomicU64, heap},
    units::First,
};

const FORMAT: AudioFormat = AudioFormat {
    rate_hz: 48_000,
    block_frames: 64,
    channels: 2,
    lead_blocks: 4,
    freewheel: false,
};

fn begun(folder: &Path) -> CommandLog {
    let paths = Paths {
        instance: "test".into(),
        runtime: folder.join("run"),
        state: folder.to_owned(),
    };
    let patch = Patch::default_patch();
    let json = patch.to_json();
    let begin = First::default();
    let log = CommandLog::create(&paths, FORMAT, 1, &patch, json, Vec::new(), begin).unwrap();
    fs::rename(paths.next_command_log(), paths.command_log()).unwrap();
    log
}

fn commands(count: u64) -> Vec<(u64, Command)> {
    (0..count)
        .map(|submission_id| (10 + submission_id, Command::Event(Event::Run(true))))
        .collect()
}

#[test]
fn what_is_accepted_is_written_before_anybody_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = begun(folder.path());
    let accepted = log.accept(commands(3)).unwrap();
    let written = fs::read(log.paths.command_log()).unwrap();
    let last = command_log::records(&written).last().unwrap().1;
    let Record::Command {
        seq, submission_id, ..
    } = last
    else {
        panic!("{last:?}");
    };
    assert_eq!((seq, submission_id), (accepted[2].seq, 12));
    assert_eq!(log.length(), accepted[2].next_offset);
}

fn decisions(log: &CommandLog) -> Vec<(u64, u64)> {
    let written = fs::read(log.paths.command_log()).unwrap();
    let all = command_log::records(&written);
    all.filter_map(|(_, record)| match record {
        Record::Decision { block, seq } => Some((block.0, seq.0)),
        _ => None,
    })
    .collect()
}

/// A log with two undecided commands, and the stage of its workers.
fn playing<'a>(folder: &Path, words: &'a [AtomicU64]) -> (CommandLog, Stage<'a>) {
    let mut log = begun(folder);
    log.accept(commands(2)).unwrap();
    (log, Stage::create(words, &FORMAT).unwrap())
}

/// The workers decide on the blocks of that range with these commands in.
fn decide(stage: &Stage<'_>, blocks: std::ops::Range<u64>, (seq, last): (u64, u64)) {
    let mut last = last;
    for block in blocks.map(BlockIndex) {
        let _ = stage.decide(block, Seq(seq), Seq(last));
        assert!(stage.seal(block, Seq(seq)));
        last = seq;
    }
}

#[test]
fn what_is_decided_while_the_disk_refuses_is_written_once_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let words = heap(STAGE_WORDS);
    let (mut log, stage) = playing(folder.path(), &words);
    decide(&stage, 0..5, (2, 1));
    log.collect(&stage, BlockIndex(5)).unwrap();
    // As long as it refuses, many more blocks than the stage has words for.
    let read_only = File::open(log.paths.command_log()).unwrap();
    let open = std::mem::replace(&mut log.open.as_mut().unwrap().file, read_only);
    let mut refused = 0;
    for from in (5..5 + 3 * DECISIONS).step_by(1_000) {
        decide(
            &stage,
            from..from + 1_000,
            (3, if from == 5 { 2 } else { 3 }),
        );
        refused += u64::from(log.collect(&stage, BlockIndex(from + 1_000)).is_err());
    }
    assert!(refused > 40 && log.trouble().is_some());
    assert_eq!(decisions(&log), [(0, 2)]);
    log.open.as_mut().unwrap().file = open;
    log.look_after(BlockIndex(6));
    assert_eq!(decisions(&log), [(0, 2), (5, 3)]);
    assert!(log.trouble().is_none() && !log.wants_segment());
}

#[test]
fn decisions_that_nobody_has_written_down_have_it_begin_a_segment() {
    let folder = tempfile::tempdir().unwrap();
    let words = heap(STAGE_WORDS);
    let (mut log, stage) = playing(folder.path(), &words);
    decide(&stage, 0..10, (2, 1));
    decide(&stage, 10..2 * DECISIONS, (3, 2));
    log.collect(&stage, BlockIndex(2 * DECISIONS)).unwrap();
    assert_eq!(
        decisions(&log),
        [],
        "when the commands came in, nobody knows"
    );
    assert!(log.wants_segment());
}

/// Blocks on which nothing came in leave no record: a new supervisor begins far behind.
#[test]
fn decisions_that_a_supervisor_before_has_seen_are_not_missed() {
    let folder = tempfile::tempdir().unwrap();
    let words = heap(STAGE_WORDS);
    let (mut log, stage) = playing(folder.path(), &words);
    let seen = 3 * DECISIONS;
    for from in (0..seen).step_by(1_024) {
        decide(&stage, from..from + 1_024, (1, 1));
        log.collect(&stage, BlockIndex(from + 1_024)).unwrap();
    }
    (log.next_block, log.decided) = (BlockIndex(0), Seq(1));
    decide(&stage, seen..seen + 10, (3, 1));
    log.collect(&stage, BlockIndex(seen + 10)).unwrap();
    assert_eq!(decisions(&log), [(seen, 3)]);
    assert!(!log.wants_segment());
}

#[test]
fn one_that_is_taken_over_goes_on_after_its_last_whole_record() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = begun(folder.path());
    log.accept(commands(3)).unwrap();
    let (paths, length) = (log.paths.clone(), log.length());
    drop(log);
    let file = File::options().append(true).open(paths.command_log());
    file.unwrap().write_all(&[9; 5]).unwrap();
    let (mut log, account) = CommandLog::adopt(&paths).unwrap();
    assert_eq!(
        (log.length(), log.seq(), log.submission_id()),
        (length, Seq(4), 12)
    );
    assert_eq!(account.seq, Seq(4));
    let next = log.accept(commands(1)).unwrap();
    assert_eq!((next[0].seq, next[0].offset), (Seq(5), length));
    assert!(log.stands().is_ok());
    fs::remove_file(paths.command_log()).unwrap();
    log.look_after(BlockIndex(0));
    assert!(log.wants_segment());
    assert!(CommandLog::adopt(&paths).is_err(), "no ledger, no log");
}
