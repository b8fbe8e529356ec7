//! The sequences of a patch as numbers: read during playing, never written.
//!
//! The state of each sequence is in the arena (`state`); the frames of its steps are exact (`tempo`).
//! Modules are known by their numbers only: the output of a sequence is events.

mod state;
mod tempo;

use std::collections::BTreeMap;

use common::{command::Event, edit::Role};

pub use state::{Lead, STATE_WORDS, State};
#[cfg(test)]
pub use tempo::Tempo;
pub use tempo::thousandths;

use crate::{
    catalog,
    patch::{
        Patch,
        sequence::{PatternSpec, SequenceSpec, Step, steps_of},
    },
};

/// All sequences of a patch, by number.
#[derive(Default)]
pub struct Score {
    pub tracks: Vec<Track>,
    /// The numbers of the sequences, by id.
    pub places: BTreeMap<String, u16>,
}

/// One sequence.
pub struct Track {
    /// Steps in a whole note.
    division: u32,
    /// By how many thousandths of a step every second step is late.
    swing: u32,
    /// The seed of its chances, derived from its id and its `seed`.
    seed: u64,
    /// The modules that its notes play.
    targets: Vec<Target>,
    /// Its own pattern, then the patterns of its chain.
    patterns: Vec<Pattern>,
    /// Bars of each pattern of its chain.
    bars: Vec<u32>,
}

/// A module that a sequence plays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Target {
    pub module: u16,
    pub note: bool,
}

impl Target {
    /// The event that begins a note; a velocity of 0 ends it.
    pub fn event(self, pitch: f32, velocity: f32) -> Event {
        let module = self.module;
        match self.note {
            true => Event::Note {
                module,
                pitch,
                velocity,
                frames: 0,
            },
            false => Event::Gate {
                module,
                level: velocity,
            },
        }
    }
}

struct Pattern {
    /// At least one.
    steps: Vec<Step>,
    /// One chance per step, of 2^32; empty if every hit is played.
    chances: Vec<u64>,
    ratchets: Vec<u32>,
    notes: Vec<f32>,
    lanes: Vec<Lane>,
}

struct Lane {
    /// The modules and parameters that the lane sets.
    params: Vec<(u16, u16)>,
    /// At least one.
    values: Vec<f32>,
}

impl Score {
    /// The sequences of a patch that has been checked.
    pub fn of(patch: &Patch) -> Self {
        let specs = patch.sequences.iter();
        Self {
            tracks: specs.clone().map(|spec| track(patch, spec)).collect(),
            places: (specs.enumerate())
                .map(|(place, spec)| (spec.id.clone(), place as u16))
                .collect(),
        }
    }
}

impl Track {
    /// The modules that its notes play.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The pattern with that number in its chain; 0 is its own pattern.
    fn pattern(&self, link: u32) -> &Pattern {
        let own = &self.patterns[0];
        self.patterns.get(link as usize).unwrap_or(own)
    }
}

fn track(patch: &Patch, spec: &SequenceSpec) -> Track {
    let kept = spec.chain.iter().map(|link| {
        let pattern = patch.patterns.get(&link.pattern);
        pattern.unwrap_or(&spec.pattern)
    });
    let patterns = std::iter::once(&spec.pattern).chain(kept);
    let targets = spec.targets.iter().filter_map(|target| {
        let module = patch.module_index(&target.module)?;
        match target.role {
            Role::Gate => Some(Target {
                module,
                note: false,
            }),
            Role::Note => Some(Target { module, note: true }),
            Role::Param => None,
        }
    });
    Track {
        division: spec.division,
        swing: thousandths(spec.swing),
        seed: seed(spec),
        targets: targets.collect(),
        patterns: patterns.map(|from| pattern(patch, spec, from)).collect(),
        bars: spec.chain.iter().map(|link| link.bars).collect(),
    }
}

/// # Source
/// The FNV-1a hash: Fowler, Noll, Vo, Eastlake, RFC 9923.
fn seed(spec: &SequenceSpec) -> u64 {
    let bytes = spec.id.bytes().chain(spec.seed.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn pattern(patch: &Patch, spec: &SequenceSpec, from: &PatternSpec) -> Pattern {
    // The patch has been checked.
    let mut text = steps_of(&from.text).unwrap_or_default();
    if text.is_empty() {
        text.push(Step::Rest);
    }
    let count = match from.steps {
        0 => text.len(),
        steps => steps as usize,
    };
    let mut steps: Vec<Step> = text.into_iter().cycle().take(count).collect();
    let rotation = i64::from(from.rotate).rem_euclid(count as i64);
    steps.rotate_right(rotation as usize);
    let kind_of = |id: &str| {
        let module = patch.module_index(id)?;
        catalog::find(&patch.modules[usize::from(module)].kind)
    };
    let lane = |(name, values): (&String, &Vec<f32>)| {
        let reached = spec.reached(name, kind_of).into_iter();
        let params: Vec<_> = reached
            .filter_map(|(id, param)| Some((patch.module_index(id)?, param)))
            .collect();
        (!params.is_empty() && !values.is_empty()).then(|| Lane {
            params,
            values: values.clone(),
        })
    };
    Pattern {
        steps,
        chances: (from.probability.iter())
            .map(|chance| (f64::from(*chance) * 4_294_967_296.0) as u64)
            .collect(),
        ratchets: from.ratchet.clone(),
        notes: from.notes.iter().map(|pitch| pitch.0).collect(),
        lanes: from.lanes.iter().filter_map(lane).collect(),
    }
}

/// The value of a repeating list at a step.
fn at<T: Copy>(values: &[T], step: u64) -> Option<T> {
    let count = values.len() as u64;
    (count > 0).then(|| values[(step % count) as usize])
}

#[cfg(test)]
mod tests;
