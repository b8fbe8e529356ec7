//! What was played by an audio-out before this one and did not get onto the tape any more: it still lies in the
//! rings.

use common::{tape::Tape, units::Slot};
use failover::merge::read_sane;
use platform::{say, shared::Shared};

/// Brings the tape up to the play cursor. What no ring holds any more is silence.
pub fn complete(tape: &Tape<'_>, shared: &Shared) {
    let mut samples = vec![0.0; shared.stage.shape().block_samples()];
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
        let text = format!("{lost} blocks were played but are in no ring any more: silence");
        say::line("audio-out", &text);
    }
}
