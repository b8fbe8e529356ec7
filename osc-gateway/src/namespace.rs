//! Resolves addresses to numbered events, by the names of the patch in force.
//!
//! `Namespace::of_patch` builds a plain table of names from a patch; all other functions use only this table. A
//! message is resolved or refused as a whole, with a text that says what is expected. Work is charged to a `Budget`
//! for each datagram, since a short pattern can match many addresses.

pub mod addresses;
mod edit;
mod midi;
mod preset;
mod range;
mod record;
mod sequences;
mod sound;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use common::{command::Event, limits::COMMANDS_PER_MESSAGE, message::Submission};

use crate::{
    decode::{Message, Value},
    pattern::{self, Pattern},
    reply::shorten,
};
use addresses::Entry;
use engine::patch::sequence::{PatternSpec, SequenceSpec};

/// A parameter of a module.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// The name in addresses.
    pub name: String,
    /// The unit; empty for a parameter without a unit.
    pub unit: String,
    /// The least value.
    pub min: f32,
    /// The greatest value.
    pub max: f32,
    /// The value if the patch sets none.
    pub default: f32,
    /// Whether only integers are valid.
    pub stepped: bool,
    /// Whether the scale is logarithmic.
    pub log: bool,
    /// The names of the integers from 0 on; may be sent instead of the numbers.
    pub choices: Vec<String>,
}

impl Param {
    fn of_type(param: &engine::catalog::Param) -> Self {
        Self {
            name: param.name.to_owned(),
            unit: param.unit.to_owned(),
            min: param.min,
            max: param.max,
            default: param.default,
            stepped: param.scale == engine::catalog::Scale::Stepped,
            log: param.scale == engine::catalog::Scale::Log,
            choices: param
                .choices
                .iter()
                .map(|&choice| choice.to_owned())
                .collect(),
        }
    }
}

/// A module of the patch; its number is its index.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// The name in addresses.
    pub id: String,
    /// The module type.
    pub kind: String,
    /// Whether the module accepts `/gate/ID`.
    pub takes_gate: bool,
    /// Whether the module accepts `/note/ID`.
    pub plays: bool,
    /// The parameters, shared by all modules of the type; the number of a parameter is its index.
    pub params: Arc<[Param]>,
}

/// The addresses that are valid while a patch is in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Namespace {
    /// The patch's generation.
    pub generation: u64,
    /// The sample rate: the duration of a note is counted in frames.
    pub rate_hz: u32,
    /// The modules in order, and the index of each by its name.
    modules: Vec<Module>,
    places: HashMap<String, u16>,
    /// The sequences, and the saved patterns.
    sequences: Vec<SequenceSpec>,
    patterns: BTreeMap<String, PatternSpec>,
}

/// The limits of the work that one datagram may cause.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Events.
    pub events: usize,
    /// Steps of pattern matching.
    pub steps: usize,
    /// Searches for similar names.
    pub suggestions: usize,
    /// Replies of many messages: schema and list.
    pub listings: usize,
}

impl Budget {
    /// The budget of a datagram.
    pub const DATAGRAM: Self = Self {
        events: 2 * COMMANDS_PER_MESSAGE,
        steps: 2_000_000,
        suggestions: 8,
        listings: 2,
    };

    /// The action, whose reply is a listing.
    fn list(&mut self, action: Action) -> Result<Action, String> {
        let left = self.listings.checked_sub(1);
        self.listings = left.ok_or("the datagram asks for too many listings (expected fewer)")?;
        Ok(action)
    }
}

/// The action that a message requests.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A change of the sound.
    Event(Resolved),
    /// A change of the patch or of the recording; with a note if a value was clamped.
    Edit(Submission, Option<String>),
    /// `/sync N`
    Sync(i32),
    /// `/engine/status`
    Status,
    /// `/record/status`
    RecordStatus,
    /// `/preset/list`
    Presets(Option<String>),
    /// `/notify 0|1`
    Notify(bool),
    /// `/engine/schema`
    Schema,
    /// `/engine/list`
    List,
    /// `/seq/list`
    Sequences,
    /// `/pattern/list`
    Patterns,
}

/// An event, with its message: after a change of the patch the message is resolved again.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The message, with its pattern expanded.
    pub message: Message,
    /// The event in this patch.
    pub event: Event,
    /// A note if a value was clamped.
    pub note: Option<String>,
}

impl Resolved {
    /// The event without a note.
    fn plain(event: Event, message: &Message) -> Self {
        Self {
            message: message.clone(),
            event,
            note: None,
        }
    }
}

/// The number of modules that are searched for a similar name.
const SUGGESTED_FROM: usize = 512;

