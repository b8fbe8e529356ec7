//! Checks all of a patch except its cycles, in the order of the text.
//!
//! The result consists of numbers, so that no later step looks up names again.

use std::{collections::BTreeMap, fmt::Display};

use super::{
    CABLES_MAX, Fade, ID_CHARS_MAX, MODULES_MAX, ModuleSpec, Patch, PatchError, VERSION, Values,
    error::hint, transit,
};
use crate::{
    catalog::{self, ModuleType, Param, Scale},
    plan::CABLE_CHANNELS_MAX,
};

/// One end of a cable, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// The index of the module in the patch.
    pub module: u16,
    /// The index of the port among the type's inputs or outputs.
    pub port: u16,
}

/// A cable, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    pub from: End,
    pub to: End,
    /// The number among the cables that fade in or out, if the cable fades.
    pub fade: Option<u16>,
    /// The number among the delayed cables, if the cable is delayed.
    pub feedback: Option<u16>,
    /// Whether the delay is a frame instead of a block.
    pub frame: bool,
}

impl Wire {
    /// The key that identifies the cable.
    pub const fn key(&self) -> (End, End, (bool, bool)) {
        (self.from, self.to, (self.feedback.is_some(), self.frame))
    }
}

/// Modules by id, with their indices and types.
pub(super) type Places<'a> = BTreeMap<&'a str, (usize, &'static ModuleType)>;

/// An end of a cable.
#[derive(Clone, Copy)]
enum Side {
    From,
    To,
}

impl Side {
    /// The field of a cable for this end.
    const fn field(self) -> &'static str {
        match self {
            Self::From => "from",
            Self::To => "to",
        }
    }

    /// The kind of port at this end.
    const fn port(self) -> &'static str {
        match self {
            Self::From => "output",
            Self::To => "input",
        }
    }
}

impl Patch {
    /// Checks that no module or cable fades out.
    pub(super) fn check_is_settled(&self) -> Result<(), PatchError> {
        match self.cables.iter().position(|cable| cable.fade.is_some()) {
            Some(cable) => Err(PatchError::Fading {
                at: format!("cables[{cable}]"),
            }),
            None => self
                .modules
                .iter()
                .enumerate()
                .try_for_each(|(at, spec)| check_id(format_args!("modules[{at}]"), &spec.id)),
        }
    }

    /// The ends of a cable, as numbers.
    pub(super) fn ends(
        &self,
        from: &str,
        to: &str,
        places: &Places<'_>,
    ) -> Result<(End, End), PatchError> {
        let at = self.cables.len();
        Ok((
            end(at, from, Side::From, places)?,
            end(at, to, Side::To, places)?,
        ))
    }

