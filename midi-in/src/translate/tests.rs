//! What bytes say, message by message, as the specifications have it.

use super::*;
use midly::stream::MidiStream;

fn said(translator: &mut Translator, bytes: &[u8]) -> Vec<Said> {
    let mut all = Vec::new();
    MidiStream::new().feed(bytes, |event| {
        translator.hear(event, 0, |said| all.push(said));
    });
    all
}

fn on(key: u8, velocity: u8) -> Said {
    Said::Note(key.into(), velocity)
}

fn off(key: u8) -> Said {
    on(key, 0)
}

#[test]
fn keys_are_notes_with_and_without_running_status() {
    let mut translator = Translator::default();
    let bytes = [0x90, 60, 100, 64, 80, 60, 0, 0x80, 64, 12];
    let notes = [on(60, 100), on(64, 80), off(60), off(64)];
    assert_eq!(said(&mut translator, &bytes), notes);
    // An unknown key also ends its note.
    assert_eq!(said(&mut translator, &[0x80, 50, 0]), [off(50)]);
}

#[test]
fn the_pedal_holds_what_is_let_go() {
    let mut translator = Translator::default();
    let pressed = [0xB0, 64, 127, 0x90, 60, 100, 60, 0, 64, 90];
    assert_eq!(said(&mut translator, &pressed), [on(60, 100), on(64, 90)]);
    // All Notes Off affects keys only: notes held by the pedal continue.
    assert_eq!(said(&mut translator, &[0xB0, 123, 0]), []);
    assert_eq!(said(&mut translator, &[0xB0, 64, 0]), [off(60), off(64)]);
    // Struck again while it is held, it is a key that is down.
    let again = [0xB0, 64, 127, 0x90, 60, 100, 60, 0, 60, 90, 0xB0, 64, 0];
    assert_eq!(said(&mut translator, &again), [on(60, 100), on(60, 90)]);
    assert_eq!(said(&mut translator, &[0xB0, 123, 0]), [off(60)]);
}

#[test]
fn all_sound_off_ends_what_the_pedal_holds_too() {
    let mut translator = Translator::default();
    let pressed = [0xB0, 64, 127, 0x90, 60, 100, 60, 0, 64, 90];
    said(&mut translator, &pressed);
    let off = [off(60), off(64), Said::Silence];
    assert_eq!(said(&mut translator, &[0xB0, 120, 0]), off);
    assert_eq!(translator.sounding(), 0);
}

#[test]
fn reset_all_controllers_resets_pedal_bend_pressure_and_expression() {
    let mut translator = Translator::default();
    let pressed = [
        0xB0, 64, 127, 101, 0, 100, 0, 6, 12, 0x90, 60, 100, 60, 0, 0xE0, 0, 0, 0xD0, 127,
    ];
    said(&mut translator, &pressed);
    let reset = [
        off(60),
        Said::Bend(0.0, None),
        Said::Pressure(0.0, None),
        Said::Reset(1, 1, 0),
        Said::Reset(1, 11, 127),
    ];
    assert_eq!(said(&mut translator, &[0xB0, 121, 0]), reset);
    // The range stays, nothing is selected.
    assert_eq!(
        said(&mut translator, &[0xB0, 6, 3]),
        [Said::Control(1, 6, 3)]
    );
    assert_eq!(
        said(&mut translator, &[0xE0, 0, 0]),
        [Said::Bend(-12.0, None)]
    );
    assert_eq!(said(&mut translator, &[0xB0, 122, 0]), []);
}

#[test]
fn a_bend_reaches_as_far_as_was_said_and_bends_what_comes_after_it() {
    let mut translator = Translator::default();
    assert_eq!(
        said(&mut translator, &[0xE0, 0, 0]),
        [Said::Bend(-2.0, None)]
    );
    let note = said(&mut translator, &[0x90, 60, 100]);
    assert_eq!(note, [on(60, 100), Said::Bend(-2.0, Some(60.0))]);
    // A range that is said while it is bent is heard at once.
    let wider = [0xB0, 101, 0, 100, 0, 6, 12];
    assert_eq!(said(&mut translator, &wider), [Said::Bend(-12.0, None)]);
    assert_eq!(
        said(&mut translator, &[0xB0, 38, 50]),
        [Said::Bend(-12.5, None)]
    );
    assert_eq!(
        said(&mut translator, &[0xB0, 97, 0]),
        [Said::Bend(-12.49, None)]
    );
    assert_eq!(
        said(&mut translator, &[0xB0, 6, 0]),
        [Said::Bend(0.0, None)]
    );
    let pressed = said(&mut translator, &[0xD0, 127, 0x90, 62, 1]);
    assert_eq!(pressed[2], Said::Pressure(1.0, Some(62.0)));
}

