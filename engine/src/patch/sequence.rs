//! The sequences of a patch: their patterns, tempo and targets.
//!
//! Plain data, as in the JSON text. A sequence plays its own pattern or, with a chain, saved patterns.

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

/// The limit of sequences in a patch: their state is read several times a block.
pub const SEQUENCES_MAX: usize = 256;
/// The limit of saved patterns.
pub const PATTERNS_MAX: usize = 256;
/// The limit of steps of a pattern, values of a lane, and notes.
pub const STEPS_MAX: usize = 256;
/// The limit of parameter lanes of a pattern.
pub const LANES_MAX: usize = 16;
/// The limit of targets of a sequence.
pub const TARGETS_MAX: usize = 16;
/// The limit of patterns in a chain.
pub const CHAIN_MAX: usize = 64;
/// The limit of bars of a pattern in a chain.
pub const BARS_MAX: u32 = 9_999;
/// The range of the tempo in BPM, with a resolution of a thousandth.
pub const BPM: std::ops::RangeInclusive<f32> = 1.0..=999.0;
/// The limit of steps in a whole note.
pub const DIVISION_MAX: u32 = 128;
/// The limit of the swing: the delay of every second step, as a fraction of a step.
pub const SWING_MAX: f32 = 0.75;
/// The range of the gate length, as a fraction of a step, with a resolution of a thousandth.
pub const GATE_LENGTH: std::ops::RangeInclusive<f32> = 0.001..=1.0;
/// The limit of hits within a step.
pub const RATCHETS_MAX: u32 = 8;

/// One sequence of a patch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceSpec {
    /// The name, by the rules of a module's id.
    pub id: String,
    /// The tempo in BPM, in the range [`BPM`].
    #[serde(default = "usual_bpm")]
    pub bpm: f32,
    /// Steps in a whole note, which is four beats and a bar: 16 for sixteenths.
    #[serde(default = "usual_division")]
    pub division: u32,
    /// The delay of every second step as a fraction of a step, 0 to [`SWING_MAX`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub swing: f32,
    /// The time for which a gate is open, as a fraction of a step, in the range [`GATE_LENGTH`].
    #[serde(default = "usual_gate")]
    pub gate_len: f32,
    /// Whether the sequence plays.
    #[serde(default)]
    pub running: bool,
    /// The seed of the probabilities.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seed: u32,
    /// The modules that the sequence plays.
    #[serde(default)]
    pub targets: Vec<TargetSpec>,
    /// The own pattern of the sequence.
    #[serde(default)]
    pub pattern: PatternSpec,
    /// The saved patterns that the sequence plays instead, in turn, in a loop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<ChainSpec>,
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

/// A module that a sequence plays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSpec {
    /// The module's id.
    pub module: String,
    /// The role of the target.
    pub role: Role,
    /// The parameter, for [`Role::Param`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
}

/// A pattern in a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainSpec {
    /// The name of the saved pattern.
    pub pattern: String,
    /// Bars, 1 to [`BARS_MAX`].
    pub bars: u32,
}

/// A pattern; in JSON the text alone, if all other fields have their defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct PatternSpec {
    /// The steps: `X` accent, `x` hit, `.` rest, `-` or `_` tie, `E(K,N[,ROT])` and `e(…)` euclidean.
    pub text: String,
    /// The number of steps before the pattern repeats: the text is repeated or cut; 0 for the steps of the text.
    #[serde(skip_serializing_if = "is_default")]
    pub steps: u32,
    /// The rotation to the right, in steps.
    #[serde(skip_serializing_if = "is_default")]
    pub rotate: i32,
    /// The probability of a hit, 0 to 1, one value for each step, in a loop.
    #[serde(skip_serializing_if = "is_default")]
    pub probability: Vec<f32>,
    /// The number of hits within a step, one value for each step, in a loop.
    #[serde(skip_serializing_if = "is_default")]
    pub ratchet: Vec<u32>,
    /// The notes, one for each hit, in a loop.
    #[serde(skip_serializing_if = "is_default")]
    pub notes: Vec<Pitch>,
    /// The parameter lanes: values by parameter, one for each step, in a loop.
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
                f.write_str("a pattern: a string, or an object")
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
    /// A stopped, empty sequence at 120 BPM, in sixteenths.
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

    /// Applies the lasting changes of a control.
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
    /// The number of the sequence with this id.
    ///
    /// # Errors
    /// If the sequence does not exist; the error suggests a similar name.
    pub fn sequence_index(&self, id: &str) -> Result<u16, SequenceError> {
        let found = self.sequences.iter().position(|spec| spec.id == id);
        found.map(|place| place as u16).ok_or_else(|| {
            let ids = self.sequences.iter().map(|spec| spec.id.as_str());
            let hint = match self.sequences.is_empty() {
                true => "; the patch has none yet: /seq/add or /seq/create creates one".to_owned(),
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

    /// Writes the lasting changes of a control into the patch.
    pub(super) fn follow_sequence(&mut self, sequence: u16, control: SequenceControl) {
        if let Some(spec) = self.sequences.get_mut(usize::from(sequence)) {
            spec.follow(control);
        }
    }
}
