//! Good messages become the right events, wrong ones a text that says what would be right.
#![allow(missing_docs)]

mod common;

use ::common::{
    command::Event,
    message::{Outcome, Submission},
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
    let note = "clamped to 1 (range 0 to 1)".to_owned();
    assert_eq!(replies, [Reply::Done("/gate/adsr".into(), Some(note))]);
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
fn wrong_names_get_a_suggestion() {
    let one = || vec![OscType::Int(1)];
    assert_eq!(
        fail("/mod/sin/freq", one()),
        "no module \"sin\"; did you mean \"sine\"?"
    );
    assert!(fail("/mod/sine/frq", one()).contains("did you mean \"freq\"?"));
    assert!(fail("/mod/sine/xyz", one()).contains("it has freq, gain"));
    assert!(fail("/gate/sine", one()).contains("takes no gate; these do: adsr"));
    assert!(fail("/engine/stat", one()).contains("did you mean"));
    assert!(fail("/nothing", one()).contains("/mod/ID/PARAM"));
    assert!(fail("/mod/sine", one()).contains("/mod/ID/PARAM"));
    assert!(fail("/mod//", one()).contains("no module"));
    assert!(fail("/engine/start", one()).contains("no argument"));
    for address in ["/seq/create", "/record/start", "/pattern/list", "/note"] {
        assert!(
            fail(address, one()).starts_with("not built yet"),
            "{address}"
        );
    }
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
    assert_eq!(replies.len(), 7);
    assert!(
        matches!(&replies[0], Reply::Schema { module, max, .. } if module == "sine" && *max == 20_000.0)
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
