//! Runs many seeds, or traces one, event by event.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use clap::Parser;
use simulation::{
    faults::Plan,
    sabotage::Sabotage,
    world::{Outcome, run},
};

/// Simulates whole stacks with seeded faults; ends with 1 when something was wrong.
#[derive(Parser)]
struct Arguments {
    /// How many seeds
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Shows that seed, a line for each event
    #[arg(long, value_name = "SEED")]
    trace: Option<u64>,
    /// Breaks something on purpose: it has to be found
    #[arg(long = "break", value_name = "WHAT")]
    sabotage: Option<Sabotage>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.trace {
        let plan = Plan::of_seed(seed);
        println!("{plan:?}");
        let outcome = run(seed, plan, arguments.sabotage, true);
        println!("{outcome:?}");
        return ExitCode::from(u8::from(outcome.violation.is_some()));
    }
    let begun = Instant::now();
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from + arguments.seeds;
    let work = || {
        let mut sum = Outcome::default();
        let mut wrong: Vec<(u64, String)> = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end || wrong.len() >= 5 {
                return (sum, wrong);
            }
            let outcome = run(seed, Plan::of_seed(seed), arguments.sabotage, false);
            sum.events += outcome.events;
            sum.blocks += outcome.blocks;
            sum.faults += outcome.faults;
            wrong.extend(outcome.violation.map(|what| (seed, what)));
        }
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|t| t.join().ok()).collect()
    });
    let total = |what: fn(&Outcome) -> u64| results.iter().map(|(sum, _)| what(sum)).sum::<u64>();
    let mut wrong: Vec<_> = results.iter().flat_map(|(_, wrong)| wrong).collect();
    wrong.sort();
    for (seed, what) in &wrong {
        println!("seed {seed}: {what}");
        println!("    cargo run --release -p understudy-simulation -- --trace {seed}");
    }
    let seeds = next.load(Ordering::Relaxed).min(end) - arguments.from;
    println!(
        "FIGURE simulated fault schedules {seeds}: {} faults, {} blocks, {} events, {:.0} s; with an invariant broken: {}",
        total(|o| o.faults),
        total(|o| o.blocks),
        total(|o| o.events),
        begun.elapsed().as_secs_f64(),
        wrong.len()
    );
    ExitCode::from(u8::from(!wrong.is_empty()))
}