#[test]
fn data_entry_sets_what_is_selected_and_nothing_else() {
    let mut translator = Translator::default();
    for controller in [6, 38, 96, 97] {
        let control = Said::Control(1, controller, 24);
        assert_eq!(said(&mut translator, &[0xB0, controller, 24]), [control]);
    }
    // Bend range, then an NRPN of the same number: it is nothing that is known.
    let other = [
        0xB0, 101, 0, 100, 0, 99, 0, 98, 0, 6, 24, 38, 1, 96, 0, 97, 0,
    ];
    assert_eq!(said(&mut translator, &other), []);
    assert_eq!(
        said(&mut translator, &[0xE0, 0, 0]),
        [Said::Bend(-2.0, None)]
    );
    // Null.
    let none = [0xB0, 101, 0, 100, 0, 101, 127, 100, 127, 6, 24];
    assert_eq!(said(&mut translator, &none), [Said::Control(1, 6, 24)]);
    // Another channel's selection is its own.
    said(&mut translator, &[0xB1, 101, 0, 100, 0]);
    assert_eq!(
        said(&mut translator, &[0xB0, 6, 24]),
        [Said::Control(1, 6, 24)]
    );
}

#[test]
fn tuning_moves_all_notes_of_the_channel() {
    let mut translator = Translator::default();
    let coarse = [0xB0, 101, 0, 100, 2, 6, 52];
    assert_eq!(said(&mut translator, &coarse), [Said::Bend(-12.0, None)]);
    let fine = [0xB0, 100, 1, 6, 96];
    assert_eq!(said(&mut translator, &fine), [Said::Bend(-11.5, None)]);
    let note = said(&mut translator, &[0x90, 60, 9]);
    assert_eq!(note[1], Said::Bend(-11.5, Some(60.0)));
}

#[test]
fn in_a_zone_each_note_has_a_channel_of_its_own() {
    let mut translator = Translator::default();
    // A lower zone of three channels.
    assert_eq!(said(&mut translator, &[0xB0, 101, 0, 100, 6, 6, 3]), []);
    let bent = [0xE1, 0, 0x60, 0x91, 60, 100, 0x92, 64, 90];
    let heard = said(&mut translator, &bent);
    assert_eq!((heard[0], heard[2]), (on(60, 100), on(64, 90)));
    assert!(matches!(heard[1], Said::Bend(x, Some(60.0)) if (x - 24.0).abs() < 0.01));
    assert_eq!(heard.len(), 3);
    let pressed = said(&mut translator, &[0xD2, 127]);
    assert_eq!(pressed, [Said::Pressure(1.0, Some(64.0))]);
    let timbre = said(&mut translator, &[0xB1, 74, 0]);
    assert_eq!(timbre, [Said::Timbre(0.0, Some(60.0))]);
    // Beyond the zone a controller is a controller.
    let control = said(&mut translator, &[0xB4, 74, 9]);
    assert_eq!(control, [Said::Control(5, 74, 9)]);
    // A range that one member says is all members'.
    said(&mut translator, &[0xB3, 101, 0, 100, 0, 6, 12]);
    let bent = said(&mut translator, &[0xE1, 0, 0]);
    assert_eq!(bent, [Said::Bend(-12.0, Some(60.0))]);
}

#[test]
fn the_bend_of_the_channel_that_leads_is_added_to_the_members() {
    let mut translator = Translator::default();
    said(&mut translator, &[0xB0, 101, 0, 100, 6, 6, 5]);
    said(&mut translator, &[0xB1, 101, 0, 100, 0, 6, 12]);
    // Two semitones down of the master, twelve of the member.
    let heard = [0x91, 60, 100, 0xE0, 0, 0, 0xE1, 0, 0];
    assert_eq!(
        said(&mut translator, &heard),
        [
            on(60, 100),
            Said::Bend(-2.0, Some(60.0)),
            Said::Bend(-14.0, Some(60.0))
        ]
    );
    // A note that begins there has both.
    let note = said(&mut translator, &[0x91, 62, 1]);
    assert_eq!(note, [on(62, 1), Said::Bend(-14.0, Some(62.0))]);
    // The master's pedal holds its members' notes; all off of the master is the zone's.
    assert_eq!(said(&mut translator, &[0xB0, 64, 127, 0x81, 60, 0]), []);
    assert_eq!(said(&mut translator, &[0xB0, 64, 0]), [off(60)]);
    assert_eq!(said(&mut translator, &[0xB0, 123, 0]), [off(62)]);
}

