//! A patch: modules with their parameters, cables, sequences, patterns and presets.
//!
//! Plain data, read from JSON and written to JSON. [`Patch::from_json`] checks the whole patch, so that later steps
//! cannot fail. The indices of modules and parameters are the numbers that events use.

mod check;
mod checked;
mod draft;
mod edit;
mod error;
mod preset;
mod read;
pub mod sequence;
mod transit;

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use common::{
    command::Event,
    sample::{self, Find, Sample},
};
use serde::{Deserialize, Serialize};

pub(crate) use check::{End, Wire};
pub use checked::Checked;
pub use draft::Draft;
pub use error::PatchError;
pub use preset::{PRESETS_MAX, Values};
use sequence::{PatternSpec, SequenceSpec};
pub(crate) use transit::id_before;

use crate::{catalog, schedule};

/// The version of the format that is read and written.
pub const VERSION: u32 = 1;
pub use common::limits::MODULES_MAX;
/// The limit of cables in a patch: each costs the additions of a block.
pub const CABLES_MAX: usize = 16_000;
/// The limit of a module's id, in characters: the id is part of OSC addresses.
pub const ID_CHARS_MAX: usize = 32;

/// See the file's head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// [`VERSION`].
    pub version: u32,
    /// The modules; an event names a module by its index here.
    pub modules: Vec<ModuleSpec>,
    /// The cables; several into one input are summed.
    #[serde(default)]
    pub cables: Vec<Cable>,
    /// The sequences; an event names a sequence by its index here.
    #[serde(default)]
    pub sequences: Vec<SequenceSpec>,
    /// The saved patterns, by name.
    #[serde(default)]
    pub patterns: BTreeMap<String, PatternSpec>,
    /// The presets: by the module's id, then by the preset's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub presets: BTreeMap<String, BTreeMap<String, Values>>,
    /// The recordings of the modules, by their ids, as far as they have been fetched; a missing recording is silent.
    #[serde(skip)]
    pub samples: BTreeMap<String, Arc<Sample>>,
}

/// One module of a patch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleSpec {
    /// The name, 1 to 32 characters of `a-z A-Z 0-9 _ -`.
    pub id: String,
    /// The module type, one of [`catalog::all`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Values that differ from the type's defaults, by name, each in the parameter's unit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, f32>,
    /// The recording that the module plays, as `NAME@ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<String>,
    /// The least number of channels, 1 to 32; a wider cable into the module raises it.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub channels: u8,
}

const fn one() -> u8 {
    1
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
const fn is_one(channels: &u8) -> bool {
    *channels == 1
}

/// One cable; an end is `id` (the first port) or `id.port`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cable {
    /// An output.
    pub from: String,
    /// An input.
    pub to: String,
    /// Whether the cable delays its signal by a block, so that it may close a cycle.
    #[serde(default, skip_serializing_if = "is_false")]
    pub feedback: bool,
    /// Whether the cable delays its signal by only a frame, so that it may close a cycle; the modules of the cycle are
    /// then rendered frame by frame.
    #[serde(default, skip_serializing_if = "is_false")]
    pub frame: bool,
    /// Whether the cable fades in or out while one patch replaces another. Never in a user's patch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fade: Option<Fade>,
}

impl Cable {
    /// A cable between two ends.
    #[must_use]
    pub fn between(from: &str, to: &str) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            ..Self::default()
        }
    }

    /// Whether the cable delays its signal, so that it may close a cycle.
    #[must_use]
    pub const fn leads_back(&self) -> bool {
        self.feedback || self.frame
    }

    /// The delay of the cable, as a part of [`Wire::key`].
    const fn lateness(&self) -> (bool, bool) {
        (self.leads_back(), self.frame)
    }
}