impl Namespace {
    /// The names of a patch.
    ///
    /// # Errors
    /// If the text is not a patch; the supervisor has checked the text, so an error is a bug.
    pub fn of_patch(generation: u64, rate_hz: u32, json: &str) -> Result<Self, String> {
        // The sender has checked the text.
        let patch = engine::patch::Patch::from_log_unchecked(json);
        let patch = patch.map_err(|error| error.to_string())?;
        let mut known: BTreeMap<&str, Arc<[Param]>> = BTreeMap::new();
        let module = |spec: &engine::patch::ModuleSpec| {
            let kind = engine::catalog::find(&spec.kind)
                .ok_or_else(|| format!("the module type \"{}\" is unknown", spec.kind))?;
            let params = known.entry(kind.name);
            let params = params.or_insert_with(|| kind.params.iter().map(Param::of_type).collect());
            Ok(Module {
                id: spec.id.clone(),
                kind: kind.name.to_owned(),
                takes_gate: kind.takes_gate,
                plays: kind.plays(),
                params: Arc::clone(params),
            })
        };
        let modules: Result<Vec<Module>, String> = patch.modules.iter().map(module).collect();
        modules.map(|modules| Self {
            sequences: patch.sequences,
            patterns: patch.patterns,
            ..Self::new(generation, rate_hz, modules)
        })
    }

    /// The names of the given modules.
    #[must_use]
    pub fn new(generation: u64, rate_hz: u32, modules: Vec<Module>) -> Self {
        let numbered = modules.iter().zip(0..);
        Self {
            generation,
            rate_hz,
            places: numbered
                .map(|(module, at)| (module.id.clone(), at))
                .collect(),
            modules,
            sequences: Vec::new(),
            patterns: BTreeMap::new(),
        }
    }

    /// The modules, in order.
    #[must_use]
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// The actions that a message requests, with patterns expanded.
    ///
    /// # Errors
    /// If any part of the message is wrong; the text says what is expected, and the whole message is refused.
    pub fn understand(
        &self,
        message: &Message,
        budget: &mut Budget,
    ) -> Result<Vec<Action>, String> {
        let mut actions = Vec::new();
        if pattern::is_pattern(&message.address) {
            for address in self.matching(&message.address, budget)? {
                self.one(
                    &Message {
                        address,
                        ..message.clone()
                    },
                    budget,
                    &mut actions,
                )?;
            }
        } else {
            self.one(message, budget, &mut actions)?;
        }
        Ok(actions)
    }

    /// Resolves the message of one event again, after a change of the patch.
    ///
    /// # Errors
    /// As [`Self::understand`].
    pub fn again(&self, message: &Message) -> Result<Resolved, String> {
        let mut actions = Vec::new();
        let mut budget = Budget::DATAGRAM;
        self.one(message, &mut budget, &mut actions)?;
        match actions.pop() {
            Some(Action::Event(resolved)) if actions.is_empty() => Ok(resolved),
            _ => Err("the message has another meaning now".into()),
        }
    }

    fn matching(&self, address: &str, budget: &mut Budget) -> Result<Vec<String>, String> {
        let pattern = Pattern::new(address)?;
        let mut found = Vec::new();
        for known in self.addresses() {
            match pattern.matches(&known, &mut budget.steps) {
                Some(true) if found.len() == COMMANDS_PER_MESSAGE => {
                    return Err(format!(
                        "the pattern matches too many addresses (expected at most {COMMANDS_PER_MESSAGE})"
                    ));
                }
                Some(true) => found.push(known),
                Some(false) => {}
                None => return Err("the patterns of this datagram take too long to match".into()),
            }
        }
        if found.is_empty() {
            return Err("no address matches this pattern; /engine/schema lists them all".into());
        }
        Ok(found)
    }

    /// All valid addresses.
    fn addresses(&self) -> impl Iterator<Item = String> {
        let params = self.modules.iter().flat_map(|module| {
            module.params.iter().flat_map(move |param| {
                let of_module = addresses_of(addresses::OF_PARAMS, module);
                of_module.map(move |address| format!("{address}/{}", param.name))
            })
        });
        let gates = self.modules.iter().filter(|m| m.takes_gate);
        let gates = gates.flat_map(|m| addresses_of(addresses::OF_GATES, m));
        let notes = self.modules.iter().filter(|m| m.plays);
        let notes = notes.flat_map(|m| addresses_of(addresses::OF_NOTES, m));
        let fixed = addresses::FIXED.iter();
        let fixed = fixed.map(|entry| entry.address.to_owned());
        params.chain(gates).chain(notes).chain(fixed)
    }