    /// The indices of the modules whose ids are wanted.
    pub(super) fn places(&self, wanted: impl Fn(&str) -> bool) -> Places<'_> {
        let modules = self.modules.iter().enumerate();
        modules
            .filter(|(_, spec)| wanted(&spec.id))
            .filter_map(|(at, spec)| Some((spec.id.as_str(), (at, catalog::find(&spec.kind)?))))
            .collect()
    }

    /// All cables, as numbers.
    pub(crate) fn check(&self) -> Result<Vec<Wire>, PatchError> {
        if self.version != VERSION {
            return Err(PatchError::Version {
                found: self.version,
            });
        }
        at_most("modules", self.modules.len(), MODULES_MAX)?;
        at_most("cables", self.cables.len(), CABLES_MAX)?;
        let mut places = Places::new();
        let mut out = None;
        for (index, module) in self.modules.iter().enumerate() {
            let at = format_args!("modules[{index}]");
            check_id(at, transit::id_before(&module.id).unwrap_or(&module.id))?;
            let kind = check_module(at, module)?;
            if let Some((by, _)) = places.insert(&module.id, (index, kind)) {
                let (at, id) = (at.to_string(), module.id.clone());
                let by = format!("modules[{by}]");
                return Err(PatchError::DuplicateId { at, id, by });
            }
            if module.kind == "out"
                && let Some(by) = out.replace(&module.id)
            {
                let at = format!("{at} \"{}\"", module.id);
                return Err(PatchError::SecondOut {
                    at,
                    by: format!("\"{by}\""),
                });
            }
        }
        if out.is_none() {
            return Err(PatchError::NoOut);
        }
        self.check_presets()?;
        let ends = self.check_cables(&places)?;
        self.check_sequences(&places)?;
        Ok(ends)
    }

    fn check_cables(&self, places: &Places<'_>) -> Result<Vec<Wire>, PatchError> {
        let mut seen = BTreeMap::new();
        let mut wires = Vec::with_capacity(self.cables.len());
        let (mut fades, mut feedbacks) = (0, 0);
        let number = |is: bool, count: &mut u16| {
            *count += u16::from(is);
            is.then(|| *count - 1)
        };
        for (index, cable) in self.cables.iter().enumerate() {
            let wire = Wire {
                from: end(index, &cable.from, Side::From, places)?,
                to: end(index, &cable.to, Side::To, places)?,
                fade: number(cable.fade.is_some(), &mut fades),
                feedback: number(cable.leads_back(), &mut feedbacks),
                frame: cable.frame,
            };
            // While a delayed cable fades out, an undelayed one between the same ends may fade in.
            let goes = (cable.fade == Some(Fade::Out)).then_some((cable.feedback, cable.frame));
            if let Some(by) = seen.insert((wire.from, wire.to, goes), index) {
                return Err(PatchError::DuplicateCable {
                    at: format!("cables[{index}]"),
                    by: format!("cables[{by}]"),
                });
            }
            wires.push(wire);
        }
        Ok(wires)
    }
}

/// The end that `id` or `id.port` names, for the cable of this number.
fn end(cable: usize, text: &str, side: Side, places: &Places<'_>) -> Result<End, PatchError> {
    let at = || format!("cables[{cable}].{}", side.field());
    let (id, port) = match text.split_once('.') {
        Some((id, port)) => (id, Some(port)),
        None => (text, None),
    };
    let Some((module, kind)) = places.get(id).copied() else {
        let hint = hint(id, places.keys().copied());
        return Err(PatchError::UnknownModule {
            at: at(),
            name: id.to_owned(),
            hint,
        });
    };
    let ports = match side {
        Side::From => kind.outputs,
        Side::To => kind.inputs,
    };
    let named = || format!("\"{id}\" ({})", kind.name);
    let found = match port {
        _ if ports.is_empty() => {
            let module = named();
            return Err(PatchError::NoPorts {
                at: at(),
                module,
                side: side.port(),
            });
        }
        None => Some(0),
        Some(port) => ports.iter().position(|known| *known == port),
    };
    match found {
        Some(port) => Ok(End {
            module: module as u16,
            port: port as u16,
        }),
        None => {
            let port = port.unwrap_or_default().to_owned();
            Err(PatchError::UnknownPort {
                at: at(),
                module: named(),
                side: side.port(),
                hint: hint(&port, ports.iter().copied()),
                port,
            })
        }
    }
}

pub(super) fn at_most(what: &'static str, count: usize, max: usize) -> Result<(), PatchError> {
    if count > max {
        Err(PatchError::TooMany { what, count, max })
    } else {
        Ok(())
    }
}

pub(super) fn check_id(at: impl Display, id: &str) -> Result<(), PatchError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(allowed) {
        Ok(())
    } else {
        let id = id.chars().take(2 * ID_CHARS_MAX).collect();
        Err(PatchError::BadId {
            at: at.to_string(),
            id,
        })
    }
}

