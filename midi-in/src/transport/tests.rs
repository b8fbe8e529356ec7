//! A clock as a sequencer sends it, heard by the transport, played by the engine: in virtual time.
//!
//! The right frames follow from the stream: a sixteenth belongs where its tick was before jitter was added, plus
//! the constant delay of all steps.

use common::{
    command::{Event, SequenceControl},
    units::FrameIndex,
};
use engine::{Config, Engine, patch::Patch};

use super::*;
use crate::clock::SECOND;

const RATE: f64 = 48_000.0;
const BLOCK: usize = 128;
/// The seconds from a byte to the worker that renders its effect.
const WAY: f64 = 0.002;
/// When the stack's first frame comes in, an NTP timestamp in seconds.
const BEGIN: f64 = 3_900_000_000.0;

/// A sixteenth opens a gate for half its length; its own tempo is none of the clock's.
const PATCH: &str = r#"{"version":1,"modules":[{"id":"keys","type":"midi_in"},{"id":"out","type":"out"}],
    "cables":[{"from":"keys.gate","to":"out"}],
    "sequences":[{"id":"a","bpm":37,"pattern":"x","targets":[{"module":"keys","role":"gate"}]}]}"#;

struct Random(u64);

impl Random {
    /// From 0 to 1.
    fn part(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1_u64 << 31) as f64
    }

    fn below(&mut self, count: u32) -> u32 {
        (self.part() * f64::from(count)) as u32
    }
}

/// The transport, and the stack that follows it.
struct Stage {
    transport: Transport,
    engine: Engine,
    /// The heard frames, and the sample before.
    onsets: Vec<u64>,
    last: f32,
    frame: u64,
}

impl Stage {
    fn new() -> Self {
        let config = Config {
            rate_hz: RATE as u32,
            block_frames: BLOCK as u32,
            channels: 1,
        };
        Self {
            transport: Transport::default(),
            engine: Engine::new(&Patch::from_json(PATCH).unwrap(), config).unwrap(),
            onsets: Vec::new(),
            last: 0.0,
            frame: 0,
        }
    }

    /// Renders the blocks that are over by that time.
    fn render(&mut self, seconds: f64) {
        let mut block = [0.0; BLOCK];
        while (self.frame + BLOCK as u64) as f64 <= seconds * RATE {
            self.engine.render(&mut block, &mut |_| {});
            for sample in block {
                if sample - self.last > 0.2 {
                    self.onsets.push(self.frame);
                }
                self.last = sample;
                self.frame += 1;
            }
        }
    }

    /// Looks whether a tick is missing until that time; then hears something.
    fn hear(&mut self, seconds: f64, hear: impl FnOnce(&mut Transport, u64, &mut Vec<Said>)) {
        while let Some(due) = self.transport.due() {
            let at = due as f64 / SECOND - BEGIN;
            if at >= seconds {
                break;
            }
            let mut said = Vec::new();
            self.transport.look(due, &mut |what| said.push(what));
            self.say(at, said);
        }
        let mut said = Vec::new();
        hear(&mut self.transport, ntp(seconds), &mut said);
        self.say(seconds, said);
    }

    fn say(&mut self, now: f64, all: Vec<Said>) {
        if all.is_empty() {
            return;
        }
        self.render(now + WAY);
        for said in all {
            let (event, at) = match said {
                Said::Play(ticks, bpm, at) => (
                    Event::Clock {
                        ticks,
                        bpm,
                        begin: true,
                    },
                    at,
                ),
                Said::Clock(ticks, bpm, at) => (
                    Event::Clock {
                        ticks,
                        bpm,
                        begin: false,
                    },
                    at,
                ),
                Said::Stop(at) => (control(SequenceControl::Stop), at),
                Said::Tempo(bpm) => (control(SequenceControl::Bpm(bpm)), ntp(now)),
                other => panic!("{other:?}"),
            };
            let frame = (at as f64 / SECOND - BEGIN + AHEAD) * RATE;
            self.engine
                .apply_at(FrameIndex(frame.round() as u64), &event);
        }
    }
}

const fn control(control: SequenceControl) -> Event {
    Event::Sequence {
        sequence: 0,
        control,
    }
}

fn ntp(seconds: f64) -> u64 {
    ((BEGIN + seconds) * SECOND) as u64
}

/// The time in the engine from a gate's event to its sound.
fn delay() -> u64 {
    let mut stage = Stage::new();
    let gate = Event::Gate {
        module: 0,
        level: 0.5,
    };
    stage.engine.apply_at(FrameIndex(1_000), &gate);
    stage.render(1.0);
    stage.onsets[0] - 1_000
}

/// What came of a stream: sixteenths that were to be heard, that were missing or too many, their errors in ms.
#[derive(Default)]
struct Outcome {
    sixteenths: usize,
    wrong: usize,
    errors: Vec<f64>,
    /// Ticks heard in a row before each of them.
    ticks: Vec<u32>,
}

