//! The gateway process: takes the inherited OSC socket, links to the supervisor, serves datagrams.
#![forbid(unsafe_code)]

use anyhow::Context;
use clap::Parser;

/// Understudy's OSC gateway. `understudy up` starts this program; do not start it by hand: UNDERSTUDY_OSC_FD holds
/// the descriptor number of its socket.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Serve this instance.
    #[arg(long, env = "UNDERSTUDY_INSTANCE", default_value = "default")]
    instance: String,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let paths = platform::paths::Paths::of(&options.instance)?;
    let socket =
        platform::fd::inherited_udp(platform::fd::OSC).context("the OSC socket is missing")?;
    socket.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let inbox = platform::shared::inbox(&options.instance)?;
        let stage = platform::shared::stage(&options.instance)?;
        let news = osc_gateway::supervisor::follow(paths);
        osc_gateway::receive::serve(socket, inbox, stage, news).await?;
        Ok(())
    })
}
