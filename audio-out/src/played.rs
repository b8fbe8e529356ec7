//! Completes the tape after the death of an audio-out: blocks that it played but did not write to the tape are still in
//! the rings.

use common::{tape::Tape, units::Slot};
use failover::merge::read_sane;
use platform::{say, shared::Shared};

/// Extends the tape to the play cursor. Blocks that are no longer in any ring become silence.
pub fn complete(tape: &Tape<'_>, shared: &Shared) {
    let mut samples = vec![0.0; shared.stage.format().block_samples()];
    let (mut block, mut lost) = (tape.next_block(), 0);
    while block < shared.stage.cursor() {
        let held = |slot: &Slot| read_sane(&shared.rings, *slot, block, &mut samples);
        if !Slot::ALL.iter().any(held) {
            samples.fill(0.0);
            lost += 1;
        }
        block = block.next();
        tape.append(&samples, block);
    }
    if lost > 0 {
        let text = format!("{lost} played blocks are no longer in any ring: silence on the tape");
        say::line("audio-out", &text);
    }
}
