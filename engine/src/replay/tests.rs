//! Replays of logs: complete ones, of other versions and builds, damaged, cut off.

use super::*;

/// Renders a whole log; returns the blocks and the commands.
fn replay(bytes: &[u8], mut each: impl FnMut(&[f32])) -> Result<(u64, u64), ReplayError> {
    let mut replay = Replay::new(bytes, Box::new(|_| None))?;
    let mut block = vec![0.0; replay.format().block_samples()];
    while replay.next(&mut block)? {
        each(&block);
    }
    Ok((replay.blocks(), replay.commands()))
}

const FORMAT: AudioFormat = AudioFormat {
    rate_hz: 48_000,
    block_frames: 64,
    channels: 2,
    lead_blocks: 4,
    freewheel: false,
};
const GATE: Event = Event::Gate {
    module: 1,
    level: 1.0,
};

fn log(records: &[Record]) -> Vec<u8> {
    log_of_version(4, records)
}

fn log_of_version(version: u32, records: &[Record]) -> Vec<u8> {
    let head = Record::Head {
        version,
        format: FORMAT,
    };
    let all = std::iter::once(&head).chain(records);
    all.flat_map(command_log::encode).collect()
}

fn command(seq: u64, command: Command) -> Record {
    Record::Command {
        submission_id: 0,
        seq: Seq(seq),
        command,
    }
}

fn decision(block: u64, seq: u64) -> Record {
    Record::Decision {
        block: BlockIndex(block),
        seq: Seq(seq),
    }
}

fn fresh() -> Engine {
    Engine::new(&Patch::default_patch(), FORMAT.into()).unwrap()
}

/// In version 3, `out` had one parameter, and `gain_amount` had the number 1, which is `safety` now.
#[test]
fn parameters_of_an_older_log_keep_their_names() {
    let out = Event::Param {
        module: 3,
        param: 1,
        value: 1.0,
    };
    for (version, name) in [(3, "gain_amount"), (4, "safety")] {
        let bytes = log_of_version(
            version,
            &[
                command(1, Command::Patch(Patch::default_patch().to_json())),
                command(2, Command::Event(out)),
            ],
        );
        let mut replay = Replay::new(&bytes, Box::new(|_| None)).unwrap();
        replay.apply_rest().unwrap();
        let set = &replay.patch().modules[3].params;
        assert_eq!(set.keys().collect::<Vec<_>>(), [name], "{version}");
    }
}

#[test]
fn commands_come_in_before_the_block_that_was_decided() {
    let text = Patch::default_patch().to_json();
    let bytes = log(&[
        command(1, Command::Patch(text.clone())),
        command(2, Command::Event(GATE)),
        command(3, Command::Patch(text)),
        decision(2, 2),
        decision(5, 3),
        Record::Progress {
            block: BlockIndex(9),
        },
    ]);
    let mut heard = Vec::new();
    let done = replay(&bytes, |block| heard.extend_from_slice(block)).unwrap();
    assert_eq!(done, (9, 3));

    let mut engine = fresh();
    let mut expected = Vec::new();
    let mut block = vec![0.0; FORMAT.block_samples()];
    for number in 0..9 {
        if number == 2 {
            engine.apply(&GATE);
        }
        if number == 5 {
            let mut new = fresh();
            new.adopt(&engine);
            engine = new;
        }
        engine.render(&mut block, &mut |_| {});
        expected.extend_from_slice(&block);
    }
    assert_eq!(heard, expected);
    assert!(heard.iter().any(|sample| *sample != 0.0));
}

