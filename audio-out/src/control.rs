//! The control thread: opens the sink, reports it to the supervisor, and stops it cleanly.

use std::time::Duration;

use anyhow::{Result, bail};
use common::{
    message::{Fault, FromPeer, Introduction, Service, ToAudio},
    stage::AudioState,
    tape::Tape,
    units::Incarnation,
};
use platform::{
    ipc_link::{self, LinkReceiver, LinkSender},
    paths::Paths,
    shared::Shared,
};

use crate::{faults, sinks};

type Link = (LinkSender<FromPeer>, LinkReceiver<ToAudio>);

/// The period of the sink's maintenance.
const LOOK: Duration = Duration::from_millis(50);
/// The time without a link after the fault `drop-control`: longer than any process waits.
const GONE: Duration = Duration::from_secs(3600);

/// Serves until the supervisor sends `Finish`.
///
/// # Errors
/// If the sink cannot be opened.
pub fn serve(paths: &Paths, shared: &Shared, tape: Tape<'static>, wish: &str) -> Result<()> {
    let mut sink = match sinks::open(shared, tape, wish) {
        Ok(sink) => sink,
        Err(why) => {
            if let Some((sender, _)) = connect(paths) {
                let _ = sender.send(FromPeer::Fatal(format!("{why:#}")));
                std::thread::sleep(Duration::from_millis(500));
            }
            bail!("{why}");
        }
    };
    let mut shown = String::new();
    let mut link: Option<Link> = None;
    let mut mute = false;
    loop {
        let news = sink.look_after();
        shared.stage.set_audio_state(match sink.plays() {
            true => AudioState::Playing,
            false => AudioState::Waiting,
        });
        let Some((sender, receiver)) = link.as_ref() else {
            link = connect(paths);
            match &link {
                Some((sender, _)) => {
                    shown = sink.describe();
                    let _ = sender.send(FromPeer::Sink(shown.clone()));
                    let _ = sender.send(FromPeer::Up);
                }
                None => std::thread::sleep(LOOK),
            }
            continue;
        };
        if let Some(note) = news {
            let _ = sender.send(FromPeer::Note(note));
        }
        if sink.describe() != shown {
            shown = sink.describe();
            let _ = sender.send(FromPeer::Sink(shown.clone()));
        }
        if mute {
            std::thread::sleep(LOOK);
            continue;
        }
        match receiver.recv_for(LOOK) {
            Ok(None) => {}
            Ok(Some(ToAudio::Finish)) => {
                sink.finish();
                return Ok(());
            }
            Ok(Some(ToAudio::Ping)) => drop(sender.send(FromPeer::Pong)),
            Ok(Some(ToAudio::Inject(Fault::MuteControl))) => mute = true,
            Ok(Some(ToAudio::Inject(Fault::DropControl))) => {
                link = None;
                std::thread::sleep(GONE);
            }
            Ok(Some(ToAudio::Inject(fault))) => faults::request(fault),
            Err(_) => link = None,
        }
    }
}

fn connect(paths: &Paths) -> Option<Link> {
    let introduction = Introduction {
        service: Service::AudioOut,
        pid: std::process::id(),
        incarnation: Incarnation::default(),
    };
    ipc_link::connect(paths, introduction).ok()
}
