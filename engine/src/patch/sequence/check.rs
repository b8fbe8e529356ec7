//! Checks sequences and saved patterns, in the order of the text.

use common::edit::Role;

use super::{
    super::{
        PatchError,
        check::{Places, at_most, check_id, check_value},
        error::hint,
    },
    BARS_MAX, BPM, CHAIN_MAX, ChainSpec, DIVISION_MAX, GATE_LENGTH, LANES_MAX, PATTERNS_MAX, Patch,
    PatternSpec, RATCHETS_MAX, SEQUENCES_MAX, STEPS_MAX, SWING_MAX, SequenceSpec, TARGETS_MAX,
    TargetSpec, steps_of,
};
use crate::catalog::ModuleType;

/// The errors of a sequence, beside those of a module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the words of the messages")]
#[non_exhaustive]
pub enum SequenceError {
    /// The sequence does not exist.
    #[error("no sequence \"{id}\"{hint}")]
    NoSequence { id: String, hint: String },
    /// A new sequence has the name of another.
    #[error(
        "the sequence \"{id}\" exists already; /seq/update changes its pattern, /seq/remove removes it"
    )]
    Taken { id: String },
    /// Two sequences have the same id.
    #[error("{at}: the id \"{id}\" is taken by another sequence (expected a unique id)")]
    Twice { at: String, id: String },
    /// No pattern is saved under the name.
    #[error("{at}: no pattern \"{name}\"{hint}")]
    NoPattern {
        at: String,
        name: String,
        hint: String,
    },
    /// A text is not a pattern, or not a note.
    #[error("{at}: {what}")]
    Notation { at: String, what: String },
    /// A module does not accept a gate.
    #[error("{at}: \"{module}\" ({kind}) does not accept a gate{hint}")]
    NoGate {
        at: String,
        module: String,
        kind: &'static str,
        hint: String,
    },
    /// A module does not play notes.
    #[error(
        "{at}: \"{module}\" ({kind}) does not play notes, as it has neither freq nor voices nor a gate{hint}"
    )]
    NoNote {
        at: String,
        module: String,
        kind: &'static str,
        hint: String,
    },
    /// A target's parameter is missing or superfluous.
    #[error("{at}: the target of role {role} {right}")]
    TargetParam {
        at: String,
        role: &'static str,
        right: &'static str,
    },
    /// The sequence does not play the module.
    #[error("the sequence \"{id}\" does not play \"{module}\"{hint}")]
    NoTarget {
        id: String,
        module: String,
        hint: String,
    },
}

impl Patch {
    /// Checks the sequences of a patch; `places` holds the modules.
    pub(in crate::patch) fn check_sequences(&self, places: &Places<'_>) -> Result<(), PatchError> {
        at_most("sequences", self.sequences.len(), SEQUENCES_MAX)?;
        at_most("patterns", self.patterns.len(), PATTERNS_MAX)?;
        for (index, spec) in self.sequences.iter().enumerate() {
            let at = format!("sequences[{index}]");
            check_id(&at, &spec.id)?;
            let at = format!("{at} \"{}\"", spec.id);
            let earlier = &self.sequences[..index];
            if earlier.iter().any(|other| other.id == spec.id) {
                let id = spec.id.clone();
                return Err(SequenceError::Twice { at, id }.into());
            }
            self.check_sequence(&at, spec, places)?;
        }
        for (name, pattern) in &self.patterns {
            let at = format!("patterns \"{name}\"");
            check_id(&at, name)?;
            check_pattern(&at, pattern)?;
        }
        Ok(())
    }

    fn check_sequence(
        &self,
        at: &str,
        spec: &SequenceSpec,
        places: &Places<'_>,
    ) -> Result<(), PatchError> {
        within(at, "bpm", spec.bpm, *BPM.start(), *BPM.end())?;
        within(
            at,
            "division",
            spec.division as f32,
            1.0,
            DIVISION_MAX as f32,
        )?;
        within(at, "swing", spec.swing, 0.0, SWING_MAX)?;
        within(
            at,
            "gate_len",
            spec.gate_len,
            *GATE_LENGTH.start(),
            *GATE_LENGTH.end(),
        )?;
        at_most("targets of a sequence", spec.targets.len(), TARGETS_MAX)?;
        for (number, target) in spec.targets.iter().enumerate() {
            check_target(&format!("{at}.targets[{number}]"), target, places)?;
        }
        check_pattern(&format!("{at}.pattern"), &spec.pattern)?;
        check_lanes(&format!("{at}.pattern"), spec, &spec.pattern, places)?;
        at_most("patterns in a chain", spec.chain.len(), CHAIN_MAX)?;
        for (number, ChainSpec { pattern, bars }) in spec.chain.iter().enumerate() {
            let at = format!("{at}.chain[{number}]");
            let kept = self.kept(&at, pattern)?;
            within(&at, "bars", *bars as f32, 1.0, BARS_MAX as f32)?;
            check_lanes(&format!("{at} \"{pattern}\""), spec, kept, places)?;
        }
        Ok(())
    }

