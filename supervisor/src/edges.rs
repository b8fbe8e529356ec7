//! The edges: launcher, control socket, links and time, each turned into events for the stack.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use common::{
    message::{Answer, FromPeer, Introduction, Request, Service, ToLauncher},
    options::Options,
};
use platform::{fd, link, link::LinkReceiver, say};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
};

use crate::{
    event::{Event, PeerLink},
    launcher::Keeper,
    stack::{CALM, Refusal, Stack},
    vigil,
};

/// Descriptors that are left to answer with, though there are none to take over with.
const SPARE: usize = 8;
/// Events that may wait; behind it, peers wait.
const EVENTS: usize = 1_024;
/// The longest question at the control socket.
const QUESTION_BYTES: u64 = 256 * 1024;
/// Connections at the control socket at a time: each peer needs one for a moment, a person a few.
const VISITORS: usize = 64;
/// How long a visitor may take to put a question; the program's own put it at once.
const QUESTION: Duration = Duration::from_secs(5);
/// How long a visitor may take to read the answer, and how long a refusal may take to be sent.
const ANSWER: Duration = Duration::from_secs(5);
/// How often the shared words are looked at while something is under way; else [`CALM`].
const BUSY: Duration = Duration::from_micros(300);

/// Runs the supervisor until the stack has ended.
///
/// # Errors
/// When it cannot begin.
pub async fn run(options: &Options) -> Result<()> {
    let listener = fd::inherited_listener(fd::CONTROL)?;
    listener.set_nonblocking(true)?;
    let launcher = Keeper::inherit(listener.try_clone()?.into())?;
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
            return Err(why.context("the supervisor cannot begin"));
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

/// The thread that says that time has passed: tokio's timers are too coarse for a switch.
fn tick(events: &mpsc::Sender<Event>, busy: &AtomicBool) {
    while !events.is_closed() {
        std::thread::sleep(if busy.load(Ordering::Relaxed) {
            BUSY
        } else {
            CALM
        });
        // A tick that finds the queue full is not missed.
        let _ = events.try_send(Event::Tick);
    }
}

async fn answer_all(listener: UnixListener, events: mpsc::Sender<Event>) {
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
                // Not in a task of its own: those who come when it is full cost nothing.
                Err(_) => refuse(&stream),
            },
            Err(why) => {
                say::line("supervisor", &format!("the control socket fails: {why}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Tells a visitor too many why it is sent away; it is read as an answer to its question. What does
/// not fit into the socket at once is not sent.
fn refuse(stream: &UnixStream) {
    let why = format!(
        "{VISITORS} connections to the control socket are open already, which is the limit; try \
         again once one is closed"
    );
    let _ = stream.try_write(&line_of(&Answer::No(why)));
}

fn line_of(answer: &Answer) -> Vec<u8> {
    let mut text = serde_json::to_vec(answer).unwrap_or_default();
    text.push(b'\n');
    text
}

async fn answer_one(mut stream: UnixStream, events: mpsc::Sender<Event>) {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(QUESTION_BYTES));
    let asked = tokio::time::timeout(QUESTION, reader.read_line(&mut line)).await;
    let answer = match asked {
        Err(_) => Answer::No(format!(
            "no whole question came within {} s, which is the limit",
            QUESTION.as_secs()
        )),
        Ok(Err(_)) => return,
        Ok(Ok(_)) if line.len() as u64 == QUESTION_BYTES && !line.ends_with('\n') => Answer::No(
            format!("the question is longer than {QUESTION_BYTES} bytes, which is the limit"),
        ),
        Ok(Ok(_)) => answer_to(&line, events).await,
    };
    let _ = tokio::time::timeout(ANSWER, write.write_all(&line_of(&answer))).await;
}

async fn answer_to(line: &str, events: mpsc::Sender<Event>) -> Answer {
    match serde_json::from_str(line) {
        Ok(Request::Link(introduction)) => offer(introduction.service, events),
        Ok(request) => {
            let (answer, answered) = oneshot::channel();
            let _ = events.send(Event::Asked(request, answer)).await;
            answered.await.unwrap_or_else(|_| {
                Answer::No("the supervisor was replaced meanwhile; ask again".into())
            })
        }
        Err(why) => Answer::No(format!("that is no request: {why}")),
    }
}

/// Offers a link of the kind that the service speaks.
fn offer(service: Service, events: mpsc::Sender<Event>) -> Answer {
    let offered = match service {
        Service::Worker(_) => {
            link::offer(move |who, link, from| hear(&events, who, PeerLink::Worker(link), &from))
        }
        Service::AudioOut => {
            link::offer(move |who, link, from| hear(&events, who, PeerLink::Audio(link), &from))
        }
        Service::OscGateway => {
            link::offer(move |who, link, from| hear(&events, who, PeerLink::Gateway(link), &from))
        }
        Service::Recorder | Service::MidiIn | Service::LinkIn => {
            link::offer(move |who, link, from| hear(&events, who, PeerLink::Service(link), &from))
        }
        Service::Trial => return Answer::No("a trial talks to nobody".into()),
        Service::Supervisor => return Answer::No("the supervisor has no link to itself".into()),
    };
    match offered {
        Ok(name) => Answer::Ok(name.into()),
        Err(why) => Answer::No(why.to_string()),
    }
}

/// A peer's thread: turns what it says into events until its link breaks.
fn hear(
    events: &mpsc::Sender<Event>,
    who: Introduction,
    link: PeerLink,
    from: &LinkReceiver<FromPeer>,
) {
    if events
        .blocking_send(Event::Linked(who.clone(), link))
        .is_err()
    {
        return;
    }
    while let Ok(message) = from.recv() {
        if events
            .blocking_send(Event::Said(who.clone(), message))
            .is_err()
        {
            return;
        }
    }
    let _ = events.blocking_send(Event::Unlinked(who));
}
