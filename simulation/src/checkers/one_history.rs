//! One history: a block is sealed with one decision, an epoch has one leader, and the blocks played are
//! those that the sealed decisions and the log render.

use std::collections::BTreeMap;

use common::{
    stage::Preference,
    units::{BlockIndex, Epoch, Seq, Slot},
};

use super::Violation;
use crate::{
    log::Log,
    music::{Rendered, State},
    world::FIRST,
};

/// The history so far.
#[derive(Debug, Default)]
pub struct OneHistory {
    sealed: BTreeMap<BlockIndex, Seq>,
    leaders: BTreeMap<Epoch, Slot>,
    /// Blocks played, in order: number and samples.
    played: Vec<(BlockIndex, Vec<f32>)>,
}

impl OneHistory {
    /// A worker has sealed a block.
    ///
    /// # Errors
    /// If the block was sealed with another decision before.
    pub fn sealed(&mut self, block: BlockIndex, seq: Seq) -> Result<(), Violation> {
        match self.sealed.insert(block, seq) {
            Some(before) if before != seq => Err(format!(
                "block {block} was sealed with {before}, then with {seq}"
            )),
            _ => Ok(()),
        }
    }

    /// The preference has this value now.
    ///
    /// # Errors
    /// If the epoch had another leader before.
    pub fn prefers(&mut self, seen: Preference) -> Result<(), Violation> {
        match self.leaders.insert(seen.epoch, seen.slot) {
            Some(before) if before != seen.slot => Err(format!(
                "epoch {} had leader {before}, then {}",
                seen.epoch, seen.slot
            )),
            _ => Ok(()),
        }
    }

    /// audio-out has played a block, or skipped it (then without samples).
    ///
    /// # Errors
    /// If it was not the next block.
    pub fn played(&mut self, block: BlockIndex, samples: &[f32]) -> Result<(), Violation> {
        let expected = self
            .played
            .last()
            .map_or(BlockIndex(0), |(last, _)| last.next());
        if block != expected {
            return Err(format!("block {block} was played, {expected} was next"));
        }
        self.played.push((block, samples.to_vec()));
        Ok(())
    }

    /// How many blocks have been played.
    #[must_use]
    pub const fn blocks(&self) -> usize {
        self.played.len()
    }

    /// Renders the history again and compares it with the blocks played.
    ///
    /// # Errors
    /// At the first block that differs.
    pub fn check(
        &self,
        log: &Log,
        fragile_at: Option<u64>,
        nonsense: bool,
        flips: bool,
    ) -> Result<(), Violation> {
        let (mut state, mut seq) = (State::default(), FIRST);
        for (block, heard) in &self.played {
            let Some(decided) = self.sealed.get(block) else {
                // Skipped: both replicas had invalid samples.
                continue;
            };
            while seq < *decided {
                seq = seq.next();
                let Some(command) = log.command(seq) else {
                    return Err(format!(
                        "block {block} has command {seq}, which is not in the log"
                    ));
                };
                if !log.quarantined(seq) {
                    state.apply(seq, command, *block);
                }
            }
            match state.render(*block, fragile_at) {
                Rendered::Sound(samples) if samples[..] == heard[..] => {}
                Rendered::Sound(_) if heard.is_empty() && nonsense => {}
                Rendered::Sound(samples) if flips && one_bit(&samples, heard) => {}
                Rendered::Sound(_) => {
                    return Err(format!(
                        "block {block} was not played as the log renders it"
                    ));
                }
                Rendered::Death(module) => {
                    return Err(format!(
                        "block {block} was played, but module {module} kills there"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Whether exactly one bit differs: the leader's flipped block was played before the referee had a result.
fn one_bit(a: &[f32], b: &[f32]) -> bool {
    let bits = |(a, b): (&f32, &f32)| (a.to_bits() ^ b.to_bits()).count_ones();
    a.len() == b.len() && a.iter().zip(b).map(bits).sum::<u32>() == 1
}
