//! What was played by an audio-out before this one and not passed on any more: it still lies in the rings.

use common::{
    tape::Tape,
    units::{BlockIndex, Slot},
};
use failover::merge::read_sane;
use platform::{say, shared::Shared};

/// Hands over each block from `from` to the play cursor, and the one after it. What no ring holds any more
/// is silence.
///
/// # Errors
/// The first that comes from `each`.
pub fn since<E>(
    shared: &Shared,
    from: BlockIndex,
    mut each: impl FnMut(&[f32], BlockIndex) -> Result<(), E>,
) -> Result<(), E> {
    let mut samples = vec![0.0; shared.stage.shape().block_samples()];
    let (mut block, mut lost) = (from, 0);
    while block < shared.stage.cursor() {
        let held = |slot: &Slot| read_sane(&shared.rings, *slot, block, &mut samples);
        if !Slot::ALL.iter().any(held) {
            samples.fill(0.0);
            lost += 1;
        }
        block = block.next();
        each(&samples, block)?;
    }
    if lost > 0 {
        let text = format!("{lost} blocks were played but are in no ring any more: silence");
        say::line("audio-out", &text);
    }
    Ok(())
}

/// Brings the tape up to the play cursor.
pub fn complete(tape: &Tape<'_>, shared: &Shared) {
    let Ok(()) = since(shared, tape.next_block(), |samples, next| {
        tape.append(samples, next);
        Ok::<(), std::convert::Infallible>(())
    });
}
