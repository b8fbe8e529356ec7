//! Sequences in an engine: each onset at exactly its frame, the same on every replica, through every
//! edit.

use common::edit::{Edit, Role, SequenceEdit, Setting};

use super::*;
use crate::engine::sequences::sequence_words;

const MODULES: &str = r#""modules":[{"id":"o","type":"out"},{"id":"sine","type":"sine"},
    {"id":"adsr","type":"adsr","params":{"attack":0,"release":5}},{"id":"kick","type":"kick"}],
    "cables":[{"from":"sine","to":"adsr"},{"from":"adsr","to":"o"},{"from":"kick","to":"o"}]"#;

fn with(sections: &str) -> Patch {
    Patch::from_json(&format!(r#"{{"version":1,{MODULES}{sections}}}"#)).unwrap()
}

/// A sequence on the gate of "kick", and one with notes, lanes and chances.
fn two() -> Patch {
    with(
        r#","sequences":[
        {"id":"drum","running":true,"bpm":174.3,"targets":[{"module":"kick","role":"gate"}],"pattern":"X.x.E(3,8)"},
        {"id":"tune","running":true,"bpm":174.3,"swing":0.3,"seed":3,
         "targets":[{"module":"adsr","role":"gate"},{"module":"sine","role":"note"}],
         "pattern":{"text":"x-x.X","notes":["C4","G4","Bb3"],"probability":[0.8],"ratchet":[1,1,3],
            "lanes":{"decay":[100,20,300]}}}]"#,
    )
}

fn sequence(sequence: u16, control: SequenceControl) -> Event {
    Event::Sequence { sequence, control }
}

/// Applies an edit of the sequences as a worker does.
fn edited(engine: &Engine, patch: &mut Patch, edit: SequenceEdit) -> Engine {
    patch.edit(&Edit::Sequence(edit)).unwrap();
    *patch = patch.clone().checked().unwrap().into_patch();
    let mut new = Engine::new(&Patch::from_json(&patch.to_json()).unwrap(), CONFIG).unwrap();
    new.adopt_edited(engine);
    new
}

fn changed(id: &str, settings: Vec<Setting>) -> SequenceEdit {
    let id = id.into();
    SequenceEdit::Change { id, settings }
}

#[test]
fn a_sequence_is_heard_at_the_very_frames_of_its_steps() {
    let spec = r#","sequences":[{"id":"drum","running":true,"bpm":175,
        "targets":[{"module":"kick","role":"gate"}],"pattern":"X.x"}]"#;
    let (mut played, mut by_hand) = (engine(&with(spec)), engine(&with("")));
    for step in 0..300_u64 {
        let level = match step % 3 {
            0 => 1.0,
            1 => continue,
            _ => 64.0 / 127.0,
        };
        let frame =
            |halves: u64| FrameIndex((halves * 48_000 * 60 * 2 + 2 * 175 * 4) / (2 * 2 * 175 * 4));
        for (halves, level) in [(2 * step, level), (2 * step + 1, 0.0)] {
            let kick = Event::Gate { module: 3, level };
            by_hand.apply_at(frame(halves), &kick);
        }
    }
    let blocks = 300 * 4_114 / 64;
    let (a, b) = (heard(&mut played, blocks), heard(&mut by_hand, blocks));
    assert!(a.iter().any(|sample| sample.abs() > 0.1));
    assert_eq!(bits(&a), bits(&b));
}

#[test]
fn a_copy_of_the_arena_goes_on_to_the_bit_and_so_does_every_instruction_set() {
    let patch = two();
    let mut first = engine(&patch);
    let mut plain = Engine::with_level(&patch, CONFIG, Level::baseline()).unwrap();
    for round in 0..40 {
        let (a, b) = (heard(&mut first, 37), heard(&mut plain, 37));
        assert_eq!(bits(&a), bits(&b), "round {round}");
        let mut second = engine(&patch);
        second.restore(first.arena()).unwrap();
        assert_eq!(second.arena(), first.arena());
        first = second;
    }
}

#[test]
fn what_is_not_marked_as_written_has_not_changed() {
    let mut engine = engine(&two());
    engine.written().fill(0);
    let mut copy = engine.words().to_vec();
    for round in 0..2_000 {
        heard(&mut engine, 1);
        match round % 500 {
            100 => engine.apply(&sequence(0, SequenceControl::Stop)),
            200 => engine.apply(&sequence(0, SequenceControl::Start)),
            300 => engine.apply(&Event::ResetSequences),
            _ => {}
        }
        let pieces: Vec<bool> = (0..copy.len().div_ceil(PIECE_WORDS))
            .map(|piece| {
                let bit = |bits: &[u64]| bits[piece / 64] >> (piece % 64) & 1 != 0;
                let active = bit(engine.active());
                active || bit(engine.written())
            })
            .collect();
        engine.written().fill(0);
        for (piece, marked) in pieces.into_iter().enumerate() {
            let range = piece * PIECE_WORDS..copy.len().min((piece + 1) * PIECE_WORDS);
            if marked {
                copy[range.clone()].copy_from_slice(&engine.words()[range]);
            }
        }
        assert!(copy == engine.words(), "round {round}");
    }
}