/// A log of a writer whose sine has its parameters in the opposite order, and one more.
#[test]
fn a_log_of_another_build_is_read_by_names_or_refused_with_the_one_to_use() {
    let mut other = catalog::catalogue();
    let sine = other.types.iter_mut().find(|t| t.name == "sine").unwrap();
    sine.params.insert(0, "warmth".into());
    sine.params.reverse();
    let names = sine.params.clone();
    let place = |name: &str| names.iter().position(|n| n == name).unwrap() as u16;
    let json = Patch::default_patch().to_json();
    let log = |param: u16, state: Vec<u8>| {
        log_of_version(
            6,
            &[
                Record::Catalogue(Box::new(other.clone())),
                Record::Command {
                    seq: Seq(1),
                    submission_id: 0,
                    command: Command::Patch(json.clone()),
                },
                Record::State {
                    block: BlockIndex(0),
                    seq: Seq(1),
                    arena: state,
                },
                Record::Command {
                    seq: Seq(2),
                    submission_id: 0,
                    command: Command::Event(Event::Param {
                        module: 0,
                        param,
                        value: 0.5,
                    }),
                },
                Record::Decision {
                    block: BlockIndex(1),
                    seq: Seq(2),
                },
                Record::Progress {
                    block: BlockIndex(3),
                },
            ],
        )
    };
    let values = |bytes: &[u8]| -> Result<_, ReplayError> {
        let mut replay = Replay::new(bytes, Box::new(|_| None))?;
        let mut block = vec![0.0; replay.format().block_samples()];
        while replay.next(&mut block)? {}
        Ok(replay.patch().modules[0].params.clone())
    };
    assert_eq!(
        values(&log(place("gain"), Vec::new())).unwrap()["gain"],
        0.5
    );
    let amount = place("gain") + names.len() as u16;
    assert_eq!(
        values(&log(amount, Vec::new())).unwrap()["gain_amount"],
        0.5
    );
    let writer = other.to_string();
    for refused in [
        log(place("warmth"), Vec::new()),
        log(place("gain"), vec![0; 64]),
    ] {
        let why = values(&refused).unwrap_err().to_string();
        assert!(why.contains(&writer), "{why}");
    }
}

/// Three segments of one run with that run's states. In the first segment a gate opens before block 2; in the
/// second there are commands before blocks 12 and 15.
fn segments() -> ([Vec<u8>; 3], Vec<f32>) {
    let json = Patch::default_patch().to_json();
    let freq = |value| {
        Command::Event(Event::Param {
            module: 0,
            param: 0,
            value,
        })
    };
    let commands = [
        (2, Command::Event(GATE)),
        (12, freq(300.0)),
        (15, freq(500.0)),
    ];
    let mut engine = fresh();
    let (mut states, mut heard) = (Vec::new(), Vec::new());
    let mut block = vec![0.0; FORMAT.block_samples()];
    for number in 0..30 {
        if number % 10 == 0 {
            states.push(engine.arena().to_vec());
        }
        for (at, command) in &commands {
            if let (true, Command::Event(event)) = (*at == number, command) {
                engine.apply(event);
            }
        }
        engine.render(&mut block, &mut |_| {});
        heard.extend_from_slice(&block);
    }
    let segment = |number: u64| {
        let begin = 10 * number;
        let before = commands.iter().filter(|(at, _)| *at < begin).count() as u64;
        let known = common::command_log::Segment {
            number,
            block: BlockIndex(begin),
            seq: Seq(1 + before),
            ..Default::default()
        };
        let patch = command(1, Command::Patch(json.clone()));
        let state = states[number as usize].clone();
        let mut bytes = command_log::preamble(FORMAT, &catalog::catalogue(), &known, &patch, state);
        for (seq, (at, what)) in (2..).zip(&commands) {
            if (begin..begin + 10).contains(at) {
                bytes.extend(command_log::encode(&command(seq, what.clone())));
                bytes.extend(command_log::encode(&decision(*at, seq)));
            }
        }
        let played = BlockIndex(begin + 8);
        bytes.extend(command_log::encode(&Record::Progress { block: played }));
        bytes
    };
    ([segment(0), segment(1), segment(2)], heard)
}

fn then(number: u64, bytes: &[u8]) -> Later {
    let bytes = bytes.to_vec();
    Later {
        number,
        block: BlockIndex(10 * number),
        read: Box::new(|| Ok(bytes)),
    }
}

fn rendered(replay: &mut Replay) -> Vec<f32> {
    let mut heard = Vec::new();
    let mut block = vec![0.0; FORMAT.block_samples()];
    while replay.next(&mut block).unwrap() {
        heard.extend_from_slice(&block);
    }
    heard
}