    /// The pattern that is saved under a name.
    pub(super) fn kept(&self, at: &str, name: &str) -> Result<&PatternSpec, SequenceError> {
        self.patterns.get(name).ok_or_else(|| {
            let hint = match self.patterns.is_empty() {
                true => "; the patch has none yet: /pattern/save NAME ID saves one".to_owned(),
                false => hint(name, self.patterns.keys().map(String::as_str)),
            };
            SequenceError::NoPattern {
                at: at.to_owned(),
                name: name.chars().take(64).collect(),
                hint,
            }
        })
    }
}

fn within(at: &str, what: &str, value: f32, min: f32, max: f32) -> Result<(), PatchError> {
    match (min..=max).contains(&value) {
        true => Ok(()),
        false => Err(PatchError::OutOfRange {
            at: format!("{at}.{what}"),
            value,
            min,
            max: max.to_string(),
        }),
    }
}

fn check_target(at: &str, target: &TargetSpec, places: &Places<'_>) -> Result<(), PatchError> {
    let TargetSpec {
        module,
        role,
        param,
    } = target;
    let Some((_, kind)) = places.get(module.as_str()).copied() else {
        return Err(PatchError::UnknownModule {
            at: at.to_owned(),
            name: module.clone(),
            hint: hint(module, places.keys().copied()),
        });
    };
    let able = |fit: fn(&ModuleType) -> bool| {
        let ids: Vec<&str> = (places.iter())
            .filter(|(_, (_, kind))| fit(kind))
            .map(|(id, _)| *id)
            .take(8)
            .collect();
        match ids.is_empty() {
            true => String::new(),
            false => format!(" (expected one of {})", ids.join(", ")),
        }
    };
    let (at, module) = (at.to_owned(), module.clone());
    match (role, param) {
        (Role::Gate, None) if !kind.takes_gate => Err(SequenceError::NoGate {
            at,
            module,
            kind: kind.name,
            hint: able(|kind| kind.takes_gate),
        }
        .into()),
        (Role::Note, None) if !kind.plays() => Err(SequenceError::NoNote {
            at,
            module,
            kind: kind.name,
            hint: able(ModuleType::plays),
        }
        .into()),
        (Role::Gate | Role::Note, None) => Ok(()),
        (Role::Param, Some(name)) if kind.param_index(name).is_none() => {
            Err(PatchError::UnknownParam {
                at: format!("{at} parameter \"{name}\""),
                module,
                kind: kind.name,
                hint: hint(name, kind.params.iter().map(|param| param.name)),
            })
        }
        (Role::Param, Some(_)) => Ok(()),
        (Role::Param, None) => Err(SequenceError::TargetParam {
            at,
            role: "param",
            right: "has no parameter (expected a parameter of the module)",
        }
        .into()),
        (Role::Gate | Role::Note, Some(_)) => Err(SequenceError::TargetParam {
            at,
            role: "gate or note",
            right: "has a parameter (expected none)",
        }
        .into()),
    }
}

fn check_pattern(at: &str, pattern: &PatternSpec) -> Result<(), PatchError> {
    let notation = |what| SequenceError::Notation {
        at: at.to_owned(),
        what,
    };
    steps_of(&pattern.text).map_err(notation)?;
    within(at, "steps", pattern.steps as f32, 0.0, STEPS_MAX as f32)?;
    for (what, count) in [
        ("probabilities of a pattern", pattern.probability.len()),
        ("ratchets of a pattern", pattern.ratchet.len()),
        ("notes of a pattern", pattern.notes.len()),
    ] {
        at_most(what, count, STEPS_MAX)?;
    }
    for (number, chance) in pattern.probability.iter().enumerate() {
        within(at, &format!("probability[{number}]"), *chance, 0.0, 1.0)?;
    }
    for (number, times) in pattern.ratchet.iter().enumerate() {
        let (what, max) = (format!("ratchet[{number}]"), RATCHETS_MAX as f32);
        within(at, &what, *times as f32, 1.0, max)?;
    }
    at_most("lanes of a pattern", pattern.lanes.len(), LANES_MAX)?;
    for (name, values) in &pattern.lanes {
        at_most("values of a lane", values.len(), STEPS_MAX)?;
        for (number, value) in values.iter().enumerate() {
            let what = format!("lanes.{name}[{number}]");
            within(at, &what, *value, f32::MIN, f32::MAX)?;
        }
    }
    Ok(())
}

