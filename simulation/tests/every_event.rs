//! A small world, exhaustively: a kill at every single event of a run, and a second one at the very
//! instant at which the replacement is called ready.

use common::units::Slot;
use simulation::{
    faults::{Fault, Plan},
    world::run,
};

/// From the first sound to some blocks later.
const EVENTS: std::ops::Range<u64> = 300..2_300;

fn plan(at: u64, first: Fault, second: Option<Fault>) -> Plan {
    Plan {
        lead_blocks: 8,
        faults: second.map(|fault| (0, fault)).into_iter().collect(),
        within_model: true,
        at_the_instant: true,
        fragile_at: None,
        command_us: 900,
        at_event: Some((at, first)),
    }
}

#[test]
fn a_kill_at_every_event_cannot_be_heard() {
    let mut runs = 0;
    for at in EVENTS {
        for first in [
            Fault::Kill(Slot::Zero),
            Fault::Kill(Slot::One),
            Fault::KillSupervisor,
            Fault::KillGateway,
        ] {
            let seconds: &[Option<Fault>] = match at % 4 {
                0 => &[
                    None,
                    Some(Fault::Kill(Slot::Zero)),
                    Some(Fault::Kill(Slot::One)),
                ],
                _ => &[None],
            };
            for second in seconds {
                let outcome = run(at, plan(at, first, *second), None, false);
                assert_eq!(
                    outcome.violation, None,
                    "{first:?} at event {at}, then {second:?}"
                );
                runs += 1;
            }
        }
    }
    println!(
        "FIGURE a kill at each of {} events, a second one at the instant: {runs} runs, nothing heard",
        EVENTS.count()
    );
}