#[test]
fn all_begin_anew_at_the_same_frame() {
    let patch = two();
    let mut played = engine(&patch);
    heard(&mut played, 1_234);
    for number in 0..2 {
        played.apply(&sequence(number, SequenceControl::Stop));
    }
    heard(&mut played, 600);
    let mut fresh = engine(&patch);
    for number in 0..2 {
        played.apply(&sequence(number, SequenceControl::Start));
    }
    let frame = |engine: &mut Engine, ahead| FrameIndex(engine.event_queue().clock().0 + ahead);
    let (at, there) = (frame(&mut played, 77), frame(&mut fresh, 77));
    played.apply_at(at, &Event::ResetSequences);
    fresh.apply_at(there, &Event::ResetSequences);
    heard(&mut played, 2);
    heard(&mut fresh, 2);
    let states = |engine: &Engine| -> Vec<String> {
        let clock = engine.words()[event_queue_at(4)];
        let first = sequences_at(4);
        let words = &engine.words()[first..first + sequence_words(engine.patch())];
        words
            .chunks_exact(crate::sequencer::STATE_WORDS)
            .map(|words| {
                let mut state = crate::sequencer::State::of(words);
                state.rebase(clock, 0);
                format!("{state:?}")
            })
            .collect()
    };
    assert_eq!(states(&played), states(&fresh));
}

#[test]
fn edits_of_sequences_touch_no_sound() {
    let mut patch = two();
    let (mut played, mut control) = (engine(&patch), engine(&patch));
    heard(&mut played, 100);
    heard(&mut control, 100);
    let silent = |id: &str| SequenceEdit::Create {
        id: id.into(),
        running: true,
        settings: vec![Setting::Pattern("X...".into())],
    };
    let mut round = 0;
    for edit in [
        silent("a"),
        silent("b"),
        changed(
            "a",
            vec![Setting::Pattern("xx".into()), Setting::Division(3)],
        ),
        SequenceEdit::Save {
            id: "tune".into(),
            name: "kept".into(),
        },
        SequenceEdit::Load {
            id: "tune".into(),
            name: "kept".into(),
        },
        SequenceEdit::Remove { id: "a".into() },
    ] {
        round += 1;
        played = edited(&played, &mut patch, edit);
        let (a, b) = (heard(&mut played, 53), heard(&mut control, 53));
        assert_eq!(bits(&a), bits(&b), "edit {round}");
    }
}

#[test]
fn an_edit_of_sequences_tries_no_bypassed_module_again() {
    let mut patch = two();
    let mut played = engine(&patch);
    played.apply(&Event::Bypass(3));
    let id = "tune".into();
    played = edited(&played, &mut patch, SequenceEdit::Remove { id });
    assert!(bypassed(&played.arena, 3));
    let mut loaded = engine(&patch);
    loaded.adopt(&played);
    assert!(!bypassed(&loaded.arena, 3));
}

#[test]
fn an_edit_keeps_what_was_set_and_a_patch_takes_its_values() {
    let mut patch = two();
    let mut played = engine(&patch);
    played.apply(&sequence(0, SequenceControl::Bpm(90.0)));
    played.apply(&sequence(1, SequenceControl::Stop));
    let mut control = engine(&patch);
    control.apply(&sequence(0, SequenceControl::Bpm(90.0)));
    control.apply(&sequence(1, SequenceControl::Stop));
    // The patch does not contain the new tempo, so the edit must not restore the old one.
    played = edited(&played, &mut patch, changed("drum", vec![Setting::Seed(1)]));
    let (a, b) = (heard(&mut played, 900), heard(&mut control, 900));
    assert_eq!(bits(&a), bits(&b));
    // Loading the patch sets its tempo and starts the sequence again.
    let mut loaded = engine(&patch);
    loaded.adopt(&played);
    let due = |engine: &Engine| engine.sequences_due();
    assert!(due(&loaded).is_some());
    heard(&mut loaded, 900);
    heard(&mut control, 900);
    assert_ne!(due(&loaded), due(&control));
}

