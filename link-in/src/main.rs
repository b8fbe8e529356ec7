//! Link in: an Ableton Link session's tempo, start and stop, sent to the gateway as OSC.
//!
//! A process of its own, so that faults of the network or the Link library do not affect the sound. After a kill the
//! music continues at its tempo, and the next process joins the session again. Link has another licence than this
//! project, so it is built in only on request: by the feature `link`.
#![forbid(unsafe_code)]

#[cfg(any(feature = "link", test))]
mod follow;
#[cfg(feature = "link")]
mod lead;
#[cfg(feature = "link")]
mod session;

#[cfg(feature = "link")]
fn main() -> anyhow::Result<()> {
    lead::run()
}

#[cfg(not(feature = "link"))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "understudy-link-in was built without Ableton Link; build it with ./launch.sh --link, or cargo build --release --features understudy-link-in/link"
    );
    std::process::ExitCode::from(2)
}
