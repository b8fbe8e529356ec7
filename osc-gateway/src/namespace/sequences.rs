//! `/seq/…` and `/pattern/…`: sequences and patterns.
//!
//! Names are not resolved here: the supervisor holds the patch in force and checks the names of sequences, modules
//! and patterns. So a message may use a name right after the message that creates it.

use std::ops::RangeInclusive;

use common::{
    command::SequenceControl,
    edit::{Edit, Role, SequenceEdit, Setting},
    message::Submission,
};
use engine::patch::sequence::{BPM, GATE_LENGTH, PatternSpec, SequenceSpec};
use rosc::OscType;

use super::{Action, Namespace, addresses::Entry, range::within};
use crate::{decode::Value, reply::text};

/// The limit of a pattern's text in a list, in bytes.
const TEXT_BYTES_MAX: usize = 1_000;

/// The action of `/seq/VERB`.
///
/// # Errors
/// If the arguments are wrong.
pub fn sequence(entry: &Entry, args: &[Value]) -> Result<Action, String> {
    let (verb, wrong) = (entry.verb(), || entry.wrong(args));
    let (id, rest) = args.split_first().ok_or_else(wrong)?;
    let id = name(id).ok_or_else(wrong)?;
    let control = match (verb, rest) {
        ("start", []) => SequenceControl::Start,
        ("start", [Value::Text(when)]) if when == "bar" => SequenceControl::Join,
        ("stop", []) => SequenceControl::Stop,
        ("reset", []) => SequenceControl::Reset,
        ("bpm", [bpm]) => SequenceControl::Bpm(number(bpm).ok_or_else(wrong)?),
        ("gate_len", [part]) => SequenceControl::GateLength(number(part).ok_or_else(wrong)?),
        ("create", []) => return Ok(create(id, false, vec![])),
        ("add", [module, Value::Text(pattern), notes @ ..]) => {
            let module = name(module).ok_or_else(wrong)?;
            let notes = names(notes).ok_or_else(wrong)?;
            // With notes the sequence plays notes, without notes it opens the gate.
            let role = match notes.is_empty() {
                true => Role::Gate,
                false => Role::Note,
            };
            let target = Setting::Target {
                role,
                module,
                param: None,
            };
            let pattern = Setting::Pattern(pattern.clone());
            let settings = vec![target, pattern, Setting::Notes(notes)];
            return Ok(create(id, true, settings));
        }
        ("remove", []) => return Ok(edit(SequenceEdit::Remove { id })),
        _ => {
            let settings = settings(verb, rest).ok_or_else(wrong)?;
            return Ok(edit(SequenceEdit::Change { id, settings }));
        }
    };
    controlled(id, control)
}

/// The action of a control of the sequence `id`.
///
/// # Errors
/// If the value is not finite.
pub fn controlled(id: String, control: SequenceControl) -> Result<Action, String> {
    let (control, note) = clamped(control)?;
    let at = None;
    Ok(Action::Edit(Submission::Control { id, control, at }, note))
}

/// The settings of a sequence that a verb changes.
fn settings(verb: &str, args: &[Value]) -> Option<Vec<Setting>> {
    let setting = match (verb, args) {
        ("config", [bpm, steps, division]) => {
            return Some(vec![
                Setting::Bpm(number(bpm)?),
                Setting::Steps(whole(steps)?),
                Setting::Division(whole(division)?),
            ]);
        }
        ("update", [Value::Text(pattern), notes @ ..]) => {
            let pattern = Setting::Pattern(pattern.clone());
            let notes = names(notes)?;
            return Some(match notes.is_empty() {
                true => vec![pattern],
                false => vec![pattern, Setting::Notes(notes)],
            });
        }
        ("pattern", [Value::Text(pattern)]) => Setting::Pattern(pattern.clone()),
        ("notes", notes) => Setting::Notes(names(notes)?),
        ("length", [steps]) => Setting::Steps(whole(steps)?),
        ("division", [division]) => Setting::Division(whole(division)?),
        ("swing", [part]) => Setting::Swing(number(part)?),
        ("rotate", [steps]) => Setting::Rotate(signed(steps)?),
        ("probability", chances) => Setting::Probability(all(chances, number)?),
        ("ratchet", times) => Setting::Ratchet(all(times, whole)?),
        ("seed", [seed]) => Setting::Seed(whole(seed)?),
        ("param_lane", [param, values @ ..]) => Setting::Lane(name(param)?, all(values, number)?),
        ("assign", [Value::Text(role), module, param @ ..]) => Setting::Target {
            role: match role.as_str() {
                "gate" => Role::Gate,
                "note" => Role::Note,
                "param" => Role::Param,
                _ => return None,
            },
            module: name(module)?,
            param: match (role.as_str(), param) {
                ("param", [param]) => Some(name(param)?),
                ("gate" | "note", []) => None,
                _ => return None,
            },
        },
        ("unassign", [module]) => Setting::Unassign(name(module)?),
        _ => return None,
    };
    Some(vec![setting])
}

