//! audio-out's rule: play block n from the preferred slot's ring, or else from the other ring.
//!
//! SMPTE ST 2022-7 receivers do the same: no failure has to be detected first. If a due block is in neither
//! ring, the last good block is repeated, alternately backwards and forwards so that its ends do not click,
//! and fades out into silence. The music waits meanwhile and fades in at the block at which it stopped.
//! audio-out never plays noise or an endless loop. It skips a block only if neither ring will ever hold a
//! valid one.

use common::{
    limits::sane,
    ring::Ring,
    stage::Stage,
    units::{BlockIndex, Slot},
};

use crate::load::overloaded;

/// Length of a fade in milliseconds: too short to be heard as an echo, too long to click.
const FADE_MS: u32 = 7;

/// Where a block came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// From the ring of this slot.
    From(Slot),
    /// The block is in neither ring yet, and it is not due.
    Missing,
    /// Something else was played. Either the due block was in neither ring, and is still the next one; or
    /// no ring will ever hold it with valid samples, and it is skipped.
    Concealed,
}

/// Takes one block after the other out of the two rings.
pub struct Merger {
    block: BlockIndex,
    channels: usize,
    last: Vec<f32>,
    fade_frames: u32,
    /// The gain of the fade, in frames: `fade_frames` is full level, 0 is silence.
    level: u32,
    /// Frames concealed in a row.
    concealed: usize,
}

impl Merger {
    /// A merger whose next block is `block`.
    #[must_use]
    pub fn new(stage: &Stage<'_>, block: BlockIndex) -> Self {
        let format = stage.format();
        let fade_frames = (format.rate_hz * FADE_MS / 1000).max(1);
        Self {
            block,
            channels: format.channels as usize,
            last: vec![0.0; format.block_samples()],
            fade_frames,
            level: fade_frames,
            concealed: 0,
        }
    }

    /// As [`Self::new`], but the first block fades in: for use when the sound before it is lost.
    #[must_use]
    pub fn fading_in(stage: &Stage<'_>, block: BlockIndex) -> Self {
        Self {
            level: 0,
            ..Self::new(stage, block)
        }
    }

    /// The next block to take.
    #[must_use]
    pub const fn block(&self) -> BlockIndex {
        self.block
    }

    /// Takes the next block into `out`, which holds one block's samples. `due`: the device needs a block
    /// now. Acknowledges the epoch whose preference this call has used.
    ///
    /// # Real-time
    /// Yes; linear in the samples.
    pub fn take(
        &mut self,
        stage: &Stage<'_>,
        rings: &[Ring<'_>; 2],
        due: bool,
        out: &mut [f32],
    ) -> Taken {
        let preference = stage.preference();
        let slots = self.order(stage, rings, preference.slot);
        // Read before the rings: a worker whose frontier is past the block has published it by now, or never will.
        let past = slots.map(|slot| stage.slot(slot).frontier() > self.block);
        let mut hopeless = true;
        let taken = slots.into_iter().zip(past).find_map(|(slot, past)| {
            let found = look(rings, slot, self.block, out);
            hopeless &= found == Found::Nonsense || past;
            (found == Found::Sound).then_some(slot)
        });
        stage.acknowledge(preference.epoch);
        match taken {
            Some(slot) => {
                if slot != preference.slot {
                    stage.add_taken_across();
                    // A preferred worker whose frontier is past the block is not late: its predecessor left
                    // the ring without the block.
                    let late = stage.slot(preference.slot).frontier() <= self.block;
                    let shared = stage.format().freewheel || overloaded(stage);
                    if late && !shared && slots[0] == preference.slot {
                        // This fails only if another process has switched meanwhile, which is as good.
                        let _ = stage.switch(preference, slot);
                    }
                }
                if differ(rings, self.block) {
                    stage.add_differing();
                }
                self.accept(out);
                self.go_on(stage);
                Taken::From(slot)
            }
            None if due || hopeless => {
                if self.concealed == 0 {
                    stage.add_underrun();
                }
                stage.add_concealed();
                self.conceal(out);
                if hopeless {
                    // Waiting is useless: a published block is never written again, and no worker goes back.
                    self.go_on(stage);
                }
                Taken::Concealed
            }
            None => Taken::Missing,
        }
    }

    /// The order in which the rings are read: the preferred one first, unless the writer of the block there
    /// is distrusted.
    fn order(&self, stage: &Stage<'_>, rings: &[Ring<'_>; 2], preferred: Slot) -> [Slot; 2] {
        let published = rings
            .get(preferred.index())
            .and_then(|ring| ring.published(self.block));
        let wrong = |writer| stage.distrusts(preferred, writer, self.block);
        match published.is_some_and(|proof| wrong(proof.incarnation)) {
            true => [preferred.other(), preferred],
            false => [preferred, preferred.other()],
        }
    }

