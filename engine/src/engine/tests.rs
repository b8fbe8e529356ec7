//! What the engine promises as a whole; what a module promises is tested beside the module.

mod loops;
mod sequences;

use std::cell::RefCell;

use common::{
    command::{Event, SequenceControl},
    units::FrameIndex,
};

use super::*;
use crate::{agenda::Agenda, catalog::Scale};

const CONFIG: Config = Config {
    rate_hz: 48_000,
    block_frames: 64,
    channels: 2,
};

/// All module types but the sine, each heard.
const ALL: &str = include_str!("../../../patches/chord.json");

fn engine(patch: &Patch) -> Engine {
    Engine::new(patch, CONFIG).unwrap()
}

fn all() -> Patch {
    Patch::from_json(ALL).unwrap()
}

/// The next blocks, left channel.
fn heard(engine: &mut Engine, blocks: usize) -> Vec<f32> {
    let mut left = Vec::new();
    let mut block = [0.0; CONFIG.block_samples()];
    for _ in 0..blocks {
        engine.render(&mut block, &mut |_| {});
        left.extend(block.chunks(2).map(|frame| frame[0]));
    }
    left
}

/// How many turns each module has in the next block.
fn turns(engine: &mut Engine) -> Vec<usize> {
    let mut turns = vec![0; engine.patch().modules.len()];
    let mut block = [0.0; CONFIG.block_samples()];
    engine.render(&mut block, &mut |module| turns[usize::from(module)] += 1);
    turns
}

/// How many loops it renders frame by frame.
fn loops_of(engine: &Engine) -> usize {
    let parts = engine.plan.parts.iter();
    parts.filter(|part| !part.feedbacks.is_empty()).count()
}

thread_local! {
    /// What each module has put out, channel by channel, if somebody listens.
    static OVERHEARD: RefCell<Option<Vec<Overheard>>> = const { RefCell::new(None) };
}

/// Of which module, output and channel; the bits of its samples, of what is no number the same.
type Overheard = (u16, usize, usize, Vec<u32>);

impl Engine {
    pub(super) fn overhear(&self, module: u16, stretch: Stretch) {
        OVERHEARD.with_borrow_mut(|overheard| {
            let Some(overheard) = overheard else { return };
            let node = &self.plan.nodes[usize::from(module)];
            let channels = plan::out_channels(&node.kind, node.channels);
            let (n, _) = lanes_for(channels, self.context.wide);
            for (output, buffer) in node.outs.iter().enumerate() {
                let block = &self.buffers[usize::from(*buffer)];
                for channel in 0..channels {
                    let group = &block.samples[stretch.samples(n, channel / n)];
                    let moves = usize::from(!block.still);
                    let sample = |frame: usize| group[moves * frame * n + channel % n];
                    let bits = |x: f32| if x.is_nan() { f32::NAN } else { x }.to_bits();
                    let samples = (0..stretch.frames).map(sample).map(bits).collect();
                    overheard.push((module, output, channel, samples));
                }
            }
        });
    }
}

fn bits(samples: &[f32]) -> Vec<u32> {
    samples.iter().map(|sample| sample.to_bits()).collect()
}

fn step_max(samples: &[f32]) -> f32 {
    samples
        .windows(2)
        .map(|w| (w[1] - w[0]).abs())
        .fold(0.0, f32::max)
}

fn gate(patch: &Patch, module: &str, level: f32) -> Event {
    Event::Gate {
        module: patch.module_index(module).unwrap(),
        level,
    }
}

/// The default patch with its gate open, at rest.
fn tone() -> Engine {
    let patch = Patch::default_patch();
    let mut engine = engine(&patch);
    engine.apply(&gate(&patch, "adsr", 1.0));
    heard(&mut engine, 200);
    engine
}

/// Knuth's generator: the same events in each run of a test.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// Any event, some of them senseless.
    fn event(&mut self, patch: &Patch) -> Event {
        let module = self.roll(patch.modules.len() as u64 + 1) as u16;
        match self.roll(12) {
            0 => Event::Run(self.roll(4) > 0),
            8 => Event::Ramp {
                module,
                param: self.roll(5) as u16,
                value: self.roll(2_000) as f32 / 100.0,
                ms: self.roll(300) as f32,
            },
            9 | 10 => Event::Note {
                module,
                pitch: 40.0 + self.roll(12) as f32,
                velocity: self.roll(3) as f32 / 2.0,
                frames: self.roll(3) as u32 * 777,
            },
            11 => Event::Express {
                module,
                pitch: 39.0 + self.roll(12) as f32,
                what: common::command::Expression::Bend,
                value: self.roll(5) as f32 - 2.0,
            },
            1..4 => Event::Gate {
                module,
                level: self.roll(3) as f32 / 2.0,
            },
            _ => {
                let value = match self.roll(10) {
                    0 => f32::NAN,
                    1 => -1e30,
                    n => 10.0_f32 * n as f32 * n as f32 / (1 + self.roll(100)) as f32,
                };
                Event::Param {
                    module,
                    param: self.roll(5) as u16,
                    value,
                }
            }
        }
    }
}

/// A keyboard that is heard: its gate on the left, its velocity on the right.
fn keyboard() -> Patch {
    let text = r#"{"version":1,"modules":[{"id":"other","type":"noise"},{"id":"keys","type":"midi_in"},
        {"id":"out","type":"out"}],"cables":[{"from":"keys.gate","to":"out"},
        {"from":"keys.velocity","to":"out.right"}]}"#;
    Patch::from_json(text).unwrap()
}

fn note(module: u16, pitch: f32, velocity: f32, frames: u32) -> Event {
    Event::Note {
        module,
        pitch,
        velocity,
        frames,
    }
}

#[test]
fn events_come_in_at_their_very_frame() {
    let mut engine = engine(&keyboard());
    for (at, velocity, frames) in [
        (300, 0.5, 17),
        (100, 0.25, 64),
        (301, 0.75, 0),
        (300, 1.0, 1),
    ] {
        engine.apply_at(FrameIndex(at), &note(1, at as f32 / 10.0, velocity, frames));
    }
    let out = heard(&mut engine, 6);
    let gate = |frame: usize| match frame {
        100..164 => 0.25,
        // A note that takes the channel of another closes its gate for a frame.
        300 => 0.0,
        301.. => 0.75,
        _ => 0.0,
    };
    for (frame, sample) in out.iter().enumerate() {
        assert_eq!(*sample, gate(frame), "frame {frame}");
    }
    // What is late comes in with the next frame.
    engine.apply_at(FrameIndex(7), &note(1, 30.1, 0.0, 0));
    assert_eq!(heard(&mut engine, 1)[0], 0.0);
}