impl Outcome {
    fn off(&self) -> usize {
        // A frame is what the engine rounds to.
        self.errors
            .iter()
            .filter(|ms| ms.abs() > 0.5 + 1_000.0 / RATE)
            .count()
    }

    fn worst(&self) -> f64 {
        self.errors
            .iter()
            .fold(0.0, |worst, ms| ms.abs().max(worst))
    }
}

/// The actions of a sequencer beside its ticks.
#[derive(Clone, Copy, PartialEq)]
enum Stream {
    /// Starts once, and stops, continues, jumps, pauses.
    Transport,
    /// Changes its tempo.
    Tempi,
}

/// Plays a stream for a number of seconds.
fn played(bpm: f64, jitter_ms: f64, seconds: f64, what: Stream, seed: u64) -> Outcome {
    let delay = delay();
    let mut random = Random(seed);
    (0..8).for_each(|_| _ = random.part());
    let mut stage = Stage::new();
    let mut expected: Vec<(f64, u32)> = Vec::new();
    let (mut time, mut length, mut next, mut runs) = (1.0, 60.0 / (24.0 * bpm), 0_u32, true);
    let mut in_a_row = 0;
    stage.hear(time - 0.001, |transport, _, _| transport.start());
    let mut until = 240;
    while time < seconds {
        let jitter = (2.0 * random.part() - 1.0) * jitter_ms / 1_000.0;
        stage.hear(time + jitter, |transport, now, said| {
            transport.tick(now, &mut |what| said.push(what));
        });
        if runs {
            if next % 6 == 0 {
                expected.push((time, in_a_row));
            }
            next += 1;
        }
        in_a_row += 1;
        until -= 1;
        // Half a tick after the tick.
        let between = time + length / 2.0;
        time += length;
        if until > 0 {
            continue;
        }
        until = 48 + random.below(480);
        if what == Stream::Tempi {
            length = 60.0 / (24.0 * (bpm * (0.8 + 0.4 * random.part())).round());
            in_a_row = 0;
            continue;
        }
        match random.below(if runs { 3 } else { 4 }) {
            0 if runs => {
                // The cable is loose for a while.
                time += 0.2 + 3.0 * random.part();
                in_a_row = 0;
            }
            _ if runs => {
                stage.hear(between, |transport, now, said| {
                    transport.stop(now, &mut |what| said.push(what));
                });
                runs = false;
                until = 1 + random.below(200);
                if random.below(2) == 0 {
                    // Without a clock while it stands.
                    time += 2.0 * random.part();
                    in_a_row = 0;
                }
            }
            0 => {
                stage.hear(between, |transport, _, _| transport.start());
                (runs, next) = (true, 0);
            }
            1 | 2 => {
                let place = random.below(2_000);
                stage.hear(between, |transport, _, _| transport.locate(place as u16));
                stage.hear(between, |transport, _, _| transport.go_on());
                (runs, next) = (true, 6 * place);
            }
            _ => {
                stage.hear(between, |transport, _, _| transport.go_on());
                runs = true;
            }
        }
    }
    // The last tick is followed by none.
    let end = time - length / 2.0;
    stage.hear(end, |_, _, _| {});
    stage.render(end + AHEAD);
    let mut outcome = Outcome {
        sixteenths: expected.len(),
        ..Outcome::default()
    };
    let mut heard = stage
        .onsets
        .iter()
        .map(|frame| (frame - delay) as f64 / RATE)
        .peekable();
    for (time, ticks) in expected {
        let there = time + AHEAD;
        while heard
            .next_if(|onset| *onset < there - length * 3.0)
            .is_some()
        {
            outcome.wrong += 1;
        }
        match heard.next_if(|onset| *onset <= there + length * 3.0) {
            Some(onset) => {
                outcome.errors.push((onset - there) * 1_000.0);
                outcome.ticks.push(ticks);
            }
            None => outcome.wrong += 1,
        }
    }
    outcome.wrong += heard.count();
    outcome
}

/// Every tempo, by a clock without ticks before its start and with 1 ms of jitter, for ten minutes.
#[test]
fn each_sixteenth_is_where_its_tick_would_be_without_jitter() {
    let (mut sixteenths, mut wrong, mut off, mut worst) = (0, 0, 0, 0.0_f64);
    for bpm in (60..=240).step_by(20).chain([61, 97, 133, 174, 239]) {
        let outcome = played(
            f64::from(bpm),
            0.5,
            600.0,
            Stream::Transport,
            u64::from(bpm as u32),
        );
        sixteenths += outcome.sixteenths;
        wrong += outcome.wrong;
        off += outcome.off();
        worst = worst.max(outcome.worst());
    }
    println!(
        "FIGURE MIDI clock at 60 to 240, 1 ms jitter, ten minutes each, with stop, continue, song position and pauses: of {sixteenths} sixteenths {wrong} missing or too many, {off} more than 0.5 ms off, the worst {worst:.2} ms"
    );
    assert_eq!((wrong, off), (0, 0));
}

