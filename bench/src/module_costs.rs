//! What a module of each type costs: prints the table in `engine/src/cost/table.rs`, by which the load of a patch is
//! predicted of which nothing has been measured.
//!
//! Many modules of a type, one signal at the first input of each, gates open, a note now and then; the clock is
//! read between the modules as the worker does it. The median over many blocks counts, the best of
//! several rounds, so that what else the machine does is left out. What modulation costs is left out, too.

use std::sync::Arc;

use anyhow::{Context, Result};
use common::{command::Event, sample::Sample};
use engine::{
    Config, Engine,
    catalog::{self, ModuleType},
    patch::{Cable, Patch},
};
use platform::realtime::monotonic_ns;

use crate::{ROUNDS, ours::Draft};

/// Modules that are measured at once, and blocks of a measurement: as many as a patch is played in.
const COPIES: usize = 24;
const BLOCKS: usize = 400;
/// A note is played again after so many blocks.
const NOTE_BLOCKS: usize = 40;
/// As a stack has it that is started without options.
const CONFIG: Config = Config {
    rate_hz: 48_000,
    block_frames: 128,
    channels: 2,
};
/// The blocks by which it is told what the rest of a block costs, and a sample of it.
const REST_FRAMES: [u32; 2] = [64, 512];
/// A sample's id, for those that play from one.
const SAMPLE: &str = "00000000000000000000000000000000";

/// What a block takes, in nanoseconds: the measured modules, and what is no module's.
struct Block {
    modules: f64,
    rest: f64,
}

/// What is measured: of each type with each number of channels, of the loop, and of the last stage of a block of
/// each size.
struct Figures {
    types: Vec<[f64; 3]>,
    looped: [f64; 2],
    rests: [f64; 2],
}

/// Prints it.
///
/// # Errors
/// When a patch is wrong.
pub fn measure() -> Result<()> {
    let mut best = round()?;
    for _ in 1..ROUNDS {
        let next = round()?;
        let least = |a: &mut f64, b: f64| *a = a.min(b);
        let types = best
            .types
            .iter_mut()
            .flatten()
            .zip(next.types.iter().flatten());
        types.for_each(|(a, b)| least(a, *b));
        best.looped
            .iter_mut()
            .zip(next.looped)
            .for_each(|(a, b)| least(a, b));
        best.rests
            .iter_mut()
            .zip(next.rests)
            .for_each(|(a, b)| least(a, b));
    }
    println!("/// Nanoseconds of a frame: for one channel, for up to 8 side by side, for 16.");
    println!(
        "pub const TABLE: [(&str, [f64; 3]); {}] = [",
        catalog::all().len()
    );
    for (kind, [one, eight, sixteen]) in catalog::all().iter().zip(best.types) {
        println!(
            "    (\"{}\", [{one:.1}, {eight:.1}, {sixteen:.1}]),",
            kind.name
        );
    }
    println!("];");
    println!("/// Nanoseconds that a frame takes longer where frames are rendered one by one.");
    println!(
        "pub const FRAME_CALL_NS: f64 = {:.1};",
        best.looped[1] - best.looped[0]
    );
    let samples = REST_FRAMES.map(|frames| f64::from(frames * CONFIG.channels));
    let each = (best.rests[1] - best.rests[0]) / (samples[1] - samples[0]);
    println!("/// Nanoseconds of the engine's last stage: of a block, and of each of its samples.");
    println!(
        "pub const LAST_BLOCK_NS: f64 = {:.1};",
        best.rests[0] - each * samples[0]
    );
    println!("pub const LAST_SAMPLE_NS: f64 = {each:.1};");
    Ok(())
}

fn round() -> Result<Figures> {
    let mut types = Vec::new();
    for kind in catalog::all() {
        let [one, eight, sixteen] = [1, 8, 16].map(|channels| frame_ns(kind, channels));
        types.push([one?, eight?, sixteen?]);
    }
    let lone = Draft::new(1.0).done();
    let rest = |block_frames| {
        let config = Config {
            block_frames,
            ..CONFIG
        };
        block(&lone, config, &is_copy).map(|block| block.rest)
    };
    Ok(Figures {
        types,
        looped: [
            per_frame(&chain(false), &is_copy)?,
            per_frame(&chain(true), &is_copy)?,
        ],
        rests: [rest(REST_FRAMES[0])?, rest(REST_FRAMES[1])?],
    })
}

fn is_copy(id: &str) -> bool {
    id.starts_with('m')
}

/// What a module of a type costs, with so many channels.
fn frame_ns(kind: &ModuleType, channels: u8) -> Result<f64> {
    if kind.name == "out" {
        return per_frame(&Draft::new(1.0).done(), &|id: &str| id == "out");
    }
    per_frame(&copies(kind, channels)?, &is_copy)
}

