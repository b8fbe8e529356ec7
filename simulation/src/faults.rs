//! What goes wrong, and when: all of it from the seed.

use common::units::Slot;

use crate::{clock::Dice, music::Nature};

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL to the worker in that slot.
    Kill(Slot),
    /// SIGKILL to both workers.
    KillBoth,
    /// SIGSTOP, SIGCONT after so many microseconds.
    Stop(Slot, u64),
    /// Its render thread spins, or it dies of itself, outside the music.
    Hang(Slot),
    /// See [`Fault::Hang`].
    Crash(Slot),
    /// Each step takes so many microseconds longer.
    Slow(Slot, u64),
    /// Its output turns NaN.
    Nan(Slot),
    /// A bit of its next block flips.
    Flip(Slot),
    /// It stops reading its channel; it still reads the log.
    Mute(Slot),
    /// SIGKILL to the supervisor; the launcher starts another.
    KillSupervisor,
    /// SIGKILL to the gateway, which submits again what has no outcome.
    KillGateway,
    /// SIGKILL to audio-out; another one goes on.
    KillAudio,
    /// A command that is poison.
    Poison(Nature),
}

/// What a run is like.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Blocks of lead.
    pub lead_blocks: u32,
    /// Faults, each with the time since the one before in microseconds.
    pub faults: Vec<(u64, Fault)>,
    /// A fault waits until both workers are ready, and a flipped bit until the lead is there; then
    /// nothing may be heard.
    pub within_model: bool,
    /// The next fault comes at the very instant at which the standby is called ready.
    pub at_the_instant: bool,
    /// From that block on, one module kills whoever renders it.
    pub fragile_at: Option<u64>,
    /// Commands of the source, one each so many microseconds.
    pub command_us: u64,
    /// One more fault, at that event of the run.
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

/// Faults that must not be heard.
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
