//! Whatever bytes arrive, the gateway answers or ignores them, stays bounded and goes on.
#![allow(missing_docs)]

mod common;

use std::time::Instant;

use ::common::{
    command::Event,
    limits::{DATAGRAM_BYTES_MAX, OSC_DEPTH_MAX},
    message::Submission,
};
use common::{Random, bundle, bytes, default_names, message, osc, sender};
use osc_gateway::{
    decode::{self, Malformed},
    gateway::Gateway,
    namespace::Namespace,
    reply::{self, Reply},
};
use rosc::{OscArray, OscType};

fn ready() -> Gateway {
    let mut gateway = Gateway::default();
    gateway.patch(default_names(1));
    gateway
}

fn only_fail(gateway: &mut Gateway, datagram: &[u8]) -> String {
    gateway.datagram(common::ticket(), sender(1), datagram);
    assert!(
        gateway.batch().is_empty(),
        "a wrong datagram changes nothing"
    );
    match gateway.replies().as_slice() {
        [one] => match &one.reply {
            Reply::Fail(_, why) => why.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn random_bytes_are_survived() {
    let mut random = Random(7);
    let mut gateway = ready();
    for _ in 0..20_000 {
        let mut datagram = vec![0; random.below(300)];
        datagram.iter_mut().for_each(|b| *b = random.next() as u8);
        if random.below(2) == 0 {
            datagram.splice(0..0, *b"#bundle\0");
        } else {
            datagram.splice(0..0, *b"/m\0\0,");
        }
        gateway.datagram(common::ticket(), sender(1), &datagram);
        gateway.replies();
    }
}

#[test]
fn mutated_and_truncated_datagrams_are_survived() {
    let mut random = Random(11);
    let array = OscType::Array(OscArray {
        content: vec![1.into(), "x".into()],
    });
    let seeds = [
        osc("/mod/sine/freq", vec![440.0_f32.into()]),
        osc("/mod/*/{gain,freq}", vec![0.5_f64.into()]),
        osc(
            "/gate/adsr",
            vec![true.into(), array, vec![1_u8, 2, 3].into(), "text".into()],
        ),
        bytes(&bundle(vec![
            message("/sync", vec![3.into()]),
            bundle(vec![
                message("/test", vec![]),
                message("/engine/list", vec![]),
            ]),
        ])),
    ];
    let mut gateway = ready();
    for turn in 0..40_000 {
        let mut datagram = seeds[turn % seeds.len()].clone();
        for _ in 0..random.below(4) {
            let place = random.below(datagram.len());
            datagram[place] = match random.below(4) {
                0 => 0,
                1 => 0xff,
                2 => datagram[place] ^ (1 << random.below(8)),
                _ => random.next() as u8,
            };
        }
        if random.below(3) == 0 {
            datagram.truncate(random.below(datagram.len() + 1));
        }
        gateway.datagram(common::ticket(), sender(1), &datagram);
        for addressed in gateway.replies() {
            assert!(reply::encode(addressed.reply).len() <= 2_048);
        }
        for (_, submission) in gateway.batch() {
            if let Submission::Event {
                event: Event::Param { value, .. },
                ..
            } = submission
            {
                assert!(value.is_finite());
            }
        }
        if gateway.pending() > 1_000 {
            gateway = ready();
        }
    }
}

#[test]
fn every_truncation_of_a_good_datagram_is_refused() {
    let good = bytes(&bundle(vec![
        message("/mod/sine/freq", vec![440.0_f32.into()]),
        message("/gate/adsr", vec![1.into()]),
    ]));
    let whole = decode::datagram(&good).unwrap();
    assert_eq!(whole.len(), 2);
    for end in 0..good.len() {
        // Whole elements gone leave a shorter, still good bundle; anything else is refused.
        if let Ok(messages) = decode::datagram(&good[..end]) {
            assert!(messages.len() < 2 && whole.starts_with(&messages));
        }
    }
}

#[test]
fn a_datagram_too_long_is_refused_with_the_limit() {
    let mut gateway = ready();
    let long = osc("/mod/sine/freq", vec![vec![0_u8; 65_000].into()]);
    let why = only_fail(&mut gateway, &long);
    assert!(why.contains(&DATAGRAM_BYTES_MAX.to_string()), "{why}");
    only_fail(&mut gateway, &vec![b'['; 65_507]);
    assert_eq!(gateway.take_rejected(), 2);
}

#[test]
fn deep_arrays_and_bundles_are_refused_before_rosc_sees_them() {
    let mut tags = b"/a\0\0,".to_vec();
    tags.extend(std::iter::repeat_n(b'[', 3_000));
    tags.extend(std::iter::repeat_n(b']', 3_000));
    tags.extend([0, 0, 0]);
    tags.resize(tags.len().next_multiple_of(4), 0);
    assert_eq!(decode::datagram(&tags), Err(Malformed::Depth));

    let nested =
        |depth| (0..depth).fold(message("/test", vec![]), |inside, _| bundle(vec![inside]));
    assert_eq!(
        decode::datagram(&bytes(&nested(OSC_DEPTH_MAX))).map(|m| m.len()),
        Ok(1)
    );
    assert_eq!(
        decode::datagram(&bytes(&nested(OSC_DEPTH_MAX + 1))),
        Err(Malformed::Depth)
    );
    assert_eq!(
        decode::datagram(&bytes(&nested(350))),
        Err(Malformed::Depth)
    );
}

#[test]
fn an_element_of_no_bytes_does_not_hide_what_follows() {
    let mut datagram = b"#bundle\0\0\0\0\0\0\0\0\x01".to_vec();
    datagram.extend([0; 4]);
    let hidden = osc("/gate/adsr", vec![1.into()]);
    datagram.extend((hidden.len() as u32).to_be_bytes());
    datagram.extend(&hidden);
    assert_eq!(decode::datagram(&datagram), Err(Malformed::Element(0)));
    let empty = bytes(&bundle(vec![]));
    assert_eq!(decode::datagram(&empty), Ok(vec![]));
}

#[test]
fn brackets_left_over_bytes_and_huge_sizes_are_refused() {
    let tags = |tags: &[u8]| {
        let mut datagram = b"/a\0\0".to_vec();
        datagram.extend(tags);
        decode::datagram(&datagram)
    };
    assert_eq!(tags(b",]\0\0"), Err(Malformed::Brackets));
    assert_eq!(tags(b",[\0\0"), Err(Malformed::Brackets));
    assert_eq!(tags(b",T\0\0\0\0\0\0"), Err(Malformed::LeftOver(4)));
    assert_eq!(tags(b",S\0\0abc\0"), Err(Malformed::Tag('S')));
    assert_eq!(
        tags(b",b\0\0\xff\xff\xff\xff"),
        Err(Malformed::Truncated("arguments"))
    );
    assert_eq!(
        tags(b",b\0\0\xff\xff\xff\xfd"),
        Err(Malformed::Truncated("arguments"))
    );
    assert_eq!(tags(b"i\0\0\0"), Err(Malformed::Tags));
    assert_eq!(tags(b",s\0\0\xff\xfe\0\0"), Err(Malformed::Text));
    assert_eq!(
        tags(b"").map(|m| m.len()),
        Ok(1),
        "old senders leave the tags out"
    );
    assert_eq!(decode::datagram(b""), Err(Malformed::Size(0)));
}

#[test]
fn not_a_number_and_wrong_types_are_refused() {
    let mut gateway = ready();
    for bad in [
        OscType::Float(f32::NAN),
        OscType::Float(f32::INFINITY),
        OscType::Double(f64::NEG_INFINITY),
        OscType::Inf,
        OscType::Nil,
        OscType::Bool(true),
        OscType::String("440".into()),
        OscType::Blob(vec![1]),
    ] {
        only_fail(&mut gateway, &osc("/mod/sine/freq", vec![bad]));
    }
    only_fail(&mut gateway, &osc("/mod/sine/freq", vec![]));
    only_fail(
        &mut gateway,
        &osc("/mod/sine/freq", vec![1.into(), 2.into(), 3.into()]),
    );
    only_fail(&mut gateway, &osc("/gate/adsr", vec![f32::NAN.into()]));
    only_fail(&mut gateway, &osc("/gate/adsr", vec!["loud".into()]));
    only_fail(&mut gateway, &osc("/mod/*/gain", vec![f32::NAN.into()]));
}

#[test]
fn replies_are_never_answered() {
    let mut gateway = ready();
    for address in ["/done", "/fail", "/synced", "/engine/status.reply"] {
        gateway.datagram(
            common::ticket(),
            sender(1),
            &osc(address, vec!["/x".into(), "no".into()]),
        );
    }
    // Malformed ones neither.
    gateway.datagram(common::ticket(), sender(1), b"/fail\0\0\0,s\0\0");
    assert!(gateway.replies().is_empty());
    assert_eq!(gateway.take_rejected(), 5);
}

#[test]
fn one_datagram_sets_off_a_bounded_amount_of_work() {
    let mut modules = default_names(1).modules().to_vec();
    let voice = modules[0].clone();
    for number in 0..400 {
        let mut voice = voice.clone();
        voice.id = format!("voice{number}");
        modules.push(voice);
    }
    let mut gateway = Gateway::default();
    gateway.patch(Namespace::new(1, 48_000, modules));
    let many = |address: &str, count| {
        bytes(&bundle(
            (0..count)
                .map(|_| message(address, vec![0.5_f32.into()]))
                .collect(),
        ))
    };
    let start = Instant::now();
    gateway.datagram(common::ticket(), sender(1), &many("/mod/*v*o*/gain", 150));
    assert!(gateway.pending() <= 1_024, "{}", gateway.pending());
    gateway.datagram(common::ticket(), sender(1), &many("/mod/vioce7/gain", 200));
    gateway.datagram(
        common::ticket(),
        sender(1),
        &many("/*/*a*a*a*a*a*a*a*/{a,b,c,d,e,f,g}", 100),
    );
    let lists = (0..300)
        .map(|_| message("/engine/schema", vec![]))
        .collect();
    gateway.replies();
    gateway.datagram(common::ticket(), sender(1), &bytes(&bundle(lists)));
    assert!(gateway.replies().len() < 2_500);
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    only_fail_pattern_of_all(&mut gateway);
}

fn only_fail_pattern_of_all(gateway: &mut Gateway) {
    let before = gateway.pending();
    gateway.datagram(
        common::ticket(),
        sender(1),
        &osc("/mod/*/*", vec![0.5_f32.into()]),
    );
    assert_eq!(
        gateway.pending(),
        before,
        "more matches than the limit: nothing of it counts"
    );
    assert!(matches!(&gateway.replies()[0].reply, Reply::Fail(_, why) if why.contains("512")));
}