/// Checks the values of a pattern's lanes against the ranges of the parameters that they set.
fn check_lanes(
    at: &str,
    spec: &SequenceSpec,
    pattern: &PatternSpec,
    places: &Places<'_>,
) -> Result<(), PatchError> {
    for (name, values) in &pattern.lanes {
        for (module, param) in spec.reached(name, |id| Some(places.get(id)?.1)) {
            let kind = places.get(module).map(|(_, kind)| *kind);
            let Some(param) = kind.and_then(|kind| kind.params.get(usize::from(param))) else {
                continue;
            };
            for (number, value) in values.iter().enumerate() {
                let at = format_args!("{at}.lanes.{name}[{number}], for \"{module}\"");
                check_value(at, param, *value)?;
            }
        }
    }
    Ok(())
}

impl SequenceSpec {
    /// The parameters that a lane sets, by module and index: the assigned ones; if none is assigned, the parameters of
    /// the lane's name in the modules that the sequence plays.
    pub(crate) fn reached<'a>(
        &'a self,
        lane: &str,
        kind_of: impl Fn(&str) -> Option<&'static ModuleType>,
    ) -> Vec<(&'a str, u16)> {
        let place = |target: &'a TargetSpec| {
            let id = target.module.as_str();
            Some((id, kind_of(id)?.param_index(lane)?))
        };
        let of_role = |role: fn(&Role) -> bool| {
            let targets = self.targets.iter().filter(move |target| role(&target.role));
            targets.filter(|target| target.param.as_deref().is_none_or(|name| name == lane))
        };
        let assigned: Vec<_> = of_role(|role| *role == Role::Param)
            .filter_map(place)
            .collect();
        if !assigned.is_empty() {
            return assigned;
        }
        let mut played: Vec<_> = of_role(|role| *role != Role::Param)
            .filter_map(place)
            .collect();
        played.dedup();
        played
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message about a patch with these sections beside a sine, an adsr and an `out`.
    fn message(sections: &str) -> String {
        let text = format!(
            r#"{{"version":1,"modules":[{{"id":"o","type":"out"}},{{"id":"sine","type":"sine"}},{{"id":"adsr","type":"adsr"}},{{"id":"pan","type":"pan"}}],{sections}}}"#
        );
        match Patch::from_json(&text) {
            Ok(patch) => {
                assert_eq!(Patch::from_json(&patch.to_json()).unwrap(), patch, "{text}");
                "good".into()
            }
            Err(why) => why.to_string(),
        }
    }

    fn sequence(fields: &str) -> String {
        message(&format!(r#""sequences":[{{"id":"a"{fields}}}]"#))
    }

    #[test]
    fn what_is_right_is_read_and_written() {
        for good in [
            "",
            r#","bpm":174.3,"division":12,"swing":0.5,"gate_len":1,"running":true,"seed":7"#,
            r#","pattern":"X..x E(3,8)""#,
            r#","pattern":{"text":"X","steps":16,"rotate":-3,"probability":[0.5],"ratchet":[1,4],"notes":["C4",61,60.5],"lanes":{"freq":[100,200]}}"#,
            r#","targets":[{"module":"adsr","role":"gate"},{"module":"sine","role":"note"},{"module":"pan","role":"param","param":"pan"}]"#,
        ] {
            assert_eq!(sequence(good), "good", "{good}");
        }
        let chained = r#""sequences":[{"id":"a","chain":[{"pattern":"p","bars":7}]}],"patterns":{"p":"X.","q":{"text":"x","notes":["A4"]}}"#;
        assert_eq!(message(chained), "good");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (fields, right) in [
            (
                r#","bmp":1"#,
                "sequences[0].bmp: no such field (expected one of id, bpm",
            ),
            (
                r#","pattern":{"txt":"x"}"#,
                "sequences[0].pattern.txt: no such field; did you mean \"text\"?",
            ),
            (
                r#","pattern":5"#,
                "expected a pattern: a string, or an object",
            ),
            (r#","pattern":{"notes":["H4"]}"#, "\"H4\" is not a note"),
            (
                r#","pattern":{"notes":[true]}"#,
                "expected a note: a name such as C4",
            ),
            (
                r#","bpm":0"#,
                "sequences[0] \"a\".bpm: 0 is out of range (expected 1 to 999)",
            ),
            (
                r#","division":129"#,
                "sequences[0] \"a\".division: 129 is out of range (expected 1 to 128)",
            ),
            (
                r#","swing":0.8"#,
                "sequences[0] \"a\".swing: 0.8 is out of range (expected 0 to 0.75)",
            ),
            (
                r#","gate_len":0"#,
                "sequences[0] \"a\".gate_len: 0 is out of range",
            ),
            (
                r#","pattern":"x?""#,
                "sequences[0] \"a\".pattern: \"?\" is not a step (expected X accent",
            ),
            (
                r#","pattern":{"probability":[0,2]}"#,
                "pattern.probability[1]: 2 is out of range",
            ),
            (
                r#","pattern":{"ratchet":[9]}"#,
                "pattern.ratchet[0]: 9 is out of range (expected 1 to 8)",
            ),
            (
                r#","pattern":{"steps":257}"#,
                "pattern.steps: 257 is out of range",
            ),
            (
                r#","targets":[{"module":"sin","role":"gate"}]"#,
                "sequences[0] \"a\".targets[0]: no module \"sin\"; did you mean \"sine\"?",
            ),
            (
                r#","targets":[{"module":"sine","role":"gate"}]"#,
                "\"sine\" (sine) does not accept a gate (expected one of adsr",
            ),
            (
                r#","targets":[{"module":"pan","role":"note"}]"#,
                "\"pan\" (pan) does not play notes, as it has neither freq nor voices nor a gate (expected one of adsr, sine",
            ),
            (
                r#","targets":[{"module":"sine","role":"param","param":"frq"}]"#,
                "parameter \"frq\": \"sine\" (sine) has no such parameter; did you mean \"freq\"?",
            ),
            (
                r#","targets":[{"module":"sine","role":"param"}]"#,
                "role param has no parameter (expected a parameter of the module)",
            ),
            (
                r#","targets":[{"module":"sine","role":"note","param":"freq"}]"#,
                "role gate or note has a parameter (expected none)",
            ),
            (
                r#","targets":[{"module":"sine","role":"note"}],"pattern":{"lanes":{"gain":[1,2]}}"#,
                "sequences[0] \"a\".pattern.lanes.gain[1], for \"sine\": 2 is out of range (expected 0 to 1)",
            ),
            (
                r#","chain":[{"pattern":"p","bars":1}]"#,
                "chain[0]: no pattern \"p\"; the patch has none yet",
            ),
        ] {
            let why = sequence(fields);
            assert!(why.contains(right), "{fields}: {why}");
        }
        for (sections, right) in [
            (
                r#""sequences":[{"id":"a"},{"id":"a"}]"#,
                "sequences[1] \"a\": the id \"a\" is taken by another sequence",
            ),
            (
                r#""sequences":[{"id":"a b"}]"#,
                "sequences[0]: the id \"a b\" is invalid",
            ),
            (
                r#""patterns":{"p q":"x"}"#,
                "patterns \"p q\": the id \"p q\" is invalid",
            ),
            (
                r#""patterns":{"p":"q"}"#,
                "patterns \"p\": \"q\" is not a step",
            ),
            (
                r#""sequences":[{"id":"a","chain":[{"pattern":"fil","bars":1}]}],"patterns":{"fill":"x"}"#,
                "no pattern \"fil\"; did you mean \"fill\"?",
            ),
            (
                r#""sequences":[{"id":"a","chain":[{"pattern":"p","bars":0}]}],"patterns":{"p":"x"}"#,
                "chain[0].bars: 0 is out of range (expected 1 to 9999)",
            ),
        ] {
            let why = message(sections);
            assert!(why.contains(right), "{sections}: {why}");
        }
        let many: Vec<String> = (0..=SEQUENCES_MAX)
            .map(|n| format!(r#"{{"id":"s{n}"}}"#))
            .collect();
        assert_eq!(
            message(&format!(r#""sequences":[{}]"#, many.join(","))),
            "sequences: 257 is too many (expected at most 256)"
        );
    }
}
