//! The plan of a run: the faults and their times, all derived from the seed.

use common::units::Slot;

use crate::{clock::Dice, music::Nature};

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL to the worker in the slot.
    Kill(Slot),
    /// SIGKILL to both workers.
    KillBoth,
    /// SIGSTOP to the worker, and SIGCONT this many microseconds later.
    Stop(Slot, u64),
    /// The worker's render thread hangs outside the music, as after an injected fault.
    Hang(Slot),
    /// The worker crashes outside the music, as after an injected fault.
    Crash(Slot),
    /// Each step of the worker takes this many microseconds longer.
    Slow(Slot, u64),
    /// The worker's output turns into NaN.
    Nan(Slot),
    /// A bit of the worker's next block is flipped.
    Flip(Slot),
    /// The worker stops reading its link; it still reads the log.
    Mute(Slot),
    /// SIGKILL to the supervisor; the launcher starts another one.
    KillSupervisor,
    /// SIGKILL to the gateway; the next one submits again what has no outcome.
    KillGateway,
    /// SIGKILL to audio-out; another one continues.
    KillAudio,
    /// A poisonous command.
    Poison(Nature),
}

/// The plan of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The lead at the start, in blocks.
    pub lead_blocks: u32,
    /// Faults, each with the time after the previous one in microseconds.
    pub faults: Vec<(u64, Fault)>,
    /// Within the fault model: a fault waits until both workers are ready, and a flipped bit also until the
    /// lead is there. No fault may then be audible.
    pub within_model: bool,
    /// The next fault comes at the very instant at which both workers are ready again.
    pub at_the_instant: bool,
    /// From this block on, one module kills every worker that renders it.
    pub fragile_at: Option<u64>,
    /// Mean time between two commands of the user, in microseconds.
    pub command_us: u64,
    /// An additional fault, right after the event with this number.
    pub at_event: Option<(u64, Fault)>,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let within_model = dice.one_in(2);
        let count = dice.between(1, 6);
        let span = if within_model { 20_000 } else { 30_000 };
        let faults = (0..count)
            .map(|_| {
                let fault = match within_model {
                    true => within(&mut dice),
                    false => any(&mut dice),
                };
                (dice.below(span), fault)
            })
            .collect();
        Self {
            lead_blocks: if within_model {
                24
            } else {
                dice.between(2, 25) as u32
            },
            faults,
            within_model,
            at_the_instant: dice.one_in(4),
            fragile_at: (!within_model && dice.one_in(8)).then(|| dice.between(8, 40)),
            command_us: dice.between(300, 4_000),
            at_event: None,
        }
    }
}

fn slot(dice: &mut Dice) -> Slot {
    if dice.one_in(2) {
        Slot::Zero
    } else {
        Slot::One
    }
}

/// A fault that must not be audible.
fn within(dice: &mut Dice) -> Fault {
    let slot = slot(dice);
    match dice.below(12) {
        0..=3 => Fault::Kill(slot),
        4 => Fault::Stop(slot, 1 << dice.below(18)),
        5 => Fault::Hang(slot),
        6 => Fault::Crash(slot),
        7 => Fault::Nan(slot),
        8 => Fault::Flip(slot),
        9 => Fault::KillGateway,
        10 => Fault::Mute(slot),
        _ => Fault::KillSupervisor,
    }
}

fn any(dice: &mut Dice) -> Fault {
    let slot = slot(dice);
    match dice.below(10) {
        0 => Fault::KillBoth,
        1 => Fault::KillAudio,
        2 => Fault::Slow(slot, 1 << dice.below(14)),
        3 => Fault::Poison(Nature::CrashOnApply),
        4 => Fault::Poison(Nature::HangOnApply),
        5 => Fault::Poison(Nature::CrashOnRender),
        6 => Fault::Poison(Nature::CrashLater(dice.between(1, 6))),
        _ => within(dice),
    }
}
