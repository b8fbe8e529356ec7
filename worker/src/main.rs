//! A worker: renders the patch, block by block, into the ring of its slot.
//!
//! The launcher starts a worker when the supervisor asks for it. The worker restores a checkpoint, renders the blocks
//! since then, and goes on in step with the other worker. It has two threads: the control thread communicates, the
//! render thread renders. With `--task` it is a trial, whose output is not played: see `trial`.
#![forbid(unsafe_code)]

mod catch_up;
mod control;
mod failpoints;
mod faults;
mod log_tail;
mod meter;
mod render_loop;
mod trial;

use anyhow::{Context, Result};
use clap::Parser;
use common::{
    stage::SlotWords,
    units::{Incarnation, Slot},
};
use platform::{
    confine,
    paths::Paths,
    samples::Samples,
    say,
    shared::{self, Shared},
};

#[cfg(debug_assertions)]
#[global_allocator]
static ALLOCATOR: platform::realtime::AllocDisabler = platform::realtime::AllocDisabler;

/// One of the two workers of an Understudy instance; started by its launcher.
#[derive(Parser)]
struct Arguments {
    /// The instance.
    #[arg(long)]
    instance: String,
    /// The slot, 0 or 1.
    #[arg(long, required_unless_present = "task", default_value_t = 0)]
    slot: u64,
    /// Play for nobody: `commands:AFTER:LAST:MODULE,…` tries those commands without those modules, `referee:BLOCK` renders that
    /// block a third time.
    #[arg(long)]
    task: Option<trial::Task>,
    /// The number of this life.
    #[arg(long)]
    incarnation: u64,
}

/// Makes a panic leave its text in that seat and end the process at once, in every build profile.
fn end_at_a_panic(seat: SlotWords<'static>) {
    std::panic::set_hook(Box::new(move |info| {
        seat.write_panic_message(&info.to_string());
        std::process::abort();
    }));
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let slot = Slot::from_index(arguments.slot).context("--slot must be 0 or 1")?;
    let incarnation = Incarnation(arguments.incarnation);
    let paths = Paths::of(&arguments.instance)?;
    let shared = Shared::open(&arguments.instance)?;
    // Before confinement: the ledger lies outside the folder that a worker may read.
    let ledger = shared::file(&paths.instance, shared::LEDGER)?;
    let mut log = log_tail::LogTail::open_or(&paths.command_log(), Some(&ledger))?;
    let confined = confine::worker(&[&paths.state]);
    confined.skipped().for_each(|net| say::line("worker", &net));
    let samples = Samples::within(paths.samples());
    if let Some(task) = arguments.task {
        return trial::run(&shared, log, &samples, incarnation, task);
    }
    let locked = shared.lock();
    end_at_a_panic(shared.stage.slot(slot));
    let start = catch_up::start(&shared, &mut log, &samples)?;
    shared
        .stage
        .slot(slot)
        .take_seat(incarnation, start.mark.block, start.mark.seq);
    shared.stage.slot(slot).begin(shared.stage.elapsed_blocks());
    let arena_bytes = start.engine.arena_len_bytes();
    let (control, render) = render_loop::pair(&shared, slot, incarnation, start);
    render_loop::spawn(render, locked)?;
    control::touch_checkpoints(&shared, slot, arena_bytes);
    control::serve(control, &paths, &samples, incarnation, log)
}