pub(super) fn find_type(at: impl Display, name: &str) -> Result<&'static ModuleType, PatchError> {
    catalog::find(name).ok_or_else(|| {
        let mut hint = hint(name, catalog::all().iter().map(|kind| kind.name));
        if hint.is_empty() {
            hint.push_str("; `understudy modules` lists all types");
        }
        PatchError::UnknownType {
            at: at.to_string(),
            name: name.to_owned(),
            hint,
        }
    })
}

fn check_module(
    path: impl Display,
    module: &ModuleSpec,
) -> Result<&'static ModuleType, PatchError> {
    let at = format_args!("{path} \"{}\"", module.id);
    let kind = find_type(at, &module.kind)?;
    if !(1..=CABLE_CHANNELS_MAX).contains(&usize::from(module.channels)) {
        return Err(PatchError::OutOfRange {
            at: format!("{at}.channels"),
            value: module.channels.into(),
            min: 1.0,
            max: CABLE_CHANNELS_MAX.to_string(),
        });
    }
    if let Some(sample) = &module.sample {
        let at = format!("{at}.sample");
        if !kind.takes_sample {
            let kind = kind.name;
            return Err(PatchError::NoSample { at, kind });
        }
        if common::sample::id_in(sample).is_none() {
            let sample = sample.chars().take(200).collect();
            return Err(PatchError::UnknownSample { at, sample });
        }
    }
    check_values(
        format_args!("{path}.params"),
        &module.id,
        kind,
        &module.params,
    )?;
    Ok(kind)
}

/// Checks values of a module's parameters; `at` is their path.
pub(super) fn check_values(
    at: impl Display,
    id: &str,
    kind: &'static ModuleType,
    values: &Values,
) -> Result<(), PatchError> {
    for (name, value) in values {
        let Some(index) = kind.param_index(name) else {
            return Err(PatchError::UnknownParam {
                at: format!("{at}.{name}"),
                module: id.to_owned(),
                kind: kind.name,
                hint: hint(name, kind.params.iter().map(|param| param.name)),
            });
        };
        let param = &kind.params[usize::from(index)];
        check_value(format_args!("{at}.{name} of \"{id}\""), param, *value)?;
    }
    Ok(())
}

