//! Tests of the engine as a whole; the tests of a module stand beside the module.

mod arena;
mod bounds;
mod channels;
mod edits;
mod events;
mod gates;
mod loops;
mod safety;
mod sequences;
mod swap;

use std::cell::RefCell;

use common::{
    command::{Event, SequenceControl},
    units::FrameIndex,
};

use super::*;
use crate::{catalog::Scale, event_queue::EventQueue, module::lanes_for, stretch::Stretch};

const CONFIG: Config = Config {
    rate_hz: 48_000,
    block_frames: 64,
    channels: 2,
};

/// All module types except the sine, each of them audible.
const ALL: &str = include_str!("../../../patches/chord.json");

fn engine(patch: &Patch) -> Engine {
    Engine::new(patch, CONFIG).unwrap()
}

fn all() -> Patch {
    Patch::from_json(ALL).unwrap()
}

/// The left channel of the next blocks.
fn heard(engine: &mut Engine, blocks: usize) -> Vec<f32> {
    let mut left = Vec::new();
    let mut block = [0.0; CONFIG.block_samples()];
    for _ in 0..blocks {
        engine.render(&mut block, &mut |_| {});
        left.extend(block.chunks(2).map(|frame| frame[0]));
    }
    left
}

/// How often each module is processed in the next block.
fn calls(engine: &mut Engine) -> Vec<usize> {
    let mut calls = vec![0; engine.patch().modules.len()];
    let mut block = [0.0; CONFIG.block_samples()];
    engine.render(&mut block, &mut |module| calls[usize::from(module)] += 1);
    calls
}

/// How many loops the engine renders frame by frame.
fn loops_of(engine: &Engine) -> usize {
    let parts = engine.plan.parts.iter();
    parts.filter(|part| !part.feedbacks.is_empty()).count()
}

thread_local! {
    /// The recorded output of each module and channel, if a test listens.
    static OVERHEARD: RefCell<Option<Vec<Overheard>>> = const { RefCell::new(None) };
}

/// Module, output, channel, and the bits of the samples; NaN has one bit pattern.
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

    /// A random event; some are invalid.
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

/// An audible keyboard: its gate on the left, its velocity on the right.
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
fn the_default_patch_plays_its_frequency_at_its_level() {
    let out = heard(&mut tone(), 750);
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in out.iter().enumerate() {
        let angle = 440.0 / 48_000.0 * std::f64::consts::TAU * n as f64;
        re += f64::from(*sample) * libm::cos(angle);
        im += f64::from(*sample) * libm::sin(angle);
    }
    let level = 2.0 * (re * re + im * im).sqrt() / out.len() as f64;
    // 0.5 from the sine, 0.7 from the envelope; the low-pass removes nothing at a twentieth of its
    // corner.
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
            // From one end of the range to the other. A high tone moves a lot by itself, so at most 1
            // kHz.
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

/// Modules with a constant output.
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

/// A module of every type; every input has a cable from an earlier module.
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

/// The samples in the blocks of all cables; NaN has one bit pattern.
fn blocks(engine: &Engine) -> Vec<u32> {
    let all = engine.buffers.iter().chain(&engine.heard);
    all.flat_map(|block| &block.samples)
        .map(|x| if x.is_nan() { f32::NAN } else { *x }.to_bits())
        .collect()
}

#[test]
fn no_instruction_set_changes_a_bit() {
    GUARDED.set(true);
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
                    // Any parameter of the module.
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
        // There must be something to compare: in a third of all samples.
        assert!(moving > 200 * 33, "{moving}");
    }
}

/// The engine for an edited patch that replaces the playing one, by way of the log. After 240 frames
/// the fades of an edit are over.
fn edited(old: &Engine, new: &Patch, number: u64) -> Engine {
    let mut playing = old.patch().clone();
    let mut arena = old.arena.clone();
    let queue = EventQueue::of(&mut arena, old.event_queue_at(), &mut []);
    if queue.clock().0 - LAST_EDIT.replace(queue.clock().0) >= 240 {
        playing = playing.settled();
    }
    let [new, playing] = [new.clone(), playing].map(|patch| patch.checked().unwrap());
    let union = new.replacing(&playing, number).unwrap();
    let union = Patch::from_log(&union.patch().to_json()).unwrap();
    let mut engine = engine(&union);
    engine.adopt_edited(old);
    engine
}

thread_local! {
    /// The frame of the last edit.
    static LAST_EDIT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A tone on the left, and the given modules on the right.
fn beside_a_tone(modules: &str, cables: &[(&str, &str)]) -> Patch {
    let tone =
        r#"{"id":"tone","type":"sine","params":{"freq":441}},{"id":"body","type":"filter"},"#;
    let mut all = vec![("tone", "body"), ("body", "o.left")];
    all.extend(cables);
    patch(&format!("{tone}{modules}"), &all)
}

/// Both channels of the next blocks.
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

/// Random modules beside the tone, which come and go.
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
    // Some of the cables that cannot diverge become frame-late.
    for cable in patch.cables.iter_mut().filter(|c| c.to.ends_with(".gain")) {
        cable.frame = dice.roll(2) == 0;
        cable.feedback &= !cable.frame;
    }
    patch
}

/// The id of a module of an edited patch.
fn one_id(patch: &Patch, module: u16) -> String {
    let spec = patch.modules.get(usize::from(module));
    spec.map_or_else(|| "ghost".into(), |spec| spec.id.clone())
}
