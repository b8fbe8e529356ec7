//! Ring cells: a published block is not overwritten until the play cursor has passed it.

use common::limits::RING_CELLS;
use common::units::{BlockIndex, Slot};

use super::Violation;

/// The block in each cell of both rings.
#[derive(Debug)]
pub struct Rings {
    held: [Vec<Option<BlockIndex>>; 2],
}

impl Default for Rings {
    fn default() -> Self {
        let empty = || vec![None; RING_CELLS as usize];
        Self {
            held: [empty(), empty()],
        }
    }
}

impl Rings {
    /// A worker is about to publish a block, while `cursor` is the next block to play.
    ///
    /// # Errors
    /// If that overwrites a block that may still be played.
    pub fn publish(
        &mut self,
        slot: Slot,
        block: BlockIndex,
        cursor: BlockIndex,
    ) -> Result<(), Violation> {
        let held = &mut self.held[slot.index()][(block.0 % RING_CELLS) as usize];
        let before = held.replace(block);
        match before {
            Some(before) if before >= cursor => Err(format!(
                "slot {slot} overwrote block {before} with {block} while {cursor} is next to be played"
            )),
            _ => Ok(()),
        }
    }
}
