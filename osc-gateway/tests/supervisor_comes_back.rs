//! A supervisor that dies with submissions unanswered gets them again in its next life.
#![allow(missing_docs)]

mod common;

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixListener,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use ::common::{
    command::Event,
    message::{Answer, FromPeer, Introduction, Outcome, Request, Service, Submission, ToGateway},
    units::Seq,
};
use common::osc;
use osc_gateway::{receive, supervisor};
use platform::{
    ipc_link::{self, LinkReceiver, LinkSender},
    paths::Paths,
};

type Link = (Introduction, LinkSender<ToGateway>, LinkReceiver<FromPeer>);

/// Answers at the control socket with a link for whoever asks, for ever.
fn supervisors(paths: &Paths) -> Receiver<Link> {
    let listener = UnixListener::bind(paths.control_socket()).unwrap();
    let (links, out) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            let Request::Link(_) = serde_json::from_str(&line).unwrap() else {
                panic!("{line}");
            };
            let links = links.clone();
            let name = ipc_link::offer::<ToGateway>(move |who, to, from| {
                drop(links.send((who, to, from)));
            });
            let answer = Answer::Ok(name.unwrap().into());
            let mut text = serde_json::to_string(&answer).unwrap();
            text.push('\n');
            stream.write_all(text.as_bytes()).unwrap();
        }
    });
    out
}

fn submissions(from: &LinkReceiver<FromPeer>) -> Vec<(u64, Submission)> {
    loop {
        match from.recv_for(Duration::from_secs(10)).unwrap() {
            Some(FromPeer::Submit { submissions, .. }) => return submissions,
            Some(_) => {}
            None => panic!("nothing submitted"),
        }
    }
}

fn greet((who, to, from): &Link) {
    assert_eq!(who.service, Service::OscGateway);
    let first = from.recv_for(Duration::from_secs(10)).unwrap();
    assert!(matches!(first, Some(FromPeer::Up)), "{first:?}");
    let patch = ToGateway::Patch {
        generation: 5,
        json: String::new(),
    };
    to.send(patch).unwrap();
}

#[test]
fn what_had_no_outcome_is_submitted_again_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths {
        instance: "test".into(),
        runtime: folder.path().into(),
        state: folder.path().into(),
    };
    let links = supervisors(&paths);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    socket.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            receive::serve(
                socket,
                common::inbox(),
                common::stage(),
                supervisor::follow(paths),
            )
            .await
        })
    });
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(address).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();

    let first = links.recv_timeout(Duration::from_secs(10)).unwrap();
    greet(&first);
    client.send(&osc("/engine/stop", vec![])).unwrap();
    client.send(&osc("/sync", vec![7.into()])).unwrap();
    let mut seen = submissions(&first.2);
    while seen.len() < 2 {
        seen.extend(submissions(&first.2));
    }
    drop(first);

    let second = links.recv_timeout(Duration::from_secs(10)).unwrap();
    greet(&second);
    let again = submissions(&second.2);
    assert_eq!(again, seen);
    let stop = Submission::Event {
        generation: 5,
        event: Event::Run(false),
        at: None,
    };
    assert_eq!(again[0].1, stop);
    let outcomes = vec![
        (again[0].0, Outcome::Accepted(Seq(1))),
        (again[1].0, Outcome::Synced),
    ];
    second.1.send(ToGateway::Outcomes(outcomes)).unwrap();
    let mut buffer = [0; 64];
    let length = client.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], osc("/synced", vec![7.into()]));
}
