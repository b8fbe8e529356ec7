//! The module types and their parameters as data: what `understudy modules` prints.
//!
//! The descriptions stand with the modules that they describe, in `modules/`.

use common::command_log::{Catalogue, TypeNames};
use serde::Serialize;

pub use crate::modules::{all, find};
use crate::{
    module::{Context, Kind},
    modules,
};

/// How a parameter's range is spread over a knob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Evenly.
    Linear,
    /// Logarithmically, by octaves. The range may begin at 0.
    Log,
    /// In integer steps, which have names if there are `choices`.
    Stepped,
}

/// A parameter of a module type. An event refers to it by its index in [`ModuleType::params`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Param {
    /// The name, as in `/mod/ID/NAME`.
    pub name: &'static str,
    /// The unit, empty for plain numbers.
    pub unit: &'static str,
    /// The lowest value.
    pub min: f32,
    /// The highest value.
    pub max: f32,
    /// The value if the patch sets none.
    pub default: f32,
    /// How the range is spread over a knob.
    pub scale: Scale,
    /// The names of the values 0, 1, 2, … of a stepped parameter; empty if they have none.
    pub choices: &'static [&'static str],
    /// One line of help.
    pub help: &'static str,
}

impl Param {
    /// The nearest valid value; `None` for NaN and the infinities.
    ///
    /// # Real-time
    /// Yes; constant time.
    #[must_use]
    pub fn accept(&self, value: f32) -> Option<f32> {
        let near = value.clamp(self.min, self.max);
        let near = if self.scale == Scale::Stepped {
            near.round()
        } else {
            near
        };
        value.is_finite().then_some(near)
    }
}

/// A module type.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ModuleType {
    /// The name, as in a patch's `type`.
    pub name: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Names of the inputs. A cable that names no input leads to the first. Each parameter has an
    /// input of its name, which modulates it.
    pub inputs: &'static [&'static str],
    /// Names of the outputs. A cable that names no output comes from the first.
    pub outputs: &'static [&'static str],
    /// The parameters, in the order of their numbers: the type's own, then for each of them the amount
    /// by which its input modulates it.
    pub params: &'static [Param],
    /// Whether the type has a gate, addressed as `/gate/ID`.
    pub takes_gate: bool,
    /// Whether the type assigns notes to voices; see [`Self::plays`].
    pub takes_notes: bool,
    /// Whether the type plays the recording that a patch names as its `sample`.
    pub takes_sample: bool,
}

impl ModuleType {
    /// The type's own parameters, without their amounts.
    #[must_use]
    pub fn own_params(&self) -> &'static [Param] {
        &self.params[..self.params.len() / 2]
    }

    /// The type's own inputs, without those of its parameters.
    #[must_use]
    pub fn own_inputs(&self) -> &'static [&'static str] {
        &self.inputs[..self.inputs.len() - self.own_params().len()]
    }

    /// Whether the type can play notes: it has voices, a gate or a frequency.
    #[must_use]
    pub fn plays(&self) -> bool {
        self.takes_notes || self.takes_gate || self.freq().is_some()
    }

    /// The parameter that sets the pitch.
    #[must_use]
    pub fn freq(&self) -> Option<usize> {
        let is_freq = |param: &Param| param.name == "freq" && param.unit == "Hz";
        self.own_params().iter().position(is_freq)
    }

    /// The number of the parameter of that name.
    #[must_use]
    pub fn param_index(&self, name: &str) -> Option<u16> {
        self.params
            .iter()
            .position(|param| param.name == name)
            .map(|index| index as u16)
    }
}

/// What the numbers of parameters mean in logs of this build, and how large the states are.
#[must_use]
pub fn catalogue() -> Catalogue {
    let mut types: Vec<_> = modules::kinds().map(names_of).collect();
    types.sort_by(|a, b| a.name.cmp(&b.name));
    Catalogue {
        program: env!("CARGO_PKG_VERSION").into(),
        types,
    }
}

fn names_of(kind: Kind) -> TypeNames {
    let context = Context {
        rate_hz: 48_000.0,
        wide: false,
    };
    let own = kind.describe.own_params().iter();
    TypeNames {
        name: kind.describe.name.into(),
        params: own.map(|param| param.name.into()).collect(),
        cells: kind.cells(context, 1) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_description_is_one_that_a_patch_can_use() {
        for kind in all() {
            assert!(kind.name == find(kind.name).unwrap().name && !kind.help.is_empty());
            for param in kind.params {
                let Param {
                    name,
                    min,
                    max,
                    default,
                    choices,
                    scale,
                    ..
                } = *param;
                let at = format!("{}.{name}", kind.name);
                assert!(min < max && (min..=max).contains(&default), "{at}");
                assert!(!param.help.is_empty(), "{at}");
                let named = choices.is_empty() || max as usize == choices.len() - 1;
                assert!(
                    named && (choices.is_empty() || scale == Scale::Stepped),
                    "{at}"
                );
            }
        }
    }

    #[test]
    fn a_value_out_of_range_is_clamped_and_one_that_is_no_number_refused() {
        let filter = find("filter").unwrap();
        let param = |name| filter.params[usize::from(filter.param_index(name).unwrap())];
        assert_eq!(param("cutoff").accept(1e9), Some(20_000.0));
        assert_eq!(param("cutoff").accept(-1.0), Some(10.0));
        assert_eq!(param("mode").accept(1.4), Some(1.0));
        assert_eq!(param("q").accept(f32::NAN), None);
        assert_eq!(param("q").accept(f32::INFINITY), None);
    }

    #[test]
    fn a_program_can_read_it() {
        let json = serde_json::to_value(all()).unwrap();
        assert_eq!(json[0]["name"], "sine");
        assert_eq!(json[0]["params"][0]["scale"], "log");
        assert_eq!(json[0]["inputs"][2], "freq");
        let amount = find("sine").unwrap().param_index("freq_amount").unwrap();
        assert_eq!(json[0]["params"][usize::from(amount)]["unit"], "octaves");
    }
}