fn per_frame(patch: &Patch, counts: &impl Fn(&str) -> bool) -> Result<f64> {
    let count = patch.modules.iter().filter(|m| counts(&m.id)).count();
    let block = block(patch, CONFIG, counts)?;
    Ok(block.modules / count as f64 / f64::from(CONFIG.block_frames))
}

/// Modules of a type, each with a signal at its first input, heard very quietly.
fn copies(kind: &ModuleType, channels: u8) -> Result<Patch> {
    let mut draft = Draft::new(1e-4);
    draft.module("source", "saw", &[("freq", 220.0)], channels);
    let mut patch = draft.done();
    let second = Sample::new(
        48_000,
        2,
        (0..96_000).map(|n| (n % 97) as f32 / 97.0).collect(),
    );
    let second = Arc::new(second.context("a second of sound is a sample")?);
    patch.samples.insert(SAMPLE.into(), second);
    // A state has room for so many of the largest.
    let count = if channels == 1 { COPIES } else { COPIES / 6 };
    for copy in 0..count {
        let id = format!("m{copy}");
        let mut spec = patch.modules[0].clone();
        (spec.id, spec.kind, spec.channels) = (id.clone(), kind.name.into(), channels);
        spec.params.clear();
        spec.sample = kind.takes_sample.then(|| format!("a@{SAMPLE}"));
        patch.modules.push(spec);
        let inputs = kind.own_inputs().iter();
        // What merges has as many channels as are plugged in.
        let plugged = if kind.name == "merge" {
            channels.into()
        } else {
            1
        };
        let plugged = inputs
            .take(plugged)
            .map(|input| Cable::between("source", &format!("{id}.{input}")));
        patch.cables.extend(plugged);
        if !kind.outputs.is_empty() {
            patch.cables.push(Cable::between(&id, "out"));
        }
    }
    Ok(patch)
}

/// A chain, which leads back into itself a frame late or not at all.
fn chain(closed: bool) -> Patch {
    let mut draft = Draft::new(1e-4);
    let ids: Vec<String> = (0..COPIES).map(|copy| format!("m{copy}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    ids.iter()
        .for_each(|id| draft.module(id, "vca", &[("level", 0.1)], 1));
    draft.chain(&ids);
    let (first, last) = (ids[0], ids[COPIES - 1]);
    draft.chain(&[last, "out"]);
    let mut patch = draft.done();
    if closed {
        patch.cables.push(Cable {
            frame: true,
            ..Cable::between(last, first)
        });
    }
    patch
}

/// What a block of a patch takes, all gates open.
fn block(patch: &Patch, config: Config, counts: &impl Fn(&str) -> bool) -> Result<Block> {
    let mut engine = Engine::new(patch, config)?;
    let ids = patch.modules.iter().map(|module| counts(&module.id));
    let counts: Vec<bool> = ids.collect();
    let clock_ns = (0..1_000)
        .map(|_| monotonic_ns().abs_diff(monotonic_ns()))
        .min()
        .unwrap_or(0);
    let mut out = vec![0.0; config.block_samples()];
    let mut blocks = Vec::with_capacity(BLOCKS);
    for number in 0..BLOCKS {
        if number.is_multiple_of(NOTE_BLOCKS) {
            for module in 0..counts.len() as u16 {
                engine.apply(&Event::Gate { module, level: 1.0 });
                engine.apply(&Event::Note {
                    module,
                    pitch: 60.0,
                    velocity: 100.0,
                    frames: 0,
                });
            }
        }
        let mut sums = [0; 2];
        // The last one is what is no module's.
        let (mut at, mut since) = (None, monotonic_ns());
        let mut charge = |at: Option<u16>, since: u64, now: u64| {
            let ns = (now - since).saturating_sub(clock_ns);
            match at {
                Some(module) if counts[usize::from(module)] => sums[0] += ns,
                Some(_) => {}
                None => sums[1] += ns,
            }
        };
        engine.render_traced(&mut out, &mut |module| {
            let now = monotonic_ns();
            charge(at, since, now);
            (at, since) = (module, now);
        });
        charge(at, since, monotonic_ns());
        blocks.push(sums);
    }
    let median = |which: usize| {
        let mut each: Vec<u64> = blocks.iter().map(|sums| sums[which]).collect();
        each.sort_unstable();
        each[each.len() / 2] as f64
    };
    Ok(Block {
        modules: median(0),
        rest: median(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_of_each_type_can_be_measured_with_any_channels() {
        for kind in catalog::all().iter().filter(|kind| kind.name != "out") {
            for channels in [1, 8, 16] {
                let patch = copies(kind, channels).unwrap();
                let made = Engine::new(&patch, CONFIG);
                assert!(made.is_ok(), "{}: {:?}", kind.name, made.err());
            }
        }
        assert!(Engine::new(&chain(true), CONFIG).is_ok());
    }
}