/// The fade of a cable while one patch replaces another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fade {
    /// The cable is new and fades in.
    In,
    /// The cable is removed and fades out.
    Out,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl Patch {
    /// Reads a patch and checks all of it; marks the cables that close cycles.
    ///
    /// # Errors
    /// The first error in the patch: what is wrong, where, and what is expected.
    pub fn from_json(text: &str) -> Result<Self, PatchError> {
        Checked::from_json(text).map(Checked::into_patch)
    }

    /// As [`Self::from_json`], for a patch of a command log, which may contain modules and cables that fade out
    /// ([`Checked::taking_over`]).
    ///
    /// # Errors
    /// As [`Self::from_json`].
    pub fn from_log(text: &str) -> Result<Self, PatchError> {
        Checked::from_log(text).map(Checked::into_patch)
    }

    /// As [`Self::from_log`], unchecked: for a caller that creates an engine at once, which checks the patch.
    ///
    /// # Errors
    /// If the text does not have the form of a patch.
    pub fn from_log_unchecked(text: &str) -> Result<Self, PatchError> {
        read::read(text)
    }

    /// The modules with a cable into `out`, in the order of these cables.
    #[must_use]
    pub fn heard(&self) -> Vec<&str> {
        let mut heard: Vec<&str> = Vec::new();
        for cable in self.cables.iter().filter(|cable| self.is_heard(cable)) {
            let id = id_of(&cable.from);
            if !heard.contains(&id) {
                heard.push(id);
            }
        }
        heard
    }

    /// The same patch without the cables into `out` from other modules: all modules run unchanged, but only this
    /// module is heard.
    #[must_use]
    pub fn alone(&self, module: &str) -> Self {
        let mut alone = self.clone();
        alone
            .cables
            .retain(|cable| !self.is_heard(cable) || id_of(&cable.from) == module);
        alone
    }

    fn is_heard(&self, cable: &Cable) -> bool {
        let to = id_of(&cable.to);
        self.modules.iter().any(|m| m.kind == "out" && m.id == to)
    }

    /// Fetches the recordings of the modules.
    #[must_use]
    pub fn fetched(mut self, find: &Find<'_>) -> Self {
        let ids = self
            .modules
            .iter()
            .filter_map(|module| module.sample.as_deref());
        for id in ids.filter_map(sample::id_in) {
            if !self.samples.contains_key(id)
                && let Some(sample) = find(id)
            {
                self.samples.insert(id.to_owned(), sample);
            }
        }
        self
    }

    /// The recording of a module, if it has been fetched.
    pub(crate) fn sample_of(&self, module: &ModuleSpec) -> Option<Arc<Sample>> {
        let id = sample::id_in(module.sample.as_deref()?)?;
        self.samples.get(id).cloned()
    }

    /// The patch as JSON, a line for each module and cable; [`Patch::from_json`] reads it back.
    ///
    /// # Panics
    /// Never: names and finite numbers can always be written.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = format!("{{\n  \"version\": {},\n  \"modules\": [", self.version);
        lines(&mut text, &self.modules);
        text.push_str("],\n  \"cables\": [");
        lines(&mut text, &self.cables);
        text.push(']');
        if !self.sequences.is_empty() {
            text.push_str(",\n  \"sequences\": [");
            lines(&mut text, &self.sequences);
            text.push(']');
        }
        if !self.patterns.is_empty() {
            let kept = serde_json::to_string(&self.patterns);
            let kept = kept.expect("names and numbers can be written");
            write!(text, ",\n  \"patterns\": {kept}").expect("a string takes it");
        }
        if !self.presets.is_empty() {
            let presets = serde_json::to_string(&self.presets);
            let presets = presets.expect("names and numbers can be written");
            write!(text, ",\n  \"presets\": {presets}").expect("a string takes it");
        }
        text.push_str("\n}\n");
        text
    }

    /// `sine` → `adsr` → `filter` → `out`.
    ///
    /// # Panics
    /// Never: a test reads it.
    #[must_use]
    pub fn default_patch() -> Self {
        Self::from_json(include_str!("../../patches/default.json"))
            .expect("the default patch is good")
    }

    /// The number of the module with this id.
    #[must_use]
    pub fn module_index(&self, id: &str) -> Option<u16> {
        self.modules
            .iter()
            .position(|module| module.id == id)
            .map(|index| index as u16)
    }

    /// Writes a parameter's value into the patch, clamped to its range; numbers as in [`Event`].
    /// Does nothing if the parameter does not exist or the value is NaN.
    pub fn set_param(&mut self, module: u16, param: u16, value: f32) {
        let Some(spec) = self.modules.get_mut(usize::from(module)) else {
            return;
        };
        let Some(kind) = catalog::find(&spec.kind) else {
            return;
        };
        let Some(param) = kind.params.get(usize::from(param)) else {
            return;
        };
        if let Some(value) = param.accept(value) {
            spec.params.insert(param.name.to_owned(), value);
        }
    }

    /// As [`Patch::set_param`], by names.
    pub fn set_param_named(&mut self, module: &str, param: &str, value: f32) {
        let kind = |index: u16| catalog::find(&self.modules[usize::from(index)].kind);
        if let Some(index) = self.module_index(module)
            && let Some(param) = kind(index).and_then(|kind| kind.param_index(param))
        {
            self.set_param(index, param, value);
        }
    }

    /// Writes the lasting changes of an event into the patch, so that the patch follows a running engine.
    pub fn apply(&mut self, event: &Event) {
        if let Event::Param {
            module,
            param,
            value,
        }
        | Event::Ramp {
            module,
            param,
            value,
            ..
        } = *event
        {
            self.set_param(module, param, value);
        }
        if let Event::Sequence { sequence, control } = *event {
            self.follow_sequence(sequence, control);
        }
        if let Event::Clock { bpm, begin, .. } = *event {
            self.follow_clock(bpm, begin);
        }
    }

    /// The order of rendering with the given cables.
    pub(crate) fn steps_with(&self, wires: &[Wire]) -> Result<Vec<schedule::Step>, PatchError> {
        schedule::schedule(self.modules.len(), wires).map_err(|cycle| {
            let mut path: Vec<&str> = cycle
                .iter()
                .map(|module| self.modules[usize::from(*module)].id.as_str())
                .collect();
            path.push(path[0]);
            PatchError::Cycle {
                path: path.join(" → "),
            }
        })
    }
}

