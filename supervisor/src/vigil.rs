//! The vigil: what a supervisor does that cannot take over what it finds, while processes of the instance play
//! on. Shared memory may be missing, of another build, unreadable, or out of reach since there is no descriptor
//! left; or the log is gone, and the ledger with it.
//!
//! It touches nothing: no process is ended, no segment made or removed. It says why in `status`, accepts no
//! commands, and ends soon, with a word by which the launcher knows it: the next one tries again. A process of
//! its own for each try leaves nothing behind from the one before, and finds a program that was put right
//! meanwhile.

use std::time::Duration;

use common::message::{Answer, FromLauncher, Request, ToLauncher, exit};
use common::options::Options;
use platform::say;
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use crate::{event::Event, launcher::ToLauncherSocket};

/// Until the next try.
const AGAIN: Duration = Duration::from_secs(2);
/// How often the launcher is shown that we live.
const ALIVE: Duration = Duration::from_millis(250);

/// Keeps vigil until the next try is due, or the instance is to end. Never returns: what was half taken over
/// goes with the process.
pub async fn keep(
    options: &Options,
    launcher: &ToLauncherSocket,
    events: &mut mpsc::Receiver<Event>,
    why: &str,
) -> ! {
    say::line(
        "supervisor",
        &format!("it cannot take over ({why}); the music goes on, and it tries again"),
    );
    let end = Instant::now() + AGAIN;
    while Instant::now() < end {
        let _ = launcher.say(&ToLauncher::Alive);
        let round = end.min(Instant::now() + ALIVE);
        while let Ok(Some(event)) = timeout_at(round, events.recv()).await {
            match event {
                Event::Asked(request, answer) => drop(answer.send(reply(options, &request, why))),
                Event::Launcher(FromLauncher::Stop) => {
                    let _ = launcher.say(&ToLauncher::Failed(why.into()));
                }
                // Who has died, is found again by the one that takes over. A peer finds its link broken.
                _ => {}
            }
        }
    }
    std::process::exit(exit::CANNOT_TAKE_OVER)
}

fn reply(options: &Options, request: &Request, why: &str) -> Answer {
    match request {
        Request::Status => Answer::Ok(json!({
            "instance": options.instance, "state": "unsupervised", "osc": options.osc,
            "complaints": [format!(
                "the supervisor cannot take over: {why}; what plays plays on, commands are not accepted, and whoever dies is not started again; it tries again every {} s",
                AGAIN.as_secs()
            )],
        })),
        _ => Answer::No(format!("the supervisor cannot take over: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_why_and_nothing_else_is_done() {
        let options = serde_json::from_value(json!({
            "instance": "x", "sink": "null", "freewheel": false, "osc": "127.0.0.1:1", "midi": null,
            "link": false, "rate_hz": 48_000, "block_frames": 128, "lead_blocks": null, "lead_max_ms": 32, "channels": 2,
            "patch": false, "resume": false, "segment": [1_000, 60], "keep": "All", "archive": null
        }));
        let options: Options = options.unwrap();
        let Answer::Ok(status) = reply(&options, &Request::Status, "the log is gone") else {
            panic!("no status");
        };
        assert_eq!(status["state"], "unsupervised");
        let complaint = status["complaints"][0].as_str().unwrap();
        assert!(complaint.contains("the log is gone"), "{complaint}");
        let other = reply(&options, &Request::PatchShow, "the log is gone");
        assert!(matches!(other, Answer::No(why) if why.contains("the log is gone")));
    }
}