/// Twice the jitter: the loop halves it once it has heard two beats.
#[test]
fn a_millisecond_of_jitter_to_either_side_moves_no_step_by_more_than_half_of_it() {
    let (mut sixteenths, mut wrong, mut off, mut early) = (0, 0, 0, 0);
    for bpm in [60, 97, 140, 174, 240] {
        let outcome = played(
            f64::from(bpm),
            1.0,
            600.0,
            Stream::Transport,
            1_000 + bpm as u64,
        );
        let both = outcome.errors.iter().zip(&outcome.ticks);
        let (settled, new): (Vec<_>, Vec<_>) = both.partition(|(_, ticks)| **ticks >= 96);
        sixteenths += settled.len();
        wrong += outcome.wrong;
        off += settled.iter().filter(|(ms, _)| ms.abs() > 0.5).count();
        early += new.iter().filter(|(ms, _)| ms.abs() > 0.5).count();
        assert!(outcome.worst() < 1.1, "{}", outcome.worst());
    }
    println!(
        "FIGURE MIDI clock with jitter of 1 ms to either side: of {sixteenths} sixteenths after the first bar {off} more than 0.5 ms off; {early} before; {wrong} missing or too many"
    );
    assert_eq!((wrong, off), (0, 0));
}

/// No step stays late: a beat after a new tempo all are where they should be.
#[test]
fn a_new_tempo_is_followed_at_once() {
    let (mut sixteenths, mut wrong, mut off, mut late, mut worst) = (0, 0, 0, 0, 0.0_f64);
    for bpm in [75, 120, 200] {
        let outcome = played(
            f64::from(bpm),
            0.25,
            600.0,
            Stream::Tempi,
            2_000 + bpm as u64,
        );
        sixteenths += outcome.sixteenths;
        wrong += outcome.wrong;
        off += outcome.off();
        let both = outcome.errors.iter().zip(&outcome.ticks);
        late += both
            .filter(|(ms, ticks)| ms.abs() > 0.5 && **ticks >= 12)
            .count();
        worst = worst.max(outcome.worst());
    }
    println!(
        "FIGURE MIDI clock that changes its tempo by up to a fifth: of {sixteenths} sixteenths {off} more than 0.5 ms off, the worst {worst:.2} ms, {late} of them later than two sixteenths after the change; {wrong} missing or too many"
    );
    assert_eq!((wrong, late), (0, 0));
    assert!(worst < 3.0 && off * 200 < sixteenths);
}

#[test]
fn the_first_step_is_at_140_when_the_ticks_are() {
    let outcome = played(140.0, 0.0, 4.0, Stream::Tempi, 1);
    assert!(outcome.sixteenths > 20 && outcome.wrong == 0);
    assert!(outcome.worst() < 0.03, "{:?}", outcome.errors);
}

#[test]
fn what_comes_after_a_kill_goes_on_where_the_clock_is() {
    for lossy in [false, true] {
        let mut stage = Stage::new();
        let length = 60.0 / (24.0 * 120.0);
        stage.hear(0.9, |transport, _, _| transport.start());
        let mut waited = 0;
        for tick in 0..24 * 16_u32 {
            let time = 1.0 + f64::from(tick) * length;
            if tick == 200 {
                let text = serde_json::to_string(&stage.transport).unwrap();
                stage.transport = serde_json::from_str(&text).unwrap();
                stage.transport.lossy = lossy;
            }
            // Fifteen of them are not read: a port loses them, a pipe holds them.
            if (200..215).contains(&tick) {
                waited += 1;
                continue;
            }
            let late = if lossy {
                0
            } else {
                std::mem::take(&mut waited)
            };
            for number in 0..=late {
                let time = time - f64::from(late - number) * 0.000_01;
                stage.hear(time, |transport, now, said| {
                    transport.tick(now, &mut |what| said.push(what));
                });
            }
        }
        stage.render(9.0);
        let delay = delay();
        let onsets: Vec<_> = stage
            .onsets
            .iter()
            .map(|frame| (frame - delay) as f64 / RATE)
            .collect();
        assert!(onsets.len() >= 64, "{lossy}: {}", onsets.len());
        for (number, onset) in onsets.iter().take(64).enumerate() {
            let ideal = 1.0 + number as f64 * 6.0 * length + AHEAD;
            assert!(
                (onset - ideal).abs() < 0.000_1,
                "{lossy} {number}: {onset} {ideal}"
            );
        }
    }
}
