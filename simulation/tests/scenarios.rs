//! What the simulation once found, as plans: the faults are given, the seed moves them by microseconds.

use common::units::Slot;
use simulation::{
    faults::{Fault, Plan},
    music::Nature,
    world::run,
};

/// Runs of each.
const SEEDS: u64 = 100;

fn plan(faults: &[Fault]) -> Plan {
    Plan {
        lead_blocks: 12,
        faults: faults.iter().map(|fault| (5_000, *fault)).collect(),
        within_model: false,
        at_the_instant: false,
        fragile_at: None,
        command_us: 600,
        at_event: None,
    }
}

fn all_is_well(plan: &Plan) {
    for seed in 0..SEEDS {
        let outcome = run(seed, plan.clone(), None, false);
        assert_eq!(outcome.violation, None, "seed {seed} of {plan:?}");
    }
}

#[test]
fn commands_are_innocent_of_a_module_that_dies_some_blocks_later() {
    let fragile_at = Some(20);
    all_is_well(&Plan {
        fragile_at,
        ..plan(&[])
    });
    all_is_well(&plan(&[Fault::Poison(Nature::CrashLater(3))]));
}

#[test]
fn a_supervisor_that_dies_during_a_trial_leaves_nothing_held() {
    for poison in [
        Nature::CrashOnApply,
        Nature::HangOnApply,
        Nature::CrashOnRender,
    ] {
        all_is_well(&plan(&[
            Fault::Poison(poison),
            Fault::KillSupervisor,
            Fault::KillSupervisor,
        ]));
    }
}

#[test]
fn a_supervisor_that_dies_while_a_module_is_bypassed_bypasses_it_in_the_end() {
    let fragile_at = Some(20);
    all_is_well(&Plan {
        fragile_at,
        ..plan(&[Fault::KillSupervisor, Fault::KillSupervisor])
    });
}

#[test]
fn a_leader_that_puts_out_nan_is_replaced_while_its_standby_is_being_started() {
    all_is_well(&plan(&[Fault::Kill(Slot::One), Fault::Nan(Slot::Zero)]));
}

#[test]
fn a_flipped_bit_while_commands_are_tried_is_found_after_them() {
    let poison = Fault::Poison(Nature::CrashOnRender);
    all_is_well(&plan(&[
        poison,
        Fault::Flip(Slot::Zero),
        Fault::Flip(Slot::One),
    ]));
}

#[test]
fn a_flipped_bit_with_the_lead_used_up_is_all_that_is_heard() {
    let thawed = 20_000;
    let mut plan = plan(&[Fault::Stop(Slot::Zero, thawed), Fault::Flip(Slot::Zero)]);
    plan.faults[1].0 = thawed + 30;
    all_is_well(&plan);
}

#[test]
fn a_stopped_leader_with_held_commands_has_them_let_in() {
    all_is_well(&plan(&[Fault::Stop(Slot::Zero, 900_000)]));
}

#[test]
fn a_leader_that_puts_out_nan_within_the_model_is_not_heard() {
    let within_model = true;
    all_is_well(&Plan {
        lead_blocks: 24,
        within_model,
        at_the_instant: true,
        ..plan(&[
            Fault::Nan(Slot::Zero),
            Fault::Nan(Slot::One),
            Fault::Kill(Slot::Zero),
        ])
    });
}
