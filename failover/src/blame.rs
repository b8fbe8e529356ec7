//! Blame: what a worker died of, and what is kept away from the survivor, before the survivor is preferred.
//!
//! The suspect is read from the dead worker's last breadcrumb and the way in which it ended. A death from outside
//! (SIGKILL, SIGSTOP) says nothing about the music: nobody is to blame, nothing is left out. A death of the worker's
//! own making inside a block makes the commands suspect that were new in the block or, where there were none, the
//! module that was being rendered. Where nobody saw how the worker died, new commands are suspect: to try them first
//! only makes them late. A suspect is kept away from the survivor by compare-and-swap of the block's decision; what
//! the survivor has applied or rendered meanwhile has killed nobody, and stays.
//! Used by the judge, and by the models that go through all orders of its steps.

use common::{
    stage::{Breadcrumb, Decision, Phase, Stage},
    units::{BlockIndex, Incarnation, Seq, Slot},
};

use crate::decide;

/// How a worker came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Somebody else ended or stopped it.
    Outside,
    /// It crashed, panicked, or spins.
    OwnMaking,
    /// Nobody saw how.
    Unseen,
    /// It was too slow with a block, saw that the other one had decided otherwise, and left.
    Overruled,
}

/// Who may be to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspect {
    /// Nobody that the survivor will meet.
    Nobody,
    /// The commands above `after` up to `last`, which were new in the block.
    Commands {
        /// The block.
        block: BlockIndex,
        /// The last command that was in before.
        after: Seq,
        /// The last one it had touched.
        last: Seq,
    },
    /// A module in a state that both replicas will come to.
    Module {
        /// The block.
        block: BlockIndex,
        /// Its place in the patch.
        module: u16,
    },
}

/// Who is to blame for the end of a worker that had rendered all blocks below `frontier`, with the
/// commands up to `applied` in, and left that breadcrumb.
#[must_use]
pub fn suspect(
    death: Death,
    breadcrumb: Breadcrumb,
    frontier: BlockIndex,
    applied: Seq,
) -> Suspect {
    if !matches!(death, Death::OwnMaking | Death::Unseen) || breadcrumb.block != frontier {
        return Suspect::Nobody;
    }
    match breadcrumb.phase {
        Phase::Applying | Phase::Rendering if breadcrumb.command > applied => Suspect::Commands {
            block: breadcrumb.block,
            after: applied,
            last: breadcrumb.command,
        },
        // A module is not given up on a mere suspicion: that would be heard.
        Phase::Rendering if death == Death::OwnMaking => Suspect::Module {
            block: breadcrumb.block,
            module: breadcrumb.module,
        },
        Phase::Idle
        | Phase::Applying
        | Phase::Rendering
        | Phase::Publishing
        | Phase::Checkpointing
        | Phase::Harming => Suspect::Nobody,
    }
}

/// What has to be done about the suspect.
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
    let breadcrumb = seat.breadcrumb();
    match suspect(death, breadcrumb, seat.frontier(), seat.applied()) {
        // Nothing new but a bypass: another module does harm.
        Suspect::Commands { block, after, last }
            if (after.0 + 1..=last.0).all(|seq| is_own(Seq(seq))) =>
        {
            bypass(stage, block, breadcrumb.module, after)
        }
        Suspect::Commands { block, after, last } => withdraw(stage, block, after, last),
        Suspect::Module { block, module } => bypass(stage, block, module, seat.applied()),
        Suspect::Nobody => match stage.held() {
            Some(held) if breadcrumb.command > held && death != Death::OwnMaking => {
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
    let (breadcrumb, twin) = (mine.breadcrumb(), other.breadcrumb());
    breadcrumb.command > mine.applied()
        || (breadcrumb.block, breadcrumb.module, breadcrumb.phase)
            == (twin.block, twin.module, twin.phase)
}

/// Whether a worker that somebody has stopped is inside a block with commands that are held above
/// `held`: it is stuck with them by no fault of theirs.
#[must_use]
pub fn is_stopped_with(stage: &Stage<'_>, held: Seq, stopped: impl Fn(Slot) -> bool) -> bool {
    Slot::ALL.into_iter().any(|slot| {
        let seat = stage.slot(slot);
        seat.breadcrumb().command > held
            && seat.frontier() == seat.breadcrumb().block
            && stopped(slot)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: BlockIndex = BlockIndex(7);

    const fn breadcrumb(phase: Phase, command: u64) -> Breadcrumb {
        Breadcrumb {
            block: BLOCK,
            phase,
            module: 3,
            command: Seq(command),
        }
    }

    #[test]
    fn a_death_from_outside_blames_nobody_wherever_it_hits() {
        for phase in [Phase::Applying, Phase::Rendering, Phase::Publishing] {
            for death in [Death::Outside, Death::Overruled] {
                let found = suspect(death, breadcrumb(phase, 9), BLOCK, Seq(4));
                assert_eq!(found, Suspect::Nobody);
            }
        }
    }

    #[test]
    fn a_crash_in_a_block_with_new_commands_makes_them_suspect() {
        for phase in [Phase::Applying, Phase::Rendering] {
            let found = suspect(Death::OwnMaking, breadcrumb(phase, 9), BLOCK, Seq(4));
            let expected = Suspect::Commands {
                block: BLOCK,
                after: Seq(4),
                last: Seq(9),
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_crash_in_a_block_without_new_commands_makes_the_module_suspect() {
        let found = suspect(
            Death::OwnMaking,
            breadcrumb(Phase::Rendering, 4),
            BLOCK,
            Seq(4),
        );
        let module = Suspect::Module {
            block: BLOCK,
            module: 3,
        };
        assert_eq!(found, module);
    }

    #[test]
    fn an_unseen_death_makes_new_commands_suspect_but_no_module() {
        let with_new = suspect(
            Death::Unseen,
            breadcrumb(Phase::Rendering, 9),
            BLOCK,
            Seq(4),
        );
        assert!(matches!(with_new, Suspect::Commands { .. }));
        let without = suspect(
            Death::Unseen,
            breadcrumb(Phase::Rendering, 4),
            BLOCK,
            Seq(4),
        );
        assert_eq!(without, Suspect::Nobody);
    }

    #[test]
    fn a_crash_outside_the_music_blames_nobody() {
        for phase in [
            Phase::Idle,
            Phase::Publishing,
            Phase::Checkpointing,
            Phase::Harming,
        ] {
            let found = suspect(Death::OwnMaking, breadcrumb(phase, 9), BLOCK, Seq(4));
            assert_eq!(found, Suspect::Nobody, "{phase:?}");
        }
        let earlier = suspect(
            Death::OwnMaking,
            breadcrumb(Phase::Rendering, 9),
            BlockIndex(8),
            Seq(4),
        );
        assert_eq!(
            earlier,
            Suspect::Nobody,
            "a breadcrumb of a block that is done"
        );
    }
}