#[test]
fn a_note_tunes_and_gates_what_has_no_voices() {
    let text = r#"{"version":1,"modules":[{"id":"string","type":"karplus"},{"id":"out","type":"out"}],
        "cables":[{"from":"string","to":"out"}]}"#;
    let mut engine = engine(&Patch::from_json(text).unwrap());
    engine.apply_at(FrameIndex(100), &note(0, 69.0, 1.0, 3_000));
    let out = heard(&mut engine, 40);
    assert!(out[..100].iter().all(|sample| *sample == 0.0));
    assert!(out[100..140].iter().any(|sample| *sample != 0.0));
    let period = |lag: usize| {
        let pairs = out[400..2_000].iter().zip(&out[400 + lag..]);
        pairs.map(|(a, b)| a * b).sum::<f32>()
    };
    // 440 Hz: 109.1 frames.
    let best = (60..160).max_by(|a, b| period(*a).total_cmp(&period(*b)));
    assert_eq!(best, Some(109));
}

#[test]
fn what_waits_survives_a_copy_and_another_patch() {
    let mut first = engine(&keyboard());
    for at in 0..50 {
        first.apply_at(
            FrameIndex(10 + 13 * at),
            &note(1, 60.0, 0.1 + at as f32 / 100.0, 5),
        );
    }
    heard(&mut first, 3);
    let mut copy = engine(&keyboard());
    copy.restore(first.arena()).unwrap();
    // The same modules by other numbers.
    let mut other = keyboard();
    other.modules.remove(0);
    let mut edited = engine(&other);
    edited.adopt_edited(&first);
    let future = bits(&heard(&mut first, 12));
    assert_eq!(bits(&heard(&mut copy, 12)), future);
    // The last stage bridges the step at an edit in the first milliseconds.
    assert_eq!(bits(&heard(&mut edited, 12))[400..], future[400..]);
    let notes = |from: usize| {
        future[from..]
            .windows(2)
            .filter(|w| w[0] == 0 && w[1] != 0)
            .count()
    };
    assert!(notes(0) > 30 && notes(400) > 2);
}

#[test]
fn a_count_of_frames_that_begins_anew_keeps_the_distance() {
    let mut engine = engine(&keyboard());
    heard(&mut engine, 2);
    engine.apply_at(FrameIndex(200), &note(1, 60.0, 1.0, 0));
    engine.rebase();
    let out = heard(&mut engine, 2);
    assert_eq!(out.iter().position(|sample| *sample > 0.0), Some(200 - 128));
    engine.apply_at(FrameIndex(130), &note(1, 60.0, 0.0, 0));
    assert_eq!(heard(&mut engine, 1)[1..3], [1.0, 0.0]);
}

#[test]
fn a_block_is_cut_so_often_and_no_more() {
    let mut engine = engine(&keyboard());
    for at in 0..CONFIG.block_frames {
        engine.apply_at(FrameIndex(at.into()), &note(1, 60.0, 1.0, 1));
    }
    let mut turns = 0;
    let mut block = [0.0; CONFIG.block_samples()];
    engine.render(&mut block, &mut |_| turns += 1);
    assert_eq!(turns, 3 * (CUTS_MAX + 1));
}

#[test]
fn a_ramp_takes_its_time() {
    let mut engine = tone();
    let sine = Patch::default_patch().module_index("sine").unwrap();
    let ramp = |value, ms| Event::Ramp {
        module: sine,
        param: 1,
        value,
        ms,
    };
    engine.apply(&ramp(0.0, 100.0));
    let out = heard(&mut engine, 100);
    let level = |from: usize| {
        out[from..from + 400]
            .iter()
            .fold(0.0, |most: f32, x| most.max(x.abs()))
    };
    // From 0.35 down in 4,800 frames; the filter is a little late.
    for (from, most) in [(0, 0.35), (1_200, 0.262), (2_400, 0.175), (3_600, 0.088)] {
        assert!((level(from) - most).abs() < 0.02, "{from}: {}", level(from));
    }
    assert!(level(5_200) < 1e-4);
}

#[test]
fn the_default_patch_plays_its_frequency_at_its_level() {
    let out = heard(&mut tone(), 750);
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in out.iter().enumerate() {
        let angle = 440.0 / 48_000.0 * std::f64::consts::TAU * n as f64;
        re += f64::from(*sample) * libm::cos(angle);
        im += f64::from(*sample) * libm::sin(angle);
    }
    let level = 2.0 * (re * re + im * im).sqrt() / out.len() as f64;
    // 0.5 of the sine, 0.7 of the envelope; the low-pass takes nothing at a twentieth of its corner.
    assert!((level - 0.35).abs() < 1e-4, "{level}");
    let power = out.iter().map(|x| f64::from(x * x)).sum::<f64>() / out.len() as f64;
    assert!(
        (power - level * level / 2.0).abs() < 1e-7,
        "there is nothing but the tone"
    );
}

#[test]
fn a_closed_gate_is_silence_at_last() {
    let mut engine = tone();
    engine.apply(&gate(&Patch::default_patch(), "adsr", 0.0));
    let out = heard(&mut engine, 300);
    assert!(out[64 * 100..64 * 140].iter().any(|sample| *sample != 0.0));
    assert!(out[64 * 200..].iter().all(|sample| *sample == 0.0));
}

#[test]
fn stopping_fades_out_and_starting_goes_on() {
    let mut engine = tone();
    let mut out = heard(&mut engine, 4);
    engine.apply(&Event::Run(false));
    out.extend(heard(&mut engine, 20));
    assert!(
        out[out.len() - 64 * 12..]
            .iter()
            .all(|sample| *sample == 0.0)
    );
    engine.apply(&Event::Run(true));
    out.extend(heard(&mut engine, 20));
    assert!(
        out[out.len() - 64..]
            .iter()
            .any(|sample| sample.abs() > 0.3)
    );
    assert!(step_max(&out) < 0.022);
}

#[test]
fn from_a_snapshot_on_everything_is_equal_to_the_bit() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let patch = if seed % 2 == 0 {
            all()
        } else {
            Patch::default_patch()
        };
        let mut first = engine(&patch);
        let snapshot_at = dice.roll(100);
        for _ in 0..snapshot_at {
            if dice.roll(3) == 0 {
                first.apply(&dice.event(&patch));
            }
            heard(&mut first, 1);
        }
        let mut second = engine(&patch);
        // What a replica did before must not matter: not even what lies in its buffers.
        second.apply(&dice.event(&patch));
        heard(&mut second, 3);
        second.restore(first.arena()).unwrap();
        for block in 0..60 {
            if dice.roll(3) == 0 {
                let event = dice.event(&patch);
                first.apply(&event);
                second.apply(&event);
            }
            let (one, two) = (heard(&mut first, 1), heard(&mut second, 1));
            assert_eq!(
                bits(&one),
                bits(&two),
                "seed {seed}, block {block} after {snapshot_at}"
            );
            assert_eq!(first.arena(), second.arena(), "seed {seed}, block {block}");
        }
    }
}

