//! The playback: supplies a sink's thread with any number of frames from blocks.
//!
//! REAL-TIME: no allocation, lock, log or file; the one system call is the futex that wakes the
//! workers when the play cursor has moved; the clock is read without one.

use std::{sync::atomic::Ordering, time::Duration};

use common::{
    stage::Listener,
    tape::Tape,
    time_tag::{OriginTracker, is_set},
    units::{BlockIndex, FrameIndex},
};
use failover::merge::{Merger, Taken};
use platform::{futex, realtime, shared::Shared};

use crate::faults::{self, Point};

/// The sleep without a clock while the recorder is behind.
const RECORDER: Duration = Duration::from_millis(1);

/// Plays the instance's sound.
pub struct Playback {
    shared: Shared,
    tape: Tape<'static>,
    merger: Merger,
    block: Vec<f32>,
    /// The number of samples of `block` that are played.
    used: usize,
    tracker: OriginTracker,
}

impl Playback {
    /// A playback that continues at the play cursor, without a gap.
    pub fn new(shared: &Shared, tape: Tape<'static>) -> Self {
        Self::with(
            shared,
            tape,
            Merger::new(&shared.stage, shared.stage.cursor()),
        )
    }

    /// A playback for a device, where the last played frames have been lost: it fades in, unless nothing has been played
    /// yet.
    pub fn for_device(shared: &Shared, tape: Tape<'static>) -> Self {
        let (stage, cursor) = (&shared.stage, shared.stage.cursor());
        match stage.playing() {
            true => Self::with(shared, tape, Merger::fading_in(stage, cursor)),
            false => Self::new(shared, tape),
        }
    }

    fn with(shared: &Shared, tape: Tape<'static>, merger: Merger) -> Self {
        let format = shared.stage.format();
        let samples = format.block_samples();
        Self {
            shared: *shared,
            tape,
            merger,
            block: vec![0.0; samples],
            used: samples,
            tracker: OriginTracker::new(format.rate_hz, format.rate_hz / format.block_frames),
        }
    }

    /// Fills `whole` with whole frames of all channels, which are due now.
    pub fn fill(&mut self, whole: &mut [f32]) {
        faults::act();
        realtime::section(|| {
            let mut out = whole;
            let blocks = out.len().div_ceil(self.block.len()) as u64;
            self.shared.stage.raise_burst(blocks.saturating_sub(1));
            while !out.is_empty() {
                if self.used == self.block.len() {
                    if !self.begun() {
                        out.fill(0.0);
                        return;
                    }
                    let cursor = self.merger.block();
                    self.say_when();
                    self.merger.take(
                        &self.shared.stage,
                        &self.shared.rings,
                        true,
                        &mut self.block,
                    );
                    self.used = 0;
                    self.played(cursor);
                }
                let count = out.len().min(self.block.len() - self.used);
                let (now, later) = out.split_at_mut(count);
                now.copy_from_slice(&self.block[self.used..self.used + count]);
                self.used += count;
                out = later;
            }
        });
    }

    /// Plays the next block to the tape only; false if the block is missing and not due yet.
    pub fn take(&mut self, due: bool) -> bool {
        faults::act();
        let taken = realtime::section(|| {
            // Without a clock a wait for the recorder is inaudible.
            if !self.begun() || !(due || self.tape.has_room()) {
                return Taken::Missing;
            }
            let cursor = self.merger.block();
            if due {
                self.say_when();
            }
            let taken =
                self.merger
                    .take(&self.shared.stage, &self.shared.rings, due, &mut self.block);
            if taken != Taken::Missing {
                self.played(cursor);
            }
            taken
        });
        taken != Taken::Missing
    }

    /// Publishes the time of taking a block before the play cursor moves: a reader in between computes the next deadline
    /// as later, never as earlier, than it is.
    fn say_when(&self) {
        self.shared.stage.set_taken_at(realtime::monotonic_ns());
    }

    /// Publishes the block that is played now; `cursor` is the play cursor before it.
    fn played(&mut self, cursor: BlockIndex) {
        faults::pass(Point::Taken);
        self.tape.append(&self.block, self.merger.block());
        faults::pass(Point::Taped);
        if self.merger.block() != cursor {
            self.shared.stage.set_moved_at(realtime::monotonic_ns());
        }
        self.tell_time();
        self.shared.wake_workers();
    }

    /// Publishes the mapping from time tags to frames, if a clock plays.
    fn tell_time(&mut self) {
        let stage = &self.shared.stage;
        let format = stage.format();
        if format.freewheel {
            return;
        }
        let coming_in = FrameIndex(stage.horizon().0 * u64::from(format.block_frames));
        // First, since a time origin is only valid with the offset.
        let ahead = realtime::wall_ahead_of(stage);
        if is_set(stage.wall(), ahead) {
            stage.set_wall(ahead);
        }
        let now = realtime::monotonic_ntp();
        if let Some(origin) = self.tracker.note(now, coming_in, stage.time_origin()) {
            stage.set_time_origin(origin);
        }
    }

    /// Start-up grace: nothing is due before the workers have filled the lead for the first time.
    fn begun(&self) -> bool {
        let stage = &self.shared.stage;
        if stage.playing() {
            return true;
        }
        let begun = self.has_lead();
        if begun {
            stage.set_playing();
        } else {
            stage.acknowledge(stage.preference().epoch);
        }
        begun
    }

    /// Whether the leader has rendered the whole lead.
    pub fn has_lead(&self) -> bool {
        let stage = &self.shared.stage;
        stage.slot(stage.preference().slot).frontier() >= stage.horizon()
    }

    /// Sleeps until a worker publishes a block, or until the timeout (sinks without a clock).
    pub fn wait(&self, timeout: Duration) {
        if !self.tape.has_room() {
            return std::thread::sleep(RECORDER);
        }
        let word = self.shared.stage.futex(Listener::AudioOut);
        let seen = word.load(Ordering::Acquire);
        if self
            .shared
            .rings
            .iter()
            .all(|ring| ring.published(self.merger.block()).is_none())
        {
            futex::wait(word, seen, timeout);
        }
    }
}
