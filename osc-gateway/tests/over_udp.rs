//! The real loop over a real socket, with nobody at the other end of the link.
#![allow(missing_docs)]

mod common;

use std::time::Duration;

use ::common::message::ToGateway;
use common::{message, osc};
use osc_gateway::{receive, supervisor::News};
use rosc::{OscPacket, OscType};
use tokio::net::UdpSocket;

async fn ask(client: &UdpSocket, datagram: &[u8]) -> (String, Vec<OscType>) {
    client.send(datagram).await.unwrap();
    let mut buffer = vec![0; 65_536];
    let length = tokio::time::timeout(Duration::from_secs(5), client.recv(&mut buffer));
    let length = length.await.expect("no reply").unwrap();
    match rosc::decoder::decode_udp(&buffer[..length]) {
        Ok(([], OscPacket::Message(reply))) => (reply.addr, reply.args),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn it_answers_whatever_comes_and_goes_on() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (news, from) = tokio::sync::mpsc::channel(4);
    let server = tokio::spawn(receive::serve(
        socket,
        common::inbox(),
        common::stage(),
        from,
    ));
    let patch = ToGateway::Patch {
        generation: 1,
        json: "{".into(),
    };
    news.send(News::Said(patch))
        .await
        .unwrap_or_else(|_| panic!("gone"));

    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(address).await.unwrap();
    let (to, args) = ask(&client, &vec![0; 65_504]).await;
    assert_eq!(to, "/fail");
    assert!(
        matches!(&args[1], OscType::String(why) if why.contains("8192")),
        "{args:?}"
    );
    for bad in [&b""[..], b"x", b"#bundle", b"/a\0"] {
        assert_eq!(ask(&client, bad).await.0, "/fail");
    }
    let (to, args) = ask(&client, &osc("/mod/sine/freq", vec![1.into()])).await;
    assert_eq!(
        (to.as_str(), &args[0]),
        ("/fail", &OscType::String("/mod/sine/freq".into()))
    );
    assert_eq!(
        ask(&client, &osc("/engine/list", vec![])).await.0,
        "/engine/list.reply"
    );
    let done = message("/done", vec!["/notify".into()]);
    let got = ask(&client, &osc("/notify", vec![1.into()])).await;
    assert_eq!(done, message(&got.0, got.1));
    assert!(!server.is_finished());

    drop(news);
    assert!(
        server.await.unwrap().is_err(),
        "without a link's thread it ends"
    );
}
