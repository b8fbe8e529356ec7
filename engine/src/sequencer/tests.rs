//! Tests of a sequence without sound: over hours, going from one due frame to the next.

use common::command::SequenceControl;

use super::*;

const RATE_HZ: u32 = 48_000;
const HOUR: u64 = 3_600 * RATE_HZ as u64;

/// A sequence by itself.
struct Player {
    track: Track,
    state: State,
    now: u64,
    /// The events so far, with their frames.
    done: Vec<(u64, Event)>,
}

impl Player {
    /// A sequence with those fields, on the gate of "adsr" (number 1) and as notes on "sine" (number 2).
    fn new(fields: &str) -> Self {
        Self::of(fields, "")
    }

    fn of(fields: &str, patterns: &str) -> Self {
        let text = format!(
            r#"{{"version":1,"modules":[{{"id":"o","type":"out"}},{{"id":"adsr","type":"adsr"}},{{"id":"sine","type":"sine"}}],
            "sequences":[{{"id":"a","targets":[{{"module":"adsr","role":"gate"}},{{"module":"sine","role":"note"}}],{fields}}}],"patterns":{{{patterns}}}}}"#
        );
        let patch = Patch::from_json(&text).unwrap();
        let track = Score::of(&patch).tracks.remove(0);
        let mut state = State::new(&patch.sequences[0], &track);
        state.control(SequenceControl::Start, &track, 0, &mut |_| {});
        Self {
            track,
            state,
            now: 0,
            done: Vec::new(),
        }
    }

    /// Plays up to a frame.
    fn play(&mut self, end: u64) -> &mut Self {
        while self.state.due() < end {
            self.now = self.state.due();
            let (now, done) = (self.now, &mut self.done);
            let out = &mut |event| done.push((now, event));
            self.state.play(&self.track, RATE_HZ, now, out);
        }
        self.now = end;
        self
    }

    fn control(&mut self, what: SequenceControl) -> &mut Self {
        let (now, done) = (self.now, &mut self.done);
        let out = &mut |event| done.push((now, event));
        self.state.control(what, &self.track, now, out);
        self
    }

    /// The frames at which the gate opened, with the level in 127ths, or closed.
    fn gates(&self) -> Vec<(u64, u32)> {
        let gate = |(frame, event): &(u64, Event)| match event {
            Event::Gate { module: 1, level } => Some((*frame, (level * 127.0).round() as u32)),
            _ => None,
        };
        self.done.iter().filter_map(gate).collect()
    }

    fn onsets(&self) -> Vec<u64> {
        let opened = self.gates().into_iter().filter(|(_, level)| *level > 0);
        opened.map(|(frame, _)| frame).collect()
    }

    /// The notes that began.
    fn notes(&self) -> Vec<f32> {
        let note = |(_, event): &(u64, Event)| match event {
            Event::Note {
                module: 2,
                pitch,
                velocity,
                ..
            } if *velocity > 0.0 => Some(*pitch),
            _ => None,
        };
        self.done.iter().filter_map(note).collect()
    }

    /// The values that a parameter of module 2 was set to.
    fn values(&self, number: u16) -> Vec<(u64, f32)> {
        let value = |(frame, event): &(u64, Event)| match event {
            Event::Param {
                module: 2,
                param,
                value,
            } if *param == number => Some((*frame, *value)),
            _ => None,
        };
        self.done.iter().filter_map(value).collect()
    }
}

/// `a / b`, rounded to the nearest.
fn rounded(a: u128, b: u128) -> u64 {
    ((a + b / 2) / b) as u64
}

#[test]
fn each_onset_is_at_its_ideal_frame_after_hours_too() {
    for (bpm, division) in [("175", 16), ("174.3", 16), ("61.007", 12), ("999", 128)] {
        let mut player = Player::new(&format!(
            r#""bpm":{bpm},"division":{division},"pattern":"x""#
        ));
        let hours = if division == 128 { 1 } else { 4 };
        player.play(hours * HOUR);
        let thousandths = (bpm.parse::<f64>().unwrap() * 1_000.0).round() as u128;
        let onsets = player.onsets();
        assert!(onsets.len() > 100_000 || division == 12);
        for (n, onset) in onsets.into_iter().enumerate() {
            let above = n as u128 * 240_000 * u128::from(RATE_HZ);
            assert_eq!(onset, rounded(above, thousandths * division), "{bpm} {n}");
        }
    }
}

