//! What the engine promises as a whole; what a module promises is tested beside the module.

use super::*;
use crate::catalog::Scale;

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
        match self.roll(8) {
            0 => Event::Run(self.roll(4) > 0),
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
    let mut engine = engine(&all());
    for _ in 0..200 {
        let mut arena = engine.arena().to_vec();
        for byte in &mut arena[8..] {
            *byte = dice.roll(256) as u8;
        }
        engine.restore(&arena).unwrap();
        heard(&mut engine, 2);
        engine.apply(&dice.event(&all()));
        heard(&mut engine, 2);
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
            channels: 1,
        };
        let patch = Patch {
            version: 1,
            modules: (0..=count).map(spec).collect(),
            cables: vec![],
        };
        Engine::new(&patch, CONFIG).map(|engine| engine.arena_len_bytes() as u64)
    };
    assert!(echoes(200).unwrap() <= ARENA_BYTES_MAX);
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
