//! Presets: the values of a module's parameters under a name, to be recalled or morphed.
//!
//! Presets are a part of the patch. Recalling a preset sends events to the module, as if a user had set each
//! parameter.

use std::collections::BTreeMap;

use common::command::Event;

use super::{ModuleSpec, Patch, PatchError, check, error::hint};
use crate::catalog::{self, ModuleType, Param, Scale};

/// Values by the names of parameters; a missing parameter has the type's default.
pub type Values = BTreeMap<String, f32>;

/// The limit of presets of a module.
pub const PRESETS_MAX: usize = 256;

impl Patch {
    /// The current values of a module, for a preset of this name.
    ///
    /// # Errors
    /// If the module does not exist, the name is invalid, or the module has too many presets.
    pub fn values_for(&self, module: &str, name: &str) -> Result<Values, PatchError> {
        let (_, spec, kind) = self.named("preset", module)?;
        check::check_id("preset", name)?;
        let presets = self.presets.get(module);
        let count = presets.map_or(0, BTreeMap::len) + 1;
        if count > PRESETS_MAX && presets.is_some_and(|all| !all.contains_key(name)) {
            return Err(PatchError::TooMany {
                what: "presets",
                count,
                max: PRESETS_MAX,
            });
        }
        let params = kind.params.iter();
        let changed = params.filter_map(|param| {
            let value = *spec.params.get(param.name)?;
            (value.to_bits() != param.default.to_bits()).then(|| (param.name.to_owned(), value))
        });
        Ok(changed.collect())
    }

    /// Stores a preset; replaces a preset of the same name.
    pub fn keep(&mut self, module: &str, name: &str, values: Values) {
        let presets = self.presets.entry(module.to_owned()).or_default();
        presets.insert(name.to_owned(), values);
    }

    /// The events that set a module to a preset: at once, or within `ms` milliseconds.
    ///
    /// # Errors
    /// If the module or the preset does not exist.
    pub fn recalled(
        &self,
        module: &str,
        name: &str,
        ms: Option<f32>,
    ) -> Result<Vec<Event>, PatchError> {
        self.morphed(module, (name, name), 0.0, ms)
    }

    /// The events that set a module between two presets: 0 is the first, 1 the second. Logarithmic parameters are
    /// interpolated logarithmically; stepped parameters change at one half.
    ///
    /// # Errors
    /// If the module or a preset does not exist.
    pub fn morphed(
        &self,
        module: &str,
        (a, b): (&str, &str),
        position: f32,
        ms: Option<f32>,
    ) -> Result<Vec<Event>, PatchError> {
        let (place, spec, kind) = self.named("preset", module)?;
        let (a, b) = (self.preset(module, a)?, self.preset(module, b)?);
        let events = kind.params.iter().zip(0..).filter_map(|(param, number)| {
            let of = |values: &Values| values.get(param.name).copied();
            // An amount that was never set needs no event.
            let amount = usize::from(number) >= kind.own_params().len();
            if amount && [of(a), of(b), of(&spec.params)] == [None; 3] {
                return None;
            }
            let or_default = |value: Option<f32>| value.unwrap_or(param.default);
            let value = between(param, or_default(of(a)), or_default(of(b)), position);
            Some(match ms {
                None => Event::Param {
                    module: place,
                    param: number,
                    value,
                },
                Some(ms) => Event::Ramp {
                    module: place,
                    param: number,
                    value,
                    ms,
                },
            })
        });
        Ok(events.collect())
    }

    /// The names of the presets of a module, or of all modules.
    ///
    /// # Errors
    /// If the module does not exist.
    pub fn preset_names(
        &self,
        module: Option<&str>,
    ) -> Result<BTreeMap<&str, Vec<&str>>, PatchError> {
        if let Some(module) = module {
            self.named("preset", module)?;
        }
        let all = self.presets.iter();
        let all = all.filter(|(id, _)| module.is_none_or(|module| module == *id));
        Ok(all
            .map(|(id, presets)| (id.as_str(), presets.keys().map(String::as_str).collect()))
            .collect())
    }

    fn preset(&self, module: &str, name: &str) -> Result<&Values, PatchError> {
        let presets = self.presets.get(module);
        presets
            .and_then(|presets| presets.get(name))
            .ok_or_else(|| {
                let known = presets.map(BTreeMap::keys).into_iter().flatten();
                let hint = hint(name, known.map(String::as_str));
                PatchError::UnknownPreset {
                    module: module.to_owned(),
                    name: name.to_owned(),
                    hint: match hint.is_empty() {
                        true => format!("; /preset/save {module} NAME saves one"),
                        false => hint,
                    },
                }
            })
    }

    /// A module by its id, with its number and type.
    fn named(
        &self,
        at: &str,
        id: &str,
    ) -> Result<(u16, &ModuleSpec, &'static ModuleType), PatchError> {
        let place = self.module_index(id);
        let spec = place.map(|place| &self.modules[usize::from(place)]);
        let kind = spec.and_then(|spec| catalog::find(&spec.kind));
        match (place, spec, kind) {
            (Some(place), Some(spec), Some(kind)) => Ok((place, spec, kind)),
            _ => Err(PatchError::UnknownModule {
                at: at.to_owned(),
                name: id.to_owned(),
                hint: hint(id, self.modules.iter().map(|module| module.id.as_str())),
            }),
        }
    }