pub(super) fn check_value(at: impl Display, param: &Param, value: f32) -> Result<(), PatchError> {
    let Param { min, max, unit, .. } = *param;
    if !(min..=max).contains(&value) {
        let max = format!("{max} {unit}").trim_end().to_owned();
        return Err(PatchError::OutOfRange {
            at: at.to_string(),
            value,
            min,
            max,
        });
    }
    if param.scale == Scale::Stepped && param.accept(value) != Some(value) {
        let named: Vec<String> = param
            .choices
            .iter()
            .enumerate()
            .map(|(n, name)| format!("{n} ({name})"))
            .collect();
        let right = if named.is_empty() {
            format!("{min} to {max}")
        } else {
            named.join(", ")
        };
        let at = at.to_string();
        return Err(PatchError::NotStepped { at, value, right });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message about a patch of these modules and cables, and an `out` called `o`.
    fn message(modules: &str, cables: &str) -> String {
        let text = format!(
            r#"{{"version":1,"modules":[{{"id":"o","type":"out"}}{modules}],"cables":[{cables}]}}"#
        );
        Patch::from_json(&text).unwrap_err().to_string()
    }

    #[test]
    fn a_text_that_is_no_patch_is_refused_with_its_line() {
        let error = |text| Patch::from_json(text).unwrap_err().to_string();
        assert_eq!(
            error(""),
            "not a patch: EOF while parsing a value at line 1 column 0"
        );
        assert_eq!(
            error("{\"version\":1,\"modules\":[],\n\"cabels\":[]}"),
            "cabels: no such field; did you mean \"cables\"? (line 2, column 8)"
        );
        assert_eq!(
            error(r#"{"version":1,"modules":[{"id":"a","type":"sine","parms":{}}]}"#),
            "modules[0].parms: no such field; did you mean \"params\"? (line 1, column 55)"
        );
        assert_eq!(
            error(r#"{"version":1,"modules":[],"cables":[{"from":"a","to":"b","gain":1}]}"#),
            "cables[0].gain: no such field (expected one of from, to, feedback, frame) (line 1, column 63)"
        );
        assert_eq!(
            error(r#"{"version":1,"modules":[{"id":"a","type":"sine","params":{"freq":"x"}}]}"#),
            "modules[0].params.freq: invalid type: string \"x\", expected f32 (line 1, column 68)"
        );
        assert_eq!(
            error(r#"{"version":1,"modules":[{"id":"a"}]}"#),
            "modules[0]: missing field \"type\" (line 1, column 34)"
        );
        assert_eq!(
            error("[]").split(" (").next().unwrap(),
            "patch: is not a JSON object"
        );
        assert!(
            error(r#"{"version":1,"modules":[{"id":"a","type":"sine","params":{"freq":NaN}}]}"#)
                .starts_with("not a patch")
        );
        assert_eq!(
            error(r#"{"version":9,"moduls":[]}"#),
            "version: 9 is not supported (expected 1)"
        );
        let fading = r#"{"version":1,"modules":[],"cables":[{"from":"a","to":"b","fade":"in"}]}"#;
        assert_eq!(
            error(fading),
            "cables[0].fade: no such field (expected one of from, to, feedback, frame)"
        );
        assert_eq!(
            error(r#"{"version":2,"modules":[]}"#),
            "version: 2 is not supported (expected 1)"
        );
        assert_eq!(
            error(r#"{"version":1,"modules":[]}"#),
            "modules: no module is of type \"out\" (expected exactly one)"
        );
    }

    #[test]
    fn there_may_not_be_too_many_of_anything() {
        let modules: String = (0..MODULES_MAX)
            .map(|n| format!(r#",{{"id":"m{n}","type":"sine"}}"#))
            .collect();
        assert_eq!(
            message(&modules, ""),
            "modules: 4001 is too many (expected at most 4000)"
        );
        let cables = vec![r#"{"from":"o","to":"o"}"#; CABLES_MAX + 1].join(",");
        assert_eq!(
            message("", &cables),
            "cables: 16001 is too many (expected at most 16000)"
        );
    }

    #[test]
    fn a_bad_id_is_refused() {
        for id in [
            "",
            "a b",
            "a/b",
            "a.b",
            "ä",
            "abcdefghijklmnopqrstuvwxyz0123456",
        ] {
            assert_eq!(
                message(&format!(r#",{{"id":"{id}","type":"sine"}}"#), ""),
                format!(
                    "modules[1]: the id \"{id}\" is invalid (expected 1 to 32 characters of a-z A-Z 0-9 _ -)"
                )
            );
        }
        assert_eq!(
            message(r#",{"id":"o","type":"sine"}"#, ""),
            "modules[1]: the id \"o\" is taken by modules[0] (expected a unique id)"
        );
        assert_eq!(
            message(r#",{"id":"p","type":"out"}"#, ""),
            "modules[1] \"p\": \"o\" is of type \"out\" already (expected exactly one)"
        );
    }

    #[test]
    fn a_wrong_name_is_answered_with_what_may_have_been_meant() {
        assert_eq!(
            message(r#",{"id":"s","type":"sin"}"#, ""),
            "modules[1] \"s\": no module type \"sin\"; did you mean \"sine\"?"
        );
        assert_eq!(
            message(r#",{"id":"s","type":"xyz"}"#, ""),
            "modules[1] \"s\": no module type \"xyz\"; `understudy modules` lists all types"
        );
        assert_eq!(
            message(r#",{"id":"s","type":"vca","params":{"xyz":1}}"#, ""),
            "modules[1].params.xyz: \"s\" (vca) has no such parameter (expected one of level, level_amount)"
        );
        assert_eq!(
            message(r#",{"id":"s","type":"sine","params":{"frq":1}}"#, ""),
            "modules[1].params.frq: \"s\" (sine) has no such parameter; did you mean \"freq\"?"
        );
    }

    #[test]
    fn a_wrong_value_is_answered_with_the_range() {
        let value = |param: &str| {
            message(
                &format!(r#",{{"id":"f","type":"filter","params":{{{param}}}}}"#),
                "",
            )
        };
        assert_eq!(
            value(r#""cutoff":5"#),
            "modules[1].params.cutoff of \"f\": 5 is out of range (expected 10 to 20000 Hz)"
        );
        assert_eq!(
            value(r#""q":1e300"#),
            "modules[1].params.q of \"f\": inf is out of range (expected 0.1 to 40)"
        );
        assert!(value(r#""mode":0.5"#).starts_with(
            "modules[1].params.mode of \"f\": 0.5 is not an integer (expected 0 (lowpass), 1 (highpass),"
        ));
        let mut patch = Patch::default_patch();
        patch.modules[0].params.insert("freq".into(), f32::NAN);
        assert_eq!(
            patch.checked().unwrap_err().to_string(),
            "modules[0].params.freq of \"sine\": NaN is out of range (expected 0.01 to 20000 Hz)"
        );
    }

    #[test]
    fn a_wrong_cable_is_refused() {
        let cable = |from: &str, to: &str| {
            let modules = r#",{"id":"sine","type":"sine"},{"id":"mix","type":"mixer"}"#;
            message(modules, &format!(r#"{{"from":"{from}","to":"{to}"}}"#))
        };
        assert_eq!(
            cable("sin", "o"),
            "cables[0].from: no module \"sin\"; did you mean \"sine\"?"
        );
        assert_eq!(
            cable("sine", "q"),
            "cables[0].to: no module \"q\" (expected one of mix, o, sine)"
        );
        assert_eq!(
            cable("o", "o"),
            "cables[0].from: \"o\" (out) has no outputs"
        );
        assert_eq!(
            cable("sine", "mix.in5"),
            "cables[0].to: \"mix\" (mixer) has no input \"in5\"; did you mean \"in1\"?"
        );
        assert_eq!(
            cable("sine.left", "o"),
            "cables[0].from: \"sine\" (sine) has no output \"left\" (expected one of out)"
        );
        assert_eq!(
            message(
                r#",{"id":"s","type":"sine"}"#,
                r#"{"from":"s","to":"o"},{"from":"s.out","to":"o.in"}"#
            ),
            "cables[1]: the cable duplicates cables[0] (expected each cable once)"
        );
    }

    #[test]
    fn the_last_cable_of_a_cycle_leads_back_unless_another_is_marked() {
        let leading_back = |cables: &str| {
            let modules =
                r#"{"id":"a","type":"filter"},{"id":"b","type":"vca"},{"id":"o","type":"out"}"#;
            let text = format!(r#"{{"version":1,"modules":[{modules}],"cables":[{cables}]}}"#);
            let patch = Patch::from_json(&text).unwrap();
            assert_eq!(Patch::from_json(&patch.to_json()).unwrap(), patch);
            let back = patch.cables.iter().filter(|cable| cable.feedback);
            back.map(|cable| format!("{}>{}", cable.from, cable.to))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let (there, back) = (r#"{"from":"a","to":"b"}"#, r#"{"from":"b","to":"a"}"#);
        let out = r#"{"from":"b","to":"o"}"#;
        assert_eq!(leading_back(&format!("{there},{out}")), "");
        assert_eq!(leading_back(&format!("{there},{back},{out}")), "b>a");
        assert_eq!(leading_back(&format!("{back},{out},{there}")), "a>b");
        let marked = r#"{"from":"a","to":"b","feedback":true}"#;
        assert_eq!(leading_back(&format!("{marked},{back},{out}")), "a>b");
        assert_eq!(leading_back(r#"{"from":"a","to":"a"}"#), "a>a");
    }
}
