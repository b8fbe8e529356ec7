//! What the patch's sequences play, turned into numbers: read while it plays, never written.
//!
//! Where each of them is stands in the arena (`state`); when its steps are is exact (`tempo`). Nothing here
//! knows of modules but their numbers: what a sequence does comes out as events.

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

/// All sequences of a patch, by their numbers.
#[derive(Default)]
pub struct Score {
    pub tracks: Vec<Track>,
    /// Their numbers, by their ids.
    pub places: BTreeMap<String, u16>,
}

/// One sequence.
pub struct Track {
    /// Steps in a whole note.
    division: u32,
    /// Thousandths of a step by which each second one is late.
    swing: u32,
    /// What its chances begin with, in which its name has a part.
    seed: u64,
    /// What it opens and closes.
    targets: Vec<Target>,
    /// Its own pattern, then those of its chain.
    patterns: Vec<Pattern>,
    /// Bars of each pattern of its chain.
    bars: Vec<u32>,
}

/// A module that is played.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Target {
    pub module: u16,
    pub note: bool,
}

impl Target {
    /// What opens it; a velocity of 0 closes it.
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
    /// One at least.
    steps: Vec<Step>,
    /// Of 2^32, for each step; empty for always.
    chances: Vec<u64>,
    ratchets: Vec<u32>,
    notes: Vec<f32>,
    lanes: Vec<Lane>,
}

struct Lane {
    /// Modules and parameters.
    params: Vec<(u16, u16)>,
    /// One at least.
    values: Vec<f32>,
}

impl Score {
    /// That of a patch which has been checked.
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
    /// What it opens and closes.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The pattern of that place in its chain; 0 is its own.
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
    // It has been checked.
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

/// The value for a step of what goes round by itself.
fn at<T: Copy>(values: &[T], step: u64) -> Option<T> {
    let count = values.len() as u64;
    (count > 0).then(|| values[(step % count) as usize])
}

#[cfg(test)]
mod tests;
