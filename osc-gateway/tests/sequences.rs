//! `/seq/…` and `/pattern/…` become edits and controls by name; wrong ones are told what would be right.
#![allow(missing_docs)]

mod common;

use ::common::{
    command::{Event, SequenceControl},
    edit::{Edit, Role, SequenceEdit, Setting},
    message::{Outcome, Submission},
    units::Seq,
};
use common::{osc, sender};
use osc_gateway::{gateway::Gateway, namespace::Namespace, reply::Reply};
use rosc::OscType;

const PATCH: &str = r#"{"version":1,"modules":[{"id":"o","type":"out"},{"id":"kick","type":"kick"}],
    "sequences":[{"id":"drum","bpm":174,"targets":[{"module":"kick","role":"gate"}],"pattern":"X..x","chain":[{"pattern":"fill","bars":2}]},{"id":"b"}],
    "patterns":{"fill":{"text":"xx","notes":["C4"]}}}"#;

fn ready() -> Gateway {
    let mut gateway = Gateway::default();
    gateway.patch(Namespace::of_patch(1, 48_000, PATCH).unwrap());
    gateway
}

/// What a message submits, accepted, and the replies.
fn play(gateway: &mut Gateway, address: &str, args: Vec<OscType>) -> (Vec<Submission>, Vec<Reply>) {
    gateway.datagram(common::ticket(), sender(1), &osc(address, args));
    let batch = gateway.batch();
    gateway.submitted(&batch);
    let accepted = batch.iter().map(|(t, _)| (*t, Outcome::Accepted(Seq(*t))));
    gateway.outcomes(accepted.collect());
    let replies = gateway.replies().into_iter().map(|a| a.reply);
    let submitted = batch.into_iter().map(|(_, submission)| submission);
    (submitted.collect(), replies.collect())
}

fn submitted(address: &str, args: &[&str]) -> Submission {
    let (mut submitted, replies) = play(&mut ready(), address, typed(args));
    assert_eq!(
        (submitted.len(), replies.len()),
        (1, 0),
        "{address} {args:?}"
    );
    submitted.remove(0)
}

/// Arguments as `understudy send` would send them.
fn typed(args: &[&str]) -> Vec<OscType> {
    let one = |text: &&str| {
        let whole = text.parse::<i32>().map(OscType::Int);
        whole.unwrap_or_else(|_| match text.parse::<f32>() {
            Ok(number) => OscType::Float(number),
            Err(_) => OscType::String((*text).to_owned()),
        })
    };
    args.iter().map(one).collect()
}