    /// Checks all presets.
    pub(super) fn check_presets(&self) -> Result<(), PatchError> {
        for (id, presets) in &self.presets {
            let (_, _, kind) = self.named("presets", id)?;
            check::at_most("presets", presets.len(), PRESETS_MAX)?;
            for (name, values) in presets {
                check::check_id(format_args!("presets.{id}"), name)?;
                check::check_values(format_args!("presets.{id}.{name}"), id, kind, values)?;
            }
        }
        Ok(())
    }
}

/// A value between two values of a parameter.
fn between(param: &Param, a: f32, b: f32, position: f32) -> f32 {
    match param.scale {
        _ if a.to_bits() == b.to_bits() => a,
        Scale::Stepped if position < 0.5 => a,
        Scale::Stepped => b,
        Scale::Log if a > 0.0 && b > 0.0 => a * libm::powf(b / a, position),
        Scale::Linear | Scale::Log => a + (b - a) * position,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(values: &[(&str, f32)]) -> Values {
        let all = values
            .iter()
            .map(|(name, value)| (String::from(*name), *value));
        all.collect()
    }

    /// The events, by the names of the parameters.
    fn named(events: &[Event]) -> Vec<(&'static str, f32, Option<f32>)> {
        let kind = catalog::find("filter").unwrap();
        let one = |event: &Event| match *event {
            Event::Param { param, value, .. } => {
                (kind.params[usize::from(param)].name, value, None)
            }
            Event::Ramp {
                param, value, ms, ..
            } => (kind.params[usize::from(param)].name, value, Some(ms)),
            _ => panic!("{event:?}"),
        };
        events.iter().map(one).collect()
    }

    fn patch() -> Patch {
        let mut patch = Patch::default_patch();
        patch.keep(
            "filter",
            "dark",
            values(&[("cutoff", 200.0), ("mode", 1.0)]),
        );
        patch.keep(
            "filter",
            "bright",
            values(&[("cutoff", 3_200.0), ("q", 4.0), ("mode", 2.0)]),
        );
        patch
    }

    #[test]
    fn what_is_kept_is_recalled_whole() {
        let mut patch = Patch::default_patch();
        patch.set_param_named("filter", "cutoff", 900.0);
        patch.set_param_named(
            "filter",
            "q",
            catalog::find("filter").unwrap().params[1].default,
        );
        let kept = patch.values_for("filter", "mine").unwrap();
        assert_eq!(kept, values(&[("cutoff", 900.0)]));
        patch.keep("filter", "mine", kept);
        patch.set_param_named("filter", "cutoff", 50.0);
        patch.set_param_named("filter", "cutoff_amount", 2.0);
        let again = Patch::from_json(&patch.to_json()).unwrap();
        assert_eq!(again, patch);
        let events = again.recalled("filter", "mine", None).unwrap();
        let events = named(&events);
        assert_eq!(events[0], ("cutoff", 900.0, None));
        assert!(events.contains(&("cutoff_amount", 1.0, None)));
        assert!(!events.iter().any(|(name, ..)| *name == "q_amount"));
        let slowly = again.recalled("filter", "mine", Some(500.0)).unwrap();
        assert_eq!(named(&slowly)[0], ("cutoff", 900.0, Some(500.0)));
    }

    #[test]
    fn between_two_presets_octaves_are_mixed_and_steps_change_at_the_half() {
        let at = |position: f32| {
            let events = patch().morphed("filter", ("dark", "bright"), position, None);
            let events = named(&events.unwrap());
            let get = |name: &str| events.iter().find(|event| event.0 == name).unwrap().1;
            (get("cutoff"), get("q"), get("mode"))
        };
        let q = catalog::find("filter").unwrap().params[1].default;
        assert_eq!(at(0.0), (200.0, q, 1.0));
        let (cutoff, _, mode) = at(0.25);
        assert!((cutoff - 400.0).abs() < 0.1 && mode == 1.0, "{cutoff}");
        let (cutoff, _, mode) = at(0.5);
        assert!((cutoff - 800.0).abs() < 0.1 && mode == 2.0, "{cutoff}");
        assert!((at(1.0).0 - 3_200.0).abs() < 0.5);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let patch = patch();
        let recalled = |module: &str, name: &str| {
            let error = patch.recalled(module, name, None).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            recalled("filtre", "dark"),
            "preset: no module \"filtre\"; did you mean \"filter\"?"
        );
        assert_eq!(
            recalled("filter", "drak"),
            "module \"filter\" has no preset \"drak\"; did you mean \"dark\"?"
        );
        assert_eq!(
            recalled("sine", "dark"),
            "module \"sine\" has no preset \"dark\"; /preset/save sine NAME saves one"
        );
        let json = |presets: &str| {
            let text = patch.to_json();
            let (before, _) = text.split_once("\"presets\"").unwrap();
            let text = format!("{before}\"presets\": {presets}}}");
            Patch::from_json(&text).unwrap_err().to_string()
        };
        assert_eq!(
            json(r#"{"filter":{"x":{"cutof":1}}}"#),
            "presets.filter.x.cutof: \"filter\" (filter) has no such parameter; did you mean \"cutoff\"?"
        );
        assert_eq!(
            json(r#"{"filter":{"x":{"cutoff":1}}}"#),
            "presets.filter.x.cutoff of \"filter\": 1 is out of range (expected 10 to 20000 Hz)"
        );
        assert!(json(r#"{"gone":{}}"#).starts_with("presets: no module \"gone\""));
        assert!(json(r#"{"filter":{"a b":{}}}"#).starts_with("presets.filter: the id \"a b\""));
    }
}
