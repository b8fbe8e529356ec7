//! Blame: derives what a worker died of, and keeps that from the survivor before the survivor is preferred.
//!
//! The suspect follows from the dead worker's last breadcrumb and from the way it ended.
//!
//! - A death from outside (SIGKILL, SIGSTOP) says nothing about the music: there is no suspect.
//! - After a death of the worker's own making inside a block, the commands that are new in the block are suspect. If
//!   there are none, the module that was being rendered is suspect.
//! - After an unseen death, the new commands are suspect: to try them first only delays them.
//!
//! Compare-and-swap of the block's decision keeps a suspect from the survivor. A command that the survivor
//! has applied meanwhile, or a module that it has rendered, has killed nobody and stays. Used by the judge
//! and by the models that explore all orders of its steps.

use common::{
    stage::{Breadcrumb, Decision, Phase, Stage},
    units::{BlockIndex, Incarnation, Seq, Slot},
};

use crate::decide;

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Another process killed or stopped it.
    Outside,
    /// It crashed, panicked or hung.
    OwnMaking,
    /// The cause is unknown: the launcher that saw the end is gone.
    Unseen,
    /// It was too slow with a block, found that the decision had been revised, and exited.
    Overruled,
}

/// What may have killed the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspect {
    /// Nothing that the survivor will meet.
    Nobody,
    /// The commands above `after` up to `last`, which were new in the block.
    Commands {
        /// The block in which the worker died.
        block: BlockIndex,
        /// The last command applied before the block.
        after: Seq,
        /// The last command that the worker had touched.
        last: Seq,
    },
    /// A module: both replicas will reach the state in which it kills.
    Module {
        /// The block in which the worker died.
        block: BlockIndex,
        /// The module's index in the patch.
        module: u16,
    },
}

/// Derives the suspect for the end of a worker that had rendered all blocks below `frontier` with the
/// commands up to `applied`, and left `breadcrumb`.
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
        // An unseen death does not bypass a module: a bypass is audible.
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
    /// Nothing.
    Nothing,
    /// The commands above `after` up to `last` are held from `block` on and must be tried.
    Held {
        /// The block in which the worker died.
        block: BlockIndex,
        /// The last command that may take effect.
        after: Seq,
        /// The last suspect.
        last: Seq,
    },
    /// The module must be bypassed.
    Bypass(Bypass),
    /// The commands held above this number have killed nobody.
    Harmless(Seq),
}

/// A module to bypass from a block on that no worker has rendered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bypass {
    /// The first block with the bypass.
    pub block: BlockIndex,
    /// The module's index in the patch.
    pub module: u16,
    /// The decision for the block; `None` while the block is undecided.
    pub decided: Option<Seq>,
}

/// Examines how the worker with this incarnation in `slot` ended. `is_own` tells whether the supervisor
/// itself issued a command. May withdraw and hold commands.
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
        // The only new commands are bypasses: another module kills.
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
        return Verdict::Nothing; // the survivor has applied them meanwhile
    }
    let decided = match stage.decision(block, after) {
        Decision::Made { seq, sealed: false } if seq > after => {
            decide::withdraw(stage, block, seq, after)
        }
        decided => decided,
    };
    match decided {
        // The survivor has rendered the block with them unharmed.
        Decision::Made { seq, sealed: true } if seq > after => return Verdict::Nothing,
        _ => drop(stage.hold(after)),
    }
    Verdict::Held { block, after, last }
}

/// Whether the module can still be bypassed from `block` on. `applied`: the last command applied before the block.
#[must_use]
pub fn bypass(stage: &Stage<'_>, block: BlockIndex, module: u16, applied: Seq) -> Verdict {
    let decided = match stage.decision(block, applied) {
        // The survivor has rendered the block.
        Decision::Made { sealed: true, .. } | Decision::Gone => return Verdict::Nothing,
        Decision::Made { seq, .. } => Some(seq),
        Decision::Open => None,
    };
    if stage.held().is_some() {
        return Verdict::Nothing; // the bypass would include the held commands
    }
    Verdict::Bypass(Bypass {
        block,
        module,
        decided,
    })
}

/// The last command that a worker has applied in a rendered block: it can no longer be withdrawn.
#[must_use]
pub fn in_history(stage: &Stage<'_>) -> Seq {
    let applied = Slot::ALL.map(|slot| stage.slot(slot).applied());
    applied.into_iter().max().unwrap_or_default()
}

/// Whether the music may be the reason that the worker in `slot` hangs. In a block with new commands, the
/// commands may be. In a block without, a module may be only if both workers hang in it: otherwise the
/// machine may not give the worker any processor time.
#[must_use]
pub fn hangs_by_the_music(stage: &Stage<'_>, slot: Slot) -> bool {
    let [mine, other] = [slot, slot.other()].map(|slot| stage.slot(slot));
    let (breadcrumb, twin) = (mine.breadcrumb(), other.breadcrumb());
    breadcrumb.command > mine.applied()
        || (breadcrumb.block, breadcrumb.module, breadcrumb.phase)
            == (twin.block, twin.module, twin.phase)
}

/// Whether a stopped worker is inside a block with commands above `held`: it was stopped from outside, so
/// the held commands are not the reason that it is stuck.
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
            "the breadcrumb's block has been rendered"
        );
    }
}
