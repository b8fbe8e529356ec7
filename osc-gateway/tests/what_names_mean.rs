//! Good messages become the right events, wrong ones a text that says what would be right.
#![allow(missing_docs)]

mod common;

use ::common::{
    command::{Event, Expression},
    message::{Outcome, Submission},
    preset::Preset,
    units::Seq,
};
use common::{bundle, bytes, default_names, message, osc, sender};
use osc_gateway::{gateway::Gateway, reply::Reply};
use rosc::OscType;

fn ready() -> Gateway {
    let mut gateway = Gateway::default();
    gateway.patch(default_names(1));
    gateway
}

/// What a message sets off, all of it accepted, and the replies.
fn play(gateway: &mut Gateway, address: &str, args: Vec<OscType>) -> (Vec<Event>, Vec<Reply>) {
    gateway.datagram(common::ticket(), sender(1), &osc(address, args));
    let batch = gateway.batch();
    gateway.submitted(&batch);
    gateway.outcomes(
        batch
            .iter()
            .map(|(t, _)| (*t, Outcome::Accepted(Seq(*t))))
            .collect(),
    );
    let events = batch
        .into_iter()
        .filter_map(|(_, submission)| match submission {
            Submission::Event { event, .. } => Some(event),
            _ => None,
        });
    (
        events.collect(),
        gateway.replies().into_iter().map(|a| a.reply).collect(),
    )
}

