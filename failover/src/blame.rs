//! Blame: what a worker died of, read from its last breadcrumb and the way it ended.
//!
//! A death from outside (SIGKILL, SIGSTOP) says nothing about the music: nobody is to blame, nothing
//! is left out. One of its own making inside a block makes the commands suspect that were new in
//! the block, or, where there were none, the module that was being rendered. The supervisor acts on
//! it before it prefers the survivor, which has not touched the suspect yet. Where nobody saw how it
//! died, new commands are suspect: to try them first only makes them late.

use common::{
    stage::{Crumb, Phase},
    units::{BlockIndex, Seq},
};

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
/// commands up to `applied` in, and left that crumb.
#[must_use]
pub fn suspect(death: Death, crumb: Crumb, frontier: BlockIndex, applied: Seq) -> Suspect {
    if !matches!(death, Death::OwnMaking | Death::Unseen) || crumb.block != frontier {
        return Suspect::Nobody;
    }
    match crumb.phase {
        Phase::Applying | Phase::Rendering if crumb.command > applied => Suspect::Commands {
            block: crumb.block,
            after: applied,
            last: crumb.command,
        },
        // A module is not given up on a mere suspicion: that would be heard.
        Phase::Rendering if death == Death::OwnMaking => Suspect::Module {
            block: crumb.block,
            module: crumb.module,
        },
        Phase::Idle
        | Phase::Applying
        | Phase::Rendering
        | Phase::Publishing
        | Phase::Checkpointing
        | Phase::Harming => Suspect::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: BlockIndex = BlockIndex(7);

    const fn crumb(phase: Phase, command: u64) -> Crumb {
        Crumb {
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
                let found = suspect(death, crumb(phase, 9), BLOCK, Seq(4));
                assert_eq!(found, Suspect::Nobody);
            }
        }
    }

    #[test]
    fn a_crash_in_a_block_with_new_commands_makes_them_suspect() {
        for phase in [Phase::Applying, Phase::Rendering] {
            let found = suspect(Death::OwnMaking, crumb(phase, 9), BLOCK, Seq(4));
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
        let found = suspect(Death::OwnMaking, crumb(Phase::Rendering, 4), BLOCK, Seq(4));
        let module = Suspect::Module {
            block: BLOCK,
            module: 3,
        };
        assert_eq!(found, module);
    }

    #[test]
    fn an_unseen_death_makes_new_commands_suspect_but_no_module() {
        let with_new = suspect(Death::Unseen, crumb(Phase::Rendering, 9), BLOCK, Seq(4));
        assert!(matches!(with_new, Suspect::Commands { .. }));
        let without = suspect(Death::Unseen, crumb(Phase::Rendering, 4), BLOCK, Seq(4));
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
            let found = suspect(Death::OwnMaking, crumb(phase, 9), BLOCK, Seq(4));
            assert_eq!(found, Suspect::Nobody, "{phase:?}");
        }
        let earlier = suspect(
            Death::OwnMaking,
            crumb(Phase::Rendering, 9),
            BlockIndex(8),
            Seq(4),
        );
        assert_eq!(earlier, Suspect::Nobody, "a crumb of a block that is done");
    }
}