#[test]
fn whatever_a_block_changes_is_lively_or_said_to_be_written() {
    let palette = include_str!("../../../patches/palette.json");
    let patch = Patch::from_json(palette).unwrap();
    let piece = common::checkpoint::PIECE_WORDS;
    for (block_frames, blocks) in [(16, 1_500), (64, 400), (2_048, 20)] {
        let mut dice = Dice(u64::from(block_frames));
        let config = Config {
            block_frames,
            ..CONFIG
        };
        let mut engine = Engine::new(&patch, config).unwrap();
        let mut out = vec![0.0; config.block_samples()];
        let (mut changed, mut said) = (0, 0);
        for block in 0..blocks {
            if dice.roll(3) == 0 {
                engine.apply(&dice.event(&patch));
            }
            let before = engine.words().to_vec();
            engine.written().fill(0);
            engine.render(&mut out, &mut |_| {});
            let written = engine.written().to_vec();
            let pieces = engine.words().chunks(piece).zip(before.chunks(piece));
            for (number, (now, before)) in pieces.enumerate() {
                let is_in = |bits: &[u64]| bits[number / 64] & 1 << (number % 64) != 0;
                let calm = !is_in(engine.lively());
                changed += usize::from(calm && now != before);
                said += usize::from(is_in(&written));
                let known = is_in(&written) || !calm || now == before;
                assert!(known, "piece {number}, block {block} of {block_frames}");
            }
        }
        // Not all and everything, either.
        let pieces = engine.words().len() / piece;
        assert!(changed > 0, "no line was written");
        assert!(
            said < blocks * pieces * block_frames as usize / 2_048,
            "{said} of {pieces} in {blocks} blocks of {block_frames}"
        );
    }
}

#[test]
fn an_arena_of_something_else_is_refused() {
    let mut engine = engine(&all());
    let expected = engine.arena_len_bytes();
    assert_eq!(
        engine.restore(&[0; 8]),
        Err(RestoreError::Length { found: 8, expected })
    );
    let mut other = all();
    other.modules.swap(0, 1);
    let other = Engine::new(&other, CONFIG).unwrap();
    assert_eq!(engine.restore(other.arena()), Err(RestoreError::Layout));
    let other = Engine::new(
        &all(),
        Config {
            rate_hz: 44_100,
            ..CONFIG
        },
    )
    .unwrap();
    assert_eq!(engine.restore(other.arena()), Err(RestoreError::Layout));
}

#[test]
fn no_bits_in_an_arena_make_it_panic() {
    let mut dice = Dice(1);
    for (patch, times) in [(all(), 200), (everything(&mut dice), 20)] {
        let mut engine = engine(&patch);
        for _ in 0..times {
            let mut arena = engine.arena().to_vec();
            for byte in &mut arena[8..] {
                *byte = dice.roll(256) as u8;
            }
            engine.restore(&arena).unwrap();
            heard(&mut engine, 2);
            engine.apply(&dice.event(&patch));
            heard(&mut engine, 2);
        }
    }
}

#[test]
fn senseless_events_change_nothing() {
    let mut engine = tone();
    let before = engine.arena().to_vec();
    for event in [
        Event::Param {
            module: 4,
            param: 0,
            value: 1.0,
        },
        Event::Param {
            module: u16::MAX,
            param: 0,
            value: 1.0,
        },
        Event::Param {
            module: 0,
            param: 2,
            value: 1.0,
        },
        Event::Param {
            module: 0,
            param: 0,
            value: f32::NAN,
        },
        Event::Param {
            module: 0,
            param: 0,
            value: f32::NEG_INFINITY,
        },
        Event::Gate {
            module: 4,
            level: 1.0,
        },
        Event::Gate {
            module: 0,
            level: 1.0,
        },
        Event::Gate {
            module: 1,
            level: f32::NAN,
        },
        Event::Run(true),
    ] {
        engine.apply(&event);
        assert_eq!(engine.arena(), before, "{event:?}");
    }
}

#[test]
fn no_jump_of_any_parameter_clicks() {
    let patch = Patch::default_patch();
    for (number, spec) in patch.modules.iter().enumerate() {
        let kind = crate::catalog::find(&spec.kind).unwrap();
        for (index, known) in kind.params.iter().enumerate() {
            let mut engine = tone();
            let mut out = heard(&mut engine, 2);
            // From one end to the other; a high tone moves much by itself, so no higher than 1 kHz.
            let top = if known.name == "freq" {
                1_000.0
            } else {
                known.max
            };
            let places = if known.scale == Scale::Stepped {
                top as usize
            } else {
                4
            };
            for place in (0..=places).chain((0..places).rev()) {
                let value = known.min + (top - known.min) * place as f32 / places as f32;
                engine.apply(&Event::Param {
                    module: number as u16,
                    param: index as u16,
                    value,
                });
                out.extend(heard(&mut engine, 15));
            }
            // The tone at its fastest moves 0.35 · 2π · 1000 / 48000 = 0.046 a frame.
            let level = out
                .iter()
                .fold(0.0, |max: f32, sample| max.max(sample.abs()))
                .max(0.35);
            assert!(
                step_max(&out) < 0.14 * level,
                "{}.{}: {}",
                spec.id,
                known.name,
                step_max(&out)
            );
        }
    }
}

#[test]
fn the_same_patch_again_goes_on_to_the_bit() {
    let (mut old, mut new) = (tone(), engine(&Patch::default_patch()));
    new.adopt(&old);
    assert_eq!(bits(&heard(&mut new, 100)), bits(&heard(&mut old, 100)));
}

#[test]
fn another_patch_takes_over_without_a_step() {
    let silent = r#"{"version":1,"modules":[{"id":"out","type":"out"}]}"#;
    let drone = r#"{"version":1,"modules":[{"id":"o","type":"out"},{"id":"sine","type":"sine"}],
        "cables":[{"from":"sine","to":"o"}]}"#;
    let mut changed = Patch::default_patch();
    changed.set_param_named("sine", "gain", 0.1);
    changed.set_param_named("filter", "cutoff", 100.0);
    changed.modules.reverse();
    let json = changed.to_json();
    for text in [silent, drone, &json] {
        for wait in 0..20 {
            let mut old = tone();
            let mut out = heard(&mut old, 1 + wait);
            let mut new = engine(&Patch::from_json(text).unwrap());
            new.adopt(&old);
            out.extend(heard(&mut new, 50));
            assert!(step_max(&out) < 0.045, "{text}: {}", step_max(&out));
        }
    }
}