#[test]
fn letters_are_velocities_rests_and_ties() {
    // At 120 a sixteenth has 6,000 frames.
    let mut player = Player::new(r#""pattern":"Xx.x--x_.""#);
    player.play(9 * 6_000);
    assert_eq!(
        player.gates(),
        [
            (0, 127),
            (3_000, 0),
            (6_000, 64),
            (9_000, 0),
            (18_000, 64),
            (33_000, 0),
            (36_000, 64),
            (45_000, 0)
        ]
    );
}

#[test]
fn what_is_held_ends_where_the_pattern_no_longer_holds_it() {
    let mut player = Player::new(r#""pattern":"x-""#);
    player.play(3_000);
    player.track = Player::new(r#""pattern":"...""#).track;
    player.play(60_000);
    assert_eq!(player.gates(), [(0, 64), (6_000, 0)]);
}

#[test]
fn a_gate_is_open_for_its_part_of_the_step() {
    for (part, frames) in [(0.25, 1_500), (1.0, 6_000), (0.001, 6)] {
        let mut player = Player::new(&format!(r#""gate_len":{part},"pattern":"x.""#));
        player.play(12_000);
        assert_eq!(player.gates(), [(0, 64), (frames, 0)]);
    }
    let mut legato = Player::new(r#""gate_len":1,"pattern":"x""#);
    legato.play(6_001);
    assert_eq!(legato.gates(), [(0, 64), (6_000, 0), (6_000, 64)]);
    let mut player = Player::new(r#""pattern":"x""#);
    player.play(100);
    player
        .control(SequenceControl::GateLength(0.25))
        .play(9_000);
    assert_eq!(
        player.gates(),
        [(0, 64), (3_000, 0), (6_000, 64), (7_500, 0)]
    );
}

#[test]
fn swing_makes_each_second_step_late() {
    let mut player = Player::new(r#""swing":0.5,"gate_len":1,"pattern":"x""#);
    player.play(24_001);
    assert_eq!(
        player.gates(),
        [
            (0, 64),
            (9_000, 0),
            (9_000, 64),
            (12_000, 0),
            (12_000, 64),
            (21_000, 0),
            (21_000, 64),
            (24_000, 0),
            (24_000, 64)
        ]
    );
}

#[test]
fn ratchets_repeat_a_hit_within_its_step() {
    let mut player = Player::new(r#""pattern":{"text":"xx","ratchet":[3,1]}"#);
    player.play(12_000);
    assert_eq!(player.onsets(), [0, 2_000, 4_000, 6_000]);
    assert_eq!(
        player.gates()[..4],
        [(0, 64), (1_000, 0), (2_000, 64), (3_000, 0)]
    );
    for (times, swing) in [(8, 0.75), (7, 0.333), (2, 0.5)] {
        let mut player = Player::new(&format!(
            r#""swing":{swing},"pattern":{{"text":"x","ratchet":[{times}]}}"#
        ));
        player.play(12_000);
        let onsets = player.onsets();
        assert_eq!(onsets.len(), 2 * times);
        let late = (6_000.0 * swing) as u64;
        assert_eq!((onsets[0], onsets[times]), (0, 6_000 + late));
        assert!(onsets.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(onsets[2 * times - 1] < 12_000);
    }
}

#[test]
fn a_pattern_has_a_length_and_a_rotation_of_its_own() {
    let steps = |pattern: &str| -> Vec<u64> {
        let mut player = Player::new(&format!(r#""pattern":{{{pattern}}}"#));
        player.play(12 * 6_000);
        player
            .onsets()
            .into_iter()
            .map(|frame| frame / 6_000)
            .collect()
    };
    assert_eq!(steps(r#""text":"x..""#), [0, 3, 6, 9]);
    assert_eq!(steps(r#""text":"x..","steps":4"#), [0, 3, 4, 7, 8, 11]);
    assert_eq!(steps(r#""text":"x...x.xx","steps":6"#), [0, 4, 6, 10]);
    assert_eq!(steps(r#""text":"x...","rotate":1"#), [1, 5, 9]);
    assert_eq!(steps(r#""text":"x...","rotate":-5"#), [3, 7, 11]);
    assert_eq!(steps(r#""text":"E(3,8)""#), [0, 3, 6, 8, 11]);
    assert_eq!(steps(r#""text":"""#), [0_u64; 0]);
}

#[test]
fn each_hit_has_the_next_note_and_each_step_the_next_value() {
    let mut player = Player::new(
        r#""pattern":{"text":"x.X","notes":["C4","E4",60.5],"lanes":{"freq":[100,200]}}"#,
    );
    player.play(6 * 6_000);
    assert_eq!(player.notes(), [60.0, 64.0, 60.5, 60.0]);
    let values = [100.0, 200.0].into_iter().cycle();
    let expected: Vec<_> = (0..6).map(|n| n * 6_000).zip(values).collect();
    assert_eq!(player.values(0), expected);
    let mut silent = Player::new(r#""pattern":"x""#);
    assert_eq!(silent.play(1).notes(), [60.0], "without notes it is C4");
}

#[test]
fn what_ends_a_note_is_the_note_that_began() {
    let mut player = Player::new(r#""pattern":{"text":"xx","notes":[60,72]}"#);
    player.play(12_000);
    let notes = player.done.iter().filter_map(|(_, event)| match event {
        Event::Note {
            pitch, velocity, ..
        } => Some((*pitch, *velocity > 0.0)),
        _ => None,
    });
    let notes: Vec<_> = notes.collect();
    assert_eq!(
        notes,
        [(60.0, true), (60.0, false), (72.0, true), (72.0, false)]
    );
}

#[test]
fn chances_are_the_same_in_each_run_and_about_as_likely_as_asked() {
    let run = |chance: f32, seed: u32| {
        let mut player = Player::new(&format!(
            r#""seed":{seed},"pattern":{{"text":"x","probability":[{chance}]}}"#
        ));
        player.play(10_000 * 6_000).onsets()
    };
    let half = run(0.5, 1);
    assert_eq!(half, run(0.5, 1));
    assert_ne!(half, run(0.5, 2));
    assert!((4_800..5_200).contains(&half.len()), "{}", half.len());
    assert_eq!(run(0.0, 1).len(), 0);
    assert_eq!(run(1.0, 1).len(), 10_000);
    // Every second step always plays, the others never.
    let mut player = Player::new(r#""pattern":{"text":"x","probability":[1,0]}"#);
    assert_eq!(player.play(18_000).onsets(), [0, 12_000]);
    // A hit that is left out still uses up its note.
    let mut player =
        Player::new(r#""pattern":{"text":"x","probability":[1,0],"notes":[60,61,62,63]}"#);
    assert_eq!(player.play(18_000).notes(), [60.0, 62.0]);
}

#[test]
fn a_tempo_begins_with_a_step() {
    let mut player = Player::new(r#""bpm":120,"pattern":"x""#);
    player.play(7_000);
    player
        .control(SequenceControl::Bpm(90.0))
        .play(12_000 + 3 * 8_000);
    assert_eq!(player.onsets(), [0, 6_000, 12_000, 20_000, 28_000]);
    player.control(SequenceControl::Bpm(f32::NAN));
    player.control(SequenceControl::Bpm(1e9)).play(36_001);
    assert_eq!(player.onsets()[5..], [36_000]);
    let fast = player.play(36_000 + 722).onsets();
    assert_eq!(fast.len(), 7, "999 is the most: {fast:?}");
}

#[test]
fn it_stops_goes_on_and_begins_anew() {
    let mut player = Player::new(r#""pattern":{"text":"xx.","notes":[60,62,64]}"#);
    player.play(6_100).control(SequenceControl::Stop);
    assert_eq!(
        player.gates().last(),
        Some(&(6_100, 0)),
        "what sounds is ended"
    );
    player.play(100_000);
    assert_eq!(player.onsets(), [0, 6_000]);
    // The step at which it stopped is a rest.
    player.control(SequenceControl::Start).play(112_000);
    assert_eq!(player.onsets()[2..], [106_000]);
    player.control(SequenceControl::Start).play(112_001);
    assert_eq!(player.onsets().len(), 4, "it plays already");
    player.control(SequenceControl::Reset).play(130_000);
    assert_eq!(player.onsets()[4..], [112_001, 118_001]);
    assert_eq!(player.notes()[4..], [60.0, 62.0]);
    player.control(SequenceControl::Stop);
    player.control(SequenceControl::Reset).play(200_000);
    assert_eq!(player.onsets().len(), 6, "it stands still");
}

#[test]
fn patterns_of_a_chain_change_on_the_bar() {
    // A bar is 16 sixteenths: 96,000 frames.
    let mut player = Player::of(
        r#""pattern":"x","chain":[{"pattern":"beat","bars":7},{"pattern":"fill","bars":1}]"#,
        r#""beat":"x...............","fill":{"text":"X...X...X...X...","notes":[70]}"#,
    );
    player.play(17 * 96_000);
    let expected: Vec<(u64, u32)> = (0..17)
        .flat_map(|bar| match bar % 8 {
            7 => (0..4)
                .map(|beat| (bar * 96_000 + beat * 24_000, 127))
                .collect(),
            _ => vec![(bar * 96_000, 64)],
        })
        .collect();
    let opened: Vec<_> = player.gates().into_iter().filter(|g| g.1 > 0).collect();
    assert_eq!(opened, expected);
    assert_eq!(player.notes().iter().filter(|n| **n == 70.0).count(), 8);
    // Patterns of another length than the bar begin anew with their turn.
    let mut player = Player::of(
        r#""division":4,"chain":[{"pattern":"a","bars":1},{"pattern":"b","bars":1}]"#,
        r#""a":"x..","b":".x.""#,
    );
    player.play(8 * 24_000);
    let beats: Vec<_> = player.onsets().iter().map(|n| n / 24_000).collect();
    assert_eq!(beats, [0, 3, 5]);
}

#[test]
fn counted_anew_it_goes_on() {
    let mut player = Player::new(r#""swing":0.5,"pattern":"x-.x""#);
    player.play(7_000);
    let mut other = Player::new(r#""swing":0.5,"pattern":"x-.x""#);
    other.play(7_000);
    other.state.rebase(7_000, 0);
    (other.now, other.done) = (0, Vec::new());
    other.play(1_000_000);
    player.done.clear();
    player.play(1_007_000);
    let later: Vec<_> = other.done.iter().map(|(n, e)| (n + 7_000, *e)).collect();
    assert_eq!(player.done, later);
}
