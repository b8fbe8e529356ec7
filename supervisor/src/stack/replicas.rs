//! What the watch over the workers says, and what is done about it: who is proven, who differs, hangs
//! or is too slow.

use common::{
    message::Service,
    units::{BlockIndex, Incarnation, Slot},
};
use failover::{
    blame::Death,
    merge::read_sane,
    switch::{Event as Fact, Seat},
};
use platform::say;

use super::Stack;
use crate::workers::Watch;

impl Stack {
    pub(super) fn look_at(&mut self, slot: Slot) {
        let Some(watch) = self.watches[slot.index()].as_mut() else {
            return;
        };
        let incarnation = watch.incarnation();
        let findings = watch.audit(&self.shared);
        let hangs = watch.hangs(&self.shared.stage);
        let lags = watch.lags(&self.shared.stage);
        let Some(supervision) = self.supervision.as_ref() else {
            return;
        };
        let leads = supervision.preference().slot == slot;
        match supervision.seat(slot) {
            Seat::Starting { .. } if findings.ready => {
                self.fact(Fact::Proven { slot, incarnation }, "proven", None);
                self.history.ready(slot);
            }
            seat @ (Seat::Starting { .. } | Seat::Ready { .. })
                if !leads && findings.differing_at.is_some() =>
            {
                let block = findings.differing_at.unwrap_or_default();
                if block > self.differing_at {
                    self.differing_at = block;
                    self.divergences += findings.differing;
                }
                // One that is not proven is no match for the leader, unless that puts out nonsense.
                let proven = matches!(seat, Seat::Ready { .. });
                self.diverged(slot, block, proven);
            }
            Seat::Ready { .. } | Seat::Starting { .. } if hangs => {
                let death = match self.peers.stopped(Service::Worker(slot)) {
                    true => Death::Outside,
                    false => Death::OwnMaking,
                };
                if death == Death::Outside || self.hangs_by_the_music(slot) {
                    self.blame(slot, incarnation, death);
                }
                self.fail(slot, incarnation, death == Death::OwnMaking, "it hangs");
            }
            Seat::Ready { .. } if lags => self.fail(slot, incarnation, true, "it is too slow"),
            _ => {}
        }
    }

    /// The replicas differ: whoever published what is no sound is wrong, else the referee decides.
    fn diverged(&mut self, follower: Slot, block: BlockIndex, proven: bool) {
        let mut samples = vec![0.0; self.shape.block_samples()];
        let leader = follower.other();
        let mut sane = |slot| read_sane(&self.shared.rings, slot, block, &mut samples);
        if !sane(leader) && sane(follower) {
            let watch = self.watches[leader.index()].as_ref();
            let Some(incarnation) = watch.map(Watch::incarnation) else {
                return;
            };
            // What an earlier life has left in the ring says nothing about this one.
            let ring = self.shared.rings.get(leader.index());
            let writer = ring.and_then(|ring| ring.published(block));
            if writer.map(|proof| proof.incarnation) != Some(incarnation) {
                return;
            }
            self.fail(leader, incarnation, true, "it puts out what is no sound");
        } else if proven {
            self.referee(follower, block);
        }
    }

    /// Whether that worker sits there and has not been given up yet.
    pub(super) fn works(&self, slot: Slot, incarnation: Incarnation) -> bool {
        let seat = self.supervision.as_ref().map(|s| s.seat(slot));
        matches!(seat, Some(Seat::Starting { incarnation: who, .. } | Seat::Ready { incarnation: who }) if who == incarnation)
    }

    /// A worker that hangs in a block with new commands may hang by them; without any, a module is
    /// to blame only if both hang in it: a machine that gives one no processor is not the music.
    fn hangs_by_the_music(&self, slot: Slot) -> bool {
        let [mine, other] = [slot, slot.other()].map(|slot| self.shared.stage.slot(slot));
        let (crumb, twin) = (mine.crumb(), other.crumb());
        crumb.command > mine.applied()
            || (crumb.block, crumb.module, crumb.phase) == (twin.block, twin.module, twin.phase)
    }

    pub(super) fn fail(
        &mut self,
        slot: Slot,
        incarnation: Incarnation,
        own_making: bool,
        cause: &str,
    ) {
        say::line(
            "supervisor",
            &format!("worker:{slot} (life {incarnation}) is replaced: {cause}"),
        );
        let since = self.history.shown(Service::Worker(slot));
        self.history.failed(slot, cause, since);
        let failed = Fact::Failed {
            slot,
            incarnation,
            own_making,
        };
        self.fact(failed, cause, since);
        self.history.answered(slot);
    }
}
