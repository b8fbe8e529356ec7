//! The supervisor: numbers commands, logs them, and broadcasts them to all workers; monitors all processes, switches
//! the leader, and replaces failed processes. It is never on the audio path and may die at any moment.
//!
//! One thread decides, event by event (`stack`); `edges` waits for all inputs at once.
#![forbid(unsafe_code)]

mod account;
mod closing;
mod describe;
mod disk;
mod edges;
mod event;
mod forecast;
mod history;
mod launcher;
mod ledger;
mod log;
mod music;
mod peers;
mod resume;
mod retention;
mod roster;
mod stack;
mod states;
mod status;
mod vigil;

use anyhow::{Context, Result};
use common::options::{Options, VARIABLE};
use platform::log_end;

fn main() -> Result<()> {
    platform::heap::one_arena();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => {}
        [option, instance] if option == log_end::OPTION => return log::complete(instance),
        _ => {
            println!(
                "understudy-supervisor takes no arguments; the launcher of `understudy up` starts it. `{} INSTANCE` completes the command log of an instance that has ended",
                log_end::OPTION
            );
            return Ok(());
        }
    }
    let text = std::env::var(VARIABLE)
        .with_context(|| format!("{VARIABLE} is not set; use `understudy up`"))?;
    let options: Options = serde_json::from_str(&text).context("the options cannot be read")?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(edges::run(&options))
}
