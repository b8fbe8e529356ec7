//! The control thread: receives commands through the link or from the log, and passes them to the render
//! thread.
//!
//! Without a supervisor the thread goes on: it reads the log, and connects to the next supervisor.

use std::{
    collections::VecDeque,
    sync::{
        atomic::Ordering,
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use anyhow::Result;
use common::{
    command::Command,
    message::{Fault, FromPeer, Introduction, Numbered, Service, ToWorker},
    stage::Listener,
    units::{Incarnation, Seq, Slot},
};
use engine::Engine;
use platform::{
    futex,
    ipc_link::{self, LinkReceiver, LinkSender},
    paths::Paths,
    samples::Samples,
    shared::Shared,
    shm,
};

use crate::{
    catch_up,
    log_tail::LogTail,
    render_loop::{Change, Input, RenderHandle},
};

/// How often the thread looks for missing commands.
const LOOK: Duration = Duration::from_millis(10);

/// Serves until the process ends.
///
/// # Errors
/// When the log can no longer be read.
pub fn serve(
    mut handle: RenderHandle,
    paths: &Paths,
    samples: &Samples,
    incarnation: Incarnation,
    mut log: LogTail,
) -> Result<()> {
    let slot = handle.slot;
    let mut waiting: VecDeque<Numbered> = std::mem::take(&mut handle.backlog).into();
    let seeker = Seeker {
        paths: paths.clone(),
        introduction: Introduction {
            service: Service::Worker(slot),
            pid: std::process::id(),
            incarnation,
        },
    };
    let mut sought = seeker.seek();
    let mut link: Option<Link> = None;
    let mut mute = false;
    loop {
        hand_on(&mut handle, &mut waiting, samples, &mut log);
        if handle.between.wanted.load(Ordering::Acquire) > handle.last.0 && waiting.is_empty() {
            waiting.extend(log.commands()?.into_iter().filter(|n| n.seq > handle.last));
            if !waiting.is_empty() {
                continue;
            }
        }
        while handle.retired.pop().is_ok() {}
        let Some((sender, receiver)) = link.as_ref() else {
            link = sought.recv_timeout(LOOK).ok();
            continue;
        };
        if mute {
            std::thread::sleep(LOOK);
            continue;
        }
        match receiver.recv_for(LOOK) {
            Ok(None) => {}
            Ok(Some(ToWorker::Ping)) => drop(sender.send(FromPeer::Pong)),
            Ok(Some(ToWorker::Newest(seq))) => {
                handle.between.wanted.fetch_max(seq.0, Ordering::AcqRel);
            }
            Ok(Some(ToWorker::Commands(commands))) => {
                waiting.extend(commands);
            }
            Ok(Some(ToWorker::Inject(Fault::MuteControl))) => mute = true,
            Ok(Some(ToWorker::Inject(Fault::DropControl))) => {
                link = None;
                mute = true;
                std::thread::sleep(Duration::from_secs(3600));
            }
            Ok(Some(ToWorker::Inject(fault))) => handle.between.faults.request(fault),
            Err(_) => {
                link = None;
                sought = seeker.seek();
            }
        }
    }
}

type Link = (LinkSender<FromPeer>, LinkReceiver<ToWorker>);

/// Connects to the supervisor on a thread of its own. Meanwhile the control thread still takes missing
/// commands from the log.
struct Seeker {
    paths: Paths,
    introduction: Introduction,
}

impl Seeker {
    fn seek(&self) -> Receiver<Link> {
        let (found, out) = mpsc::channel();
        let (paths, introduction) = (self.paths.clone(), self.introduction.clone());
        // If no thread can be started, the worker stays without a link and is replaced for that.
        let _ = thread::Builder::new().spawn(move || {
            loop {
                match ipc_link::connect(&paths, introduction.clone()) {
                    Ok(link) => return drop(found.send(link)),
                    Err(_) => thread::sleep(LOOK),
                }
            }
        });
        out
    }
}

/// Queues commands for the render thread: in order, none twice, none left out. Sets the log's position
/// behind them, so that missing commands are read from there.
fn hand_on(
    handle: &mut RenderHandle,
    waiting: &mut VecDeque<Numbered>,
    samples: &Samples,
    log: &mut LogTail,
) {
    let before = handle.last;
    while let Some(next) = waiting.front() {
        if next.seq <= handle.last {
            waiting.pop_front();
            continue;
        }
        if next.seq > handle.last.next() {
            // A command was broadcast before the link was up; it is in the log.
            handle
                .between
                .wanted
                .fetch_max(next.seq.0, Ordering::AcqRel);
            waiting.clear();
            break;
        }
        if handle.inputs.is_full() {
            break;
        }
        let Some(numbered) = waiting.pop_front() else {
            break;
        };
        handle.last = numbered.seq;
        log.seek(numbered.next_offset);
        let _ = handle.inputs.push(prepare(handle, numbered, samples));
        handle
            .between
            .received
            .store(handle.last.0, Ordering::Release);
    }
    if handle.last != before {
        futex::wake(handle.shared.stage.futex(Listener::Worker(handle.slot)));
    }
}

fn prepare(handle: &RenderHandle, numbered: Numbered, samples: &Samples) -> Input {
    let Numbered {
        seq: Seq(seq),
        offset,
        next_offset,
        command,
    } = numbered;
    let change = match command {
        Command::Event(event) => Change::Event(event),
        Command::At { frame, event } => Change::At(frame, event),
        Command::Draft(_) | Command::SavePreset(_) => Change::Nothing,
        Command::Patch(ref json) | Command::Edited(ref json) => {
            match (build(handle, json, samples), &command) {
                (Ok(engine), Command::Edited(_)) => Change::Edited(engine),
                (Ok(engine), _) => Change::Patch(engine),
                // The supervisor has checked the patch. If this build disagrees, both replicas do.
                (Err(_), _) => Change::Nothing,
            }
        }
    };
    Input {
        seq: Seq(seq),
        offset,
        next_offset,
        change,
    }
}

fn build(handle: &RenderHandle, json: &str, samples: &Samples) -> Result<Box<Engine>> {
    let engine = catch_up::build(json, handle.shared.stage.format().into(), samples)?;
    touch_checkpoints(&handle.shared, handle.slot, engine.arena_len_bytes());
    Ok(Box::new(engine))
}

/// Maps this worker's checkpoints before they are first written. Mapping them page by page in the render
/// thread would take longer than the lead if the state is large. Runs on a thread of its own, since
/// nothing waits for it.
pub fn touch_checkpoints(shared: &Shared, slot: Slot, arena_bytes: usize) {
    let Some(own) = shared.checkpoints.get(slot.index()).copied() else {
        return;
    };
    let touch = move || {
        own.iter()
            .for_each(|c| shm::touch(c.filled(arena_bytes), true))
    };
    // If no thread can be started, the pages are mapped one by one.
    let _ = thread::Builder::new().name("touch".into()).spawn(touch);
}