#[test]
fn a_new_one_begins_with_the_next_bar_of_those_that_play() {
    let mut patch = two();
    let mut played = engine(&patch);
    heard(&mut played, 1_000);
    let add = SequenceEdit::Create {
        id: "late".into(),
        running: true,
        settings: vec![
            Setting::Pattern("X".into()),
            Setting::Division(8),
            Setting::Target {
                role: Role::Gate,
                module: "kick".into(),
                param: None,
            },
        ],
    };
    played = edited(&played, &mut patch, add);
    let mut bars = (1..).map(|n| (n * 240_000 * 48_000 * 2 + 174_300) / (2 * 174_300));
    let clock = played.event_queue().clock().0;
    let next = bars.find(|frame| *frame >= clock).unwrap();
    assert_eq!(played.sequence(2).due(), next);
    // From then on, on the same grid.
    heard(&mut played, 100_000);
    let bar = |number: usize| {
        let track = &played.score.tracks[number];
        played.sequence(number).downbeat(track).frame(48_000)
    };
    assert_eq!(bar(0), bar(2));
    // If no sequence plays, it begins at once.
    let mut patch = with("");
    let mut alone = engine(&patch);
    heard(&mut alone, 10);
    let add = SequenceEdit::Create {
        id: "first".into(),
        running: true,
        settings: vec![],
    };
    let alone = edited(&alone, &mut patch, add);
    assert_eq!(alone.sequence(0).due(), 640);
}

#[test]
fn what_nobody_would_end_is_ended() {
    for edit in [
        SequenceEdit::Remove { id: "long".into() },
        changed("long", vec![Setting::Unassign("adsr".into())]),
    ] {
        let mut patch = with(
            r#","sequences":[{"id":"long","running":true,"targets":[{"module":"adsr","role":"gate"}],"pattern":"X---------------"}]"#,
        );
        let mut played = engine(&patch);
        let before = heard(&mut played, 100);
        assert!(before[6_000..].iter().any(|sample| sample.abs() > 0.1));
        let mut played = edited(&played, &mut patch, edit);
        let after = heard(&mut played, 40);
        assert!(after[2_000..].iter().all(|sample| sample.abs() < 1e-3));
    }
}

#[test]
fn a_chain_goes_on_through_an_edit() {
    let mut patch = with(
        r#","sequences":[{"id":"a","running":true,"bpm":240,"chain":[{"pattern":"p","bars":1},{"pattern":"q","bars":2}]}],
        "patterns":{"p":"x","q":"x"}"#,
    );
    let mut played = engine(&patch);
    // A bar has 48,000 frames.
    heard(&mut played, 800);
    assert_eq!(played.sequence(0).link(), 2);
    let links = vec![("q".into(), 3), ("p".into(), 1)];
    let mut played = edited(
        &played,
        &mut patch,
        changed("a", vec![Setting::Chain(links)]),
    );
    assert_eq!(played.sequence(0).link(), 1, "q still plays");
    heard(&mut played, 2_500);
    assert_eq!(played.sequence(0).link(), 2);
    let mut played = edited(
        &played,
        &mut patch,
        changed("a", vec![Setting::Chain(vec![])]),
    );
    assert_eq!(played.sequence(0).link(), 0);
    heard(&mut played, 10);
}

#[test]
fn events_that_wait_find_their_sequence() {
    let mut patch = two();
    let mut played = engine(&patch);
    played.apply_at(FrameIndex(10_000), &sequence(1, SequenceControl::Stop));
    played.apply_at(FrameIndex(10_000), &sequence(0, SequenceControl::Bpm(60.0)));
    let remove = SequenceEdit::Remove { id: "drum".into() };
    let mut played = edited(&played, &mut patch, remove);
    heard(&mut played, 100);
    assert!(played.sequence(0).runs());
    heard(&mut played, 100);
    assert!(!played.sequence(0).runs());
    played.apply(&sequence(9, SequenceControl::Start));
}

/// Just below each limit, and after as many blocks of 16 frames as a hundred years have at 48 kHz.
#[test]
fn at_whatever_frame_the_count_begins_the_music_is_the_same() {
    let patch = two();
    let control = |engine: &mut Engine, first: u64| {
        let waits = [
            (3_000, sequence(0, SequenceControl::Bpm(91.5))),
            (5_000, sequence(1, SequenceControl::Reset)),
            (7_777, Event::ResetSequences),
        ];
        for (at, event) in &waits {
            engine.apply_at(FrameIndex(first + at), event);
        }
        bits(&heard(engine, 400))
    };
    let from_0 = control(&mut engine(&patch), 0);
    for edge in [
        1 << 31,
        1 << 32,
        1 << 40,
        1 << 47,
        16 * 9_467_280_000_000,
        1 << 62,
    ] {
        let (mut played, first) = (engine(&patch), edge - 6_400);
        played.count_from(FrameIndex(first));
        assert!(control(&mut played, first) == from_0, "from {first} on");
    }
}

#[test]
fn resumed_it_plays_on() {
    let patch = two();
    let (mut played, mut resumed) = (engine(&patch), engine(&patch));
    heard(&mut played, 321);
    resumed.restore(played.arena()).unwrap();
    resumed.rebase();
    let (a, b) = (heard(&mut played, 3_000), heard(&mut resumed, 3_000));
    assert_eq!(bits(&a), bits(&b));
}
