//! Link in: an Ableton Link session's tempo, start and stop, sent to the gateway as OSC.
//!
//! A process of its own, so that whatever a network or the Link library does reaches no sound. When it is
//! killed, the music goes on in the tempo that it has, and the next one joins the session again. Link's licence
//! is not ours, so it is built in only where it is asked for: the feature `link`.
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
        "understudy-link-in was built without Ableton Link; ./launch.sh --link builds it in, or: cargo build --release --features understudy-link-in/link"
    );
    std::process::ExitCode::from(2)
}
