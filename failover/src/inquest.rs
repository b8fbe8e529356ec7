//! The inquest: what is done about a worker that has died or hangs, before the survivor is preferred.
//!
//! `blame` names the suspect; here it is kept away from the survivor, by compare-and-swap of the block's
//! decision. What the survivor has taken in or rendered meanwhile has killed nobody, and is left as it is.
//! Used by the judge, and by the models that go through all orders of its steps.

use common::{
    stage::{Decision, Stage},
    units::{BlockIndex, Incarnation, Seq, Slot},
};

use crate::{
    blame::{self, Death, Suspect},
    decide,
};

/// What an inquest has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is nothing to be done.
    Nothing,
    /// The commands above `after` up to `last` are held back from `block` on, and have to be tried.
    Held {
        /// The block that it died in.
        block: BlockIndex,
        /// The last command that may come in.
        after: Seq,
        /// The last suspect.
        last: Seq,
    },
    /// A module has to be bypassed.
    Bypass(Bypass),
    /// What is held above that number has killed nobody.
    Harmless(Seq),
}

/// A module that is to be left out from a block on that nobody has rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bypass {
    /// The block.
    pub block: BlockIndex,
    /// Its place in the patch.
    pub module: u16,
    /// The commands up to this number are decided for the block; `None` while nobody has decided it.
    pub decided: Option<Seq>,
}

/// Looks into the end of the worker of that life in `slot`; `is_own` tells which commands are the
/// supervisor's own. May withdraw and hold commands.
#[must_use]
pub fn examine(
    stage: &Stage<'_>,
    slot: Slot,
    incarnation: Incarnation,
    death: Death,
    is_own: impl Fn(Seq) -> bool,
) -> Verdict {
    let seat = stage.slot(slot);
    if seat.incarnation() != incarnation {
        return Verdict::Nothing;
    }
    let crumb = seat.crumb();
    match blame::suspect(death, crumb, seat.frontier(), seat.applied()) {
        // Nothing new but a bypass: another module does harm.
        Suspect::Commands { block, after, last }
            if (after.0 + 1..=last.0).all(|seq| is_own(Seq(seq))) =>
        {
            bypass(stage, block, crumb.module, after)
        }
        Suspect::Commands { block, after, last } => withdraw(stage, block, after, last),
        Suspect::Module { block, module } => bypass(stage, block, module, seat.applied()),
        Suspect::Nobody => match stage.held() {
            Some(held) if crumb.command > held && death != Death::OwnMaking => {
                Verdict::Harmless(held)
            }
            _ => Verdict::Nothing,
        },
    }
}

fn withdraw(stage: &Stage<'_>, block: BlockIndex, after: Seq, last: Seq) -> Verdict {
    if in_history(stage) > after {
        return Verdict::Nothing; // the other one has taken them in since
    }
    let decided = match stage.decision(block, after) {
        Decision::Made { seq, sealed: false } if seq > after => {
            decide::withdraw(stage, block, seq, after)
        }
        decided => decided,
    };
    match decided {
        // The other one has done it without harm.
        Decision::Made { seq, sealed: true } if seq > after => return Verdict::Nothing,
        _ => drop(stage.hold(after)),
    }
    Verdict::Held { block, after, last }
}

/// Whether that module can still be left out from `block` on, before which the commands up to `applied`
/// are in.
#[must_use]
pub fn bypass(stage: &Stage<'_>, block: BlockIndex, module: u16, applied: Seq) -> Verdict {
    let decided = match stage.decision(block, applied) {
        // The other one has rendered it.
        Decision::Made { sealed: true, .. } | Decision::Gone => return Verdict::Nothing,
        Decision::Made { seq, .. } => Some(seq),
        Decision::Open => None,
    };
    if stage.held().is_some() {
        return Verdict::Nothing; // what is held must not come in with the bypass
    }
    Verdict::Bypass(Bypass {
        block,
        module,
        decided,
    })
}

/// The last command that is in a block that is sealed: for good.
#[must_use]
pub fn in_history(stage: &Stage<'_>) -> Seq {
    let applied = Slot::ALL.map(|slot| stage.slot(slot).applied());
    applied.into_iter().max().unwrap_or_default()
}

/// Whether the worker in `slot`, which hangs, may do so by the music: in a block with new commands, by
/// them; without any, by a module only if both hang in it. A machine that gives one no processor is not
/// the music.
#[must_use]
pub fn hangs_by_the_music(stage: &Stage<'_>, slot: Slot) -> bool {
    let [mine, other] = [slot, slot.other()].map(|slot| stage.slot(slot));
    let (crumb, twin) = (mine.crumb(), other.crumb());
    crumb.command > mine.applied()
        || (crumb.block, crumb.module, crumb.phase) == (twin.block, twin.module, twin.phase)
}

/// Whether a worker that somebody has stopped is inside a block with commands that are held above
/// `held`: it is stuck with them by no fault of theirs.
#[must_use]
pub fn is_stopped_with(stage: &Stage<'_>, held: Seq, stopped: impl Fn(Slot) -> bool) -> bool {
    Slot::ALL.into_iter().any(|slot| {
        let seat = stage.slot(slot);
        seat.crumb().command > held && seat.frontier() == seat.crumb().block && stopped(slot)
    })
}
