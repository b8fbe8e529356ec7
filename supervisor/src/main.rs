//! The supervisor: numbers the commands, writes them down, broadcasts them to every worker; watches
//! every process, switches and cleans up. Never on the audio path: it may die at any moment.
//!
//! One thread decides, event by event (`stack`); the edges wait for many things at once (`edges`).
#![forbid(unsafe_code)]

mod account;
mod closing;
mod disk;
mod edges;
mod event;
mod forecast;
mod history;
mod keeper;
mod launcher;
mod ledger;
mod log;
mod music;
mod peers;
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
                "understudy-supervisor is started by the launcher of `understudy up`, without arguments; with `{} INSTANCE` it completes the command log of an instance that has ended",
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