#[test]
fn a_patch_swap_keeps_state_and_takes_the_new_values() {
    let mut old = tone();
    old.apply(&Event::Param {
        module: 0,
        param: 0,
        value: 880.0,
    });
    heard(&mut old, 20);
    let mut new = engine(&Patch::default_patch());
    new.adopt(&old);
    // The gate is still open, and the tone is back at the patch's 440 Hz.
    let out = &heard(&mut new, 770)[20 * 64..];
    let rising = out.windows(2).filter(|w| w[0] < 0.0 && w[1] >= 0.0).count();
    assert!((439..=441).contains(&rising), "{rising}");
    // Also the state of being stopped is kept.
    old.apply(&Event::Run(false));
    heard(&mut old, 20);
    new.adopt(&old);
    assert!(heard(&mut new, 20).iter().all(|sample| *sample == 0.0));
    // A module of the same id but another type starts anew.
    let mut patch = Patch::default_patch();
    patch.modules[0].kind = "saw".into();
    engine(&patch).adopt(&old);
}

#[test]
fn an_engine_can_be_handed_to_the_render_thread() {
    const fn sent<T: Send>() {}
    sent::<Engine>();
}

#[test]
fn a_trace_names_each_module_in_the_order_of_work() {
    let mut patch = Patch::default_patch();
    patch.modules.reverse();
    let mut seen = Vec::new();
    engine(&patch).render(&mut [0.0; 128], &mut |module| seen.push(module));
    assert_eq!(seen, [3, 2, 1, 0]);
}

#[test]
fn a_patch_with_more_state_than_a_checkpoint_holds_is_refused() {
    let echoes = |count: usize| {
        let spec = |n: usize| crate::patch::ModuleSpec {
            id: format!("m{n}"),
            kind: if n == 0 { "out".into() } else { "delay".into() },
            params: std::collections::BTreeMap::new(),
            sample: None,
            channels: 1,
        };
        let patch = Patch {
            presets: std::collections::BTreeMap::new(),
            version: 1,
            modules: (0..=count).map(spec).collect(),
            cables: vec![],
            sequences: vec![],
            patterns: Default::default(),
            samples: Default::default(),
        };
        Engine::new(&patch, CONFIG).map(|engine| engine.arena_len_bytes() as u64)
    };
    assert!(echoes(200).unwrap() <= ARENA_BYTES_MAX);
    let known = Engine::arena_bytes_of(&all(), CONFIG).unwrap();
    assert_eq!(known, engine(&all()).arena_len_bytes());
    let error = echoes(999).err().unwrap().to_string();
    assert!(error.contains("a checkpoint holds"), "{error}");
}

#[test]
fn a_configuration_out_of_bounds_is_refused() {
    let error = |config| Engine::new(&all(), config).err().unwrap().to_string();
    assert_eq!(
        error(Config {
            rate_hz: 1,
            ..CONFIG
        }),
        "rate 1: from 8000 to 192000 is right"
    );
    assert_eq!(
        error(Config {
            block_frames: 4096,
            ..CONFIG
        }),
        "block 4096: from 16 to 2048 is right"
    );
    assert_eq!(
        error(Config {
            channels: 0,
            ..CONFIG
        }),
        "channels 0: from 1 to 32 is right"
    );
}

