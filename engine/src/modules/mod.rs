//! The palette: one file a module type, listed here.

mod adsr;
mod delay;
mod filter;
mod mixer;
mod noise;
mod oscillator;
mod out;
mod saw;
mod sine;
mod vca;

use crate::{
    catalog::{ModuleType, Param, Scale},
    module::{Kind, Module},
};

macro_rules! palette {
    ($($module:ty),* $(,)?) => {
        static TYPES: &[ModuleType] = &[$(<$module>::TYPE),*];
        static KINDS: &[Kind] = &[$(Kind::of::<$module>()),*];
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
    out::Out,
];

/// All module types.
#[must_use]
pub fn all() -> &'static [ModuleType] {
    TYPES
}

/// The module type of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static ModuleType> {
    TYPES.iter().find(|found| found.name == name)
}

/// How the engine runs modules of that type.
pub(crate) fn kind(name: &str) -> Option<Kind> {
    KINDS
        .iter()
        .find(|kind| kind.describe.name == name)
        .copied()
}

/// A parameter that is spread evenly.
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

/// A parameter that is spread by octaves.
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

/// A parameter of whole numbers that have names; the first is the default.
const fn choice(name: &'static str, choices: &'static [&'static str], help: &'static str) -> Param {
    let last = choices.len() as f32 - 1.0;
    Param {
        scale: Scale::Stepped,
        choices,
        ..linear(name, "", [0.0, 0.0, last], help)
    }
}