/// The module that an end of a cable belongs to.
fn id_of(end: &str) -> &str {
    let id = end.split_once('.').map_or(end, |(id, _)| id);
    // A ghost still counts as the module that it was.
    id_before(id).unwrap_or(id)
}

/// A line for each item of a JSON list.
fn lines<T: Serialize>(text: &mut String, items: &[T]) {
    for (index, item) in items.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let item = serde_json::to_string(item).expect("names and numbers can be written");
        write!(text, "{comma}\n    {item}").expect("a string takes it");
    }
    if !items.is_empty() {
        text.push_str("\n  ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_patch_is_the_one_that_was_promised() {
        let patch = Patch::default_patch();
        let ids: Vec<&str> = patch
            .modules
            .iter()
            .map(|module| module.id.as_str())
            .collect();
        assert_eq!(ids, ["sine", "adsr", "filter", "out"]);
        assert!(patch.modules.iter().all(|module| module.id == module.kind));
        assert_eq!(patch.cables.len(), 3);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut patch = Patch::default_patch();
        patch.set_param(0, 0, 261.625_57);
        assert_eq!(Patch::from_json(&patch.to_json()).unwrap(), patch);
        let lone =
            Patch::from_json(r#"{"version":1,"modules":[{"id":"o","type":"out"}]}"#).unwrap();
        assert_eq!(Patch::from_json(&lone.to_json()).unwrap(), lone);
    }

    #[test]
    fn a_patch_follows_events() {
        let mut patch = Patch::default_patch();
        patch.apply(&Event::Param {
            module: 2,
            param: 0,
            value: 1e9,
        });
        patch.apply(&Event::Param {
            module: 2,
            param: 1,
            value: f32::NAN,
        });
        patch.apply(&Event::Param {
            module: 99,
            param: 0,
            value: 1.0,
        });
        patch.apply(&Event::Param {
            module: 0,
            param: 99,
            value: 1.0,
        });
        patch.apply(&Event::Gate {
            module: 1,
            level: 1.0,
        });
        patch.set_param_named("sine", "gain", 0.25);
        patch.set_param_named("sine", "gian", 0.5);
        patch.set_param_named("sin", "gain", 0.5);
        let mut expected = Patch::default_patch();
        expected.modules[2].params.insert("cutoff".into(), 20_000.0);
        expected.modules[0].params.insert("gain".into(), 0.25);
        assert_eq!(patch, expected);
    }
}