fn fail(address: &str, args: &[&str]) -> String {
    match play(&mut ready(), address, typed(args)) {
        (submitted, replies) if submitted.is_empty() && replies.len() == 1 => match &replies[0] {
            Reply::Fail(at, why) if at == address => why.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{address} {args:?}: {other:?}"),
    }
}

fn edit(edit: SequenceEdit) -> Submission {
    Submission::Edit(Edit::Sequence(edit))
}

fn change(settings: Vec<Setting>) -> Submission {
    let id = "a".into();
    edit(SequenceEdit::Change { id, settings })
}

#[test]
fn every_edit_is_understood() {
    let target = |role, module: &str, param: Option<&str>| Setting::Target {
        role,
        module: module.into(),
        param: param.map(Into::into),
    };
    let pattern = |text: &str| Setting::Pattern(text.into());
    let notes = |names: &[&str]| Setting::Notes(names.iter().map(|n| (*n).into()).collect());
    let create = |running, settings| {
        edit(SequenceEdit::Create {
            id: "a".into(),
            running,
            settings,
        })
    };
    let add = |role, names: &[&str]| {
        create(
            true,
            vec![target(role, "kick", None), pattern("X..x"), notes(names)],
        )
    };
    let cases: Vec<(&str, &[&str], Submission)> = vec![
        ("create", &["a"], create(false, vec![])),
        ("add", &["a", "kick", "X..x"], add(Role::Gate, &[])),
        (
            "add",
            &["a", "kick", "X..x", "C4", "61", "60.5"],
            add(Role::Note, &["C4", "61", "60.5"]),
        ),
        ("update", &["a", "x."], change(vec![pattern("x.")])),
        (
            "update",
            &["a", "x.", "E4"],
            change(vec![pattern("x."), notes(&["E4"])]),
        ),
        (
            "config",
            &["a", "174.5", "16", "8"],
            change(vec![
                Setting::Bpm(174.5),
                Setting::Steps(16),
                Setting::Division(8),
            ]),
        ),
        ("pattern", &["a", "E(3,8)"], change(vec![pattern("E(3,8)")])),
        ("notes", &["a", "C4"], change(vec![notes(&["C4"])])),
        (
            "param_lane",
            &["a", "cutoff", "100", "2.5"],
            change(vec![Setting::Lane("cutoff".into(), vec![100.0, 2.5])]),
        ),
        (
            "assign",
            &["a", "gate", "kick"],
            change(vec![target(Role::Gate, "kick", None)]),
        ),
        (
            "assign",
            &["a", "note", "kick"],
            change(vec![target(Role::Note, "kick", None)]),
        ),
        (
            "assign",
            &["a", "param", "kick", "tune"],
            change(vec![target(Role::Param, "kick", Some("tune"))]),
        ),
        (
            "unassign",
            &["a", "kick"],
            change(vec![Setting::Unassign("kick".into())]),
        ),
        ("swing", &["a", "0.5"], change(vec![Setting::Swing(0.5)])),
        ("rotate", &["a", "-1"], change(vec![Setting::Rotate(-1)])),
        (
            "probability",
            &["a", "0.5", "1"],
            change(vec![Setting::Probability(vec![0.5, 1.0])]),
        ),
        (
            "ratchet",
            &["a", "1", "4"],
            change(vec![Setting::Ratchet(vec![1, 4])]),
        ),
        ("length", &["a", "12"], change(vec![Setting::Steps(12)])),
        ("division", &["a", "8"], change(vec![Setting::Division(8)])),
        ("seed", &["a", "9"], change(vec![Setting::Seed(9)])),
        (
            "remove",
            &["a"],
            edit(SequenceEdit::Remove { id: "a".into() }),
        ),
    ];
    for (verb, args, right) in cases {
        assert_eq!(submitted(&format!("/seq/{verb}"), args), right, "{verb}");
    }
    let (id, name) = ("a".to_owned(), "p".to_owned());
    let cases: Vec<(&str, &[&str], Submission)> = vec![
        (
            "save",
            &["p", "a"],
            edit(SequenceEdit::Save {
                id: id.clone(),
                name: name.clone(),
            }),
        ),
        (
            "load",
            &["p", "a"],
            edit(SequenceEdit::Load {
                id,
                name: name.clone(),
            }),
        ),
        ("remove", &["p"], edit(SequenceEdit::Forget { name })),
        (
            "chain",
            &["a", "p", "7", "fill", "1"],
            change(vec![Setting::Chain(vec![
                ("p".into(), 7),
                ("fill".into(), 1),
            ])]),
        ),
        ("chain", &["a"], change(vec![Setting::Chain(vec![])])),
    ];
    for (verb, args, right) in cases {
        assert_eq!(
            submitted(&format!("/pattern/{verb}"), args),
            right,
            "{verb}"
        );
    }
}

#[test]
fn controls_are_by_name_and_clamped() {
    for (verb, args, right) in [
        ("start", vec!["a"], SequenceControl::Start),
        ("start", vec!["a", "bar"], SequenceControl::Join),
        ("stop", vec!["a"], SequenceControl::Stop),
        ("reset", vec!["a"], SequenceControl::Reset),
        ("bpm", vec!["a", "174.5"], SequenceControl::Bpm(174.5)),
        (
            "gate_len",
            vec!["a", "0.25"],
            SequenceControl::GateLength(0.25),
        ),
    ] {
        let control = Submission::Control {
            id: "a".into(),
            control: right,
            at: None,
        };
        assert_eq!(submitted(&format!("/seq/{verb}"), &args), control);
    }
    let all = submitted("/seq/reset_all", &[]);
    assert!(matches!(
        all,
        Submission::Event {
            event: Event::ResetSequences,
            ..
        }
    ));
    // A sequence of that number is one of that name.
    assert!(matches!(submitted("/seq/stop", &["7"]), Submission::Control { id, .. } if id == "7"));
    let (_, replies) = play(&mut ready(), "/seq/bpm", typed(&["a", "2000"]));
    let note = "the tempo is clamped to 999 (range 1 to 999)".to_owned();
    assert_eq!(replies, [Reply::Done("/seq/bpm".into(), Some(note))]);
}

#[test]
fn a_clock_from_outside_leads_them_all() {
    let control = |id: &str, control| Submission::Control {
        id: id.into(),
        control,
        at: None,
    };
    let both = |what| vec![control("drum", what), control("b", what)];
    let sent = |address: &str, args: &[&str]| play(&mut ready(), address, typed(args)).0;
    assert_eq!(
        sent("/midi/tempo", &["150.5"]),
        both(SequenceControl::Bpm(150.5))
    );
    assert_eq!(sent("/midi/stop", &[]), both(SequenceControl::Stop));
    let started = sent("/midi/start", &[]);
    let reset = matches!(
        started[0],
        Submission::Event {
            event: Event::ResetSequences,
            ..
        }
    );
    assert!(reset && started[1..] == both(SequenceControl::Start));
    assert!(fail("/midi/tempo", &["fast"]).contains("/midi/tempo BPM"));
    assert!(fail("/midi/alarm", &[]).contains("/midi/tempo BPM"));
    let panic = sent("/midi/panic", &[]);
    assert_eq!(panic[..2], both(SequenceControl::Stop));
    let is_silence = |submission: &Submission| {
        let event = Event::Silence;
        matches!(submission, Submission::Event { event: e, .. } if *e == event)
    };
    assert!(panic.len() == 3 && is_silence(&panic[2]));
    for (address, args, ticks, bpm, begin) in [
        ("/midi/clock", vec!["96", "120.5"], 96, 120.5, false),
        ("/midi/clock", vec!["7", "0"], 7, 0.0, false),
        ("/midi/play", vec!["0"], 0, 0.0, true),
    ] {
        let clock = Event::Clock { ticks, bpm, begin };
        let said = sent(address, &args);
        assert!(matches!(said[..], [Submission::Event { event, .. }] if event == clock));
    }
    for args in [
        vec![],
        vec!["-1", "120"],
        vec!["1", "NaN"],
        vec!["1", "2000"],
    ] {
        assert!(fail("/midi/clock", &args).contains("/midi/clock TICK BPM"));
    }
    let silence = sent("/midi/silence", &[]);
    assert!(silence.len() == 1 && is_silence(&silence[0]));
}

#[test]
fn wrong_ones_are_told_what_would_be_right() {
    for (address, args, what) in [
        ("/seq/create", vec![], "got none (expected ID)"),
        (
            "/seq/create",
            vec!["a", "b"],
            "got \"a\" and 1 more (expected ID)",
        ),
        (
            "/seq/add",
            vec!["a", "kick"],
            "expected ID MODULE PATTERN [NOTES…]",
        ),
        (
            "/seq/config",
            vec!["a", "120"],
            "expected ID BPM STEPS DIVISION",
        ),
        ("/seq/length", vec!["a", "1.5"], "expected ID STEPS"),
        ("/seq/length", vec!["a", "-1"], "expected ID STEPS"),
        (
            "/seq/assign",
            vec!["a", "gates", "kick"],
            "expected ID gate|note MODULE",
        ),
        (
            "/seq/assign",
            vec!["a", "gate", "kick", "tune"],
            "or ID param MODULE PARAM",
        ),
        ("/seq/start", vec!["a", "beat"], "expected ID [bar]"),
        ("/seq/bpm", vec!["a", "fast"], "expected ID BPM"),
        (
            "/seq/bpm",
            vec!["a", "NaN"],
            "the tempo is NaN (expected a number from 1 to 999)",
        ),
        (
            "/seq/strat",
            vec!["a"],
            "no address \"/seq/strat\" (expected one of add, assign, bpm",
        ),
        ("/seq/reset_all", vec!["a"], "expected no argument"),
        ("/seq/list", vec!["a"], "expected no argument"),
        (
            "/pattern/chain",
            vec!["a", "p"],
            "expected ID [NAME BARS …]",
        ),
        (
            "/pattern/chain",
            vec!["a", "p", "x"],
            "expected ID [NAME BARS …]",
        ),
        ("/pattern/save", vec!["p"], "expected NAME ID"),
        (
            "/pattern/x",
            vec![],
            "expected one of chain, list, load, remove, save",
        ),
        ("/seq", vec![], "did you mean \"/seq/add\"?"),
        ("/seq/a/start", vec![], "no address"),
    ] {
        let why = fail(address, &args);
        assert!(why.contains(what), "{address} {args:?}: {why}");
    }
}

#[test]
fn lists_come_in_rows_and_follow_what_was_accepted() {
    let row = |reply: &Reply| match reply {
        Reply::Row(address, args) => (*address, args.clone()),
        other => panic!("{other:?}"),
    };
    let mut gateway = ready();
    play(&mut gateway, "/seq/start", typed(&["drum"]));
    play(&mut gateway, "/seq/bpm", typed(&["drum", "90"]));
    let (_, replies) = play(&mut gateway, "/seq/list", vec![]);
    assert_eq!(replies.len(), 2);
    let (address, args) = row(&replies[0]);
    assert_eq!(address, "/seq/list.reply");
    let text = |text: &str| OscType::String(text.into());
    let right = vec![
        1.into(),
        2.into(),
        text("drum"),
        1.into(),
        90.0_f32.into(),
        16.into(),
        0.0_f32.into(),
        0.5_f32.into(),
        0.into(),
        text("X..x"),
        text("gate kick"),
        text("fill 2"),
    ];
    assert_eq!(args, right);
    assert_eq!(row(&replies[1]).1[..3], [2.into(), 2.into(), text("b")]);
    let (_, replies) = play(&mut gateway, "/pattern/list", vec![]);
    let right = vec![
        1.into(),
        1.into(),
        text("fill"),
        0.into(),
        text("xx"),
        1.into(),
    ];
    assert_eq!(row(&replies[0]), ("/pattern/list.reply", right));
    let mut empty = Gateway::default();
    empty.patch(common::default_names(1));
    let (_, replies) = play(&mut empty, "/seq/list", vec![]);
    assert_eq!(row(&replies[0]).1, [0.into(), 0.into()]);
    for reply in replies {
        assert!(!osc_gateway::reply::encode(reply).is_empty());
    }
}
