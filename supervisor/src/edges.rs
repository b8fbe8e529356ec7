//! The inputs of the supervisor: launcher, control socket, links and time, each converted to events for the stack.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use common::{
    message::{Answer, FromPeer, Introduction, Request, Service, ServiceKind, ToLauncher},
    options::Options,
};
use platform::{fd, ipc_link, ipc_link::LinkReceiver, say};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
};

use crate::{
    event::{Incoming, PeerLink},
    launcher::LauncherWatch,
    stack::{IDLE_TICK, Refusal, Stack},
    vigil,
};

/// Descriptors in reserve, so that a supervisor without enough of them for a take-over can still answer.
const SPARE: usize = 8;
/// The capacity of the event queue; peers wait if it is full.
const EVENTS: usize = 1_024;
/// The limit of a request at the control socket, in bytes.
const QUESTION_BYTES: u64 = 256 * 1024;
/// The limit of simultaneous connections at the control socket: each peer needs one briefly, a user a few.
const VISITORS: usize = 64;
/// The time limit for sending a request; the project's own programs send it at once.
const QUESTION: Duration = Duration::from_secs(5);
/// The time limit for reading an answer, and for sending a refusal.
const ANSWER: Duration = Duration::from_secs(5);
/// The period of reading the shared words while the stack is busy; otherwise [`IDLE_TICK`].
const BUSY_TICK: Duration = Duration::from_micros(300);

/// Runs the supervisor until the stack has ended.
///
/// # Errors
/// If the supervisor cannot start.
pub async fn run(options: &Options) -> Result<()> {
    let listener = fd::inherited_listener(fd::CONTROL)?;
    listener.set_nonblocking(true)?;
    let launcher = LauncherWatch::inherit(listener.try_clone()?.into())?;
    let listener = UnixListener::from_std(listener)?;
    let (events, mut queue) = mpsc::channel(EVENTS);
    let socket = launcher.socket();
    let spare = fd::reserve(SPARE);
    let begun = Stack::begin(options, socket.clone());
    drop(spare);
    let hearing = events.clone();
    std::thread::Builder::new().spawn(move || launcher.keep(&hearing))?;
    tokio::spawn(answer_all(listener, events.clone()));
    let mut stack = match begun {
        Ok(stack) => stack,
        Err(Refusal::MusicGoesOn(why)) => {
            vigil::keep(options, &socket, &mut queue, &format!("{why:#}")).await
        }
        Err(Refusal::NothingBegun(why)) => {
            socket.say(&ToLauncher::Failed(format!("{why:#}")))?;
            return Err(why.context("the supervisor cannot start"));
        }
    };
    let busy = Arc::new(AtomicBool::new(true));
    let (ticks, pace) = (events.clone(), Arc::clone(&busy));
    std::thread::Builder::new().spawn(move || tick(&ticks, &pace))?;
    while !stack.ended() {
        let Some(event) = queue.recv().await else {
            break;
        };
        stack.handle(event);
        busy.store(stack.busy(), Ordering::Relaxed);
    }
    Ok(())
}

/// The thread that sends ticks: tokio's timers are too coarse for a switch.
fn tick(events: &mpsc::Sender<Incoming>, busy: &AtomicBool) {
    while !events.is_closed() {
        std::thread::sleep(if busy.load(Ordering::Relaxed) {
            BUSY_TICK
        } else {
            IDLE_TICK
        });
        // With a full queue no tick is needed.
        let _ = events.try_send(Incoming::Tick);
    }
}

async fn answer_all(listener: UnixListener, events: mpsc::Sender<Incoming>) {
    let places = Arc::new(Semaphore::new(VISITORS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let events = events.clone();
                    tokio::spawn(async move {
                        answer_one(stream, events).await;
                        drop(place);
                    });
                }
                // Not in a task of its own: refused connections must cost nothing.
                Err(_) => refuse(&stream),
            },
            Err(why) => {
                say::line(
                    "supervisor",
                    &format!("the control socket has failed: {why}"),
                );
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Refuses a connection beyond the limit with an answer. Bytes that do not fit into the socket at once are dropped.
fn refuse(stream: &UnixStream) {
    let why = format!(
        "{VISITORS} connections to the control socket are open, which is the limit; try again once \
         one of them is closed"
    );
    let _ = stream.try_write(&line_of(&Answer::No(why)));
}

fn line_of(answer: &Answer) -> Vec<u8> {
    let mut text = serde_json::to_vec(answer).unwrap_or_default();
    text.push(b'\n');
    text
}

async fn answer_one(mut stream: UnixStream, events: mpsc::Sender<Incoming>) {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(QUESTION_BYTES));
    let asked = tokio::time::timeout(QUESTION, reader.read_line(&mut line)).await;
    let answer = match asked {
        Err(_) => Answer::No(format!(
            "no complete request arrived within {} s, which is the limit",
            QUESTION.as_secs()
        )),
        Ok(Err(_)) => return,
        Ok(Ok(_)) if line.len() as u64 == QUESTION_BYTES && !line.ends_with('\n') => Answer::No(
            format!("the request is too long (expected at most {QUESTION_BYTES} bytes)"),
        ),
        Ok(Ok(_)) => answer_to(&line, events).await,
    };
    let _ = tokio::time::timeout(ANSWER, write.write_all(&line_of(&answer))).await;
}

async fn answer_to(line: &str, events: mpsc::Sender<Incoming>) -> Answer {
    match serde_json::from_str(line) {
        Ok(Request::Link(introduction)) => offer(introduction.service, events),
        Ok(request) => {
            let (answer, answered) = oneshot::channel();
            let _ = events.send(Incoming::Asked(request, answer)).await;
            answered.await.unwrap_or_else(|_| {
                Answer::No("the supervisor was replaced meanwhile; send the request again".into())
            })
        }
        Err(why) => Answer::No(format!("the request is invalid: {why}")),
    }
}

/// Offers a link of the service's kind.
fn offer(service: Service, events: mpsc::Sender<Incoming>) -> Answer {
    let offered = match service.kind() {
        ServiceKind::Worker(_) => ipc_link::offer(move |who, link, from| {
            hear(&events, who, PeerLink::Worker(link), &from)
        }),
        ServiceKind::Audio => {
            ipc_link::offer(move |who, link, from| hear(&events, who, PeerLink::Audio(link), &from))
        }
        ServiceKind::Gateway => ipc_link::offer(move |who, link, from| {
            hear(&events, who, PeerLink::Gateway(link), &from)
        }),
        ServiceKind::Watched => ipc_link::offer(move |who, link, from| {
            hear(&events, who, PeerLink::Service(link), &from)
        }),
        ServiceKind::Trial => return Answer::No("a trial has no link".into()),
        ServiceKind::Supervisor => {
            return Answer::No("the supervisor has no link to itself".into());
        }
    };
    match offered {
        Ok(name) => Answer::Ok(name.into()),
        Err(why) => Answer::No(why.to_string()),
    }
}

/// The thread of a peer: converts its messages to events until its link breaks.
fn hear(
    events: &mpsc::Sender<Incoming>,
    who: Introduction,
    link: PeerLink,
    from: &LinkReceiver<FromPeer>,
) {
    if events
        .blocking_send(Incoming::Linked(who.clone(), link))
        .is_err()
    {
        return;
    }
    while let Ok(message) = from.recv() {
        if events
            .blocking_send(Incoming::Said(who.clone(), message))
            .is_err()
        {
            return;
        }
    }
    let _ = events.blocking_send(Incoming::Unlinked(who));
}