#[test]
fn what_a_damaged_or_missing_segment_does_not_tell_is_silence_and_the_next_one_goes_on() {
    let ([first, second, third], heard) = segments();
    let samples = FORMAT.block_samples();
    let expected = |lost: &Range<u64>| -> Vec<f32> {
        let mut expected = heard[..28 * samples].to_vec();
        expected[lost.start as usize * samples..lost.end as usize * samples].fill(0.0);
        expected
    };
    let replay = |later| Replay::new(&first, Box::new(|_| None)).unwrap().then(later);
    let mut whole = replay(vec![then(1, &second), then(2, &third)]);
    assert!(rendered(&mut whole) == expected(&(0..0)));
    assert!(whole.lost().is_empty() && whole.unread().is_empty() && !whole.has_end());

    // The second command of the second segment is damaged: the blocks are known only as far as the first
    // command leads.
    let last = command_log::encode(&decision(15, 4)).len()
        + command_log::encode(&Record::Progress {
            block: BlockIndex(18),
        })
        .len();
    let mut bad = second.clone();
    let at = bad.len() - last - 1;
    bad[at] ^= 1;
    let mut damaged = replay(vec![then(1, &bad), then(2, &third)]);
    assert!(rendered(&mut damaged) == expected(&(13..20)));
    assert_eq!(damaged.lost().first(), Some(&(13..20)));
    assert_eq!(damaged.lost().len(), 1);
    assert!(damaged.unequal().is_empty());
    let unread = damaged.unread()[0];
    assert_eq!(
        (unread.block, unread.all),
        (BlockIndex(10), bad.len() as u64)
    );
    assert!(unread.read < at as u64 && unread.read > 0);

    let mut missing = replay(vec![then(2, &third)]);
    assert!(rendered(&mut missing) == expected(&(8..20)));
    assert_eq!(missing.lost().first(), Some(&(8..20)));
}

#[test]
fn a_run_that_was_cut_off_is_rendered_to_its_last_decision() {
    let ([_, second, _], heard) = segments();
    let progress = command_log::encode(&Record::Progress {
        block: BlockIndex(18),
    });
    let cut = &second[..second.len() - progress.len()];
    let samples = FORMAT.block_samples();
    let blocks = |bytes: &[u8]| {
        let replay = Replay::new(bytes, Box::new(|_| None)).unwrap();
        let mut replay = replay.to_last_decision();
        let rendered = rendered(&mut replay);
        assert!(rendered == heard[10 * samples..][..rendered.len()]);
        (rendered.len() / samples, replay.has_end())
    };
    assert_eq!(blocks(cut), (6, false));
    let ended = [
        cut,
        &command_log::encode(&Record::Progress {
            block: BlockIndex(14),
        }),
        &command_log::encode(&Record::Ended),
    ];
    assert_eq!(blocks(&ended.concat()), (4, true));
}

#[test]
fn a_resumed_instance_begins_where_it_was() {
    let mut engine = fresh();
    engine.apply(&GATE);
    let mut block = vec![0.0; FORMAT.block_samples()];
    engine.render(&mut block, &mut |_| {});
    let bytes = log(&[
        command(1, Command::Patch(Patch::default_patch().to_json())),
        Record::State {
            block: BlockIndex(0),
            seq: Seq(1),
            arena: engine.arena().to_vec(),
        },
        Record::Progress {
            block: BlockIndex(1),
        },
    ]);
    engine.render(&mut block, &mut |_| {});
    replay(&bytes, |heard| assert_eq!(heard, block)).unwrap();
}