#[test]
fn the_same_key_on_two_channels_is_two_notes_each_with_its_end_and_its_bend() {
    for zone in [false, true] {
        let mut translator = Translator::default();
        if zone {
            said(&mut translator, &[0xB0, 101, 0, 100, 6, 6, 5]);
        }
        let struck = said(&mut translator, &[0x91, 60, 100, 0x92, 60, 90]);
        let [Said::Note(first, 100), Said::Note(second, 90)] = struck[..] else {
            panic!("{struck:?}");
        };
        assert!(first == 60.0 && second != first && (second - first).abs() < 0.001);
        let [Said::Bend(_, Some(bent))] = said(&mut translator, &[0xE2, 0, 0])[..] else {
            panic!("no bend of one note");
        };
        assert_eq!(bent, second);
        let ended = said(&mut translator, &[0x81, 60, 0]);
        assert_eq!(ended, [Said::Note(first, 0)]);
        let ended = said(&mut translator, &[0x82, 60, 0]);
        assert_eq!(ended, [Said::Note(second, 0)]);
    }
}

#[test]
fn a_zone_that_is_made_ends_its_notes() {
    let mut translator = Translator::default();
    said(&mut translator, &[0x91, 60, 100, 0x9A, 62, 100]);
    let made = said(&mut translator, &[0xB0, 101, 0, 100, 6, 6, 5]);
    assert_eq!(made, [off(60)]);
    assert_eq!(translator.sounding(), 1);
    let made = said(&mut translator, &[0xBF, 101, 0, 100, 6, 6, 10]);
    assert_eq!(made, [off(62)]);
}

#[test]
fn what_is_written_down_is_what_was_held() {
    let mut translator = Translator::default();
    let empty = serde_json::to_string(&translator).unwrap();
    assert!(empty.len() < 100, "{empty}");
    let held = [
        0xB0, 101, 0, 100, 6, 6, 5, 0xB1, 101, 0, 100, 0, 6, 12, 38, 7, 0xE0, 1, 2, 0xE1, 3, 4,
        0xB0, 64, 127, 0x91, 60, 100, 0x92, 60, 90, 0x82, 60, 0, 0xD1, 55, 0xB2, 74, 9, 0xB5, 99,
        1, 0xB6, 101, 0, 100, 2, 6, 60, 100, 1, 6, 3,
    ];
    said(&mut translator, &held);
    let text = serde_json::to_string(&translator).unwrap();
    let mut other: Translator = serde_json::from_str(&text).unwrap();
    assert_eq!(other, translator);
    let rest = [0xB0, 64, 0, 0xE1, 9, 9, 0x81, 60, 0, 0xB1, 6, 2];
    assert_eq!(said(&mut other, &rest), said(&mut translator, &rest));
}

#[test]
fn any_bytes_are_survived() {
    let mut translator = Translator::default();
    let mut state = 1_u32;
    let mut bytes = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let noise: Vec<u8> = (0..300_000).map(|_| bytes()).collect();
    for said in said(&mut translator, &noise) {
        match said {
            Said::Note(pitch, velocity) => {
                assert!((0.0..127.01).contains(&pitch) && velocity < 128)
            }
            // Both bends of a zone, and both tunings.
            Said::Bend(semitones, _) => assert!(semitones.abs() <= 2.0 * (128.0 + 65.0)),
            Said::Pressure(x, _) | Said::Timbre(x, _) => assert!((0.0..=1.0).contains(&x)),
            Said::Control(channel, ..) | Said::Reset(channel, ..) => {
                assert!((1..=16).contains(&channel));
            }
            Said::Tempo(bpm) => assert!((20.0..=999.0).contains(&bpm)),
            Said::Play(_, bpm, _) | Said::Clock(_, bpm, _) => assert!((0.0..=999.1).contains(&bpm)),
            Said::Silence | Said::Stop(_) => {}
        }
    }
    for channel in &translator.channels {
        assert!(channel.keys.len() <= 128);
    }
}