fn fail(address: &str, args: Vec<OscType>) -> String {
    match play(&mut ready(), address, args) {
        (events, replies) if events.is_empty() && replies.len() == 1 => match &replies[0] {
            Reply::Fail(at, why) if at == address => why.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_parameter_is_set_from_every_kind_of_number() {
    let wanted = vec![Event::Param {
        module: 0,
        param: 0,
        value: 440.0,
    }];
    for number in [
        440.into(),
        440.0_f32.into(),
        440.0_f64.into(),
        440_i64.into(),
    ] {
        assert_eq!(
            play(&mut ready(), "/mod/sine/freq", vec![number]),
            (wanted.clone(), vec![])
        );
    }
}

#[test]
fn out_of_range_is_clamped_and_told_without_notify() {
    let (events, replies) = play(&mut ready(), "/mod/sine/freq", vec![1e30_f32.into()]);
    assert_eq!(
        events,
        [Event::Param {
            module: 0,
            param: 0,
            value: 20_000.0
        }]
    );
    let note = "clamped to 20000 Hz (range 0.01 to 20000)".to_owned();
    assert_eq!(replies, [Reply::Done("/mod/sine/freq".into(), Some(note))]);
    let (_, replies) = play(&mut ready(), "/gate/adsr", vec![7.into()]);
    let note = "the gate is clamped to 1 (range 0 to 1)".to_owned();
    assert_eq!(replies, [Reply::Done("/gate/adsr".into(), Some(note))]);
}

#[test]
fn a_commit_may_be_forced_and_a_note_on_it_is_told_without_notify() {
    let forced = |args: Vec<OscType>| {
        let mut gateway = ready();
        gateway.datagram(common::ticket(), sender(1), &osc("/patch/commit", args));
        let batch = gateway.batch();
        gateway.submitted(&batch);
        let [(submission_id, Submission::Commit { forced })] = batch[..] else {
            panic!("{batch:?}");
        };
        let note = "predicted load 93 %".to_owned();
        gateway.outcomes(vec![(submission_id, Outcome::Noted(Seq(1), note.clone()))]);
        let replies: Vec<Reply> = gateway.replies().into_iter().map(|a| a.reply).collect();
        assert_eq!(replies, [Reply::Done("/patch/commit".into(), Some(note))]);
        assert!(gateway.pending() == 0);
        forced
    };
    assert!(!forced(vec![]));
    assert!(forced(vec!["force".into()]));
    let why = fail("/patch/commit", vec!["now".into()]);
    assert!(why.contains("or \"force\""), "{why}");
}

#[test]
fn done_only_after_notify() {
    let mut gateway = ready();
    assert_eq!(play(&mut gateway, "/gate/adsr", vec![1.into()]).1, []);
    let done = |at: &str| vec![Reply::Done(at.into(), None)];
    assert_eq!(
        play(&mut gateway, "/notify", vec![1.into()]).1,
        done("/notify")
    );
    assert_eq!(
        play(&mut gateway, "/gate/adsr", vec![1.into()]).1,
        done("/gate/adsr")
    );
    play(&mut gateway, "/notify", vec![0.into()]);
    assert_eq!(play(&mut gateway, "/gate/adsr", vec![1.into()]).1, []);
}

#[test]
fn a_gate_knows_every_way_to_say_off() {
    let level = |arg: OscType| match play(&mut ready(), "/gate/adsr", vec![arg]).0.as_slice() {
        [Event::Gate { module: 1, level }] => *level,
        other => panic!("{other:?}"),
    };
    for off in [
        0.into(),
        0.0_f32.into(),
        (-0.0_f32).into(),
        0.0_f64.into(),
        false.into(),
        "off".into(),
    ] {
        assert_eq!(level(off).to_bits(), 0);
    }
    for on in [
        1.into(),
        1.0_f32.into(),
        true.into(),
        "on".into(),
        1_i64.into(),
    ] {
        assert_eq!(level(on), 1.0);
    }
    assert_eq!(level(0.25_f32.into()), 0.25);
}

#[test]
fn a_parameter_can_take_its_time() {
    let ramp = |value, ms| {
        let module = 2;
        let param = 0;
        vec![Event::Ramp {
            module,
            param,
            value,
            ms,
        }]
    };
    let args = vec![1_000.into(), 250.into()];
    assert_eq!(
        play(&mut ready(), "/mod/filter/cutoff", args),
        (ramp(1_000.0, 250.0), vec![])
    );
    let args = vec![1.0_f32.into(), 0.5_f32.into()];
    let (events, replies) = play(&mut ready(), "/mod/filter/cutoff", args);
    assert_eq!((events, replies.len()), (ramp(20.0, 0.5), 1));
    for (wanted, ms) in [(-1.0, 0.0), (1e9, 3_600_000.0)] {
        let args = vec![100.into(), OscType::Float(wanted)];
        let (events, replies) = play(&mut ready(), "/mod/filter/cutoff", args);
        assert_eq!((events, replies.len()), (ramp(100.0, ms), 1));
    }
    let nan = fail("/mod/filter/cutoff", vec![100.into(), f32::NAN.into()]);
    assert!(nan.contains("expected a number from 0 to 3600000"), "{nan}");
    assert!(fail("/mod/filter/cutoff", vec![]).contains("got none"));
}

#[test]
fn a_knob_goes_over_the_whole_range() {
    let set = |address: &str, position: f32| {
        let (events, replies) = play(&mut ready(), address, vec![position.into()]);
        match events.as_slice() {
            [Event::Param { value, .. }] => (*value, replies.len()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(set("/knob/filter/cutoff", 0.0), (20.0, 0));
    assert_eq!(set("/knob/filter/cutoff", 1.0), (20_000.0, 0));
    // Half-way by ratio.
    assert!((set("/knob/filter/cutoff", 0.5).0 - 632.46).abs() < 0.1);
    assert_eq!(set("/knob/sine/gain", 0.25), (0.25, 0));
    assert_eq!(set("/knob/sine/gain", 7.0), (1.0, 1));
    assert!(fail("/knob/sine/gian", vec![0.5_f32.into()]).contains("did you mean"));
    assert!(fail("/knob/sine/gain", vec!["loud".into()]).contains("from 0 to 1"));
    assert!(fail("/knob/sine", vec![]).contains("/knob/ID/PARAM"));
}

#[test]
fn a_note_is_a_name_or_a_number() {
    let note = |pitch, velocity, frames| {
        vec![Event::Note {
            module: 1,
            pitch,
            velocity,
            frames,
        }]
    };
    let played = |args| play(&mut ready(), "/note/adsr", args);
    assert_eq!(
        played(vec!["A4".into(), 127.into()]),
        (note(69.0, 1.0, 0), vec![])
    );
    let args = vec![60.5_f32.into(), 0.into(), 250.into()];
    assert_eq!(played(args), (note(60.5, 0.0, 12_000), vec![]));
    let (events, replies) = played(vec![60.into(), 300.into()]);
    assert_eq!((events, replies.len()), (note(60.0, 1.0, 0), 1));
    for (args, why) in [
        (vec![], "expected /note/ID PITCH VELOCITY"),
        (vec!["H9".into(), 1.into()], "not a note (expected C4"),
        (vec![128.into(), 1.into()], "not a note (expected C4"),
        (
            vec![60.into(), f32::NAN.into()],
            "the velocity is NaN (expected a number from",
        ),
        (vec![60.into(), 1.into(), 0.into()], "the duration is 0 ms"),
        (vec![60.into(), "loud".into()], "expected /note/ID"),
    ] {
        let text = fail("/note/adsr", args);
        assert!(text.contains(why), "{text}");
    }
    assert!(fail("/note/out", vec![60.into(), 1.into()]).contains("expected one of sine, adsr"));
}

#[test]
fn a_note_that_sounds_can_be_changed() {
    let change = |what, value, pitch| {
        vec![Event::Express {
            module: 1,
            pitch,
            what,
            value,
        }]
    };
    let played = |args| play(&mut ready(), "/express/adsr", args).0;
    let args = vec!["bend".into(), (-0.5_f32).into(), "C4".into()];
    assert_eq!(played(args), change(Expression::Bend, -0.5, 60.0));
    let args = vec!["pressure".into(), 2.into()];
    assert_eq!(played(args), change(Expression::Pressure, 1.0, -1.0));
    let why = fail("/express/adsr", vec!["slide".into(), 1.into()]);
    assert!(why.contains("bend|pressure|timbre"), "{why}");
}

#[test]
fn wrong_names_get_a_suggestion() {
    let one = || vec![OscType::Int(1)];
    assert_eq!(
        fail("/mod/sin/freq", one()),
        "no module \"sin\"; did you mean \"sine\"?"
    );
    assert!(fail("/mod/sine/frq", one()).contains("did you mean \"freq\"?"));
    assert!(fail("/mod/sine/xyz", one()).contains("expected one of freq, gain"));
    assert!(fail("/gate/sine", one()).contains("does not accept a gate (expected one of adsr"));
    assert!(fail("/engine/stat", one()).contains("did you mean"));
    assert!(fail("/nothing", one()).contains("/mod/ID/PARAM"));
    assert!(fail("/mod/sine", one()).contains("/mod/ID/PARAM"));
    assert!(fail("/mod//", one()).contains("no module"));
    assert!(fail("/engine/start", one()).contains("no argument"));
    let one = || vec![OscType::Int(1)];
    assert!(fail("/record/start", one()).contains("got 1 (expected a name or no argument)"));
    assert!(fail("/record/stop", one()).contains("no argument"));
    assert!(fail("/record/begin", one()).contains("/record/start [NAME]"));
    assert!(fail("/record", one()).contains("/record/start [NAME]"));
}

#[test]
fn patterns_reach_every_address_that_matches() {
    let (events, replies) = play(&mut ready(), "/mod/*/gain", vec![2.0_f32.into()]);
    assert_eq!(
        events,
        [
            Event::Param {
                module: 0,
                param: 1,
                value: 1.0
            },
            Event::Param {
                module: 3,
                param: 0,
                value: 1.0
            },
        ]
    );
    assert_eq!(replies.len(), 1, "one message, one reply");
    let (events, _) = play(&mut ready(), "/gate/*", vec![1.into()]);
    assert_eq!(
        events,
        [Event::Gate {
            module: 1,
            level: 1.0
        }]
    );
    assert!(fail("/mod/zzz*/gain", vec![1.into()]).contains("no address matches"));
    assert!(fail("/mod/[/gain", vec![1.into()]).contains("does not match"));
}

#[test]
fn choices_go_by_name_or_number() {
    let set = |arg: OscType| play(&mut ready(), "/mod/filter/mode", vec![arg]).0;
    assert_eq!(set("highpass".into()), set(1.into()));
    assert_eq!(set(0.7_f32.into()), set(1.into()));
    assert!(fail("/mod/filter/mode", vec!["x".into()]).contains("lowpass, highpass"));
}

#[test]
fn test_start_stop_and_bundles_keep_their_order() {
    let tone = [
        Event::Param {
            module: 0,
            param: 0,
            value: 440.0,
        },
        Event::Gate {
            module: 1,
            level: 1.0,
        },
    ];
    assert_eq!(play(&mut ready(), "/test", vec![]).0, tone);
    let mut gateway = ready();
    let packet = bundle(vec![
        message("/engine/start", vec![]),
        message("/mod/nobody/freq", vec![1.into()]),
        bundle(vec![message("/engine/stop", vec![])]),
    ]);
    gateway.datagram(common::ticket(), sender(1), &bytes(&packet));
    let events: Vec<Submission> = gateway.batch().into_iter().map(|(_, s)| s).collect();
    let run = |on| Submission::Event {
        generation: 1,
        event: Event::Run(on),
        at: None,
    };
    assert_eq!(events, [run(true), run(false)]);
    assert_eq!(gateway.take_rejected(), 1);
}

#[test]
fn schema_and_list_tell_all() {
    let replies = play(&mut ready(), "/engine/schema", vec![]).1;
    let rows = replies.iter().filter_map(|reply| match reply {
        Reply::Row("/engine/address.reply", row) => Some(row[2].clone()),
        _ => None,
    });
    let addresses: Vec<OscType> = rows.collect();
    for address in [
        "/mod/ID/PARAM",
        "/note/ID",
        "/seq/add",
        "/record/start",
        "/midi/tempo",
    ] {
        assert!(addresses.contains(&address.into()), "{address}");
    }
    let connect = OscType::String("/patch/connect".into());
    let takes = replies.iter().find_map(|reply| match reply {
        Reply::Row(_, row) if row[2] == connect => Some(row[3].clone()),
        _ => None,
    });
    assert_eq!(takes, Some("s:SRC s:DST [frame]".into()));
    let params = &replies[addresses.len()..];
    assert_eq!(params.len(), 7);
    assert!(
        matches!(&params[0], Reply::Schema { module, max, .. } if module == "sine" && *max == 20_000.0)
    );
    let replies = play(&mut ready(), "/engine/list", vec![]).1;
    assert!(matches!(replies.as_slice(), [Reply::List(modules)] if modules.len() == 4));
}

#[test]
fn datagrams_before_the_first_patch_have_to_wait_for_it() {
    let mut gateway = Gateway::default();
    assert!(!gateway.ready(), "they are left in the inbox");
    gateway.patch(default_names(1));
    assert!(gateway.ready());
}

#[test]
fn presets_stay_names_and_what_is_wrong_with_them_is_said() {
    let asked = |verb: &str, args: Vec<OscType>| {
        let mut gateway = ready();
        gateway.datagram(common::ticket(), sender(1), &osc(verb, args));
        gateway.batch().pop().map(|(_, submission)| submission)
    };
    let save = asked("/preset/save", vec!["filter".into(), "dark".into()]);
    let wanted = Preset::Save {
        module: "filter".into(),
        name: "dark".into(),
    };
    assert_eq!(save, Some(Submission::Preset(wanted)));
    let morph = |a: &str, b: &str, position, ms| {
        Some(Submission::Preset(Preset::Morph {
            module: "filter".into(),
            between: (a.into(), b.into()),
            position,
            ms,
            at: None,
        }))
    };
    let load = asked("/preset/load", vec!["filter".into(), "dark".into()]);
    assert_eq!(load, morph("dark", "dark", 0.0, None));
    let names = || vec!["filter".into(), "dark".into(), "bright".into()];
    let both = asked(
        "/preset/morph",
        [names(), vec![0.25_f32.into(), 500.into()]].concat(),
    );
    assert_eq!(both, morph("dark", "bright", 0.25, Some(500.0)));
    assert_eq!(
        asked("/preset/list", vec![]),
        Some(Submission::Presets(None))
    );
    let beyond = [names(), vec![3.into(), (-1).into()]].concat();
    assert_eq!(
        asked("/preset/morph", beyond.clone()),
        morph("dark", "bright", 1.0, Some(0.0))
    );
    let replies = play(&mut ready(), "/preset/morph", beyond).1;
    let note = "the position is clamped to 1 (range 0 to 1); the time in milliseconds is clamped to 0 (range 0 to 3600000)";
    assert_eq!(
        replies,
        [Reply::Done("/preset/morph".into(), Some(note.into()))]
    );
    let nan = fail("/preset/morph", [names(), vec![f32::NAN.into()]].concat());
    assert!(
        nan.starts_with("the position is NaN (expected a number from 0 to 1)"),
        "{nan}"
    );
    for (address, args) in [
        ("/preset/save", vec!["filter".into()]),
        ("/preset/drop", vec![]),
        ("/preset/load", vec![1.into(), 2.into()]),
    ] {
        let why = fail(address, args);
        assert!(why.contains("/preset/save MODULE NAME"), "{why}");
    }
}
