//! Each sabotage is found: the checkers can fail.

use clap::ValueEnum;
use simulation::{faults::Plan, sabotage::Sabotage, world::run};

/// Seeds in which each must show.
const SEEDS: u64 = 10_000;

#[test]
fn whatever_is_broken_on_purpose_is_found() {
    for sabotage in Sabotage::value_variants() {
        let broken = |seed: &u64| {
            run(*seed, Plan::of_seed(*seed), Some(*sabotage), false)
                .violation
                .is_some()
        };
        let found = (0..SEEDS).find(broken);
        println!("FIGURE sabotage {sabotage:?}: found by seed {found:?}");
        assert!(
            found.is_some(),
            "{sabotage:?} was not found in {SEEDS} seeds"
        );
    }
}
