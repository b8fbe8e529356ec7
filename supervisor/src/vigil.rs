//! The vigil: the behaviour of a supervisor that cannot take over while processes of the instance play. Shared memory
//! may be missing, of another build, unreadable, or unreachable because no descriptor is left; or the log and the
//! ledger are missing.
//!
//! The supervisor kills no process, and creates or removes no segment. It reports the reason in `status`, accepts no
//! commands, and restarts the services that need nothing from it: all but the workers. Soon it exits with a code that
//! the launcher knows; the next supervisor tries again. A new process for each attempt starts clean, and uses a program
//! that was repaired meanwhile.

use std::time::Duration;

use common::{
    message::{Answer, Ending, FromLauncher, Request, Service, ToLauncher, exit},
    options::Options,
    units::Incarnation,
};
use platform::say;
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use crate::{event::Incoming, launcher::ToLauncherSocket, roster};

/// The time until the next attempt.
const AGAIN: Duration = Duration::from_secs(2);
/// The period of signs of life to the launcher.
const ALIVE: Duration = Duration::from_millis(250);

/// Keeps vigil until the next attempt is due or the instance must end. Never returns: a partial take-over ends with the
/// process.
pub async fn keep(
    options: &Options,
    launcher: &ToLauncherSocket,
    events: &mut mpsc::Receiver<Incoming>,
    why: &str,
) -> ! {
    say::line(
        "supervisor",
        &format!("the supervisor cannot take over ({why}); the music continues"),
    );
    let _ = launcher.say(&ToLauncher::List);
    let end = Instant::now() + AGAIN;
    while Instant::now() < end {
        let _ = launcher.say(&ToLauncher::Alive);
        let round = end.min(Instant::now() + ALIVE);
        while let Ok(Some(event)) = timeout_at(round, events.recv()).await {
            match event {
                Incoming::Asked(request, answer) => {
                    drop(answer.send(reply(options, &request, why)))
                }
                Incoming::Launcher(FromLauncher::Stop) => {
                    let _ = launcher.say(&ToLauncher::Failed(why.into()));
                }
                Incoming::Launcher(news) => {
                    for wanted in missing(options, &news) {
                        let _ = launcher.say(&wanted);
                    }
                }
                // A peer sees a broken link.
                _ => {}
            }
        }
    }
    std::process::exit(exit::CANNOT_TAKE_OVER)
}

/// The requests to start services that the launcher reports as missing or killed. A service that exits by itself is tried
/// again by the next vigil only.
fn missing(options: &Options, news: &FromLauncher) -> Vec<ToLauncher> {
    let is_missing = |service: &Service| match news {
        FromLauncher::Children(children) => children.iter().all(|c| c.service != *service),
        FromLauncher::Died(child, ending) => {
            child.service == *service && matches!(ending, Ending::Signal(_) | Ending::Unseen)
        }
        _ => false,
    };
    let missing = roster::without_workers(options).filter(is_missing);
    let spawn = |service| ToLauncher::Spawn {
        service,
        incarnation: Incarnation::default(),
        args: roster::arguments(options, service, Incarnation::default()),
    };
    missing.map(spawn).collect()
}

fn reply(options: &Options, request: &Request, why: &str) -> Answer {
    match request {
        Request::Status => Answer::Ok(json!({
            "instance": options.instance, "state": "unsupervised", "osc": options.osc,
            "complaints": [format!(
                "the supervisor cannot take over: {why}; the music continues, commands are not accepted, and a worker that dies is not replaced; the next attempt follows every {} s",
                AGAIN.as_secs()
            )],
        })),
        _ => Answer::No(format!("the supervisor cannot take over: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use common::{message::Child, units::Slot};

    use super::*;

    fn options() -> Options {
        let options = serde_json::from_value(json!({
            "instance": "x", "sink": "null", "freewheel": false, "osc": "127.0.0.1:1", "midi": null,
            "link": false, "rate_hz": 48_000, "block_frames": 128, "lead_blocks": null, "lead_max_ms": 32, "channels": 2,
            "patch": false, "resume": false, "segment": [1_000, 60], "keep": "All", "archive": null
        }));
        options.unwrap()
    }

    fn child(service: Service) -> Child {
        Child {
            service,
            incarnation: Incarnation(1),
            pid: 1,
        }
    }

    fn started(news: &FromLauncher) -> Vec<Service> {
        let wanted = missing(&options(), news).into_iter();
        wanted
            .map(|packet| match packet {
                ToLauncher::Spawn { service, .. } => service,
                _ => panic!("something else is said to the launcher"),
            })
            .collect()
    }

    #[test]
    fn who_is_missing_is_started_but_no_worker() {
        let there = [Service::OscGateway, Service::Worker(Slot::Zero)].map(child);
        assert_eq!(
            started(&FromLauncher::Children(there.into())),
            [Service::AudioOut, Service::Recorder]
        );
    }

    #[test]
    fn who_is_killed_is_started_at_once_and_who_gives_up_only_by_the_next_vigil() {
        let died = |service, ending| started(&FromLauncher::Died(child(service), ending));
        let killed = Ending::Signal(common::message::SIGKILL);
        assert_eq!(died(Service::AudioOut, killed), [Service::AudioOut]);
        assert_eq!(died(Service::AudioOut, Ending::Exit(1)), []);
        assert_eq!(died(Service::Worker(Slot::One), killed), []);
        assert_eq!(died(Service::MidiIn, killed), []);
    }

    #[test]
    fn the_status_says_why_and_other_requests_are_refused() {
        let options = options();
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
