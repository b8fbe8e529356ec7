//! The module types: one file for each type, listed here.

mod acid;
mod adsr;
mod ar;
mod chorus;
mod clap;
mod clock;
mod compressor;
mod crossfade;
mod delay;
mod discontinuity;
mod distortion;
mod drum;
mod echo;
mod eq;
mod filter;
mod fm;
mod follower;
mod granular;
mod hard_sync;
mod hat;
mod karplus;
mod kick;
mod ladder;
mod lfo;
mod limiter;
mod math;
mod merge;
mod midi_in;
mod mixer;
mod noise;
mod oscillator;
mod out;
mod pan;
mod phaser;
mod pingpong;
mod quantizer;
mod reverb;
mod sample_hold;
mod sampler;
mod saw;
mod segments;
mod seq;
mod sine;
mod slew;
mod snare;
mod split;
mod spread;
mod square;
mod state_variable;
mod sum;
mod supersaw;
mod svf;
mod tempo;
mod triangle;
mod vca;
mod wavetable;

use std::{collections::BTreeMap, sync::LazyLock};

use crate::{
    catalog::{ModuleType, Param, Scale},
    module::{Kind, Module},
    params::amount_of,
};

macro_rules! palette {
    ($($module:ty),* $(,)?) => {
        static TYPES: LazyLock<Vec<ModuleType>> =
            LazyLock::new(|| vec![$(complete(&<$module>::TYPE)),*]);
        static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
            let mut types = TYPES.iter();
            let kinds = [$(types.next().map(Kind::of::<$module>)),*];
            kinds.into_iter().flatten().collect()
        });
    };
}

palette![
    sine::Sine,
    saw::Saw,
    noise::Noise,
    adsr::Adsr,
    filter::Filter,
    vca::Vca,
    delay::Delay,
    mixer::Mixer,
    lfo::Lfo,
    pan::Pan,
    crossfade::Crossfade,
    math::Math,
    sample_hold::SampleHold,
    slew::Slew,
    quantizer::Quantizer,
    follower::Follower,
    ar::Ar,
    merge::Merge,
    split::Split,
    sum::Sum,
    spread::Spread,
    clock::Clock,
    seq::Seq,
    midi_in::MidiIn,
    ladder::Ladder,
    svf::Svf,
    acid::Acid,
    distortion::Distortion,
    eq::Eq,
    phaser::Phaser,
    chorus::Chorus,
    pingpong::Pingpong,
    reverb::Reverb,
    compressor::Compressor,
    limiter::Limiter,
    square::Square,
    triangle::Triangle,
    supersaw::Supersaw,
    kick::Kick,
    snare::Snare,
    hat::Hat,
    clap::Clap,
    fm::Fm,
    karplus::Karplus,
    wavetable::Wavetable,
    sampler::Sampler,
    granular::Granular,
    out::Out,
];

/// A type's description, completed by the modulation input and the amount of each parameter.
fn complete(own: &ModuleType) -> ModuleType {
    let names = own.params.iter().map(|param| param.name);
    let inputs: Vec<&str> = own.inputs.iter().copied().chain(names).collect();
    let amounts = own.params.iter().map(amount_of);
    let params: Vec<Param> = own.params.iter().copied().chain(amounts).collect();
    ModuleType {
        inputs: Vec::leak(inputs),
        params: Vec::leak(params),
        ..*own
    }
}

/// All module types.
#[must_use]
pub fn all() -> &'static [ModuleType] {
    &TYPES
}

/// The indices in the list, by name: a large patch needs thousands of look-ups.
static PLACES: LazyLock<BTreeMap<&str, usize>> = LazyLock::new(|| {
    let names = TYPES.iter().map(|kind| kind.name);
    names.enumerate().map(|(at, name)| (name, at)).collect()
});

/// The module type with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static ModuleType> {
    TYPES.get(*PLACES.get(name)?)
}

/// The functions with which the engine runs modules of a type.
pub(crate) fn kind(name: &str) -> Option<Kind> {
    KINDS.get(*PLACES.get(name)?).copied()
}

/// The functions of all types.
pub(crate) fn kinds() -> impl Iterator<Item = Kind> {
    KINDS.iter().copied()
}

/// A parameter with a linear scale.
const fn linear(
    name: &'static str,
    unit: &'static str,
    [min, default, max]: [f32; 3],
    help: &'static str,
) -> Param {
    Param {
        name,
        unit,
        min,
        max,
        default,
        scale: Scale::Linear,
        choices: &[],
        help,
    }
}

/// A parameter with a logarithmic scale.
const fn log(
    name: &'static str,
    unit: &'static str,
    [min, default, max]: [f32; 3],
    help: &'static str,
) -> Param {
    Param {
        scale: Scale::Log,
        ..linear(name, unit, [min, default, max], help)
    }
}

/// A stepped parameter with named values; the first is the default.
const fn choice(name: &'static str, choices: &'static [&'static str], help: &'static str) -> Param {
    let last = choices.len() as f32 - 1.0;
    Param {
        scale: Scale::Stepped,
        choices,
        ..linear(name, "", [0.0, 0.0, last], help)
    }
}
