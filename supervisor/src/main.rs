//! The supervisor: numbers the commands, writes them down, broadcasts them to every worker; watches
//! every process, switches and cleans up. Never on the audio path: it may die at any moment.
//!
//! One thread decides, event by event (`stack`); the edges wait for many things at once (`edges`).
#![forbid(unsafe_code)]

mod disk;
mod edges;
mod event;
mod history;
mod launcher;
mod log;
mod music;
mod peers;
mod stack;
mod status;
mod workers;

use anyhow::{Context, Result};
use common::options::{Options, VARIABLE};

fn main() -> Result<()> {
    platform::heap::one_arena();
    if std::env::args().len() > 1 {
        println!(
            "understudy-supervisor takes no arguments; it is started by the launcher of `understudy up`"
        );
        return Ok(());
    }
    let text = std::env::var(VARIABLE)
        .with_context(|| format!("{VARIABLE} is not set; use `understudy up`"))?;
    let options: Options = serde_json::from_str(&text).context("the options cannot be read")?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(edges::run(&options))
}