/// The action of `/pattern/VERB`.
///
/// # Errors
/// As [`sequence`].
pub fn pattern(entry: &Entry, args: &[Value]) -> Result<Action, String> {
    let wrong = || entry.wrong(args);
    let asked = match (entry.verb(), args) {
        ("save", [kept, id]) => SequenceEdit::Save {
            id: name(id).ok_or_else(wrong)?,
            name: name(kept).ok_or_else(wrong)?,
        },
        ("load", [kept, id]) => SequenceEdit::Load {
            id: name(id).ok_or_else(wrong)?,
            name: name(kept).ok_or_else(wrong)?,
        },
        ("remove", [kept]) => SequenceEdit::Forget {
            name: name(kept).ok_or_else(wrong)?,
        },
        ("chain", [id, links @ ..]) if links.len().is_multiple_of(2) => {
            let link = |pair: &[Value]| match pair {
                [kept, bars] => Some((name(kept)?, whole(bars)?)),
                _ => None,
            };
            let links: Option<Vec<_>> = links.chunks(2).map(link).collect();
            SequenceEdit::Change {
                id: name(id).ok_or_else(wrong)?,
                settings: vec![Setting::Chain(links.ok_or_else(wrong)?)],
            }
        }
        _ => return Err(wrong()),
    };
    Ok(edit(asked))
}

const fn edit(edit: SequenceEdit) -> Action {
    Action::Edit(Submission::Edit(Edit::Sequence(edit)), None)
}

const fn create(id: String, running: bool, settings: Vec<Setting>) -> Action {
    edit(SequenceEdit::Create {
        id,
        running,
        settings,
    })
}

/// The control with its value in range, with a note if the value was clamped.
fn clamped(control: SequenceControl) -> Result<(SequenceControl, Option<String>), String> {
    let near = |what, value: f32, range: &RangeInclusive<f32>| {
        within(what, value.into(), (*range.start(), *range.end()))
    };
    Ok(match control {
        SequenceControl::Bpm(bpm) => {
            let (bpm, note) = near("the tempo", bpm, &BPM)?;
            (SequenceControl::Bpm(bpm), note)
        }
        SequenceControl::GateLength(part) => {
            let (part, note) = near("the gate length", part, &GATE_LENGTH)?;
            (SequenceControl::GateLength(part), note)
        }
        other => (other, None),
    })
}

/// A name, or a number as a name.
fn name(value: &Value) -> Option<String> {
    match value {
        Value::Text(name) => Some(name.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Notes by name or number, as strings.
fn names(values: &[Value]) -> Option<Vec<String>> {
    let note = |value: &Value| match value {
        Value::Float(number) => Some(number.to_string()),
        other => name(other),
    };
    all(values, note)
}

fn all<T>(values: &[Value], one: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    values.iter().map(one).collect()
}

const fn number(value: &Value) -> Option<f32> {
    match value.number() {
        Some(number) => Some(number as f32),
        None => None,
    }
}

fn whole(value: &Value) -> Option<u32> {
    u32::try_from(integer(value)?).ok()
}

fn signed(value: &Value) -> Option<i32> {
    i32::try_from(integer(value)?).ok()
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Float(number) if number.fract() == 0.0 => Some(*number as i64),
        _ => None,
    }
}

impl Namespace {
    /// Applies a control of a sequence to the table.
    pub fn follow(&mut self, id: &str, control: SequenceControl) {
        if let Some(spec) = self.sequences.iter_mut().find(|spec| spec.id == id) {
            spec.follow(control);
        }
    }

    /// The sequences: id, whether it runs, tempo, division, swing, gate length, steps, pattern, targets, chain.
    #[must_use]
    pub fn sequence_rows(&self) -> Vec<Vec<OscType>> {
        self.sequences.iter().map(sequence_row).collect()
    }

    /// The saved patterns: name, steps, pattern, number of notes.
    #[must_use]
    pub fn pattern_rows(&self) -> Vec<Vec<OscType>> {
        let row = |(name, pattern): (&String, &PatternSpec)| {
            vec![
                name.as_str().into(),
                (pattern.steps as i32).into(),
                text(&pattern.text, TEXT_BYTES_MAX),
                (pattern.notes.len() as i32).into(),
            ]
        };
        self.patterns.iter().map(row).collect()
    }
}

fn sequence_row(spec: &SequenceSpec) -> Vec<OscType> {
    let targets = spec.targets.iter().map(|target| {
        let role = match target.role {
            Role::Gate => "gate",
            Role::Note => "note",
            Role::Param => "param",
        };
        let param = target.param.iter().map(|param| format!(" {param}"));
        format!("{role} {}{}", target.module, param.collect::<String>())
    });
    let chain = spec.chain.iter();
    let chain = chain.map(|link| format!("{} {}", link.pattern, link.bars));
    let joined = |words: Vec<String>| text(&words.join(", "), TEXT_BYTES_MAX);
    vec![
        spec.id.as_str().into(),
        i32::from(spec.running).into(),
        spec.bpm.into(),
        (spec.division as i32).into(),
        spec.swing.into(),
        spec.gate_len.into(),
        (spec.pattern.steps as i32).into(),
        text(&spec.pattern.text, TEXT_BYTES_MAX),
        joined(targets.collect()),
        joined(chain.collect()),
    ]
}