    fn go_on(&mut self, stage: &Stage<'_>) {
        self.block = self.block.next();
        stage.set_cursor(self.block);
    }

    /// Remembers a good block, and fades it in after a concealment.
    fn accept(&mut self, out: &mut [f32]) {
        self.last.copy_from_slice(out);
        self.concealed = 0;
        if self.level == self.fade_frames {
            return;
        }
        for frame in out.chunks_mut(self.channels) {
            let gain = self.level as f32 / self.fade_frames as f32;
            frame.iter_mut().for_each(|sample| *sample *= gain);
            self.level = (self.level + 1).min(self.fade_frames);
        }
    }

    fn conceal(&mut self, out: &mut [f32]) {
        let frames = self.last.len() / self.channels;
        for frame in out.chunks_mut(self.channels) {
            // Backwards from the last frame played, then forwards: no step where the direction changes.
            let place = self.concealed % (2 * frames);
            let at = if place < frames {
                frames - 1 - place
            } else {
                place - frames
            };
            let gain = self.level as f32 / self.fade_frames as f32;
            let source = self.last.chunks(self.channels).nth(at).unwrap_or(&[]);
            for (sample, kept) in frame.iter_mut().zip(source) {
                *sample = kept * gain;
            }
            self.level = self.level.saturating_sub(1);
            self.concealed += 1;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// The block is complete, but has samples that are not finite or are beyond
    /// [`SANE_LEVEL`](common::limits::SANE_LEVEL).
    Nonsense,
    Sound,
}

fn look(rings: &[Ring<'_>; 2], slot: Slot, block: BlockIndex, out: &mut [f32]) -> Found {
    let ring = rings.get(slot.index());
    match ring.and_then(|ring| ring.read(block, out)) {
        None => Found::Nothing,
        Some(_) if sane(out) => Found::Sound,
        Some(_) => Found::Nonsense,
    }
}

/// Whether both rings hold the block with different checksums.
fn differ(rings: &[Ring<'_>; 2], block: BlockIndex) -> bool {
    let [zero, one] = rings.each_ref().map(|ring| ring.published(block));
    zero.zip(one).is_some_and(|(zero, one)| zero.sum != one.sum)
}

/// Reads a block into `out`. Returns false if the ring lacks it or it has invalid samples.
///
/// # Real-time
/// Yes; linear in the samples.
pub fn read_sane(rings: &[Ring<'_>; 2], slot: Slot, block: BlockIndex, out: &mut [f32]) -> bool {
    look(rings, slot, block, out) == Found::Sound
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        ring::{checksum, ring_words},
        stage::{AudioFormat, STAGE_WORDS},
        sync::heap,
        units::{Epoch, Incarnation, Seq},
    };

    const FORMAT: AudioFormat = AudioFormat {
        rate_hz: 48_000,
        block_frames: 128,
        channels: 1,
        lead_blocks: 8,
        freewheel: false,
    };

    fn publish(ring: &Ring<'_>, block: u64, samples: &[f32]) {
        let (block, seq) = (BlockIndex(block), Seq(0));
        ring.publish(
            block,
            Incarnation(1),
            seq,
            checksum(block, seq, samples),
            samples,
        );
    }

    fn with_stage(test: impl FnOnce(Stage<'_>, [Ring<'_>; 2])) {
        let (words, zero, one) = (
            heap(STAGE_WORDS),
            heap(ring_words(128)),
            heap(ring_words(128)),
        );
        let stage = Stage::create(&words, &FORMAT).unwrap();
        test(
            stage,
            [
                Ring::create(&zero, 128).unwrap(),
                Ring::create(&one, 128).unwrap(),
            ],
        );
    }

    #[test]
    fn a_block_that_the_preferred_ring_lacks_comes_from_the_other_and_switches() {
        with_stage(|stage, rings| {
            let mut merger = Merger::new(&stage, BlockIndex(0));
            let mut out = [0.0; 128];
            publish(&rings[0], 0, &[0.5; 128]);
            publish(&rings[1], 1, &[0.25; 128]);
            assert_eq!(
                merger.take(&stage, &rings, true, &mut out),
                Taken::From(Slot::Zero)
            );
            assert_eq!(
                merger.take(&stage, &rings, true, &mut out),
                Taken::From(Slot::One)
            );
            assert_eq!(out, [0.25; 128]);
            assert_eq!(stage.preference().slot, Slot::One);
            assert_eq!(stage.cursor(), BlockIndex(2));
            assert_eq!(stage.acknowledged(), Epoch(0));
            assert_eq!(merger.take(&stage, &rings, false, &mut out), Taken::Missing);
            assert_eq!(stage.acknowledged(), Epoch(1));
        });
    }

    #[test]
    fn nothing_there_is_a_fade_then_silence_then_a_fade_in_at_the_same_block() {
        with_stage(|stage, rings| {
            let mut merger = Merger::new(&stage, BlockIndex(0));
            let mut heard = Vec::new();
            let mut out = [0.0; 128];
            for block in 0..14 {
                if block == 0 {
                    publish(&rings[0], 0, &[0.5; 128]);
                }
                if block == 8 {
                    (1..8).for_each(|block| publish(&rings[0], block, &[0.5; 128]));
                }
                let taken = merger.take(&stage, &rings, true, &mut out);
                assert_eq!(
                    taken == Taken::Concealed,
                    (1..8).contains(&block),
                    "at {block}"
                );
                heard.extend(out);
            }
            assert_eq!(stage.audio_counters().underruns, 1);
            assert_eq!(stage.audio_counters().concealed_blocks, 7);
            assert_eq!(stage.cursor(), BlockIndex(7));
            let step = heard
                .windows(2)
                .map(|w| (w[1] - w[0]).abs())
                .fold(0.0, f32::max);
            assert!(step < 0.5 / 300.0, "a step of {step}");
            assert!(heard[128 * 5..128 * 8].iter().all(|s| *s == 0.0));
            assert_eq!(heard[128 * 13], 0.5);
        });
    }

    #[test]
    fn where_both_agree_on_nonsense_the_block_is_left_out_and_the_music_goes_on() {
        with_stage(|stage, rings| {
            let mut merger = Merger::new(&stage, BlockIndex(0));
            let mut out = [0.0; 128];
            publish(&rings[0], 0, &[1e9; 128]);
            assert_eq!(
                merger.take(&stage, &rings, true, &mut out),
                Taken::Concealed
            );
            assert_eq!(
                stage.cursor(),
                BlockIndex(0),
                "the other ring may still get the block"
            );
            publish(&rings[1], 0, &[f32::INFINITY; 128]);
            publish(&rings[1], 1, &[0.25; 128]);
            publish(&rings[0], 1, &[0.5; 128]);
            assert_eq!(
                merger.take(&stage, &rings, false, &mut out),
                Taken::Concealed
            );
            assert_eq!(out, [0.0; 128]);
            assert_eq!(
                merger.take(&stage, &rings, true, &mut out),
                Taken::From(Slot::Zero)
            );
            assert_eq!(stage.audio_counters().differing, 1);
        });
    }

    #[test]
    fn what_a_worker_published_that_was_wrong_is_played_only_if_nobody_else_has_the_block() {
        with_stage(|stage, rings| {
            let mut merger = Merger::new(&stage, BlockIndex(0));
            let mut out = [0.0; 128];
            (0..2).for_each(|block| publish(&rings[0], block, &[0.5; 128]));
            publish(&rings[1], 0, &[0.25; 128]);
            stage.distrust(Slot::Zero, Incarnation(1), BlockIndex(0));
            assert_eq!(
                merger.take(&stage, &rings, true, &mut out),
                Taken::From(Slot::One)
            );
            assert_eq!(
                stage.preference().slot,
                Slot::Zero,
                "the slot's next worker may lead"
            );
            assert_eq!(
                merger.take(&stage, &rings, true, &mut out),
                Taken::From(Slot::Zero)
            );
        });
    }

    #[test]
    fn a_block_of_nan_is_not_played() {
        with_stage(|stage, rings| {
            let mut merger = Merger::new(&stage, BlockIndex(0));
            let mut out = [0.0; 128];
            publish(&rings[0], 0, &[f32::NAN; 128]);
            publish(&rings[1], 0, &[0.25; 128]);
            assert_eq!(
                merger.take(&stage, &rings, true, &mut out),
                Taken::From(Slot::One)
            );
        });
    }
}
