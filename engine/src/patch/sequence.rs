//! What a patch says of its sequences: which there are, what they play, on what.
//!
//! Plain data, as in the JSON text. A sequence plays a pattern, its own or, by its chain, some that are kept
//! under a name.

mod check;
mod edit;
mod notation;

use std::collections::BTreeMap;

use common::{command::SequenceControl, edit::Role};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

pub use check::SequenceError;
pub use notation::Pitch;
pub(crate) use notation::{Step, steps_of};

use super::{Patch, error::hint};

/// Sequences in a patch, at the most: what they remember is looked through several times a block.
pub const SEQUENCES_MAX: usize = 256;
/// Patterns that are kept, at the most.
pub const PATTERNS_MAX: usize = 256;
/// Steps of a pattern, values of a lane and notes, at the most.
pub const STEPS_MAX: usize = 256;
/// Parameters that a pattern sets, at the most.
pub const LANES_MAX: usize = 16;
/// What a sequence plays, at the most.
pub const TARGETS_MAX: usize = 16;
/// Patterns in a chain, at the most.
pub const CHAIN_MAX: usize = 64;
/// Bars of a pattern in a chain, at the most.
pub const BARS_MAX: u32 = 9_999;
/// Beats a minute; thousandths count.
pub const BPM: std::ops::RangeInclusive<f32> = 1.0..=999.0;
/// Steps in a whole note, at the most.
pub const DIVISION_MAX: u32 = 128;
/// By which part of a step each second one may be late, at the most.
pub const SWING_MAX: f32 = 0.75;
/// How long a gate is open, as a part of its step; thousandths count.
pub const GATE_LENGTH: std::ops::RangeInclusive<f32> = 0.001..=1.0;
/// How often a hit may be repeated within its step.
pub const RATCHETS_MAX: u32 = 8;

/// One sequence of a patch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceSpec {
    /// Its name, as a module's.
    pub id: String,
    /// Beats a minute, in [`BPM`].
    #[serde(default = "usual_bpm")]
    pub bpm: f32,
    /// Steps in a whole note, which is four beats and a bar: 16 for sixteenths.
    #[serde(default = "usual_division")]
    pub division: u32,
    /// By which part of a step each second one is late, 0 to [`SWING_MAX`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub swing: f32,
    /// How long a gate is open, as a part of its step, in [`GATE_LENGTH`].
    #[serde(default = "usual_gate")]
    pub gate_len: f32,
    /// Whether it plays.
    #[serde(default)]
    pub running: bool,
    /// What its chances begin with.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seed: u32,
    /// What it plays on.
    #[serde(default)]
    pub targets: Vec<TargetSpec>,
    /// What it plays.
    #[serde(default)]
    pub pattern: PatternSpec,
    /// Which of the patterns that are kept it plays instead, in turn, again and again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<LinkSpec>,
}

const fn usual_bpm() -> f32 {
    120.0
}

const fn usual_division() -> u32 {
    16
}

const fn usual_gate() -> f32 {
    0.5
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A module that a sequence plays on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSpec {
    /// The module's id.
    pub module: String,
    /// What of it.
    pub role: Role,
    /// For [`Role::Param`], which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
}

/// A pattern in a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSpec {
    /// Its name among those that are kept.
    pub pattern: String,
    /// Bars, 1 to [`BARS_MAX`].
    pub bars: u32,
}

/// What a sequence plays; in JSON its text alone, if it has nothing else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct PatternSpec {
    /// Its steps: `X` accent, `x` hit, `.` rest, `-` or `_` tie, `E(K,N[,ROT])` and `e(…)` euclidean.
    pub text: String,
    /// Steps until it begins anew: the text is repeated or cut; 0 for as many as the text has.
    #[serde(skip_serializing_if = "is_default")]
    pub steps: u32,
    /// Steps by which it is turned to the right.
    #[serde(skip_serializing_if = "is_default")]
    pub rotate: i32,
    /// How likely a hit is, 0 to 1, for each step, again and again.
    #[serde(skip_serializing_if = "is_default")]
    pub probability: Vec<f32>,
    /// How often a hit is repeated within its step, for each step, again and again.
    #[serde(skip_serializing_if = "is_default")]
    pub ratchet: Vec<u32>,
    /// A note for each hit, again and again.
    #[serde(skip_serializing_if = "is_default")]
    pub notes: Vec<Pitch>,
    /// Values of parameters, one for each step, again and again.
    #[serde(skip_serializing_if = "is_default")]
    pub lanes: BTreeMap<String, Vec<f32>>,
}

impl Serialize for PatternSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let lone = Self {
            text: self.text.clone(),
            ..Self::default()
        };
        match *self == lone {
            true => serializer.serialize_str(&self.text),
            false => Self::serialize(self, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for PatternSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrMap;
        impl<'de> Visitor<'de> for TextOrMap {
            type Value = PatternSpec;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a pattern: its text, or its fields")
            }

            fn visit_str<E>(self, text: &str) -> Result<PatternSpec, E> {
                Ok(PatternSpec {
                    text: text.to_owned(),
                    ..PatternSpec::default()
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PatternSpec, A::Error> {
                PatternSpec::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(TextOrMap)
    }
}

impl SequenceSpec {
    /// Stands still, at 120 beats a minute, in sixteenths.
    fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            bpm: usual_bpm(),
            division: usual_division(),
            swing: 0.0,
            gate_len: usual_gate(),
            running: false,
            seed: 0,
            targets: Vec::new(),
            pattern: PatternSpec::default(),
            chain: Vec::new(),
        }
    }

    /// Writes down what a control changes for good.
    pub fn follow(&mut self, control: SequenceControl) {
        match control {
            SequenceControl::Start | SequenceControl::Join => self.running = true,
            SequenceControl::Stop => self.running = false,
            SequenceControl::Reset => {}
            SequenceControl::Bpm(bpm) if bpm.is_finite() => {
                self.bpm = bpm.clamp(*BPM.start(), *BPM.end());
            }
            SequenceControl::GateLength(part) if part.is_finite() => {
                self.gate_len = part.clamp(*GATE_LENGTH.start(), *GATE_LENGTH.end());
            }
            SequenceControl::Bpm(_) | SequenceControl::GateLength(_) => {}
        }
    }
}

impl Patch {
    /// The number of the sequence of that id.
    ///
    /// # Errors
    /// With what may have been meant.
    pub fn sequence_index(&self, id: &str) -> Result<u16, SequenceError> {
        let found = self.sequences.iter().position(|spec| spec.id == id);
        found.map(|place| place as u16).ok_or_else(|| {
            let ids = self.sequences.iter().map(|spec| spec.id.as_str());
            let hint = match self.sequences.is_empty() {
                true => "; there is none yet: /seq/add or /seq/create makes one".to_owned(),
                false => hint(id, ids),
            };
            SequenceError::NoSequence {
                id: id.chars().take(64).collect(),
                hint,
            }
        })
    }

    /// Writes an external clock's lasting changes into the patch.
    pub(super) fn follow_clock(&mut self, bpm: f32, begin: bool) {
        for spec in &mut self.sequences {
            if begin {
                spec.follow(SequenceControl::Start);
            }
            if spec.running && bpm > 0.0 {
                spec.follow(SequenceControl::Bpm(bpm));
            }
        }
    }

    /// Writes into the patch what a control changes for good.
    pub(super) fn follow_sequence(&mut self, sequence: u16, control: SequenceControl) {
        if let Some(spec) = self.sequences.get_mut(usize::from(sequence)) {
            spec.follow(control);
        }
    }
}