    /// The actions that a message without patterns requests.
    fn one(
        &self,
        message: &Message,
        budget: &mut Budget,
        actions: &mut Vec<Action>,
    ) -> Result<(), String> {
        let parts: Vec<&str> = message.address.split('/').skip(1).take(5).collect();
        let Some(entry) = addresses::find(&parts) else {
            return Err(unknown(&message.address, &parts, budget));
        };
        if entry.takes.is_empty() && !message.args.is_empty() {
            return Err(format!(
                "{} {}",
                message.address,
                entry.wrong(&message.args)
            ));
        }
        let event = match parts.as_slice() {
            ["mod", id, param] => self.param(entry, id, param, message, budget)?,
            ["knob", id, param] => self.knob(entry, id, param, message, budget)?,
            ["gate", id] => self.gate(entry, id, message, budget)?,
            ["note", id] => self.note(entry, id, message, budget)?,
            ["express", id] => self.express(entry, id, message, budget)?,
            ["engine", "start"] => Resolved::plain(Event::Run(true), message),
            ["engine", "stop"] => Resolved::plain(Event::Run(false), message),
            ["seq", "reset_all"] => Resolved::plain(Event::ResetSequences, message),
            ["midi", _] => return self.midi(entry, message, budget, actions),
            ["test"] => {
                for message in self.test_tone(message)? {
                    self.one(&message, budget, actions)?;
                }
                return Ok(());
            }
            _ => {
                actions.push(request(entry, &parts, message, budget)?);
                return Ok(());
            }
        };
        push_event(event, budget, actions)
    }
}

/// The addresses of a module, without the part for a parameter.
fn addresses_of(entries: &'static [Entry], module: &Module) -> impl Iterator<Item = String> {
    let address = move |entry: &Entry| format!("/{}/{}", entry.family(), module.id);
    entries.iter().map(address)
}

/// The action of a message that is neither an event nor several.
fn request(
    entry: &Entry,
    parts: &[&str],
    message: &Message,
    budget: &mut Budget,
) -> Result<Action, String> {
    let args = message.args.as_slice();
    match parts {
        ["engine", "status"] => Ok(Action::Status),
        ["engine", "schema"] => budget.list(Action::Schema),
        ["engine", "list"] => budget.list(Action::List),
        ["seq", "list"] => budget.list(Action::Sequences),
        ["pattern", "list"] => budget.list(Action::Patterns),
        ["patch", _] => Ok(Action::Edit(edit::understand(entry, args)?, None)),
        ["preset", _] => preset::understand(entry, args),
        ["record", _] => record::understand(entry, args),
        ["seq", _] => sequences::sequence(entry, args),
        ["pattern", _] => sequences::pattern(entry, args),
        ["sync"] => match args {
            [Value::Int(number)] => i32::try_from(*number)
                .map(Action::Sync)
                .map_err(|_| format!("{number} is out of range (expected 32 bits)")),
            _ => Err(entry.wrong(args)),
        },
        ["notify"] => match args {
            [Value::Int(0) | Value::Bool(false)] => Ok(Action::Notify(false)),
            [Value::Int(1) | Value::Bool(true)] => Ok(Action::Notify(true)),
            _ => Err(entry.wrong(args)),
        },
        _ => Err(unknown(&message.address, parts, budget)),
    }
}

/// The error for an address that is not in the table.
fn unknown(address: &str, parts: &[&str], budget: &mut Budget) -> String {
    let quoted = shorten(address, 60);
    match parts {
        [family @ ("mod" | "knob" | "gate" | "note" | "express"), ..] => {
            format!("wrong address (expected {})", addresses::usages(family))
        }
        [family @ ("midi" | "preset" | "record"), ..] => format!(
            "no address \"{quoted}\" (expected one of {})",
            addresses::usages(family)
        ),
        [family @ ("patch" | "seq" | "pattern"), _] => {
            let verbs: Vec<&str> = addresses::family(family).map(Entry::verb).collect();
            let verbs = verbs.join(", ");
            format!("no address \"{quoted}\" (expected one of {verbs})")
        }
        _ => {
            let known = addresses::FIXED.iter().map(|entry| entry.address);
            let meant = suggestion(address, known, budget)
                .unwrap_or_else(|| format!("expected one of {}", addresses::outline()));
            format!("no address \"{quoted}\"; {meant}")
        }
    }
}

fn push_event(
    resolved: Resolved,
    budget: &mut Budget,
    actions: &mut Vec<Action>,
) -> Result<(), String> {
    budget.events = budget.events.checked_sub(1).ok_or_else(|| {
        format!(
            "the datagram causes too many changes (expected at most {})",
            Budget::DATAGRAM.events
        )
    })?;
    actions.push(Action::Event(resolved));
    Ok(())
}

fn listed(args: &[Value]) -> String {
    match args {
        [] => "none".into(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

/// `did you mean "…"?`, if one of the names is similar.
fn suggestion<'a>(
    wrong: &str,
    names: impl Iterator<Item = &'a str>,
    budget: &mut Budget,
) -> Option<String> {
    if wrong.len() > 32 {
        return None;
    }
    budget.suggestions = budget.suggestions.checked_sub(1)?;
    let near = (wrong.len() / 3).max(1);
    names
        .take(SUGGESTED_FROM)
        .filter(|name| name.len() <= 64)
        .map(|name| (strsim::osa_distance(wrong, name), name))
        .filter(|(distance, name)| {
            *distance <= near || name.starts_with(wrong) && !wrong.is_empty()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| format!("did you mean \"{name}\"?"))
}