/// A patch of those lines of modules and cables, and an `out` called `o`.
fn patch(modules: &str, cables: &[(&str, &str)]) -> Patch {
    let cables: Vec<String> = cables
        .iter()
        .map(|(from, to)| format!(r#"{{"from":"{from}","to":"{to}"}}"#))
        .collect();
    let text = format!(
        r#"{{"version":1,"modules":[{{"id":"o","type":"out"}},{modules}],"cables":[{}]}}"#,
        cables.join(",")
    );
    Patch::from_json(&text).unwrap()
}

/// Modules whose output is that number.
fn constant(id: &str, value: f32) -> String {
    format!(r#"{{"id":"{id}","type":"math","params":{{"offset_a":{value}}}}}"#)
}

/// The last frame of the second block: the first two channels of sound.
fn value(patch: &Patch) -> [f32; 2] {
    let mut engine = engine(patch);
    let mut block = [f32::NAN; CONFIG.block_samples()];
    for _ in 0..2 {
        engine.render(&mut block, &mut |_| {});
    }
    [block[126], block[127]]
}

#[test]
fn as_many_channels_are_the_sum_of_as_many_patches() {
    const CHAIN: [(&str, &str); 4] = [("s", "e"), ("e", "f"), ("e.env", "f.cutoff"), ("f", "o")];
    let voice = r#"{"id":"e","type":"adsr","params":{"attack":3,"decay":20,"sustain":0.5}},
        {"id":"f","type":"filter","params":{"cutoff":900,"q":3}},"#;
    for channels in [3, 8, 9, 32] {
        let poly = format!(
            r#"{voice}{{"id":"p","type":"spread","channels":{channels},"params":{{"step":0.07}}}},
            {{"id":"s","type":"sine","params":{{"freq":110,"gain":0.01}}}}"#
        );
        let mut cables = CHAIN.to_vec();
        cables.push(("p", "s.freq"));
        let poly = patch(&poly, &cables);
        let run = |patch: &Patch| {
            let mut engine = engine(patch);
            let mut out = heard(&mut engine, 3);
            engine.apply(&gate(patch, "e", 0.8));
            out.extend(heard(&mut engine, 60));
            engine.apply(&gate(patch, "e", 0.0));
            out.extend(heard(&mut engine, 30));
            out
        };
        let mut sum = vec![0.0; 93 * 64];
        for channel in 0..channels {
            let pitch = constant("p", 0.07 * channel as f32);
            let mono = format!(
                r#"{voice}{pitch},{{"id":"s","type":"sine","params":{{"freq":110,"gain":0.01}}}}"#
            );
            for (sum, one) in sum.iter_mut().zip(run(&patch(&mono, &cables))) {
                *sum += one;
            }
        }
        let all = run(&poly);
        // The last stage limits: what is below its knee is as it is.
        for (n, (one, other)) in all.iter().zip(&sum).enumerate() {
            assert!(
                (one - other).abs() < 1e-5,
                "{channels} channels, frame {n}: {one} {other}"
            );
        }
        assert!(all.iter().any(|sample| sample.abs() > 0.005));
    }
}

#[test]
fn a_cable_of_one_channel_reaches_all_channels_of_an_input() {
    for channels in [2, 8, 9, 32] {
        let modules = format!(
            r#"{},{{"id":"v","type":"vca","channels":{channels},"params":{{"level":1}}}}"#,
            constant("c", 0.01)
        );
        let [left, _] = value(&patch(&modules, &[("c", "v"), ("v", "o")]));
        assert!((left - 0.01 * channels as f32).abs() < 1e-6, "{channels}");
    }
}

#[test]
fn merged_channels_can_be_split_and_summed_again() {
    // Channel k holds k / 100; in 5 there is no cable.
    for last in [1, 2, 3, 8, 9, 16] {
        let there: Vec<usize> = (1..=last).filter(|n| *n == last || *n != 5).collect();
        let sources: Vec<String> = there
            .iter()
            .map(|n| constant(&format!("c{n}"), *n as f32 / 100.0))
            .collect();
        let merge =
            r#"{"id":"m","type":"merge"},{"id":"s","type":"sum"},{"id":"p","type":"split"}"#;
        let modules = format!("{},{merge}", sources.join(","));
        let inputs: Vec<[String; 2]> = there
            .iter()
            .map(|n| [format!("c{n}"), format!("m.in{n}")])
            .collect();
        let merged: Vec<(&str, &str)> = inputs.iter().map(|[c, m]| (&**c, &**m)).collect();
        let run = |more: &[(&str, &str)]| value(&patch(&modules, &[&merged, more].concat()));
        let sum: usize = there.iter().sum();
        let [left, _] = run(&[("m", "s"), ("s", "o.left")]);
        assert!((left - sum as f32 / 100.0).abs() < 1e-6, "{last}: {left}");
        for output in 1..=16 {
            let port = format!("p.out{output}");
            let found = run(&[("m", "p"), (&port, "o.right")]);
            let expected = if there.contains(&output) { output } else { 0 };
            assert_eq!(found, [0.0, expected as f32 / 100.0], "{output} of {last}");
        }
    }
}

#[test]
fn a_merged_cable_of_several_channels_is_its_first() {
    let modules = format!(
        r#"{},{{"id":"w","type":"spread","channels":12,"params":{{"step":0.01}}}},
        {{"id":"m","type":"merge"}},{{"id":"p","type":"split"}}"#,
        constant("c", 0.1)
    );
    let cables = [("c", "w"), ("w", "m.in2"), ("m", "p")];
    let found = value(&patch(
        &modules,
        &[&cables[..], &[("p.out1", "o.left"), ("p.out2", "o.right")]].concat(),
    ));
    assert_eq!(found, [0.0, 0.1]);
}

#[test]
fn channels_that_a_cable_does_not_have_are_silent() {
    // The spare lanes of three channels hold something; of five, the last two hear none of it.
    for (few, many) in [(3, 5), (9, 14), (9, 32), (18, 20), (2, 16)] {
        let modules = format!(
            r#"{},{{"id":"w","type":"spread","channels":{few},"params":{{"step":0}}}},
            {{"id":"v","type":"vca","channels":{many},"params":{{"level":1}}}}"#,
            constant("c", 0.01)
        );
        let [left, _] = value(&patch(&modules, &[("c", "w"), ("w", "v"), ("v", "o")]));
        assert!(
            (left - 0.01 * few as f32).abs() < 1e-6,
            "{few} into {many}: {left}"
        );
    }
}

#[test]
fn of_a_cable_that_is_split_only_its_channels_are_heard() {
    for channels in [1, 3, 9] {
        let modules = format!(
            r#"{},{{"id":"w","type":"spread","channels":{channels},"params":{{"step":0}}}},
            {{"id":"p","type":"split"}}"#,
            constant("c", 0.1)
        );
        let ports = [channels, channels + 1].map(|n| format!("p.out{n}"));
        let cables = [
            ("c", "w"),
            ("w", "p"),
            (&*ports[0], "o.left"),
            (&*ports[1], "o.right"),
        ];
        assert_eq!(value(&patch(&modules, &cables)), [0.1, 0.0], "{channels}");
    }
}

#[test]
fn a_bypassed_split_still_splits() {
    let modules = format!(
        r#"{},{{"id":"w","type":"spread","channels":20,"params":{{"step":0.01}}}},
        {{"id":"p","type":"split"}}"#,
        constant("c", 0.1)
    );
    let cables = [
        ("c", "w"),
        ("w", "p"),
        ("p.out3", "o.left"),
        ("p.out12", "o.right"),
    ];
    let patch = patch(&modules, &cables);
    let mut engine = engine(&patch);
    let mut blocks = [[0.0; 128]; 2];
    engine.render(&mut blocks[0], &mut |_| {});
    engine.apply(&Event::Bypass(patch.module_index("p").unwrap()));
    engine.render(&mut blocks[1], &mut |_| {});
    assert!((blocks[0][126] - 0.12).abs() < 1e-6 && (blocks[0][127] - 0.21).abs() < 1e-6);
    assert_eq!(bits(&blocks[1][126..]), bits(&blocks[0][126..]));
}

/// A module of every type, every input with a cable that comes from somewhere before it.
fn everything(dice: &mut Dice) -> Patch {
    let kinds: Vec<_> = crate::catalog::all()
        .iter()
        .filter(|k| k.name != "out")
        .collect();
    let (mut modules, mut cables) = (Vec::new(), Vec::new());
    for (number, kind) in kinds.iter().enumerate() {
        let channels = [1, 1, 2, 3, 8, 9, 32][dice.roll(7) as usize];
        modules.push(format!(
            r#"{{"id":"m{number}","type":"{}","channels":{channels}}}"#,
            kind.name
        ));
        if number == 0 {
            continue;
        }
        for input in kind.inputs {
            for _ in 0..1 + dice.roll(2) {
                let from = dice.roll(number as u64) as usize;
                let outputs = kinds[from].outputs;
                let output = outputs[dice.roll(outputs.len() as u64) as usize];
                cables.push((format!("m{from}.{output}"), format!("m{number}.{input}")));
            }
        }
    }
    for (number, kind) in kinds.iter().enumerate() {
        let input = ["in", "left", "right"][number % 3];
        cables.push((
            format!("m{number}.{}", kind.outputs[0]),
            format!("o.{input}"),
        ));
    }
    cables.sort();
    cables.dedup();
    let cables: Vec<(&str, &str)> = cables.iter().map(|(a, b)| (&**a, &**b)).collect();
    patch(&modules.join(","), &cables)
}

/// What lies in the blocks of all cables; that something is no number is all that matters of it.
fn blocks(engine: &Engine) -> Vec<u32> {
    let all = engine.buffers.iter().chain(&engine.heard);
    all.flat_map(|block| &block.samples)
        .map(|x| if x.is_nan() { f32::NAN } else { *x }.to_bits())
        .collect()
}

#[test]
fn no_instruction_set_changes_a_bit() {
    for seed in 0..3 {
        let mut dice = Dice(seed);
        let patch = everything(&mut dice);
        let [mut best, mut least] = [Level::new(), Level::baseline()]
            .map(|level| Engine::with_level(&patch, CONFIG, level).unwrap());
        let mut moving = 0;
        for block in 0..200 {
            for _ in 0..dice.roll(8) {
                let mut event = dice.event(&patch);
                if let Event::Param { module, param, .. } = &mut event
                    && let Some(spec) = patch.modules.get(usize::from(*module))
                {
                    // Any of its parameters.
                    let count = crate::catalog::find(&spec.kind).unwrap().params.len();
                    *param = dice.roll(count as u64 + 1) as u16;
                }
                best.apply(&event);
                least.apply(&event);
            }
            let [(one, of_one), (two, of_two)] = [&mut best, &mut least].map(|engine| {
                OVERHEARD.set(Some(Vec::new()));
                let heard = heard(engine, 1);
                (heard, OVERHEARD.take().unwrap_or_default())
            });
            assert!(!of_one.is_empty());
            for (one, two) in of_one.iter().zip(&of_two) {
                let kind = &patch.modules[usize::from(one.0)].kind;
                assert_eq!(one, two, "seed {seed}, block {block}: {kind}");
            }
            assert_eq!(bits(&one), bits(&two), "seed {seed}, block {block}");
            let one = blocks(&best);
            let sound = |bits: &u32| f32::from_bits(*bits).abs() > 1e-3;
            moving += one.iter().filter(|bits| sound(bits)).count() * 100 / one.len();
        }
        // There was something to compare: in a third of all samples.
        assert!(moving > 200 * 33, "{moving}");
    }
}

/// The engine of a patch that takes the place of the one that plays, as its log says it; of what came
/// before that one nothing is left after so many frames.
fn edited(old: &Engine, new: &Patch, number: u64) -> Engine {
    let mut playing = old.patch().clone();
    let mut arena = old.arena.clone();
    let agenda = Agenda::of(&mut arena, old.agenda_at(), &mut []);
    if agenda.clock().0 - LAST_EDIT.replace(agenda.clock().0) >= 240 {
        playing = playing.settled();
    }
    let union = new.replacing(&playing, number).unwrap();
    let union = Patch::from_log(&union.to_json()).unwrap();
    let mut engine = engine(&union);
    engine.adopt_edited(old);
    engine
}

thread_local! {
    /// The frame of the last edit.
    static LAST_EDIT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A tone at the left, and whatever is plugged into the right.
fn beside_a_tone(modules: &str, cables: &[(&str, &str)]) -> Patch {
    let tone =
        r#"{"id":"tone","type":"sine","params":{"freq":441}},{"id":"body","type":"filter"},"#;
    let mut all = vec![("tone", "body"), ("body", "o.left")];
    all.extend(cables);
    patch(&format!("{tone}{modules}"), &all)
}

/// The next blocks, both channels.
fn both(engine: &mut Engine, blocks: usize) -> [Vec<f32>; 2] {
    let mut channels = [Vec::new(), Vec::new()];
    let mut block = [0.0; CONFIG.block_samples()];
    for _ in 0..blocks {
        engine.render(&mut block, &mut |_| {});
        for (number, channel) in channels.iter_mut().enumerate() {
            channel.extend(block.chunks(2).map(|frame| frame[number]));
        }
    }
    channels
}

/// What is right of the tone: its parts come and go by themselves.
fn some_beside_a_tone(dice: &mut Dice) -> Patch {
    let kinds = ["sine", "noise", "filter", "vca", "delay", "merge", "adsr"];
    let mut modules = Vec::new();
    let mut ids = Vec::new();
    for (number, kind) in kinds.iter().cycle().take(10).enumerate() {
        if dice.roll(3) > 0 {
            let id = format!("m{number}");
            modules.push(format!(r#"{{"id":"{id}","type":"{kind}"}}"#));
            ids.push((id, *kind));
        }
    }
    let mut cables = std::collections::BTreeSet::new();
    let any = |dice: &mut Dice| ids[dice.roll(ids.len() as u64) as usize].clone();
    for _ in 0..12 {
        let (from, to) = (any(dice).0, any(dice));
        let port = match to.1 {
            "sine" | "noise" => ".gain",
            "merge" => [".in1", ".in3"][dice.roll(2) as usize],
            _ => ".in",
        };
        cables.insert((from, format!("{}{port}", to.0)));
    }
    for _ in 0..3 {
        cables.insert((any(dice).0, "o.right".into()));
    }
    let cables: Vec<_> = cables.iter().map(|(a, b)| (&**a, &**b)).collect();
    let mut patch = beside_a_tone(&modules.join(","), &cables);
    // Some of those are a frame late that cannot make anything get out of hand.
    for cable in patch.cables.iter_mut().filter(|c| c.to.ends_with(".gain")) {
        cable.frame = dice.roll(2) == 0;
        cable.feedback &= !cable.frame;
    }
    patch
}

#[test]
fn no_edit_changes_a_sample_of_what_it_does_not_touch() {
    let mut dice = Dice(3);
    let mut alone = engine(&beside_a_tone(r#"{"id":"m0","type":"sine"}"#, &[]));
    let mut engine = engine(&some_beside_a_tone(&mut dice));
    let (mut right, mut loops) = (Vec::new(), 0);
    for edit in 0..400 {
        engine = edited(&engine, &some_beside_a_tone(&mut dice), edit);
        loops += loops_of(&engine);
        // Some come before the one before has faded.
        let blocks = 1 + dice.roll(8) as usize;
        let [left, other] = both(&mut engine, blocks);
        assert_eq!(
            bits(&left),
            bits(&both(&mut alone, blocks)[0]),
            "edit {edit}"
        );
        right.extend(other);
    }
    assert!(right.iter().any(|sample| *sample != 0.0));
    assert!(loops > 100, "{loops}");
}

#[test]
fn an_edit_that_changes_nothing_changes_no_sample_of_any_module() {
    let palette = include_str!("../../../patches/palette.json");
    let palette = Patch::from_json(palette).unwrap();
    let (mut one, mut two) = (engine(&palette), engine(&palette));
    let mut dice = Dice(5);
    for edit in 0..60 {
        let event = dice.event(&palette);
        if !matches!(event, Event::Run(_)) {
            one.apply(&event);
            two.apply(&event);
        }
        two = edited(&two, &palette, edit);
        assert_eq!(
            bits(&heard(&mut one, 3)),
            bits(&heard(&mut two, 3)),
            "edit {edit}"
        );
    }
}

#[test]
fn what_comes_and_goes_takes_five_milliseconds() {
    let one = constant("one", 1.0);
    let mut parts = format!(r#"{one},{{"id":"v","type":"vca","params":{{"level":1}}}}"#);
    let (with, without) = ([("one", "v"), ("v", "o.right")], [("one", "v")]);
    let right = |engine: &mut Engine| both(engine, 10)[1].clone();
    let ramp = |from: f32, to: f32| -> Vec<f32> {
        let glide = |n: f32| from + (to - from) * n.min(240.0) / 240.0;
        (1..=640_u16).map(|n| glide(f32::from(n))).collect()
    };
    let alike = |heard: &[f32], wanted: &[f32]| {
        let far = heard.iter().zip(wanted).map(|(a, b)| (a - b).abs());
        assert!(far.fold(0.0, f32::max) < 1e-5, "{heard:?}");
    };
    let mut engine = engine(&beside_a_tone(&parts, &without));
    assert_eq!(right(&mut engine), [0.0; 640]);
    // Connected, taken out, put back, connected again and disconnected in the middle of that.
    engine = edited(&engine, &beside_a_tone(&parts, &with), 1);
    alike(&right(&mut engine), &ramp(0.0, 1.0));
    engine = edited(&engine, &beside_a_tone(&one, &[]), 2);
    alike(&right(&mut engine), &ramp(1.0, 0.0));
    engine = edited(&engine, &beside_a_tone(&parts, &without), 3);
    assert_eq!(right(&mut engine), [0.0; 640]);
    engine = edited(&engine, &beside_a_tone(&parts, &with), 4);
    alike(&both(&mut engine, 2)[1], &ramp(0.0, 1.0)[..128]);
    engine = edited(&engine, &beside_a_tone(&parts, &without), 5);
    let mut wanted = ramp(128.0 / 240.0, 0.0);
    alike(&both(&mut engine, 2)[1], &wanted[..128]);
    engine = edited(&engine, &beside_a_tone(&parts, &with), 6);
    wanted = ramp(wanted[127], 1.0);
    alike(&right(&mut engine), &wanted);
    // Another type by the same name: one fades out, the other in.
    parts = parts.replace(r#""vca","params":{"level":1}"#, r#""filter""#);
    engine = edited(&engine, &beside_a_tone(&parts, &with), 7);
    let heard = right(&mut engine);
    assert!(step_max(&heard) < 0.01 && heard[0] > 0.99 && heard[639] > 0.9);
}

#[test]
fn no_edit_makes_a_step() {
    // Slow sounds through a chain that is turned round, widened and taken apart.
    let sounds = r#"{"id":"s","type":"sine","params":{"freq":50}},{"id":"t","type":"sine","params":{"freq":30}}"#;
    let modules = format!(
        r#"{sounds},{{"id":"a","type":"vca","params":{{"level":1}}}},{{"id":"b","type":"filter","params":{{"cutoff":2000}}}},{{"id":"u","type":"merge"}},{{"id":"d","type":"delay"}}"#
    );
    let chains: [&[(&str, &str)]; 7] = [
        &[("s", "a"), ("a", "b"), ("b", "o.right")],
        &[("s", "b"), ("b", "a"), ("a", "o.right")],
        &[("s", "a"), ("a", "b"), ("t", "b"), ("b", "o.right")],
        &[
            ("s", "u.in1"),
            ("t", "u.in2"),
            ("u", "a"),
            ("a", "b"),
            ("b", "o.right"),
        ],
        &[
            ("s", "u.in1"),
            ("t", "u.in3"),
            ("u", "b"),
            ("s", "a"),
            ("a", "o.right"),
        ],
        &[
            ("s", "a"),
            ("a", "b"),
            ("b", "d"),
            ("d", "a"),
            ("a", "o.right"),
        ],
        &[("t", "d"), ("d", "o.right")],
    ];
    let mut dice = Dice(11);
    let chain = |dice: &mut Dice| beside_a_tone(&modules, chains[dice.roll(7) as usize]);
    let mut engine = engine(&chain(&mut dice));
    let mut right = Vec::new();
    for edit in 0..200 {
        engine = edited(&engine, &chain(&mut dice), edit);
        let blocks = 1 + dice.roll(12) as usize;
        right.extend(both(&mut engine, blocks).into_iter().nth(1).unwrap());
    }
    let (most, peak) = (
        step_max(&right),
        right.iter().fold(0.0_f32, |a, b| a.max(b.abs())),
    );
    // A fade of all that sounds, and the sounds themselves.
    assert!(most < 2.0 * peak / 240.0 + 0.02, "{most} of {peak}");
    assert!(peak > 0.3);
}

#[test]
fn in_the_middle_of_a_fade_a_copy_goes_on_to_the_bit() {
    let mut dice = Dice(17);
    let mut one = engine(&some_beside_a_tone(&mut dice));
    for edit in 0..60 {
        one = edited(&one, &some_beside_a_tone(&mut dice), edit);
        let blocks = dice.roll(5) as usize;
        both(&mut one, blocks);
        let mut two = engine(one.patch());
        two.restore(one.arena()).unwrap();
        assert_eq!(
            both(&mut one, 7).map(|c| bits(&c)),
            both(&mut two, 7).map(|c| bits(&c))
        );
    }
}

#[test]
fn what_has_faded_out_is_no_cable_any_more() {
    let modules = format!(
        r#"{},{{"id":"env","type":"adsr","params":{{"attack":1,"decay":1}}}}"#,
        constant("one", 1.0)
    );
    let with = beside_a_tone(&modules, &[("env.env", "o.right"), ("one", "env.gate")]);
    let without = beside_a_tone(&modules, &[("env.env", "o.right")]);
    let mut engine = engine(&with);
    assert!(both(&mut engine, 40)[1][2_000] > 0.3);
    engine = edited(&engine, &without, 1);
    assert!(
        both(&mut engine, 600)[1][38_000] < 0.01,
        "its gate has closed"
    );
    engine.apply(&gate(&without, "env", 1.0));
    assert!(
        both(&mut engine, 40)[1][2_000] > 0.3,
        "events open it again"
    );
}

#[test]
fn what_leads_back_is_a_block_late_however_blocks_are_cut() {
    let modules = format!(
        r#"{},{{"id":"v","type":"vca","params":{{"level":0.5}}}},{{"id":"w","type":"vca","params":{{"level":1}}}}"#,
        constant("one", 1.0)
    );
    let cables = [("one", "v"), ("v", "w"), ("w", "v"), ("w", "o")];
    let patch = patch(&modules, &cables);
    assert!(patch.cables[2].feedback);
    let mut whole = engine(&patch);
    let out = heard(&mut whole, 4);
    let block = |n: usize| &out[64 * n..64 * (n + 1)];
    assert_eq!(block(0), [0.5; 64]);
    assert_eq!(block(1), [0.75; 64]);
    assert_eq!(block(2), [0.875; 64]);
    // Cut at any frames, and copied, it is the same.
    let mut dice = Dice(2);
    let moved = Event::Ramp {
        module: 2,
        param: 0,
        value: 0.4,
        ms: 20.0,
    };
    let mut cut = engine(&patch);
    heard(&mut cut, 4);
    whole.apply(&moved);
    cut.apply(&moved);
    for _ in 0..30 {
        for _ in 0..dice.roll(4) {
            let frame = FrameIndex(cut.agenda().clock().0 + dice.roll(64));
            cut.apply_at(frame, &gate(&patch, "v", 1.0));
        }
        let mut copy = engine(&patch);
        copy.restore(cut.arena()).unwrap();
        cut = copy;
        assert_eq!(bits(&heard(&mut cut, 1)), bits(&heard(&mut whole, 1)));
    }
}

#[test]
fn what_leads_back_and_gets_out_of_hand_is_muted_and_comes_to_its_senses() {
    let vca = r#"{"id":"v","type":"vca","params":{"level":1}}"#;
    let modules = format!("{},{vca}", constant("one", 1.0));
    let patch = patch(&modules, &[("one", "v"), ("v", "v"), ("v", "o")]);
    let mut engine = engine(&patch);
    let grown = heard(&mut engine, 100);
    assert_eq!(grown[64 * 40], 41.0);
    assert!(engine.muted().is_some() && grown[64 * 99] == 0.0);
    comes_to_its_senses(&mut engine);
}

/// A loop of a level, the third module, that has got out of hand settles at 1 where the level is halved.
fn comes_to_its_senses(engine: &mut Engine) {
    engine.apply(&Event::Param {
        module: 2,
        param: 0,
        value: 0.5,
    });
    heard(engine, 100);
    assert!(engine.muted().is_none() && (heard(engine, 1)[0] - 1.0).abs() < 1e-3);
}

#[test]
fn a_ramp_changes_what_goes_by_steps_at_its_half() {
    let modules = r#"{"id":"s","type":"math","params":{"offset_a":2,"offset_b":3}}"#;
    let patch = patch(modules, &[("s", "o")]);
    let kind = crate::catalog::find("math").unwrap();
    let ramp = |ms: f32, op: f32| Event::Ramp {
        module: 1,
        param: kind.param_index("op").unwrap(),
        value: op,
        ms,
    };
    let mut engine = engine(&patch);
    let before = heard(&mut engine, 1)[0];
    engine.apply(&ramp(8.0, 2.0));
    let out = heard(&mut engine, 12);
    let after = out[767];
    assert_eq!([before, after], [5.0, 6.0]);
    let left = out.iter().position(|sample| *sample != before);
    assert!(matches!(left, Some(192..195)), "{left:?}");
    // What is set meanwhile stays.
    engine.apply(&ramp(8.0, 0.0));
    engine.apply(&Event::Param {
        module: 1,
        param: kind.param_index("op").unwrap(),
        value: 2.0,
    });
    assert!(heard(&mut engine, 6).iter().all(|sample| *sample == after));
}

#[test]
fn what_leads_back_a_frame_late_makes_a_filter() {
    // y(n) = x(n) + y(n-1) / 2: a one-pole low-pass, whose step is 2 - 2^-n.
    let modules = format!(
        r#"{},{{"id":"y","type":"mixer"}},{{"id":"half","type":"vca","params":{{"level":0.5}}}}"#,
        constant("one", 1.0)
    );
    let cables = [
        ("one", "y.in1"),
        ("y", "half"),
        ("half", "y.in2"),
        ("y", "o"),
    ];
    let mut patch = patch(&modules, &cables);
    patch.cables[2].frame = true;
    patch.cables[2].feedback = false;
    let mut whole = engine(&patch);
    let level = heard(&mut whole, 1)[0];
    let mut whole = engine(&patch);
    for (n, sample) in heard(&mut whole, 1).into_iter().take(20).enumerate() {
        let wanted = level
            * (0..=n)
                .map(|k| libm::powf(0.5 * level, k as f32))
                .sum::<f32>();
        assert!((sample - wanted).abs() < 1e-5, "{n}: {sample} {wanted}");
    }
    assert_eq!(Patch::from_json(&patch.to_json()).unwrap(), patch);
    // From a copy it goes on to the bit; once the cable has faded out, blocks are whole again.
    let mut copy = engine(&patch);
    copy.restore(whole.arena()).unwrap();
    assert_eq!(bits(&heard(&mut copy, 3)), bits(&heard(&mut whole, 3)));
    assert_eq!(turns(&mut whole), [1, 1, 64, 64], "o, one, y, half");
    let mut opened = patch.clone();
    opened.cables.remove(2);
    let mut after = edited(&whole, &opened, 1);
    assert_eq!(turns(&mut after), [1, 1, 64, 64]);
    let steps = step_max(&heard(&mut after, 6));
    assert!(steps < 0.02, "{steps}");
    assert_eq!(turns(&mut after), [1; 4]);
}

#[test]
fn what_is_bypassed_stays_so_at_an_edit_and_as_a_ghost() {
    let with = beside_a_tone(
        r#"{"id":"v","type":"vca"}"#,
        &[("tone", "v"), ("v", "o.right")],
    );
    let mut one = engine(&with);
    let place = with.module_index("v").unwrap();
    one.apply(&Event::Bypass(place));
    both(&mut one, 1);
    let mut traced = Vec::new();
    let mut block = [0.0; CONFIG.block_samples()];
    for (number, patch) in [&with, &beside_a_tone(r#"{"id":"w","type":"vca"}"#, &[])]
        .into_iter()
        .enumerate()
    {
        one = edited(&one, patch, number as u64);
        one.render(&mut block, &mut |module| traced.push(one_id(patch, module)));
    }
    assert!(
        traced.iter().all(|id| id != "v" && id != "ghost"),
        "{traced:?}"
    );
    assert!(one.patch().module_index("v~1").is_some());
}

/// The id of a module of a patch that was edited.
fn one_id(patch: &Patch, module: u16) -> String {
    let spec = patch.modules.get(usize::from(module));
    spec.map_or_else(|| "ghost".into(), |spec| spec.id.clone())
}