#[test]
fn stems_add_up_to_the_mix() {
    crate::engine::GUARDED.set(true);
    let with = |level: &str| {
        format!(
            r#"{{"version": 1, "modules": [
            {{"id": "a", "type": "sine", "params": {{"freq": 300, "gain": 0.4}}}},
            {{"id": "b", "type": "saw", "params": {{"freq": 110, "gain": 0.2}}}},
            {{"id": "d", "type": "delay"}},
            {{"id": "o", "type": "out", "params": {{"gain": {level}}}}}],
            "cables": [{{"from": "a", "to": "o"}}, {{"from": "b.out", "to": "d"}},
            {{"from": "d", "to": "o.left"}}, {{"from": "d", "to": "o.right"}},
            {{"from": "b", "to": "o.right"}}]}}"#
        )
    };
    let stop = Command::Event(Event::Run(false));
    let bytes = log(&[
        command(1, Command::Patch(with("0.9"))),
        command(2, Command::Edited(with("0.5"))),
        command(3, stop),
        decision(100, 2),
        decision(300, 3),
        Record::Progress {
            block: BlockIndex(400),
        },
    ]);
    assert_eq!(heard(&bytes).unwrap(), ["a", "d", "b"]);
    let (mut mix, mut sum) = (Vec::new(), vec![0.0; 400 * FORMAT.block_samples()]);
    replay(&bytes, |block| mix.extend_from_slice(block)).unwrap();
    for id in heard(&bytes).unwrap() {
        let mut stem = Replay::alone(&bytes, Box::new(|_| None), &id).unwrap();
        let mut block = vec![0.0; FORMAT.block_samples()];
        let mut peak = 0.0_f32;
        let mut places = sum.chunks_mut(FORMAT.block_samples());
        while stem.next(&mut block).unwrap() {
            for (sum, sample) in places.next().unwrap().iter_mut().zip(&block) {
                *sum += sample;
                peak = peak.max(sample.abs());
            }
        }
        assert!(peak > 0.05, "{id} is heard");
    }
    for (sum, sample) in sum.iter().zip(&mix) {
        assert!((sum - sample).abs() < 1e-6, "{sum} {sample}");
    }
    assert!(mix.iter().any(|sample| sample.abs() > 0.3));
}

/// An edit has marked a cable into `out` as fading. With it, the initial state of a resumed log contains more
/// than the state of one module.
#[test]
fn stems_of_a_resumed_instance_go_on_where_it_was() {
    crate::engine::GUARDED.set(true);
    let json = r#"{"version": 1, "modules": [
        {"id": "a", "type": "sine", "params": {"freq": 300, "gain": 0.4}},
        {"id": "b", "type": "saw", "params": {"freq": 110, "gain": 0.2}},
        {"id": "out", "type": "out"}],
        "cables": [{"from": "a", "to": "out"}, {"from": "b", "to": "out", "fade": "in"}]}"#;
    let patch = Patch::from_log(json).unwrap();
    let mut engine = Engine::new(&patch, FORMAT.into()).unwrap();
    let mut block = vec![0.0; FORMAT.block_samples()];
    for _ in 0..100 {
        engine.render(&mut block, &mut |_| {});
    }
    engine.rebase();
    let bytes = log(&[
        command(1, Command::Patch(json.into())),
        Record::State {
            block: BlockIndex(0),
            seq: Seq(1),
            arena: engine.arena().to_vec(),
        },
        Record::Progress {
            block: BlockIndex(50),
        },
    ]);
    let mut rest = Vec::new();
    replay(&bytes, |block| rest.extend_from_slice(block)).unwrap();
    assert!(rest.iter().any(|sample| sample.abs() > 0.3));
    for id in ["a", "b"] {
        let mut stem = Replay::alone(&bytes, Box::new(|_| None), id).unwrap();
        for places in rest.chunks_mut(FORMAT.block_samples()) {
            stem.next(&mut block).unwrap();
            places
                .iter_mut()
                .zip(&block)
                .for_each(|(rest, sample)| *rest -= sample);
        }
    }
    // A marked cable may fade in once more, for at most 10 ms.
    let faded = &rest[960..];
    assert!(faded.iter().all(|rest| rest.abs() < 1e-6));
}

#[test]
fn what_is_no_whole_log_is_refused() {
    let end = Record::Progress {
        block: BlockIndex(3),
    };
    assert!(matches!(
        replay(b"nonsense", |_| {}),
        Err(ReplayError::Log(LogError::NoHead))
    ));
    assert!(matches!(
        replay(&log(std::slice::from_ref(&end)), |_| {}),
        Err(ReplayError::NoPatch)
    ));
    let patch = command(1, Command::Patch(Patch::default_patch().to_json()));
    assert!(matches!(
        replay(&log(&[patch, decision(1, 4), end]), |_| {}),
        Err(ReplayError::Missing(Seq(2), BlockIndex(1)))
    ));
}
